package control

import (
	"cmp"
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// ReplicaState is what a broker says of a replica of its own.
type ReplicaState struct {
	LastEpoch wire.LeaderEpoch // of its last batch; NoLeaderEpoch: it is empty
	End       wire.Offset
	Suspect   bool // damaged, or not there at all
}

// compare orders replicas by what they hold: the sound before the suspect, then by epoch, then by end.
func (s ReplicaState) compare(other ReplicaState) int {
	sound := func(s ReplicaState) int {
		if s.Suspect {
			return 0
		}
		return 1
	}
	return cmp.Or(cmp.Compare(sound(s), sound(other)), cmp.Compare(s.LastEpoch, other.LastEpoch), cmp.Compare(s.End, other.End))
}

// Survey is what brokers said of their replicas. An answer counts as long as its broker is the same incarnation.
type Survey map[SurveyKey]ReplicaState

// SurveyKey names a replica of one incarnation of a broker.
type SurveyKey struct {
	Partition wire.TopicIDPartition
	Broker    wire.BrokerID
	Epoch     wire.BrokerEpoch
}

// Leaderless is a partition without a leader that may get one if brokers are asked for the state of their replicas.
type Leaderless struct {
	Partition wire.TopicIDPartition
	Ask       []wire.BrokerID // live ones
}

// candidates are the live replicas of a partition that has no leader, and whose answers a decision among them needs.
type candidates struct{ ask, need []wire.BrokerID }

// FindLeaderless returns the partitions that nobody leads, and who is to be asked about each. Those whose eligible replicas are
// all away, and that may not be led by another, are not among them: they wait. unclean tells of a topic whether any replica may
// lead it.
//
// A partition of which no replica is eligible any more was lost by all its replicas at once: they were damaged, or their machines
// went down with records that were on no disk. It waits until all that are registered and were among the last to be in sync
// are live, and is led by the live replica that holds most. Had it waited for fewer, that one may come back later and be cut to less.
// If all of those are damaged, it waits for an operator: to lead with what others have would throw away what can be read there.
func FindLeaderless(m *metadata.Image, unclean func(topic string) bool) []Leaderless {
	var out []Leaderless
	e := newElectorate(m)
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.Leader != wire.NoBroker {
				continue
			}
			if c := e.candidates(p, func() bool { return unclean(t.Name) }); len(c.ask) > 0 {
				out = append(out, Leaderless{wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)}, c.ask})
			}
		}
		return true
	})
	return out
}

// candidates returns who may lead a partition that has no leader, once it is known what they hold.
func (e *electorate) candidates(p *metadata.PartitionInfo, unclean func() bool) candidates {
	live := filter(p.Replicas, e.live)
	if len(p.ISR) == 0 && len(p.ELR) == 0 {
		known := filter(p.LastKnownELR, func(id wire.BrokerID) bool { return e.m.Broker(id) != nil })
		if len(known) > 0 && len(without(known, live)) == 0 {
			return candidates{live, known}
		}
	}
	if len(live) > 0 && unclean() {
		return candidates{live, nil}
	}
	return candidates{}
}

// Recover plans leaders for partitions that nobody leads, by what brokers said of their replicas. Of a topic that any replica may
// lead, the best of those that answered leads; else it takes the answers of all that were among the last in sync, one of which is sound.
func Recover(m *metadata.Image, unclean func(topic string) bool, s Survey) []metadata.Record {
	e := newElectorate(m)
	asked := map[wire.TopicIDPartition]bool{}
	for k := range s {
		asked[k.Partition] = true
	}
	return e.sweep(func(t *metadata.Topic, i wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		id := wire.TopicIDPartition{Topic: t.ID, Partition: i}
		if p.Leader != wire.NoBroker || !asked[id] {
			return target{}, false
		}
		anybody := unclean(t.Name)
		c := e.candidates(p, func() bool { return anybody })
		_, last, silent := e.best(id, c.need, s)
		want := asIs(p)
		want.unclean, _, _ = e.best(id, c.ask, s)
		return want, want.unclean != wire.NoBroker && (anybody || len(silent) == 0 && !last.Suspect)
	})
}

// best returns which of some brokers holds most, the first where several do, and which of them did not answer.
func (e *electorate) best(id wire.TopicIDPartition, list []wire.BrokerID, s Survey) (best wire.BrokerID, state ReplicaState, silent []wire.BrokerID) {
	best = wire.NoBroker
	for _, c := range list {
		b := e.m.Broker(c)
		if b == nil {
			continue
		}
		answer, ok := s[SurveyKey{id, c, b.Epoch}]
		switch {
		case !ok:
			silent = append(silent, c)
		case best == wire.NoBroker, answer.compare(state) > 0:
			best, state = c, answer
		}
	}
	return best, state, silent
}

