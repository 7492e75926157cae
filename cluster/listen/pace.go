package listen

import (
	"sync/atomic"
	"time"
)

// Whoever gives an answer, as one that moved a watermark, writes it himself: another goroutine would have to be woken for it, perhaps on
// another thread, which costs more than the write. Where answers are many they are left to the writers of their connections, so that
// they hold up nobody.
const (
	paceInterval = 100 * time.Microsecond
	paceBurst    = 8 * paceInterval
)

// pace lets something through once in an interval, or a few times at once after a pause. Its times are on one monotonic clock.
type pace struct{ next atomic.Int64 }

func (p *pace) allow(now time.Duration) bool {
	for {
		next := p.next.Load()
		from := max(next, int64(now-paceBurst))
		if from > int64(now) {
			return false
		}
		if p.next.CompareAndSwap(next, from+int64(paceInterval)) {
			return true
		}
	}
}
