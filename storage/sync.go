package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// The states of Log.wanted.
const (
	syncIdle      = iota
	syncScheduled // Schedule was called, RunSync has not begun
	syncRunning   // RunSync runs
	syncAgain     // RunSync runs, and more came meanwhile
)

// RequestSync asks for a sync of all that is appended, and returns at once. Requests that come while one is waiting are
// the same one; those that come while a sync runs make one more after it.
func (l *Log) RequestSync() {
	for {
		switch s := l.wanted.Load(); s {
		case syncIdle:
			if l.wanted.CompareAndSwap(s, syncScheduled) {
				l.schedule()
				return
			}
		case syncRunning:
			if l.wanted.CompareAndSwap(s, syncAgain) {
				return
			}
		default:
			return
		}
	}
}

func (l *Log) schedule() {
	if l.config.Schedule != nil {
		l.config.Schedule(l)
		return
	}
	go func() { // ends by itself: RunSync answers false once nothing more was asked for
		for l.RunSync() {
		}
	}()
}

// RunSync does one sync that was asked for. again: there is more to do; the caller calls RunSync again, after others
// that wait for a syncer. Errors close the log ([Log.Err]).
func (l *Log) RunSync() (again bool) {
	l.wanted.Store(syncRunning)
	l.syncing.Lock()
	if !l.underWay() {
		_ = l.syncLocked() // has closed the log, which whoever waits for Durable learns from OnFault
	}
	l.syncing.Unlock()
	return !l.wanted.CompareAndSwap(syncRunning, syncIdle)
}

// Sync returns when all that was appended before the call is durable.
func (l *Log) Sync() error {
	target := l.End()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.Durable() >= target && l.Err() == nil {
		return nil
	}
	return l.syncLocked()
}

// work is what one sync has to do, as it was when it began.
type work struct {
	end          wire.Offset
	sealed       []*segment
	snapshots    []snapshot
	active       *segment
	namesChanged bool
	dirMade      bool
	dirNew       bool
	dirty        bool
	size         int64  // of the active segment
	added        uint64 // to the write-ahead log
}

// syncLocked makes all appended durable, in this order: sealed segments with their indexes and snapshots, the active
// segment, the names in the directory, the directory's own name, the keeper's note that there are files. Only then does
// Durable move. syncing is held.
func (l *Log) syncLocked() error {
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return err
	}
	w, f := l.workLocked()
	l.mu.Unlock()
	var err error
	if w.any() {
		err = l.perform(w, f)
	}
	if f != nil {
		f.release()
	}
	if err != nil {
		return l.fail(fmt.Errorf("sync %s: %w", l.config.Dir, err))
	}
	if l.wal != nil {
		l.wal.Synced(w.added)
	}
	if !w.any() {
		return nil
	}
	l.mu.Lock()
	l.doneLocked(w)
	if l.End() == w.end {
		l.mu.dirty = false
		if l.mu.active != nil {
			l.mu.active.release() // nothing unsynced is left, so that the cache may close it
			l.mu.active = nil
		}
	} else {
		l.bridgeLocked(w)
		if l.config.OnDirty != nil {
			l.config.OnDirty() // if this was a checkpoint, another is due: the write-ahead log may leave no other sync to come
		}
	}
	l.mu.Unlock()
	if l.raiseDurable(w.end) {
		l.config.Keeper.Note(l.Durable())
		if l.config.OnDurable != nil {
			l.config.OnDurable(w.end)
		}
	}
	return nil
}

// workLocked takes what there is to sync, with the active segment's file, which the caller releases if it is not nil.
func (l *Log) workLocked() (w work, f *openFile) {
	w = work{
		end: l.End(), sealed: l.mu.unsynced, snapshots: l.mu.snapshots, active: l.activeLocked(),
		namesChanged: l.mu.namesChanged, dirMade: l.mu.dirMade, dirNew: l.mu.dirMade && !l.mu.dirDurable,
		dirty: l.mu.dirty, // Durable does not tell: deleting records raises it too
	}
	if w.active != nil {
		w.size = w.active.size.Load()
	}
	if l.wal != nil {
		w.added = l.wal.Added()
	}
	if l.mu.active != nil && l.mu.active.take() {
		f = l.mu.active
	}
	l.mu.unsynced, l.mu.snapshots, l.mu.namesChanged = nil, nil, false
	return w, f
}

