package api

import (
	"context"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

var initProducerIDHandler = handle(message.KeyInitProducerID, func(b *Broker, r *listen.Request, m *message.InitProducerIDRequest) message.Response {
	fail := func(code wire.ErrorCode) message.Response {
		return &message.InitProducerIDResponse{ErrorCode: code, ProducerID: wire.NoProducerID, ProducerEpoch: -1, OngoingTxnProducerID: -1, OngoingTxnProducerEpoch: -1}
	}
	switch {
	case m.TransactionalID != nil && *m.TransactionalID == "":
		return fail(wire.ErrInvalidRequest)
	case m.TransactionalID != nil:
		// Transactions need their coordinator, which this version does not have.
		return fail(wire.ErrCoordinatorNotAvailable)
	case (m.ProducerID == wire.NoProducerID) != (m.ProducerEpoch == -1):
		return fail(wire.ErrInvalidRequest)
	}
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(30_000))
	defer cancel()
	id, err := b.ProducerIDs.Next(ctx)
	if err != nil {
		b.Log.Warn("no producer id", "error", err)
		return fail(wire.ErrCoordinatorLoadInProgress)
	}
	return &message.InitProducerIDResponse{ProducerID: id, OngoingTxnProducerID: -1, OngoingTxnProducerEpoch: -1}
})
