package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// ProducerIDBlock is how many producer ids a broker is given at a time (Kafka's ProducerIdsBlock).
const ProducerIDBlock = 1000

// Found plans the first command of a cluster: what the founder's program supports is finalised.
func Found(clusterID string) []metadata.Record {
	return append([]metadata.Record{&metadata.Cluster{ID: clusterID}}, newFeatures()...)
}

// Damage is what a broker found of its replicas when it started.
type Damage struct {
	Lossy    bool                    // records that were on no disk are gone: the machine went down since they came
	Suspects []wire.TopicIDPartition // damaged, or missing
}

// Register plans the registration of a broker's new incarnation, fenced, and returns its id: the one that is asked for,
// the one its directory has, or a new one. In the same command the partitions that its old incarnation led get other leaders, and
// its replicas that lost records, or may have, are no more taken for what they were: a suspect one never is, those of topics that
// acknowledge from the page cache after a lossy start, and all of them when the log directory is another one.
func Register(m *metadata.Image, r metadata.RegisterBroker, found Damage) ([]metadata.Record, wire.BrokerID, *Refusal) {
	if refusal := checkFeatures(m, &r); refusal != nil {
		return nil, 0, refusal
	}
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
		return nil, 0, refuse(wire.ErrDuplicateBrokerRegistration, "Broker %d is registered from another directory and is alive. Give this node another broker id; one that is to take that broker's place is started with --replace when it is down.", r.Broker)
	}
	return append([]metadata.Record{&r}, reborn(m, old, r, found)...), r.Broker, nil
}

// reborn plans what the registration r, which takes the place of old (nil: of none), means for partitions.
func reborn(m *metadata.Image, old *metadata.BrokerInfo, r metadata.RegisterBroker, found Damage) []metadata.Record {
	id := r.Broker
	e := newElectorate(m.With(&r))
	lower := e.minInSync < newElectorate(m).minInSync
	emptied := old != nil && (old.Directory != r.Directory || len(old.LogDirs) > 0 && !slices.ContainsFunc(old.LogDirs, func(d wire.UUID) bool { return slices.Contains(r.LogDirs, d) }))
	if !lower && (old == nil || old.Fenced && !emptied && !found.Lossy && len(found.Suspects) == 0) {
		return nil
	}
	suspects := make(map[wire.TopicIDPartition]bool, len(found.Suspects))
	for _, s := range found.Suspects {
		suspects[s] = true
	}
	return e.sweep(func(t *metadata.Topic, i wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		want := asIs(p)
		counts := slices.Contains(p.ISR, id) || slices.Contains(p.ELR, id)
		if counts {
			want.isr = without(p.ISR, []wire.BrokerID{id})
			if emptied || suspects[wire.TopicIDPartition{Topic: t.ID, Partition: i}] || found.Lossy && e.replicatedOf(t.Name) {
				want.lost = []wire.BrokerID{id}
			}
		}
		return want, counts || lower && len(p.ELR) > 0
	})
}

// Unregister plans that a broker leaves the cluster for good. Its replicas stay assigned, and count for lost; its directory is not let
// in again unless an operator wants it (see [Readmit]).
func Unregister(m *metadata.Image, id wire.BrokerID) ([]metadata.Record, *Refusal) {
	b := m.Broker(id)
	if b == nil {
		return nil, refuse(wire.ErrBrokerIDNotRegistered, "Broker ID %d is not currently registered", id)
	}
	gone := &metadata.UnregisterBroker{Broker: id, Epoch: b.Epoch}
	one := []wire.BrokerID{id}
	return append([]metadata.Record{gone, &metadata.RemovedDirectory{Directory: b.Directory, Broker: id}}, newElectorate(m.With(gone)).sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		want := asIs(p)
		want.isr, want.lost = without(p.ISR, one), one
		return want, slices.Contains(p.ISR, id) || slices.Contains(p.ELR, id)
	})...), nil
}

