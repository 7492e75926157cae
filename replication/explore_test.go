//go:build explore

package replication

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The explorer looks at every state that three brokers can come into within bounds, nearest first: leaders and followers are the real
// ones, and so is the controller; logs, network and disks are toys that lose, repeat and delay. After every step the rules in
// explore_check_test.go hold. Most messages arrive at once; how many are late, lost or repeated is among the bounds.
//
// KRAFTGO_EXPLORE=full adds the wide runs, a name runs that alone. KRAFTGO_EXPLORE_STATES stops a run there, for a look.
func TestExplore(t *testing.T) {
	which := os.Getenv("KRAFTGO_EXPLORE")
	for _, c := range exploreRuns() {
		if c.wide && which != "full" && which != c.name || which != "" && which != "full" && which != c.name {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			e := &explorer{bounds: c.bounds, controller: newToyController(c.durability, c.minInSync), seen: map[stateHash]parent{}, limit: states()}
			began := time.Now()
			fault := e.run(newWorld(e.controller, &e.bounds))
			how := "complete"
			if fault != "" || len(e.seen) >= e.limit {
				how = "stopped"
			}
			t.Logf("%s: %d states, %d steps, depth %d, %s", how, len(e.seen), e.steps, e.depth, time.Since(began).Round(time.Millisecond))
			if fault != "" {
				t.Fatalf("broken: %s\n%s", fault, e.trace())
			}
		})
	}
}

// states is how many states a run looks at.
func states() int {
	if n, err := strconv.Atoi(os.Getenv("KRAFTGO_EXPLORE_STATES")); err == nil {
		return n
	}
	return 1 << 40
}

type exploreRun struct {
	name string
	wide bool
	bounds
}

// exploreRuns are the runs, each after one kind of trouble. With replicated durability, machines may go down as long as fewer do than
// the least size of the ISR (KIP-966); with fsync, all may.
func exploreRuns() []exploreRun {
	const third = 1 << 2
	return []exploreRun{
		{"power", false, bounds{durability: Fsync, minInSync: 1, records: 2, leaderEpoch: 1, partitionEpoch: 2, losses: 1}},
		{"page-cache", false, bounds{durability: Replicated, minInSync: 2, records: 1, leaderEpoch: 1, partitionEpoch: 3, losses: 1, delays: 1}},
		{"copies", false, bounds{durability: Replicated, minInSync: 1, outside: third, records: 1, leaderEpoch: 0, partitionEpoch: 3, fences: 1, delays: 1, copies: 1}},
		{"late", false, bounds{durability: Replicated, minInSync: 1, outside: third, records: 2, leaderEpoch: 1, partitionEpoch: 1, fences: 1, onlyLeaders: true, delays: 1}},
		{"later", true, bounds{durability: Replicated, minInSync: 1, outside: third, records: 2, leaderEpoch: 1, partitionEpoch: 3, fences: 1, delays: 1}},
		{"leaders", true, bounds{durability: Replicated, minInSync: 1, records: 2, leaderEpoch: 2, partitionEpoch: 2, fences: 2, onlyLeaders: true}},
		{"fences", true, bounds{durability: Replicated, minInSync: 1, records: 2, leaderEpoch: 2, partitionEpoch: 2, fences: 2}},
		{"power-two", true, bounds{durability: Fsync, minInSync: 2, outside: third, records: 1, leaderEpoch: 2, partitionEpoch: 3, losses: 1, delays: 1}},
		{"joining", true, bounds{durability: Replicated, minInSync: 1, outside: third, records: 1, leaderEpoch: 1, partitionEpoch: 2, fences: 1, delays: 1, lags: 1}},
		{"eligible", true, bounds{durability: Replicated, minInSync: 2, outside: third, records: 1, leaderEpoch: 3, partitionEpoch: 4, fences: 2, onlyLeaders: true, delays: 1}},
		{"three-records", true, bounds{durability: Fsync, minInSync: 1, records: 3, leaderEpoch: 2, partitionEpoch: 2, losses: 1}},
	}
}

type stateHash [16]byte

// parent is how a state was first reached.
type parent struct {
	from stateHash
	step step
}

// step is what happens, to which broker; more says how much.
type step struct {
	what string
	i    int8
	more int8
}

type explorer struct {
	bounds
	controller *toyController
	seen       map[stateHash]parent
	steps      int
	depth      int
	limit      int // of states
	last       stateHash
	buffer     []byte
}

// run looks at every state, nearest first, and returns the first rule that is broken.
func (e *explorer) run(first *world) (fault string) {
	e.last = e.hash(first)
	e.seen[e.last] = parent{}
	frontier := []*world{first}
	for ; len(frontier) > 0; e.depth++ {
		var next []*world
		for _, w := range frontier {
			from := e.hash(w)
			e.expand(w, func(s step, n *world) {
				e.steps++
				n.normalise()
				h := e.hash(n)
				if _, ok := e.seen[h]; ok {
					return
				}
				e.seen[h] = parent{from, s}
				n.check(&e.bounds)
				if n.fault != "" && fault == "" {
					fault, e.last = n.fault, h
				}
				next = append(next, n)
			})
			if fault != "" || len(e.seen) >= e.limit {
				return fault
			}
		}
		frontier = next
	}
	return ""
}

