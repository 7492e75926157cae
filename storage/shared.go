package storage

import (
	"fmt"
	"time"

	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

// shareMost is how many bytes an append has at most that goes through the write-ahead log. More are worth a sync of their own: to write
// them twice costs as much as it saves (measured with batches of 64 KiB: the same rate, with twice the bytes written).
const shareMost = 32 << 10

// noteEvery is how often at most the keeper is told of what the write-ahead log made durable: it holds the proof itself.
const noteEvery = 100 * time.Millisecond

// shareLocked gives bytes just written to the write-ahead log, if they are all that keeps the log's end from being on its way to disk.
// before is where they begin.
func (l *Log) shareLocked(s *segment, position int64, batches []byte, before, end wire.Offset) {
	chained := l.mu.chained
	l.mu.chained = noOffset
	if l.wal == nil || len(batches) > shareMost || l.mu.options.Replicated || l.mu.namesPending || !l.mu.dirDurable {
		return
	}
	if onDisk := before <= l.Durable() && l.mu.skipped == noOffset; !onDisk && chained != before {
		return
	}
	if l.wal.Add(s.base, position, batches, end, l.shared.generation) {
		l.mu.chained = end
	}
}

// bridgeLocked gives what came while a sync ran to the write-ahead log: otherwise each sync would find something left, and the next one
// would have to be one of the file again.
func (l *Log) bridgeLocked(w work) {
	s := l.activeLocked()
	if l.wal == nil || l.mu.options.Replicated || l.mu.namesPending || s == nil || s != w.active || l.mu.active == nil || len(l.mu.unsynced) > 0 {
		return
	}
	n := s.size.Load() - w.size
	if n <= 0 || n > shareMost || l.mu.chained == l.End() {
		return
	}
	b := make([]byte, n)
	if _, err := l.mu.active.ReadAt(b, w.size); err != nil {
		return // the next sync will tell
	}
	if l.wal.Add(s.base, w.size, b, l.End(), l.shared.generation) {
		l.mu.chained = l.End()
	}
}

// mustSyncLocked reports whether the log must sync its files for what was just appended.
func (l *Log) mustSyncLocked() bool { return !l.mu.options.Replicated && l.mu.chained != l.End() }

// underWay reports whether all that was appended is durable or will be by the write-ahead log.
func (l *Log) underWay() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.chained == l.End() && !l.mu.namesChanged && len(l.mu.unsynced) == 0 && len(l.mu.snapshots) == 0
}

// walDurable is told by the write-ahead log how far what was added is on disk.
func (l *Log) walDurable(end wire.Offset, generation uint64) {
	l.shared.Lock()
	raised := generation == l.shared.generation && l.raiseDurable(end)
	if now := l.config.Now(); raised && now.Sub(l.shared.noted) >= noteEvery {
		l.shared.noted = now
		l.config.Keeper.Note(l.Durable())
	}
	l.shared.Unlock()
	if raised && l.config.OnDurable != nil {
		l.config.OnDurable(end)
	}
}

// syncFiles makes all durable in the log's own files, so that the write-ahead log need not keep it.
func (l *Log) syncFiles() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return l.syncLocked()
}

// leaveWALLocked makes sure, before something is cut off, that nothing of the log comes back from the write-ahead log, and that what stays
// does not need it. syncing is held.
func (l *Log) leaveWALLocked() error {
	if l.wal == nil {
		return nil
	}
	l.shared.Lock()
	l.shared.generation++
	l.shared.Unlock()
	l.mu.chained = noOffset
	if l.wal.Added() > 0 {
		w, f := l.workLocked()
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
		l.doneLocked(w) // the log stays dirty: whoever waits for Durable is told by the next sync
	}
	err := l.wal.Void()
	if err != nil && !wal.IsFull(err) {
		return l.fail(err)
	}
	if !l.mu.options.Replicated {
		l.RequestSync()
	}
	return err
}

// endWALLocked ends the part in the write-ahead log, for one who closes the log. What that still says of the log must not reach the
// keeper, whose place may be another log's by then.
func (l *Log) endWALLocked() {
	if l.wal == nil {
		return
	}
	l.shared.Lock()
	l.shared.generation++
	l.shared.Unlock()
	l.wal.Close()
}
