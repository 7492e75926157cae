package replica

import (
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

func target(topic string, p wire.Partition) Target { return Target{Topic: topic, Partition: p} }

func TestSessionsTellOnlyWhatChanged(t *testing.T) {
	now := time.Unix(1000, 0)
	c := NewSessions(1, func() time.Time { return now })
	s, full, code := c.Open(Fetch{Epoch: 0, Targets: []Target{target("t", 0), target("t", 1)}})
	if code != wire.ErrNone || !full || s.ID == 0 {
		t.Fatalf("%+v %v %s", s, full, code)
	}
	for _, x := range s.Targets() {
		if !s.Tell(x, 0, false, 5, 0) {
			t.Fatal("a partition was not told for the first time")
		}
	}
	again, full, code := c.Open(Fetch{SessionID: s.ID, Epoch: 1})
	if again != s || full || code != wire.ErrNone {
		t.Fatalf("%v %v %s", again == s, full, code)
	}
	first, second := s.Targets()[0], s.Targets()[1]
	if s.Tell(first, 0, false, 5, 0) || !s.Tell(second, 0, false, 6, 0) {
		t.Fatal("only the second has moved")
	}
	if !s.Tell(first, 100, false, 7, 0) || s.Targets()[1] != first {
		t.Fatal("a partition that gave records goes last")
	}
	if !s.Tell(second, 0, true, -1, -1) || !s.Tell(second, 0, false, 6, 0) {
		t.Fatal("an error, and its end, are told")
	}
	if _, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: 1}); code != wire.ErrInvalidFetchSessionEpoch {
		t.Fatal(code)
	}
	if _, _, code := c.Open(Fetch{SessionID: s.ID + 1, Epoch: 1}); code != wire.ErrFetchSessionIDNotFound {
		t.Fatal(code)
	}
	if _, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: 2, ByID: true}); code != wire.ErrFetchSessionTopicIDError {
		t.Fatal(code)
	}
	// The cache is full of a session in use: another is served without being kept, until the first has idled.
	if o, _, _ := c.Open(Fetch{Epoch: 0, Targets: []Target{target("u", 0)}}); o.ID != 0 {
		t.Fatal("a session in use made room")
	}
	now = now.Add(3 * time.Minute)
	if o, _, _ := c.Open(Fetch{Epoch: 0, Targets: []Target{target("u", 0)}}); o.ID == 0 {
		t.Fatal("an idle session made no room")
	}
	if _, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: 2}); code != wire.ErrFetchSessionIDNotFound {
		t.Fatal(code)
	}
}

// TestAnotherLeaderEpochIsTold: a follower does not say what it has synced before its leader has answered it in this leader epoch. Where
// the leader stays and only the epoch rises, as when a reassignment is cancelled, it was not answered until something was written; and a
// coordinator, or a producer with acks=all and too few in sync, was waiting for it before anything could be.
func TestAnotherLeaderEpochIsTold(t *testing.T) {
	c := NewSessions(10, time.Now)
	in := func(epoch wire.LeaderEpoch) Target { return Target{Topic: "t", LeaderEpoch: epoch} }
	s, _, _ := c.Open(Fetch{Targets: []Target{in(4)}})
	told := func() bool {
		x := s.Targets()[0]
		untold := s.Untold(x)
		if tells := s.Tell(x, 0, false, 5, 0); tells != untold {
			t.Errorf("untold %t, tells %t", untold, tells)
		}
		return untold
	}
	if !told() || told() {
		t.Error("the first answer tells of it, and no other")
	}
	for i, epoch := range []wire.LeaderEpoch{4, 5, 5} {
		if _, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: int32(i + 1), Targets: []Target{in(epoch)}}); code != wire.ErrNone {
			t.Fatal(code)
		}
		if told() != (i == 1) {
			t.Errorf("request %d, in epoch %d", i, epoch)
		}
	}
	if o, _, _ := c.Open(Fetch{Epoch: -1, Targets: []Target{in(4)}}); o.Untold(o.Targets()[0]) {
		t.Error("without a session there is no end of telling at once")
	}
}

func TestAnEmptiedSessionIsForgotten(t *testing.T) {
	c := NewSessions(10, time.Now)
	s, _, _ := c.Open(Fetch{Epoch: 0, Targets: []Target{target("t", 0)}})
	if o, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: 1, Forgotten: []Target{target("t", 0)}}); code != wire.ErrNone || o.ID != 0 || c.Len() != 0 {
		t.Fatalf("%+v %s, %d kept", o, code, c.Len())
	}
}
