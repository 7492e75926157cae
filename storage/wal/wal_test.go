package wal

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

var (
	directory = wire.UUID{7}
	one       = wire.TopicIDPartition{Topic: wire.TopicID{1}, Partition: 0}
	two       = wire.TopicIDPartition{Topic: wire.TopicID{1}, Partition: 1}
)

func testFS(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if err := errors.Join(m.Mkdir("/d"), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	return m
}

func testOptions(fs vfs.FS) Options {
	return Options{FS: fs, Dir: "/d", Directory: directory, Limit: 64 << 10, Smallest: 16 << 10}
}

// teller keeps what a client was told.
type teller struct {
	mu    sync.Mutex
	moved sync.Cond
	end   wire.Offset
	syncs int
}

func newTeller() *teller {
	k := &teller{}
	k.moved.L = &k.mu
	return k
}

func (k *teller) durable(end wire.Offset, _ uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.end = end
	k.moved.Broadcast()
}

func (k *teller) wait(end wire.Offset) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for k.end < end {
		k.moved.Wait()
	}
}

func mustClient(t *testing.T, l *Log, key wire.TopicIDPartition, k *teller) *Client {
	t.Helper()
	var c *Client
	c, err := l.Client(key, k.durable, func() error {
		n := c.Added()
		k.mu.Lock()
		k.syncs++
		k.mu.Unlock()
		c.Synced(n)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// ready makes sure that there is a file to write to.
func ready(t *testing.T, l *Log) {
	t.Helper()
	if err := l.make(l.o.Smallest); err != nil {
		t.Fatal(err)
	}
}

func replayed(t *testing.T, fs vfs.FS) (list []string) {
	t.Helper()
	err := Replay(fs, "/d", directory, func(all []Entry) error {
		for _, e := range all {
			list = append(list, fmt.Sprintf("%d:%d+%d=%s", e.Key.Partition, e.Base, e.Position, e.Bytes))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestWhatWasAddedComesBackInOrder(t *testing.T) {
	fs := testFS(t)
	l := Open(testOptions(fs))
	ready(t, l)
	k := newTeller()
	a, b := mustClient(t, l, one, k), mustClient(t, l, two, newTeller())
	if !a.Add(5, 0, []byte("x"), 6, 0) || !b.Add(0, 100, []byte("yy"), 1, 0) || !a.Add(5, 1, []byte("zzz"), 7, 0) {
		t.Fatal("not added, though there is a file")
	}
	k.wait(7)
	after := fs.Crash(rand.New(rand.NewPCG(1, 1)))
	if got, want := replayed(t, after), []string{"0:5+0=x", "1:0+100=yy", "0:5+1=zzz"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if got := replayed(t, after); len(got) != 3 {
		t.Fatalf("a second time: %v", got)
	}
	if err := Remove(after, "/d"); err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, after); got != nil {
		t.Fatalf("after it was removed: %v", got)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsVoidDoesNotComeBack(t *testing.T) {
	fs := testFS(t)
	l := Open(testOptions(fs))
	ready(t, l)
	k := newTeller()
	a, b := mustClient(t, l, one, k), mustClient(t, l, two, newTeller())
	a.Add(0, 0, []byte("old"), 3, 0)
	b.Add(0, 0, []byte("other"), 3, 0)
	if err := a.Void(); err != nil {
		t.Fatal(err)
	}
	a.Add(0, 0, []byte("new"), 3, 1)
	k.wait(3)
	a.Add(0, 3, []byte("more"), 4, 1)
	k.wait(4)
	if got, want := replayed(t, fs), []string{"1:0+0=other", "0:0+0=new", "0:0+3=more"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	a.Close()
	mustClient(t, l, one, newTeller()) // the replica was deleted, and is there again
	if got, want := replayed(t, fs), []string{"1:0+0=other"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Files are used again once the logs have synced theirs, and only then: what was not synced is still given back.
func TestFilesAreUsedAgain(t *testing.T) {
	fs := testFS(t)
	l := Open(testOptions(fs))
	ready(t, l)
	k := newTeller()
	a, kept := mustClient(t, l, one, k), newTeller()
	b, err := l.Client(two, kept.durable, func() error { return nil }) // never says that it synced
	if err != nil {
		t.Fatal(err)
	}
	if !b.Add(0, 0, []byte("kept"), 1, 0) {
		t.Fatal("not added")
	}
	kept.wait(1)
	blocks := 0
	for i := range 10_000 {
		if a.Add(0, int64(i)*3000, bytes.Repeat([]byte{byte(i)}, 3000), wire.Offset(i+1), 0) {
			blocks++
			k.wait(wire.Offset(i + 1))
		} else {
			runtime.Gosched()
		}
		a.Synced(a.Added())
	}
	if blocks < 3 || blocks > 16 {
		t.Fatalf("%d groups of a block were written into files of 16 blocks, the first of which must stay", blocks)
	}
	b.Synced(b.Added())
	for i := range 100 {
		for !a.Add(0, int64(i)*3000, bytes.Repeat([]byte{byte(i)}, 3000), wire.Offset(1000+i), 0) {
			l.mu.Lock()
			l.mu.pause = l.mu.pause.Add(-1 << 40)
			l.mu.Unlock()
		}
		k.wait(wire.Offset(1000 + i))
		a.Synced(a.Added())
	}
	all, err := names(fs, "/d")
	if err != nil || len(all) > 4 {
		t.Fatalf("%v %v", all, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// When the space is used up, the logs are asked to sync what they have there.
func TestLogsAreAskedToSync(t *testing.T) {
	fs := testFS(t)
	l := Open(testOptions(fs))
	ready(t, l)
	k := newTeller()
	a := mustClient(t, l, one, k)
	asked := func() bool { k.mu.Lock(); defer k.mu.Unlock(); return k.syncs > 0 }
	for i := 0; !asked(); i++ { // or until the test's time is up
		if a.Add(0, int64(i)*3000, make([]byte, 3000), wire.Offset(i+1), 0) {
			k.wait(wire.Offset(i + 1))
		} else {
			runtime.Gosched() // a file is being made
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFullDiskOnlyTurnsAddsAway(t *testing.T) {
	l := Open(testOptions(vfs.Inject(testFS(t), func(op vfs.Op, name string) error {
		if op == vfs.OpWrite && strings.Contains(name, fileName) {
			return syscall.ENOSPC
		}
		return nil
	})))
	a := mustClient(t, l, one, newTeller())
	for range 3 {
		if a.Add(0, 0, []byte("x"), 1, 0) {
			t.Fatal("added to a file that could not be made")
		}
	}
	if err := a.Void(); err != nil {
		t.Fatalf("nothing was added, so there is nothing to void: %v", err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAFaultIsToldOnce(t *testing.T) {
	broken, faults := false, 0
	var mu sync.Mutex
	o := testOptions(vfs.Inject(testFS(t), func(op vfs.Op, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		if broken && op == vfs.OpWrite {
			return syscall.EIO
		}
		return nil
	}))
	o.OnFault = func(error) { mu.Lock(); faults++; mu.Unlock() }
	l := Open(o)
	ready(t, l)
	a := mustClient(t, l, one, newTeller())
	mu.Lock()
	broken = true
	mu.Unlock()
	if !a.Add(0, 0, []byte("x"), 1, 0) {
		t.Fatal("not added")
	}
	if err := a.Void(); !errors.Is(err, syscall.EIO) && !errors.Is(err, ErrClosed) {
		t.Fatalf("after a fault: %v", err)
	}
	if a.Add(0, 0, []byte("x"), 1, 0) {
		t.Fatal("added after a fault")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if faults != 1 {
		t.Fatalf("%d faults told", faults)
	}
}

// A group of which a block was lost does not count, nor does what another directory wrote.
func TestTornGroups(t *testing.T) {
	fs := testFS(t)
	o := testOptions(fs)
	o.Smallest = 32 << 10
	l := Open(o)
	ready(t, l)
	k := newTeller()
	a := mustClient(t, l, one, k)
	for i := range 2 {
		if !a.Add(0, int64(i)*8000, bytes.Repeat([]byte{'a'}, 8000), wire.Offset(i+1), 0) {
			t.Fatal("not added")
		}
		k.wait(wire.Offset(i + 1))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("/d/" + fileName + "1")
	if err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, fs); len(got) != 2 {
		t.Fatalf("%d entries", len(got))
	}
	if err := Replay(fs, "/d", wire.UUID{8}, func([]Entry) error { return errors.New("given") }); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(make([]byte, 512), 8192+4096); err != nil { // a sector of the second
		t.Fatal(err)
	}
	if got := replayed(t, fs); len(got) != 1 {
		t.Fatalf("%d entries, though the second group is torn", len(got))
	}
}

func FuzzReplay(f *testing.F) {
	g := group{buf: alignedBytes(8192), used: headerSize, entries: 2}
	appendWrite(g.buf[:headerSize], &Entry{Key: one, Base: 3, Position: 4, Bytes: []byte("abc")})
	g.used += writeSize + 3
	appendKey(g.buf[:g.used], entryVoid, two)
	g.used += voidSize
	h := header{length: g.used, entries: 2, file: 1, low: 1}
	h.seal(g.buf, directory)
	f.Add(g.buf[:4096], true)
	f.Add(g.buf[:100], false)
	f.Fuzz(func(t *testing.T, b []byte, whole bool) {
		if whole && len(b) >= headerSize { // as if the checksum were right
			h := header{length: len(b), entries: int(b[15]), file: 1, low: 1}
			b = slices.Clone(b)
			h.seal(b, directory)
		}
		fs := testFS(t)
		w, err := fs.Create("/d/" + fileName + "1")
		if err == nil {
			_, err = w.WriteAt(b, 0)
		}
		if err != nil {
			t.Fatal(err)
		}
		total := 0
		_ = Replay(fs, "/d", directory, func(all []Entry) error {
			for _, e := range all {
				total += len(e.Bytes)
			}
			return nil
		})
		if total > len(b) {
			t.Fatalf("%d bytes out of %d", total, len(b))
		}
	})
}
