package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// place assigns replicas of count new partitions of one topic to brokers, which must be at least as many as replicas;
// existing is where the topic's partitions are already, which stay there.
//
// Leaders go to the brokers that lead fewest of the topic, of those to who holds fewest, in an order that begins at seed and in which neighbours stand in
// different racks. The other replicas go to racks that the partition is not on yet, and among those to the brokers that
// hold fewest; where that is equal, the distance to the leader grows by one with each round over the brokers, so that the
// followers of one broker's partitions are spread as well. At the end, replicas are moved from who holds most to who holds
// fewest, as long as a partition's racks allow it.
func place(brokers []*metadata.BrokerInfo, seed uint64, existing [][]wire.BrokerID, count, replicas int) [][]wire.BrokerID {
	p := placement{order: interleaveRacks(brokers), at: map[wire.BrokerID]int{}}
	n := len(p.order)
	p.leads, p.holds, p.rack = make([]int, n), make([]int, n), make([]int, n)
	racks := map[string]int{}
	for i, b := range p.order {
		p.at[b.Broker] = i
		if _, ok := racks[rackOf(b)]; !ok {
			racks[rackOf(b)] = len(racks)
		}
		p.rack[i] = racks[rackOf(b)]
	}
	p.racks = len(racks)
	for _, ids := range existing {
		for k, id := range ids {
			if i, here := p.at[id]; here {
				p.holds[i]++
				if k == 0 {
					p.leads[i]++
				}
			}
		}
	}
	chosen := make([][]int, count)
	for i := range chosen { // all leaders first: what they hold counts for the followers of all
		fewest := slices.Min(p.leads)
		leader := p.least(int((seed+uint64(len(existing)+i))%uint64(n)), p.holds, func(i int) bool { return p.leads[i] == fewest })
		p.leads[leader]++
		p.holds[leader]++
		chosen[i] = []int{leader}
	}
	for i := range chosen {
		shift := (len(existing) + i) / n % max(n-1, 1)
		for len(chosen[i]) < replicas {
			next := p.follower(chosen[i], shift)
			p.holds[next]++
			chosen[i] = append(chosen[i], next)
		}
	}
	p.even(chosen)
	out := make([][]wire.BrokerID, count)
	for i, places := range chosen {
		for _, k := range places {
			out[i] = append(out[i], p.order[k].Broker)
		}
	}
	return out
}

// placement is a placement in the making. Brokers are numbered by their place in order.
type placement struct {
	order        []*metadata.BrokerInfo
	at           map[wire.BrokerID]int
	rack         []int // by broker
	racks        int
	leads, holds []int // by broker
}

// least returns the allowed broker with the lowest load, the first from a place on where several have it; -1: none.
func (p *placement) least(from int, load []int, allowed func(int) bool) int {
	best := -1
	for k := range p.order {
		i := (from + k) % len(p.order)
		if allowed(i) && (best < 0 || load[i] < load[best]) {
			best = i
		}
	}
	return best
}

// follower chooses the next replica of a partition: on a rack that it is not on, if there is one left.
func (p *placement) follower(chosen []int, shift int) int {
	on := p.racksOf(chosen, -1)
	from := chosen[0] + 1 + shift
	free := func(i int) bool { return !slices.Contains(chosen, i) }
	if i := p.least(from, p.holds, func(i int) bool { return free(i) && on[p.rack[i]] == 0 }); i >= 0 {
		return i
	}
	fewest := len(chosen)
	for i := range p.order {
		if free(i) {
			fewest = min(fewest, on[p.rack[i]])
		}
	}
	return p.least(from, p.holds, func(i int) bool { return free(i) && on[p.rack[i]] == fewest })
}

// racksOf counts the replicas on each rack, without one of them.
func (p *placement) racksOf(chosen []int, without int) []int {
	on := make([]int, p.racks)
	for _, i := range chosen {
		if i != without {
			on[p.rack[i]]++
		}
	}
	return on
}

// even moves followers until what the brokers hold differs by one at most, or no chain of moves brings that nearer.
func (p *placement) even(chosen [][]int) {
	for {
		most, least := 0, 0
		for i := range p.order {
			if p.holds[i] > p.holds[most] {
				most = i
			}
			if p.holds[i] < p.holds[least] {
				least = i
			}
		}
		if p.holds[most]-p.holds[least] < 2 || !p.shift(chosen) {
			return
		}
	}
}

// move is a follower that could stand elsewhere.
type move struct{ partition, from, to int }

// shift looks for the shortest chain of moves that takes a replica off a broker that holds most and ends at one that holds
// at least two fewer, and makes it.
func (p *placement) shift(chosen [][]int) bool {
	top := slices.Max(p.holds)
	came := make([]*move, len(p.order))
	reached := make([]bool, len(p.order))
	var queue []int
	for i, h := range p.holds {
		if h == top {
			reached[i] = true
			queue = append(queue, i)
		}
	}
	for len(queue) > 0 {
		from := queue[0]
		queue = queue[1:]
		if p.holds[from] <= top-2 {
			for m := came[from]; m != nil; m = came[m.from] {
				k := slices.Index(chosen[m.partition], m.from)
				chosen[m.partition][k] = m.to
				p.holds[m.from]--
				p.holds[m.to]++
			}
			return true
		}
		for i, places := range chosen {
			k := slices.Index(places, from)
			if k <= 0 { // not there, or its leader
				continue
			}
			on := p.racksOf(places, from)
			for to := range p.order {
				if reached[to] || slices.Contains(places, to) || on[p.rack[to]] > on[p.rack[from]] {
					continue
				}
				if moved := slices.ContainsFunc(p.chain(came, from), func(m *move) bool { return m.partition == i }); moved {
					continue // a partition moves once in a chain: its racks were looked at as they are
				}
				reached[to] = true
				came[to] = &move{i, from, to}
				queue = append(queue, to)
			}
		}
	}
	return false
}

// chain returns the moves that lead to a broker.
func (p *placement) chain(came []*move, to int) []*move {
	var out []*move
	for m := came[to]; m != nil; m = came[m.from] {
		out = append(out, m)
	}
	return out
}

// rackOf returns the broker's rack; brokers without one share a rack of their own.
func rackOf(b *metadata.BrokerInfo) string {
	if b.Rack == nil {
		return ""
	}
	return *b.Rack
}

// interleaveRacks orders brokers so that neighbours stand in different racks as far as possible. brokers come by id.
func interleaveRacks(brokers []*metadata.BrokerInfo) []*metadata.BrokerInfo {
	var names []string
	byRack := map[string][]*metadata.BrokerInfo{}
	for _, b := range brokers {
		r := rackOf(b)
		if byRack[r] == nil {
			names = append(names, r) // in the order of the racks' first brokers: no map order
		}
		byRack[r] = append(byRack[r], b)
	}
	var out []*metadata.BrokerInfo
	for round := 0; len(out) < len(brokers); round++ {
		for _, r := range names {
			if round < len(byRack[r]) {
				out = append(out, byRack[r][round])
			}
		}
	}
	return out
}
