package storage

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// BatchAtTimestamp returns the first batch at or past Start whose largest timestamp is t or later: the record that a
// lookup by time wants is in it. It is empty when there is none. The caller releases the slice.
func (l *Log) BatchAtTimestamp(t wire.Timestamp) (Slice, error) {
	for _, s := range l.view() {
		newest, _, err := l.newest(s)
		if err != nil {
			return Slice{}, l.lookupError(err)
		}
		if newest < t || s.endOffset() <= l.Start() {
			continue
		}
		entry, ok, err := s.index.floorTime(l.config.Files, s, t)
		if err != nil {
			return Slice{}, l.lookupError(err)
		}
		from := l.Start()
		if ok {
			from = max(from, s.absolute(entry.offset))
		}
		r, err := l.findBatch(s, max(from, s.base), func(h batch.Header) bool { return h.MaxTimestamp() >= t })
		if err != nil || r.size > 0 {
			return r, l.lookupError(err)
		}
	}
	return Slice{}, nil
}

// BatchOfMaxTimestamp returns the first batch that has the largest timestamp of the log, empty when there is no batch
// with a timestamp. The caller releases the slice.
func (l *Log) BatchOfMaxTimestamp() (Slice, error) {
	var best *segment
	newest, at := wire.NoTimestamp, noOffset
	for _, s := range l.view() {
		t, o, err := l.newest(s)
		if err != nil {
			return Slice{}, l.lookupError(err)
		}
		if t > newest {
			best, newest, at = s, t, o
		}
	}
	if best == nil {
		return Slice{}, nil
	}
	r, err := l.findBatch(best, max(at, l.Start()), func(h batch.Header) bool { return h.MaxTimestamp() >= newest })
	return r, l.lookupError(err)
}

// BytesFrom is about how many bytes the log holds at offset o and past it: up to index.interval.bytes and a batch more than there are.
func (l *Log) BytesFrom(o wire.Offset) (n int64) {
	for _, s := range l.view() {
		if s.endOffset() <= o {
			continue
		}
		n += s.size.Load()
		if s.base < o {
			// A segment whose index cannot be read any more is about to be deleted, or the log is at fault, which is told elsewhere.
			if position, err := s.floor(l.config.Files, o); err == nil {
				n -= position
			}
		}
	}
	return n
}

func (l *Log) lookupError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("look up a time in %s: %w", l.config.Dir, err)
}

// newest is the largest timestamp in a segment, and the last offset of the batch that has it.
func (l *Log) newest(s *segment) (wire.Timestamp, wire.Offset, error) {
	s.index.mu.Lock()
	t, o := s.maxTimestamp, s.maxTimestampAt
	s.index.mu.Unlock()
	if t != unread {
		return t, o, nil
	}
	return l.readNewest(s)
}

// readNewest finds the newest timestamp from the last time entry and the batches past the last offset entry.
func (l *Log) readNewest(s *segment) (wire.Timestamp, wire.Offset, error) {
	t, at := wire.NoTimestamp, s.base
	size := s.size.Load()
	if size > 0 {
		e, ok, err := s.index.lastTime(l.config.Files, s)
		if err != nil {
			return 0, 0, err
		}
		if ok {
			t, at = e.timestamp, s.absolute(e.offset)
		}
		o, err := s.index.floorPosition(l.config.Files, s, size)
		if err != nil {
			return 0, 0, err
		}
		f, err := s.log.use(l.config.Files, s.logName, false)
		if err != nil {
			return 0, 0, err
		}
		defer f.release()
		if _, err := s.walk(f, int64(o.position), size, func(h batch.Header, _ int64) bool {
			if h.MaxTimestamp() > t {
				t, at = h.MaxTimestamp(), h.LastOffset()
			}
			return true
		}); err != nil {
			return 0, 0, err
		}
	}
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	if s.maxTimestamp == unread {
		s.maxTimestamp, s.maxTimestampAt = t, at
	}
	return s.maxTimestamp, s.maxTimestampAt, nil
}

// findBatch returns the first batch that reaches to from or past it and that match accepts.
func (l *Log) findBatch(s *segment, from wire.Offset, match func(batch.Header) bool) (Slice, error) {
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return Slice{}, err
	}
	var r Slice
	size := s.size.Load()
	position, err := s.floor(l.config.Files, from)
	if err == nil {
		_, err = s.walk(f, position, size, func(h batch.Header, p int64) bool {
			if h.LastOffset() < from || !match(h) {
				return true
			}
			r = Slice{file: f, position: p, size: int64(h.Size())}
			return false
		})
	}
	if r.file == nil {
		f.release()
	}
	return r, err
}
