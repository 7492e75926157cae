package replication

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// Position is where a follower fetches from: the end of its log, and the epoch of the record before.
type Position struct {
	Offset    wire.Offset
	LastEpoch wire.LeaderEpoch // NoLeaderEpoch: the log is empty
}

// Answer is what a leader says of one partition.
type Answer struct {
	Code          wire.ErrorCode
	HighWatermark wire.Offset
	LogStart      wire.Offset // -1: not said
	// Diverges says that the logs part before the position that was asked for: DivergingEpoch is the largest epoch at or
	// below that position's that the leader has, DivergingEnd where it ends there.
	Diverges       bool
	DivergingEpoch wire.LeaderEpoch
	DivergingEnd   wire.Offset
	Records        int         // bytes of whole batches
	First, Last    wire.Offset // of the first of them: of a batch that deletions have cut into, First lies below the log start
}

// ActionKind says what a follower does with an answer.
type ActionKind uint8

// The kinds of action.
const (
	// Ignore the answer: it is to another question.
	Ignore ActionKind = iota
	// Append the records, then take the log start and the watermark from the answer.
	Append
	// Truncate the log to Offset, and fetch from there.
	Truncate
	// AppendFrom has the log, which is empty, begin at Offset, and is Append from there.
	AppendFrom
	// Restart empties the log, which then begins at Offset.
	Restart
	// Retry later: the leader is not ready, or we know less than it does.
	Retry
	// Wait for newer metadata: that broker does not lead, or not in this epoch.
	Wait
	// Fail: the replica cannot go on without help.
	Fail
)

// Action is what a follower does with an answer.
type Action struct {
	Kind          ActionKind
	Offset        wire.Offset // of Truncate, AppendFrom and Restart
	HighWatermark wire.Offset // of Append and AppendFrom
	LogStart      wire.Offset // of Append and AppendFrom
}

// EpochEnds tells of a log the largest epoch at or below one, and where it ends; NoLeaderEpoch when there is none.
type EpochEnds func(wire.LeaderEpoch) (wire.LeaderEpoch, wire.Offset)

// Follower is a partition as a follower of it sees it, in one leader epoch.
//
// Before its log is known to agree with the leader's it must not tell that leader what it has synced: what the leader would
// count may be cut off ([Follower.Validated]). A log that recovery found suspect is emptied as soon as the leader has been
// heard, since then somebody else has what is acknowledged.
//
// One goroutine at a time may use it.
type Follower struct {
	epoch     wire.LeaderEpoch
	refetch   bool // the log is suspect, and not emptied yet
	validated bool
}

// NewFollower returns the state at the start of an epoch. suspect says that the log must be fetched anew.
func NewFollower(epoch wire.LeaderEpoch, suspect bool) *Follower {
	return &Follower{epoch: epoch, refetch: suspect}
}

// Epoch returns the leader epoch.
func (f *Follower) Epoch() wire.LeaderEpoch { return f.epoch }

// Validated reports whether the log agrees with the leader's, in this epoch.
func (f *Follower) Validated() bool { return f.validated }

// Ask returns where to fetch from, given the log.
func (f *Follower) Ask(p Position) Position {
	if f.refetch {
		return Position{0, wire.NoLeaderEpoch}
	}
	return p
}

// Answered says what to do with the answer to a question asked in an epoch, at a position. start, at and ends are the log's as it is now:
// at is the position that it would be asked at.
func (f *Follower) Answered(epoch wire.LeaderEpoch, asked Position, a Answer, start wire.Offset, at Position, ends EpochEnds) Action {
	if epoch != f.epoch {
		return Action{Kind: Ignore}
	}
	if f.refetch {
		return f.heard(a)
	}
	// The log was cut or filled meanwhile. Cut and filled, it may end where it did, with another record there: an answer that says where the
	// logs parted before that would have this one cut, which the leader counts by now.
	if asked != at && (!mutant.AnswersByOffset || asked.Offset != at.Offset) {
		return Action{Kind: Ignore}
	}
	end := at.Offset
	switch a.Code {
	case wire.ErrNone:
	case wire.ErrOffsetOutOfRange:
		return f.outOfRange(asked, a, end)
	case wire.ErrNotLeaderOrFollower, wire.ErrFencedLeaderEpoch, wire.ErrUnknownTopicID, wire.ErrUnknownTopicOrPartition:
		return Action{Kind: Wait}
	case wire.ErrUnknownLeaderEpoch, wire.ErrKafkaStorageError, wire.ErrStaleBrokerEpoch:
		return Action{Kind: Retry}
	default:
		return Action{Kind: Retry}
	}
	if a.Diverges {
		return f.diverged(a, start, end, ends)
	}
	action := Action{Kind: Append, HighWatermark: a.HighWatermark, LogStart: a.LogStart}
	switch {
	case a.Records == 0 || a.First >= end:
	case start == end && a.Last >= end: // the leader's log starts in the middle of a batch, of which we must have all
		action.Kind, action.Offset = AppendFrom, a.First
	default:
		return Action{Kind: Fail} // the leader gave what was not asked for
	}
	f.validated = true
	return action
}

// heard empties a suspect log once the leader has shown that it serves this epoch.
func (f *Follower) heard(a Answer) Action {
	if a.Code != wire.ErrNone && a.Code != wire.ErrOffsetOutOfRange {
		return Action{Kind: Retry}
	}
	f.refetch = false
	return Action{Kind: Restart, Offset: max(a.LogStart, 0)}
}

// outOfRange handles a position that the leader's log does not have: below its start, where retention was ahead of us; or
// past its end, which only a log without epochs can come to, for with them the logs are seen to part.
func (f *Follower) outOfRange(asked Position, a Answer, end wire.Offset) Action {
	switch {
	case a.LogStart < 0:
		return Action{Kind: Retry}
	case a.LogStart > end || asked.LastEpoch == wire.NoLeaderEpoch:
		f.validated = false
		return Action{Kind: Restart, Offset: a.LogStart}
	}
	return Action{Kind: Retry}
}

// diverged cuts the log to where it can agree with the leader's (KIP-101, KIP-279): to the end of the leader's epoch if we
// have that epoch too, else to the end of the largest we have below it, from where the next question goes on.
func (f *Follower) diverged(a Answer, start, end wire.Offset, ends EpochEnds) Action {
	f.validated = false
	to := a.DivergingEnd
	epoch, ours := ends(a.DivergingEpoch)
	switch {
	case mutant.PlainEpochLookup:
	case epoch == wire.NoLeaderEpoch: // nothing of ours is that old: all of it is another history
		to = start
	case epoch == a.DivergingEpoch:
		to = min(to, ours)
	default:
		to = ours
	}
	if to >= end {
		// The leader says that the logs part before our end, and that we agree up to it: one of the two is wrong.
		return Action{Kind: Fail}
	}
	return Action{Kind: Truncate, Offset: to}
}
