package replica

import (
	"fmt"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// Follow makes the partition follow a leader in an epoch. inSync says that the metadata has it in the ISR.
func (p *Partition) Follow(leader wire.BrokerID, epoch wire.LeaderEpoch, inSync bool) {
	p.mu.Lock()
	same := p.mu.follower != nil && p.mu.follower.Epoch() == epoch && p.mu.leaderID == leader
	p.mu.inSync = inSync
	p.mu.Unlock()
	if same {
		p.acquit()
		if !inSync {
			p.env.Synced(p)
		}
		return
	}
	if mutant.TruncateToWatermark {
		_, _ = p.log.Truncate(p.HighWatermark())
	}
	// One that is in sync was fetched anew since it registered as suspect: others count on what it has, though the mark may still be
	// there, and a new epoch must not empty it.
	p.become(replication.NewFollower(epoch, !inSync && p.log.Suspect() != ""), leader, wire.ErrNotLeaderOrFollower, false)
}

// InSync reports whether the metadata has this follower in the ISR.
func (p *Partition) InSync() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.mu.inSync
}

// acquit forgets that the log was suspect once it was fetched anew and is in sync, in whichever order these come: it has what the ISR
// must have. So it is with one that leads. If the mark stays, as on a full disk, this is tried again; and a restart would have the log
// fetched once more, or wait for an operator if nobody else has it.
func (p *Partition) acquit() {
	if !p.suspect.Load() {
		return
	}
	p.mu.Lock()
	sound := p.mu.leader != nil || p.mu.follower != nil && p.mu.inSync && p.mu.follower.Validated()
	p.mu.Unlock()
	if sound && p.log.ClearSuspect() == nil {
		p.suspect.Store(false)
	}
}

// Question is what a follower asks its leader.
type Question struct {
	Epoch wire.LeaderEpoch
	replication.Position
	Start wire.Offset // of the follower's log
}

// position returns the end of the log, and the epoch of the record before.
func (p *Partition) position() replication.Position {
	end := p.log.End()
	if end <= p.log.Start() {
		return replication.Position{Offset: end, LastEpoch: wire.NoLeaderEpoch}
	}
	return replication.Position{Offset: end, LastEpoch: p.log.EpochAt(end - 1)}
}

// Ask returns what to ask the leader; ok is false when the partition does not follow it.
func (p *Partition) Ask(leader wire.BrokerID) (q Question, ok bool) {
	at := p.position()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.follower == nil || p.mu.leaderID != leader {
		return q, false
	}
	return Question{p.mu.follower.Epoch(), p.mu.follower.Ask(at), p.log.Start()}, true
}

// Take does what a leader's answer asks for, and returns what that was. records are whole batches, and are checked. An error
// means that the replica cannot go on as it is.
func (p *Partition) Take(q Question, a replication.Answer, records []byte) (replication.ActionKind, error) {
	p.role.RLock()
	defer p.role.RUnlock()
	p.taking.Lock()
	defer p.taking.Unlock()
	before, action := p.decide(q, a)
	switch action.Kind {
	case replication.Append, replication.AppendFrom:
		if action.Kind == replication.AppendFrom {
			if err := p.log.TruncateFullyAndStartAt(action.Offset); err != nil {
				return replication.Fail, err
			}
			p.watermark.Store(int64(action.Offset))
		}
		if err := p.appendFollowing(records, action); err != nil {
			return replication.Fail, err
		}
		if !before { // the log agrees with the leader's from now on: what is synced of it counts
			p.acquit()
			p.env.Synced(p)
		}
	case replication.Truncate:
		if mutant.WatermarkBeforeTruncate {
			p.watermark.Store(int64(min(a.HighWatermark, p.log.End())))
		}
		if _, err := p.log.Truncate(action.Offset); err != nil {
			return replication.Fail, err
		}
		p.lowerWatermark()
	case replication.Restart:
		if err := p.log.TruncateFullyAndStartAt(action.Offset); err != nil {
			return replication.Fail, err
		}
		p.watermark.Store(int64(action.Offset))
	case replication.Fail:
		return action.Kind, fmt.Errorf("%s: the leader's answer (%+v) does not fit what was asked (%+v)", p.Name, a, q)
	}
	return action.Kind, nil
}

