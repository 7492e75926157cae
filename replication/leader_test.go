package replication

import (
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

func everybody(wire.BrokerID, wire.BrokerEpoch) bool { return true }

func newTestLeader(replicas, inSync []wire.BrokerID) *Leader {
	return NewLeader(LeaderConfig{
		ID: 1, Assigned: Assignment{Epoch: 5, PartitionEpoch: 7, Replicas: replicas, InSync: inSync}, MinInSync: 1, LagMax: 30 * time.Second, Eligible: everybody,
	})
}

// Against the definition, computed anew each time: the watermark is the highest that the smallest counted mark of the
// in-sync replicas ever was, while these were enough.
func TestWatermarkIsTheRunningMaximumOfTheSmallestMark(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ids := []wire.BrokerID{1, 2, 3}[:rapid.IntRange(1, 3).Draw(t, "replicas")]
		l := newTestLeader(ids, ids)
		marks := map[wire.BrokerID]Marks{}
		durability, minInSync := Fsync, 1
		want := wire.Offset(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			before := l.HighWatermark()
			switch rapid.IntRange(0, 4).Draw(t, "what") {
			case 0:
				durability = Durability(rapid.IntRange(0, 1).Draw(t, "durability"))
				minInSync = rapid.IntRange(1, 3).Draw(t, "min")
				l.Configure(0, durability, minInSync)
			default:
				id := rapid.SampledFrom(ids).Draw(t, "id")
				m := marks[id]
				m.End += wire.Offset(rapid.IntRange(0, 5).Draw(t, "appended"))
				m.Durable = min(m.End, m.Durable+wire.Offset(rapid.IntRange(0, 5).Draw(t, "synced")))
				marks[id] = m
				if id == 1 {
					l.Own(0, m)
					break
				}
				if _, code := l.Fetched(0, id, 9, m.End); code != wire.ErrNone {
					t.Fatal(code)
				}
				l.Durable(0, id, 9, 5, m.Durable)
			}
			if len(ids) >= min(minInSync, len(ids)) {
				low := wire.Offset(1 << 60)
				for _, id := range ids {
					low = min(low, marks[id].counted(durability))
				}
				want = max(want, low)
			}
			if l.HighWatermark() != want {
				t.Fatalf("watermark %d (before %d), want %d", l.HighWatermark(), before, want)
			}
		}
	})
}

// KIP-966: below min.insync.replicas nothing more is acknowledged.
func TestWatermarkStandsStillBelowMinInSync(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2, 3}, []wire.BrokerID{1})
	l.Configure(0, Fsync, 2)
	l.Own(0, Marks{10, 10})
	if l.HighWatermark() != 0 {
		t.Fatal(l.HighWatermark())
	}
}

// KIP-497: an expansion that may have been committed unheard counts, and so does a member whose removal may not have been.
func TestWatermarkWaitsForTheMaximalISR(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2, 3}, []wire.BrokerID{1, 2})
	l.Own(0, Marks{10, 10})
	for _, id := range []wire.BrokerID{2, 3} {
		l.Fetched(0, id, 9, 10)
		l.Durable(0, id, 9, 5, 10)
	}
	p := l.Propose(0)
	if p == nil || len(p.ISR) != 3 || p.PartitionEpoch != 7 || p.ISR[2] != (Member{3, 9}) || l.Propose(0) != nil {
		t.Fatalf("%+v", p)
	}
	l.Own(0, Marks{20, 20})
	l.Fetched(0, 2, 9, 20)
	l.Durable(0, 2, 9, 5, 20)
	if l.HighWatermark() != 10 {
		t.Fatalf("the watermark is %d, and broker 3, which may be in the ISR, has 10", l.HighWatermark())
	}
	// Refused, and the follower far behind: it counts no more.
	l.Refused(0, *p)
	l.Own(time.Second, Marks{20, 20})
	if l.HighWatermark() != 20 {
		t.Fatal(l.HighWatermark())
	}
	// A member that lags is proposed to leave, and counts until that is committed.
	l.Own(time.Second, Marks{30, 30})
	p = l.Propose(40 * time.Second)
	if p == nil || len(p.ISR) != 1 {
		t.Fatalf("%+v", p)
	}
	if l.Own(40*time.Second, Marks{31, 31}); l.HighWatermark() != 20 {
		t.Fatal(l.HighWatermark())
	}
	l.Committed(41*time.Second, Assignment{Epoch: 5, PartitionEpoch: 8, Replicas: []wire.BrokerID{1, 2, 3}, InSync: []wire.BrokerID{1}})
	if l.HighWatermark() != 31 {
		t.Fatal(l.HighWatermark())
	}
}