// Elected is what became of one partition of an election by request.
type Elected struct {
	Topic     string
	Partition wire.Partition
	Refusal   *Refusal // nil: it is led as was asked
}

// ElectPreferred plans that preferred replicas lead. nil stands for all partitions; then those that need no election are left out
// of the answer.
func ElectPreferred(m *metadata.Image, list []wire.TopicPartition) ([]metadata.Record, []Elected) {
	return elect(m, list, func(e *electorate, t *metadata.Topic, i wire.Partition) (*metadata.PartitionChange, *Refusal) {
		p := &t.Partitions[i]
		if p.Leader == p.Replicas[0] {
			return nil, refuse(wire.ErrElectionNotNeeded, "Leader election not needed for topic partition.")
		}
		want := asIs(p)
		want.preferred = true
		c := e.settle(t, i, want)
		if c == nil || c.Leader != p.Replicas[0] {
			return nil, refuse(wire.ErrPreferredLeaderNotAvailable, "The preferred leader was not available.")
		}
		return c, nil
	})
}

// ElectUnclean plans leaders for partitions that have none, whatever records are lost by it: the best of the live replicas, where
// one that did not say what it holds counts for less than any that did.
func ElectUnclean(m *metadata.Image, list []wire.TopicPartition, s Survey) ([]metadata.Record, []Elected) {
	return elect(m, list, func(e *electorate, t *metadata.Topic, i wire.Partition) (*metadata.PartitionChange, *Refusal) {
		p := &t.Partitions[i]
		if p.Leader != wire.NoBroker {
			return nil, refuse(wire.ErrElectionNotNeeded, "Leader election not needed for topic partition.")
		}
		live := filter(p.Replicas, e.live)
		if len(live) == 0 {
			return nil, refuse(wire.ErrEligibleLeadersNotAvailable, "Eligible topic partition leaders are not available.")
		}
		want := asIs(p)
		if want.unclean, _, _ = e.best(wire.TopicIDPartition{Topic: t.ID, Partition: i}, live, s); want.unclean == wire.NoBroker {
			want.unclean = live[0]
		}
		return e.settle(t, i, want), nil
	})
}

// elect plans elections by request.
func elect(m *metadata.Image, list []wire.TopicPartition, plan func(*electorate, *metadata.Topic, wire.Partition) (*metadata.PartitionChange, *Refusal)) ([]metadata.Record, []Elected) {
	everything := list == nil
	if everything {
		m.Topics(func(t *metadata.Topic) bool {
			for i := range t.Partitions {
				list = append(list, wire.TopicPartition{Topic: t.Name, Partition: wire.Partition(i)})
			}
			return true
		})
	}
	e := newElectorate(m)
	var records []metadata.Record
	answers := make([]Elected, 0, len(list))
	seen := make(map[wire.TopicPartition]bool, len(list))
	for _, q := range list {
		a := Elected{Topic: q.Topic, Partition: q.Partition}
		t := m.Topic(q.Topic)
		switch {
		case t == nil:
			a.Refusal = refuse(wire.ErrUnknownTopicOrPartition, "No such topic as %s", q.Topic)
		case q.Partition < 0 || int(q.Partition) >= len(t.Partitions):
			a.Refusal = refuse(wire.ErrUnknownTopicOrPartition, "No such partition as %s-%d", q.Topic, q.Partition)
		case seen[q]:
			a.Refusal = refuse(wire.ErrElectionNotNeeded, "Leader election not needed for topic partition.")
		default:
			seen[q] = true
			var c *metadata.PartitionChange
			if c, a.Refusal = plan(e, t, q.Partition); c != nil {
				records = append(records, c)
			}
		}
		if everything && a.Refusal != nil && a.Refusal.Code == wire.ErrElectionNotNeeded {
			continue
		}
		answers = append(answers, a)
	}
	return records, answers
}

// ElectUncleanAsks returns who is to be asked what it holds before an election by request that may be unclean.
func ElectUncleanAsks(m *metadata.Image, list []wire.TopicPartition) []Leaderless {
	var out []Leaderless
	e := newElectorate(m)
	_, _ = elect(m, list, func(_ *electorate, t *metadata.Topic, i wire.Partition) (*metadata.PartitionChange, *Refusal) {
		p := &t.Partitions[i]
		if live := filter(p.Replicas, e.live); p.Leader == wire.NoBroker && len(live) > 0 {
			out = append(out, Leaderless{wire.TopicIDPartition{Topic: t.ID, Partition: i}, live})
		}
		return nil, nil
	})
	return out
}

func filter(list []wire.BrokerID, keep func(wire.BrokerID) bool) []wire.BrokerID {
	return slices.DeleteFunc(slices.Clone(list), func(id wire.BrokerID) bool { return !keep(id) })
}
