package replica

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// Throttle bounds what this broker copies of throttled replicas, all together: as their leader what it sends, or as their follower what it
// fetches (KIP-73); or what it fetches of replicas that take the place of lost ones. Only what it holds back counts: what the watermark waits for goes as it comes.
//
// Several connections look at the allowance before either has spent it. What is copied too much thereby is made good afterwards.
type Throttle struct {
	now func() time.Duration

	mu struct { // a leaf
		sync.Mutex
		quota replication.Quota
		meter replication.Meter
	}
}

func newThrottle(now func() time.Duration) *Throttle {
	t := &Throttle{now: now}
	t.mu.quota = replication.NewQuota()
	return t
}

// Allowance returns how many bytes may be copied now; 0: nothing of a throttled replica may be.
func (t *Throttle) Allowance() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.quota.Allowance(t.now())
}

// Wait returns how long the allowance stays 0.
func (t *Throttle) Wait() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.quota.Wait(t.now())
}

// Spend notes that bytes of throttled replicas are copied.
func (t *Throttle) Spend(bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.mu.quota.Spend(now, int64(bytes))
	t.mu.meter.Add(now, int64(bytes))
}

// ByteRate returns how many bytes a second were copied of late.
func (t *Throttle) ByteRate() float64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.mu.meter.Rate(t.now())
}

// setRate returns whether the rate is another.
func (t *Throttle) setRate(bytesPerSecond int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	before := t.mu.quota.Rate()
	t.mu.quota.SetRate(t.now(), bytesPerSecond)
	return t.mu.quota.Rate() != before
}

// Sending is the throttle of what this broker sends as leader.
func (m *Manager) Sending() *Throttle { return m.env.sending }

// Fetching is the throttle of what this broker fetches as follower.
func (m *Manager) Fetching() *Throttle { return m.env.fetching }

// Rates are what the throttles let pass, in bytes a second.
type Rates struct{ Sending, Fetching, Rebuilding int64 }

// SetRates puts the rates of the throttles in force. A fetch that is held back at a leader learns of it when its wait ends, half a second
// later at most.
func (m *Manager) SetRates(r Rates) {
	m.env.sending.setRate(r.Sending)
	fetching, rebuilding := m.env.fetching.setRate(r.Fetching), m.env.rebuilding.setRate(r.Rebuilding)
	if fetching || rebuilding {
		m.fetchers.signal()
	}
}

// SendingThrottled reports whether what a follower is sent of the partition is throttled: it is listed, and the watermark does not wait for
// that follower.
func (p *Partition) SendingThrottled(follower wire.BrokerID) bool {
	if s := p.Settings(); s.ThrottledLeader == nil || !s.ThrottledLeader.Has(p.Name.Partition) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.leader != nil && !p.mu.leader.Awaits(p.env.Now(), follower)
}

// fetchingThrottle returns what bounds what is fetched for this follower; nil: nothing does.
func (p *Partition) fetchingThrottle() *Throttle {
	s := p.Settings()
	listed := s.ThrottledFollower != nil && s.ThrottledFollower.Has(p.Name.Partition)
	switch {
	case !listed && !p.rebuilt.Load(), p.InSync():
		return nil
	case listed: // an operator's word goes before ours
		return p.env.fetching
	}
	return p.env.rebuilding
}

// heldLeast is how long a partition at least is held back whose share of a request the partitions before it took.
const heldLeast = 100 * time.Millisecond

// room is how much one request of a fetcher may bring of throttled partitions, by throttle.
type room struct{ left map[*Throttle]int64 }

// of returns how many bytes of a partition to ask for; 0 and for how long, if it is held back.
func (r *room) of(s *fetchState, most int32) (int32, time.Duration) {
	s.throttle = nil
	if !s.caughtUp {
		s.throttle = s.partition.fetchingThrottle()
	}
	if s.throttle == nil {
		return most, 0
	}
	left, asked := r.left[s.throttle]
	if !asked {
		if r.left == nil {
			r.left = map[*Throttle]int64{}
		}
		left = s.throttle.Allowance()
		r.left[s.throttle] = left
	}
	if left <= 0 {
		if wait := s.throttle.Wait(); wait > 0 {
			return 0, wait
		}
		return 0, heldLeast
	}
	n := int32(min(int64(most), left))
	r.left[s.throttle] = left - int64(n)
	return n, 0
}
