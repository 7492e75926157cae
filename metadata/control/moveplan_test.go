package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

func moveBrokers(racks ...string) []MoveBroker {
	var out []MoveBroker
	for i, r := range racks {
		out = append(out, MoveBroker{Broker: wire.BrokerID(i + 1), Rack: r, Usable: true})
	}
	return out
}

func held(lists ...[]wire.BrokerID) []MovePartition {
	var out []MovePartition
	for i, l := range lists {
		out = append(out, MovePartition{Topic: "t", Partition: wire.Partition(i), Replicas: l, Bytes: int64(100 - i)})
	}
	return out
}

func printMoves(p MovePlan) string {
	var b strings.Builder
	for _, m := range p.Moves {
		fmt.Fprintf(&b, "%s-%d %v -> %v, %d bytes: %s\n", m.Topic, m.Partition, m.Replicas, m.To, m.Moved, strings.Join(m.Why, "; "))
	}
	for _, s := range p.Problems {
		b.WriteString(s + "\n")
	}
	return b.String()
}

// What a plan says, for people.
func TestMovePlans(t *testing.T) {
	drain := func(brokers []MoveBroker, ids ...int) []MoveBroker {
		for _, id := range ids {
			brokers[id-1].Drain = true
		}
		return brokers
	}
	for name, c := range map[string]struct {
		brokers    []MoveBroker
		partitions []MovePartition
		goals      MoveGoals
		want       string
	}{
		"nothing to do": {moveBrokers("", "", ""), held(ids(1, 2), ids(2, 3), ids(3, 1)), MoveGoals{true, true}, ""},
		"drain, to the least loaded": {drain(moveBrokers("", "", "", ""), 1), held(ids(1, 2), ids(2, 3), ids(3, 1)), MoveGoals{}, `
t-0 [1 2] -> [4 2], 100 bytes: drain 1
t-2 [3 1] -> [3 4], 98 bytes: drain 1
`},
		"drain, in its rack": {drain(moveBrokers("a", "b", "a", "b", "c"), 1), held(ids(1, 2), ids(3, 5), ids(3, 4)), MoveGoals{}, `
t-0 [1 2] -> [3 2], 100 bytes: drain 1
`},
		"drain, with nowhere to go": {drain(moveBrokers("", "", ""), 3), held(ids(1, 2, 3), ids(3, 1)), MoveGoals{}, `
t-1 [3 1] -> [2 1], 99 bytes: drain 3
1 replicas must stay on broker 3: all other brokers that may be given replicas hold these partitions already
`},
		"a new broker gets its share, the cheap ones": {moveBrokers("", "", ""), held(ids(1, 2), ids(2, 1), ids(1, 2), ids(2, 1)), MoveGoals{Spread: true}, `
t-2 [1 2] -> [3 1], 98 bytes: spread: 2 held 4 replicas, 3 held 1; leaders: 1 was preferred more often than 3
t-3 [2 1] -> [2 3], 97 bytes: spread: 1 held 4 replicas, 3 held 0
`},
		"leaders alone": {moveBrokers("", ""), held(ids(1, 2), ids(1, 2), ids(1, 2), ids(1, 2)), MoveGoals{Spread: true}, `
t-0 [1 2] -> [2 1], 0 bytes: leaders: 1 was preferred more often than 2
t-1 [1 2] -> [2 1], 0 bytes: leaders: 1 was preferred more often than 2
`},
		"racks": {moveBrokers("a", "a", "b", "c"), held(ids(1, 2), ids(1, 3), ids(1, 2, 3)), MoveGoals{Racks: true}, `
t-0 [1 2] -> [1 4], 100 bytes: racks: 2 replicas share rack a, none is in rack c
t-2 [1 2 3] -> [1 4 3], 98 bytes: racks: 2 replicas share rack a, none is in rack c
`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := printMoves(PlanMoves(c.brokers, c.partitions, c.goals)); got != strings.TrimPrefix(c.want, "\n") {
				t.Errorf("got\n%s", got)
			}
		})
	}
}

