package replica

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// told is the way to a leader that notes what it is told.
type told struct {
	scripted
	mu      sync.Mutex
	count   bool // or what it is told is lost
	now     bool // it takes what is told at once
	unheard func()
	durable wire.Offset
	news    chan struct{}
}

func (l *told) hear(reports []Report, unheard func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unheard = unheard
	for _, r := range reports {
		if l.count {
			l.durable = max(l.durable, r.Durable)
		}
	}
	select {
	case l.news <- struct{}{}:
	default:
	}
}

func (l *told) Report(_ context.Context, _ wire.BrokerID, _ wire.BrokerEpoch, reports []Report, unheard func()) error {
	l.hear(reports, unheard)
	return nil
}

func (l *told) ReportNow(_ wire.BrokerID, _ wire.BrokerEpoch, reports []Report, unheard func()) bool {
	if l.now {
		l.hear(reports, unheard)
	}
	return l.now
}

func (l *told) Dial(context.Context, wire.BrokerID) (Link, error) {
	return nil, errors.New("not in this test")
}

// What a leader was told and did not count, since the connection broke or it was not so far, is told again until it counts, though nothing
// more is synced: a producer waits for it. So it is whether it was told at once or by the reporter.
func TestALostReportIsToldAgain(t *testing.T) {
	for _, now := range []bool{true, false} {
		p, _ := alone(t, Settings{MinInSync: 1})
		p.Follow(2, 1, true)
		q, _ := p.Ask(2)
		b := oneRecord(t, 0, 1)
		if _, err := p.Take(q, replication.Answer{LogStart: 0, Records: len(b), First: 0, Last: 0}, b); err != nil {
			t.Fatal(err)
		}
		until(t, "the record is synced", func() bool { return p.Log().Durable() == 1 })
		ctx, cancel := context.WithCancel(t.Context())
		leader := &told{now: now, news: make(chan struct{}, 1)}
		set := newFetchers(ctx, p.env, leader, FetchOptions{Backoff: 10 * time.Millisecond}, slog.New(slog.DiscardHandler))
		set.put(p)
		set.synced(p)
		for i := range 10 {
			<-leader.news
			leader.mu.Lock()
			leader.count = i == 8
			lost := leader.unheard
			leader.mu.Unlock()
			if i == 9 {
				break
			}
			lost()
		}
		if leader.durable != 1 {
			t.Errorf("at once: %v: the leader counts %d", now, leader.durable)
		}
		cancel()
		set.close()
	}
}

// What is told at once is bounded: where syncs are many, one message tells of many.
func TestManySyncsAreToldTogether(t *testing.T) {
	var p pace
	allowed := 0
	for i := range 10_000 {
		if p.allow(time.Duration(i) * time.Microsecond) {
			allowed++
		}
	}
	if most := 10_000/100 + 10; allowed < 100 || allowed > most {
		t.Errorf("%d of 10,000 in 10 ms, at most %d", allowed, most)
	}
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	end, look := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for !done() {
		select {
		case <-end:
			t.Fatalf("not in time: %s", what)
		case <-look.C:
		}
	}
}
