package sim

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// part is a partition as the rules see it.
type part struct {
	world   *world
	name    wire.TopicPartition
	id      logKey
	truth   []entry                // what was below a leader's watermark, by offset
	offsets map[uint64]wire.Offset // of the words in truth that may be there once
	leaders map[wire.LeaderEpoch]wire.BrokerID
	told    []told
	deleted bool
	excused bool // all replicas have lost records that no disk had to have
	cut     bool // that is so since the last leader began: the next one says what is left
}

// told is the watermark that clients were told in an epoch.
type told struct {
	epoch wire.LeaderEpoch
	high  wire.Offset
}

// entry is a record as the rules see it.
type entry struct {
	epoch wire.LeaderEpoch
	word  uint64
}

type placed struct {
	offset wire.Offset
	entry
}

// part returns the rules' view of a partition.
func (w *world) part(r disk.Replica) *part {
	for _, p := range w.parts {
		if p.id == r.Key() {
			return p
		}
	}
	p := &part{
		world: w, name: wire.TopicPartition{Topic: r.Topic, Partition: r.Partition}, id: r.Key(),
		offsets: map[uint64]wire.Offset{}, leaders: map[wire.LeaderEpoch]wire.BrokerID{},
	}
	w.parts = append(w.parts, p)
	return p
}

func (p *part) at(o wire.Offset) string {
	if int(o) >= len(p.truth) {
		return "nothing"
	}
	return fmt.Sprintf("%d of epoch %d", p.truth[o].word, p.truth[o].epoch)
}

// loose notes that a word may be written more than once.
func (w *world) loose(word uint64) { w.looseWords[word] = true }

// entriesOf reads batches.
func entriesOf(b []byte) (out []placed) {
	for len(b) > 0 {
		h, rest, err := batch.Next(b)
		if err != nil {
			return out
		}
		before := len(out)
		it := h.Iterate(h.Records())
		var r batch.Record
		for it.Next(&r) {
			out = append(out, placed{h.BaseOffset() + wire.Offset(len(out)-before), entry{h.LeaderEpoch(), binary.BigEndian.Uint64(r.Value)}})
		}
		b = rest
	}
	return out
}

// entries reads a replica's records within a range.
func (h *held) entries(from, to wire.Offset) (out []entry) {
	for at := from; at < to; {
		b, code := h.bytes(at, h.log.End())
		if code != wire.ErrNone || len(b) == 0 {
			break
		}
		for _, e := range entriesOf(b) {
			if e.offset == at && at < to {
				out = append(out, e.entry)
				at++
			}
		}
	}
	if h.process.broker.faults.none() && len(out) < int(to-from) && to > from {
		h.process.broker.world.fail("prefix differs: broker %d cannot read %s from %d to %d", h.process.broker.id, h.part.name, from, to)
	}
	return out
}

// touch has a replica looked at after the present event.
func (h *held) touch() {
	if !h.isTouched {
		h.isTouched = true
		h.process.broker.world.touched = append(h.process.broker.world.touched, h)
	}
}

// check looks at what the event has changed.
func (w *world) check() {
	for i := 0; i < len(w.touched); i++ { // looking may touch others
		h := w.touched[i]
		h.isTouched = false
		if h.process.broker.process == h.process && h.process.held[h.part.id] == h {
			h.check()
			h.unpark()
		}
	}
	w.touched = w.touched[:0]
	for _, a := range w.acks {
		for i, word := range a.words {
			o := a.first + wire.Offset(i)
			if int(o) >= len(a.part.truth) || a.part.truth[o].word != word {
				w.fail("acknowledged too soon: %s offset %d is %s, and %d was acknowledged there", a.part.name, o, a.part.at(o), word)
			}
		}
	}
	w.acks = w.acks[:0]
}

func (h *held) check() {
	d := h.partition.Describe()
	if d.Gone != wire.ErrNone {
		return // its disk has failed, and the process is about to end
	}
	p, w, id := h.part, h.process.broker.world, h.process.broker.id
	h.checked = min(h.checked, d.End)
	if d.HighWatermark > d.End {
		w.fail("watermark: broker %d has %s up to %d, and a watermark of %d", id, p.name, d.End, d.HighWatermark)
	}
	if d.Role == "leader" {
		h.checkLeader(d.LeaderEpoch, d.HighWatermark, d.End)
	}
	to := min(d.HighWatermark, wire.Offset(len(p.truth)))
	if p.excused && (p.cut || d.LeaderEpoch != p.newest() || d.Role == "follower" && !d.Validated) {
		return // it may not have heard yet what is left
	}
	if h.checked < to && d.Suspect == "" {
		h.compare(h.checked, to, "prefix differs")
		h.checked = to
	}
}

// compare compares a part of the log with what was below the watermark.
func (h *held) compare(from, to wire.Offset, rule string) {
	p := h.part
	for i, e := range h.entries(from, to) {
		if o := from + wire.Offset(i); p.truth[o] != e {
			p.world.fail("%s: broker %d has %d of epoch %d in %s at offset %d, which was %s", rule, h.process.broker.id, e.word, e.epoch, p.name, o, p.at(o))
			return
		}
	}
}

