package runtime

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/coordinator/group"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
	"github.com/kraftgo/kraftgo/wire/record"
)

// shard is the groups of one partition. All but post and stop run on its own goroutine.
type shard struct {
	c     *Coordinator
	p     wire.Partition
	epoch wire.LeaderEpoch

	inbox struct {
		sync.Mutex // a leaf
		events     []event
		closed     bool
		wake       chan struct{} // holds a token when there are events
	}

	loaded    bool
	groups    map[string]*group.Group
	committed map[string]bool // groups that have, or had, offsets in the store
	applied   wire.Offset     // next offset of the log to apply to the store
	behind    bool            // the store may lack what the log has
	tokens    group.Token
	joins     map[group.Token]func(*message.JoinGroupResponse)
	syncs     map[group.Token]func(*message.SyncGroupResponse)

	open      *pending   // being filled; nil: nothing
	inFlight  []*pending // appended, not settled, in order
	nextClean time.Duration
}

// event is a step of the shard; dropped is called instead when the shard has ended. nil: nothing.
type event struct {
	run, dropped func()
}

// pending is a batch on its way to the log, with what to do to the store and whom to answer when it is committed.
type pending struct {
	builder batch.Builder
	effects []effect
	replies []func(code wire.ErrorCode)
	settled bool
	last    wire.Offset
	code    wire.ErrorCode
}

// effect is a record as the store has it.
type effect struct {
	key   record.Key
	value []byte // nil: deleted
}

// maxBatchBytes leaves room for the header below Kafka's default max.message.bytes.
const maxBatchBytes = 1 << 20

func newShard(c *Coordinator, p wire.Partition, epoch wire.LeaderEpoch) *shard {
	s := &shard{
		c: c, p: p, epoch: epoch, groups: map[string]*group.Group{}, committed: map[string]bool{},
		joins: map[group.Token]func(*message.JoinGroupResponse){}, syncs: map[group.Token]func(*message.SyncGroupResponse){},
	}
	s.inbox.wake = make(chan struct{}, 1)
	return s
}

// post hands the shard something to do; it is dropped if the shard has ended.
func (s *shard) post(f func()) { s.postOr(f, nil) }

func (s *shard) postOr(f, dropped func()) {
	s.inbox.Lock()
	closed := s.inbox.closed
	if !closed {
		s.inbox.events = append(s.inbox.events, event{f, dropped})
	}
	s.inbox.Unlock()
	if closed {
		if dropped != nil {
			dropped()
		}
		return
	}
	s.signal()
}

func (s *shard) signal() {
	select {
	case s.inbox.wake <- struct{}{}:
	default:
	}
}

// stop makes the shard end. It does not wait.
func (s *shard) stop() {
	s.inbox.Lock()
	s.inbox.closed = true
	s.inbox.Unlock()
	s.signal()
}

// now is the time of a step.
func (s *shard) now() group.Clock {
	t := s.c.opts.Now()
	return group.Clock{Now: t.Sub(s.c.start), Wall: wire.Timestamp(t.UnixMilli())}
}

// run is the shard's goroutine.
func (s *shard) run() {
	s.load()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		s.inbox.Lock()
		events, closed := s.inbox.events, s.inbox.closed
		s.inbox.events = nil
		s.inbox.Unlock()
		for _, e := range events {
			if !closed {
				e.run()
			} else if e.dropped != nil {
				e.dropped()
			}
		}
		if closed {
			s.end()
			return
		}
		s.flush()
		if len(events) > 0 {
			continue
		}
		timer.Reset(s.wakeAfter())
		select {
		case <-s.inbox.wake:
		case <-timer.C:
			s.tick()
		}
	}
}

// end refuses everything that waits.
func (s *shard) end() {
	for _, g := range s.groups {
		s.do(g, g.Stop(wire.ErrNotCoordinator))
	}
	parked := s.inFlight
	if s.open != nil {
		parked = append(parked, s.open)
	}
	for _, b := range parked {
		for _, reply := range b.replies {
			reply(wire.ErrNotCoordinator)
		}
	}
	s.inFlight, s.open, s.groups = nil, nil, nil
}

// wakeAfter returns how long until a group or the clean-up is due.
func (s *shard) wakeAfter() time.Duration {
	now := s.now().Now
	next := s.nextClean
	for _, g := range s.groups {
		if at, ok := g.Next(); ok && at < next {
			next = at
		}
	}
	return max(next-now, 0)
}

// tick steps the groups whose time has come.
func (s *shard) tick() {
	if !s.loaded {
		s.load()
		return
	}
	now := s.now()
	for _, g := range s.groups {
		if at, ok := g.Next(); ok && at <= now.Now {
			s.do(g, g.Wake(now))
		}
	}
	if s.nextClean <= now.Now {
		s.clean(now)
		s.nextClean = now.Now + s.c.opts.Config.OffsetsRetentionCheck
	}
	s.flush()
}

