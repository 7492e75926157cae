package lifecycle

import (
	"fmt"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// compare compares a broker's state with ours at the index that it named, and returns ours if they differ.
func (l *Leader) compare(r HeartbeatRequest) *StateHash {
	ours, known := l.opts.Quorum.HashAt(r.State.Index)
	switch {
	case !known || r.State.Hash.IsZero():
		return nil
	case ours == r.State.Hash:
		l.compared.Add(1)
		return nil
	}
	l.differed.Add(1)
	l.opts.Log.Error("a broker has other metadata than we at the same index: it is told to stop", "broker", r.Broker, "index", r.State.Index, "hash", r.State.Hash, "ours", ours)
	return &StateHash{r.State.Index, ours}
}

// Compared returns how many heartbeats told of a state that was as ours at the same index, and how many of another.
func (l *Leader) Compared() (same, other int64) { return l.compared.Load(), l.differed.Load() }

// differs says what a broker stops with whose metadata is not the controller's.
func differs(broker wire.BrokerID, ours metadata.Hash, theirs StateHash) error {
	return fmt.Errorf("the metadata of broker %d is not that of the controller: at index %d it has hash %s, the controller's %s. "+
		"It stops, since what it would tell clients may be wrong. Start it again; if this comes back, its copy of the metadata is damaged on disk: "+
		"remove the node ('kraftgo node remove %d'), and join it anew with an empty directory", broker, theirs.Index, ours, theirs.Hash, broker)
}

// Differs is the agent's part where the controller's commands lead to another state here than there.
func (a *Agent) Differs(ours, theirs StateHash) {
	a.mu.Lock()
	broker := a.mu.registered.Broker
	a.mu.Unlock()
	a.refuse(differs(broker, ours.Hash, theirs))
}
