package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"sync/atomic"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// The suffixes of a segment's files.
const (
	logSuffix       = ".log"
	indexSuffix     = ".index"
	timeIndexSuffix = ".timeindex"
	txnIndexSuffix  = ".txnindex"
	snapshotSuffix  = ".snapshot"
	deletedSuffix   = ".deleted"
)

// segment is a run of batches in one file. Readers use all that lies below size, which only grows but for a truncation.
//
//	base <= offset of any batch < end, and end <= base of the next segment
//
// The last segment of a log is active. The fields of the appender are guarded by Log.mu.
type segment struct {
	base    wire.Offset
	path    string // of its files, without suffix
	logName string // of its log; kept since every read needs it

	size atomic.Int64 // bytes that may be read
	end  atomic.Int64 // offset past the last record
	gone atomic.Bool  // deleted from the log; its files may be gone too

	// cursor is where the last read ended: offset relative to base in the upper half, position in the lower. Whoever
	// reads on from there needs no index. 0: nowhere.
	cursor atomic.Uint64

	log   fileSlot
	index sparseIndex

	// Of the appender.
	firstTimestamp  wire.Timestamp // of the first batch; noFirstTimestamp: not read yet
	maxTimestamp    wire.Timestamp // so far; noFirstTimestamp: not read yet
	maxTimestampAt  wire.Offset    // last offset of the batch that has it
	sinceIndexEntry int64          // bytes since the last index entry
	sealed          bool

	txns txnIndex
}

// unread stands for a timestamp that must be read from the files first.
const unread wire.Timestamp = -2

func newSegment(dir string, base wire.Offset) *segment {
	s := &segment{base: base, path: segmentPath(dir, base), firstTimestamp: unread, maxTimestamp: unread}
	s.logName = s.path + logSuffix
	s.end.Store(int64(base))
	return s
}

func segmentPath(dir string, base wire.Offset) string { return fmt.Sprintf("%s/%020d", dir, base) }

func (s *segment) relative(o wire.Offset) int32 { return int32(o - s.base) }

func (s *segment) absolute(relative int32) wire.Offset { return s.base + wire.Offset(uint32(relative)) }

func (s *segment) endOffset() wire.Offset { return wire.Offset(s.end.Load()) }

// setCursor and cursorAt remember the end of the last read.
func (s *segment) setCursor(o wire.Offset, position int64) {
	s.cursor.Store(uint64(uint32(s.relative(o)))<<32 | uint64(uint32(position)))
}

func (s *segment) cursorAt(o wire.Offset) (int64, bool) {
	c := s.cursor.Load()
	if c != 0 && uint32(c>>32) == uint32(s.relative(o)) {
		return int64(uint32(c)), true
	}
	return 0, false
}

// headBuffers are for walking over headers: one read mostly covers an index interval of small batches.
var headBuffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// errBadBatch marks bytes where a batch should be and is none.
var errBadBatch = errors.New("not a batch")

// walk calls visit with the header of every batch from position on, until the end or until visit answers false. It
// returns the position after the last batch that visit accepted. A batch that reaches past end, or none at all, is an
// ErrCorrupt.
func (s *segment) walk(f io.ReaderAt, position, end int64, visit func(h batch.Header, position int64) bool) (int64, error) {
	pooled := headBuffers.Get().(*[]byte)
	defer headBuffers.Put(pooled)
	buf, at := (*pooled)[:0], position // buf holds the file's bytes from at on
	for position < end {
		if skip := position - at; skip < int64(len(buf)) && len(buf)-int(skip) >= batch.HeaderSize {
			buf = buf[skip:]
		} else {
			want := min(int64(len(*pooled)), end-position)
			n, err := f.ReadAt((*pooled)[:want], position)
			if int64(n) < want {
				return position, fmt.Errorf("read %s%s at %d: %w", s.path, logSuffix, position, err)
			}
			buf = (*pooled)[:n]
		}
		at = position
		h, err := batch.ParseHead(buf)
		if err == nil && (position+int64(h.Size()) > end || h.LastOffsetDelta() < 0 || h.BaseOffset() < s.base) {
			err = errBadBatch
		}
		if err != nil {
			return position, fmt.Errorf("%w: %s%s at position %d: %w", ErrCorrupt, s.path, logSuffix, position, err)
		}
		if !visit(h[:batch.HeaderSize], position) {
			return position, nil
		}
		position += int64(h.Size())
	}
	return position, nil
}

// boundary is a place between two batches.
type boundary struct {
	offset   wire.Offset // of the batch that follows; for the first batch at or past an offset, its base
	position int64
}

// floor returns the position of a batch at or before the one that holds o.
func (s *segment) floor(c *FileCache, o wire.Offset) (int64, error) {
	e, err := s.index.floorOffset(c, s, s.relative(o))
	return int64(e.position), err
}

// seek finds the first batch that reaches to o or past it, starting from an index entry. size is how much may be read.
// When there is none the answer is (end, size).
func (s *segment) seek(c *FileCache, f io.ReaderAt, o wire.Offset, size int64) (boundary, error) {
	from, err := s.floor(c, o)
	if err != nil {
		return boundary{}, err
	}
	found := boundary{offset: s.endOffset()}
	found.position, err = s.walk(f, from, size, func(h batch.Header, _ int64) bool {
		if h.LastOffset() < o {
			return true
		}
		found.offset = h.BaseOffset()
		return false
	})
	return found, err
}

// removeFiles renames all files of the segment out of the way, or removes them when at once is set.
func (s *segment) removeFiles(fsys vfs.FS, atOnce bool) error {
	for _, suffix := range []string{logSuffix, indexSuffix, timeIndexSuffix, txnIndexSuffix, snapshotSuffix} {
		var err error
		if atOnce {
			err = fsys.Remove(s.path + suffix)
		} else {
			err = fsys.Rename(s.path+suffix, s.path+suffix+deletedSuffix)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
