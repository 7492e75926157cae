package control

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// VoterKey names a voter in a request (KIP-853).
type VoterKey struct {
	Broker    wire.BrokerID
	Directory wire.UUID
}

func (k VoterKey) String() string {
	return fmt.Sprintf("ReplicaKey(id=%d, directoryId=%s)", k.Broker, k.Directory)
}

func (k VoterKey) valid() bool { return k.Broker >= 0 && !k.Directory.IsZero() }

// checkCluster refuses a request that is meant for another cluster.
func checkCluster(m *metadata.Image, cluster *string) *Refusal {
	if cluster != nil && *cluster != m.ClusterID() {
		return refuse(wire.ErrInconsistentClusterID, "The given id %q doesn't match the cluster id %q", *cluster, m.ClusterID())
	}
	return nil
}

// votersText lists the voters as Kafka does.
func (q *quorumState) votersText() string {
	var out []string
	for _, s := range q.voters {
		out = append(out, VoterKey{q.brokerOf(s), s.Directory}.String())
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// AskedToAddVoter answers who asks for a voter. Voters are chosen by the cluster, from all brokers, so that there is none to
// add: who votes already is told as Kafka tells it, and who does not, why.
func AskedToAddVoter(m *metadata.Image, v QuorumView, cluster *string, key VoterKey) *Refusal {
	if refusal := checkCluster(m, cluster); refusal != nil {
		return refusal
	}
	if !key.valid() {
		return refuse(wire.ErrInvalidRequest, "Add voter request didn't include a valid voter")
	}
	q := newQuorumState(v)
	if slices.ContainsFunc(q.voters, func(s Seat) bool { return q.brokerOf(s) == key.Broker || s.Directory == key.Directory }) {
		return refuse(wire.ErrDuplicateVoter, "The voter id for %s is already part of the set of voters %s.", key, q.votersText())
	}
	b := m.Broker(key.Broker)
	switch {
	case b == nil:
		return refuse(wire.ErrInvalidRequest, "Broker %d is not registered: it joins with 'kraftgo join', and gets a vote when one is free.", key.Broker)
	case b.Directory != key.Directory:
		return refuse(wire.ErrInvalidRequest, "Broker %d has directory %s, the request names %s.", key.Broker, b.Directory, key.Directory)
	}
	return refuse(wire.ErrInvalidRequest, "The cluster chooses its voters by itself, %d of %d now and %d when all is well (cluster.voters): broker %d gets a vote when one is free. To free one, cordon the broker that has it and remove its vote.",
		len(q.voters), len(q.Nodes), q.want(), key.Broker)
}

// CheckUnregister refuses to have a broker leave that runs, and without which the metadata quorum would have no majority of live voters:
// it stops as soon as it knows, before another could get its vote.
func CheckUnregister(v QuorumView, id wire.BrokerID) *Refusal {
	q := newQuorumState(v)
	i := slices.IndexFunc(q.voters, func(s Seat) bool { return q.brokerOf(s) == id })
	if i < 0 || !q.alive(q.voters[i]) || q.liveVoters()-1 > len(q.voters)/2 {
		return nil
	}
	return refuse(wire.ErrInvalidRequest, "Broker %d votes in the metadata quorum, and of its %d voters %d are alive: without this one nothing could be decided any more. Let more brokers vote first (three do when three are alive; a broker joins with 'kraftgo join').",
		id, len(q.voters), q.liveVoters())
}

// AskedToRemoveVoter plans that a voter loses its seat at once, which another takes: one that is dead, or that is cordoned and
// so does not get it back. The leader's own it has another take, once that one leads ([HandOver]).
func AskedToRemoveVoter(m *metadata.Image, v QuorumView, cluster *string, key VoterKey) (*QuorumStep, *Refusal) {
	if refusal := checkCluster(m, cluster); refusal != nil {
		return nil, refusal
	}
	if !key.valid() {
		return nil, refuse(wire.ErrInvalidRequest, "Remove voter request didn't include a valid voter")
	}
	q := newQuorumState(v)
	i := slices.IndexFunc(q.voters, func(s Seat) bool { return s.Directory == key.Directory && q.brokerOf(s) == key.Broker })
	if i < 0 || len(q.voters) == 1 {
		return nil, refuse(wire.ErrVoterNotFound, "Cannot remove voter %s from the set of voters %s", key, q.votersText())
	}
	s := q.voters[i]
	switch {
	case q.alive(s) && !q.Cordoned[key.Broker]:
		return nil, refuse(wire.ErrInvalidRequest, "Broker %d is alive, and the cluster, which chooses its voters by itself, would give it its vote back: 'kraftgo node cordon %d' first, or stop it.", key.Broker, key.Broker)
	case !q.mayLose(s):
		return nil, refuse(wire.ErrInvalidRequest, "Without broker %d there would be no majority of live voters left: %d of %d are alive.", key.Broker, q.liveVoters(), len(q.voters))
	}
	if s.Directory == q.Self {
		next := q.successor()
		if next == nil {
			return nil, refuse(wire.ErrInvalidRequest, "Broker %d leads the metadata quorum, and no other voter is alive to take it.", key.Broker)
		}
		return &QuorumStep{HandOver, next.Directory, next.Address, fmt.Sprintf("an operator takes the vote of broker %d, which leads the quorum", key.Broker)}, nil
	}
	return &QuorumStep{RemoveVoter, s.Directory, s.Address, "an operator asked for it"}, nil
}
