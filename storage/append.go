package storage

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"syscall"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// Append is what [Log.AppendAsLeader] takes.
type Append struct {
	// Batches are one or more whole batches of format 2, validated. Base offset and leader epoch are patched in place.
	Batches     []byte
	LeaderEpoch wire.LeaderEpoch
	Origin      Origin
	// Guard is what StartVerification gave for the transaction, if anything.
	Guard VerificationGuard
	// TransactionVersion is that of the transaction that a marker ends. From 2 on the marker's epoch must be above that
	// of the transaction's records.
	TransactionVersion int16
}

// Appended tells where batches went.
type Appended struct {
	First, Last wire.Offset // of their records
	// Duplicate means that the batch was appended before, as First to Last, and not again.
	Duplicate bool
	// Timestamp is that of the duplicate as it was appended; otherwise wire.NoTimestamp.
	Timestamp    wire.Timestamp
	MaxTimestamp wire.Timestamp // of what was appended
	LogStart     wire.Offset
	Bytes        int // appended
}

// AppendAsLeader gives the batches the next offsets and writes them, all or none, with one system call. They can be read
// at once, and are durable when [Log.Durable] passes Last. A refusal is a code, and leaves no trace; a fault is an error.
func (l *Log) AppendAsLeader(a Append) (Appended, wire.ErrorCode, error) {
	l.mu.Lock()
	r, code, err := l.appendLeaderLocked(&a)
	own := l.mustSyncLocked()
	l.mu.Unlock()
	if code == wire.ErrNone && err == nil && !r.Duplicate && own {
		l.RequestSync()
	}
	return r, code, err
}

func (l *Log) appendLeaderLocked(a *Append) (r Appended, code wire.ErrorCode, err error) {
	if err := l.writableLocked(); err != nil {
		return r, wire.ErrNone, err
	}
	if len(a.Batches) > int(l.mu.options.SegmentBytes) {
		return r, wire.ErrRecordListTooLarge, nil
	}
	next := l.End()
	r = Appended{First: next, Timestamp: wire.NoTimestamp, MaxTimestamp: wire.NoTimestamp, LogStart: l.Start()}
	if !l.epochs.fits(a.LeaderEpoch, next) {
		return r, wire.ErrFencedLeaderEpoch, nil
	}
	l.mu.staging.reset()
	count := 0
	for rest := a.Batches; len(rest) > 0; count++ {
		var h batch.Header
		if h, rest, err = batch.Next(rest); err != nil || h.LastOffsetDelta() < 0 {
			return r, wire.ErrCorruptMessage, nil
		}
		if h.ProducerID() != wire.NoProducerID {
			old, duplicate, code := l.mu.producers.stageBatch(&l.mu.staging, h, next, a, l.mu.options.VerifyTransactions)
			if code == wire.ErrOutOfOrderSequenceNumber && a.Origin == FromClient {
				if old, duplicate = l.againLocked(h); duplicate {
					code = wire.ErrNone
				}
			}
			if code != wire.ErrNone {
				return r, code, nil
			}
			if duplicate {
				r.Duplicate, r.First, r.Last = true, old.lastOffset-wire.Offset(old.delta), old.lastOffset
				r.Timestamp, r.MaxTimestamp = old.timestamp, old.timestamp
				return r, wire.ErrNone, nil
			}
		}
		h.SetBaseOffset(next)
		h.SetLeaderEpoch(a.LeaderEpoch)
		r.MaxTimestamp = max(r.MaxTimestamp, h.MaxTimestamp())
		next = h.NextOffset()
	}
	if count == 0 {
		return r, wire.ErrInvalidRecord, nil
	}
	r.Last, r.Bytes = next-1, len(a.Batches)
	return r, wire.ErrNone, l.writeLocked(a.Batches, next)
}

// AppendAsFollower writes batches as a leader has them: offsets and epochs stay. They must follow End and one another;
// gaps are left by the leader's compaction. An epoch below that of a record before is refused with FENCED_LEADER_EPOCH. The checksums were verified by the caller.
func (l *Log) AppendAsFollower(batches []byte) (Appended, wire.ErrorCode, error) {
	l.mu.Lock()
	r, code, err := l.appendFollowerLocked(batches)
	own := l.mustSyncLocked()
	l.mu.Unlock()
	if r.Bytes > 0 && own { // also when a later part found no room
		l.RequestSync()
	}
	return r, code, err
}

