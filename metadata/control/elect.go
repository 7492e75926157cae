package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// electorate is what the decisions of one plan about partitions go by: the metadata as the plan leaves it but for the partitions,
// and the settings that count. Leaders go by their own configuration, so a setting on which safety depends is taken as the
// weakest that any registered broker may have.
type electorate struct {
	m *metadata.Image

	// What holds where a topic says nothing. Eligible replicas are kept below the least min.insync.replicas of all: at that
	// size of the ISR, no leader moves its watermark.
	minInSync  int
	replicated bool // some broker may count the page cache of others
}

func newElectorate(m *metadata.Image) *electorate {
	e := &electorate{m: m, minInSync: -1}
	all := metadata.Resource{Type: metadata.ResourceBroker}
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		own := ownResource(b.Broker)
		least := max(int(b.MinInSync), 1)
		replicated := b.Replicated
		for _, r := range []metadata.Resource{all, own} {
			if v, ok := m.Config(r)["min.insync.replicas"]; ok {
				least = int(mustInt(config.Lookup(config.Broker, "min.insync.replicas").Canonical(v)))
			}
			if v, ok := m.Config(r)["log.durability"]; ok {
				replicated = v == "replicated"
			}
		}
		if e.minInSync < 0 || least < e.minInSync {
			e.minInSync = least
		}
		e.replicated = e.replicated || replicated
		return true
	})
	e.minInSync = max(e.minInSync, 1)
	return e
}

// minInSyncOf returns the least min.insync.replicas that a leader of the topic's partitions goes by.
func (e *electorate) minInSyncOf(topic string) int {
	if v, ok := e.m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: topic})["min.insync.replicas"]; ok {
		return int(mustInt(config.Lookup(config.Topic, "min.insync.replicas").Canonical(v)))
	}
	return e.minInSync
}

// replicatedOf reports whether records of the topic may be acknowledged that are on no disk.
func (e *electorate) replicatedOf(topic string) bool {
	if v, ok := e.m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: topic})["durability"]; ok {
		return v == "replicated"
	}
	return e.replicated
}

// live reports whether a broker may become a leader.
func (e *electorate) live(id wire.BrokerID) bool {
	b := e.m.Broker(id)
	return b != nil && b.Live()
}

// unfenced reports whether a broker is there at all.
func (e *electorate) unfenced(id wire.BrokerID) bool {
	b := e.m.Broker(id)
	return b != nil && !b.Fenced
}

// target is what a partition is to become, as far as it was asked for; [electorate.settle] adds what follows.
type target struct {
	isr                        []wire.BrokerID
	replicas, adding, removing []wire.BrokerID

	lost      []wire.BrokerID // replicas that lost records, or may have
	proven    bool            // a leader that lives asks for it
	preferred bool            // the preferred leader is to lead, if it can
	unclean   wire.BrokerID   // leads whatever it lacks, if nobody else can; NoBroker: no one
}

// asIs is the target that changes nothing by itself.
func asIs(p *metadata.PartitionInfo) target {
	return target{isr: p.ISR, replicas: p.Replicas, adding: p.Adding, removing: p.Removing, unclean: wire.NoBroker}
}

// settle returns the change that brings a partition to its target, or nil if it is there: a reassignment whose replicas are in
// sync is completed, the eligible replicas are those that left the ISR while it was too small for the watermark to move, and a
// leader is elected if the present one cannot go on: the first live replica of the assignment that is in the ISR; if the ISR is
// empty, the first that is eligible. A broker that is about to stop leads on only where no other can, and is not in the ISR beside
// others.
func (e *electorate) settle(t *metadata.Topic, i wire.Partition, want target) *metadata.PartitionChange {
	p := &t.Partitions[i]
	least := e.minInSyncOf(t.Name)
	if live := filter(want.isr, e.live); len(live) > 0 {
		want.isr = live
	}
	want.complete(p, least)
	c := &metadata.PartitionChange{
		Topic: t.ID, Partition: i, ISR: want.isr, Leader: wire.NoBroker, Replicas: want.replicas, Adding: want.adding, Removing: want.removing,
	}
	enough := len(want.isr) >= min(least, len(want.replicas))
	if !enough {
		c.ELR = without(among(union(p.ELR, p.ISR), want.replicas), union(want.isr, want.lost))
	}
	c.LastKnownELR = without(among(union(p.LastKnownELR, among(want.lost, union(p.ISR, p.ELR))), want.replicas), union(want.isr, c.ELR))
	if enough && want.proven {
		// Whoever is in sync with a leader that lives has all that was committed, which a memory of older times may lack.
		c.LastKnownELR = nil
	}
	e.elect(p, want, least, c)
	c.BumpLeaderEpoch = c.Leader != p.Leader || len(without(p.Replicas, c.Replicas)) > 0
	if !c.BumpLeaderEpoch && slices.Equal(c.Replicas, p.Replicas) && same(c.ISR, p.ISR) && same(c.ELR, p.ELR) &&
		same(c.LastKnownELR, p.LastKnownELR) && same(c.Adding, p.Adding) && same(c.Removing, p.Removing) {
		return nil
	}
	if slices.Equal(c.Replicas, p.Replicas) {
		c.Replicas = nil
	}
	return c
}

