package control

import (
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// place assigns replicas of the partitions [first, first+count) of one topic to brokers, which must be at least as many
// as replicas. Leaders rotate over all brokers from seed on; the replicas of a partition are spread over racks first and
// brokers second; the distance between a leader and its followers grows by one with each round, so that the followers
// of one broker's partitions are spread as well.
func place(brokers []*metadata.BrokerInfo, seed uint64, first, count, replicas int) [][]wire.BrokerID {
	order := interleaveRacks(brokers)
	n := len(order)
	out := make([][]wire.BrokerID, count)
	for i := range out {
		p := first + i
		leader := int((seed + uint64(p)) % uint64(n))
		shift := p / n % max(n-1, 1)
		out[i] = pick(order, leader, shift, replicas)
	}
	return out
}

// pick takes the leader, then walks the others from leader+1+shift: brokers on racks not used yet come first.
func pick(order []*metadata.BrokerInfo, leader, shift, replicas int) []wire.BrokerID {
	n := len(order)
	taken := make([]bool, n)
	racks := map[string]bool{}
	var ids []wire.BrokerID
	take := func(i int) {
		taken[i] = true
		racks[rackOf(order[i])] = true
		ids = append(ids, order[i].Broker)
	}
	take(leader)
	for len(ids) < replicas {
		next := -1
		for k := 0; k < n-1; k++ {
			i := (leader + 1 + (shift+k)%(n-1)) % n
			if taken[i] {
				continue
			}
			if !racks[rackOf(order[i])] {
				next = i
				break
			}
			if next < 0 {
				next = i
			}
		}
		if racks[rackOf(order[next])] {
			clear(racks) // every rack has one: begin another round over the racks
		}
		take(next)
	}
	return ids
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
