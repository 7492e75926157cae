package api

import (
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
)

// A follower whose connection breaks again and again leaves a session each time. They do not add up; the one in use stays.
func TestSessionsOfBrokenConnectionsAreForgotten(t *testing.T) {
	now := time.Unix(0, 0)
	f := newFollowers(func() time.Time { return now })
	open := func(id, epoch int32) *replica.Session {
		t.Helper()
		if epoch == 0 {
			f.forget()
		}
		s, _, code := f.Sessions.Open(replica.Fetch{SessionID: id, Epoch: epoch, ByID: true, Targets: []replica.Target{{TopicID: wire.TopicID{1}}}})
		if code != wire.ErrNone {
			t.Fatal(code)
		}
		f.park(s.ID, epoch, nil)
		return s
	}
	kept := open(0, 0)
	for i := range int32(1000) {
		now = now.Add(time.Minute)
		open(kept.ID, i+1)
		open(0, 0)
		f.Nudge(kept.ID, i+1)
	}
	if n := f.Sessions.Len(); n > 10 {
		t.Errorf("%d sessions", n)
	}
	if len(f.parked) > 10 || len(f.nudged) > 10 {
		t.Errorf("%d parked, %d nudged", len(f.parked), len(f.nudged))
	}
}
