package sim

import (
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// This file has what an operator does, which is no fault, and goes on while there are some.

// stop stops a broker in good order: it gives its leaderships away, and then closes its disk.
func stop(w *world) bool {
	b := w.anyUp()
	if b == nil || b.process.epoch == 0 || b.paused {
		return false
	}
	p, epoch := b.process, b.process.epoch
	same := func(m *metadata.Image) bool {
		r := m.Broker(b.id)
		return r != nil && r.Epoch == epoch
	}
	w.log("b%d is to stop", b.id)
	w.controller.change("retire", func(m *metadata.Image) []metadata.Record {
		if !same(m) {
			return nil
		}
		return control.Retire(m, b.id)
	})
	w.after(w.about(100*time.Millisecond), func() {
		w.controller.change("stop", func(m *metadata.Image) []metadata.Record {
			if !same(m) {
				return nil
			}
			return control.Fence(m, b.id, true)
		})
		p.after(w.about(50*time.Millisecond), func() {
			if b.faults.hung {
				b.kill()
			} else {
				err := p.disk.Close()
				w.log("b%d stops: %v", b.id, err)
				b.drop()
			}
			w.upAgain(b)
		})
	})
	return true
}

// reassign moves a partition to other brokers, or calls that off.
func reassign(w *world) bool {
	if len(w.parts) == 0 || w.now > w.options.busy-time.Second {
		return false
	}
	p := w.parts[len(w.parts)-1-w.random.IntN(min(len(w.parts), w.options.partitions))]
	wish := control.Reassignment{Topic: p.name.Topic, Partition: p.name.Partition}
	if !w.chance(0.25) {
		for _, i := range w.random.Perm(len(w.brokers))[:w.options.replicas] {
			wish.Replicas = append(wish.Replicas, wire.BrokerID(i+1))
		}
	}
	done := false
	w.controller.change("reassign", func(m *metadata.Image) []metadata.Record {
		records, refusals := control.Reassign(m, []control.Reassignment{wish}, false, func(string) bool { return false })
		if done = refusals[0] == nil; !done {
			w.log("not reassigned: %v", refusals[0])
		}
		return records
	})
	return done
}
