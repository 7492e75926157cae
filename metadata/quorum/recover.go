package quorum

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// This file is what is done offline, when a majority of the quorum is lost for good.

// Remains is what the directory of a stopped node has of the metadata.
type Remains struct {
	// State is that of the last command that is here, committed or not: of a majority that is lost it cannot be known whether it had
	// this one too, and what was acknowledged must not be given up.
	State   *metadata.State
	Term    wire.Term // the highest that is known here
	Members []Member  // of the quorum, as the last that is here has them; none: this node was never in it
	Written time.Time // when something was written last
	Damage  error     // what could not be read and was done without; nil: nothing
}

// errHole is damage in the middle of what is here.
var errHole = errors.New("commands are missing in between")

// ReadRemains reads the directory of a stopped node, of a voter or any other: what it pulled, its snapshots and its log.
func ReadRemains(dir string) (*Remains, error) {
	r := &Remains{}
	// First of all: what reads them may cut damage off, which is a write too.
	for _, name := range []string{"raft.db", "feed.log", "feed.snapshot"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err == nil && info.Size() > 0 && info.ModTime().After(r.Written) {
			r.Written = info.ModTime()
		}
	}
	replica := feed.NewReplica(feed.Options{KeepEntries: 1})
	defer replica.Close()
	store, why, err := feed.OpenStore(dir, replica)
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, fmt.Errorf("close the pulled metadata: %w", err)
	}
	r.Damage = why
	known, err := r.readSnapshots(dir, replica)
	if err != nil {
		return nil, err
	}
	if err := r.readLog(dir, replica, max(known, replica.Image().Index())); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if _, err := replica.Snapshot().WriteTo(&b); err != nil {
		return nil, err
	}
	r.State, err = metadata.ReadSnapshot(&b)
	r.Term = max(r.Term, replica.Image().Term())
	return r, err
}

// readSnapshots takes the newest of raft's snapshots that is sound, and returns up to where it knows everything.
func (r *Remains) readSnapshots(dir string, into *feed.Replica) (wire.Index, error) {
	store, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
	if err != nil {
		return 0, fmt.Errorf("open metadata snapshots in %s: %w", dir, err)
	}
	list, err := store.List()
	if err != nil {
		return 0, fmt.Errorf("list metadata snapshots in %s: %w", dir, err)
	}
	for _, meta := range list {
		_, content, err := store.Open(meta.ID)
		if err == nil {
			err = errors.Join(into.Restore(content), content.Close())
		}
		if err != nil {
			r.Damage = errors.Join(r.Damage, fmt.Errorf("snapshot %s: %w", meta.ID, err))
			continue
		}
		r.Term = max(r.Term, wire.Term(meta.Term))
		return wire.Index(meta.Index), r.setMembers(meta.Configuration)
	}
	return 0, nil
}

func (r *Remains) setMembers(c raft.Configuration) error {
	r.Members = nil
	for _, server := range c.Servers {
		id, address, err := splitMember(server.Address)
		if err != nil {
			return err
		}
		r.Members = append(r.Members, Member{ID: id, Address: address, Votes: server.Suffrage == raft.Voter})
	}
	return nil
}

// readLog applies what raft's log has beyond the index up to which everything is known.
func (r *Remains) readLog(dir string, into *feed.Replica, known wire.Index) error {
	if !Exists(dir) {
		return nil
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(dir, "raft.db"), BoltOptions: &bolt.Options{ReadOnly: true, Timeout: time.Second},
	})
	if err != nil {
		return fmt.Errorf("open metadata log in %s: %w", dir, err)
	}
	defer store.Close()
	if term, err := store.GetUint64([]byte("CurrentTerm")); err == nil {
		r.Term = max(r.Term, wire.Term(term))
	}
	first, err1 := store.FirstIndex()
	last, err2 := store.LastIndex()
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read metadata log in %s: %w", dir, err)
	}
	if first > uint64(known)+1 && last > 0 {
		return fmt.Errorf("the metadata in %s is damaged: %w, after %d and before %d", dir, errHole, known, first)
	}
	for i := first; i <= last && i > 0; i++ {
		var l raft.Log
		if err := store.GetLog(i, &l); err != nil {
			return fmt.Errorf("read metadata log in %s at %d: %w", dir, i, err)
		}
		if err := r.apply(into, &l); err != nil {
			return fmt.Errorf("metadata log in %s at %d: %w", dir, i, err)
		}
	}
	return nil
}

// apply takes an entry of raft's log that may be beyond what is known to be committed.
func (r *Remains) apply(into *feed.Replica, l *raft.Log) error {
	r.Term = max(r.Term, wire.Term(l.Term))
	// An entry behind a committed command of a later term was never committed: the leader of that term did not have it.
	if m := into.Image(); wire.Index(l.Index) > m.Index() && wire.Term(l.Term) < m.Term() {
		return nil
	}
	switch l.Type {
	case raft.LogCommand:
		if err := into.Apply(feed.Entry{Index: wire.Index(l.Index), Term: wire.Term(l.Term), Data: l.Data}); err != nil && into.Failed() != nil {
			return err
		}
	case raft.LogConfiguration:
		return r.setMembers(raft.DecodeConfiguration(l.Data))
	}
	return nil
}

// WriteRecovered makes the directory, which must not exist, that of the sole voter of a quorum whose metadata is the state.
func WriteRecovered(dir string, id wire.UUID, address string, state *metadata.State) error {
	m := state.Image()
	return write(dir, uint64(m.Term()), func() error {
		store, err := raft.NewFileSnapshotStoreWithLogger(dir, 2, hclog.NewNullLogger())
		if err != nil {
			return err
		}
		member := memberAddress(id, address)
		_, transport := raft.NewInmemTransport(member) // which is asked how addresses are written
		defer transport.Close()
		sole := raft.Configuration{Servers: []raft.Server{{Suffrage: raft.Voter, ID: raft.ServerID(id.String()), Address: member}}}
		sink, err := store.Create(raft.SnapshotVersionMax, uint64(m.Index()), uint64(m.Term()), sole, uint64(m.Index()), transport)
		if err != nil {
			return err
		}
		return fsmSnapshot{state.Snapshot()}.Persist(sink)
	})
}

// WriteEmpty makes the directory, which must not exist, that of a node that has no metadata and pulls all of it.
func WriteEmpty(dir string) error { return write(dir, 0, func() error { return nil }) }

// write makes a metadata directory with an empty log, and what more adds.
func write(dir string, term uint64, more func() error) (err error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return fmt.Errorf("make a metadata directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("write metadata in %s: %w", dir, err)
		}
	}()
	store, err := raftboltdb.New(raftboltdb.Options{Path: filepath.Join(dir, "raft.db"), BoltOptions: &bolt.Options{Timeout: time.Second}})
	if err != nil {
		return err
	}
	if term > 0 {
		err = store.SetUint64([]byte("CurrentTerm"), term)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return err
	}
	if err := more(); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
