package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// hooked is a file system on which something is done before operations.
type hooked struct {
	vfs.FS
	mu   sync.Mutex
	hook func(op vfs.Op, name string) error
}

func hook(fs vfs.FS) *hooked {
	h := &hooked{}
	h.FS = vfs.Inject(fs, func(op vfs.Op, name string) error {
		h.mu.Lock()
		f := h.hook
		h.mu.Unlock()
		if f != nil {
			return f(op, name)
		}
		return nil
	})
	return h
}

func (h *hooked) before(f func(op vfs.Op, name string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = f
}

func isSegment(name string) bool { return strings.HasSuffix(name, ".log") }
func isWAL(name string) bool     { return strings.Contains(name, "kraftgo.wal.") }

func walOptions(fs vfs.FS) Options {
	o := options(fs)
	o.WAL, o.WALFile, o.Checkpoint, o.Retention = 256<<10, 16<<10, time.Hour, time.Hour
	return o
}

func add(t *testing.T, l *storage.Log, size int) {
	t.Helper()
	if _, code, err := l.AppendAsLeader(storage.Append{Batches: numbered(int(l.End()), size)}); code != 0 || err != nil {
		t.Fatal(code, err)
	}
}

func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%s does not come", what)
		}
	}
}

func settled(t *testing.T, l *storage.Log) {
	t.Helper()
	until(t, "the durable end", func() bool { return l.Durable() == l.End() })
}

// share appends until a record has become durable by the write-ahead log alone.
func share(t *testing.T, h *hooked, l *storage.Log) {
	t.Helper()
	var synced atomic.Bool
	h.before(func(op vfs.Op, name string) error {
		if op == vfs.OpSync && isSegment(name) {
			synced.Store(true)
		}
		return nil
	})
	defer h.before(nil)
	for shared := false; !shared; shared = !synced.Load() {
		synced.Store(false)
		add(t, l, 0)
		settled(t, l)
	}
}

// numbers checks that the log has what was appended with add, and nothing else.
func numbers(t *testing.T, l *storage.Log) {
	t.Helper()
	for o := l.Start(); o < l.End(); o++ {
		s, code, err := l.Read(o, 1, l.End(), true)
		if err != nil || code != 0 {
			t.Fatal(o, code, err)
		}
		b := make([]byte, s.Len())
		_, err = s.ReadInto(b)
		s.Release()
		if err != nil || string(b[8:]) != string(numbered(int(o), len(b)-61)[8:]) {
			t.Fatalf("offset %d has something else (%v)", o, err)
		}
	}
}

func powerCut(m *vfs.Mem, seed uint64) *vfs.Mem { return m.Crash(rand.New(rand.NewPCG(seed, 0))) }

