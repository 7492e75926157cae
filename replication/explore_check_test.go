//go:build explore

package replication

import (
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// The rules that hold in every state. Their numbers are those of the list of invariants that the project keeps.

func (w *world) check(b *bounds) {
	for i := range w.brokers {
		if w.brokers[i].up {
			w.checkVisible(i)
		}
		for k := range i {
			w.checkMatching(i, k)
		}
	}
	w.checkCandidates(b)
	w.checkLeader(b)
}

// checkVisible: what a replica shows to readers is acknowledged, and no other record than was acknowledged there.
func (w *world) checkVisible(i int) {
	b := &w.brokers[i]
	if b.watermark > b.log.end() || !holds(w.committed, b.log.records[:min(b.watermark, b.log.end())]) {
		w.fail("I10: a replica shows what is not acknowledged")
	}
}

// checkMatching: logs that have a record of one epoch at one offset are the same up to there.
func (w *world) checkMatching(i, k int) {
	a, b := w.brokers[i].log.records, w.brokers[k].log.records
	for n := min(len(a), len(b)) - 1; n >= 0; n-- {
		if a[n].epoch == b[n].epoch {
			if !slices.Equal(a[:n+1], b[:n+1]) {
				w.fail("I10: logs with the same epoch at the same offset differ")
			}
			return
		}
	}
}

// checkCandidates: who may be elected has all that is acknowledged: on disk with fsync, whether it runs or not; with replicated,
// unless its machine went down and it has not registered since.
func (w *world) checkCandidates(limit *bounds) {
	for i := range w.brokers {
		b := &w.brokers[i]
		switch {
		case (w.control.isr|w.control.elr)&(1<<i) == 0:
		case limit.durability == Replicated && b.lost:
		case !holds(b.log.records, w.committed):
			w.fail("I12: a member of the ISR or an eligible replica lacks what was acknowledged")
		case limit.durability == Fsync && b.log.durable < wire.Offset(len(w.committed)):
			w.fail("I1: a member of the ISR or an eligible replica has not synced what was acknowledged")
		}
	}
}

func (w *world) checkLeader(limit *bounds) {
	t := w.control
	if t.leader < 0 {
		return
	}
	b := &w.brokers[t.leader]
	if !b.up || b.leader == nil || b.leader.Epoch() != t.leaderEpoch {
		return
	}
	l := b.leader
	if maximal := maskOf(l.Assigned().InSync) | maskOf(l.Asked()); count(t.isr) >= limit.minInSync && (t.isr|t.elr)&^maximal != 0 {
		w.fail("I13: the ISR in force has a member that the leader does not count")
	}
	if l.HighWatermark() >= l.EpochStart() && w.committedEpoch < l.Epoch() && l.HighWatermark() < wire.Offset(len(w.committed)) {
		w.fail("I8: a settled leader's watermark is below what an earlier leader acknowledged")
	}
	if l.HighWatermark() > b.log.end() {
		w.fail("I9: a watermark is past the end of its log")
	}
}

// checkEntry: who joins the ISR has fetched in this epoch as the incarnation that is registered and unfenced, and has all that is
// acknowledged and all from before the epoch.
func (w *world) checkEntry(leader, k int) {
	l, b := w.brokers[leader].leader, &w.brokers[k]
	if w.control.fenced[k] || w.control.epochs[k] != b.epoch {
		w.fail("I16: an old or fenced incarnation joins the ISR")
	}
	if !holds(b.log.records, w.committed) && !b.lost {
		w.fail("I16: a replica joins the ISR without what was acknowledged")
	}
	if l != nil && !b.lost && l.Epoch() == w.control.leaderEpoch && b.log.end() < l.EpochStart() {
		w.fail("I16: a replica joins the ISR that has not all from before the epoch")
	}
}
