package control

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// MoveBroker is a broker as a plan of moves sees it.
type MoveBroker struct {
	Broker wire.BrokerID
	Rack   string // "": a rack of its own, shared by all that have none
	Usable bool   // it may be given replicas
	Drain  bool   // it is to hold none
}

// MovePartition is a partition with the brokers that hold it, and the bytes of one replica.
type MovePartition struct {
	Topic     string
	Partition wire.Partition
	Replicas  []wire.BrokerID // the first is the preferred leader
	Bytes     int64
}

// MoveGoals says what a plan is for, besides draining the brokers that are to be drained.
type MoveGoals struct {
	Racks  bool // partitions stand on as many racks as they can
	Spread bool // brokers hold equally many replicas and are preferred equally often
}

// Move takes a partition from the brokers that hold it to others.
type Move struct {
	MovePartition
	To    []wire.BrokerID
	Why   []string
	Moved int64 // bytes to be copied
}

// MovePlan is moves in the order of partitions, and what cannot be reached and why.
type MovePlan struct {
	Moves    []Move
	Problems []string
}

// PlanMoves plans the least that reaches the goals: a replica moves only if a goal asks for it, small ones before large ones where
// any will do, and what can be reached by another order of replicas moves nothing.
func PlanMoves(brokers []MoveBroker, partitions []MovePartition, goals MoveGoals) MovePlan {
	p := newMoves(brokers, partitions)
	p.drain()
	if goals.Racks {
		p.restoreRacks()
	}
	if goals.Spread {
		p.spread()
		p.evenLeaders()
	}
	return p.plan()
}

// moves is a plan of moves in the making.
type moves struct {
	brokers []MoveBroker // by id
	rack    map[wire.BrokerID]string
	racks   int // of the usable brokers
	drained map[wire.BrokerID]bool
	usable  []wire.BrokerID
	holds   map[wire.BrokerID]int
	leads   map[wire.BrokerID]int // is preferred
	parts   []*movingPartition    // by name and number

	problems []string
}

type movingPartition struct {
	MovePartition
	to  []wire.BrokerID
	why []string
}

