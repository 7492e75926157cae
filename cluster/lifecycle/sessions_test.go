package lifecycle

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// alive returns an image of brokers 1 to n, unfenced but for those given, with epoch = index of their registration.
func alive(t interface{ Fatal(...any) }, n int, fenced ...wire.BrokerID) (*metadata.State, *metadata.Image) {
	s := metadata.NewState()
	for i := 1; i <= n; i++ {
		id := wire.BrokerID(i)
		records := []metadata.Record{&metadata.RegisterBroker{Broker: id, Directory: wire.UUID{byte(i)}}}
		if !slices.Contains(fenced, id) {
			records = append(records, &metadata.BrokerState{Broker: id})
		}
		if _, err := s.Apply(wire.Index(i), 1, metadata.Command{Term: 1, Records: records}); err != nil {
			t.Fatal(err)
		}
	}
	return s, s.Image()
}

func TestSessions(t *testing.T) {
	_, m := alive(t, 3, 3)
	start := time.Unix(1000, 0)
	s := newSessions(start, 9*time.Second, m)
	at := func(d time.Duration) time.Time { return start.Add(d) }
	expire := func(d time.Duration, want ...wire.BrokerID) {
		t.Helper()
		if got := s.expired(at(d), m); !slices.Equal(got, want) {
			t.Fatalf("at %s: %v, want %v", d, got, want)
		}
	}
	expire(8999 * time.Millisecond)
	s.beat(at(5*time.Second), 1, 1, 7)
	expire(9*time.Second, 2) // and not 3, which is fenced
	expire(13*time.Second, 2)
	expire(14*time.Second, 1, 2)
	s.beat(at(15*time.Second), 1, 99, 7) // another incarnation than the image has
	expire(15*time.Second, 2)
	_, m = alive(t, 3, 3)
	s = newSessions(start, 9*time.Second, m)
	s.lost(at(time.Second), 2, 77) // another incarnation is dead
	expire(time.Second)
	s.lost(at(time.Second), 2, 2)
	expire(time.Second, 2)
	for _, n := range s.nodes(at(11*time.Second), m) {
		switch n.Broker {
		case 1:
			if n.Alive == 0 || n.Dead != 0 {
				t.Errorf("%+v", n)
			}
		case 2:
			if n.Alive != 0 || n.Dead != 10*time.Second {
				t.Errorf("%+v", n)
			}
		case 3:
			if n.Alive != 0 || n.Dead != 11*time.Second {
				t.Errorf("%+v", n)
			}
		}
	}
}

// A broker that sends heartbeats within its session is never fenced by it; one that stops is, within a session of its last,
// and no earlier.
// A controller that fell silent is not given a second session by the next one; a heartbeat gives it one.
func TestTheLastControllersSessionWentOn(t *testing.T) {
	_, m := alive(t, 3)
	b := m.Live()[0]
	for _, c := range []struct{ silent, left time.Duration }{{2 * time.Second, 7250 * time.Millisecond}, {time.Minute, 2250 * time.Millisecond}, {0, 9 * time.Second}} {
		start := time.Unix(1000, 0)
		s := newSessions(start, 9*time.Second, m)
		s.heard(start, b.Broker, b.Epoch, start.Add(-c.silent))
		if early := s.expired(start.Add(c.left-time.Millisecond), m); len(early) > 0 {
			t.Errorf("silent for %s: %v fenced before %s", c.silent, early, c.left)
		}
		if late := s.expired(start.Add(c.left), m); !slices.Contains(late, b.Broker) {
			t.Errorf("silent for %s: not fenced after %s, but %v", c.silent, c.left, late)
		}
		s.beat(start.Add(time.Second), b.Broker, b.Epoch, 0)
		if late := s.expired(start.Add(9*time.Second), m); slices.Contains(late, b.Broker) {
			t.Errorf("fenced in spite of a heartbeat")
		}
	}
}

func TestSessionsEndWhenTheyShould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "brokers")
		_, m := alive(t, n)
		session := 100 * time.Millisecond
		start := time.Unix(1000, 0)
		s := newSessions(start, session, m)
		last := map[wire.BrokerID]time.Time{}
		for i := 1; i <= n; i++ {
			last[wire.BrokerID(i)] = start
		}
		now := start
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.IntRange(0, 40).Draw(t, "ms")) * time.Millisecond)
			id := wire.BrokerID(rapid.IntRange(1, n).Draw(t, "broker"))
			if rapid.Bool().Draw(t, "beats") {
				s.beat(now, id, wire.BrokerEpoch(id), 0)
				last[id] = now
			}
			var want []wire.BrokerID
			for i := 1; i <= n; i++ {
				if id := wire.BrokerID(i); now.Sub(last[id]) >= session {
					want = append(want, id)
				}
			}
			if got := s.expired(now, m); !slices.Equal(got, want) {
				t.Fatalf("at %s expired are %v, should be %v", now.Sub(start), got, want)
			}
		}
	})
}
