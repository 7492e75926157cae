package compress

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// gzipWriters holds writers by level, at index level+1: -1 (default), 0 unused, 1 to 9.
var gzipWriters [MaxGzipLevel + 2]sync.Pool

// gzipReader is a pooled decoder with its source. A bytes.Reader is a ByteReader, so the decoder needs no buffer of its own.
type gzipReader struct {
	source bytes.Reader
	gzip.Reader
}

var gzipReaders = sync.Pool{New: func() any { return new(gzipReader) }}

// sliceWriter appends what is written.
type sliceWriter struct{ b []byte }

func (w *sliceWriter) Write(p []byte) (int, error) {
	w.b = append(w.b, p...)
	return len(p), nil
}

func appendGzip(dst, src []byte, level int) ([]byte, error) {
	if level == DefaultLevel {
		level = gzip.DefaultCompression
	}
	pool := &gzipWriters[level+1]
	out := &sliceWriter{b: dst}
	w, ok := pool.Get().(*gzip.Writer)
	if ok {
		w.Reset(out)
	} else {
		var err error
		if w, err = gzip.NewWriterLevel(out, level); err != nil {
			return dst, err
		}
	}
	_, err := w.Write(src)
	if err = errors.Join(err, w.Close()); err != nil {
		return dst, err
	}
	w.Reset(nil)
	pool.Put(w)
	return out.b, nil
}

func readGzip(dst, src []byte, limit int) ([]byte, error) {
	r := gzipReaders.Get().(*gzipReader)
	defer func() {
		r.source.Reset(nil)
		gzipReaders.Put(r)
	}()
	r.source.Reset(src)
	if err := r.Reset(&r.source); err != nil {
		return dst, corrupt("%v", err)
	}
	start := len(dst)
	for {
		room := limit - (len(dst) - start)
		if room == 0 {
			return gzipEnd(dst, r, limit)
		}
		dst = grow(dst, 1, room)
		n, err := r.Read(dst[len(dst):min(cap(dst), len(dst)+room)])
		dst = dst[:len(dst)+n]
		switch {
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, corrupt("%v", err)
		}
	}
}

// gzipEnd checks that nothing follows when the limit is used up.
func gzipEnd(dst []byte, r *gzipReader, limit int) ([]byte, error) {
	var one [1]byte
	for {
		n, err := r.Read(one[:])
		switch {
		case n > 0:
			return dst, tooLarge(limit)
		case err == io.EOF:
			return dst, nil
		case err != nil:
			return dst, corrupt("%v", err)
		}
	}
}