func newMoves(brokers []MoveBroker, partitions []MovePartition) *moves {
	p := &moves{brokers: slices.Clone(brokers), rack: map[wire.BrokerID]string{}, drained: map[wire.BrokerID]bool{}, holds: map[wire.BrokerID]int{}, leads: map[wire.BrokerID]int{}}
	slices.SortFunc(p.brokers, func(a, b MoveBroker) int { return cmp.Compare(a.Broker, b.Broker) })
	racks := map[string]bool{}
	for _, b := range p.brokers {
		p.rack[b.Broker] = b.Rack
		p.drained[b.Broker] = b.Drain
		if b.Usable && !b.Drain {
			p.usable = append(p.usable, b.Broker)
			racks[b.Rack] = true
		}
	}
	p.racks = len(racks)
	for _, q := range partitions {
		if len(q.Replicas) == 0 {
			continue
		}
		p.parts = append(p.parts, &movingPartition{MovePartition: q, to: slices.Clone(q.Replicas)})
		p.leads[q.Replicas[0]]++
		for _, id := range q.Replicas {
			p.holds[id]++
		}
	}
	slices.SortFunc(p.parts, func(a, b *movingPartition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return p
}

// on counts the replicas of a partition on each rack, without one of them.
func (p *moves) on(q *movingPartition, but wire.BrokerID) map[string]int {
	out := map[string]int{}
	for _, id := range q.to {
		if id != but {
			out[p.rack[id]]++
		}
	}
	return out
}

// put moves the k-th replica of a partition.
func (p *moves) put(q *movingPartition, k int, to wire.BrokerID, why string) {
	p.holds[q.to[k]]--
	p.holds[to]++
	if k == 0 {
		p.leads[q.to[0]]--
		p.leads[to]++
	}
	q.to[k] = to
	q.why = append(q.why, why)
}

// target returns the best broker for the k-th replica of a partition instead of the one that has it; NoBroker: there is none. Of those
// on the least used racks, the rack that it stood in is better, then who is preferred least (if it is the preferred replica), then
// who holds least.
func (p *moves) target(q *movingPartition, k int) wire.BrokerID {
	from := q.to[k]
	on := p.on(q, from)
	best := wire.NoBroker
	compare := func(a, b wire.BrokerID) int {
		home := func(id wire.BrokerID) int {
			if p.rack[id] == p.rack[from] {
				return 0
			}
			return 1
		}
		leads := 0
		if k == 0 {
			leads = cmp.Compare(p.leads[a], p.leads[b])
		}
		return cmp.Or(cmp.Compare(on[p.rack[a]], on[p.rack[b]]), cmp.Compare(home(a), home(b)), leads, cmp.Compare(p.holds[a], p.holds[b]))
	}
	for _, id := range p.usable {
		if !slices.Contains(q.to, id) && (best == wire.NoBroker || compare(id, best) < 0) {
			best = id
		}
	}
	return best
}

// drain takes everything off the brokers that are to hold nothing.
func (p *moves) drain() {
	stuck := map[wire.BrokerID]int{}
	for _, q := range p.parts {
		for k, id := range q.to {
			if !p.drained[id] {
				continue
			}
			to := p.target(q, k)
			if to == wire.NoBroker {
				stuck[id]++
				continue
			}
			p.put(q, k, to, fmt.Sprintf("drain %d", id))
		}
	}
	for _, b := range p.brokers {
		if n := stuck[b.Broker]; n > 0 {
			p.problems = append(p.problems, fmt.Sprintf("%d replicas must stay on broker %d: all other brokers that may be given replicas hold these partitions already", n, b.Broker))
		}
	}
}

// restoreRacks moves replicas that share a rack to racks that their partition is not on, followers first.
func (p *moves) restoreRacks() {
	for _, q := range p.parts {
		for {
			on := p.on(q, wire.NoBroker)
			if len(on) >= min(len(q.to), p.racks) || !p.toNewRack(q, on) {
				break
			}
		}
	}
}

func (p *moves) toNewRack(q *movingPartition, on map[string]int) bool {
	for k := len(q.to) - 1; k >= 0; k-- {
		if on[p.rack[q.to[k]]] < 2 {
			continue
		}
		to := p.target(q, k)
		if to == wire.NoBroker || on[p.rack[to]] > 0 {
			continue
		}
		p.put(q, k, to, fmt.Sprintf("racks: %d replicas share %s, none is in %s", on[p.rack[q.to[k]]], rackName(p.rack[q.to[k]]), rackName(p.rack[to])))
		return true
	}
	return false
}

func rackName(r string) string {
	if r == "" {
		return "no rack"
	}
	return "rack " + r
}

// spread moves replicas from who holds most to who holds fewer by two at least, until there is no such move.
func (p *moves) spread() {
	for {
		full := slices.Clone(p.usable)
		slices.SortStableFunc(full, func(a, b wire.BrokerID) int { return cmp.Compare(p.holds[b], p.holds[a]) })
		moved := false
		for _, from := range full {
			if moved = p.relieve(from); moved {
				break
			}
		}
		if !moved {
			return
		}
	}
}

// relieve moves the smallest replica that it can off a broker, to the one that holds least of those that hold fewer by two.
func (p *moves) relieve(from wire.BrokerID) bool {
	var best *movingPartition
	at, to := 0, wire.NoBroker
	for _, q := range p.parts {
		k := slices.Index(q.to, from)
		if k < 0 || best != nil && !p.cheaper(q, best, k, at) {
			continue
		}
		on := p.on(q, from)
		for _, id := range p.usable {
			if p.holds[id] > p.holds[from]-2 || slices.Contains(q.to, id) || on[p.rack[id]] > on[p.rack[from]] {
				continue
			}
			if best != q || p.holds[id] < p.holds[to] {
				best, at, to = q, k, id
			}
		}
	}
	if best == nil {
		return false
	}
	p.put(best, at, to, fmt.Sprintf("spread: %d held %d replicas, %d held %d", from, p.holds[from], to, p.holds[to]))
	return true
}

// cheaper reports whether moving the k-th replica of q costs less than the at-th of other: a follower's move disturbs nobody who
// produces, and fewer bytes are better.
func (p *moves) cheaper(q, other *movingPartition, k, at int) bool {
	leader := func(k int) int {
		if k == 0 {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(leader(k), leader(at)), cmp.Compare(q.Bytes, other.Bytes)) < 0
}

// evenLeaders changes the order of replicas until the brokers are preferred equally often, as far as the replicas allow it. No
// record moves by it.
func (p *moves) evenLeaders() {
	for {
		moved := false
		for _, q := range p.parts {
			best := 0
			for k, id := range q.to {
				if slices.Contains(p.usable, id) && p.leads[id] < p.leads[q.to[best]] {
					best = k
				}
			}
			first := q.to[0]
			if p.leads[first]-p.leads[q.to[best]] < 2 {
				continue
			}
			p.leads[first]--
			p.leads[q.to[best]]++
			q.to[0], q.to[best] = q.to[best], first
			q.why = append(q.why, fmt.Sprintf("leaders: %d was preferred more often than %d", first, q.to[0]))
			moved = true
		}
		if !moved {
			return
		}
	}
}

func (p *moves) plan() MovePlan {
	out := MovePlan{Problems: p.problems}
	for _, q := range p.parts {
		if slices.Equal(q.to, q.Replicas) {
			continue
		}
		out.Moves = append(out.Moves, Move{MovePartition: q.MovePartition, To: q.to, Why: q.why, Moved: q.Bytes * int64(len(without(q.to, q.Replicas)))})
	}
	return out
}
