package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// AlterISR is a leader's wish for the ISR of one of its partitions.
type AlterISR struct {
	Topic          wire.TopicID
	Partition      wire.Partition
	LeaderEpoch    wire.LeaderEpoch
	PartitionEpoch wire.PartitionEpoch
	ISR            []ISRMember
}

// ISRMember is a member of the ISR as its leader knows it. Epoch -1: the leader does not know it.
type ISRMember struct {
	Broker wire.BrokerID
	Epoch  wire.BrokerEpoch
}

// AlteredISR is what became of a wish, and the partition as it is then. Code NEW_LEADER_ELECTED: it took effect, and completed a
// reassignment that gave the partition to another leader.
type AlteredISR struct {
	Code           wire.ErrorCode
	Leader         wire.BrokerID
	LeaderEpoch    wire.LeaderEpoch
	ISR            []wire.BrokerID
	PartitionEpoch wire.PartitionEpoch
}

// AlterPartition plans changes of ISRs that their leader, a broker with this epoch, asks for. Each is accepted or refused by
// itself (KIP-497, KIP-841, KIP-903); the refusal is for the whole request. A wish for the ISR that there is succeeds.
//
// A wish that is refused for a broker that may not be in the ISR now is refused for good: the partition epoch rises. The leader counts
// that broker no more once it has heard of the refusal, and a copy of the wish that comes late, when the broker may be in the ISR
// again, must not be granted unheard.
func AlterPartition(m *metadata.Image, broker wire.BrokerID, epoch wire.BrokerEpoch, list []AlterISR) ([]metadata.Record, []AlteredISR, *Refusal) {
	b := m.Broker(broker)
	switch {
	case b == nil:
		return nil, nil, refuse(wire.ErrStaleBrokerEpoch, "Broker %d is not registered.", broker)
	case b.Epoch != epoch:
		return nil, nil, refuse(wire.ErrStaleBrokerEpoch, "Broker %d has epoch %d, the request has %d.", broker, b.Epoch, epoch)
	}
	var records []metadata.Record
	answers := make([]AlteredISR, len(list))
	e := newElectorate(m)
	seen := make(map[wire.TopicIDPartition]bool, len(list))
	for i, q := range list {
		id := wire.TopicIDPartition{Topic: q.Topic, Partition: q.Partition}
		t := m.TopicByID(q.Topic)
		answers[i] = AlteredISR{Code: checkAlterISR(m, broker, t, q), Leader: wire.NoBroker}
		if t == nil || q.Partition < 0 || int(q.Partition) >= len(t.Partitions) {
			continue
		}
		p := t.Partitions[q.Partition]
		if answers[i].Code == wire.ErrNone && seen[id] {
			answers[i].Code = wire.ErrInvalidRequest // the first changed what this one goes by
		}
		if answers[i].Code == wire.ErrNone {
			seen[id] = true
			want := asIs(&p)
			want.proven = true
			if isr := brokersOf(q.ISR); !same(isr, p.ISR) {
				want.isr = isr
			}
			if c := e.settle(t, q.Partition, want); c != nil {
				records = append(records, c)
				p.ISR, p.Leader = c.ISR, c.Leader
				p.Epoch++
				if c.BumpLeaderEpoch {
					p.LeaderEpoch++
				}
			}
			if p.Leader != broker {
				answers[i].Code = wire.ErrNewLeaderElected
			}
		} else if answers[i].Code == wire.ErrIneligibleReplica && !seen[id] {
			seen[id] = true
			records = append(records, &metadata.PartitionChange{
				Topic: q.Topic, Partition: q.Partition, ISR: p.ISR, Leader: p.Leader, Adding: p.Adding, Removing: p.Removing, ELR: p.ELR, LastKnownELR: p.LastKnownELR,
			})
			p.Epoch++
		}
		a := &answers[i]
		a.Leader, a.LeaderEpoch, a.ISR, a.PartitionEpoch = p.Leader, p.LeaderEpoch, p.ISR, p.Epoch
	}
	return records, answers, nil
}

// checkAlterISR is Kafka's ReplicationControlManager.validateAlterPartitionData. t is nil if there is no such topic.
func checkAlterISR(m *metadata.Image, broker wire.BrokerID, t *metadata.Topic, q AlterISR) wire.ErrorCode {
	if t == nil {
		return wire.ErrUnknownTopicID
	}
	if q.Partition < 0 || int(q.Partition) >= len(t.Partitions) {
		return wire.ErrUnknownTopicOrPartition
	}
	p := &t.Partitions[q.Partition]
	isr := brokersOf(q.ISR)
	switch {
	case q.LeaderEpoch > p.LeaderEpoch, q.PartitionEpoch > p.Epoch:
		return wire.ErrNotController // the leader has seen newer metadata than this
	case q.LeaderEpoch < p.LeaderEpoch:
		return wire.ErrFencedLeaderEpoch
	case broker != p.Leader:
		return wire.ErrInvalidRequest
	case q.PartitionEpoch < p.Epoch:
		return wire.ErrInvalidUpdateVersion
	case len(union(nil, isr)) != len(isr), len(without(isr, p.Replicas)) > 0, !slices.Contains(isr, p.Leader):
		return wire.ErrInvalidRequest
	}
	for _, member := range q.ISR {
		b := m.Broker(member.Broker)
		switch {
		case b == nil, b.Fenced, member.Epoch != -1 && member.Epoch != b.Epoch:
			return wire.ErrIneligibleReplica
		case b.ShuttingDown && !slices.Contains(p.ISR, member.Broker):
			return wire.ErrIneligibleReplica // one that leads on while it can find no successor may still let others go
		}
	}
	return wire.ErrNone
}

func brokersOf(members []ISRMember) []wire.BrokerID {
	out := make([]wire.BrokerID, len(members))
	for i, m := range members {
		out[i] = m.Broker
	}
	return out
}
