package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// ErrRecords means that the records of a batch are not what its header says, or are no records.
var ErrRecords = errors.New("batch: malformed records")

// Record is one record of a batch. Its bytes alias the batch, or the buffer that it was decompressed into.
type Record struct {
	Offset    wire.Offset
	Timestamp wire.Timestamp
	// Key and Value are nil when null, which is not the same as empty.
	Key, Value []byte

	headers     []byte // checked to hold headerCount of them, and nothing else
	headerCount int
}

// RecordHeader is a name and a value that travel with a record. Value is nil when null.
type RecordHeader struct {
	Key   []byte
	Value []byte
}

// HeaderCount is how many headers there are.
func (r *Record) HeaderCount() int { return r.headerCount }

// Headers appends the headers to dst. They alias the batch.
func (r *Record) Headers(dst []RecordHeader) []RecordHeader {
	c := cursor{b: r.headers}
	for range r.headerCount {
		dst = append(dst, RecordHeader{Key: c.bytes(), Value: c.bytes()})
	}
	return dst
}

// Iterator goes through the records of a batch in their order. It accepts what Kafka does: exactly as many records as
// the header says, each as long as it says, in exactly the bytes there are.
//
//	for it := h.Iterate(plain); it.Next(&r); {
//	}
//	if err := it.Err(); err != nil {
type Iterator struct {
	c          cursor
	left       int32
	baseOffset wire.Offset
	base       wire.Timestamp
	stamped    bool // base is the time of every record
	err        error
}

// Iterate returns an iterator over plain, the records of h uncompressed: [Header.Records] itself, or what
// [Header.Plain] returned. Only h's header is needed.
func (h Header) Iterate(plain []byte) Iterator {
	it := Iterator{c: cursor{b: plain}, left: h.Count(), baseOffset: h.BaseOffset(), base: h.BaseTimestamp()}
	if h.TimestampType() == LogAppendTime {
		it.base, it.stamped = h.MaxTimestamp(), true
	}
	if it.left < 0 {
		it.err = fmt.Errorf("%w: count %d", ErrRecords, it.left)
	}
	return it
}

// Plain returns the uncompressed records of h, which must be whole: the bytes of h, or decompressed ones appended to
// scratch[:0]. More than limit decompressed bytes are [compress.ErrTooLarge].
func (h Header) Plain(scratch []byte, limit int) ([]byte, error) {
	if h.Codec() == CodecNone {
		return h.Records(), nil
	}
	return compress.Decompress(scratch[:0], h.Records(), h.Codec(), limit)
}

// Next puts the next record into r, and reports false at the end or at an error.
func (it *Iterator) Next(r *Record) bool {
	if it.err != nil {
		return false
	}
	if it.left == 0 {
		if len(it.c.b) > 0 {
			it.err = fmt.Errorf("%w: %d bytes after the last record", ErrRecords, len(it.c.b))
		}
		return false
	}
	it.left--
	size := it.c.varint()
	if it.c.bad || size < 0 || int(size) > len(it.c.b) {
		it.err = fmt.Errorf("%w: record of %d bytes, %d left", ErrRecords, size, len(it.c.b))
		return false
	}
	body := cursor{b: it.c.b[:size:size]}
	it.c.b = it.c.b[size:]
	body.byte() // attributes: no bit has a meaning
	timestampDelta, offsetDelta := body.varlong(), body.varint()
	r.Offset = it.baseOffset + wire.Offset(offsetDelta)
	r.Timestamp = it.base
	if !it.stamped {
		r.Timestamp += wire.Timestamp(timestampDelta)
	}
	r.Key, r.Value = body.bytes(), body.bytes()
	count := body.varint()
	if body.bad || count < 0 || int(count) > len(body.b) {
		it.err = fmt.Errorf("%w: record of %d bytes does not parse, or has %d headers", ErrRecords, size, count)
		return false
	}
	r.headers, r.headerCount = body.b, int(count)
	if !body.skipHeaders(count) || len(body.b) > 0 {
		it.err = fmt.Errorf("%w: the %d headers do not end with the record", ErrRecords, count)
		return false
	}
	return true
}

// Err returns what stopped Next, or nil at the end of the batch.
func (it *Iterator) Err() error { return it.err }

// Check walks to the end and returns the first error.
func (it *Iterator) Check() error {
	var r Record
	for it.Next(&r) {
	}
	return it.err
}

// cursor takes records apart. Once bad, what it returns is worthless.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) byte() byte {
	if len(c.b) == 0 {
		c.bad = true
		return 0
	}
	v := c.b[0]
	c.b = c.b[1:]
	return v
}

// varint reads a zig-zag number of at most five bytes. Bits beyond the 32nd are dropped, as by Kafka.
func (c *cursor) varint() int32 {
	var u uint32
	for i := range min(5, len(c.b)) {
		b := c.b[i]
		u |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			c.b = c.b[i+1:]
			return int32(u>>1) ^ -int32(u&1)
		}
	}
	c.bad = true
	return 0
}

// varlong reads a zig-zag number of at most ten bytes.
func (c *cursor) varlong() int64 {
	v, n := binary.Varint(c.b)
	if n <= 0 {
		c.bad = true
		return 0
	}
	c.b = c.b[n:]
	return v
}

// bytes reads a length and as many bytes. Any negative length is null, as in Kafka.
func (c *cursor) bytes() []byte {
	n := c.varint()
	if n < 0 || c.bad {
		return nil
	}
	if int(n) > len(c.b) {
		c.bad = true
		return nil
	}
	v := c.b[:n:n]
	c.b = c.b[n:]
	return v
}

// skipHeaders goes past count headers. A null key is refused.
func (c *cursor) skipHeaders(count int32) bool {
	for range count {
		n := c.varint()
		if c.bad || n < 0 || int(n) > len(c.b) {
			return false
		}
		c.b = c.b[n:]
		if n = c.varint(); c.bad || int(n) > len(c.b) {
			return false
		}
		c.b = c.b[max(n, 0):]
	}
	return true
}

// scratches are buffers to decompress into. One that grew past keepScratch is not kept.
var scratches = sync.Pool{New: func() any { return new([]byte) }}

const keepScratch = 4 << 20

// borrow returns a pooled buffer, to be given back with release.
func borrow() *[]byte { return scratches.Get().(*[]byte) }

func release(b *[]byte) {
	if cap(*b) <= keepScratch {
		scratches.Put(b)
	}
}