// Readmit refuses a directory whose broker was removed from the cluster, or plans that it is let in again if that is wanted. What it
// holds counts for nothing more than it did when it was removed.
func Readmit(m *metadata.Image, directory wire.UUID, wanted bool) ([]metadata.Record, *Refusal) {
	d := m.RemovedDirectory(directory)
	switch {
	case d == nil:
		return nil, nil
	case !wanted:
		return nil, refuse(wire.ErrBrokerIDNotRegistered, "Broker %d was removed from the cluster, and this is its directory. To bring it back with what it holds, start it once with --readmit; a node with an empty directory joins as a new broker.", d.Broker)
	}
	return []metadata.Record{&metadata.RemovedDirectory{Directory: directory, Broker: d.Broker, Back: true}}, nil
}

// CheckReplace refuses a directory that is to take the place of another, which is down, as the one of a broker's id, unless that is
// wanted: the broker may only be away, and what nobody else holds would be lost. That one is refused in the same way when it comes back.
func CheckReplace(m *metadata.Image, r *metadata.RegisterBroker, wanted bool) *Refusal {
	old := m.Broker(r.Broker)
	if wanted || old == nil || !old.Fenced || old.Directory == r.Directory || m.BrokerByDirectory(r.Directory) != nil {
		return nil
	}
	return refuse(wire.ErrDuplicateBrokerRegistration, "Broker %d is registered from another directory, which is down. If that one is gone for good, start this node once with --replace: it takes the broker's place, and what nobody else holds of its records is lost. Else start the other, or give this node another broker id.", r.Broker)
}

// Unfence plans that a caught-up broker takes part: it is unfenced, and leads what it can lead.
func Unfence(m *metadata.Image, id wire.BrokerID) []metadata.Record {
	b := m.Broker(id)
	if b == nil || !b.Fenced {
		return nil
	}
	state := &metadata.BrokerState{Broker: id, Epoch: b.Epoch}
	return append([]metadata.Record{state}, newElectorate(m.With(state)).sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		return asIs(p), p.Leader == wire.NoBroker && slices.Contains(p.Replicas, id)
	})...)
}

// Retire plans the first step of a broker's stop: it goes on serving, but gives away what another can lead, and leaves the ISRs that
// do not need it. [Fence] is the second, when all know of the first.
func Retire(m *metadata.Image, id wire.BrokerID) []metadata.Record {
	b := m.Broker(id)
	if b == nil || !b.Live() {
		return nil
	}
	state := &metadata.BrokerState{Broker: id, Epoch: b.Epoch, ShuttingDown: true}
	one := []wire.BrokerID{id}
	records := newElectorate(m.With(state)).sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		want := asIs(p)
		want.isr = without(p.ISR, one)
		return want, slices.Contains(p.ISR, id)
	})
	records = slices.DeleteFunc(records, func(r metadata.Record) bool { // those that nobody else can lead
		c, ok := r.(*metadata.PartitionChange)
		return ok && c.Leader == wire.NoBroker
	})
	return append([]metadata.Record{state}, records...)
}

// Fence plans that a broker takes no part any more. shutdown says that it asked for it. It leaves every ISR; where that leaves
// fewer than min.insync.replicas it stays eligible, since no watermark moves without it: so the last of an ISR is not in it any
// more, and the only one that can be elected.
func Fence(m *metadata.Image, id wire.BrokerID, shutdown bool) []metadata.Record {
	b := m.Broker(id)
	if b == nil || b.Fenced {
		return nil
	}
	state := &metadata.BrokerState{Broker: id, Epoch: b.Epoch, Fenced: true, ShuttingDown: shutdown}
	one := []wire.BrokerID{id}
	return append([]metadata.Record{state}, newElectorate(m.With(state)).sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		want := asIs(p)
		want.isr = without(p.ISR, one)
		return want, slices.Contains(p.ISR, id)
	})...)
}

// AllocateProducerIDs plans a block of producer ids for a broker, and returns its first.
func AllocateProducerIDs(m *metadata.Image, id wire.BrokerID, epoch wire.BrokerEpoch) ([]metadata.Record, wire.ProducerID) {
	first := m.NextProducerID()
	return []metadata.Record{&metadata.ProducerIDs{Broker: id, Epoch: epoch, Next: first + ProducerIDBlock}}, first
}
