package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrMalformed marks every error of a [Reader]: the bytes are not what the schema says.
var ErrMalformed = errors.New("malformed message")

// ErrVersion marks a version that a message does not have.
var ErrVersion = errors.New("unknown version")

// What a Reader lets be allocated for strings and arrays: a share of the buffer's length, and a constant for small ones.
const (
	allocFactor = 4
	allocBase   = 256 << 10
)

// Reader takes primitives from buf, which may have been written by anybody. It keeps the first error: later calls
// return zero values and do no work, so that a decoder may check [Reader.Err] once at its end and at every loop.
//
// Byte slices returned by a Reader alias buf; strings are copies. Strings and arrays are paid from an allowance of
// four times the buffer plus 256 KiB. Without it, a body full of the smallest possible elements, each of which
// becomes a struct with room for strings and arrays, would cost its receiver fifty times its length.
type Reader struct {
	buf       []byte // cut to the end of the value while a tagged field is read
	off       int
	allowance int
	err       error
}

// NewReader returns a Reader at the start of buf.
func NewReader(buf []byte) Reader {
	return Reader{buf: buf, allowance: allocFactor*len(buf) + allocBase}
}

// CheckVersion returns an error that wraps [ErrVersion] unless low <= version <= high.
func CheckVersion(what string, version, low, high int16) error {
	if version < low || version > high {
		return fmt.Errorf("%w: %s has %d to %d, not %d", ErrVersion, what, low, high, version)
	}
	return nil
}

// Finish returns the first error with the message that it befell; bytes that are left over are one.
func (r *Reader) Finish(what string, version int16) error {
	if r.err == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	return r.FinishRequest(what, version)
}

// FinishRequest is Finish for what a client sent: bytes that are left over are ignored, as Kafka's brokers do. librdkafka
// (to 2.16 at least, its issue 5049) sends three of them after a request for the metadata of all topics.
func (r *Reader) FinishRequest(what string, version int16) error {
	if r.err != nil {
		return fmt.Errorf("decode %s version %d: %w", what, version, r.err)
	}
	return nil
}

// Charge takes n bytes from the allowance, and reports false, having failed, when they are not there.
func (r *Reader) Charge(n int) bool {
	if n < 0 || n > r.allowance {
		r.Fail("allocating %d bytes exceeds the allowance for a message of this length", n)
		return false
	}
	r.allowance -= n
	return true
}

// Err returns the first error, which wraps [ErrMalformed], or nil.
func (r *Reader) Err() error { return r.err }

// Offset returns how many bytes were taken.
func (r *Reader) Offset() int { return r.off }

// Remaining returns how many bytes are left; 0 after an error.
func (r *Reader) Remaining() int { return len(r.buf) - r.off }

// stringHeader is what a *string costs beside its bytes.
const stringHeader = 16

// Fail makes the Reader fail with a reason, unless it has failed already.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: at byte %d: %s", ErrMalformed, r.off, fmt.Sprintf(format, args...))
		r.buf, r.off = nil, 0
	}
}

// take returns the next n bytes, or nil after an error.
func (r *Reader) take(n int) []byte {
	if n < 0 || n > len(r.buf)-r.off {
		r.Fail("need %d bytes, %d left", n, r.Remaining())
		return nil
	}
	b := r.buf[r.off : r.off+n : r.off+n]
	r.off += n
	return b
}

// Int8 reads one byte.
func (r *Reader) Int8() int8 {
	if b := r.take(1); b != nil {
		return int8(b[0])
	}
	return 0
}

// Bool reads one byte; anything but 0 is true, as in Kafka.
func (r *Reader) Bool() bool { return r.Int8() != 0 }

// Int16 reads two bytes, big endian, as all fixed-size numbers of the protocol.
func (r *Reader) Int16() int16 { return int16(r.Uint16()) }

// Uint16 reads two bytes.
func (r *Reader) Uint16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Int32 reads four bytes.
func (r *Reader) Int32() int32 { return int32(r.Uint32()) }

