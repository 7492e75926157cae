package storage

import (
	"errors"
	"fmt"
	"io"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// scanBytes is how much a scan reads at once, larger batches apart.
const scanBytes = 1 << 20

// sector is what a disk writes whole or not at all, in bytes.
const sector = 512

// recovery is one pass over what may not have been synced.
type recovery struct {
	point   wire.Offset // below it nothing is read without need, and nothing cut
	next    wire.Offset // past the last good batch
	report  *Recovery
	damaged bool // below point: nothing is cut any more
}

// recoverLocked brings the log in order after a stop that was not clean. It reads from the recovery point on, cuts a torn
// tail, and makes anew what is derived from the records read.
func (l *Log) recoverLocked(report *Recovery) error {
	kept := &l.config.Kept
	segments := l.view()
	v := &recovery{point: kept.RecoveryPoint, report: report}
	lost, err := l.loadEpochs(v.point)
	if err != nil {
		return err
	}
	first := max(find(segments, v.point), 0)
	if lost && v.point > segments[0].base {
		if err := l.gatherEpochs(v.point); err != nil && !errors.Is(err, ErrCorrupt) {
			return err
		}
	}
	v.next = max(segments[first].base, min(v.point, segments[len(segments)-1].endOffset()))
	cutAt, at := -1, boundary{}
	for i := first; i < len(segments); i++ {
		s := segments[i]
		if i > first && s.base > v.next && s.base > v.point && !v.damaged {
			cutAt, at = i-1, boundary{v.next, segments[i-1].size.Load()} // what lay in between is gone
			break
		}
		good, err := l.recoverSegment(v, s)
		if err != nil {
			return err
		}
		if good < s.size.Load() {
			cutAt, at = i, boundary{v.next, good}
			break
		}
		s.end.Store(int64(max(v.next, s.base)))
	}
	end := v.next
	if end < v.point && v.point > kept.LogStart { // below the start, segments were being deleted
		v.damaged = true
		if l.mu.damagedAt == noOffset {
			l.mu.damagedAt = end
		}
		end = v.point
		if err := l.suspectLocked(fmt.Sprintf("records end at offset %d, before the recovery point %d", v.next, v.point)); err != nil {
			return err
		}
		last := segments[len(segments)-1]
		last.end.Store(int64(max(end, last.base)))
	}
	l.end.Store(int64(end))
	if err := l.judgeCut(cutAt, at, end); err != nil {
		return err
	}
	return l.settleLocked(first, cutAt, at, report)
}

// judgeCut decides whether what recovery found is more than a torn tail, and notes a suspicion durably before anything is
// cut.
func (l *Log) judgeCut(cutAt int, at boundary, end wire.Offset) error {
	if mutant.CutDamage {
		return nil
	}
	if noted := l.config.Kept.Noted; end < noted && noted > l.config.Kept.LogStart {
		return l.suspectLocked(fmt.Sprintf("records end at offset %d, though they were durable up to %d", end, noted))
	}
	if cutAt < 0 {
		return nil
	}
	segments := l.view()
	o, found, err := l.soundAfter(segments[cutAt], at)
	for i := cutAt + 1; err == nil && !found && i < len(segments); i++ {
		o, found, err = l.soundAfter(segments[i], boundary{segments[i].base, -1})
	}
	if err != nil || !found {
		return err
	}
	return l.suspectLocked(fmt.Sprintf("a sound batch at offset %d follows damage at %d", o, at.offset))
}

// settleLocked cuts what must be cut, makes the rest durable, and rebuilds producers and indexes.
func (l *Log) settleLocked(first, cutAt int, at boundary, report *Recovery) error {
	segments := l.view()
	point := l.config.Kept.RecoveryPoint
	if cutAt >= 0 {
		before := l.Size()
		if err := l.cutLocked(cutAt, at, point); err != nil {
			return err
		}
		report.BytesCut += before - l.Size()
		segments = l.view()
	} else if err := l.reloadProducersLocked(l.End(), point); err != nil {
		return err
	}
	l.epochs.cutEnd(l.End())
	for i, s := range segments[first:] {
		f, err := s.log.use(l.config.Files, s.logName, false)
		if err != nil {
			return err
		}
		err = f.Sync()
		f.release()
		if err != nil {
			return err
		}
		if s.sealed = first+i < len(segments)-1; s.sealed {
			if err := s.index.flush(l.config.Files, s, true); err != nil {
				return err
			}
			if err := s.txns.flush(l.config.Files, s); err != nil {
				return err
			}
		}
	}
	// Segments that were read may have no snapshot of their own, and one below them may go with old segments.
	if end := l.End(); end > l.mu.lastSnapshot && l.mu.damagedAt == noOffset {
		if err := segments[len(segments)-1].txns.flush(l.config.Files, segments[len(segments)-1]); err != nil {
			return err
		}
		if err := l.writeSnapshot(snapshot{end, l.mu.producers.encodeSnapshot()}); err != nil {
			return err
		}
		l.mu.lastSnapshot, l.mu.checkpointSnapshot = end, end
	}
	if err := l.config.FS.SyncDir(l.config.Dir); err != nil {
		return err
	}
	if !l.mu.dirDurable {
		if err := l.writePartitionMetadata(); err != nil {
			return err
		}
		if err := l.config.FS.SyncDir(l.parent); err != nil {
			return err
		}
		if err := l.config.Keeper.Begin(); err != nil {
			return err
		}
		l.mu.dirDurable = true
	}
	l.durable.Store(int64(l.End()))
	l.config.Keeper.Note(l.End())
	return nil
}

// recoverSegment checks a segment from the recovery point on, and gives it the index entries and the epochs of what it
// read. It returns the position up to which it is good; v.next moves along. Damage below the recovery point makes the log
// suspect, and is passed over.
func (l *Log) recoverSegment(v *recovery, s *segment) (int64, error) {
	size := s.size.Load()
	limit := min(max(v.point, s.base), s.base+1<<31)
	if err := s.index.load(l.config.FS, s, size, limit); err != nil {
		return 0, err
	}
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return 0, err
	}
	defer f.release()
	position, err := l.recoveryStart(v, s, f, size)
	if err != nil {
		return 0, err
	}
	b := indexBuilder{interval: int64(l.mu.options.IndexInterval), maxTimestamp: wire.NoTimestamp}
	s.index.mu.Lock()
	if n := len(s.index.mu.offsets); n > 0 {
		b.since = position - int64(s.index.mu.offsets[n-1].position)
	}
	if n := len(s.index.mu.times); n > 0 {
		b.maxTimestamp, b.maxAt = s.index.mu.times[n-1].timestamp, s.absolute(s.index.mu.times[n-1].offset)
	}
	s.index.mu.Unlock()
	position, err = l.scan(v, s, f, position, size, &b)
	s.index.mu.Lock()
	for _, e := range b.offsets {
		s.index.addLocked(e)
	}
	for _, e := range b.times {
		s.index.addTimeLocked(e)
	}
	if s.sealed && position == size {
		s.index.addTimeLocked(timeEntry{b.maxTimestamp, s.relative(b.maxAt)})
	}
	s.index.mu.Unlock()
	return position, err
}

