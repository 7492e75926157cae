package replica

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
)

// Settings are the topic's settings that a partition needs at hand for every request.
type Settings struct {
	Durability        replication.Durability
	MinInSync         int
	MaxMessageBytes   int
	LogAppendTime     bool  // message.timestamp.type
	TimestampBeforeMs int64 // message.timestamp.before.max.ms
	TimestampAfterMs  int64 // message.timestamp.after.max.ms
	Codec             int8  // compression.type: a batch.Codec, or CodecProducer
	Level             int   // of Codec
	Compact           bool  // cleanup.policy has compact
	Delete            bool  // cleanup.policy has delete
	// ThrottledLeader and ThrottledFollower are the partitions whose replica here is throttled while it leads, or follows. nil: none.
	ThrottledLeader, ThrottledFollower *replication.Throttled
}

// CodecProducer is the Settings.Codec that keeps what the producer chose.
const CodecProducer = -1

// Env is what partitions have around them. Its functions must not block.
type Env struct {
	Broker wire.BrokerID
	LagMax time.Duration // replica.lag.time.max.ms
	// Now is a monotonic clock.
	Now func() time.Duration
	// Eligible reports whether the metadata would let a broker's incarnation into an ISR.
	Eligible func(wire.BrokerID, wire.BrokerEpoch) bool
	// Propose has the controller asked for an ISR.
	Propose func(*Partition, replication.Proposal)
	// Synced has the leader of a partition that is followed here told how far its log is synced.
	Synced func(*Partition)

	shrinks, expands              *atomic.Int64 // of ISRs
	pace                          *pace         // of fetches that are answered where a mark moved
	sending, fetching, rebuilding *Throttle
}

// prepare makes what the partitions of an Env share.
func (e *Env) prepare() {
	e.shrinks, e.expands, e.pace = new(atomic.Int64), new(atomic.Int64), new(pace)
	e.sending, e.fetching, e.rebuilding = newThrottle(e.Now), newThrottle(e.Now), newThrottle(e.Now)
}

// Alone returns an Env for partitions that have no other replicas.
func Alone(broker wire.BrokerID) *Env {
	start := time.Now()
	return &Env{
		Broker: broker, LagMax: 30 * time.Second,
		Now:      func() time.Duration { return time.Since(start) },
		Eligible: func(wire.BrokerID, wire.BrokerEpoch) bool { return false },
		Propose:  func(*Partition, replication.Proposal) {},
		Synced:   func(*Partition) {},
	}
}

// Partition is one replica on this broker. It leads, or follows, or does neither; while it does not lead, appends are
// refused.
type Partition struct {
	Name      wire.TopicPartition
	ID        wire.TopicIDPartition
	log       *storage.Log
	env       *Env
	settings  atomic.Pointer[Settings]
	suspect   atomic.Bool  // the log is, or was until not long ago
	rebuilt   atomic.Bool  // it takes the place of a replica on a broker that stays away
	watermark atomic.Int64 // the high watermark: the leader's, or what the leader last said of it

	// role is held shared while the log is written as leader or follower, and exclusively while that changes, so that
	// nobody writes in a part that is over. It is taken before mu.
	role sync.RWMutex
	// taking is held from the look at the log's end until an answer is written, by one fetcher: at a change of fetchers there are two with
	// answers to the same question. It is taken after role, and before mu.
	taking sync.Mutex

	mu struct {
		sync.Mutex
		leader   *replication.Leader // nil: not leading
		follower *replication.Follower
		leaderID wire.BrokerID           // who is followed
		inSync   bool                    // the metadata has this follower in the ISR
		reign    int                     // counts the times that it began to lead: within one, nothing is cut off
		gone     wire.ErrorCode          // why no request is served any more; ErrNone while they are
		produces []produceWaiter         // in the order in which they came
		fetches  map[*FetchWait]struct{} // that wait for the watermark
		copies   map[*FetchWait]struct{} // of followers, that wait for the log's end
		end      wire.Offset             // of the log, as those were last told
	}
}

