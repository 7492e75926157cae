package replication

import (
	"github.com/kraftgo/kraftgo/wire"
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
	if d == Fsync {
		return min(m.Durable, m.End)
	}
	return m.End
}

// Leader is a partition as its leader sees it, in one leader epoch. The high watermark never falls.
//
// One goroutine at a time may use it.
type Leader struct {
	id            wire.BrokerID
	epoch         wire.LeaderEpoch
	durability    Durability
	minInSync     int
	inSync        []wire.BrokerID // always with id
	marks         map[wire.BrokerID]Marks
	highWatermark wire.Offset
}

// NewLeader returns the state at the start of an epoch. highWatermark is what the replica knew before.
func NewLeader(id wire.BrokerID, epoch wire.LeaderEpoch, inSync []wire.BrokerID, highWatermark wire.Offset) *Leader {
	return &Leader{
		id: id, epoch: epoch, minInSync: 1, inSync: append([]wire.BrokerID(nil), inSync...),
		marks: map[wire.BrokerID]Marks{}, highWatermark: highWatermark,
	}
}

// Epoch returns the leader epoch.
func (l *Leader) Epoch() wire.LeaderEpoch { return l.epoch }

// HighWatermark returns the offset below which records are acknowledged.
func (l *Leader) HighWatermark() wire.Offset { return l.highWatermark }

// InSync returns how many replicas are in sync.
func (l *Leader) InSync() int { return len(l.inSync) }

// Configure sets what the topic's settings say, and returns whether the watermark moved.
func (l *Leader) Configure(d Durability, minInSync int) bool {
	l.durability, l.minInSync = d, minInSync
	return l.advance()
}

// Report notes how far a replica is, and returns whether the watermark moved.
func (l *Leader) Report(id wire.BrokerID, m Marks) bool {
	l.marks[id] = m
	return l.advance()
}

// Acknowledges returns the offset below which an append counts as acknowledged for acks=1: what the leader alone has.
func (l *Leader) Acknowledges() wire.Offset { return l.marks[l.id].counted(l.durability) }

// advance moves the watermark to the smallest mark of the in-sync replicas, if that is higher.
func (l *Leader) advance() bool {
	if len(l.inSync) < l.minInSync {
		return false
	}
	low := l.marks[l.id].counted(l.durability)
	for _, id := range l.inSync {
		low = min(low, l.marks[id].counted(l.durability))
	}
	if low <= l.highWatermark {
		return false
	}
	l.highWatermark = low
	return true
}
