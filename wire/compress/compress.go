// Package compress packs and unpacks the records of a batch with the codecs of the Kafka protocol.
//
// [Compress] and [Decompress] append to a slice and may be called from any number of goroutines; what they need is pooled.
//
// # Files
//
//	compress.go   the codecs, their levels, the errors
//	gzip.go       RFC 1952
//	snappy.go     the xerial framing of the Java client; raw blocks, which other clients send, are read too
//	lz4.go        the LZ4 frame format, and its form with a wrong header checksum that message format 0 has
//	xxhash32.go   the checksum of LZ4 frames
//	zstd.go       RFC 8878
//
// # What if
//
//   - a few bytes expand to gigabytes: Decompress stops at its limit with [ErrTooLarge], and has allocated little more than
//     that. A length that the input only claims is never allocated unless the input could hold it and the limit allows it;
//   - the input is cut short, damaged or ends before its end mark: [ErrCorrupt];
//   - many decompress at once: each may use its limit. How many run together is the caller's affair.
package compress

import (
	"errors"
	"fmt"
	"math"
)

// Codec is a compression method, numbered as in the attributes of a batch.
type Codec uint8

// The codecs.
const (
	None Codec = iota
	Gzip
	Snappy
	LZ4
	Zstd
	codecs
)

var codecNames = [codecs]string{"none", "gzip", "snappy", "lz4", "zstd"}

// String is the name that compression.type has for c.
func (c Codec) String() string {
	if c.Known() {
		return codecNames[c]
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// Known reports whether there is a codec of this number.
func (c Codec) Known() bool { return c < codecs }

// ParseCodec is the inverse of String. "uncompressed", which topics use for none, is one too.
func ParseCodec(name string) (c Codec, ok bool) {
	if name == "uncompressed" {
		return None, true
	}
	for i, n := range codecNames {
		if n == name {
			return Codec(i), true
		}
	}
	return None, false
}

// DefaultLevel asks for the level that Kafka uses when none is set.
const DefaultLevel = math.MinInt32

// Limits of the levels, as Kafka's settings compression.*.level have them. Gzip takes -1 also, its default.
const (
	MinGzipLevel = 1
	MaxGzipLevel = 9
	MinLZ4Level  = 1
	MaxLZ4Level  = 17
	MinZstdLevel = -131072
	MaxZstdLevel = 22
)

// The errors of this package, always wrapped with the codec and what was wrong.
var (
	// ErrTooLarge means that the input expands to more than the limit.
	ErrTooLarge = errors.New("decompresses to more than allowed")
	// ErrCorrupt means that the input is not what its codec writes.
	ErrCorrupt = errors.New("corrupt compressed data")
	// ErrCodec means a number that no codec has.
	ErrCodec = errors.New("unknown compression codec")
	// ErrLevel means a level outside the codec's range.
	ErrLevel = errors.New("compression level out of range")
)

// Compress appends src, packed by codec at level, to dst. [None] appends src as it is. On error it returns dst unchanged.
func Compress(dst, src []byte, codec Codec, level int) ([]byte, error) {
	if err := CheckLevel(codec, level); err != nil {
		return dst, err
	}
	switch codec {
	case Gzip:
		return appendGzip(dst, src, level)
	case Snappy:
		return appendSnappy(dst, src), nil
	case LZ4:
		return appendLZ4(dst, src, level, false)
	case Zstd:
		return appendZstd(dst, src, level)
	default:
		return append(dst, src...), nil
	}
}

// CheckLevel returns an error unless codec is known and has the level. None and snappy have no levels, and take any.
func CheckLevel(codec Codec, level int) error {
	low, high := math.MinInt, math.MaxInt
	switch codec {
	case None, Snappy:
	case Gzip:
		if low, high = MinGzipLevel, MaxGzipLevel; level == -1 {
			return nil
		}
	case LZ4:
		low, high = MinLZ4Level, MaxLZ4Level
	case Zstd:
		low, high = MinZstdLevel, MaxZstdLevel
	default:
		return fmt.Errorf("%w: %d", ErrCodec, uint8(codec))
	}
	if level != DefaultLevel && (level < low || level > high) {
		return fmt.Errorf("%w: %s has %d to %d, not %d", ErrLevel, codec, low, high, level)
	}
	return nil
}

// Decompress appends src, unpacked by codec, to dst. It appends at most limit bytes: more is [ErrTooLarge]. On error it
// returns dst unchanged in length, though bytes past it may have been written.
//
// It grows dst as bytes come out, so a dst of the right capacity saves copies.
func Decompress(dst, src []byte, codec Codec, limit int) ([]byte, error) {
	out, err := decompress(dst, src, codec, max(limit, 0))
	if err != nil {
		return dst, fmt.Errorf("%s: %w", codec, err)
	}
	return out, nil
}

func decompress(dst, src []byte, codec Codec, limit int) ([]byte, error) {
	switch codec {
	case None:
		if len(src) > limit {
			return dst, tooLarge(limit)
		}
		return append(dst, src...), nil
	case Gzip:
		return readGzip(dst, src, limit)
	case Snappy:
		return readSnappy(dst, src, limit)
	case LZ4:
		return readLZ4(dst, src, limit)
	case Zstd:
		return readZstd(dst, src, limit)
	default:
		return dst, ErrCodec
	}
}

func tooLarge(limit int) error { return fmt.Errorf("%w: limit %d bytes", ErrTooLarge, limit) }

func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}

// grow returns dst with room for n more bytes, at least doubling what it allocates, but for no more than room bytes.
// room >= n: it is what is left of the limit.
func grow(dst []byte, n, room int) []byte {
	if cap(dst)-len(dst) >= n {
		return dst
	}
	more := min(max(n, 2*cap(dst)-len(dst), 4<<10), room)
	out := make([]byte, len(dst), len(dst)+more)
	copy(out, dst)
	return out
}