// KAFKA-7128: who has all that is acknowledged, but not all from before this epoch, does not join.
func TestFollowerJoinsAtTheEpochsStart(t *testing.T) {
	l := NewLeader(LeaderConfig{
		ID: 1, Assigned: Assignment{Epoch: 5, Replicas: []wire.BrokerID{1, 2}, InSync: []wire.BrokerID{1}}, Own: Marks{10, 10}, MinInSync: 2,
		LagMax: time.Second, Eligible: everybody, Durability: Replicated,
	})
	l.Fetched(0, 2, 9, 9)
	if l.HighWatermark() != 0 || l.Propose(0) != nil {
		t.Fatal("it joined below the start of the epoch")
	}
	l.Fetched(0, 2, 9, 10)
	if p := l.Propose(0); p == nil || len(p.ISR) != 2 {
		t.Fatalf("%+v", p)
	}
}

// A disk that hangs leaves the ISR, although the records arrive there (DESIGN: joining, lag and shrinking go by what is synced).
func TestFollowerThatDoesNotSyncLeaves(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1, 2})
	for s := range 40 {
		now := time.Duration(s) * time.Second
		end := wire.Offset(s)
		l.Own(now, Marks{end, end})
		l.Fetched(now, 2, 9, end)
	}
	if p := l.Propose(40 * time.Second); p == nil || len(p.ISR) != 1 {
		t.Fatalf("%+v", p)
	}
}

// Who left because it does not sync has all that is acknowledged while nothing is; it does not come back for that.
func TestWhoLagsDoesNotJoin(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1})
	l.Configure(0, Fsync, 2)
	l.Own(0, Marks{10, 10})
	l.Fetched(0, 2, 9, 10)
	if p := l.Propose(40 * time.Second); p != nil {
		t.Fatalf("%+v", p)
	}
	l.Durable(40*time.Second, 2, 9, 5, 10)
	if p := l.Propose(40 * time.Second); p == nil {
		t.Fatal("it has everything")
	}
}

// A follower that is always a little behind, as under load, stays.
func TestFollowerThatKeepsUpStays(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1, 2})
	for s := range 100 {
		now := time.Duration(s) * time.Second
		l.Own(now, Marks{wire.Offset(10 * s), wire.Offset(10 * s)})
		l.Fetched(now, 2, 9, wire.Offset(max(0, 10*s-10)))
		l.Durable(now, 2, 9, 5, wire.Offset(max(0, 10*s-10)))
		if p := l.Propose(now); p != nil {
			t.Fatalf("at %s: %+v", now, p)
		}
	}
}

// A follower that was started again counts with nothing until it has fetched and synced as that incarnation (A24).
func TestAnotherIncarnationBeginsAtNothing(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1, 2})
	l.Own(0, Marks{10, 10})
	l.Fetched(0, 2, 9, 10)
	l.Durable(0, 2, 9, 5, 10)
	l.Own(0, Marks{20, 20})
	l.Fetched(0, 2, 11, 20)
	l.Durable(0, 2, 9, 5, 20) // of the old one, late
	if l.HighWatermark() != 10 {
		t.Fatal(l.HighWatermark())
	}
	if _, code := l.Fetched(0, 2, 9, 20); code != wire.ErrStaleBrokerEpoch {
		t.Fatal(code)
	}
	if l.Durable(0, 2, 11, 4, 20); l.HighWatermark() != 10 {
		t.Fatal("a report of another leader epoch counted")
	}
	if l.Durable(0, 2, 11, 5, 20); l.HighWatermark() != 20 {
		t.Fatal(l.HighWatermark())
	}
}