// decide asks the pure follower. before is whether the log was known to agree with the leader's.
func (p *Partition) decide(q Question, a replication.Answer) (before bool, _ replication.Action) {
	start, at := p.log.Start(), p.position()
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.follower
	if f == nil {
		return false, replication.Action{Kind: replication.Ignore}
	}
	before = f.Validated()
	return before, f.Answered(q.Epoch, q.Position, a, start, at, p.log.EpochEndOffset)
}

// appendFollowing writes what the leader gave, and takes over its marks.
func (p *Partition) appendFollowing(records []byte, action replication.Action) error {
	if len(records) > 0 {
		whole, err := wholeBatches(records)
		if err != nil {
			return fmt.Errorf("%s: records from the leader: %w", p.Name, err)
		}
		if len(whole) > 0 {
			_, code, err := p.log.AppendAsFollower(whole)
			if err == nil && code != wire.ErrNone {
				err = code
			}
			if err != nil {
				return fmt.Errorf("%s: append as follower: %w", p.Name, err)
			}
		}
	}
	end := p.log.End()
	// The start first: what lies below it, of a batch that deletions have cut into, is for nobody to see.
	if action.LogStart > p.log.Start() && action.LogStart <= end {
		if code, err := p.log.SetLogStart(action.LogStart); err != nil || code != wire.ErrNone {
			return fmt.Errorf("%s: log start %d of the leader: %s, %w", p.Name, action.LogStart, code, err)
		}
	}
	if action.HighWatermark >= 0 {
		p.raiseWatermark(max(min(action.HighWatermark, end), p.log.Start()))
	}
	return nil
}

// raiseWatermark notes what the leader says of the watermark, and wakes the consumers that wait for it here.
func (p *Partition) raiseWatermark(to wire.Offset) {
	if wire.Offset(p.watermark.Swap(int64(to))) == to {
		return
	}
	p.mu.Lock()
	woken := wake{partition: p}
	for f := range p.mu.fetches {
		woken.fetches = append(woken.fetches, f)
	}
	p.mu.Unlock()
	woken.run() // the partition is held for the write
}

// wholeBatches checks batches as they came, and leaves out one at the end that was cut short.
func wholeBatches(records []byte) ([]byte, error) {
	rest := records
	for len(rest) > 0 {
		h, after, err := batch.Next(rest)
		if err == batch.ErrShort {
			break
		}
		if err == nil {
			err = h.CheckCRC()
		}
		if err != nil {
			return nil, err
		}
		rest = after
	}
	return records[:len(records)-len(rest)], nil
}

// lowerWatermark keeps the watermark within the log after a truncation.
func (p *Partition) lowerWatermark() {
	if end := int64(p.log.End()); p.watermark.Load() > end {
		p.watermark.Store(end)
	}
}

// Report is what a follower tells its leader of its disk.
type Report struct {
	Partition   wire.TopicIDPartition
	LeaderEpoch wire.LeaderEpoch
	Durable     wire.Offset
}

// Report returns what to tell, and whom; ok is false when there is nothing to tell: the log is not known to agree with the
// leader's, or the leader does not count what is synced.
func (p *Partition) Report() (to wire.BrokerID, r Report, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f := p.mu.follower
	if f == nil || !f.Validated() || p.Settings().Durability != replication.Fsync {
		return 0, r, false
	}
	return p.mu.leaderID, Report{p.ID, f.Epoch(), p.log.Durable()}, true
}

// Leader returns whom the partition follows, and in which epoch; NoBroker if it does not.
func (p *Partition) Leader() (wire.BrokerID, wire.LeaderEpoch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.follower == nil {
		return wire.NoBroker, wire.NoLeaderEpoch
	}
	return p.mu.leaderID, p.mu.follower.Epoch()
}