func (l *Log) appendFollowerLocked(batches []byte) (r Appended, code wire.ErrorCode, err error) {
	if err := l.writableLocked(); err != nil {
		return r, wire.ErrNone, err
	}
	end, epoch := l.End(), wire.NoLeaderEpoch
	r = Appended{First: noOffset, Timestamp: wire.NoTimestamp, MaxTimestamp: wire.NoTimestamp, LogStart: l.Start()}
	for rest := batches; len(rest) > 0; {
		var h batch.Header
		if h, rest, err = batch.Next(rest); err != nil || h.LastOffsetDelta() < 0 {
			return r, wire.ErrCorruptMessage, nil
		}
		if h.BaseOffset() < end {
			return r, wire.ErrOffsetOutOfRange, nil
		}
		if r.First == noOffset {
			r.First = h.BaseOffset()
		}
		if h.LeaderEpoch() < epoch || !l.epochs.fits(h.LeaderEpoch(), l.End()) {
			return r, wire.ErrFencedLeaderEpoch, nil
		}
		epoch = h.LeaderEpoch()
		end = h.NextOffset()
		r.MaxTimestamp = max(r.MaxTimestamp, h.MaxTimestamp())
	}
	if r.First == noOffset {
		return r, wire.ErrNone, nil
	}
	// What a leader kept in several segments may not fit into one.
	for len(batches) > 0 {
		n, chunkEnd := l.chunkLocked(batches)
		l.mu.staging.reset()
		l.stageFollowerLocked(batches[:n])
		if err := l.writeLocked(batches[:n], chunkEnd); err != nil {
			return r, wire.ErrNone, err
		}
		r.Bytes += n
		r.Last = chunkEnd - 1
		batches = batches[n:]
	}
	return r, wire.ErrNone, nil
}

// chunkLocked returns how many leading bytes, whole batches, fit into one segment, and the offset past them.
func (l *Log) chunkLocked(batches []byte) (int, wire.Offset) {
	h, rest, _ := batch.Next(batches)
	first, n, end := h.BaseOffset(), len(h), h.NextOffset()
	for len(rest) > 0 {
		h, rest, _ = batch.Next(rest)
		if n+len(h) > int(l.mu.options.SegmentBytes) || h.LastOffset()-first >= math.MaxInt32 {
			break
		}
		n, end = n+len(h), h.NextOffset()
	}
	return n, end
}

func (l *Log) stageFollowerLocked(batches []byte) {
	replicated := Append{Origin: fromLeader}
	for rest := batches; len(rest) > 0; {
		var h batch.Header
		h, rest, _ = batch.Next(rest)
		if h.ProducerID() != wire.NoProducerID {
			l.mu.producers.stageBatch(&l.mu.staging, h, h.BaseOffset(), &replicated, false)
		}
	}
}

func (l *Log) writableLocked() error {
	if err := l.usableLocked(); err != nil {
		return err
	}
	if l.mu.ending {
		return ErrClosed
	}
	if l.mu.damagedAt != noOffset {
		return fmt.Errorf("append to %s: %w at offset %d", l.config.Dir, ErrDamaged, l.mu.damagedAt)
	}
	return nil
}

// writeLocked writes batches that have their offsets, and only then changes the state that was staged for them. end is
// the offset past them.
func (l *Log) writeLocked(batches []byte, end wire.Offset) error {
	head := batch.Header(batches)
	s, err := l.roomLocked(head, len(batches), end)
	if err != nil {
		return err
	}
	position := s.size.Load()
	if n, err := l.mu.active.WriteAt(batches, position); err != nil {
		return l.writeFailedLocked(s, position, n, err)
	}
	if position == 0 {
		s.firstTimestamp = head.MaxTimestamp()
	}
	l.indexLocked(s, batches, position)
	l.mu.producers.commit(&l.mu.staging)
	for _, b := range l.mu.staging.begun {
		l.open.begin(b)
	}
	for _, c := range l.mu.staging.completed {
		stable := l.open.complete(c)
		if c.aborted {
			if err := s.txns.add(l.config.Files, s, abortedEntry{c.id, c.first, c.last, stable}); err != nil {
				return l.fail(err)
			}
		}
	}
	// Readers take the log's end, the size, and the segment's end, in this order: what they may read is there, and the
	// segment's end covers the size, so that a read up to it gives nothing beyond.
	s.end.Store(int64(end))
	s.size.Store(position + int64(len(batches)))
	l.bytes.Add(int64(len(batches)))
	before := l.End()
	l.end.Store(int64(end)) // first: Durable never is beyond it
	l.shareLocked(s, position, batches, before, end)
	if !l.mu.dirty {
		l.mu.dirty = true
		if l.config.OnDirty != nil {
			l.config.OnDirty()
		}
	}
	return nil
}

// writeFailedLocked takes back a write of which n bytes may be in the file.
func (l *Log) writeFailedLocked(s *segment, position int64, n int, err error) error {
	err = fmt.Errorf("append to %s%s at position %d: %w", s.path, logSuffix, position, err)
	full := errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
	if n > 0 {
		if terr := l.mu.active.Truncate(position); terr != nil {
			return l.fail(errors.Join(err, terr))
		}
	}
	if !full {
		return l.fail(err)
	}
	return err
}