// A follower that was registered anew may report before it fetches. It has no reason to report again while nothing is written, so it
// must be told that the report did not count: it would stay out of the ISR of an idle partition for good. (Simulation, seed 31.)
func TestReportBeforeTheFirstFetchIsEarly(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1, 2})
	l.Own(0, Marks{10, 10})
	l.Fetched(0, 2, 9, 10)
	if _, early := l.Durable(0, 2, 11, 5, 10); !early {
		t.Error("a report of an incarnation that has not fetched is taken")
	}
	if _, early := l.Durable(0, 2, 9, 4, 10); early {
		t.Error("a report of an epoch that is over is wanted again")
	}
	l.Fetched(0, 2, 11, 10)
	if _, early := l.Durable(0, 2, 11, 5, 10); early {
		t.Error("a report after the fetch is not taken")
	}
}

// TestWhoJoinsHasDeleted: a follower that has not deleted what the leader has may not join, since it may lead next: DeleteRecords is
// acknowledged without those that are away, and what it has deleted came back when one of them returned and was elected at once.
func TestWhoJoinsHasDeleted(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2, 3}, []wire.BrokerID{1, 2})
	l.Own(0, Marks{100, 100})
	for _, id := range []wire.BrokerID{2, 3} {
		l.Fetched(0, id, 9, 100)
		l.Durable(0, id, 9, l.Epoch(), 100)
		l.Start(id, 9, 20, 50)
	}
	if p := l.Propose(0); p != nil {
		t.Errorf("one joins whose log begins before the leader's, or one leaves: %+v", p)
	}
	l.Start(3, 9, 50, 50)
	if p := l.Propose(0); p == nil || len(p.ISR) != 3 {
		t.Errorf("one does not join that has deleted what the leader has: %+v", p)
	}
}

// The low watermark is that of the replicas that are in sync or alive: what they have not deleted could come back with them as leaders.
func TestLowWatermark(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2, 3}, []wire.BrokerID{1, 2})
	want := func(what string, low wire.Offset) {
		t.Helper()
		if got := l.LowWatermark(50); got != low {
			t.Errorf("%s: %d, want %d", what, got, low)
		}
	}
	l.Own(0, Marks{100, 100})
	want("one in sync has said nothing", 0)
	l.Start(2, 9, 50, 50)
	want("one says where it begins before it fetches", 0)
	l.Fetched(0, 2, 9, 100)
	l.Start(2, 9, 50, 50)
	want("that one has deleted", 50)
	l.Fetched(0, 3, 9, 40)
	l.Start(3, 9, 20, 50)
	want("one that is alive and not in sync has not", 20)
	l.Start(3, 8, 50, 50)
	want("an older start of it is heard", 20)
	l.Start(3, 9, 60, 50)
	want("all have", 50)
	l.Fetched(0, 2, 10, 100)
	want("another start of one has said nothing", 0)
	l.Start(2, 10, 50, 50)
	l.eligible = func(id wire.BrokerID, _ wire.BrokerEpoch) bool { return id != 3 }
	l.Start(3, 9, 20, 50)
	want("one that is neither in sync nor alive has not", 50)
	l.Committed(0, Assignment{Epoch: l.Epoch(), PartitionEpoch: l.Assigned().PartitionEpoch + 1, Replicas: []wire.BrokerID{1, 2, 3}, InSync: []wire.BrokerID{1}})
	want("one in sync is enough", 50)
	l.Configure(0, Fsync, 2)
	want("it may lead, since too few are in sync", 20)
}
