package sim

import (
	"encoding/binary"
	"errors"
	"time"

	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// producer sends batches to one partition, one at a time. An idempotent one tries each until it is acknowledged by all; one that is
// not (lone) wants the leader's word alone, and gives up at the first failure.
type producer struct {
	world  *world
	part   *part
	id     wire.ProducerID
	lone   bool
	seq    wire.Sequence
	batch  []byte
	words  []uint64
	leader wire.BrokerID
	tries  int
	open   bool // the batch is neither acknowledged nor given up
}

// ack is an acknowledgement that was given in the present event.
type ack struct {
	part  *part
	first wire.Offset
	words []uint64
}

const produceTimeout = 500 * time.Millisecond

// next sends the next batch, unless the run is to end.
func (p *producer) next() {
	w := p.world
	if w.calm || p.part.deleted {
		return
	}
	var b batch.Builder
	b.Reset(batch.Template{Idempotent: !p.lone, ProducerID: p.id, BaseSequence: p.seq})
	p.words = p.words[:0]
	for range 1 + w.random.IntN(3) {
		w.nextWord++
		p.words = append(p.words, w.nextWord)
		value := make([]byte, 8, 8+40)
		binary.BigEndian.PutUint64(value, w.nextWord)
		value = value[:8+w.random.IntN(40)]
		if err := b.Append(wire.Timestamp(epochMs+w.now.Milliseconds()), nil, value, nil); err != nil {
			w.fail("batch: %v", err)
		}
		if p.lone {
			w.loose(w.nextWord)
		}
	}
	h, err := b.Finish()
	if err != nil {
		w.fail("batch: %v", err)
		return
	}
	p.open = true
	p.batch, p.tries = append([]byte(nil), h...), 0
	p.try()
}

// try sends the batch to whom it takes for the leader.
func (p *producer) try() {
	w := p.world
	if p.part.deleted {
		return
	}
	if p.leader == wire.NoBroker || p.tries > 0 {
		p.leader = w.leaderOf(p.part)
	}
	p.tries++
	again := func() {
		if p.lone {
			w.after(w.about(50*time.Millisecond), p.next)
			return
		}
		w.after(w.about(50*time.Millisecond), p.try)
	}
	if p.leader == wire.NoBroker || w.broker(p.leader).process == nil {
		again()
		return
	}
	to := w.broker(p.leader).process
	data, words, acks := p.batch, append([]uint64(nil), p.words...), replica.AcksAll
	if p.lone {
		acks = replica.AcksLeader
	}
	w.network.ask(nil, call{from: atClient, to: p.leader, timeout: produceTimeout, lost: again, serve: func(reply func(func())) {
		to.produce(p.part, data, words, acks, func(o replica.Outcome) {
			reply(func() { p.answered(o, again) })
		})
	}})
}

func (p *producer) answered(o replica.Outcome, again func()) {
	w := p.world
	if o.Code != wire.ErrNone {
		if o.Err == errForgotten && !p.lone {
			p.outOfOrder()
		}
		again()
		return
	}
	p.open = false
	w.result.Acked += len(p.words)
	if !p.lone {
		p.seq += wire.Sequence(len(p.words))
	}
	w.after(w.about(w.options.pause/4), p.next)
}

// outOfOrder gives the batch a new producer, as a client does that is told that what came before is not known: some of it is gone.
func (p *producer) outOfOrder() {
	p.id, p.seq = p.id+1000, 0
	h := batch.Header(p.batch)
	var b batch.Builder
	b.Reset(batch.Template{Idempotent: true, ProducerID: p.id})
	for it, r := h.Iterate(h.Records()), (batch.Record{}); it.Next(&r); {
		if err := b.AppendRecord(&r); err != nil {
			p.world.fail("batch: %v", err)
		}
	}
	again, err := b.Finish()
	if err != nil {
		p.world.fail("batch: %v", err)
	}
	p.batch = append([]byte(nil), again...)
}

// produce serves a producer, as cluster/api does. done gets the outcome, in the event in which it is clear.
func (p *process) produce(of *part, data []byte, words []uint64, acks replica.Acks, done func(replica.Outcome)) {
	w := p.broker.world
	h := p.held[of.id]
	if h == nil {
		done(replica.Outcome{Code: wire.ErrUnknownTopicOrPartition})
		return
	}
	h.touch()
	wait := replica.NewProduceWait(1, func(outcomes []replica.Outcome) {
		o := outcomes[0]
		if p.broker.process != p {
			return
		}
		if o.Code == wire.ErrNone {
			h.check() // before what else the event does to the partition
			w.log("b%d %s acknowledges %d to %d, acks %d", p.broker.id, of.name, o.Appended.First, o.Appended.Last, acks)
			// A leader that does not know yet that all was lost, and is led anew, may still acknowledge what is lost.
			if acks == replica.AcksAll && !(of.excused && h.partition.Describe().LeaderEpoch != of.newest()) {
				w.acks = append(w.acks, ack{of, o.Appended.First, words})
				h.touch()
			}
		}
		if o.Code == wire.ErrOutOfOrderSequenceNumber {
			o.Err = h.outOfOrder(words)
		}
		done(o)
	})
	h.partition.Append(wait, 0, acks, storage.Append{Batches: append([]byte(nil), data...)})
	wait.Wait(24 * time.Hour) // the client has its own clock
	w.log("b%d %s written to %d", p.broker.id, of.name, h.log.End())
}

// errForgotten says that a producer's last batch is rightly not known any more.
var errForgotten = errors.New("the producer's last records are gone")

// outOfOrder looks at a refusal of the present leader: a producer sends nothing before the last was acknowledged. A copy of something
// that was acknowledged long ago is refused too, and so is everything by a leader that has been replaced.
func (h *held) outOfOrder(words []uint64) error {
	w, p := h.process.broker.world, h.part
	t := w.controller.image().TopicByID(p.id.Topic)
	if t == nil || t.Partitions[p.id.Partition].LeaderEpoch != h.partition.Describe().LeaderEpoch {
		return nil
	}
	_, known := p.offsets[words[0]]
	switch {
	case known:
	case p.excused:
		return errForgotten
	default:
		w.fail("sequence lost: broker %d refuses %d for %s as out of order, though its producer's last words were acknowledged", h.process.broker.id, words[0], p.name)
	}
	return nil
}

// leaderOf is what some broker says of a partition's leader.
func (w *world) leaderOf(of *part) wire.BrokerID {
	b := w.brokers[w.random.IntN(len(w.brokers))]
	if b.process == nil || b.paused {
		return wire.NoBroker
	}
	t := b.process.image.TopicByID(of.id.Topic)
	if t == nil {
		return wire.NoBroker
	}
	return t.Partitions[of.id.Partition].Leader
}

// consumer reads one partition from its begin.
type consumer struct {
	world *world
	part  *part
	next  wire.Offset
}

// poll asks for more, over and over.
func (c *consumer) poll() {
	w := c.world
	if c.part.deleted {
		return
	}
	again := func() {
		pause := w.options.pause / 2
		if w.calm {
			pause = 50 * time.Millisecond
		}
		w.after(w.about(pause), c.poll)
	}
	leader := w.leaderOf(c.part)
	if leader == wire.NoBroker || w.broker(leader).process == nil {
		again()
		return
	}
	to := w.broker(leader).process
	w.network.ask(nil, call{from: atClient, to: leader, timeout: produceTimeout, lost: again, serve: func(reply func(func())) {
		h := to.held[c.part.id]
		if h == nil || h.partition.Serving(wire.NoLeaderEpoch) != wire.ErrNone {
			reply(again)
			return
		}
		from := c.next
		b, code := h.bytes(from, h.partition.HighWatermark())
		if len(b) > 0 || code != wire.ErrNone {
			w.log("b%d %s gives %d bytes from %d to a consumer, watermark %d: %s", leader, c.part.name, len(b), from, h.partition.HighWatermark(), code)
		}
		h.shown()
		reply(func() {
			if code == wire.ErrNone && c.next == from {
				c.take(b)
			}
			again()
		})
	}})
}

// take compares what was read with what was below the watermark.
func (c *consumer) take(b []byte) {
	for _, e := range entriesOf(b) {
		switch {
		case e.offset < c.next:
		case e.offset > c.next:
			c.world.fail("two values: a consumer of %s reads offset %d, and not %d", c.part.name, e.offset, c.next)
			return
		case c.part.excused:
			c.next++
		case int(e.offset) >= len(c.part.truth) || c.part.truth[e.offset] != e.entry:
			c.world.fail("two values: a consumer of %s reads %d at offset %d, which was %s", c.part.name, e.word, e.offset, c.part.at(e.offset))
			return
		default:
			c.next++
		}
	}
}