// accepted is the batch that a scan took last, with what is needed to take it back.
type accepted struct {
	header   batch.Header // nil: none
	position int64
	next     wire.Offset      // of what is before it
	epoch    wire.LeaderEpoch // the latest before it
	index    indexBuilder     // without it
}

// scan reads batches from position to size and takes note of each. Where there is none it stops, unless that is below the
// recovery point: then it goes on with the next sound batch.
func (l *Log) scan(v *recovery, s *segment, f *openFile, position, size int64, b *indexBuilder) (int64, error) {
	r := scanner{f: f, size: size, buf: make([]byte, 0, min(scanBytes, size-position))}
	defer func() { v.report.BytesRead += r.read }()
	var last accepted
	var head [batch.HeaderSize]byte
	for position < size {
		h, err := r.batchAt(position)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return position, err
		}
		if err == nil {
			if err = l.follows(v, s, h); err == nil {
				last = accepted{append(head[:0], h[:batch.HeaderSize]...), position, v.next, l.epochs.before(h.BaseOffset()), *b}
				b.add(s, h, position)
				l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
				v.next = max(v.next, h.NextOffset())
				position += int64(len(h))
				continue
			}
			if last.wasTooHigh(h) && !tornHead(h, position, v.next) {
				err = fmt.Errorf("%w: offset %d of epoch %d follows what was said to end at %d", ErrCorrupt, h.BaseOffset(), h.LeaderEpoch(), v.next)
				position, v.next, *b = last.position, last.next, last.index
				l.epochs.cutEnd(v.next)
			}
			last = accepted{}
		}
		if v.next >= v.point && !v.damaged {
			return position, nil
		}
		v.damaged = true
		if l.mu.damagedAt == noOffset {
			l.mu.damagedAt = v.next
		}
		if err := l.suspectLocked(fmt.Sprintf("damage at offset %d, below the recovery point %d: %v", v.next, v.point, err)); err != nil {
			return position, err
		}
		after, _, found, err := r.soundAfter(position, s.base, v.next, 0)
		if err != nil || !found {
			return size, err
		}
		position = after
	}
	return position, nil
}

