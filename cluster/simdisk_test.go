package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"sync"
	"sync/atomic"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/storage/vfs"
)

// simDisk is what a simulated node keeps its partitions on, in memory. It outlives the node's processes, and loses what is not synced
// when the power goes. Syncs of logs take time, or hang, and then come to nothing while the rest of the disk still works: they wait
// before they begin, since whoever waits with a lock stops the clock of a simulation.
type simDisk struct {
	net *simNet // for its random

	mu      sync.Mutex // a leaf
	files   *vfs.Mem
	offsets *pebblevfs.MemFS
	boots   int
	slow    time.Duration // at most so long does a sync wait
	hung    chan struct{} // closed when syncs go on; nil: they do
	ended   *atomic.Bool  // whether the process that has the disk now is over

	keeping sync.WaitGroup
}

var errProcessOver = errors.New("the process that writes is over")

// begin gives the disk to a process, and returns how that starts.
func (d *simDisk) begin(x *simNode, n *Node) []func() error {
	ended := &atomic.Bool{}
	d.mu.Lock()
	d.ended = ended
	files, offsets := d.files, d.offsets
	d.mu.Unlock()
	n.config.Settings["group.initial.rebalance.delay.ms"] = "0"
	n.config.Settings["min.insync.replicas"] = "2" // with 1, who is left alone in sync and loses its disk leaves the choice to an operator
	n.world.offsets = func() (*kv.Store, error) { return kv.OpenFS("/offsets", offsets) }
	n.world.logs = func(o *disk.Options) {
		makeDurably(files, o.Dir)
		o.FS = vfs.Inject(files, func(vfs.Op, string) error {
			if ended.Load() {
				return errProcessOver
			}
			return nil
		})
		o.BootID = d.bootID
		o.Schedule, o.Retention = d.sync, time.Second
		o.WAL, o.WALFile = 256<<10, 16<<10
	}
	keep := func() error {
		d.keeping.Go(func() { d.keepHouse(n) })
		return nil
	}
	return []func() error{n.openDirectory, func() error { return x.sockets(n) }, n.openQuorum, n.joinGossip, x.nameQuorum, n.openPartitions, keep, n.register, n.openGroups, n.serve}
}

func makeDurably(files *vfs.Mem, dir string) {
	if dir == "/" {
		return
	}
	makeDurably(files, path.Dir(dir))
	_ = files.Mkdir(dir)
	_ = files.SyncDir(path.Dir(dir))
}

func (d *simDisk) bootID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return fmt.Sprint(d.boots)
}

// sync has a log synced a little later.
func (d *simDisk) sync(l *storage.Log) {
	go func() {
		for again := true; again; again = l.RunSync() {
			d.mu.Lock()
			slow := d.slow
			d.mu.Unlock()
			<-time.After(d.net.draw(slow))
			for hung := d.hangs(); hung != nil; hung = d.hangs() {
				<-hung
			}
		}
	}()
}

func (d *simDisk) hangs() chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hung
}

// keepHouse does what is due for as long as the process runs.
func (d *simDisk) keepHouse(n *Node) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-n.ctx.Done():
			return
		}
		if d.hangs() == nil {
			n.disk.KeepHouse()
		}
	}
}

// ends takes the disk from its process, which may not know yet that it is over. What it has written is there.
func (d *simDisk) ends() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended.Store(true)
	d.offsets = d.offsets.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: 100, RNG: rand.New(rand.NewPCG(0, 0))})
}

// rests waits until nothing is done for the process any more, but what was begun.
func (d *simDisk) rests() {
	d.mu.Lock()
	hung := d.hung
	d.hung = nil
	d.mu.Unlock()
	if hung != nil {
		close(hung)
	}
	d.keeping.Wait()
}
