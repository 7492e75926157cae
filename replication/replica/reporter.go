package replica

import (
	"context"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// reporter tells one leader what was synced: at once, on the goroutine that synced it, or, when there is much to tell or the connection
// does not take it, in messages one after the other with all that came meanwhile.
//
// Nobody answers. What the leader may not have heard, or said that it could not count, is told again, all of it: else a producer could wait
// for ever for what is on the disk of this follower.
type reporter struct {
	set    *fetchers
	leader wire.BrokerID
	wake   chan struct{}
	pace   pace // of what is told at once

	mu      sync.Mutex // a leaf
	dirty   map[*Partition]struct{}
	unheard bool // since the last message
}

func newReporter(s *fetchers, leader wire.BrokerID) *reporter {
	return &reporter{set: s, leader: leader, wake: make(chan struct{}, 1), dirty: map[*Partition]struct{}{}}
}

// add has the leader told of a partition. It is called by syncers, which it must not hold up.
func (r *reporter) add(p *Partition) {
	if !r.tellNow(p) {
		r.later(p)
	}
}

func (r *reporter) tellNow(p *Partition) bool {
	if !r.pace.allow(r.set.env.Now()) {
		return false
	}
	to, report, ok := p.Report()
	if !ok || to != r.leader {
		return true
	}
	return r.set.links.ReportNow(r.leader, r.set.opts.BrokerEpoch(), []Report{report}, r.again)
}

// later leaves a partition to the reporter's goroutine.
func (r *reporter) later(p *Partition) {
	r.mu.Lock()
	r.dirty[p] = struct{}{}
	r.mu.Unlock()
	r.signal()
}

func (r *reporter) signal() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// again has everything told again.
func (r *reporter) again() {
	r.set.mu.Lock()
	var all []*Partition
	for p, f := range r.set.of {
		if f.leader == r.leader {
			all = append(all, p)
		}
	}
	r.set.mu.Unlock()
	r.mu.Lock()
	for _, p := range all {
		r.dirty[p] = struct{}{}
	}
	r.unheard = true
	r.mu.Unlock()
	r.signal()
}

func (r *reporter) take() (taken map[*Partition]struct{}, unheard bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken, unheard = r.dirty, r.unheard
	r.dirty, r.unheard = map[*Partition]struct{}{}, false
	return taken, unheard
}

func (r *reporter) run() {
	ctx := r.set.ctx
	pause := time.Duration(0)
	var reports []Report
	for {
		taken, unheard := r.take()
		if len(taken) == 0 && !unheard {
			select {
			case <-r.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		if unheard { // the leader may not be so far, and will not be at once
			if pause = r.longer(pause); !sleep(ctx, pause) {
				return
			}
		}
		reports = reports[:0]
		for p := range taken {
			if to, report, ok := p.Report(); ok && to == r.leader {
				reports = append(reports, report)
			}
		}
		if len(reports) == 0 {
			continue
		}
		bounded, cancel := context.WithTimeout(ctx, r.set.opts.Timeout)
		err := r.set.links.Report(bounded, r.leader, r.set.opts.BrokerEpoch(), reports, r.again)
		cancel()
		if err == nil {
			if !unheard {
				pause = 0
			}
			continue
		}
		for p := range taken {
			r.later(p) // whoever leads by then; if it is another, nothing is told here
		}
		if pause = r.longer(pause); !sleep(ctx, pause) {
			return
		}
	}
}

// longer is how long to wait after something went wrong, again.
func (r *reporter) longer(pause time.Duration) time.Duration {
	return min(max(2*pause, 5*time.Millisecond), r.set.opts.Backoff)
}

// sleep returns false when ctx has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