func (h *held) checkLeader(epoch wire.LeaderEpoch, high, end wire.Offset) {
	p, w, id := h.part, h.process.broker.world, h.process.broker.id
	if other, ok := p.leaders[epoch]; ok && other != id {
		w.fail("two leaders: brokers %d and %d lead %s in epoch %d", other, id, p.name, epoch)
	}
	p.leaders[epoch] = id
	known := wire.Offset(len(p.truth))
	if h.reign != epoch {
		w.log("b%d %s leads in epoch %d from %d, watermark %d, acknowledged %d", id, p.name, epoch, end, high, known)
		if p.newest() == epoch { // an older one may be behind by now
			if p.cut {
				known = h.keep(min(known, end))
			}
			if end < known {
				w.fail("leader lacks: broker %d leads %s in epoch %d with %d records, and %d were below the watermark", id, p.name, epoch, end, known)
				return
			}
			h.compare(0, known, "leader lacks")
		}
		h.reign, h.high = epoch, high
		w.network.comeLate(h.process)
	}
	if high < h.high {
		w.fail("watermark falls: broker %d had %d for %s in epoch %d, and has %d", id, h.high, p.name, epoch, high)
	}
	h.high = high
	if p.excused && p.newest() != epoch {
		return // it does not know yet that all was lost
	}
	if high > known {
		for i, e := range h.entries(known, high) {
			p.add(known+wire.Offset(i), e)
		}
		h.checkInSync()
	}
}

// newest is the last epoch in which somebody led.
func (p *part) newest() wire.LeaderEpoch {
	newest := wire.NoLeaderEpoch
	for e := range p.leaders {
		newest = max(newest, e)
	}
	return newest
}

// keep takes for the truth what a leader has of it, after all replicas have lost records. It returns where that ends.
func (h *held) keep(end wire.Offset) wire.Offset {
	p := h.part
	for i, e := range h.entries(0, end) {
		if p.truth[i] != e {
			end = wire.Offset(i)
			break
		}
	}
	for _, e := range p.truth[end:] {
		delete(p.offsets, e.word)
	}
	p.world.log("%s begins anew with %d of %d", p.name, end, len(p.truth))
	p.truth, p.told, p.cut = p.truth[:end], nil, false
	return end
}

func (p *part) add(o wire.Offset, e entry) {
	p.truth = append(p.truth, e)
	if p.world.looseWords[e.word] {
		return
	}
	if other, ok := p.offsets[e.word]; ok {
		p.world.fail("written twice: %s has %d at offsets %d and %d", p.name, e.word, other, o)
	}
	p.offsets[e.word] = o
}

// checkInSync looks whether those that count have what is below the watermark.
func (h *held) checkInSync() {
	p, w := h.part, h.process.broker.world
	known := wire.Offset(len(p.truth))
	t := w.controller.image().TopicByID(p.id.Topic)
	if t == nil {
		return
	}
	info := &t.Partitions[p.id.Partition]
	durable := 0
	for _, id := range info.Replicas {
		b := w.broker(id)
		log := b.disk.Log(p.id)
		if b.wiped || log != nil && log.Durable() >= known {
			durable++
		}
		if log != nil && b.process != nil && !b.wiped && slices.Contains(info.ISR, id) && log.End() < known && !p.excused && w.registered(b.process) {
			w.fail("in-sync replica lacks: broker %d has %s up to %d, and the watermark is %d", id, p.name, log.End(), known)
		}
	}
	if s := h.partition.Settings(); s.Durability == replication.Fsync && durable < min(s.MinInSync, len(info.Replicas)) {
		w.fail("on no disk: %s is acknowledged up to %d, and %d replicas have synced that", p.name, known, durable)
	}
}

// registered reports whether the metadata has this incarnation of a broker.
func (w *world) registered(p *process) bool {
	b := w.controller.image().Broker(p.broker.id)
	return b != nil && b.Epoch == p.epoch
}

// shown notes that a client was told the watermark.
func (h *held) shown() {
	d := h.partition.Describe()
	if d.Role != "leader" || !h.partition.Settled() {
		return // it is not told yet (KIP-207)
	}
	p := h.part
	for _, t := range p.told {
		if t.epoch <= d.LeaderEpoch && t.high > d.HighWatermark && !p.excused {
			p.world.fail("watermark falls: %s is told to be %d in epoch %d, and was %d in epoch %d", p.name, d.HighWatermark, d.LeaderEpoch, t.high, t.epoch)
		}
	}
	p.told = slices.DeleteFunc(p.told, func(t told) bool { return t.epoch == d.LeaderEpoch })
	p.told = append(p.told, told{d.LeaderEpoch, d.HighWatermark})
}

// allBytes is a whole log.
func (h *held) allBytes() []byte {
	var out bytes.Buffer
	for at := h.log.Start(); at < h.log.End(); {
		b, code := h.bytes(at, h.log.End())
		if code != wire.ErrNone || len(b) == 0 {
			break
		}
		out.Write(b)
		for rest := b; len(rest) > 0; {
			x, next, err := batch.Next(rest)
			if err != nil {
				return out.Bytes()
			}
			at, rest = x.NextOffset(), next
		}
	}
	return out.Bytes()
}
