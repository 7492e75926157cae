package quorum

import (
	"errors"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// ErrDiskHangs is the result of a write to the metadata log that did not end in time.
var ErrDiskHangs = errors.New("the disk of the metadata log does not answer")

// Store is what raft keeps its log and its vote in.
type Store interface {
	raft.LogStore
	raft.StableStore
}

// guardedStore gives every write of the log a deadline. raft's heartbeats go on while the leader's disk hangs, so that
// without one no other would ever take over (hashicorp/raft #503); an error makes the leader step down. Writes of the
// term and the vote have none: raft panics if they fail, while one that hangs keeps this node from voting, no more.
//
// A write that was given up may still come to its end. That is as if the node had crashed after it: entries nobody was
// told of, which the next leader keeps or overwrites.
type guardedStore struct {
	Store
	deadline time.Duration
	log      *slog.Logger
	work     chan guardedWrite
	hung     atomic.Bool // a write was given up and has not ended
	ended    chan struct{}
}

type guardedWrite struct {
	do   func() error
	done chan error
}

func guard(s Store, deadline time.Duration, log *slog.Logger) *guardedStore {
	g := &guardedStore{Store: s, deadline: deadline, log: log, work: make(chan guardedWrite), ended: make(chan struct{})}
	go func() {
		defer close(g.ended)
		for w := range g.work {
			w.done <- w.do()
			g.hung.Store(false)
		}
	}()
	return g
}

func (g *guardedStore) write(do func() error) error {
	if g.hung.Load() {
		return ErrDiskHangs
	}
	w := guardedWrite{do, make(chan error, 1)}
	timer := time.NewTimer(g.deadline)
	defer timer.Stop()
	select {
	case g.work <- w:
	case <-timer.C: // another write hangs
		return ErrDiskHangs
	}
	select {
	case err := <-w.done:
		return err
	case <-timer.C:
		g.hung.Store(true)
		select {
		case err := <-w.done: // it ended just now, and may have taken the mark back before it was set
			g.hung.Store(false)
			return err
		default:
		}
		g.log.Error("the disk of the metadata log hangs: giving up leadership", "waited", g.deadline)
		return ErrDiskHangs
	}
}

// close ends the writer, once the last write has ended.
func (g *guardedStore) close() error {
	close(g.work)
	<-g.ended
	return nil
}

// StoreLog implements raft.LogStore.
func (g *guardedStore) StoreLog(l *raft.Log) error {
	return g.write(func() error { return g.Store.StoreLog(l) })
}

// StoreLogs implements raft.LogStore.
func (g *guardedStore) StoreLogs(l []*raft.Log) error {
	return g.write(func() error { return g.Store.StoreLogs(l) })
}

// DeleteRange implements raft.LogStore.
func (g *guardedStore) DeleteRange(from, to uint64) error {
	return g.write(func() error { return g.Store.DeleteRange(from, to) })
}
