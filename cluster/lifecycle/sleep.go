package lifecycle

import (
	"sync/atomic"
	"time"
)

// sleep notices that the whole process stood still for longer than limit, as when it, or the machine under it, is stopped. One
// goroutine calls tick, a few times within the limit; any may ask. Times are of a monotonic clock that goes on meanwhile.
type sleep struct {
	limit  time.Duration
	ticked atomic.Int64 // when tick was called last
	woke   atomic.Int64 // when it was called late for the last time; 0: never
}

func (s *sleep) tick(now time.Duration) {
	if now-time.Duration(s.ticked.Load()) > s.limit {
		s.woke.Store(int64(now))
	}
	s.ticked.Store(int64(now)) // after woke: see since
}

// since reports whether the process has slept after the time t, or just woke, as of now.
func (s *sleep) since(t, now time.Duration) bool {
	// ticked is read first. The other order admits, between the two reads of one who woke first, a tick: neither would tell.
	ticked := time.Duration(s.ticked.Load())
	return now-ticked > s.limit || time.Duration(s.woke.Load()) > t
}
