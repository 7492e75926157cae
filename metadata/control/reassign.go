package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Reassignment asks that a partition be held by these brokers, the first of them preferred as leader. nil cancels what is under way.
type Reassignment struct {
	Topic     string
	Partition wire.Partition
	Replicas  []wire.BrokerID
}

// Reassign plans reassignments. Each is accepted or refused by itself; a nil refusal stands for done or under way. keepFactor refuses
// those that would change the number of replicas (KIP-860).
//
// The replicas are then those that are wanted, followed by those that are to go. As soon as those that are new are in sync, the
// reassignment is completed by the plan that made them so ([AlterPartition]).
func Reassign(m *metadata.Image, list []Reassignment, keepFactor bool, unclean func(topic string) bool) ([]metadata.Record, []*Refusal) {
	records, refusals := reassign(m, list, unclean, func(p *metadata.PartitionInfo, q Reassignment) *Refusal {
		if refusal := checkManual(m, q.Replicas, 0); refusal != nil {
			return refusal
		}
		if have := len(without(p.Replicas, p.Removing)); keepFactor && have != len(q.Replicas) {
			return refuse(wire.ErrInvalidReplicationFactor, "The replication factor is changed from %d to %d", have, len(q.Replicas))
		}
		return nil
	})
	decided := map[wire.TopicID]bool{}
	for i, q := range list {
		if refusals[i] != nil || q.Replicas == nil {
			continue
		}
		t := m.Topic(q.Topic)
		if p := &t.Partitions[q.Partition]; t.Wanted > 0 && !decided[t.ID] && len(q.Replicas) != len(without(p.Replicas, p.Removing)) {
			decided[t.ID] = true // an operator has said how many replicas there are to be: it is not grown any more
			records = append(records, &metadata.TopicWish{Topic: t.ID})
		}
	}
	return records, refusals
}

// reassign plans reassignments, whoever asks for them. check looks at the replicas that a partition is to have.
func reassign(m *metadata.Image, list []Reassignment, unclean func(topic string) bool, check func(*metadata.PartitionInfo, Reassignment) *Refusal) ([]metadata.Record, []*Refusal) {
	var records []metadata.Record
	refusals := make([]*Refusal, len(list))
	e := newElectorate(m)
	at := make(map[wire.TopicIDPartition]int, len(list)) // where the record of a partition stands: the last wish counts
	for i, q := range list {
		t := m.Topic(q.Topic)
		if t == nil {
			refusals[i] = refuse(wire.ErrUnknownTopicOrPartition, "Unable to find a topic named %s.", q.Topic)
			continue
		}
		if q.Partition < 0 || int(q.Partition) >= len(t.Partitions) {
			refusals[i] = refuse(wire.ErrUnknownTopicOrPartition, "Unable to find partition %s:%d.", q.Topic, q.Partition)
			continue
		}
		p := &t.Partitions[q.Partition]
		var want target
		if q.Replicas == nil {
			want, refusals[i] = reverted(p, q, func() bool { return unclean(q.Topic) })
		} else {
			want, refusals[i] = reassigned(p, q), check(p, q)
		}
		if refusals[i] != nil {
			continue
		}
		c := e.settle(t, q.Partition, want)
		id := wire.TopicIDPartition{Topic: t.ID, Partition: q.Partition}
		k, twice := at[id]
		switch {
		case c != nil && twice:
			records[k] = c
		case c != nil:
			at[id] = len(records)
			records = append(records, c)
		case twice:
			records[k] = nil
		}
	}
	return slices.DeleteFunc(records, func(r metadata.Record) bool { return r == nil }), refusals
}

// reassigned is the target of a reassignment. Of one that is under way it takes over what it still wants: a replica that was being
// added is still new, and one that was being removed stays.
func reassigned(p *metadata.PartitionInfo, q Reassignment) target {
	want := asIs(p)
	want.removing = without(p.Replicas, q.Replicas)
	want.adding = without(q.Replicas, without(p.Replicas, p.Adding))
	want.replicas = union(q.Replicas, want.removing)
	return want
}

// reverted is the target of a cancellation: without what was being added, with what was being removed.
func reverted(p *metadata.PartitionInfo, q Reassignment, unclean func() bool) (target, *Refusal) {
	if !p.Reassigning() {
		return target{}, refuse(wire.ErrNoReassignmentInProgress, "") // the code says it
	}
	want := asIs(p)
	want.adding, want.removing = nil, nil
	want.replicas, want.isr = without(p.Replicas, p.Adding), without(p.ISR, p.Adding)
	if len(want.replicas) == 0 {
		return target{}, refuse(wire.ErrInvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because nothing would be left.", q.Topic, q.Partition)
	}
	had, left := union(p.ISR, p.ELR), without(union(p.ISR, p.ELR), p.Adding)
	if len(had) > 0 && len(left) == 0 {
		if !unclean() {
			return target{}, refuse(wire.ErrInvalidReplicaAssignment, "Unable to revert partition assignment for %s:%d because it would require an unclean leader election.", q.Topic, q.Partition)
		}
		want.unclean = want.replicas[0]
	}
	return want, nil
}

// Mend plans what is due without anybody asking for it: reassignments that can end, and leaders for partitions that an eligible
// replica can lead. Every plan that changes a partition does as much for it, so that this is for what changed around partitions.
func Mend(m *metadata.Image) []metadata.Record {
	e := newElectorate(m)
	return e.sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		return asIs(p), p.Reassigning() || p.Leader == wire.NoBroker && slices.ContainsFunc(p.ELR, e.live)
	})
}
