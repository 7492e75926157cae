package replication

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// Against the definition, computed anew each time: the watermark is the highest that the smallest counted mark of the
// in-sync replicas ever was, while these were enough.
func TestWatermarkIsTheRunningMaximumOfTheSmallestMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []wire.BrokerID{1, 2, 3}[:rapid.IntRange(1, 3).Draw(t, "replicas")]
		l := NewLeader(1, 5, ids, 0)
		marks := map[wire.BrokerID]Marks{}
		durability, minInSync := Fsync, 1
		want := wire.Offset(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			before := l.HighWatermark()
			var moved bool
			if rapid.IntRange(0, 4).Draw(t, "what") == 0 {
				durability = Durability(rapid.IntRange(0, 1).Draw(t, "durability"))
				minInSync = rapid.IntRange(1, 3).Draw(t, "min")
				moved = l.Configure(durability, minInSync)
			} else {
				id := rapid.SampledFrom(ids).Draw(t, "id")
				m := marks[id]
				m.End += wire.Offset(rapid.IntRange(0, 5).Draw(t, "appended"))
				m.Durable = min(m.End, m.Durable+wire.Offset(rapid.IntRange(0, 5).Draw(t, "synced")))
				marks[id] = m
				moved = l.Report(id, m)
			}
			if len(ids) >= minInSync {
				low := wire.Offset(1 << 60)
				for _, id := range ids {
					c := marks[id].End
					if durability == Fsync {
						c = marks[id].Durable
					}
					low = min(low, c)
				}
				want = max(want, low)
			}
			if l.HighWatermark() != want || moved != (want != before) {
				t.Fatalf("watermark %d (moved %v), want %d", l.HighWatermark(), moved, want)
			}
		}
	})
}
