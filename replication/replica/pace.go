package replica

import (
	"sync/atomic"
	"time"
)

// A wake-up that finds little to do may be done where the mark moved: another goroutine would have to be woken for it, perhaps on
// another thread, which costs more. Where there are many, they must not hold up who moves marks.
const (
	paceInterval = 100 * time.Microsecond
	paceBurst    = 8 * paceInterval
)

// pace lets something through once in an interval, or a few times at once after a pause.
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