// follows checks that a batch with a right checksum may come after what was read so far: offset and epoch are outside the checksum.
func (l *Log) follows(v *recovery, s *segment, h batch.Header) error {
	base, noted := h.BaseOffset(), l.config.Kept.Noted
	switch {
	case base < max(v.next, s.base), h.LastOffset()-s.base >= 1<<31, !l.epochs.fits(h.LeaderEpoch(), base):
	case s.sealed && h.NextOffset() > s.endOffset(): // the next segment's
	case v.next < noted && noted <= base && noted > l.config.Kept.LogStart && !v.damaged: // some batch did end there
	default:
		return nil
	}
	return fmt.Errorf("%w: offset %d of epoch %d after %d", ErrCorrupt, base, h.LeaderEpoch(), v.next)
}

// wasTooHigh tells whether it is rather the accepted batch that has a wrong offset or epoch than the one after it, which falls behind it
// and would not without it.
func (a *accepted) wasTooHigh(h batch.Header) bool {
	switch x := a.header; {
	case x == nil:
		return false
	case h.BaseOffset() < x.NextOffset():
		return x.BaseOffset() > a.next && h.BaseOffset() >= a.next
	default:
		return h.LeaderEpoch() < x.LeaderEpoch() && h.LeaderEpoch() >= a.epoch
	}
}

// tornHead tells whether a batch has a wrong offset since the sector in which its head begins was never written: then it is of a torn
// tail. The length, behind the offset, is there.
func tornHead(h batch.Header, position int64, next wire.Offset) bool {
	lost := sector - position%sector // bytes of the head
	if lost > 8 {
		return lost < 12 && h.BaseOffset() == 0
	}
	return uint64(h.BaseOffset()) == uint64(next)&(1<<(64-8*lost)-1)
}

// recoveryStart returns the position of the first batch that reaches past the recovery point, found by the index and the
// headers after it. An index entry that does not hit a batch spoils the index. v.next becomes that batch's base.
func (l *Log) recoveryStart(v *recovery, s *segment, f *openFile, size int64) (int64, error) {
	if v.point <= s.base {
		v.next = max(v.next, s.base)
		return 0, nil
	}
	for {
		e, err := s.index.floorOffset(l.config.Files, s, s.relative(min(v.point-1, s.base+1<<31-1)))
		if err != nil {
			return 0, err
		}
		stop, next, sound := boundary{}, s.base, true
		first := true
		stop.position, err = s.walk(f, int64(e.position), size, func(h batch.Header, p int64) bool {
			if first && e.position > 0 && s.relative(h.LastOffset()) != e.offset {
				sound = false
				return false
			}
			if h.LastOffset() >= v.point || !first && h.BaseOffset() < next {
				return false // the scan judges it
			}
			first = false
			next = h.NextOffset()
			return true
		})
		if err != nil && !errors.Is(err, ErrCorrupt) {
			return 0, err
		}
		if sound && err == nil {
			v.next = next
			return stop.position, nil
		}
		if e.position == 0 {
			v.next = s.base
			return 0, nil // the scan finds the damage, from the segment's start
		}
		s.index.cut(0, 0)
	}
}

