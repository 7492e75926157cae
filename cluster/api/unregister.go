package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// unregisterTimeout is for a request that names none.
const unregisterTimeout = 30_000

// A broker that runs learns from its next heartbeat that it was removed, and stops.
var unregisterBrokerHandler = handle(message.KeyUnregisterBroker, func(b *Broker, r *listen.Request, m *message.UnregisterBrokerRequest) message.Response {
	r.MayBlock()
	b.Leader.Depart(m.BrokerID)
	var refusal *control.Refusal
	return b.once(r, unregisterTimeout, func(image *metadata.Image) (records []metadata.Record) {
		if refusal = b.Leader.CheckUnregister(m.BrokerID); refusal != nil {
			return nil
		}
		records, refusal = control.Unregister(image, m.BrokerID)
		return records
	}, func(fault *control.Refusal) message.Response {
		if refusal == nil {
			refusal = fault
		}
		if refusal != nil {
			return &message.UnregisterBrokerResponse{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
		}
		return &message.UnregisterBrokerResponse{ErrorCode: wire.ErrNone}
	})
})
