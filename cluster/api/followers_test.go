package api

import (
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// A follower whose connection breaks again and again leaves a session each time. They do not add up; the one in use stays.
func TestSessionsOfBrokenConnectionsAreForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFollowers(func() time.Time { return now })
	open := func(id, epoch int32) *replica.Session {
		t.Helper()
		m := &message.FetchRequest{SessionID: id, SessionEpoch: epoch}
		if epoch == 0 {
			f.forget()
			m.Topics = []message.FetchRequestTopic{{TopicID: wire.TopicID{1}, Partitions: []message.FetchRequestPartition{{}}}}
		} else {
			m.MaxWaitMs = 1_200_000
		}
		s, _, code := f.Sessions.Open(sessionFetch(m, 17, 2))
		if code != wire.ErrNone {
			t.Fatal(code)
		}
		f.park(s.ID, epoch, nil)
		return s
	}
	kept := open(0, 0)
	for i := range int32(1000) {
		now = now.Add(time.Minute)
		if i%10 == 0 { // it waits for longer than others are kept
			open(kept.ID, i/10+1)
		}
		open(0, 0)
		f.Nudge(kept.ID, i/10+1)
	}
	if n := f.Sessions.Len(); n > 10 {
		t.Errorf("%d sessions", n)
	}
	if len(f.parked) > 10 || len(f.nudged) > 10 {
		t.Errorf("%d parked, %d nudged", len(f.parked), len(f.nudged))
	}
}
