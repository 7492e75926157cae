package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// ProducerIDBlock is how many producer ids a broker is given at a time (Kafka's ProducerIdsBlock).
const ProducerIDBlock = 1000

// Found plans the first command of a cluster.
func Found(clusterID string, features map[string]int16) []metadata.Record {
	records := []metadata.Record{&metadata.Cluster{ID: clusterID}}
	names := make([]string, 0, len(features))
	for name := range features {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		records = append(records, &metadata.Feature{Name: name, Level: features[name]})
	}
	return records
}

// Register plans the registration of a broker's new incarnation, fenced, and returns its id: the one that is asked for,
// the one its directory has, or a new one. The partitions that its old incarnation led lose their leader in the same
// command.
func Register(m *metadata.Image, r metadata.RegisterBroker) ([]metadata.Record, wire.BrokerID, *Refusal) {
	known := m.BrokerByDirectory(r.Directory)
	switch {
	case known != nil && r.Broker >= 0 && known.Broker != r.Broker:
		return nil, 0, refuse(wire.ErrDuplicateBrokerRegistration, "This directory is registered as broker %d, and the node says that it is broker %d. A directory keeps its broker id: start it with %d, or join with a new directory.", known.Broker, r.Broker, known.Broker)
	case known != nil && known.Generation > r.Generation:
		return nil, 0, refuse(wire.ErrDuplicateBrokerRegistration, "Broker %d started with generation %d, but generation %d of the same directory has registered: this is an older copy of the directory. Remove the copy, or join it as a new node.", known.Broker, r.Generation, known.Generation)
	case known != nil && known.Generation == r.Generation && known.Nonce != r.Nonce:
		return nil, 0, refuse(wire.ErrDuplicateBrokerRegistration, "Broker %d has registered generation %d of this directory from another process: two nodes run from copies of one directory. Stop this one, remove the copy, and join it as a new node.", known.Broker, r.Generation)
	case known != nil:
		r.Broker = known.Broker
	case r.Broker < 0:
		r.Broker = m.NextBrokerID()
	}
	old := m.Broker(r.Broker)
	if old != nil && old.Directory != r.Directory && !old.Fenced {
		return nil, 0, refuse(wire.ErrDuplicateBrokerRegistration, "Broker %d is registered from another directory and is alive. Give this node another broker id.", r.Broker)
	}
	records := []metadata.Record{&r}
	if old != nil && (!old.Fenced || old.Directory != r.Directory) {
		records = append(records, electAway(m, r.Broker)...)
	}
	return records, r.Broker, nil
}

// Unregister plans that a broker leaves the cluster for good. It must not be alive, and hold no replica.
func Unregister(m *metadata.Image, id wire.BrokerID) ([]metadata.Record, *Refusal) {
	b := m.Broker(id)
	if b == nil {
		return nil, refuse(wire.ErrBrokerIDNotRegistered, "Broker ID %d is not currently registered", id)
	}
	return append(electAway(m, id), &metadata.UnregisterBroker{Broker: id, Epoch: b.Epoch}), nil
}

// Unfence plans that a caught-up broker takes part: it is unfenced, and leads what it can lead.
func Unfence(m *metadata.Image, id wire.BrokerID) []metadata.Record {
	b := m.Broker(id)
	if b == nil || !b.Fenced {
		return nil
	}
	records := []metadata.Record{&metadata.BrokerState{Broker: id, Epoch: b.Epoch}}
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.Leader == wire.NoBroker && slices.Contains(p.ISR, id) {
				records = append(records, &metadata.PartitionChange{
					Topic: t.ID, Partition: wire.Partition(i), ISR: p.ISR, Leader: id, BumpLeaderEpoch: true,
				})
			}
		}
		return true
	})
	return records
}

// Fence plans that a broker takes no part any more. shutdown says that it asked for it.
func Fence(m *metadata.Image, id wire.BrokerID, shutdown bool) []metadata.Record {
	b := m.Broker(id)
	if b == nil || b.Fenced {
		return nil
	}
	return append(electAway(m, id), &metadata.BrokerState{Broker: id, Epoch: b.Epoch, Fenced: true, ShuttingDown: shutdown})
}

// electAway moves leaderships off a broker that goes: to the first other live replica in the ISR, else to nobody. The
// last member of an ISR stays in it, since it alone is known to hold what was acknowledged.
func electAway(m *metadata.Image, gone wire.BrokerID) []metadata.Record {
	var records []metadata.Record
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if !slices.Contains(p.ISR, gone) {
				continue
			}
			isr := slices.DeleteFunc(slices.Clone(p.ISR), func(id wire.BrokerID) bool { return id == gone })
			if len(isr) == 0 {
				isr = p.ISR
			}
			c := &metadata.PartitionChange{Topic: t.ID, Partition: wire.Partition(i), ISR: isr, Leader: p.Leader}
			if p.Leader == gone {
				c.Leader, c.BumpLeaderEpoch = nextLeader(m, p.Replicas, isr, gone), true
			}
			records = append(records, c)
		}
		return true
	})
	return records
}

func nextLeader(m *metadata.Image, replicas, isr []wire.BrokerID, gone wire.BrokerID) wire.BrokerID {
	for _, id := range replicas {
		if id == gone || !slices.Contains(isr, id) {
			continue
		}
		if b := m.Broker(id); b != nil && !b.Fenced {
			return id
		}
	}
	return wire.NoBroker
}

// AllocateProducerIDs plans a block of producer ids for a broker, and returns its first.
func AllocateProducerIDs(m *metadata.Image, id wire.BrokerID, epoch wire.BrokerEpoch) ([]metadata.Record, wire.ProducerID) {
	first := m.NextProducerID()
	return []metadata.Record{&metadata.ProducerIDs{Broker: id, Epoch: epoch, Next: first + ProducerIDBlock}}, first
}
