package runtime

import (
	"log/slog"
	"sync"
	"time"
	"unicode/utf16"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Coordinator is the group coordinator of one broker. Any goroutine may call it.
type Coordinator struct {
	opts  Options
	start time.Time // the shards' clock counts from here

	mu     sync.RWMutex // a leaf
	shards map[wire.Partition]*shard
	closed bool
	ended  sync.WaitGroup
}

// New returns a coordinator that leads nothing.
func New(o Options) *Coordinator {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Current == nil {
		o.Current = func() bool { return true }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Coordinator{opts: o, start: o.Now(), shards: map[wire.Partition]*shard{}}
}

// PartitionOf returns the partition of __consumer_offsets, of n, that a group belongs to: Java's hash of the name, as
// Kafka computes it.
func PartitionOf(group string, n int) wire.Partition {
	hash := int32(0)
	for _, c := range utf16.Encode([]rune(group)) {
		hash = 31*hash + int32(c)
	}
	return wire.Partition(int(hash&0x7fffffff) % n)
}

// Leads makes the coordinator responsible for a partition, in an epoch.
func (c *Coordinator) Leads(p wire.Partition, epoch wire.LeaderEpoch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	if old := c.shards[p]; old != nil {
		if old.epoch == epoch {
			return
		}
		old.stop()
	}
	s := newShard(c, p, epoch)
	c.shards[p] = s
	c.ended.Add(1)
	go func() {
		defer c.ended.Done()
		s.run()
	}()
}

// Resigned ends the responsibility for a partition.
func (c *Coordinator) Resigned(p wire.Partition) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.shards[p]; s != nil {
		s.stop()
		delete(c.shards, p)
	}
}

// TopicsDeleted makes the coordinator forget the offsets of topics that are not in the metadata any more.
func (c *Coordinator) TopicsDeleted(image *metadata.Image) {
	for _, s := range c.all() {
		s.post(func() { s.forgetTopics(image) })
	}
}

// Close ends all responsibilities; whatever waits is refused. It returns when nothing runs any more.
func (c *Coordinator) Close() {
	c.mu.Lock()
	c.closed = true
	for p, s := range c.shards {
		s.stop()
		delete(c.shards, p)
	}
	c.mu.Unlock()
	c.ended.Wait()
}

func (c *Coordinator) all() []*shard {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := make([]*shard, 0, len(c.shards))
	for _, s := range c.shards {
		out = append(out, s)
	}
	return out
}

// with runs f on the shard of a group, or refuse with the code that says why it cannot. Exactly one of them is called.
func (c *Coordinator) with(group string, f func(s *shard), refuse func(code wire.ErrorCode)) {
	n := c.opts.Partitions()
	if n == 0 {
		refuse(wire.ErrNotCoordinator)
		return
	}
	c.mu.RLock()
	s := c.shards[PartitionOf(group, n)]
	c.mu.RUnlock()
	if s == nil || !c.opts.Current() {
		refuse(wire.ErrNotCoordinator)
		return
	}
	s.postOr(func() {
		if !s.loaded {
			refuse(wire.ErrCoordinatorLoadInProgress)
			return
		}
		f(s)
	}, func() { refuse(wire.ErrNotCoordinator) })
}