type produceWaiter struct {
	offset wire.Offset // acknowledged when the mark reaches it
	mark   mark
	wait   *ProduceWait
	index  int
}

// mark is what a wait is for.
type mark uint8

const (
	leaderMark    mark = iota // what the leader alone has
	highWatermark             // what is committed
	lowWatermark              // what is deleted everywhere
)

// NewPartition returns a partition over an open log. watermark is what is known of it from before.
func NewPartition(name wire.TopicPartition, id wire.TopicIDPartition, env *Env, log *storage.Log, s Settings, watermark wire.Offset) *Partition {
	if env.shrinks == nil { // of a driver that is no Manager
		env.prepare()
	}
	p := &Partition{Name: name, ID: id, log: log, env: env}
	p.settings.Store(&s)
	p.watermark.Store(int64(max(log.Start(), min(watermark, log.End()))))
	p.mu.fetches, p.mu.copies = map[*FetchWait]struct{}{}, map[*FetchWait]struct{}{}
	p.mu.leaderID = wire.NoBroker
	p.suspect.Store(log.Suspect() != "")
	return p
}

// Log returns the partition's log.
func (p *Partition) Log() *storage.Log { return p.log }

// Settings returns the settings in force. They must not be written.
func (p *Partition) Settings() *Settings { return p.settings.Load() }

// Configure puts new settings in force.
func (p *Partition) Configure(s Settings) {
	p.settings.Store(&s)
	p.mu.Lock()
	var woken wake
	following := p.mu.follower != nil
	if p.mu.leader != nil {
		p.mu.leader.Configure(p.env.Now(), s.Durability, s.MinInSync)
		woken = p.advanceLocked()
	}
	p.mu.Unlock()
	woken.run()
	if following { // with another durability the leader counts something else
		p.env.Synced(p)
	}
}

// Lead makes the partition lead as the metadata says; in an epoch that it leads already, it notes what is new.
func (p *Partition) Lead(a replication.Assignment) {
	if p.committed(a) {
		return
	}
	s := p.Settings()
	p.role.Lock()
	if a.Epoch > p.log.LatestEpoch() {
		p.log.AssignEpoch(a.Epoch)
	}
	durable := p.log.Durable()
	own := replication.Marks{End: p.log.End(), Durable: durable}
	p.mu.Lock()
	if p.mu.gone != wire.ErrNone {
		p.mu.Unlock()
		p.role.Unlock()
		return
	}
	if p.mu.leader == nil {
		p.mu.reign++
	}
	p.mu.follower, p.mu.leaderID = nil, wire.NoBroker
	p.mu.leader = replication.NewLeader(replication.LeaderConfig{
		ID: p.env.Broker, Assigned: a, Own: own, HighWatermark: max(wire.Offset(p.watermark.Load()), p.log.Start()),
		Durability: s.Durability, MinInSync: s.MinInSync, LagMax: p.env.LagMax, Eligible: p.env.Eligible, Now: p.env.Now(),
	})
	p.mu.end = own.End
	woken := p.advanceLocked()
	p.mu.Unlock()
	p.role.Unlock()
	woken.run()
	if own.Durable < own.End && s.Durability == replication.Fsync {
		p.log.RequestSync()
	}
}

// committed notes news of the epoch that is led, and reports whether a is of that epoch.
func (p *Partition) committed(a replication.Assignment) bool {
	p.mu.Lock()
	l := p.mu.leader
	if l == nil || l.Epoch() != a.Epoch {
		p.mu.Unlock()
		return false
	}
	p.commitLocked(a)
	woken := p.advanceLocked()
	if !l.EnoughInSync() {
		// What waits for all may never come to be acknowledged: its producers try again.
		short := p.takeProducesLocked(func(w produceWaiter) bool { return w.mark == highWatermark })
		p.mu.Unlock()
		woken.run()
		(&wake{partition: p, code: wire.ErrNotEnoughReplicasAfterAppend, produces: short}).run()
		return true
	}
	p.mu.Unlock()
	woken.run()
	return true
}

