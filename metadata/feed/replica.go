package feed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// ErrClosed is the result of waiting on a Replica that was closed.
var ErrClosed = errors.New("the node is stopping")

// Entry is a committed command as it was proposed.
type Entry struct {
	Index wire.Index
	Term  wire.Term
	Data  []byte
	// Hash is that of the state after the command; zero: not known. Entries of another broker carry its hash.
	Hash metadata.Hash
}

// Difference is the result of a command after which this broker's state is another than that of the broker that the command
// came from. The command took effect nevertheless.
type Difference struct {
	Index        wire.Index
	Ours, Theirs metadata.Hash
}

// Error implements error.
func (d *Difference) Error() string {
	return fmt.Sprintf("at index %d our metadata has hash %s, theirs %s", d.Index, d.Ours, d.Theirs)
}

// Options says how to run a Replica. The zero value of a field takes the default in brackets.
type Options struct {
	// Listener is called with every new image and the records that led to it, in order. After a snapshot was restored,
	// records is nil: the image must be taken whole.
	Listener func(image *metadata.Image, records []metadata.Record)
	// Fatal is called once if the replica cannot go on; the node must stop.
	Fatal       func(error)
	KeepEntries int // how many commands are kept for others [16384]
	KeepBytes   int // and how many bytes of them [32 MiB]
}

// Replica is one broker's copy of the metadata.
type Replica struct {
	opts    Options
	image   atomic.Pointer[metadata.Image]
	stop    chan struct{}
	stopped chan struct{}
	wake    chan struct{} // holds one token when pending is not empty

	mu struct {
		sync.Mutex
		state   *metadata.State
		failed  error
		pending []change
		ring    ring
		grown   chan struct{} // closed and replaced when the applied index rises
	}
	published struct {
		sync.Mutex
		index   wire.Index    // the last one the listener has seen
		changed chan struct{} // closed and replaced when it rises
	}
	snapshots snapshots
}

// change is one image to publish.
type change struct {
	image   *metadata.Image
	records []metadata.Record
}

// NewReplica returns an empty copy. Close it.
func NewReplica(o Options) *Replica {
	if o.KeepEntries == 0 {
		o.KeepEntries = 16384
	}
	if o.KeepBytes == 0 {
		o.KeepBytes = 32 << 20
	}
	r := &Replica{opts: o, stop: make(chan struct{}), stopped: make(chan struct{}), wake: make(chan struct{}, 1)}
	r.mu.state = metadata.NewState()
	r.mu.ring = ring{maxEntries: o.KeepEntries, maxBytes: o.KeepBytes}
	r.mu.grown = make(chan struct{})
	r.published.changed = make(chan struct{})
	r.image.Store(r.mu.state.Image())
	go r.publish()
	return r
}

// Close stops the listener's goroutine. Nothing is published after it returns.
func (r *Replica) Close() {
	close(r.stop)
	<-r.stopped
}

// Image returns the newest metadata.
func (r *Replica) Image() *metadata.Image { return r.image.Load() }

// Apply executes a committed command, unless it was executed before. The error is the command's own: it was refused
// ([metadata.ErrStaleTerm]), or led to another state than where it came from ([*Difference]), or cannot be understood, in
// which case nothing more is applied. The entry's data must not be changed afterwards.
func (r *Replica) Apply(e Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.failed != nil {
		return r.mu.failed
	}
	if e.Index <= r.image.Load().Index() {
		return nil
	}
	c, err := metadata.DecodeCommand(e.Data)
	if err != nil {
		r.mu.failed = fmt.Errorf("metadata log at index %d: %w", e.Index, err)
		if r.opts.Fatal != nil {
			r.opts.Fatal(r.mu.failed)
		}
		return r.mu.failed
	}
	_, err = r.mu.state.Apply(e.Index, e.Term, c)
	records := r.mu.state.Effect()
	if records == nil {
		records = []metadata.Record{} // nil is for snapshots
	}
	theirs := e.Hash
	e.Hash = r.mu.state.Hash()
	r.mu.ring.add(e)
	r.publishLocked(records)
	if !theirs.IsZero() && theirs != e.Hash {
		return &Difference{e.Index, e.Hash, theirs}
	}
	return err
}

// HashAt returns the hash of the state as it was after the command of an index; false if that is not known any more, or
// not yet.
func (r *Replica) HashAt(index wire.Index) (metadata.Hash, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if image := r.image.Load(); image.Index() == index {
		return image.Hash(), true
	}
	return r.mu.ring.hash(index)
}

// Reply returns the reply that was decided on a request that took effect; see [metadata.State.Reply].
func (r *Replica) Reply(id metadata.RequestID) (reply []byte, known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.state.Reply(id)
}

// Restore takes a snapshot in place of everything, unless the replica is as far already.
func (r *Replica) Restore(from io.Reader) error {
	state, err := metadata.ReadSnapshot(from)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.mu.failed != nil {
		return r.mu.failed
	}
	index := state.Image().Index()
	if index <= r.image.Load().Index() {
		return nil
	}
	r.mu.state = state
	r.mu.ring.reset(index)
	r.publishLocked(nil)
	return nil
}

// Snapshot returns the present state. It is cheap: the state is copy-on-write.
func (r *Replica) Snapshot() *metadata.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.state.Snapshot()
}

func (r *Replica) publishLocked(records []metadata.Record) {
	image := r.mu.state.Image()
	r.image.Store(image)
	r.mu.pending = append(r.mu.pending, change{image, records})
	close(r.mu.grown)
	r.mu.grown = make(chan struct{})
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// publish hands every image to the listener, in order.
func (r *Replica) publish() {
	defer close(r.stopped)
	for {
		r.mu.Lock()
		batch := r.mu.pending
		r.mu.pending = nil
		r.mu.Unlock()
		for _, c := range batch {
			if r.opts.Listener != nil {
				r.opts.Listener(c.image, c.records)
			}
			r.published.Lock()
			r.published.index = c.image.Index()
			close(r.published.changed)
			r.published.changed = make(chan struct{})
			r.published.Unlock()
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-r.wake:
		case <-r.stop:
			return
		}
	}
}

// Published returns the last index that the listener has seen.
func (r *Replica) Published() wire.Index {
	r.published.Lock()
	defer r.published.Unlock()
	return r.published.index
}

// WaitPublished waits until the listener has seen the index.
func (r *Replica) WaitPublished(ctx context.Context, index wire.Index) error {
	for {
		r.published.Lock()
		published, changed := r.published.index, r.published.changed
		r.published.Unlock()
		if published >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait for metadata index %d, at %d now: %w", index, published, ctx.Err())
		case <-r.stop:
			return ErrClosed
		}
	}
}

// Failed returns why nothing more is applied, or nil.
func (r *Replica) Failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.mu.failed
}