// do does the effects of a step.
func (s *shard) do(g *group.Group, effects []group.Effect) {
	for _, e := range effects {
		switch {
		case e.Join != nil:
			reply := s.joins[e.Join.To]
			delete(s.joins, e.Join.To)
			reply(&e.Join.Answer)
		case e.Sync != nil:
			reply := s.syncs[e.Sync.To]
			delete(s.syncs, e.Sync.To)
			reply(&e.Sync.Answer)
		case e.Write != nil:
			id := e.Write.ID
			value := record.Append(nil, &e.Write.Value, groupMetadataVersion)
			s.write([]effect{{&record.GroupMetadataKey{Group: g.ID()}, value}}, func(code wire.ErrorCode) {
				if s.groups[g.ID()] == g {
					s.do(g, g.Written(s.now(), id, code))
				}
			})
		}
	}
}

// groupMetadataVersion is what Kafka writes, and every Kafka since 2.1 reads.
const groupMetadataVersion = 3

// token returns a token that no request had.
func (s *shard) token() group.Token {
	s.tokens++
	return s.tokens
}

// write puts records into the open batch, and parks reply until they are committed or not.
func (s *shard) write(effects []effect, reply func(code wire.ErrorCode)) {
	size := 0
	for _, e := range effects {
		size += record.KeySize(e.key) + len(e.value) + 32
	}
	if s.open != nil && s.open.builder.Size()+size > maxBatchBytes {
		s.flush()
	}
	wall := s.now().Wall
	if s.open == nil {
		s.open = &pending{}
		s.open.builder.Reset(batch.Template{})
	}
	for _, e := range effects {
		if err := s.open.builder.Append(wall, record.AppendKey(nil, e.key), e.value, nil); err != nil {
			panic("runtime: a record does not fit a batch: " + err.Error()) // sizes are bounded where requests are taken
		}
	}
	s.open.effects = append(s.open.effects, effects...)
	s.open.replies = append(s.open.replies, reply)
}

// flush appends the open batch.
func (s *shard) flush() {
	b := s.open
	if b == nil {
		return
	}
	s.open = nil
	raw, err := b.builder.Finish()
	if err != nil {
		panic("runtime: a batch does not finish: " + err.Error())
	}
	s.inFlight = append(s.inFlight, b)
	s.c.opts.Journal.Append(s.p, s.epoch, raw, func(last wire.Offset, code wire.ErrorCode) {
		s.post(func() { s.settled(b, last, code) })
	})
}

// settled applies batches in the order of the log as they are committed, and answers what waited for them.
func (s *shard) settled(b *pending, last wire.Offset, code wire.ErrorCode) {
	b.settled, b.last, b.code = true, last, code
	for len(s.inFlight) > 0 && s.inFlight[0].settled {
		b := s.inFlight[0]
		s.inFlight = s.inFlight[1:]
		if b.code == wire.ErrNone {
			s.commit(b)
		} else {
			s.behind = true
			s.c.opts.Log.Warn("group records not committed", "partition", s.p, "code", b.code)
		}
		for _, reply := range b.replies {
			reply(b.code)
		}
	}
}

// commit applies a committed batch to the store.
func (s *shard) commit(b *pending) {
	if s.behind || b.last+1 != s.applied+wire.Offset(len(b.effects)) {
		// Something before it is in the log that we did not see committed: apply from the log.
		s.behind = true
		s.catchUp()
		return
	}
	if err := s.apply(b.effects, b.last+1, s.epoch); err != nil {
		s.c.opts.Log.Error("offset store failed", "partition", s.p, "error", err)
		s.behind = true
	}
}

// forgetTopics deletes the offsets of topics that the image does not have.
func (s *shard) forgetTopics(image *metadata.Image) {
	if !s.loaded || !s.current() {
		return
	}
	var gone []effect
	for id := range s.committed {
		err := s.c.opts.Store.Offsets(s.p, id, func(topic string, partition wire.Partition, _ []byte) error {
			if image.Topic(topic) == nil {
				gone = append(gone, effect{key: &record.OffsetCommitKey{Group: id, Topic: topic, Partition: partition}})
			}
			return nil
		})
		if err != nil {
			s.c.opts.Log.Error("offset store failed", "partition", s.p, "error", err)
			return
		}
	}
	if len(gone) > 0 {
		s.writeAll(gone)
	}
}

// writeAll writes records that nobody waits for, in batches.
func (s *shard) writeAll(effects []effect) {
	const most = 1000
	for len(effects) > 0 {
		n := min(most, len(effects))
		s.write(effects[:n], func(wire.ErrorCode) {})
		effects = effects[n:]
	}
}
