package replica

import (
	"container/list"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Target is one partition of a fetch.
type Target struct {
	Topic       string       // by name before Fetch v13
	TopicID     wire.TopicID // by id from then on
	Partition   wire.Partition
	Offset      wire.Offset
	MaxBytes    int32
	LeaderEpoch wire.LeaderEpoch // that the client believes in, or NoLeaderEpoch
	LastEpoch   wire.LeaderEpoch // of the record before Offset, or NoLeaderEpoch
	LogStart    wire.Offset      // of a follower's log
}

type targetKey struct {
	topic     string
	id        wire.TopicID
	partition wire.Partition
}

func (t *Target) key() targetKey { return targetKey{t.Topic, t.TopicID, t.Partition} }

// SessionTarget is a partition of a session, with what the client was last told.
type SessionTarget struct {
	Target
	HighWatermark wire.Offset
	LogStart      wire.Offset
	Errored       bool // the last answer was an error, so that the next is told in any case
	told          bool
	place         *list.Element
}

// Session is an incremental fetch session (KIP-227): the client names only what changed, and is told only what changed.
//
// One fetch at a time uses it, which the epoch sees to.
type Session struct {
	ID      int32
	byID    bool
	created time.Time

	epoch   int32 // expected next
	targets map[targetKey]*SessionTarget
	order   *list.List // of *SessionTarget; those that just gave records go last
	used    time.Time  // last, or until when its fetch may wait; under Sessions.mu
}

// Targets returns the session's partitions in the order in which to read them.
func (s *Session) Targets() []*SessionTarget {
	out := make([]*SessionTarget, 0, s.order.Len())
	for e := s.order.Front(); e != nil; e = e.Next() {
		out = append(out, e.Value.(*SessionTarget))
	}
	return out
}

// Tell notes what an answer says of a partition, and returns whether it must be in the answer: it has records or an
// error, it was never told, or its marks moved.
func (s *Session) Tell(t *SessionTarget, records int, failed bool, highWatermark, logStart wire.Offset) bool {
	changed := !t.told || records > 0 || failed || t.Errored || t.HighWatermark != highWatermark || t.LogStart != logStart
	t.told, t.Errored, t.HighWatermark, t.LogStart = true, failed, highWatermark, logStart
	if records > 0 && t.place != nil {
		s.order.MoveToBack(t.place)
	}
	return changed
}

// Untold reports whether the client was told nothing yet, in the leader epoch that it asks in, though it was asked for in a session that
// is kept.
func (s *Session) Untold(t *SessionTarget) bool { return s.ID != 0 && !t.told }

// StartMoved reports whether the client was told of a log start before logStart.
func (t *SessionTarget) StartMoved(logStart wire.Offset) bool { return t.told && logStart > t.LogStart }

// MarkMoved reports whether the client was told of a watermark below highWatermark.
func (t *SessionTarget) MarkMoved(highWatermark wire.Offset) bool {
	return t.told && highWatermark > t.HighWatermark
}

func (s *Session) put(t Target) {
	k := t.key()
	if old := s.targets[k]; old != nil {
		// In another leader epoch a follower knows nothing of the leader until it is answered: that its log agrees, too.
		old.told = old.told && old.LeaderEpoch == t.LeaderEpoch
		old.Target = t
		return
	}
	st := &SessionTarget{Target: t, HighWatermark: -1, LogStart: -1}
	st.place = s.order.PushBack(st)
	s.targets[k] = st
}

func (s *Session) drop(k targetKey) {
	if t := s.targets[k]; t != nil {
		s.order.Remove(t.place)
		delete(s.targets, k)
	}
}

// Sessions is the broker's cache of fetch sessions.
type Sessions struct {
	mu       sync.Mutex
	slots    int
	sessions map[int32]*Session
	now      func() time.Time
}

// evictAfter is how long a session must have been idle to make room for another (Kafka's
// min.incremental.fetch.session.eviction.ms).
const evictAfter = 2 * time.Minute

// maxSessionEpoch wraps to 1; 0 opens a session and -1 closes it.
const maxSessionEpoch = 1<<31 - 1

// NewSessions returns a cache for that many sessions.
func NewSessions(slots int, now func() time.Time) *Sessions {
	return &Sessions{slots: slots, sessions: map[int32]*Session{}, now: now}
}

// Len returns how many sessions there are.
func (c *Sessions) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sessions)
}

// Fetch is what a request asks of its session.
type Fetch struct {
	SessionID, Epoch int32
	ByID             bool // topics by id
	// Wait is how long the answer may take: as long the session is in use. Clients are not believed: they could keep others out.
	Wait      time.Duration
	Targets   []Target
	Forgotten []Target
}

// Open returns the session that a request is to be served from. Its ID is 0 when none is kept. full says that the answer
// must tell of every partition. A code other than ErrNone is the answer.
func (c *Sessions) Open(f Fetch) (s *Session, full bool, code wire.ErrorCode) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.Epoch <= 0 { // a full fetch: of a new session (0), or of none (-1)
		delete(c.sessions, f.SessionID)
		s := newSession(f)
		if f.Epoch == 0 && c.roomLocked() {
			c.keepLocked(s)
		}
		return s, true, wire.ErrNone
	}
	s = c.sessions[f.SessionID]
	switch {
	case s == nil:
		return nil, false, wire.ErrFetchSessionIDNotFound
	case s.epoch != f.Epoch:
		return nil, false, wire.ErrInvalidFetchSessionEpoch
	case s.byID != f.ByID && len(s.targets) > 0:
		return nil, false, wire.ErrFetchSessionTopicIDError
	}
	s.byID = f.ByID
	for _, t := range f.Targets {
		s.put(t)
	}
	for _, t := range f.Forgotten {
		s.drop(t.key())
	}
	if len(s.targets) == 0 {
		delete(c.sessions, s.ID)
		s.ID = 0
		return s, false, wire.ErrNone
	}
	s.used = c.now().Add(f.Wait)
	s.bump()
	return s, false, wire.ErrNone
}

func newSession(f Fetch) *Session {
	s := &Session{byID: f.ByID, targets: make(map[targetKey]*SessionTarget, len(f.Targets)), order: list.New()}
	for _, t := range f.Targets {
		s.put(t)
	}
	return s
}

func (s *Session) bump() {
	if s.epoch == maxSessionEpoch {
		s.epoch = 0
	}
	s.epoch++
}

func (c *Sessions) keepLocked(s *Session) {
	for s.ID == 0 || c.sessions[s.ID] != nil {
		s.ID = rand.Int32N(maxSessionEpoch-1) + 1
	}
	s.created, s.used = c.now(), c.now()
	s.epoch = 1
	c.sessions[s.ID] = s
}

// Expire forgets the sessions that were not used for a time, and returns which.
func (c *Sessions) Expire(idle time.Duration) (gone []int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, s := range c.sessions {
		if c.now().Sub(s.used) > idle {
			delete(c.sessions, id)
			gone = append(gone, id)
		}
	}
	return gone
}

// roomLocked makes room for one session, from one that has been idle for long.
func (c *Sessions) roomLocked() bool {
	if len(c.sessions) < c.slots {
		return true
	}
	var oldest *Session
	for _, s := range c.sessions {
		if oldest == nil || s.used.Before(oldest.used) {
			oldest = s
		}
	}
	if oldest == nil || c.now().Sub(oldest.used) < evictAfter {
		return false
	}
	delete(c.sessions, oldest.ID)
	return true
}
