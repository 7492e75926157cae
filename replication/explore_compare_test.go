//go:build explore

package replication

import (
	"github.com/kraftgo/kraftgo/wire"
)

// comparison is what a leader finds of a follower's position.
type comparison struct {
	Unknown  bool // the position's epoch is one that the leader does not know: where it ended cannot be told
	Diverges bool // the logs part before the position: see [Answer]
	Epoch    wire.LeaderEpoch
	End      wire.Offset
}

// compare tells whether a log agrees with that of the leader up to a position (KIP-595's fetch): it does if the leader has the
// epoch of the record before, and has it up to there at least. ends is the leader's.
func compare(p Position, ends EpochEnds) comparison {
	if p.LastEpoch == wire.NoLeaderEpoch {
		return comparison{}
	}
	epoch, end := ends(p.LastEpoch)
	switch {
	case epoch == wire.NoLeaderEpoch:
		return comparison{Unknown: true}
	case epoch < p.LastEpoch, end < p.Offset:
		return comparison{Diverges: true, Epoch: epoch, End: end}
	}
	return comparison{}
}