// complete ends a reassignment of p that can end: those being added are in the ISR, and neither the ISR nor, where there are to be
// fewer replicas than before, the redundancy suffers by it. While the ISR is too small for the watermark to move, none of the replicas goes
// that has what is acknowledged, though its broker stops at this moment: the ISR alone would be less than what was promised.
func (w *target) complete(p *metadata.PartitionInfo, least int) {
	if len(w.adding)+len(w.removing) == 0 {
		return
	}
	replicas, isr := without(w.replicas, w.removing), without(w.isr, w.removing)
	switch {
	case len(isr) == 0, len(without(w.adding, isr)) > 0:
		return
	case len(w.adding) < len(w.removing) && len(without(replicas, isr)) > 0:
		return
	case len(isr) < min(least, len(replicas)) && len(without(among(union(w.isr, union(p.ISR, p.ELR)), w.removing), w.lost)) > 0:
		return
	}
	w.replicas, w.isr, w.adding, w.removing = replicas, isr, nil, nil
}

// elect chooses the leader of a change, and sets what its election makes of the ISR.
func (e *electorate) elect(p *metadata.PartitionInfo, want target, least int, c *metadata.PartitionChange) {
	inSync := func(id wire.BrokerID) bool { return slices.Contains(c.ISR, id) }
	switch {
	case want.preferred && inSync(c.Replicas[0]) && e.live(c.Replicas[0]):
		c.Leader = c.Replicas[0]
		return
	case inSync(p.Leader) && e.unfenced(p.Leader):
		c.Leader = p.Leader
		return
	}
	if k := slices.IndexFunc(c.Replicas, func(id wire.BrokerID) bool { return inSync(id) && e.unfenced(id) }); k >= 0 {
		c.Leader = c.Replicas[k]
		return
	}
	if len(c.ISR) == 0 {
		eligible := func(id wire.BrokerID) bool { return slices.Contains(c.ELR, id) && e.live(id) }
		if k := slices.IndexFunc(c.Replicas, eligible); k >= 0 {
			c.Leader = c.Replicas[k]
			c.ISR = []wire.BrokerID{c.Leader}
			if c.ELR = without(c.ELR, c.ISR); min(least, len(c.Replicas)) == 1 {
				c.ELR = nil // the setting fell while nobody led: this leader moves the watermark by itself
			}
			return
		}
	}
	if want.unclean != wire.NoBroker && slices.Contains(c.Replicas, want.unclean) && e.live(want.unclean) {
		// What the others hold beyond this one's log is not part of the partition any more.
		c.Leader, c.ISR, c.ELR, c.LastKnownELR = want.unclean, []wire.BrokerID{want.unclean}, nil, nil
	}
}

// sweep settles all partitions that want something, in their order.
func (e *electorate) sweep(wants func(t *metadata.Topic, i wire.Partition, p *metadata.PartitionInfo) (target, bool)) []metadata.Record {
	var records []metadata.Record
	e.m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			if want, ok := wants(t, wire.Partition(i), &t.Partitions[i]); ok {
				if c := e.settle(t, wire.Partition(i), want); c != nil {
					records = append(records, c)
				}
			}
		}
		return true
	})
	return records
}

// FollowSettings plans what follows for partitions from changes of settings: a lower min.insync.replicas lets watermarks move that
// stood still, so who is out of the ISR is not eligible any more. It belongs into the same command.
func FollowSettings(m *metadata.Image, records []metadata.Record) []metadata.Record {
	matters := slices.ContainsFunc(records, func(r metadata.Record) bool {
		c, ok := r.(*metadata.ConfigRecord)
		return ok && c.Name == "min.insync.replicas"
	})
	if !matters {
		return nil
	}
	return newElectorate(m.With(records...)).sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		return asIs(p), len(p.ELR) > 0
	})
}

// union returns a and what b has beyond it.
func union(a, b []wire.BrokerID) []wire.BrokerID {
	out := slices.Clone(a)
	for _, id := range b {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

// without returns what a has and b has not; nil for nothing.
func without(a, b []wire.BrokerID) []wire.BrokerID {
	var out []wire.BrokerID
	for _, id := range a {
		if !slices.Contains(b, id) {
			out = append(out, id)
		}
	}
	return out
}

// among returns what both have, in the order of a.
func among(a, b []wire.BrokerID) []wire.BrokerID {
	var out []wire.BrokerID
	for _, id := range a {
		if slices.Contains(b, id) {
			out = append(out, id)
		}
	}
	return out
}

// same reports whether two lists without repetition have the same members.
func same(a, b []wire.BrokerID) bool { return len(a) == len(b) && len(without(a, b)) == 0 }
