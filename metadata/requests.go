package metadata

import (
	"bytes"

	"github.com/kraftgo/kraftgo/wire"
)

const (
	// requestsKept is how many request ids are remembered to tell a retry: a client retries within seconds, and a cluster
	// takes far fewer than this many admin changes in that time.
	requestsKept = 4096
	// repliesKept bounds the bytes of the replies that are remembered with them: the oldest are forgotten first.
	repliesKept = 1 << 20
	// ReplyMax is how long a reply may be that goes with a command.
	ReplyMax = 64 << 10
)

// request is a remembered request with the reply that was decided on it; nil: it had none, or it is forgotten.
type request struct {
	id    RequestID
	reply []byte
}

// requests are the last commands that took effect, so that one that comes twice changes nothing the second time, and gets the
// reply of the first.
type requests struct {
	at    map[RequestID]int // place in order
	order []request         // a ring once it is full
	next  int               // its oldest place
	bytes int               // of all replies
	reply int               // counts places from next on; before it no request has a reply any more
}

func newRequests() requests { return requests{at: map[RequestID]int{}} }

// place returns the place of the i-th oldest request.
func (q *requests) place(i int) int { return (q.next + i) % len(q.order) }

// add notes a request. changed is told of every request whose entry goes or comes.
func (q *requests) add(r request, gone, come func(request)) {
	if len(r.reply) == 0 || len(r.reply) > ReplyMax {
		r.reply = nil
	}
	if len(q.order) < requestsKept {
		q.at[r.id] = len(q.order)
		q.order = append(q.order, r)
	} else {
		oldest := q.order[q.next]
		gone(oldest)
		q.bytes -= len(oldest.reply)
		delete(q.at, oldest.id)
		q.order[q.next], q.at[r.id] = r, q.next
		q.next = (q.next + 1) % requestsKept
		q.reply = max(0, q.reply-1)
	}
	come(r)
	for q.bytes += len(r.reply); q.bytes > repliesKept; q.reply++ {
		if old := &q.order[q.place(q.reply)]; old.reply != nil {
			gone(*old)
			q.bytes -= len(old.reply)
			old.reply = nil
			come(*old)
		}
	}
}

// list returns the requests, oldest first.
func (q *requests) list() []request {
	return append(append(make([]request, 0, len(q.order)), q.order[q.next:]...), q.order[:q.next]...)
}

// remember notes a command's request, and returns false if it was known.
func (s *State) remember(c *Command) bool {
	if _, known := s.requests.at[c.Request]; known {
		return false
	}
	h := &s.image.hash
	s.requests.add(request{c.Request, c.Reply},
		func(r request) { *h = h.minus(s.hasher.request(r)) },
		func(r request) { *h = h.plus(s.hasher.request(r)) })
	return true
}

// Reply returns the reply that was decided on a request whose command took effect; known says that it did, though the reply may
// be forgotten.
func (s *State) Reply(id RequestID) (reply []byte, known bool) {
	i, known := s.requests.at[id]
	if !known {
		return nil, false
	}
	return s.requests.order[i].reply, true
}

func appendRequests(b []byte, list []request) []byte {
	b = wire.AppendArrayLength(b, len(list), true)
	for _, r := range list {
		b = wire.AppendBytes(wire.AppendUUID(b, r.id), r.reply, true)
	}
	return b
}

func (s *State) readRequests(r *wire.Reader) {
	for n := r.ArrayLength(true, false, 17); n > 0 && r.Err() == nil; n-- {
		s.remember(&Command{Request: r.UUID(), Reply: bytes.Clone(r.Bytes(true))})
	}
}
