package quorum

import (
	"errors"
	"io"

	"github.com/hashicorp/raft"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// fsm is the replica as raft's state machine. The replica may be ahead of raft, by what was pulled: what it has already
// is skipped there, and a snapshot carries its own index.
type fsm feed.Replica

// Apply implements raft.FSM. Its answer is nil or an error.
func (f *fsm) Apply(l *raft.Log) any {
	if l.Type != raft.LogCommand {
		return nil
	}
	if err := (*feed.Replica)(f).Apply(feed.Entry{Index: wire.Index(l.Index), Term: wire.Term(l.Term), Data: l.Data}); err != nil {
		return err
	}
	return nil
}

// Snapshot implements raft.FSM.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) {
	return fsmSnapshot{(*feed.Replica)(f).Snapshot()}, nil
}

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	return errors.Join((*feed.Replica)(f).Restore(r), r.Close())
}

type fsmSnapshot struct{ snapshot *metadata.Snapshot }

// Persist implements raft.FSMSnapshot; it runs beside Apply.
func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.snapshot.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s fsmSnapshot) Release() {}
