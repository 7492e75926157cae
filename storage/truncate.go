package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// Truncate cuts every batch that has a record at or past to, and returns the new end: to, or the base of the batch that
// straddled it. What is cut is gone durably before Truncate returns. A to at or past End changes nothing; one below Start moves
// Start there; one below the first segment empties the log and starts it there.
func (l *Log) Truncate(to wire.Offset) (wire.Offset, error) {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return 0, err
	}
	if to >= l.End() {
		return l.End(), nil
	}
	segments := l.view()
	i := find(segments, to)
	if i < 0 {
		return to, l.restartAtLocked(to)
	}
	cut, err := l.cutPlaceLocked(segments[i], to)
	if err != nil {
		return 0, fmt.Errorf("truncate %s to %d: %w", l.config.Dir, to, err)
	}
	cut.offset = min(cut.offset, to)
	if err := l.leaveWALLocked(); err != nil {
		return 0, fmt.Errorf("truncate %s to %d: %w", l.config.Dir, to, err)
	}
	if err := l.config.Keeper.LowerTo(cut.offset); err != nil {
		return 0, fmt.Errorf("truncate %s to %d: %w", l.config.Dir, to, err)
	}
	if cut.offset < l.Start() {
		if err := l.keepStartLocked(cut.offset); err != nil {
			return 0, fmt.Errorf("truncate %s to %d: %w", l.config.Dir, to, err)
		}
		l.start.Store(int64(cut.offset))
	}
	if err := l.cutLocked(i, cut, cut.offset); err != nil {
		return 0, l.fail(fmt.Errorf("truncate %s to %d: %w", l.config.Dir, to, err))
	}
	return cut.offset, nil
}

func (l *Log) cutPlaceLocked(s *segment, to wire.Offset) (boundary, error) {
	if to <= s.base {
		return boundary{offset: to}, nil
	}
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return boundary{}, err
	}
	defer f.release()
	at, err := s.seek(l.config.Files, f, to, s.size.Load())
	if errors.Is(err, ErrCorrupt) && to == l.mu.damagedAt {
		return boundary{to, at.position}, nil // it came up to the first damage, which is what has to go
	}
	return at, err
}

// cutLocked ends the log at a boundary in segment i, which becomes the active one. Aborted transactions that end at or past
// indexFrom are put into the index anew.
func (l *Log) cutLocked(i int, at boundary, indexFrom wire.Offset) error {
	segments := l.view()
	s := segments[i]
	if l.mu.active != nil {
		l.mu.active.release()
		l.mu.active = nil
	}
	// First what is newest, so that a crash in between leaves a log without a hole.
	for j := len(segments) - 1; j > i; j-- {
		if err := l.dropSegmentLocked(segments[j], true); err != nil {
			return err
		}
	}
	l.setSegments(slices.Clone(segments[:i+1]))
	if err := l.ownIndexLocked(s); err != nil {
		return err
	}
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return err
	}
	defer f.release()
	l.bytes.Add(at.position - s.size.Load())
	s.size.Store(at.position)
	s.end.Store(int64(max(at.offset, s.base)))
	l.end.Store(int64(at.offset))
	s.cursor.Store(0)
	s.index.cut(s.relative(max(at.offset, s.base)), at.position)
	if err := s.txns.cut(l.config.Files, s, at.offset); err != nil {
		return err
	}
	s.index.mu.Lock()
	s.maxTimestamp = unread
	s.index.mu.Unlock()
	s.firstTimestamp, s.sealed = unread, false
	if err := f.Truncate(at.position); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	l.durable.Store(min(l.durable.Load(), int64(at.offset)))
	l.mu.skipped = noOffset
	if l.mu.damagedAt != noOffset && at.offset <= l.mu.damagedAt {
		l.mu.damagedAt = noOffset
	}
	l.epochs.cutEnd(at.offset)
	l.mu.unsynced = slices.DeleteFunc(l.mu.unsynced, func(u *segment) bool { return u.gone.Load() || u == s })
	l.mu.snapshots = slices.DeleteFunc(l.mu.snapshots, func(p snapshot) bool { return p.offset > at.offset })
	if err := l.reloadProducersLocked(at.offset, indexFrom); err != nil {
		return err
	}
	return l.config.FS.SyncDir(l.config.Dir)
}

// ownIndexLocked brings a segment's index into memory, since it will change.
func (l *Log) ownIndexLocked(s *segment) error {
	s.index.mu.Lock()
	ready := s.index.mu.inMemory
	s.index.mu.Unlock()
	if ready {
		return nil
	}
	if err := s.index.check(l.config.Files, s); err != nil {
		return err
	}
	s.index.mu.Lock()
	ready = s.index.mu.inMemory
	s.index.mu.Unlock()
	if ready {
		return nil
	}
	return s.index.load(l.config.FS, s, s.size.Load(), s.endOffset())
}

