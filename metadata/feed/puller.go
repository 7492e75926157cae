package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Source is a broker that commands can be pulled from.
type Source interface {
	// Fetch asks for commands above index; the source waits for some for at most wait.
	Fetch(ctx context.Context, index wire.Index, maxBytes int, wait time.Duration) (Answer, error)
	// Chunk asks for a piece of a snapshot; 0 begins one.
	Chunk(ctx context.Context, snapshot wire.Index, offset int64, maxBytes int) (Chunk, error)
	// String names the source in log lines.
	String() string
}

// PullerOptions says how to pull. The zero value of a field takes the default in brackets.
type PullerOptions struct {
	Replica *Replica
	Store   *Store // closed by the Puller; nil: nothing is kept
	// Needed reports whether to pull: not on the leader, whose raft has everything first. It is asked again and again, and
	// after every answer: a leader must see the outcome of its own commands from raft.
	Needed func() bool
	// Sources returns whom to ask, best first.
	Sources func() []Source
	// Differs is told when a source has another state than we at the same index; nil: nobody is told. The source is not asked
	// further in this round.
	Differs func(Source, *Difference)
	Log     *slog.Logger
	Wait    time.Duration // how long a source may wait for news [5 s]
	Retry   time.Duration // between rounds in which nobody helped, doubled up to 16 times [50 ms]
}

// maxFetch is what one answer holds, and maxChunk a piece of a snapshot: they share connections with heartbeats.
const (
	maxFetch = 1 << 20
	maxChunk = 1 << 20
	// snapshotMax bounds what a source may claim a snapshot to be long.
	snapshotMax = 4 << 30
)

// Puller keeps a Replica up with what others have.
type Puller struct {
	opts    PullerOptions
	cancel  context.CancelFunc
	stopped chan struct{}
	poke    chan struct{}
}

// StartPuller starts to pull.
func StartPuller(o PullerOptions) *Puller {
	if o.Wait == 0 {
		o.Wait = 5 * time.Second
	}
	if o.Retry == 0 {
		o.Retry = 50 * time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	p := &Puller{opts: o, cancel: cancel, stopped: make(chan struct{}), poke: make(chan struct{}, 1)}
	go p.run(ctx)
	return p
}

// Poke makes it look again at once whether and whom to ask.
func (p *Puller) Poke() {
	select {
	case p.poke <- struct{}{}:
	default:
	}
}

// Close ends it, and closes the store.
func (p *Puller) Close() error {
	p.cancel()
	<-p.stopped
	if p.opts.Store != nil {
		return p.opts.Store.Close()
	}
	return nil
}

func (p *Puller) run(ctx context.Context) {
	defer close(p.stopped)
	wait := p.opts.Retry
	for ctx.Err() == nil && p.opts.Replica.Failed() == nil {
		if p.opts.Needed() && p.round(ctx) {
			wait = p.opts.Retry
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
			wait = min(2*wait, 16*p.opts.Retry)
		case <-p.poke:
			wait = p.opts.Retry
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// round asks one source after the other until one helps, and stays with it as long as it does.
func (p *Puller) round(ctx context.Context) bool {
	for _, s := range p.opts.Sources() {
		helped := false
		for ctx.Err() == nil && p.opts.Needed() {
			if err := p.ask(ctx, s); err != nil {
				if ctx.Err() == nil {
					p.opts.Log.Debug("metadata not pulled", "from", s.String(), "error", err)
				}
				break
			}
			helped = true
		}
		if helped {
			return true
		}
	}
	return false
}

// ask pulls once from a source.
func (p *Puller) ask(ctx context.Context, s Source) error {
	r := p.opts.Replica
	image := r.Image()
	a, err := s.Fetch(ctx, image.Index(), maxFetch, p.opts.Wait)
	if err != nil {
		return err
	}
	if !p.opts.Needed() {
		return nil
	}
	if a.Applied < image.Index() {
		return fmt.Errorf("it has metadata up to %d, and we up to %d", a.Applied, image.Index())
	}
	if a.Behind {
		return p.snapshot(ctx, s)
	}
	index, term := image.Index(), image.Term()
	for _, e := range a.Entries {
		if e.Index <= index || e.Term < term {
			return fmt.Errorf("after index %d of term %d it sent index %d of term %d: it is not of our cluster's history", index, term, e.Index, e.Term)
		}
		index, term = e.Index, e.Term
	}
	for i, e := range a.Entries {
		err := r.Apply(e)
		if d := (*Difference)(nil); errors.As(err, &d) {
			if p.opts.Differs != nil {
				p.opts.Differs(s, d)
			}
			p.store(image.Index(), a.Entries[:i+1])
			return d
		}
		if err != nil && r.Failed() != nil {
			return err
		}
	}
	p.store(image.Index(), a.Entries)
	return nil
}

// store keeps entries that were applied.
func (p *Puller) store(after wire.Index, entries []Entry) {
	if len(entries) > 0 && p.opts.Store != nil {
		p.keep(p.opts.Store.Append(after, entries, p.opts.Replica))
	}
}

// keep logs that the store failed: it is a cache.
func (p *Puller) keep(err error) {
	if err != nil {
		p.opts.Log.Warn("pulled metadata not kept", "error", err)
	}
}

func (p *Puller) snapshot(ctx context.Context, s Source) error {
	var all bytes.Buffer
	for name := wire.Index(0); ; {
		c, err := s.Chunk(ctx, name, int64(all.Len()), maxChunk)
		if err != nil {
			return err
		}
		if name != 0 && c.Snapshot != name {
			return fmt.Errorf("asked for snapshot %d, it sent one of %d", name, c.Snapshot)
		}
		if c.Total < 0 || c.Total > snapshotMax || int64(all.Len())+int64(len(c.Bytes)) > c.Total || len(c.Bytes) == 0 && int64(all.Len()) < c.Total {
			return fmt.Errorf("a snapshot of %d bytes, of which %d came and then %d", c.Total, all.Len(), len(c.Bytes))
		}
		name = c.Snapshot
		all.Write(c.Bytes)
		if int64(all.Len()) == c.Total {
			break
		}
	}
	if err := p.opts.Replica.Restore(&all); err != nil {
		return err
	}
	if p.opts.Store != nil {
		p.keep(p.opts.Store.Reset(p.opts.Replica))
	}
	return nil
}