// gatherEpochs makes the epochs below limit anew from all headers, when their file is lost.
func (l *Log) gatherEpochs(limit wire.Offset) error {
	for _, s := range l.view() {
		if s.base >= limit {
			return nil
		}
		f, err := s.log.use(l.config.Files, s.logName, false)
		if err != nil {
			return err
		}
		_, err = s.walk(f, 0, s.size.Load(), func(h batch.Header, _ int64) bool {
			if h.BaseOffset() < limit {
				l.epochs.assign(h.LeaderEpoch(), h.BaseOffset())
			}
			return h.BaseOffset() < limit
		})
		f.release()
		if err != nil {
			return err
		}
	}
	return nil
}

// soundAfter looks for a batch with a right checksum past a place in a segment.
func (l *Log) soundAfter(s *segment, at boundary) (wire.Offset, bool, error) {
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return 0, false, err
	}
	defer f.release()
	r := scanner{f: f, size: s.size.Load(), buf: make([]byte, 0, scanBytes)}
	_, o, found, err := r.soundAfter(at.position, s.base, at.offset, l.config.Kept.LogStart)
	return o, found, err
}

// scanner reads a file of batches forward.
type scanner struct {
	f    io.ReaderAt
	size int64
	buf  []byte // the file's bytes from at on
	at   int64
	read int64 // bytes
}

// fill makes at least want bytes from position on be in buf, as far as the file has them, and returns them.
func (r *scanner) fill(position int64, want int) ([]byte, error) {
	want = int(min(int64(want), r.size-position))
	if skip := position - r.at; skip >= 0 && skip+int64(want) <= int64(len(r.buf)) {
		return r.buf[skip:], nil
	}
	n := max(want, int(min(scanBytes, r.size-position)))
	if cap(r.buf) < n {
		r.buf = make([]byte, n)
	}
	r.buf, r.at = r.buf[:n], position
	got, err := r.f.ReadAt(r.buf, position)
	r.read += int64(got)
	if got < n {
		r.buf = r.buf[:0]
		return nil, fmt.Errorf("read %d bytes at %d: %w", n, position, err)
	}
	return r.buf, nil
}

// batchAt returns the batch at position with its checksum verified; an ErrCorrupt if there is none.
func (r *scanner) batchAt(position int64) (batch.Header, error) {
	b, err := r.fill(position, batch.HeaderSize)
	if err != nil {
		return nil, err
	}
	h, err := batch.ParseHead(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if int64(h.Size()) > r.size-position {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, batch.ErrShort)
	}
	if b, err = r.fill(position, h.Size()); err != nil {
		return nil, err
	}
	if h, err = batch.Parse(b); err == nil {
		err = h.CheckCRC()
	}
	if err == nil && h.LastOffsetDelta() < 0 {
		err = errBadBatch
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	return h, nil
}

// soundAfter looks at every position past one for a batch with a right checksum and an offset at or past least, which
// could be in a segment of that base and reaches past start: what was deleted need not have been synced.
func (r *scanner) soundAfter(position int64, base, least, start wire.Offset) (int64, wire.Offset, bool, error) {
	for position++; r.size-position >= batch.HeaderSize; position++ {
		b, err := r.fill(position, batch.HeaderSize)
		if err != nil {
			return 0, 0, false, err
		}
		h, err := batch.ParseHead(b)
		if err != nil || int64(h.Size()) > r.size-position || h.BaseOffset() < least || h.LastOffset() < start || h.BaseOffset()-base >= 1<<31 || h.LastOffsetDelta() < 0 {
			continue
		}
		if h, err = r.batchAt(position); err == nil {
			return position, h.BaseOffset(), true, nil
		} else if !errors.Is(err, ErrCorrupt) {
			return 0, 0, false, err
		}
	}
	return 0, 0, false, nil
}
