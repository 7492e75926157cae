package disk

import (
	"container/heap"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
)

// housekeeper is the one goroutine of a directory that does what is due: checkpoints of what changed, retention, removal
// of files.
type housekeeper struct {
	d     *Disk
	wake  chan struct{}
	done  chan struct{}
	ended sync.WaitGroup

	// mu is a leaf.
	mu struct {
		sync.Mutex
		dirty      []*replica // wait for a checkpoint
		checkpoint time.Time  // when; zero: nothing is dirty
		due        dueHeap
		discarded  []discarded
	}
}

// discarded is a directory to be removed when its time has come.
type discarded struct {
	dir string
	at  time.Time
}

// due says that a replica's log wants to be looked at.
type due struct {
	at time.Time
	r  *replica
}

type dueHeap []due

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *dueHeap) Push(x any)        { *h = append(*h, x.(due)) }
func (h *dueHeap) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

func (k *housekeeper) start() {
	k.done = make(chan struct{})
	k.ended.Go(k.run)
	k.nudge()
}

func (k *housekeeper) stop() {
	if k.done == nil {
		return
	}
	close(k.done)
	k.ended.Wait()
}

func (k *housekeeper) nudge() {
	select {
	case k.wakeChannel() <- struct{}{}:
	default:
	}
}

func (k *housekeeper) wakeChannel() chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.wake == nil {
		k.wake = make(chan struct{}, 1)
	}
	return k.wake
}

// markDirty puts a replica on the list for the next checkpoint.
func (d *Disk) markDirty(r *replica) {
	if r.dirty.Load() || r.dirty.Swap(true) {
		return
	}
	k := &d.keeping
	k.mu.Lock()
	k.mu.dirty = append(k.mu.dirty, r)
	first := k.mu.checkpoint.IsZero()
	if first {
		k.mu.checkpoint = d.options.Now().Add(d.options.Checkpoint)
	}
	k.mu.Unlock()
	if first {
		k.nudge()
	}
}

// touch marks a replica dirty, once it is there.
func (d *Disk) touch(key wire.TopicIDPartition) {
	d.mu.RLock()
	r := d.mu.replicas[key]
	d.mu.RUnlock()
	if r != nil {
		d.markDirty(r)
	}
}

// discard has a directory removed, after a while in which it can be taken back by hand.
func (k *housekeeper) discard(dir string, after time.Duration) {
	k.mu.Lock()
	k.mu.discarded = append(k.mu.discarded, discarded{dir, k.d.options.Now().Add(after)})
	k.mu.Unlock()
	k.nudge()
}

// takeDiscardedLocked takes the directories out that are to be removed by now.
func (k *housekeeper) takeDiscardedLocked(now time.Time) (dirs []string) {
	k.mu.discarded = slices.DeleteFunc(k.mu.discarded, func(c discarded) bool {
		if c.at.After(now) {
			return false
		}
		dirs = append(dirs, c.dir)
		return true
	})
	return dirs
}

func (k *housekeeper) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		next := k.step()
		if next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(max(time.Millisecond, next.Sub(k.d.options.Now())))
		}
		select {
		case <-k.done:
			return
		case <-k.wakeChannel():
		case <-timer.C:
		}
	}
}

// KeepHouse does what is due, where [Options.Schedule] has taken that from the directory: checkpoints, retention, removal of files.
func (d *Disk) KeepHouse() { d.keeping.step() }

// step does what is due, and returns when the next thing is; the zero time: nothing is.
func (k *housekeeper) step() (next time.Time) {
	d := k.d
	now := d.options.Now()
	k.mu.Lock()
	remove := k.takeDiscardedLocked(now)
	checkpoint := !k.mu.checkpoint.IsZero() && !k.mu.checkpoint.After(now)
	var tend []*replica
	for len(k.mu.due) > 0 && !k.mu.due[0].at.After(now) {
		e := heap.Pop(&k.mu.due).(due)
		if e.at.Equal(e.r.dueAt) {
			e.r.dueAt = time.Time{}
			tend = append(tend, e.r)
		}
	}
	k.mu.Unlock()
	if d.Err() != nil {
		return time.Time{}
	}
	for _, dir := range remove {
		if err := d.options.FS.RemoveAll(dir); err != nil {
			d.offline(fmt.Errorf("remove %s: %w", dir, err))
		}
	}
	if checkpoint {
		if err := d.CheckpointNow(); err != nil {
			d.offline(err)
		}
	}
	for _, r := range tend {
		k.tend(r)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	next = k.mu.checkpoint
	if len(k.mu.due) > 0 && (next.IsZero() || k.mu.due[0].at.Before(next)) {
		next = k.mu.due[0].at
	}
	for _, c := range k.mu.discarded {
		if next.IsZero() || c.at.Before(next) {
			next = c.at
		}
	}
	return next
}

// tend applies retention to a log, removes its old files, and enters when it wants that next.
func (k *housekeeper) tend(r *replica) {
	d := k.d
	watermark := r.log.Durable()
	if d.options.HighWatermark != nil {
		watermark = d.options.HighWatermark(r.Key())
	}
	_, err := r.log.Retain(watermark)
	var next time.Time
	if err == nil {
		next, err = r.log.EmptyTrash()
	}
	if err != nil {
		if !errors.Is(err, storage.ErrClosed) { // deleted meanwhile, or failed and told so
			d.offline(err)
		}
		return
	}
	if at, ok := r.log.RetentionDue(); ok && (next.IsZero() || at.Before(next)) {
		next = at
	}
	if next.IsZero() {
		return
	}
	if soonest := d.options.Now().Add(d.options.Retention); next.Before(soonest) {
		next = soonest
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.dueAt.IsZero() || next.Before(r.dueAt) {
		r.dueAt = next
		heap.Push(&k.mu.due, due{next, r})
	}
}

// CheckpointNow makes durable all that changed since the last checkpoint, and the points from which recovery would read.
// It happens by itself as often as the options say.
func (d *Disk) CheckpointNow() error {
	k := &d.keeping
	k.mu.Lock()
	dirty := k.mu.dirty
	k.mu.dirty, k.mu.checkpoint = nil, time.Time{}
	k.mu.Unlock()
	if len(dirty) == 0 {
		return nil
	}
	type done struct {
		r       *replica
		lowered int
		point   wire.Offset
	}
	var mu sync.Mutex
	var all []done
	err := inParallel(d.options.Syncers, dirty, func(r *replica) error {
		r.dirty.Store(false)
		lowered := r.keeper.timesLowered()
		point, err := r.log.Checkpoint()
		if errors.Is(err, storage.ErrClosed) && r.log.Err() == nil {
			return nil // deleted meanwhile
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			all = append(all, done{r, lowered, point})
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	d.mu.Lock()
	for _, c := range all {
		c.r.point = c.point
	}
	d.mu.Unlock()
	if err := d.writeCheckpoints(); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	for _, c := range all {
		c.r.keeper.lift(c.lowered)
		k.tend(c.r)
	}
	return nil
}
