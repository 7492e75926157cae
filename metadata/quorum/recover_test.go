package quorum

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// One voter of three is left: it has everything that was acknowledged, from its snapshot and its log, and leads alone after a recovery,
// in a history whose indexes and terms are above all of the last. A new voter gets all of it.
func TestTheLastVoterOfThreeIsRecovered(t *testing.T) {
	n, all := three(t)
	l := leader(t, all)
	for i := range 20 {
		commit(t, l, i)
	}
	left := others(all, l)[0]
	equalAt(t, commit(t, l, 20), all)
	if err := left.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	index := commit(t, l, 21)
	equalAt(t, index, all)
	for _, v := range all {
		if err := v.Close(); err != nil {
			t.Fatal(err)
		}
	}
	written := time.Now().Add(-time.Hour).Truncate(time.Second)
	for _, name := range []string{"raft.db", "feed.log", "feed.snapshot"} {
		if err := os.Chtimes(filepath.Join(left.opts.Dir, name), written, written); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	remains, err := ReadRemains(left.opts.Dir)
	if err != nil || remains.Damage != nil {
		t.Fatal(err, remains.Damage)
	}
	// Who looks twice, and at two nodes, must find when each of them was alive, and not when he looked.
	if again, err := ReadRemains(left.opts.Dir); err != nil || !remains.Written.Equal(written) || !again.Written.Equal(written) {
		t.Errorf("written %s, and as read again %s; it was %s: %v", remains.Written, again.Written, written, err)
	}
	m := remains.State.Image()
	if m.Index() != index || len(remains.Members) != 3 || remains.Term < m.Term() || m.Config(brokers)["log.retention.ms"] != "21" || remains.Written.IsZero() {
		t.Fatalf("index %d, want %d; members %v; term %d; %v", m.Index(), index, remains.Members, remains.Term, m.Config(brokers))
	}
	term := remains.State.Recover(metadata.Recovery{Generation: 1, ID: wire.UUID{9}}, remains.Term)
	dir := filepath.Join(t.TempDir(), "recovered")
	if err := WriteRecovered(dir, left.id, left.addr, remains.State); err != nil {
		t.Fatal(err)
	}
	again := reopen(t, n, left, dir)
	lead(t, again.Quorum)
	s, err := again.Status()
	if err != nil || len(s.Members) != 1 || s.Term <= term || again.Image().Config(brokers)["log.retention.ms"] != "21" || again.Image().Recovery().Generation != 1 {
		t.Fatalf("%+v, %v, recovery %v", s, err, again.Image().Recovery())
	}
	fresh := reopen(t, n, others(all, left)[0], t.TempDir())
	for _, kind := range []ChangeKind{Stage, Promote} {
		if s, err = again.Status(); err != nil {
			t.Fatal(err)
		}
		if err := again.Alter(t.Context(), Change{kind, fresh.id, fresh.addr}, s.Members); err != nil {
			t.Fatal(err)
		}
	}
	equalAt(t, commit(t, again, 22), []*voter{again, fresh})
}

// reopen starts a member on another directory.
func reopen(t *testing.T, n *network, v *voter, dir string) *voter {
	t.Helper()
	o := v.opts
	o.Dir, o.Bootstrap, o.Streams = dir, false, n.at(v.addr)
	o.Replica = feed.NewReplica(feed.Options{})
	t.Cleanup(o.Replica.Close)
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := q.Close(); err != nil {
			t.Error(err)
		}
	})
	return &voter{Quorum: q, store: v.store, id: v.id, addr: v.addr}
}

// entry is what a log has at an index.
func entry(index wire.Index, term wire.Term, value int) feed.Entry {
	c := set(value)
	c.Term = term
	return feed.Entry{Index: index, Term: term, Data: c.AppendTo(nil)}
}

// raftLog writes entries as raft has them.
func raftLog(t *testing.T, dir string, entries ...feed.Entry) {
	t.Helper()
	store, err := raftboltdb.NewBoltStore(filepath.Join(dir, "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if err := store.StoreLog(&raft.Log{Index: uint64(e.Index), Term: uint64(e.Term), Type: raft.LogCommand, Data: e.Data}); err != nil {
			t.Fatal(err)
		}
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}

// pulled writes entries as a broker keeps them that pulled them.
func pulled(t *testing.T, dir string, entries ...feed.Entry) {
	t.Helper()
	r := feed.NewReplica(feed.Options{})
	defer r.Close()
	s, _, err := feed.OpenStore(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		before := r.Image().Index()
		if err := r.Apply(e); err != nil {
			t.Fatal(err)
		}
		if err := s.Append(before, []feed.Entry{e}, r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestRemains(t *testing.T) {
	for name, c := range map[string]struct {
		pulled, log []feed.Entry
		want        string
		index       wire.Index
	}{
		"only pulled":                         {pulled: []feed.Entry{entry(3, 1, 3), entry(5, 2, 5)}, want: "5", index: 5},
		"only the log":                        {log: []feed.Entry{entry(1, 1, 1), entry(2, 2, 2)}, want: "2", index: 2},
		"the log goes on":                     {pulled: []feed.Entry{entry(1, 1, 1)}, log: []feed.Entry{entry(1, 1, 1), entry(2, 1, 2), entry(3, 4, 3)}, want: "3", index: 3},
		"the log is of an earlier membership": {pulled: []feed.Entry{entry(1, 1, 1), entry(9, 3, 9)}, log: []feed.Entry{entry(1, 1, 1), entry(2, 1, 2)}, want: "9", index: 9},
		"the log went another way":            {pulled: []feed.Entry{entry(1, 1, 1), entry(4, 3, 4)}, log: []feed.Entry{entry(1, 1, 1), entry(2, 2, 2), entry(3, 2, 3), entry(4, 2, 44), entry(5, 2, 55)}, want: "4", index: 4},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			pulled(t, dir, c.pulled...)
			raftLog(t, dir, c.log...)
			r, err := ReadRemains(dir)
			if err != nil {
				t.Fatal(err)
			}
			if m := r.State.Image(); m.Index() != c.index || m.Config(brokers)["log.retention.ms"] != c.want {
				t.Fatalf("index %d, %v", m.Index(), m.Config(brokers))
			}
		})
	}
}

// A log whose beginning is gone makes no state: it is told, and nothing is made up.
func TestRemainsWithAHoleAreRefused(t *testing.T) {
	dir := t.TempDir()
	pulled(t, dir, entry(1, 1, 1))
	raftLog(t, dir, entry(7, 1, 7))
	if _, err := ReadRemains(dir); !errors.Is(err, errHole) {
		t.Fatal(err)
	}
}

// What was pulled is damaged: what is sound of it is used, and the damage is told.
func TestDamagedRemainsAreTold(t *testing.T) {
	dir := t.TempDir()
	pulled(t, dir, entry(1, 1, 1), entry(2, 1, 2))
	name := filepath.Join(dir, "feed.log")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, append(bytes.Clone(b[:len(b)-1]), b[len(b)-1]^1), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := ReadRemains(dir)
	if err != nil || r.Damage == nil || r.State.Image().Index() != 1 {
		t.Fatal(err, r.Damage, r.State.Image().Index())
	}
}
