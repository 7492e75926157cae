package sim

import (
	"bytes"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// heal ends all that is wrong, and all that is new.
func (w *world) heal() {
	w.log("all is well again")
	w.calm = true
	clear(w.network.cut)
	for _, b := range w.brokers {
		if b.faults.failing && b.process != nil {
			b.losePower()
		}
		b.faults.mend()
		b.resume()
		b.start()
	}
}

// checkEnd looks whether the cluster has come in order, and lost nothing.
func (w *world) checkEnd() {
	for _, b := range w.brokers {
		if b.process == nil || !b.process.begun {
			w.fail("not healed: broker %d does not serve", b.id)
			return
		}
	}
	for _, p := range w.parts {
		if !p.deleted {
			p.checkEnd()
		}
	}
	for _, b := range w.brokers {
		for _, r := range b.disk.Replicas() {
			if w.controller.image().TopicByID(r.TopicID) == nil {
				w.fail("not healed: broker %d keeps %s of a topic that was deleted", b.id, r.DirName())
			}
		}
	}
	for _, p := range w.producers {
		if !p.part.deleted && !p.lone && p.open {
			w.fail("not healed: producer %d of %s waits for its last batch, of sequence %d", p.id, p.part.name, p.seq)
		}
	}
	for _, c := range w.consumers {
		if !c.part.deleted && int(c.next) != len(c.part.truth) && !(c.part.excused && int(c.next) > len(c.part.truth)) {
			w.fail("not healed: a consumer of %s has read up to %d of %d", c.part.name, c.next, len(c.part.truth))
		}
	}
}

func (p *part) checkEnd() {
	w := p.world
	t := w.controller.image().TopicByID(p.id.Topic)
	if t == nil {
		w.fail("not healed: %s is gone", p.name)
		return
	}
	info := &t.Partitions[p.id.Partition]
	if info.Leader == wire.NoBroker || len(info.ISR) != len(info.Replicas) || info.Reassigning() {
		w.fail("not healed: %s has leader %d, replicas %v, in sync %v, eligible %v, last known %v", p.name, info.Leader, info.Replicas, info.ISR, info.ELR, info.LastKnownELR)
		return
	}
	var all []byte
	for i, id := range info.Replicas {
		h := w.broker(id).process.held[p.id]
		if h == nil {
			w.fail("not healed: broker %d does not hold %s", id, p.name)
			return
		}
		d := h.partition.Describe()
		if int(d.End) != len(p.truth) || d.Suspect != "" {
			w.fail("not healed: broker %d has %s up to %d, suspect %q, and %d are below the watermark", id, p.name, d.End, d.Suspect, len(p.truth))
			return
		}
		h.compare(0, d.End, "lost")
		b := h.allBytes()
		if i > 0 && !bytes.Equal(b, all) {
			w.fail("replicas differ: %s on brokers %d and %d", p.name, info.Replicas[0], id)
		}
		all = b
	}
	if !slices.Contains(info.Replicas, info.Leader) {
		w.fail("not healed: %s is led by %d", p.name, info.Leader)
	}
}
