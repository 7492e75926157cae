package replica

import (
	"sync"
	"sync/atomic"

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
}

// CodecProducer is the Settings.Codec that keeps what the producer chose.
const CodecProducer = -1

// Partition is one replica on this broker. It leads or it does not; while it does not, appends and reads are refused.
type Partition struct {
	Name      wire.TopicPartition
	ID        wire.TopicIDPartition
	log       *storage.Log
	broker    wire.BrokerID
	settings  atomic.Pointer[Settings]
	watermark atomic.Int64 // the high watermark, as leader.HighWatermark

	mu struct {
		sync.Mutex
		leader   *replication.Leader // nil: not leading
		replicas int                 // how many the partition has
		gone     wire.ErrorCode      // why no request is served any more; ErrNone while they are
		produces []produceWaiter     // ascending by offset
		fetches  map[*FetchWait]struct{}
	}
}

type produceWaiter struct {
	offset wire.Offset // acknowledged when the mark reaches it
	all    bool        // the mark is the high watermark; else what the leader alone has
	wait   *ProduceWait
	index  int
}

// NewPartition returns a partition over an open log. Its watermark starts at the log's start, until it leads.
func NewPartition(name wire.TopicPartition, id wire.TopicIDPartition, broker wire.BrokerID, log *storage.Log, s Settings) *Partition {
	p := &Partition{Name: name, ID: id, log: log, broker: broker}
	p.settings.Store(&s)
	p.watermark.Store(int64(log.Start()))
	p.mu.fetches = map[*FetchWait]struct{}{}
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
	if p.mu.leader != nil {
		p.mu.leader.Configure(s.Durability, min(s.MinInSync, p.mu.replicas))
		woken = p.advanceLocked()
	}
	p.mu.Unlock()
	woken.run()
}

// Lead makes the partition lead in an epoch, with itself and others in sync, of so many replicas: no more than there are
// can be wanted in sync (Partition.effectiveMinIsr of Kafka).
func (p *Partition) Lead(epoch wire.LeaderEpoch, inSync []wire.BrokerID, replicas int) {
	s := p.Settings()
	if epoch > p.log.LatestEpoch() {
		p.log.AssignEpoch(epoch)
	}
	p.mu.Lock()
	p.mu.leader = replication.NewLeader(p.broker, epoch, inSync, max(wire.Offset(p.watermark.Load()), p.log.Start()))
	p.mu.replicas = replicas
	p.mu.leader.Configure(s.Durability, min(s.MinInSync, replicas))
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.run()
}

// Resign makes the partition stop leading; whoever waits is told so.
func (p *Partition) Resign() { p.end(wire.ErrNotLeaderOrFollower, false) }

// Retire makes the partition refuse everything from now on: it was deleted (ErrUnknownTopicOrPartition) or its log
// closed (ErrKafkaStorageError).
func (p *Partition) Retire(code wire.ErrorCode) { p.end(code, true) }

func (p *Partition) end(code wire.ErrorCode, forGood bool) {
	p.mu.Lock()
	p.mu.leader = nil
	if forGood {
		p.mu.gone = code
	}
	woken := wake{partition: p, code: code, produces: p.mu.produces}
	p.mu.produces = nil
	for f := range p.mu.fetches {
		woken.fetches = append(woken.fetches, f)
	}
	clear(p.mu.fetches)
	p.mu.Unlock()
	woken.run()
}

// serving returns ErrNone if the partition leads in the epoch that the client believes in (NoLeaderEpoch: any).
func (p *Partition) serving(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.ErrorCode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.mu.gone != wire.ErrNone:
		return 0, p.mu.gone
	case p.mu.leader == nil:
		return 0, wire.ErrNotLeaderOrFollower
	}
	mine := p.mu.leader.Epoch()
	switch {
	case epoch != wire.NoLeaderEpoch && epoch < mine:
		return mine, wire.ErrFencedLeaderEpoch
	case epoch != wire.NoLeaderEpoch && epoch > mine:
		return mine, wire.ErrUnknownLeaderEpoch
	}
	return mine, wire.ErrNone
}

// Serving is serving for handlers that need no more of the partition.
func (p *Partition) Serving(epoch wire.LeaderEpoch) wire.ErrorCode {
	_, code := p.serving(epoch)
	return code
}

// HighWatermark returns the offset below which records are acknowledged.
func (p *Partition) HighWatermark() wire.Offset { return wire.Offset(p.watermark.Load()) }

// LastStableOffset returns the offset below which a read_committed consumer may read.
func (p *Partition) LastStableOffset() wire.Offset { return p.log.LastStableOffset(p.HighWatermark()) }

// Durable is the log's callback: its durable end moved.
func (p *Partition) Durable(wire.Offset) { p.advance() }

// advance reports the log's marks to the leader state, and wakes whom that concerns.
func (p *Partition) advance() {
	p.mu.Lock()
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.run()
}

// advanceLocked is advance, for the caller to run what it returns once the lock is released. Durable is read before End,
// so that it cannot be ahead of it.
func (p *Partition) advanceLocked() wake {
	l := p.mu.leader
	if l == nil {
		return wake{}
	}
	durable := p.log.Durable()
	l.Report(p.broker, replication.Marks{End: p.log.End(), Durable: durable})
	mark := l.HighWatermark()
	woken := wake{partition: p}
	if wire.Offset(p.watermark.Load()) != mark {
		p.watermark.Store(int64(mark))
		for f := range p.mu.fetches {
			woken.fetches = append(woken.fetches, f)
		}
	}
	alone := l.Acknowledges()
	n := 0
	for _, w := range p.mu.produces {
		if w.all && w.offset <= mark || !w.all && w.offset <= alone {
			woken.produces = append(woken.produces, w)
		} else {
			p.mu.produces[n] = w
			n++
		}
	}
	clear(p.mu.produces[n:])
	p.mu.produces = p.mu.produces[:n]
	return woken
}

// wake is what must be told to whom, after the lock was released.
type wake struct {
	partition *Partition
	code      wire.ErrorCode
	produces  []produceWaiter
	fetches   []*FetchWait
}

func (w *wake) run() {
	for _, p := range w.produces {
		p.wait.settle(p.index, w.code)
	}
	for _, f := range w.fetches {
		f.moved(w.code)
	}
}