// trace is how the last state was reached.
func (e *explorer) trace() string {
	var steps []string
	for h := e.last; e.seen[h].step.what != ""; h = e.seen[h].from {
		s := e.seen[h].step
		steps = append(steps, fmt.Sprintf("  broker %d: %s %d", s.i+1, s.what, s.more))
	}
	slices.Reverse(steps)
	return strings.Join(steps, "\n")
}

// expand makes every state that follows a state in one step.
func (e *explorer) expand(w *world, emit func(step, *world)) {
	try := func(what string, i, more int, act func(n *world) bool) {
		n := w.clone()
		if act(n) && n.control.leaderEpoch <= e.leaderEpoch && n.control.partitionEpoch <= e.partitionEpoch {
			emit(step{what, int8(i), int8(more)}, n)
		}
	}
	always := func(what string, i int, act func(n *world)) {
		try(what, i, 0, func(n *world) bool { act(n); return true })
	}
	c := e.controller
	for i := range w.brokers {
		b := &w.brokers[i]
		e.expandMessages(w, i, try)
		if !w.control.fenced[i] && w.fences < e.fences && (!e.onlyLeaders || w.control.leader == int8(i)) {
			always("fenced", i, func(n *world) { n.fences++; n.control = c.fence(n.control, i) })
		}
		if !b.up {
			always("starts", i, func(n *world) { n.start(c, i) })
			continue
		}
		if w.control.fenced[i] && w.control.epochs[i] == b.epoch {
			always("unfenced", i, func(n *world) { n.control = c.unfence(n.control, i) })
		}
		if b.seen < w.control.partitionEpoch {
			always("learns", i, func(n *world) { n.learn(c, i) })
		}
		if b.log.durable < b.log.end() {
			always("syncs", i, func(n *world) { n.sync(i) })
		}
		if w.kills < e.kills {
			always("killed", i, func(n *world) { n.kills++; n.crash(i, b.log.end(), false) })
		}
		if w.losses < e.losses {
			for kept := b.log.durable; kept <= b.log.end(); kept++ {
				try("loses power, keeps", i, int(kept), func(n *world) bool { n.losses++; n.crash(i, kept, true); return true })
			}
		}
		if b.leader != nil {
			e.expandLeader(w, i, try, always)
		}
		if b.follower != nil {
			e.expandFollower(w, i, try)
		}
	}
	try("leaders balanced", 0, 0, func(n *world) bool {
		n.control = c.balance(n.control)
		return n.control != w.control
	})
}

func (e *explorer) expandLeader(w *world, i int, try func(string, int, int, func(*world) bool), always func(string, int, func(*world))) {
	b := &w.brokers[i]
	if w.records < e.records && b.leader.EnoughInSync() {
		always("appends", i, func(n *world) { n.produce(i) })
	}
	try("asks for an ISR and gets it", i, 0, func(n *world) bool {
		return n.propose(i) && n.decideNow(e.controller, i) && n.settleNow(e.controller, i)
	})
	if w.delays < e.delays {
		try("asks for an ISR", i, 0, func(n *world) bool { n.delays++; return n.propose(i) })
	}
	if b.altered != nil {
		always("is answered", i, func(n *world) { n.settle(e.controller, i) })
	}
	if w.lags < e.lags {
		always("waits long", i, func(n *world) { n.lags++; n.wait(i) })
	}
}

func (e *explorer) expandFollower(w *world, i int, try func(string, int, int, func(*world) bool)) {
	b := &w.brokers[i]
	try("fetches", i, 0, func(n *world) bool { return n.fetch(i, n.ask(i)) })
	if w.delays < e.delays {
		try("sends a fetch", i, 0, func(n *world) bool { n.delays++; n.brokers[i].fetch = n.ask(i); return true })
		try("fetches, and the answer is late", i, 0, func(n *world) bool { n.delays++; return n.fetchLate(i, n.ask(i)) })
	}
	if e.durability == Fsync && b.follower.Validated() {
		try("reports", i, 0, func(n *world) bool { n.tell(i); return n.hearNow(i) })
		if w.delays < e.delays {
			try("sends a report", i, 0, func(n *world) bool { n.delays++; n.tell(i); return true })
		}
	}
}

// expandMessages has what a broker sent arrive.
func (e *explorer) expandMessages(w *world, i int, try func(string, int, int, func(*world) bool)) {
	b := &w.brokers[i]
	arrives := func(what string, there bool, act func(*world) bool, again func(*toyBroker)) {
		if !there {
			return
		}
		try(what, i, 0, act)
		if w.copies < e.copies {
			try(what+", and a copy is under way", i, 0, func(n *world) bool {
				n.copies++
				ok := act(n)
				again(&n.brokers[i])
				return ok
			})
		}
	}
	fetch, report, wish, answer := b.fetch, b.report, b.alter, b.answer
	arrives("its fetch arrives", fetch != nil, func(n *world) bool { return n.fetchNow(i) }, func(b *toyBroker) { b.fetch = fetch })
	arrives("its report arrives", report != nil, func(n *world) bool { return n.hearNow(i) }, func(b *toyBroker) { b.report = report })
	arrives("its question arrives", wish != nil, func(n *world) bool { return n.decideNow(e.controller, i) }, func(b *toyBroker) { b.alter = wish })
	arrives("it takes an answer", answer != nil, func(n *world) bool { return n.takeNow(i) }, func(b *toyBroker) { b.answer = answer })
}

