//go:build explore

package replication

import (
	"maps"
	"math/bits"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// This file does for the explorer what replication/replica and the handlers do for a broker, one step at a time.

// bounds limit what happens in one run of the explorer.
type bounds struct {
	durability     Durability
	minInSync      int
	outside        uint8 // who is not in the first ISR
	records        int
	leaderEpoch    wire.LeaderEpoch    // the last; the first is 0
	partitionEpoch wire.PartitionEpoch // the last; the first is 0
	kills, losses  int                 // crashes of processes, and of machines, which lose what is not synced
	fences         int                 // of brokers, dead or not
	onlyLeaders    bool                // are fenced
	lags           int                 // times that a leader waits for longer than its followers may lag
	delays         int                 // messages that are under way while other things happen, or lost
	copies         int                 // of those, that arrive and arrive again later
}

// world is one state: the metadata, the brokers, what is under way between them, and what was committed.
type world struct {
	control toyControl
	brokers [toyBrokers]toyBroker

	committed      []toyRecord // the longest that was ever below a leader's watermark
	committedEpoch wire.LeaderEpoch
	writers        [8]int8 // by leader epoch: who appended in it; 0: nobody, else the broker's id

	records, kills, losses, fences, lags, delays, copies int // so far

	fault string // the first rule that was broken
}

// toyBroker is a broker with its replica. The messages are those that were late when it sent them; each may arrive at any time, after
// others that it sent later, until the next late one of its kind replaces it: then it is lost. Most arrive at once, and are never seen here.
type toyBroker struct {
	up    bool
	lost  bool             // its machine went down since it last registered
	epoch wire.BrokerEpoch // as it registered
	seen  wire.PartitionEpoch
	log   toyLog
	// watermark is what replicas tell readers; a leader's is that of its state.
	watermark wire.Offset
	leader    *Leader
	follower  *Follower
	leaderID  int8

	fetch   *toyFetch
	answer  *toyAnswer
	report  *toyReport
	alter   *toyAlter
	altered *toyAltered
}

type toyFetch struct {
	to     int8
	broker wire.BrokerEpoch
	epoch  wire.LeaderEpoch
	at     Position
}

type toyAnswer struct {
	epoch   wire.LeaderEpoch
	asked   Position
	answer  Answer
	records []toyRecord
}

type toyReport struct {
	to     int8
	broker wire.BrokerEpoch
	epoch  wire.LeaderEpoch
	offset wire.Offset
}

type toyAlter struct {
	broker   wire.BrokerEpoch
	proposal Proposal
}

type toyAltered struct {
	proposal Proposal
	answer   control.AlteredISR
	applied  wire.PartitionEpoch // the metadata when it was answered, which is seen first
}

// tick is longer than followers may lag.
const (
	toyLagMax = time.Second
	tick      = 2 * time.Second
)

func newWorld(c *toyController, b *bounds) *world {
	w := &world{control: c.first(), committedEpoch: wire.NoLeaderEpoch}
	w.control.isr &^= b.outside
	for i := range w.brokers {
		w.brokers[i] = toyBroker{up: true, epoch: w.control.epochs[i], seen: -1}
	}
	for i := range w.brokers {
		w.learn(c, i)
	}
	return w
}

// clone returns a copy that shares nothing that is written.
func (w *world) clone() *world {
	n := *w
	for i := range n.brokers {
		b := &n.brokers[i]
		if b.leader != nil {
			l := *b.leader
			l.followers = maps.Clone(l.followers)
			for id, f := range l.followers {
				own := *f
				l.followers[id] = &own
			}
			l.eligible = n.eligible
			b.leader = &l
		}
		if b.follower != nil {
			f := *b.follower
			b.follower = &f
		}
	}
	return &n
}

// eligible is as the leader's metadata would be were it the newest: an older one only makes proposals that are refused.
func (w *world) eligible(id wire.BrokerID, epoch wire.BrokerEpoch) bool {
	return !w.control.fenced[id-1] && (epoch == NoBrokerEpoch || w.control.epochs[id-1] == epoch)
}

func (w *world) fail(rule string) {
	if w.fault == "" {
		w.fault = rule
	}
}

// moved notes what a step of a leader's state led to.
func (w *world) moved(i int) {
	b := &w.brokers[i]
	b.watermark = b.leader.HighWatermark()
	below := b.log.records[:b.watermark]
	n := min(len(below), len(w.committed))
	if !slices.Equal(below[:n], w.committed[:n]) {
		w.fail("I2: an offset that was acknowledged has another record")
	}
	if len(below) > len(w.committed) {
		if b.leader.Epoch() < w.committedEpoch {
			w.fail("I14: an epoch acknowledges after a later one has")
		}
		w.committed, w.committedEpoch = below, b.leader.Epoch()
	}
}

// own tells the leader how far its log is.
func (w *world) own(i int) {
	b := &w.brokers[i]
	b.leader.Own(0, b.log.marks())
	w.moved(i)
}

// learn brings a broker up to the newest metadata.
func (w *world) learn(c *toyController, i int) {
	b, t := &w.brokers[i], w.control
	b.seen = t.partitionEpoch
	switch {
	case t.leader == int8(i) && b.leader != nil && b.leader.Epoch() == t.leaderEpoch:
		b.leader.Committed(0, t.assignment())
		w.own(i)
	case t.leader == int8(i):
		if t.leaderEpoch > b.log.latest() {
			b.log.assign(t.leaderEpoch, b.log.end())
		}
		b.follower, b.answer = nil, nil
		b.leader = NewLeader(LeaderConfig{
			ID: brokerID(i), Assigned: t.assignment(), Own: b.log.marks(), HighWatermark: b.watermark, Durability: c.durability, MinInSync: c.minInSync,
			LagMax: toyLagMax, Eligible: w.eligible,
		})
		b.alter, b.altered = nil, nil
		w.moved(i)
		if !holds(b.log.records, w.committed) {
			w.fail("I11: a leader lacks what was acknowledged")
		}
	case t.leader < 0:
		b.leader, b.follower, b.answer = nil, nil, nil
	case b.follower == nil || b.follower.Epoch() != t.leaderEpoch || b.leaderID != t.leader:
		if mutant.TruncateToWatermark {
			b.log.truncate(b.watermark)
		}
		b.leader, b.leaderID, b.answer = nil, t.leader, nil
		b.follower = NewFollower(t.leaderEpoch, false)
	}
}

// produce has a leader append a record, as for acks=all.
func (w *world) produce(i int) {
	b := &w.brokers[i]
	w.records++
	epoch := b.leader.Epoch()
	if by := &w.writers[epoch]; *by == 0 {
		*by = int8(i + 1)
	} else if *by != int8(i+1) {
		w.fail("I14: two brokers append in one epoch")
	}
	b.log.append(toyRecord{epoch, int8(w.records)})
	w.own(i)
}

func (w *world) sync(i int) {
	b := &w.brokers[i]
	b.log.durable = b.log.end()
	if b.leader != nil {
		w.own(i)
	}
}

// ask is a follower's next question.
func (w *world) ask(i int) *toyFetch {
	b := &w.brokers[i]
	return &toyFetch{b.leaderID, b.epoch, b.follower.Epoch(), b.follower.Ask(b.log.position())}
}

// serve answers a follower's question, as the fetch handler does. The answer is nil when nobody waits for it any more; ok is false when
// nothing comes of the question.
func (w *world) serve(i int, q *toyFetch) (_ *toyAnswer, ok bool) {
	b := &w.brokers[q.to]
	if !b.up || b.leader == nil || b.leader.Fence(q.epoch) != wire.ErrNone {
		return nil, false // the answer would have it wait
	}
	a := &toyAnswer{epoch: q.epoch, asked: q.at, answer: Answer{HighWatermark: b.watermark}}
	c := Compare(q.at, b.log.endOf)
	switch {
	case c.Unknown, q.at.Offset > b.log.end():
		a.answer = Answer{Code: wire.ErrOffsetOutOfRange, HighWatermark: -1}
	case c.Diverges:
		a.answer.Diverges, a.answer.DivergingEpoch, a.answer.DivergingEnd = true, c.Epoch, c.End
	default:
		a.records = b.log.records[q.at.Offset:]
		a.answer.Records, a.answer.First = len(a.records), q.at.Offset
		if _, code := b.leader.Fetched(0, brokerID(i), q.broker, q.at.Offset); code != wire.ErrNone {
			return nil, false
		}
		w.own(int(q.to))
	}
	if f := &w.brokers[i]; !f.up || f.epoch != q.broker || f.follower == nil || f.follower.Epoch() != q.epoch {
		return nil, true
	}
	return a, true
}

// fetch has a follower's question answered at once, and the answer taken.
func (w *world) fetch(i int, q *toyFetch) bool {
	a, ok := w.serve(i, q)
	if a != nil {
		w.take(i, a)
	}
	return ok
}

// fetchLate has it answered at once, and the answer is under way.
func (w *world) fetchLate(i int, q *toyFetch) bool {
	a, ok := w.serve(i, q)
	if a != nil {
		w.brokers[i].answer = a
	}
	return ok
}

// take does what an answer asks for.
func (w *world) take(i int, a *toyAnswer) {
	b := &w.brokers[i]
	action := b.follower.Answered(a.epoch, a.asked, a.answer, 0, b.log.position(), b.log.endOf)
	switch action.Kind {
	case Append:
		if !b.log.append(a.records...) {
			w.fail("a follower cannot append what its leader gave")
		}
		b.watermark = max(min(action.HighWatermark, b.log.end()), 0)
	case Truncate:
		if mutant.WatermarkBeforeTruncate {
			b.watermark = min(a.answer.HighWatermark, b.log.end())
			w.checkVisible(i)
		}
		w.truncate(i, action.Offset)
	case Restart:
		w.truncate(i, 0)
	case Fail:
		w.fail("a follower cannot follow: the answer does not fit")
	}
}

// What is under way arrives, and is gone.

func (w *world) fetchNow(i int) bool {
	q := w.brokers[i].fetch
	w.brokers[i].fetch = nil
	return w.fetch(i, q)
}

func (w *world) takeNow(i int) bool {
	a := w.brokers[i].answer
	if w.brokers[i].answer = nil; a != nil {
		w.take(i, a)
	}
	return a != nil
}

func (w *world) hearNow(i int) bool {
	r := w.brokers[i].report
	w.brokers[i].report = nil
	return w.hear(i, r)
}

func (w *world) decideNow(c *toyController, i int) bool {
	q := w.brokers[i].alter
	w.brokers[i].alter = nil
	w.decide(c, i, q)
	return true
}

func (w *world) settleNow(c *toyController, i int) bool {
	if w.brokers[i].altered == nil {
		return false
	}
	w.settle(c, i)
	return true
}

func (w *world) truncate(i int, to wire.Offset) {
	b := &w.brokers[i]
	if to < commonEnd(b.log.records, w.committed) {
		w.fail("I15: a log is cut below what was acknowledged")
	}
	b.log.truncate(to)
	b.watermark = min(b.watermark, b.log.end())
}

// tell reports what a follower has synced.
func (w *world) tell(i int) {
	b := &w.brokers[i]
	b.report = &toyReport{b.leaderID, b.epoch, b.follower.Epoch(), b.log.durable}
}

// hear gives the leader a report.
func (w *world) hear(i int, r *toyReport) (ok bool) {
	b := &w.brokers[r.to]
	if !b.up || b.leader == nil {
		return false
	}
	b.leader.Durable(0, brokerID(i), r.broker, r.epoch, r.offset)
	w.own(int(r.to))
	return true
}

// propose has a leader ask for an ISR, if it wants to.
func (w *world) propose(i int) (ok bool) {
	b := &w.brokers[i]
	p := b.leader.Propose(0)
	if p == nil {
		return false
	}
	b.alter, b.altered = &toyAlter{b.epoch, *p}, nil
	return true
}

// decide has the controller answer a leader's wish.
func (w *world) decide(c *toyController, i int, q *toyAlter) {
	b := &w.brokers[i]
	before := w.control
	after, answer := c.alter(before, i, q.broker, q.proposal)
	w.control = after
	for _, m := range q.proposal.ISR {
		if k := int(m.Broker - 1); after.isr&^before.isr&(1<<k) != 0 {
			w.checkEntry(i, k)
		}
	}
	if b.up && b.epoch == q.broker && b.leader != nil && b.leader.Epoch() == q.proposal.LeaderEpoch {
		b.altered = &toyAltered{q.proposal, answer, after.partitionEpoch}
	}
}

// settle gives a leader the controller's answer, once it has seen the metadata that the answer is of.
func (w *world) settle(c *toyController, i int) {
	b := &w.brokers[i]
	a := b.altered
	b.altered = nil
	if b.seen < a.applied {
		w.learn(c, i)
	}
	if b.leader == nil {
		return
	}
	if a.answer.Code != wire.ErrNone {
		b.leader.Refused(0, a.proposal)
	} else {
		now := b.leader.Assigned()
		now.Epoch, now.PartitionEpoch, now.InSync = a.answer.LeaderEpoch, a.answer.PartitionEpoch, idsOf(maskOf(a.answer.ISR))
		b.leader.Committed(0, now)
	}
	w.own(i)
}

// crash ends a broker's process; what is below kept is left of its log. The machine goes down with it if it lost something.
func (w *world) crash(i int, kept wire.Offset, lost bool) {
	b := &w.brokers[i]
	b.up, b.leader, b.follower, b.answer, b.altered, b.seen = false, nil, nil, nil, nil, -1
	b.log.recover(kept)
	b.watermark = min(b.watermark, b.log.end())
	b.lost = lost
}

// start registers a broker's next incarnation.
func (w *world) start(c *toyController, i int) {
	b := &w.brokers[i]
	w.control = c.register(w.control, i, b.lost)
	b.up, b.lost, b.epoch = true, false, w.control.epochs[i]
}

// wait lets more time pass for a leader than its followers may lag.
func (w *world) wait(i int) {
	l := w.brokers[i].leader
	for _, f := range l.followers {
		f.caughtUp -= tick
		f.reachAt -= tick
	}
	l.askAgain = 0
	w.own(i)
}

// normalise moves times to the few that differ in what they lead to, and drops messages that can lead to nothing any more.
func (w *world) normalise() {
	for i := range w.brokers {
		b := &w.brokers[i]
		if q := b.fetch; q != nil && !w.listens(int(q.to), q.epoch) {
			b.fetch = nil
		}
		if r := b.report; r != nil && !w.listens(int(r.to), r.epoch) {
			b.report = nil
		}
		if q := b.alter; q != nil && q.proposal.PartitionEpoch < w.control.partitionEpoch {
			b.alter = nil
		}
		l := b.leader
		if l == nil {
			continue
		}
		for _, f := range l.followers {
			f.caughtUp, f.reachAt = max(f.caughtUp, -tick), max(f.reachAt, -tick)
		}
	}
}

// listens reports whether a broker leads in an epoch, or may yet.
func (w *world) listens(i int, epoch wire.LeaderEpoch) bool {
	b := &w.brokers[i]
	if mutant.UnfencedFetch {
		return b.up
	}
	return b.leader != nil && b.leader.Epoch() == epoch || w.control.leader == int8(i) && w.control.leaderEpoch == epoch
}

// holds reports whether a log has all of the other.
func holds(log, other []toyRecord) bool {
	return len(log) >= len(other) && slices.Equal(log[:len(other)], other)
}

func commonEnd(a, b []toyRecord) wire.Offset {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return wire.Offset(n)
}

func count(mask uint8) int { return bits.OnesCount8(mask) }