// A checkpoint in the course of which something was appended is followed by another, though no sync comes any more.
func TestACheckpointDuringAppendsIsFollowedByAnother(t *testing.T) {
	h := hook(newFS(t))
	d, _ := mustOpen(t, walOptions(h))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := d.Log(first.Key())
	share(t, h, l)
	var once sync.Once
	h.before(func(op vfs.Op, name string) error {
		if op == vfs.OpSync && isSegment(name) {
			once.Do(func() { add(t, l, 0) })
		}
		return nil
	})
	for i := range 2 {
		before := l.End()
		if err := d.CheckpointNow(); err != nil {
			t.Fatal(err)
		}
		if i == 0 && l.End() == before {
			t.Fatal("nothing was appended in the course of the checkpoint")
		}
		settled(t, l)
	}
	if point := d.mu.replicas[first.Key()].point; point != l.End() {
		t.Fatalf("the recovery point is %d, and nothing is due, though the end is %d", point, l.End())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// What a deletion of records has spared a sync is not in the file, so that what comes after it needs one.
func TestRecordsAfterDeletedOnesThatWereNotSynced(t *testing.T) {
	for seed := range uint64(20) {
		m := newFS(t)
		h := hook(m)
		o := walOptions(h)
		var wants []*storage.Log
		var mu sync.Mutex
		o.Schedule = func(l *storage.Log) { mu.Lock(); wants = append(wants, l); mu.Unlock() }
		syncNow := func() {
			mu.Lock()
			all := wants
			wants = nil
			mu.Unlock()
			for _, l := range all {
				for l.RunSync() {
				}
			}
		}
		d, _ := mustOpen(t, o)
		if err := d.Add(first); err != nil {
			t.Fatal(err)
		}
		l := d.Log(first.Key())
		for range 100 { // until there is a file
			add(t, l, 0)
			syncNow()
			settled(t, l)
		}
		add(t, l, 100_000) // too large to go through the write-ahead log
		if l.Durable() == l.End() {
			t.Fatal("synced without a sync")
		}
		if code, err := l.SetLogStart(l.End()); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		add(t, l, 0)
		until(t, "a sync, or the write-ahead log", func() bool { mu.Lock(); defer mu.Unlock(); return len(wants) > 0 || l.Durable() == l.End() })
		for range 1000 {
			runtime.Gosched()
		}
		durable := l.Durable()
		after := powerCut(m, seed)
		d2, _ := mustOpen(t, walOptions(after))
		if l2 := d2.Log(first.Key()); l2.End() < durable {
			t.Fatalf("seed %d: the end is %d, though it was durable up to %d", seed, l2.End(), durable)
		} else {
			numbers(t, l2)
		}
		syncNow()
		settled(t, l)
		if err := errors.Join(d.Close(), d2.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// A stop is clean only with all that was accepted before.
func TestNothingIsAcceptedBehindTheLastCheckpoint(t *testing.T) {
	m := newFS(t)
	h := hook(m)
	d, _ := mustOpen(t, walOptions(h))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := d.Log(first.Key())
	share(t, h, l)
	accepted := 0
	var once sync.Once
	h.before(func(op vfs.Op, name string) error {
		if op == vfs.OpCreate && strings.Contains(name, ".snapshot") {
			once.Do(func() {
				if _, _, err := l.AppendAsLeader(storage.Append{Batches: numbered(int(l.End()), 0)}); err == nil {
					accepted++
				} else if !errors.Is(err, storage.ErrClosed) {
					t.Error(err)
				}
			})
		}
		return nil
	})
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	end := l.End()
	for seed := range uint64(10) {
		d2, r := mustOpen(t, walOptions(powerCut(m, seed)))
		if !r.Clean {
			t.Fatal("not clean")
		}
		l2 := d2.Log(first.Key())
		if l2.End() != end {
			t.Fatalf("%d accepted, end %d, was %d", accepted, l2.End(), end)
		}
		numbers(t, l2)
		if err := d2.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// The process is killed, and while it starts again the power goes: the page cache had what the write-ahead log has, and the disk has not.
func TestAPowerCutWhileStartingAfterAKill(t *testing.T) {
	for seed := range uint64(30) {
		m := newFS(t)
		h := hook(m)
		d, _ := mustOpen(t, walOptions(h))
		if err := d.Add(first, second); err != nil {
			t.Fatal(err)
		}
		ends := map[Replica]wire.Offset{}
		for _, r := range []Replica{first, second} {
			l := d.Log(r.Key())
			share(t, h, l)
			for range 10 {
				add(t, l, 500)
				settled(t, l)
			}
			ends[r] = l.End()
		}
		h.before(func(vfs.Op, string) error { return errors.New("killed") })
		_ = d.Close()
		var after *vfs.Mem
		cut := rand.New(rand.NewPCG(seed, 1)).IntN(80)
		h.before(func(op vfs.Op, name string) error {
			if cut--; cut == 0 && seed%2 == 0 || isSegment(name) && op == vfs.OpSync && after == nil && seed%2 == 1 {
				after = powerCut(m, seed)
			}
			return nil
		})
		o := walOptions(h)
		o.Openers = 1
		d, r := mustOpen(t, o)
		h.before(nil)
		if r.Restored != 0 {
			t.Fatalf("%d bytes restored though nothing was lost", r.Restored)
		}
		if after == nil {
			after = powerCut(m, seed)
		}
		d2, _ := mustOpen(t, walOptions(after))
		for r, end := range ends {
			l := d2.Log(r.Key())
			if l.End() != end || l.Suspect() != "" {
				t.Fatalf("seed %d: the end is %d and was %d (suspect: %s)", seed, l.End(), end, l.Suspect())
			}
			numbers(t, l)
		}
		if err := errors.Join(d.Close(), d2.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// On a full disk a log can be cut, or is told that it cannot and goes on.
func TestCutsOnAFullDisk(t *testing.T) {
	h := hook(newFS(t))
	d, _ := mustOpen(t, walOptions(h))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := d.Log(first.Key())
	h.before(func(op vfs.Op, name string) error {
		if op == vfs.OpCreate && isWAL(name) && !strings.HasSuffix(name, ".1") {
			return syscall.ENOSPC
		}
		return nil
	})
	refused := 0
	for range 100 {
		for range 3 {
			add(t, l, 0)
			settled(t, l)
		}
		_, err := l.Truncate(l.End() - 1)
		if err != nil && !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
		if err != nil {
			refused++
		}
		settled(t, l)
		numbers(t, l)
	}
	h.before(nil)
	if _, err := l.Truncate(l.End() - 1); err != nil {
		t.Fatal(err)
	}
	if refused == 0 {
		t.Fatal("no cut was refused: the test shows nothing")
	}
	if err := errors.Join(l.Err(), d.Close()); err != nil {
		t.Fatal(err)
	}
}

// What is set aside may be all that is left, so that nothing of it may be in the write-ahead log alone.
func TestWhatIsSetAsideIsInItsFiles(t *testing.T) {
	m := newFS(t)
	h := hook(m)
	d, _ := mustOpen(t, walOptions(h))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := d.Log(first.Key())
	share(t, h, l)
	size := l.Size()
	if err := d.SetAside(first.Key()); err != nil {
		t.Fatal(err)
	}
	after := powerCut(m, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := after.List("/d")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if !strings.HasSuffix(name, asideSuffix) {
			continue
		}
		info, err := after.Stat(storage.SegmentFile("/d/"+name, 0))
		if err != nil || info.Size != size {
			t.Fatalf("%d bytes are left of %d (%v)", info.Size, size, err)
		}
		return
	}
	t.Fatalf("nothing is left: %v", names)
}

// countingFS counts open files.
type countingFS struct {
	vfs.FS
	open, most atomic.Int64
}

type countedFile struct {
	vfs.File
	of *countingFS
}

func (c *countingFS) count(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	n := c.open.Add(1)
	for old := c.most.Load(); n > old && !c.most.CompareAndSwap(old, n); old = c.most.Load() {
	}
	return &countedFile{f, c}, nil
}

func (c *countingFS) Open(name string) (vfs.File, error)       { return c.count(c.FS.Open(name)) }
func (c *countingFS) Create(name string) (vfs.File, error)     { return c.count(c.FS.Create(name)) }
func (c *countingFS) OpenDirect(name string) (vfs.File, error) { return c.count(c.FS.OpenDirect(name)) }
func (f *countedFile) Close() error                            { f.of.open.Add(-1); return f.File.Close() }

// A restoration has few files open, however many segments there are.
func TestARestorationHasFewFilesOpen(t *testing.T) {
	m := newFS(t)
	h := hook(m)
	o := walOptions(h)
	o.WAL, o.WALFile = 8<<20, 1<<20
	d, _ := mustOpen(t, o)
	var all []Replica
	for i := range 200 {
		all = append(all, Replica{wire.TopicID{7}, "many", wire.Partition(i)})
	}
	if err := d.Add(all...); err != nil {
		t.Fatal(err)
	}
	ends := map[Replica]wire.Offset{}
	for _, r := range all {
		l := d.Log(r.Key())
		share(t, h, l)
		ends[r] = l.End()
	}
	after := powerCut(m, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	c := &countingFS{FS: after}
	o = walOptions(c)
	o.Openers, o.OpenFiles = 4, 8
	d, r := mustOpen(t, o)
	if r.Restored == 0 {
		t.Fatal("nothing was restored: the test shows nothing")
	}
	if most := c.most.Load(); most > 60 {
		t.Fatalf("%d files were open", most)
	}
	for r, end := range ends {
		if l := d.Log(r.Key()); l.End() != end {
			t.Fatalf("%v ends at %d, not at %d", r, l.End(), end)
		}
		numbers(t, d.Log(r.Key()))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := c.open.Load(); n != 0 {
		t.Fatalf("%d files are open after Close", n)
	}
}

// An open that fails, at whichever operation, leaves no file open, and the next one comes to what the first would have.
func TestAnOpenThatFailsLeavesNothingOpen(t *testing.T) {
	m := newFS(t)
	h := hook(m)
	d, _ := mustOpen(t, walOptions(h))
	ends := map[Replica]wire.Offset{}
	for _, r := range []Replica{first, second} {
		if err := d.Add(r); err != nil {
			t.Fatal(err)
		}
		share(t, h, d.Log(r.Key()))
		share(t, h, d.Log(r.Key()))
		ends[r] = d.Log(r.Key()).End()
	}
	left := powerCut(m, 3)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	for n := 1; ; n++ {
		c := &countingFS{FS: powerCut(left, 1)}
		var did atomic.Int64
		o := walOptions(vfs.Inject(c, func(op vfs.Op, name string) error {
			if did.Add(1) == int64(n) {
				return syscall.EIO
			}
			return nil
		}))
		failed, _, err := Open(o)
		if err == nil {
			err = failed.Close()
		} else if open := c.open.Load(); open != 0 {
			t.Fatalf("operation %d: %d files are open after %v", n, open, err)
		}
		d, _ := mustOpen(t, walOptions(c))
		for r, end := range ends {
			if l := d.Log(r.Key()); l.End() != end {
				t.Fatalf("operation %d: %v ends at %d, not at %d", n, r, l.End(), end)
			}
			numbers(t, d.Log(r.Key()))
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		if err == nil && did.Load() < int64(n) {
			return
		}
	}
}

// A replica that was deleted says nothing more of itself: its place in the file of offsets may be another's.
func TestADeletedReplicaNotesNothing(t *testing.T) {
	h := hook(newFS(t))
	o := walOptions(h)
	var clock atomic.Int64
	o.Now = func() time.Time { return time.UnixMilli(clock.Load()) }
	d, _ := mustOpen(t, o)
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := d.Log(first.Key())
	share(t, h, l)
	entered, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	h.before(func(op vfs.Op, name string) error {
		if op == vfs.OpSync && isWAL(name) {
			once.Do(func() { close(entered); <-release })
		}
		return nil
	})
	keep := d.mu.replicas[first.Key()].keeper
	clock.Store(1e6) // notes are due
	add(t, l, 0)
	<-entered
	if err := d.Delete(first.Key()); err != nil {
		t.Fatal(err)
	}
	other := Replica{wire.TopicID{9}, "other", 0}
	if err := d.Add(other); err != nil {
		t.Fatal(err)
	}
	if e := d.manifest.entries[other.Key()]; e.slot != keep.entry.slot {
		t.Fatalf("another place: %d, %d", e.slot, keep.entry.slot)
	}
	close(release)
	l2 := d.Log(other.Key())
	share(t, h, l2) // by a later group
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if n := keep.note.noted; n >= l.End() {
		t.Fatalf("%d was noted of a replica that was deleted before", n)
	}
}

// A truncation waits for the write-ahead log while it holds the log: whoever is told that another log is durable may ask this one.
func TestWhoIsToldMayAskALogThatIsCut(t *testing.T) {
	m := newFS(t)
	h := hook(m)
	o := walOptions(h)
	var d *Disk
	var ask atomic.Pointer[storage.Log]
	o.OnDurable = func(wire.TopicIDPartition, wire.Offset) {
		if l := ask.Load(); l != nil {
			_, _ = l.Suspect(), l.Options()
		}
	}
	d, _ = mustOpen(t, o)
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	cut, busy := d.Log(first.Key()), d.Log(second.Key())
	share(t, h, cut)
	share(t, h, busy)
	ask.Store(cut)
	for i := range 200 {
		share(t, h, cut)
		done := make(chan error, 1)
		go func() { _, err := cut.Truncate(cut.End() - 1); done <- err }()
		add(t, busy, 0)
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal(fmt.Sprint("stuck at ", i))
		}
		settled(t, busy)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A deletion up to where retention has come already is durable as others are.
func TestADeletionOfWhatRetentionHasTaken(t *testing.T) {
	for seed := range uint64(10) {
		m := newFS(t)
		o := options(m)
		o.Log = func(Replica) storage.Options {
			return storage.Options{SegmentBytes: 1024, RetentionBytes: 1024, RetentionAge: storage.Unlimited}
		}
		d, _ := mustOpen(t, o)
		if err := d.Add(first); err != nil {
			t.Fatal(err)
		}
		l := d.Log(first.Key())
		for range 12 {
			add(t, l, 400)
		}
		settled(t, l)
		if n, err := l.Retain(l.End()); n == 0 || err != nil {
			t.Fatal(n, err)
		}
		if code, err := l.SetLogStart(l.Start()); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		d2, _ := mustOpen(t, options(powerCut(m, seed)))
		if start := d2.Log(first.Key()).Start(); start != l.Start() {
			t.Fatalf("the start is %d, and was %d", start, l.Start())
		}
		if err := errors.Join(d.Close(), d2.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// A log of which all records are deleted, and whose segments were being removed when the power went, is none that lost anything.
func TestAPowerCutWhileAnEmptiedLogIsOpened(t *testing.T) {
	for n := 1; ; n++ {
		m := newFS(t)
		o := options(m) // without a write-ahead log, and without syncs but those of checkpoints
		o.Openers, o.Schedule = 1, func(*storage.Log) {}
		o.Log = func(Replica) storage.Options { return storage.Options{SegmentBytes: 1024} }
		d, _ := mustOpen(t, o)
		if err := d.Add(first); err != nil {
			t.Fatal(err)
		}
		l := d.Log(first.Key())
		for range 12 {
			add(t, l, 400)
		}
		if err := d.CheckpointNow(); err != nil {
			t.Fatal(err)
		}
		add(t, l, 400)
		if code, err := l.SetLogStart(l.End()); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		var after *vfs.Mem
		left := powerCut(m, uint64(n))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		did := 0
		h := hook(left)
		h.before(func(vfs.Op, string) error {
			if did++; did == n {
				after = powerCut(left, uint64(n))
			}
			return nil
		})
		o.FS = h
		if _, _, err := Open(o); err != nil {
			t.Fatal(err)
		}
		h.before(nil)
		if after == nil {
			return
		}
		d2, _ := mustOpen(t, walOptions(after))
		if l := d2.Log(first.Key()); l.Suspect() != "" || l.Start() != 13 || l.End() != 13 {
			t.Fatalf("operation %d: from %d to %d (suspect: %s)", n, l.Start(), l.End(), l.Suspect())
		}
		if err := d2.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
