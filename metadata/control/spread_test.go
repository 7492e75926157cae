package control

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// On random clusters of 1 to 50 brokers in 0 to 8 racks, with 1 to 5 replicas: the replicas of a partition are on distinct
// brokers and on as many racks as there can be; leaders are even to one; and where all racks have as many brokers,
// replicas are, too. Partitions that are added later leave the first where they are; leaders are
// even all the same, and replicas to one more.
func TestSpread(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		racks := rapid.IntRange(0, 8).Draw(t, "racks")
		equal := rapid.Bool().Draw(t, "equal racks")
		n := rapid.IntRange(1, 50).Draw(t, "brokers")
		if equal && racks > 0 {
			n = max(n/racks, 1) * racks
		}
		brokers := make([]*metadata.BrokerInfo, n)
		used := map[string]bool{}
		for i := range brokers {
			b := &metadata.BrokerInfo{RegisterBroker: metadata.RegisterBroker{Broker: wire.BrokerID(i + 1)}}
			if racks > 0 {
				r := i % racks
				if !equal {
					r = rapid.IntRange(0, racks-1).Draw(t, "rack")
				}
				name := fmt.Sprint("r", r)
				b.Rack = &name
			}
			brokers[i] = b
			used[rackOf(b)] = true
		}
		replicas := rapid.IntRange(1, min(5, n)).Draw(t, "replicas")
		count := rapid.IntRange(1, 200).Draw(t, "partitions")
		seed := rapid.Uint64().Draw(t, "seed")
		placed := place(brokers, seed, nil, count, replicas)
		more := rapid.IntRange(0, 60).Draw(t, "more")
		if more > 0 {
			added := place(brokers, rapid.Uint64().Draw(t, "another seed"), placed, more, replicas)
			placed, count = append(placed, added...), count+more
		}
		leads, holds := map[wire.BrokerID]int{}, map[wire.BrokerID]int{}
		for p, ids := range placed {
			on, onRacks := map[wire.BrokerID]bool{}, map[string]bool{}
			for _, id := range ids {
				on[id] = true
				onRacks[rackOf(brokers[id-1])] = true
				holds[id]++
			}
			if len(on) != replicas || len(ids) != replicas || len(onRacks) != min(replicas, len(used)) {
				t.Fatalf("partition %d is on %v: %d brokers, %d racks of %d", p, ids, len(on), len(onRacks), len(used))
			}
			leads[ids[0]]++
		}
		even := func(what string, of map[wire.BrokerID]int, total, slack int) {
			for _, b := range brokers {
				if got := of[b.Broker]; got < total/n-slack || got > (total+n-1)/n+slack {
					t.Fatalf("broker %d %s %d of %d on %d brokers: %v", b.Broker, what, got, total, n, of)
				}
			}
		}
		even("leads", leads, count, 0)
		if equal || racks == 0 {
			// Leaders come first: who is next to lead may hold most already, and what is there stays there.
			even("holds", holds, count*replicas, min(more, 1))
		}
	})
}
