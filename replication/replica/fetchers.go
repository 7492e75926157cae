package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Links reaches the leaders of the partitions that are followed here. Any goroutine may call it.
type Links interface {
	// Dial opens a connection for fetches.
	Dial(ctx context.Context, leader wire.BrokerID) (Link, error)
	// Report tells a leader what is synced here. An error means that it may not have heard, or not have counted all: it is told again.
	Report(ctx context.Context, leader wire.BrokerID, epoch wire.BrokerEpoch, reports []Report) error
	// Nudge has a leader answer at once a fetch that may wait there.
	Nudge(ctx context.Context, leader wire.BrokerID, session, epoch int32) error
}

// Link is a connection to a leader. One goroutine uses it.
type Link interface {
	// Fetch sends a request and returns the answer, whose records are good until Release.
	Fetch(ctx context.Context, m *message.FetchRequest) (*message.FetchResponse, error)
	Release()
	Close() error
}

// FetchOptions say how followers fetch. The zero value of a field takes the default in brackets.
type FetchOptions struct {
	// BrokerEpoch is that of this broker's present registration.
	BrokerEpoch       func() wire.BrokerEpoch
	Fetchers          int           // connections to each leader (num.replica.fetchers) [1]
	MaxWait           time.Duration // replica.fetch.wait.max.ms, up to four times as long when nothing comes [500 ms]
	MaxBytes          int32         // replica.fetch.response.max.bytes [10 MiB]
	PartitionMaxBytes int32         // replica.fetch.max.bytes [1 MiB]
	Backoff           time.Duration // longest pause after a fault (replica.fetch.backoff.ms) [1 s]
	Timeout           time.Duration // beyond MaxWait for an answer (replica.socket.timeout.ms) [10 s]
}

func (o FetchOptions) withDefaults() FetchOptions {
	if o.BrokerEpoch == nil {
		o.BrokerEpoch = func() wire.BrokerEpoch { return -1 }
	}
	o.Fetchers = max(o.Fetchers, 1)
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&o.MaxWait, 500 * time.Millisecond}, {&o.Backoff, time.Second}, {&o.Timeout, 10 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 10 << 20
	}
	if o.PartitionMaxBytes == 0 {
		o.PartitionMaxBytes = 1 << 20
	}
	return o
}

// fetchers keep the partitions that are followed here up with their leaders: for each leader one fetcher (or a few) for those in sync, one for
// the others, and one reporter.
type fetchers struct {
	ctx     context.Context
	env     *Env
	links   Links
	opts    FetchOptions
	log     *slog.Logger
	running sync.WaitGroup

	mu sync.Mutex // taken before fetcher.mu
	of map[*Partition]*fetcher
	// by leader; none ever goes, since brokers are few
	fetchers  map[fetcherKey]*fetcher
	reporters map[wire.BrokerID]*reporter
	closed    bool
}

type fetcherKey struct {
	leader wire.BrokerID
	shard  int
}

// catchingUp is the shard of the partitions that are not in sync: what they have to copy must not hold up those for which producers wait.
const catchingUp = -1

func newFetchers(ctx context.Context, env *Env, links Links, o FetchOptions, log *slog.Logger) *fetchers {
	return &fetchers{
		ctx: ctx, env: env, links: links, opts: o.withDefaults(), log: log,
		of: map[*Partition]*fetcher{}, fetchers: map[fetcherKey]*fetcher{}, reporters: map[wire.BrokerID]*reporter{},
	}
}

// close waits until nothing runs any more; ctx has ended.
func (s *fetchers) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.running.Wait()
}

// put has a partition fetched from whom it follows.
func (s *fetchers) put(p *Partition) {
	leader, _ := p.Leader()
	if leader == wire.NoBroker || s.links == nil {
		s.drop(p)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	key := fetcherKey{leader, int(p.ID.Topic[0]^byte(p.ID.Partition)) % s.opts.Fetchers}
	if !p.InSync() {
		key.shard = catchingUp
	}
	f := s.fetchers[key]
	if f == nil {
		f = &fetcher{set: s, leader: leader, wake: make(chan struct{}, 1)}
		f.mu.partitions = map[wire.TopicIDPartition]*Partition{}
		s.fetchers[key] = f
		s.running.Go(f.run)
	}
	if old := s.of[p]; old != nil && old != f {
		old.remove(p)
	}
	s.of[p] = f
	f.add(p)
}

// drop ends the fetches for a partition.
func (s *fetchers) drop(p *Partition) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.of[p]; f != nil {
		f.remove(p)
		delete(s.of, p)
	}
}

// signal has the fetchers look again that have nothing to ask.
func (s *fetchers) signal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.fetchers {
		f.signal()
	}
}

// restart has all fetchers connect anew, and everything reported again.
func (s *fetchers) restart() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, f := range s.of {
		f.restart()
		s.reporterLocked(f.leader).add(p)
	}
}

// synced is [Env.Synced].
func (s *fetchers) synced(p *Partition) {
	to, _, ok := p.Report()
	if !ok || s.links == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.reporterLocked(to).add(p)
	}
}

func (s *fetchers) reporterLocked(leader wire.BrokerID) *reporter {
	r := s.reporters[leader]
	if r == nil {
		r = &reporter{set: s, leader: leader, wake: make(chan struct{}, 1), dirty: map[*Partition]struct{}{}}
		s.reporters[leader] = r
		s.running.Go(r.run)
	}
	return r
}

// reporter tells one leader what was synced: one message at a time, with all that came meanwhile.
type reporter struct {
	set    *fetchers
	leader wire.BrokerID
	wake   chan struct{}

	mu    sync.Mutex // a leaf
	dirty map[*Partition]struct{}
}

func (r *reporter) add(p *Partition) {
	r.mu.Lock()
	r.dirty[p] = struct{}{}
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

func (r *reporter) take() map[*Partition]struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.dirty
	r.dirty = map[*Partition]struct{}{}
	return taken
}

func (r *reporter) run() {
	ctx := r.set.ctx
	pause := time.Duration(0)
	var reports []Report
	for {
		taken := r.take()
		reports = reports[:0]
		for p := range taken {
			if to, report, ok := p.Report(); ok && to == r.leader {
				reports = append(reports, report)
			}
		}
		if len(reports) == 0 {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		bounded, cancel := context.WithTimeout(ctx, r.set.opts.Timeout)
		err := r.set.links.Report(bounded, r.leader, r.set.opts.BrokerEpoch(), reports)
		cancel()
		if err == nil {
			pause = 0
			continue
		}
		for p := range taken {
			r.add(p) // whoever leads by then; if it is another, nothing is told here
		}
		pause = min(max(2*pause, 5*time.Millisecond), r.set.opts.Backoff)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

var errTooMuch = errors.New("an answer to a fetch that is not of this session")
