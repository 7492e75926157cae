package replication

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// Comparison is what a leader finds of a follower's position.
type Comparison struct {
	Unknown  bool // the position's epoch is one that the leader does not know: where it ended cannot be told
	Diverges bool // the logs part before the position: see [Answer]
	Epoch    wire.LeaderEpoch
	End      wire.Offset
}

// Compare tells whether a log agrees with that of the leader up to a position (KIP-595's fetch): it does if the leader has the
// epoch of the record before, and has it up to there at least. ends is the leader's.
func Compare(p Position, ends EpochEnds) Comparison {
	if p.LastEpoch == wire.NoLeaderEpoch {
		return Comparison{}
	}
	epoch, end := ends(p.LastEpoch)
	switch {
	case epoch == wire.NoLeaderEpoch:
		return Comparison{Unknown: true}
	case epoch < p.LastEpoch && !mutant.PlainEpochLookup, end < p.Offset:
		return Comparison{Diverges: true, Epoch: epoch, End: end}
	}
	return Comparison{}
}