// indexLocked updates what is known of the segment for batches just written.
func (l *Log) indexLocked(s *segment, batches []byte, position int64) {
	interval := int64(l.mu.options.IndexInterval)
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	for rest := batches; len(rest) > 0; {
		h := batch.Header(rest)
		h, rest = h[:h.Size()], rest[h.Size():]
		if t := h.MaxTimestamp(); t > s.maxTimestamp {
			s.maxTimestamp, s.maxTimestampAt = t, h.LastOffset()
		}
		s.index.addRecentLocked(offsetEntry{s.relative(h.BaseOffset()), int32(position)})
		if s.sinceIndexEntry > interval {
			s.index.addLocked(offsetEntry{s.relative(h.LastOffset()), int32(position)})
			s.index.addTimeLocked(timeEntry{s.maxTimestamp, s.relative(s.maxTimestampAt)})
			s.sinceIndexEntry = 0
		}
		s.sinceIndexEntry += int64(len(h))
		position += int64(len(h))
		l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
	}
}

// roomLocked returns the active segment with its file open, after starting a new one if these bytes must go into one.
func (l *Log) roomLocked(head batch.Header, size int, end wire.Offset) (*segment, error) {
	s := l.activeLocked()
	if s != nil {
		if err := l.prepareActiveLocked(s); err != nil {
			return nil, err
		}
		if !l.mustRollLocked(s, head, int64(size), end) {
			return s, l.openActiveLocked(s, false)
		}
		l.sealLocked(s)
	}
	base := l.End()
	if end-base > math.MaxInt32 {
		base = head.BaseOffset() // a gap left by compaction, wider than a segment can be
	}
	if !l.mu.dirMade {
		if err := l.config.FS.Mkdir(l.config.Dir); err != nil {
			return nil, l.fail(err)
		}
		l.mu.dirMade = true
	}
	s = newSegment(l.config.Dir, base)
	s.maxTimestamp, s.firstTimestamp = wire.NoTimestamp, wire.NoTimestamp
	s.index.mu.inMemory, s.txns.mu.loaded = true, true
	if err := l.openActiveLocked(s, true); err != nil {
		return nil, err
	}
	l.mu.namesChanged, l.mu.namesPending = true, true
	l.setSegments(append(slices.Clone(l.view()), s))
	return s, nil
}

// prepareActiveLocked makes a segment that an Open left closed ready for appends.
func (l *Log) prepareActiveLocked(s *segment) error {
	s.index.mu.Lock()
	ready := s.index.mu.inMemory && s.maxTimestamp != unread && s.firstTimestamp != unread
	s.index.mu.Unlock()
	if ready {
		return nil
	}
	if err := l.loadActiveLocked(s); err != nil {
		return fmt.Errorf("prepare %s for appends: %w", s.path, err)
	}
	return nil
}

// mustRollLocked tells whether batches of that size and end need a new segment.
func (l *Log) mustRollLocked(s *segment, head batch.Header, size int64, end wire.Offset) bool {
	o := &l.mu.options
	have := s.size.Load()
	if have > int64(o.SegmentBytes)-size || end-1-s.base > math.MaxInt32 {
		return true
	}
	if s.firstTimestamp >= 0 && have > 0 && int64(head.MaxTimestamp()-s.firstTimestamp) > o.SegmentAge.Milliseconds() {
		return true
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	return len(s.index.mu.offsets) >= int(o.IndexBytes/offsetEntrySize) || len(s.index.mu.times) >= int(o.IndexBytes/timeEntrySize)-1
}

// sealLocked ends the active segment. The next sync writes its index and the producers as they are now.
func (l *Log) sealLocked(s *segment) {
	s.sealed = true
	s.index.mu.Lock()
	s.index.addTimeLocked(timeEntry{s.maxTimestamp, s.relative(s.maxTimestampAt)})
	s.index.mu.Unlock()
	l.mu.unsynced = append(l.mu.unsynced, s)
	if end := l.End(); end > l.mu.lastSnapshot {
		l.mu.snapshots = append(l.mu.snapshots, snapshot{end, l.mu.producers.encodeSnapshot()})
		l.mu.lastSnapshot = end
	}
	if l.mu.active != nil {
		l.mu.active.release()
		l.mu.active = nil
	}
	if l.mu.options.Replicated {
		defer l.RequestSync()
	}
}

func (l *Log) openActiveLocked(s *segment, create bool) error {
	if l.mu.active != nil {
		return nil
	}
	f, err := s.log.use(l.config.Files, s.logName, create)
	if err != nil {
		return l.fail(err)
	}
	l.mu.active = f
	return nil
}
