package replica

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// FetchWait is a fetch that waits for any of its partitions to have more: when a mark moved, a partition ended, or time is up.
//
//	w := NewFetchWait(ready)
//	w.Watch(...), for each partition
//	if !w.Wait(timeout) { it is over already, and ready is not called }
type FetchWait struct {
	ready func()
	brief bool

	mu struct {
		sync.Mutex
		waiting    bool // from Wait on
		fired      bool
		cancelled  bool
		timer      *time.Timer
		partitions []*Partition
	}
}

// NewFetchWait returns a wait. Its function is called once, if Wait says so, on the goroutine that moved a mark if it is brief, as when
// there is little to read and all of that was just written; else on one of its own.
func NewFetchWait(brief bool, ready func()) *FetchWait {
	return &FetchWait{ready: ready, brief: brief}
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
		w.fire()
	}
}

// Wait says that all is watched, and how long the fetch may wait. It returns false if it need not: ready is not called then.
func (w *FetchWait) Wait(timeout time.Duration) bool {
	w.mu.Lock()
	if w.mu.fired {
		w.mu.Unlock()
		w.leave()
		return false
	}
	w.mu.waiting = true
	w.mu.timer = time.AfterFunc(timeout, func() {
		if w.fire() {
			w.finish()
		}
	})
	w.mu.Unlock()
	return true
}

// Cancel ends the wait: the fetch is to be answered with what there is. Calling it after the end changes nothing.
func (w *FetchWait) Cancel() {
	w.mu.Lock()
	w.mu.cancelled = true
	w.mu.Unlock()
	w.moved(false)
}

// Cancelled reports whether Cancel was called.
func (w *FetchWait) Cancelled() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mu.cancelled
}

// moved is called on goroutines that must not block; here says that this one may answer a brief fetch.
func (w *FetchWait) moved(here bool) {
	if !w.fire() {
		return
	}
	if here && w.brief {
		w.finish()
	} else {
		go w.finish()
	}
}

// fire ends the wait, and reports whether it is for the caller to finish it.
func (w *FetchWait) fire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.mu.fired {
		return false
	}
	w.mu.fired = true
	if w.mu.timer != nil {
		w.mu.timer.Stop()
	}
	return w.mu.waiting
}

func (w *FetchWait) finish() {
	w.leave()
	w.ready()
}

// leave forgets the wait everywhere; it has fired.
func (w *FetchWait) leave() {
	w.mu.Lock()
	partitions := w.mu.partitions
	w.mu.partitions = nil
	w.mu.Unlock()
	for _, p := range partitions {
		p.mu.Lock()
		delete(p.mu.fetches, w)
		delete(p.mu.copies, w)
		p.mu.Unlock()
	}
}