// dropSegmentLocked takes a segment's files away: at once, or under another name for a while.
func (l *Log) dropSegmentLocked(s *segment, atOnce bool) error {
	s.gone.Store(true)
	if err := s.removeFiles(l.config.FS, atOnce); err != nil {
		return err
	}
	s.dropFiles(l.config.Files)
	l.bytes.Add(-s.size.Load())
	if !atOnce {
		due := l.config.Now().Add(l.mu.options.FileDeleteDelay)
		for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix, snapshotSuffix} {
			l.mu.trash = append(l.mu.trash, trash{s.path + suffix + deletedSuffix, due})
		}
	}
	return nil
}

// TruncateFullyAndStartAt empties the log, which then starts and ends at offset.
func (l *Log) TruncateFullyAndStartAt(offset wire.Offset) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return err
	}
	return l.restartAtLocked(offset)
}

func (l *Log) restartAtLocked(offset wire.Offset) error {
	if err := l.leaveWALLocked(); err != nil {
		return fmt.Errorf("truncate %s fully: %w", l.config.Dir, err)
	}
	// To the old start: of what a crash in between leaves of the segments, nothing is damage.
	if err := errors.Join(l.config.Keeper.LowerTo(min(offset, l.Start())), l.keepStartLocked(offset)); err != nil {
		return fmt.Errorf("truncate %s fully: %w", l.config.Dir, err)
	}
	if err := l.emptyLocked(offset); err != nil {
		return l.fail(fmt.Errorf("truncate %s fully: %w", l.config.Dir, err))
	}
	return nil
}

func (l *Log) emptyLocked(offset wire.Offset) error {
	if l.mu.active != nil {
		l.mu.active.release()
		l.mu.active = nil
	}
	segments := l.view()
	for j := len(segments) - 1; j >= 0; j-- {
		if err := l.dropSegmentLocked(segments[j], true); err != nil {
			return err
		}
	}
	l.setSegments(nil)
	l.end.Store(int64(offset))
	l.start.Store(int64(offset))
	l.durable.Store(int64(offset))
	l.bytes.Store(0)
	l.mu.damagedAt, l.mu.skipped = noOffset, noOffset
	l.mu.unsynced, l.mu.snapshots = nil, nil
	l.epochs.cutEnd(0)
	l.mu.producers.reset()
	l.open.reset()
	l.mu.lastSnapshot, l.mu.checkpointSnapshot = offset, noOffset
	if !l.mu.dirMade {
		return nil
	}
	offsets, err := l.snapshotOffsets()
	if err != nil {
		return err
	}
	for _, o := range offsets {
		if err := removeIfThere(l.config.FS, l.snapshotPath(o)); err != nil {
			return err
		}
	}
	if b := l.epochs.encode(); b != nil {
		if err := vfs.WriteFile(l.config.FS, l.config.Dir, l.config.Dir+"/"+epochFile, b); err != nil {
			return err
		}
	}
	return l.config.FS.SyncDir(l.config.Dir)
}

// SetLogStart makes offset the start of the log, durably, and deletes the segments that lie below it. One at or below
// Start is made durable, too, if retention alone has moved Start; one above End is refused. The caller has made sure that it is not above the watermark.
func (l *Log) SetLogStart(offset wire.Offset) (wire.ErrorCode, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return wire.ErrNone, err
	}
	if offset > l.End() {
		return wire.ErrOffsetOutOfRange, nil
	}
	if offset <= l.mu.startKept {
		return wire.ErrNone, nil
	}
	if err := l.keepStartLocked(offset); err != nil {
		return wire.ErrNone, fmt.Errorf("move start of %s to %d: %w", l.config.Dir, offset, err)
	}
	n := 0
	for segments := l.view(); n+1 < len(segments) && segments[n+1].base <= offset; n++ {
	}
	return wire.ErrNone, l.dropOldestLocked(n, offset)
}

// keepStartLocked makes the log's start durable.
func (l *Log) keepStartLocked(offset wire.Offset) error {
	err := l.config.Keeper.Start(offset)
	if err == nil {
		l.mu.startKept = offset
	}
	return err
}

// dropOldestLocked deletes the first n segments and makes start the start of the log.
func (l *Log) dropOldestLocked(n int, start wire.Offset) error {
	if n > 0 {
		if err := l.keepProducersLocked(n); err != nil {
			return l.fail(err)
		}
	}
	segments := l.view()
	l.start.Store(int64(max(start, l.Start())))
	if l.raiseDurable(l.Start()) { // what is deleted need not be synced any more
		l.mu.skipped = l.Start()
	}
	l.epochs.cutStart(l.Start())
	l.setSegments(slices.Clone(segments[n:]))
	for _, s := range segments[:n] {
		if err := l.dropSegmentLocked(s, false); err != nil {
			return l.fail(fmt.Errorf("delete %s: %w", s.path, err))
		}
		l.mu.namesChanged = true
	}
	l.mu.unsynced = slices.DeleteFunc(l.mu.unsynced, func(u *segment) bool { return u.gone.Load() })
	return nil
}

