package disk

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// worked is what a goroutine does to a log.
type worked struct {
	mu     sync.Mutex
	floor  wire.Offset // of a cut that is under way; -1: none
	lowest wire.Offset // of the cuts since the last promise
	at     []int       // number of the batch at each offset
}

// promise returns what must be there after a crash from now on.
func (w *worked) promise(l *storage.Log) (wire.Offset, []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	end := min(l.Durable(), wire.Offset(len(w.at)))
	w.lowest = end
	if w.floor >= 0 {
		end = min(end, w.floor)
	}
	return end, append([]int(nil), w.at[:end]...)
}

func (w *worked) work(t *testing.T, l *storage.Log, random *rand.Rand, numbers *atomic.Int64) {
	switch n := random.IntN(20); {
	case n == 0:
		w.mu.Lock()
		to := wire.Offset(random.IntN(len(w.at) + 1))
		w.floor, w.lowest = to, min(w.lowest, to)
		w.mu.Unlock()
		_, err := l.Truncate(to)
		w.mu.Lock()
		w.at, w.floor = w.at[:to], -1
		w.mu.Unlock()
		if err != nil {
			t.Error(err)
		}
	case n == 1:
		if _, err := l.Checkpoint(); err != nil {
			t.Error(err)
		}
	case n < 5:
		if l.Durable() > l.End() {
			t.Error("durable beyond the end")
		}
		runtime.Gosched()
	default:
		size := random.IntN(400)
		if random.IntN(30) == 0 {
			size = 40_000
		}
		number := int(numbers.Add(1))
		b := numbered(number, size)
		w.mu.Lock()
		w.at = append(w.at, number) // first: the write-ahead log may be quicker than this goroutine
		w.mu.Unlock()
		if _, code, err := l.AppendAsLeader(storage.Append{Batches: b}); code != 0 || err != nil {
			t.Error(code, err)
		}
	}
}

// Several logs are appended to and cut at the same time; whenever the power goes, what was durable is there.
func TestWALUnderConcurrentWork(t *testing.T) {
	for round := range uint64(12) {
		m := newFS(t)
		o := walOptions(m)
		o.Log = func(Replica) storage.Options { return storage.Options{SegmentBytes: 100_000} }
		d, _ := mustOpen(t, o)
		var numbers atomic.Int64
		var running sync.WaitGroup
		stop := make(chan struct{})
		logs := map[Replica]*worked{}
		for i := range 6 {
			r := Replica{wire.TopicID{5}, "busy", wire.Partition(i)}
			logs[r] = &worked{floor: -1}
			if err := d.Add(r); err != nil {
				t.Fatal(err)
			}
			w, l := logs[r], d.Log(r.Key())
			random := rand.New(rand.NewPCG(round, uint64(i)))
			running.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
						w.work(t, l, random, &numbers)
					}
				}
			})
		}
		for cut := range uint64(4) {
			for target := numbers.Load() + 500; numbers.Load() < target && !t.Failed(); {
				runtime.Gosched()
			}
			checkAfterPowerCut(t, m, d, logs, round*100+cut)
		}
		close(stop)
		running.Wait()
		for r := range logs {
			settled(t, d.Log(r.Key()))
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func checkAfterPowerCut(t *testing.T, m *vfs.Mem, d *Disk, logs map[Replica]*worked, seed uint64) {
	t.Helper()
	ends, numbers := map[Replica]wire.Offset{}, map[Replica][]int{}
	for r, w := range logs {
		ends[r], numbers[r] = w.promise(d.Log(r.Key()))
	}
	cuts := map[Replica]wire.Offset{}
	after := powerCut(m, seed)
	for r, w := range logs { // one that was cut meanwhile promised less
		w.mu.Lock()
		cuts[r] = w.lowest
		w.mu.Unlock()
	}
	o := walOptions(after)
	d2, _ := mustOpen(t, o)
	for r, end := range ends {
		l := d2.Log(r.Key())
		end = min(end, cuts[r])
		if l.End() < end {
			t.Errorf("seed %d: %v ends at %d, and was durable up to %d (suspect: %s)", seed, r, l.End(), end, l.Suspect())
			continue
		}
		for o := l.Start(); o < end; o++ {
			s, code, err := l.Read(o, 1, l.End(), true)
			if err != nil || code != 0 {
				t.Fatal(o, code, err)
			}
			b := make([]byte, s.Len())
			_, err = s.ReadInto(b)
			s.Release()
			if got := batch.Header(b).MaxTimestamp(); err != nil || got != wire.Timestamp(numbers[r][o]) {
				t.Errorf("seed %d: %v has %d at %d, not %d (%v)", seed, r, got, o, numbers[r][o], err)
				break
			}
		}
	}
	if err := d2.Close(); err != nil {
		t.Error(err)
	}
}
