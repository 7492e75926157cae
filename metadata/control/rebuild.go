package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// chooser picks brokers for single replicas: on racks that a partition stands on least, and of those who hold the fewest replicas.
// What it picked counts from then on.
type chooser struct {
	live  []*metadata.BrokerInfo // by id; without those that are cordoned
	rack  map[wire.BrokerID]string
	holds map[wire.BrokerID]int // replicas, with those under way
}

func newChooser(m *metadata.Image) *chooser {
	c := &chooser{live: usable(m), rack: map[wire.BrokerID]string{}, holds: map[wire.BrokerID]int{}}
	m.Brokers(func(b *metadata.BrokerInfo) bool { c.rack[b.Broker] = rackOf(b); return true })
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			for _, id := range without(t.Partitions[i].Replicas, t.Partitions[i].Removing) {
				c.holds[id]++
			}
		}
		return true
	})
	return c
}

// pick returns a broker for one replica more of a partition that is held by others and not by those to avoid; NoBroker if there is
// none. Where racks are equal, the one that is named is better: the partition stood there before.
func (c *chooser) pick(others, avoid []wire.BrokerID, rack string) wire.BrokerID {
	free := func(b *metadata.BrokerInfo) bool {
		return !slices.Contains(others, b.Broker) && !slices.Contains(avoid, b.Broker)
	}
	if !slices.ContainsFunc(c.live, free) {
		return wire.NoBroker // as where all brokers there are hold the partition
	}
	on := map[string]int{}
	for _, id := range others {
		on[c.rack[id]]++
	}
	best := wire.NoBroker
	better := func(a, b wire.BrokerID) bool {
		ra, rb := c.rack[a], c.rack[b]
		switch {
		case on[ra] != on[rb]:
			return on[ra] < on[rb]
		case (ra == rack) != (rb == rack):
			return ra == rack
		}
		return c.holds[a] < c.holds[b]
	}
	for _, b := range c.live {
		if free(b) && (best == wire.NoBroker || better(b.Broker, best)) {
			best = b.Broker
		}
	}
	if best != wire.NoBroker {
		c.holds[best]++
	}
	return best
}

// Grow plans that topics which were made with fewer replicas than they are wanted to have, since there were too few brokers, get
// more as brokers are there. A topic that has as many as are wanted is not grown again, whatever an operator makes of it.
func Grow(m *metadata.Image) []metadata.Record {
	var records []metadata.Record
	var choose *chooser
	live := -1
	m.Topics(func(t *metadata.Topic) bool {
		if t.Wanted == 0 {
			return true
		}
		if live < 0 {
			live = len(m.Live())
		}
		fewest, list := factor(t), []Reassignment(nil)
		if fewest >= int(t.Wanted) {
			records = append(records, &metadata.TopicWish{Topic: t.ID})
			return true
		}
		if fewest >= live { // the usual case while they are too few: nothing to look at
			return true
		}
		if choose == nil {
			choose = newChooser(m)
		}
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if p.Reassigning() || p.Leader == wire.NoBroker || len(p.Replicas) >= int(t.Wanted) {
				continue
			}
			replicas := slices.Clone(p.Replicas)
			for len(replicas) < int(t.Wanted) {
				id := choose.pick(replicas, nil, "")
				if id == wire.NoBroker {
					break
				}
				replicas = append(replicas, id)
			}
			if len(replicas) > len(p.Replicas) {
				list = append(list, Reassignment{Topic: t.Name, Partition: wire.Partition(i), Replicas: replicas})
			}
		}
		records = append(records, byItself(m, list)...)
		return true
	})
	return records
}

// factor returns the fewest replicas that a partition of a topic has for good.
func factor(t *metadata.Topic) int {
	fewest := -1
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if n := len(without(p.Replicas, union(p.Adding, p.Removing))); fewest < 0 || n < fewest {
			fewest = n
		}
	}
	return fewest
}

// Rebuild plans that replicas on brokers that are lost are made anew on others; at most limit partitions are under way at a time, so
// that the copying leaves room for the work. A partition that has no leader, or is being reassigned already, is left alone, and so
// is one for which there is no other broker. Where it can be, the new replica stands in the rack of the old one.
func Rebuild(m *metadata.Image, lost []wire.BrokerID, limit int) []metadata.Record {
	if len(lost) == 0 {
		return nil
	}
	under := 0
	var waiting []wire.TopicIDPartition
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			ours := len(p.Removing) > 0 && len(without(p.Removing, lost)) == 0 // begun here, most likely
			switch {
			case ours && len(among(p.Adding, lost)) > 0 && p.Leader != wire.NoBroker:
				waiting = append(waiting, wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)}) // its new broker was lost, too
			case ours:
				under++
			case p.Reassigning() || p.Leader == wire.NoBroker || len(among(p.Replicas, lost)) == 0:
			default:
				waiting = append(waiting, wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)})
			}
		}
		return true
	})
	if len(waiting) == 0 || under >= limit {
		return nil
	}
	choose := newChooser(m)
	var list []Reassignment
	for _, id := range waiting {
		if len(list) == limit-under {
			break
		}
		t := m.TopicByID(id.Topic)
		p := &t.Partitions[id.Partition]
		before := without(p.Replicas, p.Removing)
		replicas := slices.Clone(before)
		for k, old := range replicas {
			if !slices.Contains(lost, old) {
				continue
			}
			if next := choose.pick(without(replicas, lost), lost, choose.rack[old]); next != wire.NoBroker {
				replicas[k] = next
			}
		}
		if !slices.Equal(replicas, before) {
			list = append(list, Reassignment{Topic: t.Name, Partition: id.Partition, Replicas: replicas})
		}
	}
	return byItself(m, list)
}

// Replaces reports whether a partition is being reassigned off brokers that are all gone or fenced, as [Rebuild] has it.
func Replaces(m *metadata.Image, p *metadata.PartitionInfo) bool {
	return len(p.Removing) > 0 && !slices.ContainsFunc(p.Removing, func(id wire.BrokerID) bool {
		b := m.Broker(id)
		return b != nil && !b.Fenced
	})
}

// byItself plans reassignments that nobody asked for. New replicas go to brokers that may have them; what stays where it is need not
// be asked about.
func byItself(m *metadata.Image, list []Reassignment) []metadata.Record {
	records, _ := reassign(m, list, func(string) bool { return false }, func(*metadata.PartitionInfo, Reassignment) *Refusal { return nil })
	return records
}

// Unregistered returns the brokers that hold replicas and are not registered any more, by id.
func Unregistered(m *metadata.Image) []wire.BrokerID {
	known := map[wire.BrokerID]bool{}
	m.Brokers(func(b *metadata.BrokerInfo) bool { known[b.Broker] = true; return true })
	var out []wire.BrokerID
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			for _, id := range t.Partitions[i].Replicas {
				if !known[id] {
					known[id] = true // once is enough
					out = append(out, id)
				}
			}
		}
		return true
	})
	slices.Sort(out)
	return out
}