// keepProducersLocked makes sure that a snapshot outlives the first n segments: producers whose batches go are known by
// that alone. See reloadProducersLocked for why indexes come first.
func (l *Log) keepProducersLocked(n int) error {
	segments := l.view()
	if n < len(segments) && l.mu.lastSnapshot < segments[n].base {
		if l.mu.active != nil {
			if err := l.mu.active.Sync(); err != nil {
				return err
			}
		}
		l.mu.snapshots = append(l.mu.snapshots, snapshot{l.End(), l.mu.producers.encodeSnapshot()})
		l.mu.lastSnapshot, l.mu.checkpointSnapshot = l.End(), l.End()
	}
	if len(l.mu.snapshots) == 0 {
		return nil
	}
	for _, s := range append(slices.Clone(l.mu.unsynced), segments[len(segments)-1]) {
		if err := s.txns.flush(l.config.Files, s); err != nil {
			return err
		}
	}
	for ; len(l.mu.snapshots) > 0; l.mu.snapshots = l.mu.snapshots[1:] {
		if err := l.writeSnapshot(l.mu.snapshots[0]); err != nil {
			return err
		}
	}
	return nil
}

// Retain deletes the oldest segments by age and size, none that reaches past highWatermark, and returns how many.
func (l *Log) Retain(highWatermark wire.Offset) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usableLocked(); err != nil {
		return 0, err
	}
	now := l.config.Now()
	l.mu.producers.expire(now.UnixMilli(), l.mu.options.ProducerIDExpiration.Milliseconds())
	if l.mu.options.KeepOld {
		return 0, nil
	}
	segments := l.view()
	size, n := l.Size(), 0
	for ; n < len(segments) && segments[n].endOffset() <= highWatermark; n++ {
		due, err := l.deletableLocked(segments[n], now, size)
		if err != nil {
			return 0, err
		}
		if !due {
			break
		}
		size -= segments[n].size.Load()
	}
	if n == 0 {
		return 0, nil
	}
	start := l.End()
	if n < len(segments) {
		start = segments[n].base
		if start > l.Durable() { // what goes may not be on disk, so that the files may end before it after a crash
			if err := l.keepStartLocked(start); err != nil {
				return 0, fmt.Errorf("retain %s: %w", l.config.Dir, err)
			}
		}
	} else {
		// No file will tell where the log goes on, so the keeper must.
		if err := errors.Join(l.config.Keeper.LowerTo(start), l.keepStartLocked(start)); err != nil {
			return 0, fmt.Errorf("retain %s: %w", l.config.Dir, err)
		}
		if l.mu.active != nil {
			l.mu.active.release()
			l.mu.active = nil
		}
	}
	return n, l.dropOldestLocked(n, start)
}

// deletableLocked tells whether the oldest segment of a log of that size must go.
func (l *Log) deletableLocked(s *segment, now time.Time, size int64) (bool, error) {
	o := &l.mu.options
	if s.size.Load() == 0 {
		return false, nil
	}
	if o.RetentionBytes >= 0 && size-s.size.Load() >= o.RetentionBytes {
		return true, nil
	}
	if o.RetentionAge < 0 {
		return false, nil
	}
	newest, _, err := l.newest(s)
	if err != nil {
		return false, fmt.Errorf("retain %s: %w", l.config.Dir, err)
	}
	at := time.UnixMilli(int64(newest))
	if newest < 0 {
		info, err := l.config.FS.Stat(s.path + logSuffix)
		if err != nil {
			return false, fmt.Errorf("retain %s: %w", l.config.Dir, err)
		}
		at = info.Modified
	}
	return now.Sub(at) > o.RetentionAge, nil
}

// RetentionDue is when Retain may next have something to delete by age; ok false: never, as things are. Size may make a
// segment due with every roll.
func (l *Log) RetentionDue() (at time.Time, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := &l.mu.options
	segments := l.view()
	if o.KeepOld || o.RetentionAge < 0 || len(segments) == 0 || l.usableLocked() != nil {
		return at, false
	}
	newest, _, err := l.newest(segments[0])
	if err != nil || newest < 0 {
		return l.config.Now().Add(o.RetentionAge), true
	}
	return time.UnixMilli(int64(newest)).Add(o.RetentionAge + time.Millisecond), true
}

// EmptyTrash removes the files of deleted segments whose delay is over. next is when it should be called again; the zero
// time: nothing is left.
func (l *Log) EmptyTrash() (next time.Time, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.config.Now()
	for len(l.mu.trash) > 0 && !l.mu.trash[0].due.After(now) {
		if err := removeIfThere(l.config.FS, l.mu.trash[0].name); err != nil {
			return now, fmt.Errorf("empty trash of %s: %w", l.config.Dir, err)
		}
		l.mu.trash = l.mu.trash[1:]
	}
	if len(l.mu.trash) == 0 {
		return time.Time{}, nil
	}
	return l.mu.trash[0].due, nil
}

func removeIfThere(fsys vfs.FS, name string) error {
	if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
