package storage

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"
	"syscall"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"golang.org/x/sys/unix"
)

// Slice is a range of whole batches in one segment's file, which stays open until Release. The zero Slice is empty.
// It is good for one reader at a time, and must not be copied while in use.
type Slice struct {
	file     *openFile
	position int64
	size     int64
	found    bool // the batch is here, but might not be given
}

// Len is the number of bytes.
func (s *Slice) Len() int { return int(s.size) }

// ReadInto copies as many bytes as dst holds, and returns their number.
func (s *Slice) ReadInto(dst []byte) (int, error) {
	dst = dst[:min(int64(len(dst)), s.size)]
	if len(dst) == 0 {
		return 0, nil
	}
	n, err := s.file.ReadAt(dst, s.position)
	if n == len(dst) {
		return n, nil
	}
	return n, s.cut(err)
}

// cut is the error for a range that a truncation has taken away.
func (s *Slice) cut(err error) error {
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return fmt.Errorf("read batches at position %d: %w", s.position, err)
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 128<<10); return &b }}

// WriteTo writes the whole range to w through a buffer: for connections that encrypt.
func (s *Slice) WriteTo(w io.Writer) (int64, error) {
	return s.copyTo(func(b []byte) error {
		_, err := w.Write(b)
		return err
	})
}

func (s *Slice) copyTo(write func([]byte) error) (done int64, err error) {
	pooled := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(pooled)
	for done < s.size {
		b := (*pooled)[:min(int64(len(*pooled)), s.size-done)]
		if n, err := s.file.ReadAt(b, s.position+done); n < len(b) {
			return done, s.cut(err)
		}
		if err := write(b); err != nil {
			return done, err
		}
		done += int64(len(b))
	}
	return done, nil
}

// SendTo writes the whole range to a socket, from the page cache without a copy where the file system has descriptors.
// Nobody else may write to the socket meanwhile.
func (s *Slice) SendTo(conn syscall.RawConn) (done int64, err error) {
	if s.size == 0 {
		return 0, nil
	}
	if s.file.fd < 0 {
		return s.copyTo(func(b []byte) error { return writeSocket(conn, b) })
	}
	offset := s.position
	var sendErr error
	err = conn.Write(func(fd uintptr) bool {
		for done < s.size {
			n, err := unix.Sendfile(int(fd), s.file.fd, &offset, int(min(s.size-done, 1<<30)))
			done += int64(max(n, 0))
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				sendErr = fmt.Errorf("sendfile: %w", err)
				return true
			case n == 0:
				sendErr = s.cut(nil)
				return true
			}
		}
		return true
	})
	return done, errors.Join(err, sendErr)
}

func writeSocket(conn syscall.RawConn, b []byte) error {
	var sendErr error
	err := conn.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			n, err := unix.Write(int(fd), b)
			switch {
			case err == unix.EAGAIN:
				return false
			case err == unix.EINTR:
			case err != nil:
				sendErr = err
				return true
			default:
				b = b[n:]
			}
		}
		return true
	})
	return errors.Join(err, sendErr)
}

// Release lets go of the file. Further calls do nothing.
func (s *Slice) Release() {
	if s.file != nil {
		s.file.release()
		s.file, s.size = nil, 0
	}
}

// Read returns batches from the one that holds from on, or the next when compaction has left a gap there: as many as fit
// into maxBytes, all below upTo, all of one segment. With minOneBatch the first comes whole even when it is larger. The
// answer is empty when there is nothing to give, as at from == End. The caller releases the slice.
//
// An offset below Start or above End is refused with OFFSET_OUT_OF_RANGE.
func (l *Log) Read(from wire.Offset, maxBytes int, upTo wire.Offset, minOneBatch bool) (Slice, wire.ErrorCode, error) {
	end := l.End()
	if from < l.Start() || from > end {
		return Slice{}, wire.ErrOffsetOutOfRange, nil
	}
	upTo = min(upTo, end)
	if from >= upTo || (maxBytes <= 0 && !minOneBatch) {
		return Slice{}, wire.ErrNone, nil
	}
	if l.fault.Load() != nil {
		return Slice{}, wire.ErrNone, fmt.Errorf("%w: %w", ErrClosed, l.Err())
	}
	segments := l.view()
	for i := max(find(segments, from), 0); i < len(segments); i++ {
		s := segments[i]
		if s.base >= upTo {
			break
		}
		slice, err := l.readSegment(s, from, maxBytes, upTo, minOneBatch)
		if err != nil {
			if s.gone.Load() || errors.Is(err, fs.ErrNotExist) {
				return Slice{}, wire.ErrOffsetOutOfRange, nil // deleted since we looked
			}
			return Slice{}, wire.ErrNone, fmt.Errorf("read %s from offset %d: %w", l.config.Dir, from, err)
		}
		if slice.size > 0 || slice.found {
			return slice, wire.ErrNone, nil
		}
	}
	return Slice{}, wire.ErrNone, nil
}

