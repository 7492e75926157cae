package disk

import (
	"errors"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// faulty is a directory in which one operation fails, and what is known of it.
type faulty struct {
	d       *Disk
	mu      sync.Mutex
	offline error
	added   map[Replica]bool
}

// settle waits until all is durable or the disk is given up.
func (f *faulty) settle(t *testing.T, n int, l *storage.Log) bool {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); l.Durable() < l.End(); runtime.Gosched() {
		f.mu.Lock()
		failed := f.offline != nil
		f.mu.Unlock()
		if failed || l.Err() != nil {
			return false
		}
		if time.Now().After(end) {
			t.Fatalf("operation %d: durable up to %d of %d, and no fault was told", n, l.Durable(), l.End())
		}
	}
	return true
}

// script does something of everything, as long as nothing fails.
func (f *faulty) script(t *testing.T, n int) {
	t.Helper()
	for _, r := range []Replica{first, second} {
		if f.d.Add(r) != nil {
			return
		}
		f.added[r] = true
	}
	number := 0
	for i := range 12 {
		for _, r := range []Replica{first, second} {
			l := f.d.Log(r.Key())
			for range 4 {
				number++
				if _, code, err := l.AppendAsLeader(storage.Append{Batches: numbered(number, 300)}); err != nil || code != 0 {
					return
				}
				if !f.settle(t, n, l) {
					return
				}
			}
			if i%4 == 1 {
				if _, err := l.Truncate(l.End() - 2); err != nil {
					return
				}
			}
			if i == 5 && f.d.CheckpointNow() != nil {
				return
			}
			if i == 7 && l.TruncateFullyAndStartAt(l.End()) != nil {
				return
			}
		}
		if i == 9 && (f.d.Delete(second.Key()) != nil || f.d.Add(second) != nil) {
			return
		}
	}
}

// Whichever operation fails, once, nobody waits for ever, and what was durable is there when the disk works again.
func TestWALWithAFaultAnywhere(t *testing.T) {
	for _, kind := range []error{syscall.EIO, syscall.ENOSPC} {
		for n := 1; ; n += 1 + n/60 {
			m := newFS(t)
			h := hook(m)
			o := walOptions(h)
			o.Log = func(Replica) storage.Options { return storage.Options{SegmentBytes: 4000} }
			f := &faulty{added: map[Replica]bool{}}
			o.OnOffline = func(err error) { f.mu.Lock(); f.offline = err; f.mu.Unlock() }
			d, _ := mustOpen(t, o)
			f.d = d
			var mu sync.Mutex
			left, failed := n, ""
			h.before(func(op vfs.Op, name string) error {
				mu.Lock()
				defer mu.Unlock()
				if left--; left == 0 {
					failed = string(op) + " " + name
					return kind
				}
				return nil
			})
			f.script(t, n)
			promised := map[Replica]wire.Offset{}
			for r := range f.added {
				if l := d.Log(r.Key()); l != nil {
					promised[r] = min(l.Durable(), l.End()) // a cut that failed had begun
				}
			}
			after := powerCut(m, uint64(n))
			closed := make(chan error, 1)
			go func() { closed <- d.Close() }()
			select {
			case <-closed:
			case <-time.After(20 * time.Second):
				t.Fatalf("operation %d (%s): Close does not return", n, failed)
			}
			mu.Lock()
			what := failed
			mu.Unlock()
			d2, _, err := Open(walOptions(after))
			if err != nil {
				t.Fatalf("operation %d (%s, %v): %v", n, what, kind, err)
			}
			for r, end := range promised {
				l := d2.Log(r.Key())
				if l == nil || l.End() < end {
					t.Fatalf("operation %d (%s, %v): %v was durable up to %d, and ends before", n, what, kind, r, end)
				}
			}
			if err := errors.Join(d2.Close()); err != nil {
				t.Fatal(err)
			}
			if what == "" {
				break
			}
		}
	}
}