// Uint32 reads four bytes.
func (r *Reader) Uint32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Int64 reads eight bytes.
func (r *Reader) Int64() int64 {
	if b := r.take(8); b != nil {
		return int64(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Float64 reads an IEEE 754 number of eight bytes.
func (r *Reader) Float64() float64 { return math.Float64frombits(uint64(r.Int64())) }

// UUID reads sixteen bytes.
func (r *Reader) UUID() (u UUID) {
	copy(u[:], r.take(len(u)))
	return u
}

// Uvarint reads an unsigned variable-length number of at most five bytes that fits 32 bits.
func (r *Reader) Uvarint() uint32 {
	var v uint32
	for i := 0; i < 5; i++ {
		if r.off >= len(r.buf) {
			break
		}
		b := r.buf[r.off]
		r.off++
		if i == 4 && b > 0x0f {
			r.Fail("varint overflows 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << (7 * i)
		if b < 0x80 {
			return v
		}
	}
	r.Fail("varint does not end")
	return 0
}

// Varint reads a zig-zag number of 32 bits, as in records.
func (r *Reader) Varint() int32 {
	u := r.Uvarint()
	return int32(u>>1) ^ -int32(u&1)
}

// Uvarlong reads an unsigned variable-length number of at most ten bytes.
func (r *Reader) Uvarlong() uint64 {
	v, n := binary.Uvarint(r.buf[r.off:])
	if n <= 0 {
		r.Fail("varlong is cut or overflows 64 bits")
		return 0
	}
	r.off += n
	return v
}

// Varlong reads a zig-zag number of 64 bits, as in records.
func (r *Reader) Varlong() int64 {
	u := r.Uvarlong()
	return int64(u>>1) ^ -int64(u&1)
}

// length turns a length of which -1 means null into (n, isNull).
func (r *Reader) length(n int64, what string) (int, bool) {
	switch {
	case r.err != nil || n == -1:
		return 0, true
	case n < -1 || n > int64(r.Remaining()):
		r.Fail("%s of %d bytes, %d left", what, n, r.Remaining())
		return 0, true
	}
	return int(n), false
}

// stringLength reads the length of a string; compact is the form of flexible versions.
func (r *Reader) stringLength(compact bool) (int, bool) {
	if compact {
		return r.length(int64(r.Uvarint())-1, "string")
	}
	return r.length(int64(r.Int16()), "string")
}

func (r *Reader) bytesLength(compact bool) (int, bool) {
	if compact {
		return r.length(int64(r.Uvarint())-1, "bytes")
	}
	return r.length(int64(r.Int32()), "bytes")
}

// String reads a string that must not be null.
func (r *Reader) String(compact bool) string {
	n, null := r.stringLength(compact)
	if null {
		r.Fail("null where a string must be")
		return ""
	}
	return r.text(n)
}

// text returns the next n bytes as a string of its own.
func (r *Reader) text(n int) string {
	if !r.Charge(n) {
		return ""
	}
	return string(r.take(n))
}

// NullableString reads a string or null.
func (r *Reader) NullableString(compact bool) *string {
	n, null := r.stringLength(compact)
	if null || !r.Charge(stringHeader) {
		return nil
	}
	s := r.text(n)
	return &s
}

// StringPointer reads a string that may be null only if nullable.
func (r *Reader) StringPointer(compact, nullable bool) *string {
	s := r.NullableString(compact)
	if s == nil && !nullable {
		r.Fail("null where a string must be")
	}
	return s
}

// Bytes reads bytes that must not be null. They alias the Reader's buffer.
func (r *Reader) Bytes(compact bool) []byte {
	n, null := r.bytesLength(compact)
	if null {
		r.Fail("null where bytes must be")
		return nil
	}
	return r.take(n)
}

// NullableBytes reads bytes or null (nil). They alias the Reader's buffer.
func (r *Reader) NullableBytes(compact bool) []byte {
	n, null := r.bytesLength(compact)
	if null {
		return nil
	}
	return r.take(n)
}

// Raw reads n bytes as they are. They alias the Reader's buffer.
func (r *Reader) Raw(n int) []byte { return r.take(n) }
