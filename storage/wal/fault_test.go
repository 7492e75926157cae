package wal

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// gate is a disk on which operations of a kind wait, and may fail then.
type gate struct {
	mu      sync.Mutex
	op      vfs.Op
	entered chan struct{}
	open    chan error
}

func (g *gate) fault(op vfs.Op, name string) error {
	g.mu.Lock()
	waits := op == g.op && strings.HasSuffix(name, fileName+"1") // and not while others are made
	g.mu.Unlock()
	if !waits {
		return nil
	}
	g.entered <- struct{}{}
	return <-g.open
}

func (g *gate) hold(op vfs.Op) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.op, g.entered, g.open = op, make(chan struct{}, 100), make(chan error)
}

func within(t *testing.T, what string, done <-chan error) error {
	t.Helper()
	select {
	case err := <-done:
		return err
	case <-time.After(20 * time.Second):
		t.Fatalf("%s does not return", what)
		return nil
	}
}

func in(f func() error) <-chan error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return done
}

// Whoever waits for a void while another write fails learns of it: nobody will write his.
func TestAFaultIsToldToThoseBehind(t *testing.T) {
	g := &gate{}
	l := Open(testOptions(vfs.Inject(testFS(t), g.fault)))
	ready(t, l)
	k := newTeller()
	a, b := mustClient(t, l, one, newTeller()), mustClient(t, l, two, k)
	b.Add(0, 0, []byte("x"), 1, 0)
	k.wait(1)
	g.hold(vfs.OpWrite)
	a.Add(0, 0, []byte("x"), 1, 0)
	<-g.entered
	voided := in(b.Void)
	staged := func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.mu.staging.waiting) > 0 }
	for !staged() {
		runtime.Gosched()
	}
	g.open <- syscall.EIO
	if err := within(t, "a void behind a fault", voided); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := within(t, "Close", in(l.Close)); err != nil {
		t.Fatal(err)
	}
}

// A void does not wait until others were told of what is durable: these may wait for a log that waits for its void.
func TestAVoidDoesNotWaitForWhoIsTold(t *testing.T) {
	l := Open(testOptions(testFS(t)))
	ready(t, l)
	told, release := make(chan struct{}), make(chan struct{})
	a, err := l.Client(one, func(wire.Offset, uint64) { close(told); <-release }, nil)
	if err != nil {
		t.Fatal(err)
	}
	k := newTeller()
	b := mustClient(t, l, two, k)
	b.Add(0, 0, []byte("x"), 1, 0)
	k.wait(1)
	a.Add(0, 0, []byte("x"), 1, 0)
	<-told
	if err := within(t, "a void", in(b.Void)); err != nil {
		t.Fatal(err)
	}
	ready(t, l)
	if !b.Add(0, 1, []byte("x"), 2, 1) {
		t.Fatal("not added")
	}
	k.wait(2)
	close(release)
	if err := within(t, "Close", in(l.Close)); err != nil {
		t.Fatal(err)
	}
}

// Replicas that were deleted are forgotten once the files with what they added are used again.
func TestClosedClientsAreForgotten(t *testing.T) {
	l := Open(testOptions(testFS(t)))
	ready(t, l)
	for i := range 100 {
		k := newTeller()
		c := mustClient(t, l, wire.TopicIDPartition{Topic: wire.TopicID{9}, Partition: wire.Partition(i)}, k)
		for !c.Add(0, 0, make([]byte, 3000), 1, 0) {
			l.mu.Lock()
			l.mu.pause = time.Time{}
			l.mu.Unlock()
		}
		k.wait(1)
		c.Close()
	}
	l.mu.Lock()
	n, m := len(l.mu.clients), len(l.mu.ended)
	l.mu.Unlock()
	if n > 20 || m > 20 { // as many as there are blocks
		t.Fatalf("%d clients are remembered, and %d that are closed", n, m)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A removal that is cut short leaves nothing that a void which is gone already spoke of.
func TestARemovalIsCutShort(t *testing.T) {
	fs := testFS(t)
	o := testOptions(fs)
	o.Limit = 512 << 10
	l := Open(o)
	k := newTeller()
	a, b := mustClient(t, l, one, newTeller()), mustClient(t, l, two, k)
	fill := func(from, to int) { // a file at a time, a block of it for a
		for i := from; i < to; i++ {
			ready(t, l)
			if i < 9 {
				a.Add(0, int64(i), []byte("x"), wire.Offset(i+1), 0)
			}
			for j := range 4 {
				for !b.Add(0, 0, make([]byte, 3000), wire.Offset(10*i+j+1), 0) {
					ready(t, l)
				}
				k.wait(wire.Offset(10*i + j + 1))
			}
		}
	}
	fill(0, 9)
	if err := a.Void(); err != nil {
		t.Fatal(err)
	}
	fill(9, 12)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for n := range 12 {
		left := fs.Crash(rand.New(rand.NewPCG(1, 1)))
		removed := 0
		broken := vfs.Inject(left, func(op vfs.Op, _ string) error {
			if op == vfs.OpRemove {
				if removed++; removed > n {
					return syscall.EIO
				}
			}
			return nil
		})
		if err := Remove(broken, "/d"); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		for _, e := range replayed(t, left) {
			if strings.HasPrefix(e, "0:") {
				t.Fatalf("with %d files removed: %s", n, e)
			}
		}
	}
}

// A disk that is too full for a file in which a void could be said is told so, and nothing else ends.
func TestAVoidOnAFullDisk(t *testing.T) {
	full := false
	var mu sync.Mutex
	l := Open(testOptions(vfs.Inject(testFS(t), func(op vfs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if full && op == vfs.OpCreate {
			return syscall.ENOSPC
		}
		return nil
	})))
	ready(t, l)
	mu.Lock()
	full = true
	mu.Unlock()
	k := newTeller()
	a := mustClient(t, l, one, k)
	for i := 0; a.Add(0, int64(i)*3000, bytes.Repeat([]byte{1}, 3000), wire.Offset(i+1), 0); i++ {
		k.wait(wire.Offset(i + 1))
	}
	if err := a.Void(); err != nil {
		t.Fatalf("a part of the file is kept for voids: %v", err)
	}
	if err := a.Void(); !IsFull(err) {
		t.Fatal(err)
	}
	mu.Lock()
	full = false
	mu.Unlock()
	if err := a.Void(); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// A failed sync of the directory is one of all that is in it.
func TestAFailedSyncOfTheDirectoryIsAFault(t *testing.T) {
	told := make(chan error, 1)
	o := testOptions(vfs.Inject(testFS(t), func(op vfs.Op, name string) error {
		if op == vfs.OpSyncDir {
			return syscall.EIO
		}
		return nil
	}))
	o.OnFault = func(err error) { told <- err }
	l := Open(o)
	a := mustClient(t, l, one, newTeller())
	if a.Add(0, 0, []byte("x"), 1, 0) {
		t.Fatal("added, though there is no file")
	}
	if err := within(t, "a fault", told); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
