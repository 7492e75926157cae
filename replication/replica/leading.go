package replica

import (
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// Fetched notes that a follower's incarnation fetches from offset on in a leader epoch, with a log that was found to agree
// with this one up to there.
func (p *Partition) Fetched(follower wire.BrokerID, epoch wire.BrokerEpoch, leaderEpoch wire.LeaderEpoch, offset wire.Offset) wire.ErrorCode {
	p.mu.Lock()
	l := p.mu.leader
	if l == nil || leaderEpoch == wire.NoLeaderEpoch || l.Fence(leaderEpoch) != wire.ErrNone {
		p.mu.Unlock()
		return wire.ErrNotLeaderOrFollower
	}
	_, code := l.Fetched(p.env.Now(), follower, epoch, offset)
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.run()
	return code
}

// Acked notes that a follower's incarnation has synced its log below offset. early says that it must be told again: this incarnation
// has not fetched yet.
func (p *Partition) Acked(follower wire.BrokerID, epoch wire.BrokerEpoch, leaderEpoch wire.LeaderEpoch, offset wire.Offset) (early bool) {
	p.mu.Lock()
	var woken wake
	if l := p.mu.leader; l != nil {
		_, early = l.Durable(p.env.Now(), follower, epoch, leaderEpoch, offset)
		woken = p.advanceLocked()
	}
	p.mu.Unlock()
	woken.run()
	return early
}

// Altered notes the controller's answer to a proposal: what is in force, or (a zero) that it was refused.
func (p *Partition) Altered(asked replication.Proposal, refused bool, leaderEpoch wire.LeaderEpoch, partitionEpoch wire.PartitionEpoch, isr []wire.BrokerID) {
	p.mu.Lock()
	l := p.mu.leader
	if l == nil {
		p.mu.Unlock()
		return
	}
	if refused {
		l.Refused(p.env.Now(), asked)
	} else {
		a := l.Assigned()
		a.Epoch, a.PartitionEpoch, a.InSync = leaderEpoch, partitionEpoch, isr
		p.commitLocked(a)
	}
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.run()
}

// Outdated reports whether a proposal need not be asked for any more.
func (p *Partition) Outdated(asked replication.Proposal) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.mu.leader
	return l == nil || l.Epoch() != asked.LeaderEpoch || l.Assigned().PartitionEpoch > asked.PartitionEpoch
}

// LeaderStatus is how a led partition is, for metrics and people.
type LeaderStatus struct {
	Replicas, InSync, MinInSync int
	Followers                   []replication.FollowerStatus
}

// LeaderStatus returns how the partition is; ok is false if it is not led here.
func (p *Partition) LeaderStatus() (s LeaderStatus, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.mu.leader
	if l == nil {
		return s, false
	}
	return LeaderStatus{
		Replicas: l.Replicas(), InSync: len(l.Assigned().InSync), MinInSync: min(p.Settings().MinInSync, l.Replicas()), Followers: l.Followers(),
	}, true
}
