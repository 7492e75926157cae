package api

import (
	"context"
	"errors"
	"time"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// The cluster chooses who votes in the metadata quorum. A request to add a voter is therefore never granted, and says why; one
// to remove a voter is, where the cluster would not give the vote back: of a broker that is dead, or cordoned.

// removeVoterTimeout is for a request that names no time.
const removeVoterTimeout = 10 * time.Second

// voterRefusal is what a client is told of err.
func voterRefusal(err error) *control.Refusal {
	var refusal *control.Refusal
	if errors.As(err, &refusal) {
		return refusal
	}
	return refusalOf(err)
}

var addRaftVoterHandler = handle(message.KeyAddRaftVoter, func(b *Broker, r *listen.Request, m *message.AddRaftVoterRequest) message.Response {
	refusal := voterRefusal(b.Leader.AddVoter(m.ClusterID, control.VoterKey{Broker: m.VoterID, Directory: m.VoterDirectoryID}))
	return &message.AddRaftVoterResponse{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
})

var removeRaftVoterHandler = handle(message.KeyRemoveRaftVoter, func(b *Broker, r *listen.Request, m *message.RemoveRaftVoterRequest) message.Response {
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), removeVoterTimeout)
	defer cancel()
	err := b.Leader.RemoveVoter(ctx, m.ClusterID, control.VoterKey{Broker: m.VoterID, Directory: m.VoterDirectoryID})
	if errors.Is(err, quorum.ErrNotLeader) { // as when it was this one's own
		if r.Relayed() {
			r.Undecided(err)
			return nil
		}
		if b.relayNew(r) {
			return nil
		}
	}
	if err != nil {
		refusal := voterRefusal(err)
		return &message.RemoveRaftVoterResponse{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
	}
	return &message.RemoveRaftVoterResponse{ErrorCode: wire.ErrNone}
})