// commitLocked tells the leader state what the metadata says.
func (p *Partition) commitLocked(a replication.Assignment) {
	before := len(p.mu.leader.Assigned().InSync)
	p.mu.leader.Committed(p.env.Now(), a)
	switch after := len(p.mu.leader.Assigned().InSync); {
	case after < before:
		p.env.shrinks.Add(1)
	case after > before:
		p.env.expands.Add(1)
	}
}

// takeProducesLocked takes the waits out that match.
func (p *Partition) takeProducesLocked(match func(produceWaiter) bool) (taken []produceWaiter) {
	n := 0
	for _, w := range p.mu.produces {
		if match(w) {
			taken = append(taken, w)
		} else {
			p.mu.produces[n] = w
			n++
		}
	}
	clear(p.mu.produces[n:])
	p.mu.produces = p.mu.produces[:n]
	return taken
}

// Resign makes the partition neither lead nor follow; whoever waits is told so.
func (p *Partition) Resign() { p.become(nil, wire.NoBroker, wire.ErrNotLeaderOrFollower, false) }

// Retire makes the partition refuse everything from now on: it was deleted (ErrUnknownTopicOrPartition) or its log
// closed (ErrKafkaStorageError).
func (p *Partition) Retire(code wire.ErrorCode) { p.become(nil, wire.NoBroker, code, true) }

// become ends the present part in the partition, for that of a follower or none.
func (p *Partition) become(f *replication.Follower, leader wire.BrokerID, code wire.ErrorCode, forGood bool) {
	if !forGood { // after a fault of the disk a write may hang, which must not hold this up
		p.role.Lock()
		defer p.role.Unlock()
	}
	p.mu.Lock()
	if p.mu.gone != wire.ErrNone {
		f, leader, code = nil, wire.NoBroker, p.mu.gone
	}
	p.mu.leader, p.mu.follower, p.mu.leaderID = nil, f, leader
	if forGood {
		p.mu.gone = code
	}
	woken := p.endWaitsLocked(code)
	p.mu.Unlock()
	woken.run()
}

// endWaitsLocked takes out whoever waits.
func (p *Partition) endWaitsLocked(code wire.ErrorCode) wake {
	woken := wake{partition: p, code: code, produces: p.mu.produces}
	p.mu.produces = nil
	for _, set := range []map[*FetchWait]struct{}{p.mu.fetches, p.mu.copies} {
		for f := range set {
			woken.fetches = append(woken.fetches, f)
		}
		clear(set)
	}
	return woken
}

// serving returns ErrNone if the partition leads in the epoch that the client believes in (NoLeaderEpoch: any).
func (p *Partition) serving(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.ErrorCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.servingLocked(epoch)
}

func (p *Partition) servingLocked(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.ErrorCode) {
	switch {
	case p.mu.gone != wire.ErrNone:
		return 0, p.mu.gone
	case p.mu.leader == nil:
		return 0, wire.ErrNotLeaderOrFollower
	}
	return p.mu.leader.Epoch(), p.mu.leader.Fence(epoch)
}

// Serving is serving for handlers that need no more of the partition.
func (p *Partition) Serving(epoch wire.LeaderEpoch) wire.ErrorCode {
	_, code := p.serving(epoch)
	return code
}

// ServingReads is Serving for consumers that may also read from a follower, up to its watermark (KIP-392). One whose log is not known
// to agree with the leader's serves nobody.
func (p *Partition) ServingReads(epoch wire.LeaderEpoch) wire.ErrorCode {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.follower
	if p.mu.gone != wire.ErrNone || f == nil {
		_, code := p.servingLocked(epoch)
		return code
	}
	switch {
	case epoch != wire.NoLeaderEpoch && epoch < f.Epoch():
		return wire.ErrFencedLeaderEpoch
	case epoch > f.Epoch():
		return wire.ErrUnknownLeaderEpoch
	case !f.Validated() || p.log.Suspect() != "":
		return wire.ErrNotLeaderOrFollower
	}
	return wire.ErrNone
}

