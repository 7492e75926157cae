package replica

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// FetchWait is a fetch that waits for any of its partitions to have more. Its function is called once: when a mark moved, a
// partition ended, or time is up.
type FetchWait struct {
	ready func()

	mu struct {
		sync.Mutex
		fired      bool
		cancelled  bool
		timer      *time.Timer
		partitions []*Partition
	}
}

// NewFetchWait returns a wait that calls ready, on a goroutine of its own, at the latest after timeout.
func NewFetchWait(timeout time.Duration, ready func()) *FetchWait {
	w := &FetchWait{ready: ready}
	w.mu.timer = time.AfterFunc(timeout, w.fire)
	return w
}

// Watch makes the wait end when p's watermark moves past seen, or p ends. It ends at once if that has happened.
func (w *FetchWait) Watch(p *Partition, seen wire.Offset) {
	w.watch(p, p.mu.fetches, func() bool { return p.HighWatermark() > seen })
}

// WatchEnd is Watch for followers: they wait for the log's end, and for deletions from its start.
func (w *FetchWait) WatchEnd(p *Partition, seen, start wire.Offset) {
	w.watch(p, p.mu.copies, func() bool {
		return p.log.End() > seen || p.log.Start() > start || p.Serving(wire.NoLeaderEpoch) != wire.ErrNone
	})
}

func (w *FetchWait) watch(p *Partition, set map[*FetchWait]struct{}, moved func() bool) {
	w.mu.Lock()
	w.mu.partitions = append(w.mu.partitions, p)
	w.mu.Unlock()
	p.mu.Lock()
	set[w] = struct{}{}
	p.mu.Unlock()
	// Registered first, looked at afterwards: a move in between is seen by one of the two.
	if moved() {
		w.moved(wire.ErrNone)
	}
	w.mu.Lock()
	fired := w.mu.fired
	w.mu.Unlock()
	if fired {
		p.unwatch(w)
	}
}

// Cancel ends the wait: the fetch is to be answered with what there is. Calling it after the end changes nothing.
func (w *FetchWait) Cancel() {
	w.mu.Lock()
	w.mu.cancelled = true
	w.mu.Unlock()
	w.moved(wire.ErrNone)
}

// Cancelled reports whether Cancel was called.
func (w *FetchWait) Cancelled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.cancelled
}

// moved is called on goroutines that must not block.
func (w *FetchWait) moved(wire.ErrorCode) {
	w.mu.Lock()
	if w.mu.fired {
		w.mu.Unlock()
		return
	}
	w.mu.fired = true
	w.mu.timer.Stop()
	w.mu.Unlock()
	go w.finish()
}

// fire is the timer's function.
func (w *FetchWait) fire() {
	w.mu.Lock()
	if w.mu.fired {
		w.mu.Unlock()
		return
	}
	w.mu.fired = true
	w.mu.Unlock()
	w.finish()
}

func (w *FetchWait) finish() {
	w.mu.Lock()
	partitions := w.mu.partitions
	w.mu.partitions = nil
	w.mu.Unlock()
	for _, p := range partitions {
		p.unwatch(w)
	}
	w.ready()
}

func (p *Partition) unwatch(w *FetchWait) {
	p.mu.Lock()
	delete(p.mu.fetches, w)
	delete(p.mu.copies, w)
	p.mu.Unlock()
}
