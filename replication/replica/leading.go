package replica

import (
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// Fetched notes that a follower's incarnation fetches from offset on in a leader epoch, with a log that was found to agree
// with this one up to there.
func (p *Partition) Fetched(follower wire.BrokerID, epoch wire.BrokerEpoch, leaderEpoch wire.LeaderEpoch, offset wire.Offset) wire.ErrorCode {
	return p.FetchedFrom(follower, epoch, leaderEpoch, offset, 0)
}

// FetchedFrom is Fetched by a follower that says where its log begins.
func (p *Partition) FetchedFrom(follower wire.BrokerID, epoch wire.BrokerEpoch, leaderEpoch wire.LeaderEpoch, offset, start wire.Offset) wire.ErrorCode {
	p.mu.Lock()
	l := p.mu.leader
	if l == nil || leaderEpoch == wire.NoLeaderEpoch || l.Fence(leaderEpoch) != wire.ErrNone {
		p.mu.Unlock()
		return wire.ErrNotLeaderOrFollower
	}
	_, code := l.Fetched(p.env.Now(), follower, epoch, offset)
	l.Start(follower, epoch, start, p.log.Start())
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.runHere()
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
	woken.runHere()
	return early
}

// DeleteRecords deletes, as leader, what is below an offset, and settles outcome i of w when all replicas have done so that are in sync
// or alive. It does not wait.
func (p *Partition) DeleteRecords(w *ProduceWait, i int, before wire.Offset) {
	out := &w.outcomes[i]
	reign, code := p.deleteRecords(out, before)
	if code != wire.ErrNone {
		w.Refuse(i, code)
		return
	}
	p.mu.Lock()
	fetches := make([]*FetchWait, 0, len(p.mu.copies))
	for f := range p.mu.copies { // the followers are to be told
		fetches = append(fetches, f)
	}
	p.mu.Unlock()
	for _, f := range fetches {
		f.moved(false)
	}
	p.acknowledge(w, i, lowWatermark, reign, before)
}

// deleteRecords deletes, if the partition leads. The part as leader lasts while it does.
func (p *Partition) deleteRecords(out *Outcome, before wire.Offset) (reign int, code wire.ErrorCode) {
	p.role.RLock()
	defer p.role.RUnlock()
	p.mu.Lock()
	_, code = p.servingLocked(wire.NoLeaderEpoch)
	reign = p.mu.reign
	p.mu.Unlock()
	if code != wire.ErrNone {
		return reign, code
	}
	if code, out.Err = p.log.SetLogStart(before); out.Err != nil && code == wire.ErrNone {
		code = wire.ErrKafkaStorageError
	}
	return reign, code
}

// LowWatermark returns the offset below which all replicas have deleted their records that are in sync or alive; -1 if the partition
// is not led here.
func (p *Partition) LowWatermark() wire.Offset {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.leader == nil {
		return -1
	}
	return p.mu.leader.LowWatermark(p.log.Start())
}

// Readable lists the followers from which consumers may read on at an offset; none if the partition is not led here.
func (p *Partition) Readable(offset wire.Offset) []replication.FollowerStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.leader == nil {
		return nil
	}
	return p.mu.leader.Readable(offset)
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
	Wanted                      int // how many are to be in sync: the replicas, without those that a reassignment adds
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
		Replicas: l.Replicas(), Wanted: l.Replicas() - len(l.Assigned().Adding), InSync: len(l.Assigned().InSync), MinInSync: min(p.Settings().MinInSync, l.Replicas()), Followers: l.Followers(),
	}, true
}
