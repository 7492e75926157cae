package lifecycle

import (
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// sessions is what the controller knows of the brokers' lives. It is in the controller's memory alone: a new controller
// gives everybody a full session before it fences anyone. It has no clock: times come in.
type sessions struct {
	timeout time.Duration
	of      map[wire.BrokerID]*session
}

type session struct {
	epoch  wire.BrokerEpoch
	until  time.Time // when it ends without another heartbeat
	since  time.Time // alive without a break since; zero: it is not alive
	gone   time.Time // dead since; zero: it is not dead
	logEnd wire.Index
	beat   time.Time // the last heartbeat
}

// newSessions gives every broker that is not fenced a full session.
func newSessions(now time.Time, timeout time.Duration, m *metadata.Image) *sessions {
	s := &sessions{timeout: timeout, of: map[wire.BrokerID]*session{}}
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		n := &session{epoch: b.Epoch, gone: now}
		if !b.Fenced {
			*n = session{epoch: b.Epoch, until: now.Add(timeout), since: now}
		}
		s.of[b.Broker] = n
		return true
	})
	return s
}

// beat notes a heartbeat of a broker's present incarnation.
func (s *sessions) beat(now time.Time, id wire.BrokerID, epoch wire.BrokerEpoch, logEnd wire.Index) {
	n := s.of[id]
	if n == nil || n.epoch != epoch {
		n = &session{epoch: epoch}
		s.of[id] = n
	}
	if n.since.IsZero() {
		n.since = now
	}
	n.gone = time.Time{}
	n.until, n.logEnd, n.beat = now.Add(s.timeout), logEnd, now
}

// raftPause is the longest time between two messages of a raft leader, and some more: so much later than it was last heard a
// broker may still have had a heartbeat answered, by itself.
const raftPause = 250 * time.Millisecond

// heard shortens the session of the last controller: it was heard as raft's leader until then, and has been silent since. If
// there was no controller for long, it has the time for a heartbeat.
func (s *sessions) heard(now time.Time, id wire.BrokerID, epoch wire.BrokerEpoch, at time.Time) {
	n := s.of[id]
	if n == nil || n.epoch != epoch {
		return
	}
	until := at.Add(raftPause + s.timeout)
	if least := now.Add(s.timeout / 4); until.Before(least) {
		until = least
	}
	if until.Before(n.until) {
		n.until = until
	}
}

// lost ends the session of an incarnation that is known to be dead.
func (s *sessions) lost(now time.Time, id wire.BrokerID, epoch wire.BrokerEpoch) {
	if n := s.of[id]; n != nil && n.epoch == epoch {
		n.until = now
	}
}

// expired returns the brokers whose sessions have ended, by id, that the metadata has as alive.
func (s *sessions) expired(now time.Time, m *metadata.Image) []wire.BrokerID {
	var out []wire.BrokerID
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		n := s.of[b.Broker]
		if n == nil { // it was unfenced in another way: it has one session to show itself
			n = &session{epoch: b.Epoch, until: now.Add(s.timeout), since: now}
			s.of[b.Broker] = n
		}
		if n.epoch == b.Epoch && !n.until.After(now) {
			if n.gone.IsZero() {
				n.gone = now
			}
			n.since = time.Time{}
			if !b.Fenced {
				out = append(out, b.Broker)
			}
		}
		return true
	})
	for id := range s.of {
		if m.Broker(id) == nil {
			delete(s.of, id)
		}
	}
	return out
}

// away returns the brokers, by id, that are fenced and were not heard of for a time.
func (s *sessions) away(now time.Time, m *metadata.Image, long time.Duration) []wire.BrokerID {
	var out []wire.BrokerID
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		if n := s.of[b.Broker]; b.Fenced && n != nil && n.epoch == b.Epoch && !n.gone.IsZero() && now.Sub(n.gone) >= long {
			out = append(out, b.Broker)
		}
		return true
	})
	return out
}

// nodes returns the brokers as candidates for the quorum.
func (s *sessions) nodes(now time.Time, m *metadata.Image) []control.QuorumNode {
	var out []control.QuorumNode
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		q := control.QuorumNode{Broker: b.Broker, Directory: b.Directory, Address: b.Internal}
		if b.Rack != nil {
			q.Rack = *b.Rack
		}
		if n := s.of[b.Broker]; n != nil && n.epoch == b.Epoch {
			switch {
			case !n.since.IsZero() && !b.Fenced:
				q.Alive, q.LastIndex = max(now.Sub(n.since), 1), n.logEnd
			case !n.gone.IsZero():
				q.Dead = max(now.Sub(n.gone), 1)
			}
		}
		out = append(out, q)
		return true
	})
	return out
}
