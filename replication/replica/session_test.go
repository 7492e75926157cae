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

func TestAnEmptiedSessionIsForgotten(t *testing.T) {
	c := NewSessions(10, time.Now)
	s, _, _ := c.Open(Fetch{Epoch: 0, Targets: []Target{target("t", 0)}})
	if o, _, code := c.Open(Fetch{SessionID: s.ID, Epoch: 1, Forgotten: []Target{target("t", 0)}}); code != wire.ErrNone || o.ID != 0 || c.Len() != 0 {
		t.Fatalf("%+v %s, %d kept", o, code, c.Len())
	}
}
