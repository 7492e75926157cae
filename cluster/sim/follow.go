package sim

import (
	"time"

	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// following is what a process does to follow a partition's leader.
type following struct {
	followed  int // counts what the metadata said, so that one loop of fetches ends when another begins
	fetching  int // the followed of the loop that runs; 0: none
	reporting bool
	dirty     bool // there is more to report
}

// leading is what it does to lead one.
type leading struct {
	wish   *replication.Proposal
	asking bool
	parked []*fetch
}

// fetch is a follower's question that waits at the leader.
type fetch struct {
	from  wire.BrokerID
	epoch wire.BrokerEpoch
	q     replica.Question
	reply func(answer)
	over  bool
}

// answer is what a leader says of one partition.
type answer struct {
	replication.Answer
	records []byte
}

const (
	fetchWait    = 300 * time.Millisecond
	fetchTimeout = 600 * time.Millisecond
	fetchPause   = 50 * time.Millisecond
)

// fetch begins to fetch, unless that is under way since the metadata last spoke of this partition.
func (h *held) fetch() {
	h.fetching = h.followed
	h.fetchOnce(h.followed)
}

func (h *held) fetchOnce(loop int) {
	p := h.process
	if loop != h.fetching || p.held[h.part.id] != h {
		return
	}
	leader, _ := h.partition.Leader()
	if leader == wire.NoBroker || p.epoch == 0 {
		h.fetching = 0
		return
	}
	q, ok := h.partition.Ask(leader)
	if !ok {
		return
	}
	again := func(d time.Duration) { p.after(d, func() { h.fetchOnce(loop) }) }
	if p.broker.world.broker(leader).process == nil { // nobody listens
		again(fetchPause)
		return
	}
	to, epoch := p.broker.world.broker(leader).process, p.epoch
	p.broker.world.network.ask(p, call{from: p.broker.id, to: leader, timeout: fetchTimeout, late: true, lost: func() { again(fetchPause) }, serve: func(reply func(func())) {
		f := &fetch{from: p.broker.id, epoch: epoch, q: q}
		f.reply = func(a answer) {
			reply(func() {
				if p.held[h.part.id] == h && h.take(q, a) {
					again(p.broker.world.about(time.Millisecond))
				} else {
					again(fetchPause)
				}
			})
		}
		to.serveFetch(h.part.id, f)
	}})
}

// take does what an answer asks for. It returns whether to go on at once.
func (h *held) take(q replica.Question, a answer) bool {
	h.touch()
	w := h.process.broker.world
	before := h.log.End()
	kind, err := h.partition.Take(q, a.Answer, a.records)
	switch {
	case err != nil:
		w.log("b%d %s does not follow: %v", h.process.broker.id, h.part.name, err)
		if kind == replication.Fail && h.process.broker.faults.none() {
			w.fail("broken follower: %v", err)
		}
		return false
	case kind == replication.Truncate, kind == replication.Restart:
		w.result.Diverged++
		w.log("b%d %s cut from %d to %d", h.process.broker.id, h.part.name, before, h.log.End())
	case h.log.End() != before:
		w.log("b%d %s copied to %d, watermark %d", h.process.broker.id, h.part.name, h.log.End(), h.partition.HighWatermark())
	}
	return kind != replication.Retry && kind != replication.Wait
}

// serveFetch answers a follower, as cluster/api's fetch does.
func (p *process) serveFetch(id logKey, f *fetch) {
	h := p.held[id]
	if h == nil {
		f.reply(answer{Answer: replication.Answer{Code: wire.ErrUnknownTopicID, HighWatermark: -1, LogStart: -1}})
		return
	}
	h.touch()
	a := h.read(f)
	switch {
	case a.Code == wire.ErrOffsetOutOfRange:
		a.LogStart = h.log.Start()
	case a.Code != wire.ErrNone, a.Diverges:
	default:
		if code := h.partition.Fetched(f.from, f.epoch, f.q.Epoch, f.q.Offset); code != wire.ErrNone {
			a = answer{Answer: replication.Answer{Code: code, HighWatermark: -1, LogStart: -1}}
		}
	}
	if a.Code != wire.ErrNone || a.Diverges || len(a.records) > 0 {
		f.reply(a)
		return
	}
	h.parked = append(h.parked, f)
	p.after(fetchWait, func() { h.answerParked(f) })
}

// read reads what a follower asks for.
func (h *held) read(f *fetch) (a answer) {
	a.HighWatermark, a.LogStart, a.First, a.Last = -1, -1, -1, -1
	if a.Code = h.partition.Serving(f.q.Epoch); a.Code != wire.ErrNone {
		return a
	}
	high := h.partition.HighWatermark()
	switch c := replication.Compare(f.q.Position, h.log.EpochEndOffset); {
	case c.Unknown:
		a.Code = wire.ErrOffsetOutOfRange
		return a
	case c.Diverges:
		a.Diverges, a.DivergingEpoch, a.DivergingEnd = true, c.Epoch, c.End
		a.HighWatermark, a.LogStart = high, h.log.Start()
		return a
	}
	a.records, a.Code = h.bytes(f.q.Offset, h.log.End())
	if a.Code != wire.ErrNone {
		return a
	}
	a.HighWatermark, a.LogStart, a.Records = high, h.log.Start(), len(a.records)
	if len(a.records) > 0 {
		h := batch.Header(a.records)
		a.First, a.Last = h.BaseOffset(), h.LastOffset()
	}
	return a
}

// bytes reads some batches.
func (h *held) bytes(from, upTo wire.Offset) ([]byte, wire.ErrorCode) {
	slice, code, err := h.log.Read(from, 400, upTo, true)
	if err != nil {
		return nil, wire.ErrKafkaStorageError
	}
	if code != wire.ErrNone || slice.Len() == 0 {
		return nil, code
	}
	defer slice.Release()
	b := make([]byte, slice.Len())
	if _, err := slice.ReadInto(b); err != nil {
		return nil, wire.ErrKafkaStorageError
	}
	return b, wire.ErrNone
}

// answerParked ends the wait of a fetch.
func (h *held) answerParked(f *fetch) {
	if f.over {
		return
	}
	f.over = true
	f.reply(h.read(f))
}

// unpark answers the fetches that wait for what has happened.
func (h *held) unpark() {
	open := h.parked[:0]
	for _, f := range h.parked {
		if !f.over && (h.log.End() > f.q.Offset || h.partition.Serving(wire.NoLeaderEpoch) != wire.ErrNone) {
			h.answerParked(f)
		}
		if !f.over {
			open = append(open, f)
		}
	}
	clear(h.parked[len(open):])
	h.parked = open
}

// restarted tells the leaders everything anew: this broker has another epoch.
func (p *process) restarted() {
	for _, h := range p.ordered() {
		h.followed++
		h.fetch()
		h.report()
	}
}

// report tells the leader how far the log is synced, until it has heard.
func (h *held) report() {
	h.dirty = true
	if !h.reporting {
		h.reportOnce()
	}
}

func (h *held) reportOnce() {
	p := h.process
	h.reporting = false
	to, r, ok := h.partition.Report()
	if !h.dirty || !ok || p.held[h.part.id] != h {
		return
	}
	h.reporting, h.dirty = true, false
	epoch := p.epoch
	leader := p.broker.world.broker(to).process
	lost := func() {
		h.dirty = true
		h.reportOnce()
	}
	if leader == nil {
		p.after(fetchPause, lost)
		return
	}
	p.broker.world.network.ask(p, call{from: p.broker.id, to: to, timeout: fetchTimeout, lost: lost, serve: func(reply func(func())) {
		if l := leader.held[r.Partition]; l != nil {
			l.touch()
			if l.partition.Acked(p.broker.id, epoch, r.LeaderEpoch, r.Durable) {
				reply(func() { p.after(fetchPause, lost) })
				return
			}
		}
		reply(h.reportOnce)
	}})
}

// wants has the controller asked for an ISR, until it answers or the wish is out of date.
func (h *held) wants(wish replication.Proposal) {
	h.wish = &wish
	if !h.asking {
		h.askISR()
	}
}

func (h *held) askISR() {
	p := h.process
	w := p.broker.world
	h.asking = false
	if h.wish == nil || p.held[h.part.id] != h || h.partition.Outdated(*h.wish) {
		return
	}
	h.asking = true
	wish := *h.wish
	q := control.AlterISR{Topic: h.part.id.Topic, Partition: h.part.id.Partition, LeaderEpoch: wish.LeaderEpoch, PartitionEpoch: wish.PartitionEpoch}
	for _, m := range wish.ISR {
		q.ISR = append(q.ISR, control.ISRMember{Broker: m.Broker, Epoch: m.Epoch})
	}
	epoch := p.epoch
	again := func() { p.after(w.about(20*time.Millisecond), h.askISR) }
	w.network.ask(p, call{from: p.broker.id, to: atController, timeout: fetchTimeout, lost: again, serve: func(reply func(func())) {
		a, index, ok := w.controller.alter(p.broker.id, epoch, q)
		reply(func() {
			if !ok {
				again()
				return
			}
			p.await(index, func() { h.altered(wish, a) })
		})
	}})
}

// altered takes the controller's answer.
func (h *held) altered(wish replication.Proposal, a control.AlteredISR) {
	h.touch()
	if h.wish != nil && h.wish.PartitionEpoch == wish.PartitionEpoch && h.wish.LeaderEpoch == wish.LeaderEpoch {
		h.wish = nil
	}
	h.partition.Altered(wish, a.Code != wire.ErrNone, a.LeaderEpoch, a.PartitionEpoch, a.ISR)
	h.askISR()
}