// hash stands for a state: of two with the same everything follows alike.
func (e *explorer) hash(w *world) stateHash {
	x := encoder{e.buffer[:0]}
	t := &w.control
	for i := range toyBrokers {
		x.put(int64(t.epochs[i]))
		x.flag(t.fenced[i])
	}
	x.put(int64(t.leader), int64(t.leaderEpoch), int64(t.partitionEpoch), int64(t.isr), int64(t.elr), int64(t.last))
	for i := range w.brokers {
		x.broker(&w.brokers[i])
	}
	x.records(w.committed)
	x.put(int64(w.committedEpoch), int64(w.records), int64(w.kills), int64(w.losses), int64(w.fences), int64(w.lags), int64(w.delays), int64(w.copies))
	for _, by := range w.writers {
		x.put(int64(by))
	}
	e.buffer = x.b
	sum := sha256.Sum256(x.b)
	return stateHash(sum[:16])
}

// encoder writes small numbers, each in a byte where it can.
type encoder struct{ b []byte }

func (x *encoder) put(list ...int64) {
	for _, v := range list {
		x.b = binary.AppendVarint(x.b, v)
	}
}

func (x *encoder) flag(v bool) {
	if v {
		x.put(1)
	} else {
		x.put(0)
	}
}

func (x *encoder) records(list []toyRecord) {
	x.put(int64(len(list)))
	for _, r := range list {
		x.put(int64(r.epoch), int64(r.value))
	}
}

func (x *encoder) broker(b *toyBroker) {
	x.flag(b.up)
	x.flag(b.lost)
	x.put(int64(b.epoch), int64(b.seen), int64(b.watermark), int64(b.log.durable))
	x.records(b.log.records)
	x.put(int64(len(b.log.epochs)))
	for _, e := range b.log.epochs {
		x.put(int64(e.epoch), int64(e.start))
	}
	x.flag(b.leader != nil)
	if b.leader != nil {
		x.leader(b.leader)
	}
	x.flag(b.follower != nil)
	if f := b.follower; f != nil {
		x.put(int64(f.epoch), int64(b.leaderID))
		x.flag(f.validated)
		x.flag(f.refetch)
	}
	x.messages(b)
}

func (x *encoder) leader(l *Leader) {
	x.put(int64(l.assigned.Epoch), int64(l.assigned.PartitionEpoch), int64(maskOf(l.assigned.InSync)), int64(l.epochStart))
	x.put(int64(l.own.End), int64(l.own.Durable), int64(maskOf(l.proposed)), int64(l.askAgain), int64(l.highWatermark))
	x.flag(l.proposed != nil)
	for _, id := range l.assigned.Replicas {
		if f := l.followers[id]; f != nil {
			x.put(int64(f.epoch), int64(f.marks.End), int64(f.marks.Durable), int64(f.caughtUp), int64(f.reach), int64(f.reachAt))
			x.flag(f.fetched)
		}
	}
}

func (x *encoder) proposal(p *Proposal) {
	x.put(int64(p.LeaderEpoch), int64(p.PartitionEpoch), int64(len(p.ISR)))
	for _, m := range p.ISR {
		x.put(int64(m.Broker), int64(m.Epoch))
	}
}

func (x *encoder) messages(b *toyBroker) {
	x.flag(b.fetch != nil)
	if q := b.fetch; q != nil {
		x.put(int64(q.to), int64(q.broker), int64(q.epoch), int64(q.at.Offset), int64(q.at.LastEpoch))
	}
	x.flag(b.answer != nil)
	if a := b.answer; a != nil {
		x.put(int64(a.epoch), int64(a.asked.Offset), int64(a.asked.LastEpoch), int64(a.answer.Code), int64(a.answer.HighWatermark))
		x.flag(a.answer.Diverges)
		x.put(int64(a.answer.DivergingEpoch), int64(a.answer.DivergingEnd))
		x.records(a.records)
	}
	x.flag(b.report != nil)
	if r := b.report; r != nil {
		x.put(int64(r.to), int64(r.broker), int64(r.epoch), int64(r.offset))
	}
	x.flag(b.alter != nil)
	if a := b.alter; a != nil {
		x.put(int64(a.broker))
		x.proposal(&a.proposal)
	}
	x.flag(b.altered != nil)
	if a := b.altered; a != nil {
		x.proposal(&a.proposal)
		x.put(int64(a.applied), int64(a.answer.Code), int64(a.answer.LeaderEpoch), int64(a.answer.PartitionEpoch), int64(maskOf(a.answer.ISR)))
	}
}
