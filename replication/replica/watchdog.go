package replica

import (
	"sync"
	"time"
)

// watchdog calls late when something takes longer than it may. One timer serves all that is done one after the other, and is set anew only
// when it has run out: fetches are many, and are hardly ever late.
type watchdog struct {
	late func()

	mu    sync.Mutex // a leaf
	timer *time.Timer
	due   time.Time // when the timer runs out; zero: it does not run
	until time.Time // zero: nothing is under way
	ended bool
}

// begin says that something has begun.
func (w *watchdog) begin(timeout time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = time.Now().Add(timeout)
	switch {
	case w.ended, !w.due.IsZero() && !w.due.After(w.until):
	case w.timer == nil:
		w.due, w.timer = w.until, time.AfterFunc(timeout, w.look)
	default:
		w.due = w.until
		w.timer.Reset(timeout)
	}
}

// done says that it is over.
func (w *watchdog) done() {
	w.mu.Lock()
	w.until = time.Time{}
	w.mu.Unlock()
}

// end has nothing called any more, but for a call that is under way.
func (w *watchdog) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = true
	if w.timer != nil {
		w.timer.Stop()
	}
}

// look is the timer's function.
func (w *watchdog) look() {
	w.mu.Lock()
	left := time.Until(w.until)
	late := !w.ended && !w.until.IsZero() && left <= 0
	if w.due = (time.Time{}); !w.ended && !w.until.IsZero() && left > 0 {
		w.due = w.until
		w.timer.Reset(left)
	}
	w.mu.Unlock()
	if late {
		w.late()
	}
}