// Every plan keeps the number of replicas and uses no broker twice nor one that must not be; it empties what is to be drained as far
// as there is room, never leaves a partition on fewer racks than before, reaches all racks where that is wanted, and evens out what
// brokers hold. Planned again, nothing is left to be moved.
func TestMovePlansReachTheirGoals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "brokers")
		racks := rapid.IntRange(1, 4).Draw(t, "racks")
		var brokers []MoveBroker
		room := 0
		for i := 1; i <= n; i++ {
			b := MoveBroker{
				Broker: wire.BrokerID(i), Rack: fmt.Sprint(rapid.IntRange(1, racks).Draw(t, "rack")),
				Usable: rapid.IntRange(0, 5).Draw(t, "usable") > 0, Drain: rapid.IntRange(0, 4).Draw(t, "drain") == 0,
			}
			if b.Usable && !b.Drain {
				room++
			}
			brokers = append(brokers, b)
		}
		of := func(id wire.BrokerID) MoveBroker { return brokers[id-1] }
		var all []wire.BrokerID
		for _, b := range brokers {
			all = append(all, b.Broker)
		}
		var partitions []MovePartition
		for i := range rapid.IntRange(0, 20).Draw(t, "partitions") {
			replicas := rapid.Permutation(all).Draw(t, "replicas")[:rapid.IntRange(1, min(4, n)).Draw(t, "factor")]
			partitions = append(partitions, MovePartition{Topic: "t", Partition: wire.Partition(i), Replicas: replicas, Bytes: rapid.Int64Range(0, 9).Draw(t, "bytes")})
		}
		goals := MoveGoals{Racks: rapid.Bool().Draw(t, "restore racks"), Spread: rapid.Bool().Draw(t, "spread")}
		plan := PlanMoves(brokers, partitions, goals)
		rackCount := func(list []wire.BrokerID) int {
			seen := map[string]bool{}
			for _, id := range list {
				seen[of(id).Rack] = true
			}
			return len(seen)
		}
		usableRacks := map[string]bool{}
		for _, b := range brokers {
			if b.Usable && !b.Drain {
				usableRacks[b.Rack] = true
			}
		}
		after := slices.Clone(partitions)
		for _, m := range plan.Moves {
			if len(m.To) != len(m.Replicas) || len(union(nil, m.To)) != len(m.To) || len(m.Why) == 0 {
				t.Fatalf("%+v", m)
			}
			for _, id := range without(m.To, m.Replicas) {
				if !of(id).Usable || of(id).Drain {
					t.Fatalf("broker %d is given a replica: %+v", id, m)
				}
			}
			drains := slices.ContainsFunc(m.Replicas, func(id wire.BrokerID) bool { return of(id).Drain })
			if !drains && rackCount(m.To) < rackCount(m.Replicas) {
				t.Fatalf("fewer racks: %+v", m)
			}
			if !drains && !goals.Racks && !goals.Spread {
				t.Fatalf("no goal asks for %+v", m)
			}
			after[m.Partition].Replicas = m.To
		}
		holds := map[wire.BrokerID]int{}
		for _, q := range after {
			stays := 0
			for _, id := range q.Replicas {
				holds[id]++
				if of(id).Drain {
					stays++
				}
			}
			others := 0 // usable brokers that do not hold it
			for _, b := range brokers {
				if b.Usable && !b.Drain && !slices.Contains(q.Replicas, b.Broker) {
					others++
				}
			}
			if stays > 0 && (others > 0 || len(plan.Problems) == 0) {
				t.Fatalf("%+v is not drained, and %d brokers could take it; problems %v", q, others, plan.Problems)
			}
			if goals.Racks && rackCount(q.Replicas) < min(len(q.Replicas), len(usableRacks)) {
				// Whoever stands alone on a rack must not be on one more: only replicas beside others can move.
				t.Fatalf("%+v stands on %d racks of %d", q, rackCount(q.Replicas), len(usableRacks))
			}
		}
		if goals.Spread && racks == 1 {
			for _, a := range brokers {
				for _, b := range brokers {
					if !a.Usable || a.Drain || !b.Usable || b.Drain || holds[a.Broker]-holds[b.Broker] < 2 {
						continue
					}
					for _, q := range after {
						if slices.Contains(q.Replicas, a.Broker) && !slices.Contains(q.Replicas, b.Broker) {
							t.Fatalf("%d holds %d, %d holds %d, and %+v could move", a.Broker, holds[a.Broker], b.Broker, holds[b.Broker], q)
						}
					}
				}
			}
		}
		if again := PlanMoves(brokers, after, goals); len(again.Moves) > 0 {
			t.Fatalf("planned again, there is more: %s after %s", printMoves(again), printMoves(plan))
		}
	})
}