// any reports whether there is anything to do.
func (w *work) any() bool { return w.dirty || len(w.sealed) > 0 || w.dirNew || w.namesChanged }

// doneLocked takes note of what a sync did.
func (l *Log) doneLocked(w work) {
	if w.dirNew {
		l.mu.dirDurable = true
	}
	if !l.mu.namesChanged {
		l.mu.namesPending = false
	}
	if w.end >= l.mu.skipped {
		l.mu.skipped = noOffset
	}
}

// raiseDurable moves the durable end up, and reports whether it did.
func (l *Log) raiseDurable(to wire.Offset) bool {
	for {
		old := l.durable.Load()
		if int64(to) <= old {
			return false
		}
		if l.durable.CompareAndSwap(old, int64(to)) {
			return true
		}
	}
}

func (l *Log) perform(w work, active *openFile) error {
	for _, s := range w.sealed {
		if s.gone.Load() {
			continue
		}
		if err := l.syncSealed(s); err != nil {
			return err
		}
	}
	for _, p := range w.snapshots {
		if err := l.writeSnapshot(p); err != nil {
			return err
		}
	}
	if active != nil {
		if err := active.Sync(); err != nil {
			return err
		}
	}
	if w.dirNew {
		if err := l.writePartitionMetadata(); err != nil {
			return err
		}
	}
	if w.dirMade && (w.namesChanged || w.dirNew || len(w.sealed) > 0) {
		if err := l.config.FS.SyncDir(l.config.Dir); err != nil {
			return err
		}
	}
	if w.dirNew {
		if err := l.config.FS.SyncDir(l.parent); err != nil {
			return err
		}
		return l.config.Keeper.Begin()
	}
	return nil
}

func (l *Log) syncSealed(s *segment) error {
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) && s.gone.Load() {
			return nil
		}
		return err
	}
	err = f.Sync()
	f.release()
	if err != nil {
		return err
	}
	if err := s.index.flush(l.config.Files, s, true); err != nil {
		return err
	}
	return s.txns.flush(l.config.Files, s)
}

func (l *Log) snapshotPath(o wire.Offset) string {
	return segmentPath(l.config.Dir, o) + snapshotSuffix
}

func (l *Log) writeSnapshot(p snapshot) error {
	return vfs.WriteFile(l.config.FS, l.config.Dir, l.snapshotPath(p.offset), p.bytes)
}

// Checkpoint makes all appended durable, writes what recovery would otherwise have to gather from the records, and
// returns the new recovery point: recovery reads nothing below it.
func (l *Log) Checkpoint() (wire.Offset, error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	if err := l.usableLocked(); err != nil {
		l.mu.Unlock()
		return 0, err
	}
	point, active := l.End(), l.activeLocked()
	var shot *snapshot
	if point > l.mu.lastSnapshot {
		shot = &snapshot{point, l.mu.producers.encodeSnapshot()}
		l.mu.lastSnapshot = point
	}
	dirMade := l.mu.dirMade
	l.mu.Unlock()
	if err := l.syncLocked(); err != nil {
		return 0, err
	}
	if !dirMade {
		return point, nil
	}
	if err := l.writeCheckpoint(active, shot); err != nil {
		return 0, l.fail(fmt.Errorf("checkpoint %s: %w", l.config.Dir, err))
	}
	return point, nil
}

func (l *Log) writeCheckpoint(active *segment, shot *snapshot) error {
	if active != nil && !active.gone.Load() {
		if err := active.index.flush(l.config.Files, active, false); err != nil {
			return err
		}
		if err := active.txns.flush(l.config.Files, active); err != nil {
			return err
		}
	}
	if b := l.epochs.encode(); b != nil {
		if err := vfs.WriteFile(l.config.FS, l.config.Dir, l.config.Dir+"/"+epochFile, b); err != nil {
			return err
		}
	}
	if shot == nil {
		return nil
	}
	if err := l.writeSnapshot(*shot); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.mu.checkpointSnapshot
	l.mu.checkpointSnapshot = shot.offset
	if old == noOffset || slices.ContainsFunc(l.view(), func(s *segment) bool { return s.base == old }) {
		return nil
	}
	return removeIfThere(l.config.FS, l.snapshotPath(old))
}
