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
	// Report tells a leader what is synced here, and waits for a connection to it if need be. There is no answer. An error means that it may
	// not have heard. unheard is called, also long after, if it may not have heard or not have counted all that it was told until then, in
	// this call or an earlier one: it must be told again.
	Report(ctx context.Context, leader wire.BrokerID, epoch wire.BrokerEpoch, reports []Report, unheard func()) error
	// ReportNow is Report without any waiting; false: nothing was told.
	ReportNow(leader wire.BrokerID, epoch wire.BrokerEpoch, reports []Report, unheard func()) bool
	// Nudge has a leader answer at once a fetch that may wait there.
	Nudge(ctx context.Context, leader wire.BrokerID, session, epoch int32) error
}

// Link is a connection to a leader. One goroutine uses it.
type Link interface {
	// Fetch sends a request and returns the answer, whose records are good until Release.
	Fetch(m *message.FetchRequest) (*message.FetchResponse, error)
	Release()
	// Interrupt has a Fetch fail that is under way or comes. Any goroutine may call it.
	Interrupt()
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
		s.reporterLocked(f.leader).later(p)
	}
}

// synced is [Env.Synced].
func (s *fetchers) synced(p *Partition) {
	to, _, ok := p.Report()
	if !ok || s.links == nil {
		return
	}
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	r := s.reporterLocked(to)
	s.mu.Unlock()
	r.add(p)
}

func (s *fetchers) reporterLocked(leader wire.BrokerID) *reporter {
	r := s.reporters[leader]
	if r == nil {
		r = newReporter(s, leader)
		s.reporters[leader] = r
		s.running.Go(r.run)
	}
	return r
}

var errTooMuch = errors.New("an answer to a fetch that is not of this session")
