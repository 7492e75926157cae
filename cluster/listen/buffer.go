package listen

import (
	"context"
	"math/bits"
	"sync"
	"time"
)

// Buffers come in powers of two from minClass to maxClass bytes; larger ones are not pooled, since one that is rarely
// used would stay resident.
const (
	minClass = 10 // 1 KiB
	maxClass = 24 // 16 MiB: a follower's fetch
)

var pools [maxClass + 1]sync.Pool

// Buffer is a pooled byte slice. Its owner calls Release once, and never looks at it again.
type Buffer struct {
	B []byte
}

// GetBuffer returns a buffer with a capacity of at least n and no content.
func GetBuffer(n int) *Buffer {
	class := max(bits.Len(uint(max(n, 1)-1)), minClass)
	if class > maxClass {
		return &Buffer{B: make([]byte, 0, n)}
	}
	if b, ok := pools[class].Get().(*Buffer); ok {
		return b
	}
	return &Buffer{B: make([]byte, 0, 1<<class)}
}

// poison makes tests see a use after Release.
var poison = false

// Release gives the buffer back.
func (b *Buffer) Release() {
	if poison {
		full := b.B[:cap(b.B)]
		for i := range full {
			full[i] = 0xdb
		}
	}
	c := cap(b.B)
	class := bits.Len(uint(c)) - 1
	if class < minClass || class > maxClass || c != 1<<class {
		return
	}
	b.B = b.B[:0]
	pools[class].Put(b)
}

// Budget bounds the bytes of requests in work. Waiters are served in the order they came.
type Budget struct {
	mu struct {
		sync.Mutex
		free    int64
		waiters []*budgetWaiter
	}
	total int64
}

type budgetWaiter struct {
	n     int64
	ready chan struct{}
}

// NewBudget returns a budget of n bytes.
func NewBudget(n int64) *Budget {
	b := &Budget{total: n}
	b.mu.free = n
	return b
}

// acquire takes n bytes, at most the whole budget, and returns how many; 0, false if they did not come free in time.
// While it waits it asks now and then whether it still should, and ends with 0, false when gone says no.
func (b *Budget) acquire(ctx context.Context, n int64, wait time.Duration, gone func() bool) (int64, bool) {
	n = min(n, b.total)
	b.mu.Lock()
	if len(b.mu.waiters) == 0 && b.mu.free >= n {
		b.mu.free -= n
		b.mu.Unlock()
		return n, true
	}
	w := &budgetWaiter{n, make(chan struct{})}
	b.mu.waiters = append(b.mu.waiters, w)
	b.mu.Unlock()
	if w.wait(ctx, wait, gone) {
		return n, true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, x := range b.mu.waiters {
		if x == w {
			b.mu.waiters = append(b.mu.waiters[:i], b.mu.waiters[i+1:]...)
			b.grantLocked()
			return 0, false
		}
	}
	return n, true // granted while we gave up
}

// wait reports whether the bytes came.
func (w *budgetWaiter) wait(ctx context.Context, wait time.Duration, gone func() bool) bool {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	look := time.NewTicker(100 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-w.ready:
			return true
		case <-look.C:
			if gone() {
				return false
			}
		case <-timer.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

func (b *Budget) release(n int64) {
	if n == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mu.free += n
	if b.mu.free > b.total {
		panic("listen: more request memory released than taken")
	}
	b.grantLocked()
}

func (b *Budget) grantLocked() {
	for len(b.mu.waiters) > 0 && b.mu.free >= b.mu.waiters[0].n {
		w := b.mu.waiters[0]
		b.mu.free -= w.n
		b.mu.waiters = b.mu.waiters[1:]
		close(w.ready)
	}
}
