package replication

import (
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// Durability says which of a replica's marks counts.
type Durability uint8

// The durabilities.
const (
	Fsync      Durability = iota // what fdatasync has covered
	Replicated                   // what is appended
)

// Marks are how far one replica is: End is one past its last record, Durable one past the last that is synced.
type Marks struct {
	End, Durable wire.Offset
}

func (m Marks) counted(d Durability) wire.Offset {
	if d == Fsync && !mutant.AckBeforeSync {
		return min(m.Durable, m.End)
	}
	return m.End
}

// Member is a replica in an ISR that a leader asks for, with the incarnation that it has seen fetch.
type Member struct {
	Broker wire.BrokerID
	Epoch  wire.BrokerEpoch // NoBrokerEpoch: the leader itself, or one that has not fetched in this epoch
}

// NoBrokerEpoch stands for an incarnation that is not known.
const NoBrokerEpoch wire.BrokerEpoch = -1

// Proposal is an ISR that the leader asks the controller for.
type Proposal struct {
	LeaderEpoch    wire.LeaderEpoch
	PartitionEpoch wire.PartitionEpoch // that it is based on
	ISR            []Member            // ascending
}

// Assignment is what the metadata says of a partition that is led here.
type Assignment struct {
	Epoch          wire.LeaderEpoch
	PartitionEpoch wire.PartitionEpoch
	Replicas       []wire.BrokerID
	Adding         []wire.BrokerID // those of the replicas that a reassignment adds: nobody lacks them yet
	InSync         []wire.BrokerID
}

// Leader is a partition as its leader sees it, in one leader epoch. At all times
//
//	high watermark <= counted mark of every member of the maximal ISR,
//
// the maximal ISR being what is in force together with what was asked for and may come into force unheard (KIP-497). The
// high watermark never falls. Times are on one monotonic clock.
//
// One goroutine at a time may use it.
type Leader struct {
	id         wire.BrokerID
	assigned   Assignment
	epochStart wire.Offset // where this epoch's records begin
	durability Durability
	minInSync  int
	lagMax     time.Duration
	// eligible reports whether the metadata would let an incarnation into the ISR: alive and not about to stop.
	eligible func(wire.BrokerID, wire.BrokerEpoch) bool

	own           Marks
	start         wire.Offset // of the leader's log, when a follower last said where its own begins
	followers     map[wire.BrokerID]*progress
	proposed      []wire.BrokerID // asked for and not settled; nil: nothing
	askAgain      time.Duration   // not before, after a refusal
	highWatermark wire.Offset
}

// progress is what a leader knows of a follower's incarnation.
type progress struct {
	epoch   wire.BrokerEpoch
	marks   Marks
	fetched bool        // in this leader epoch, with a log that fits ours
	reached bool        // it has had, in this leader epoch, all that the leader had at some time: caughtUp is no mere grace
	start   wire.Offset // of its log, as it last said; 0: it said nothing, or its log begins there
	// caughtUp is when it last had all that the leader had then. reach and reachAt are the next such claim: at reachAt the
	// leader ended at reach.
	caughtUp time.Duration
	reach    wire.Offset
	reachAt  time.Duration
}

// LeaderConfig is what a Leader is made with.
type LeaderConfig struct {
	ID            wire.BrokerID
	Assigned      Assignment
	Own           Marks       // as the epoch begins: its first record gets Own.End
	HighWatermark wire.Offset // that the replica knew before
	Durability    Durability
	MinInSync     int           // min.insync.replicas
	LagMax        time.Duration // replica.lag.time.max.ms
	Eligible      func(wire.BrokerID, wire.BrokerEpoch) bool
	Now           time.Duration
}

// NewLeader returns the state at the start of an epoch. Every follower has LagMax from now to show itself.
func NewLeader(c LeaderConfig) *Leader {
	l := &Leader{
		id: c.ID, assigned: c.Assigned, epochStart: c.Own.End, durability: c.Durability, minInSync: c.MinInSync, lagMax: c.LagMax,
		eligible: c.Eligible, own: c.Own, followers: map[wire.BrokerID]*progress{}, highWatermark: min(c.HighWatermark, c.Own.End),
	}
	l.follow(c.Now)
	l.advance(c.Now)
	return l
}

// follow keeps a progress for each follower of the assignment, and for no other.
func (l *Leader) follow(now time.Duration) {
	for _, id := range l.assigned.Replicas {
		if id != l.id && l.followers[id] == nil {
			l.followers[id] = &progress{epoch: NoBrokerEpoch, caughtUp: now, reach: l.own.End, reachAt: now}
		}
	}
	for id := range l.followers {
		if !slices.Contains(l.assigned.Replicas, id) {
			delete(l.followers, id)
		}
	}
}

// Epoch returns the leader epoch.
func (l *Leader) Epoch() wire.LeaderEpoch { return l.assigned.Epoch }

// Fence returns ErrNone if a request meant for the leader of an epoch (NoLeaderEpoch: of any) is for this one (KIP-320).
func (l *Leader) Fence(epoch wire.LeaderEpoch) wire.ErrorCode {
	switch {
	case epoch == wire.NoLeaderEpoch, mutant.UnfencedFetch:
		return wire.ErrNone
	case epoch < l.assigned.Epoch:
		return wire.ErrFencedLeaderEpoch
	case epoch > l.assigned.Epoch:
		return wire.ErrUnknownLeaderEpoch
	}
	return wire.ErrNone
}

// EpochStart returns the offset of the first record of this leader epoch.
func (l *Leader) EpochStart() wire.Offset { return l.epochStart }

// HighWatermark returns the offset below which records are acknowledged.
func (l *Leader) HighWatermark() wire.Offset { return l.highWatermark }

// Assigned returns what the metadata says, as far as the leader knows. It must not be written.
func (l *Leader) Assigned() Assignment { return l.assigned }

// Asked returns the ISR that was asked for and may be in force, nil for none. It must not be written.
func (l *Leader) Asked() []wire.BrokerID { return l.proposed }

// Replicas returns how many replicas there are.
func (l *Leader) Replicas() int { return len(l.assigned.Replicas) }

// EnoughInSync reports whether the ISR is as large as min.insync.replicas asks, of which no more than there are replicas can
// be wanted (Partition.effectiveMinIsr of Kafka).
func (l *Leader) EnoughInSync() bool {
	return len(l.assigned.InSync) >= min(l.minInSync, len(l.assigned.Replicas))
}

// Acknowledges returns the offset below which an append counts as acknowledged for acks=1: what the leader alone has.
func (l *Leader) Acknowledges() wire.Offset { return l.own.counted(l.durability) }

// Configure sets what the topic's settings say, and returns whether the watermark moved.
func (l *Leader) Configure(now time.Duration, d Durability, minInSync int) bool {
	l.durability, l.minInSync = d, minInSync
	return l.advance(now)
}

// Committed notes what the metadata says now, in the same leader epoch. Older news changes nothing. It returns whether the
// watermark moved.
func (l *Leader) Committed(now time.Duration, a Assignment) bool {
	if a.Epoch != l.assigned.Epoch || a.PartitionEpoch < l.assigned.PartitionEpoch {
		return false
	}
	if a.PartitionEpoch > l.assigned.PartitionEpoch {
		// What was asked for is in force, or was based on what is not any more: then the controller refuses it.
		l.proposed = nil
	}
	l.assigned = a
	l.follow(now)
	return l.advance(now)
}

// Refused notes that a proposal will certainly not come into force, and returns whether the watermark moved.
func (l *Leader) Refused(now time.Duration, p Proposal) bool {
	if p.LeaderEpoch != l.assigned.Epoch {
		return false
	}
	l.askAgain = now + refusedPause
	if p.PartitionEpoch != l.assigned.PartitionEpoch {
		return false // the metadata has told it already, or what became of it
	}
	l.proposed = nil
	return l.advance(now)
}

// refusedPause is how long after a refusal the leader asks again: what it was refused for, as a broker that is not alive yet,
// is known here a little later.
const refusedPause = 100 * time.Millisecond

// Own notes how far the leader's own log is, and returns whether the watermark moved.
func (l *Leader) Own(now time.Duration, m Marks) bool {
	l.own = m
	return l.advance(now)
}

// Fetched notes that a follower's incarnation fetches from offset on, in this leader epoch, with a log that agrees with ours
// up to there. It returns whether the watermark moved, and a code other than ErrNone if that broker may not follow.
func (l *Leader) Fetched(now time.Duration, id wire.BrokerID, epoch wire.BrokerEpoch, offset wire.Offset) (moved bool, code wire.ErrorCode) {
	f := l.followers[id]
	switch {
	case f == nil:
		return false, wire.ErrUnknownTopicOrPartition // not a replica, as far as is known here
	case epoch < f.epoch:
		return false, wire.ErrStaleBrokerEpoch
	case epoch > f.epoch:
		// Another start of the broker: what its log lost is not ours to guess.
		f.epoch, f.marks, f.fetched, f.reached, f.start = epoch, Marks{}, false, false, 0
	}
	f.fetched = true
	if offset < f.marks.End { // it began anew
		f.marks.Durable = min(f.marks.Durable, offset)
	}
	f.marks.End = offset
	l.note(now, f)
	return l.advance(now), wire.ErrNone
}

// Start notes where the log of a follower's incarnation begins that has fetched; own is where the leader's does.
func (l *Leader) Start(id wire.BrokerID, epoch wire.BrokerEpoch, start, own wire.Offset) {
	l.start = own
	if f := l.followers[id]; f != nil && f.fetched && f.epoch == epoch {
		f.start = start
	}
}

// LowWatermark returns the offset below which all replicas have deleted their records that are in sync, or alive; own is where the
// leader's log begins. While fewer are in sync than min.insync.replicas asks, every replica may be eligible to lead (KIP-966), so that
// all count.
func (l *Leader) LowWatermark(own wire.Offset) wire.Offset {
	low := own
	for id, f := range l.followers {
		if !l.EnoughInSync() || slices.Contains(l.assigned.InSync, id) || f.fetched && l.eligible(id, f.epoch) {
			low = min(low, f.start)
		}
	}
	return low
}

// Durable notes that a follower has synced what is below offset, of the log that it fetched in this leader epoch. It returns
// whether the watermark moved. early says that this incarnation has not fetched yet, so that the report does not count: it must come
// again, since the follower has no reason to report once more when nothing is written.
func (l *Leader) Durable(now time.Duration, id wire.BrokerID, epoch wire.BrokerEpoch, leaderEpoch wire.LeaderEpoch, offset wire.Offset) (moved, early bool) {
	f := l.followers[id]
	if f != nil && leaderEpoch == l.assigned.Epoch && epoch > f.epoch {
		return false, true
	}
	if f == nil || f.epoch != epoch || leaderEpoch != l.assigned.Epoch || offset <= f.marks.Durable {
		return false, false
	}
	f.marks.Durable = offset
	l.note(now, f)
	return l.advance(now), false
}

// note brings caughtUp up to date.
func (l *Leader) note(now time.Duration, f *progress) {
	counted := f.marks.counted(l.durability)
	if counted >= f.reach {
		f.reached = true
		f.caughtUp = max(f.caughtUp, f.reachAt)
		f.reach, f.reachAt = l.own.End, now
	}
	if counted >= l.own.End {
		f.caughtUp = now
	}
}

// lags reports whether a follower has been behind for too long.
func (l *Leader) lags(now time.Duration, f *progress) bool {
	return (!f.fetched || f.marks.counted(l.durability) < l.own.End) && now-f.caughtUp > l.lagMax
}

// joins reports whether a follower outside the ISR belongs into it: it has fetched in this epoch, and has all that is
// acknowledged and all that was written before this epoch (KAFKA-7128), the metadata would have it, and it would not have to
// leave at once. It has also deleted what the leader has: it may lead next, and records would come back of which it was acknowledged
// that they are deleted, while it was not there.
func (l *Leader) joins(now time.Duration, id wire.BrokerID, f *progress) bool {
	counted := f.marks.counted(l.durability)
	return f.fetched && !l.lags(now, f) && f.start >= l.start && counted >= l.highWatermark && (counted >= l.epochStart || mutant.NoEpochStart) && l.eligible(id, f.epoch)
}

// Propose returns the ISR to ask the controller for, or nil if the present one fits or an earlier question is open. What it
// returns must be asked until it is settled by [Leader.Committed] or [Leader.Refused].
func (l *Leader) Propose(now time.Duration) *Proposal {
	if l.proposed != nil || now < l.askAgain || len(l.followers) == 0 && len(l.assigned.InSync) <= 1 {
		return nil
	}
	isr := make([]wire.BrokerID, 0, len(l.assigned.Replicas))
	changed := false
	for _, id := range l.assigned.Replicas {
		f, member := l.followers[id], slices.Contains(l.assigned.InSync, id)
		switch {
		case id == l.id:
			isr = append(isr, id)
		case member && l.lags(now, f), !member && !l.joins(now, id, f):
			changed = changed || member
		default:
			isr = append(isr, id)
			changed = changed || !member
		}
	}
	if !changed {
		return nil
	}
	slices.Sort(isr)
	l.proposed = isr
	p := &Proposal{LeaderEpoch: l.assigned.Epoch, PartitionEpoch: l.assigned.PartitionEpoch, ISR: make([]Member, len(isr))}
	for i, id := range isr {
		p.ISR[i] = Member{id, NoBrokerEpoch}
		if f := l.followers[id]; f != nil && f.fetched {
			p.ISR[i].Epoch = f.epoch
		}
	}
	return p
}

// joinHold is how long a follower that is about to join may hold the watermark: long enough for a fetch and a sync.
const joinHold = 500 * time.Millisecond

// near reports whether a follower outside the ISR is about to join it. One that has only just been added is not: it has everything yet
// to copy.
func (l *Leader) near(now time.Duration, id wire.BrokerID, f *progress) bool {
	return f.fetched && f.reached && now-f.caughtUp <= min(joinHold, l.lagMax) && f.marks.counted(l.durability) >= l.epochStart && l.eligible(id, f.epoch)
}

// advance moves the watermark to the smallest counted mark of the maximal ISR, if that is higher. It stands still while the
// ISR is smaller than min.insync.replicas (KIP-966). A follower that is about to join holds it too: on a busy partition it
// would otherwise stay ahead of who catches up.
func (l *Leader) advance(now time.Duration) bool {
	if !l.EnoughInSync() {
		return false
	}
	low := l.own.counted(l.durability)
	for id, f := range l.followers {
		counted := f.marks.counted(l.durability)
		if counted >= low {
			continue
		}
		if slices.Contains(l.assigned.InSync, id) || slices.Contains(l.proposed, id) && !mutant.NoMaximalISR || l.near(now, id, f) {
			low = counted
		}
	}
	if low <= l.highWatermark {
		return false
	}
	l.highWatermark = low
	return true
}

// Awaits reports whether the watermark waits for a follower: it is in the maximal ISR, or about to join. What it lacks holds up producers,
// so it must not be throttled.
func (l *Leader) Awaits(now time.Duration, id wire.BrokerID) bool {
	f := l.followers[id]
	return f != nil && (slices.Contains(l.assigned.InSync, id) || slices.Contains(l.proposed, id) || l.near(now, id, f))
}

// Readable lists the followers, by id, from which consumers may read on at an offset: those in sync whose logs have it.
func (l *Leader) Readable(offset wire.Offset) []FollowerStatus {
	return slices.DeleteFunc(l.Followers(), func(f FollowerStatus) bool {
		return !f.Fetched || f.Marks.End < offset || l.followers[f.Broker].start > offset || !slices.Contains(l.assigned.InSync, f.Broker)
	})
}

// FollowerStatus is what a leader knows of a follower, for people.
type FollowerStatus struct {
	Broker   wire.BrokerID
	Marks    Marks
	Fetched  bool
	CaughtUp time.Duration // when it last had all that the leader had
}

// Followers lists the followers by id.
func (l *Leader) Followers() []FollowerStatus {
	out := make([]FollowerStatus, 0, len(l.followers))
	for id, f := range l.followers {
		out = append(out, FollowerStatus{id, f.marks, f.fetched, f.caughtUp})
	}
	slices.SortFunc(out, func(a, b FollowerStatus) int { return int(a.Broker) - int(b.Broker) })
	return out
}
