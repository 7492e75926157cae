package disk

import (
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

func manyReplicas(n int) (out []Replica) {
	for i := range n {
		out = append(out, Replica{wire.TopicID{7}, "many", wire.Partition(i)})
	}
	return out
}

// Replicas that get their first files while the manifest is being synced for another one share the next sync.
func TestFirstFilesShareASyncOfTheManifest(t *testing.T) {
	const n = 50
	var syncs, armed atomic.Int32
	held := make(chan struct{})
	mem := newFS(t)
	o := options(vfs.Inject(mem, func(op vfs.Op, name string) error {
		if op == vfs.OpSync && strings.HasSuffix(name, manifestFile) && armed.Load() == 1 && syncs.Add(1) == 1 {
			<-held
		}
		return nil
	}))
	o.Schedule = func(*storage.Log) {}
	d, _ := mustOpen(t, o)
	replicas := manyReplicas(n)
	if err := d.Add(replicas...); err != nil {
		t.Fatal(err)
	}
	armed.Store(1)
	var all sync.WaitGroup
	for _, r := range replicas {
		l := d.Log(r.Key())
		if _, code, err := l.AppendAsLeader(storage.Append{Batches: oneBatch()}); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		all.Go(func() {
			if err := l.Sync(); err != nil {
				t.Error(err)
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); ; <-tick.C {
		d.changes.Lock()
		waiting := len(d.changes.waiting)
		d.changes.Unlock()
		if waiting == n-1 || time.Now().After(end) {
			break
		}
	}
	close(held)
	all.Wait()
	if got := syncs.Load(); got != 2 {
		t.Errorf("%d syncs for %d replicas", got, n)
	}
	after := mem.Crash(rand.New(rand.NewPCG(1, 1)))
	d.lock.Close()
	d, _ = mustOpen(t, options(after))
	for _, r := range replicas {
		if e := d.manifest.entries[r.Key()]; e == nil || !e.started {
			t.Fatalf("after a power cut: %+v", e)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A power cut while many changes are written leaves all of them or none, whichever of the blocks came down, and the directory opens.
func TestAPowerCutAmongManyChanges(t *testing.T) {
	for seed := range uint64(100) {
		var cut *vfs.Mem
		mem := newFS(t)
		armed := false
		d, _ := mustOpen(t, options(vfs.Inject(mem, func(op vfs.Op, name string) error {
			if armed && op == vfs.OpSync && strings.HasSuffix(name, manifestFile) {
				cut = mem.Crash(rand.New(rand.NewPCG(seed, 1)))
			}
			return nil
		})))
		armed = true
		if err := d.Add(manyReplicas(60)...); err != nil {
			t.Fatal(err)
		}
		after, report, err := Open(options(cut))
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if n := len(report.Replicas); n != 0 && n != 60 {
			t.Fatalf("seed %d: %d replicas", seed, n)
		}
		for _, d := range []*Disk{d, after} {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