// readSegment is Read within one segment. found in an empty answer: the batch is here, but may not be given.
func (l *Log) readSegment(s *segment, from wire.Offset, maxBytes int, upTo wire.Offset, minOne bool) (r Slice, err error) {
	size := s.size.Load()
	segmentEnd := s.endOffset() // later than the size, which it then covers: see append
	if from >= segmentEnd || size == 0 {
		return r, nil
	}
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return r, err
	}
	if r, err = l.rangeIn(s, f, from, maxBytes, upTo, segmentEnd, size, minOne); r.size > 0 {
		r.file = f
	} else {
		f.release()
	}
	return r, err
}

// rangeIn is readSegment once the file is open and sizes are taken.
func (l *Log) rangeIn(s *segment, f *openFile, from wire.Offset, maxBytes int, upTo, segmentEnd wire.Offset, size int64, minOne bool) (r Slice, err error) {
	first, err := l.position(s, f, from, size)
	if err != nil || first >= size {
		return r, err
	}
	limit := size
	if upTo < segmentEnd {
		if limit, err = l.position(s, f, upTo, size); err != nil {
			return r, err
		}
	}
	r.found = true
	if limit <= first {
		return r, nil
	}
	stop := limit
	if limit-first > int64(maxBytes) {
		if stop, err = l.lastBoundary(s, f, first, first+int64(maxBytes), limit, minOne); err != nil {
			return r, err
		}
	}
	if stop > first {
		r.position, r.size = first, stop-first
	}
	return r, nil
}

// position returns where the batch that holds o starts, or the next one, or the end.
func (l *Log) position(s *segment, f *openFile, o wire.Offset, size int64) (int64, error) {
	if o <= s.base {
		return 0, nil
	}
	relative := s.relative(o)
	if p, ok := s.index.recentAt(relative); ok && p < size {
		return p, nil
	}
	if p, ok := s.cursorAt(o); ok && p < size {
		return p, nil
	}
	b, err := s.seek(l.config.Files, f, o, size)
	return b.position, err
}

// lastBoundary returns the end of the last batch from first on that ends at or before want; with minOne at least that of
// the first batch.
func (l *Log) lastBoundary(s *segment, f *openFile, first, want, limit int64, minOne bool) (int64, error) {
	e, err := s.index.floorPosition(l.config.Files, s, want)
	if err != nil {
		return 0, err
	}
	stop := first
	next := noOffset
	_, err = s.walk(f, max(first, int64(e.position)), limit, func(h batch.Header, p int64) bool {
		if p+int64(h.Size()) > want && !(minOne && p == first) {
			stop, next = p, h.BaseOffset()
			return false
		}
		stop, next = p+int64(h.Size()), h.NextOffset()
		return stop < want
	})
	if err == nil && next != noOffset {
		s.setCursor(next, stop)
	}
	return stop, err
}

// AbortedTransactions returns the aborted transactions that have records in [from, upTo).
func (l *Log) AbortedTransactions(from, upTo wire.Offset) ([]AbortedTransaction, error) {
	segments := l.view()
	var list []AbortedTransaction
	for i := max(find(segments, from), 0); i < len(segments); i++ {
		var done bool
		var err error
		s := segments[i]
		if list, done, err = s.txns.collect(l.config.Files, s, from, upTo, list); err != nil {
			return nil, fmt.Errorf("aborted transactions of %s: %w", l.config.Dir, err)
		}
		if done {
			break
		}
	}
	return list, nil
}