// Settled reports whether a leader's watermark has reached the start of its epoch: before, it may be lower than what the
// last leader has told clients (KIP-207).
func (p *Partition) Settled() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.leader != nil && p.mu.leader.HighWatermark() >= p.mu.leader.EpochStart()
}

// HighWatermark returns the offset below which records are acknowledged.
func (p *Partition) HighWatermark() wire.Offset { return wire.Offset(p.watermark.Load()) }

// LastStableOffset returns the offset below which a read_committed consumer may read.
func (p *Partition) LastStableOffset() wire.Offset { return p.log.LastStableOffset(p.HighWatermark()) }

// Durable is the log's callback: its durable end moved.
func (p *Partition) Durable(wire.Offset) {
	p.mu.Lock()
	woken := p.advanceLocked()
	following := p.mu.follower != nil
	p.mu.Unlock()
	woken.runHere()
	if following {
		p.env.Synced(p)
	}
}

// Reconsider looks again at who is in sync: time has passed, or brokers have come or gone. A follower that is not in sync tells its
// leader again what it has synced: a leader that took a fetch that came late for its present one counts less than that.
func (p *Partition) Reconsider() {
	p.mu.Lock()
	woken := p.advanceLocked()
	outside := p.mu.follower != nil && !p.mu.inSync
	p.mu.Unlock()
	woken.run()
	if outside {
		p.env.Synced(p)
	}
	p.acquit()
}

// advance reports the log's marks to the leader state, and wakes whom that concerns.
func (p *Partition) advance() {
	p.mu.Lock()
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.runHere()
}

// advanceLocked is advance, for the caller to run what it returns once the lock is released. Durable is read before End,
// so that it cannot be ahead of it.
func (p *Partition) advanceLocked() wake {
	l := p.mu.leader
	if l == nil {
		return wake{}
	}
	now := p.env.Now()
	durable := p.log.Durable()
	own := replication.Marks{End: p.log.End(), Durable: durable}
	l.Own(now, own)
	woken := wake{partition: p, proposal: l.Propose(now)}
	if own.End != p.mu.end {
		p.mu.end = own.End
		for f := range p.mu.copies {
			woken.fetches = append(woken.fetches, f)
		}
	}
	high := l.HighWatermark()
	if wire.Offset(p.watermark.Load()) != high {
		p.watermark.Store(int64(high))
		for f := range p.mu.fetches {
			woken.fetches = append(woken.fetches, f)
		}
	}
	if len(p.mu.produces) > 0 {
		alone := l.Acknowledges()
		woken.produces = p.takeProducesLocked(func(w produceWaiter) bool {
			switch w.mark {
			case highWatermark:
				return w.offset <= high
			case lowWatermark:
				return w.offset <= l.LowWatermark(p.log.Start())
			}
			return w.offset <= alone
		})
	}
	return woken
}

// wake is what must be told to whom, after the lock was released.
type wake struct {
	partition *Partition
	code      wire.ErrorCode
	produces  []produceWaiter
	fetches   []*FetchWait
	proposal  *replication.Proposal
	here      bool // fetches may be answered on this goroutine
}

// hereMost is how many fetches one move of a mark may answer on its own goroutine.
const hereMost = 4

// runHere is run for those who move marks by what is done for one record, and may answer a few brief fetches for it.
func (w *wake) runHere() {
	w.here = len(w.fetches) > 0 && len(w.fetches) <= hereMost && w.partition.env.pace.allow(w.partition.env.Now())
	w.run()
}

func (w *wake) run() {
	for _, p := range w.produces {
		p.wait.settle(p.index, w.code)
	}
	for _, f := range w.fetches {
		f.moved(w.here)
	}
	if w.proposal != nil {
		w.partition.env.Propose(w.partition, *w.proposal)
	}
}
