// Package batch reads, checks, builds and converts record batches, the unit in which records travel and are stored.
//
// Format 2 is what is stored. Formats 0 and 1, the old message sets, come from and go to old clients only: they are
// converted on the way in ([Validate], [FromLegacy]) and out ([ToLegacy]).
//
// # Files
//
//	header.go     the fixed part of a batch, as a view of its bytes
//	records.go    the records of a batch, one after the other, without copying
//	builder.go    a new batch from records
//	control.go    the batches that end transactions
//	validate.go   what a leader checks before it appends; walk.go is its hot loop, refusal.go what it answers
//	legacy.go     reading old message sets; upconvert.go and downconvert.go, from and to them
//	lookup.go     a record by its time
//
// # Who may call what
//
// Nothing here is shared between calls but pools. A [Builder] and an [Iterator] belong to one goroutine.
//
// # What if
//
//   - the bytes are hostile: an error or a [Refusal], never a panic. Memory is bounded by the length of the input, or by
//     the limit given where something is decompressed;
//   - the records are damaged but the checksum is right: then a client wrote them so. That is a refusal on the way in, and
//     [ErrRecords] later on.
package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// Places of the fields in a batch of format 2. All numbers are big endian.
const (
	baseOffsetAt      = 0
	lengthAt          = 8
	leaderEpochAt     = 12
	magicAt           = 16
	crcAt             = 17
	attributesAt      = 21
	lastOffsetDeltaAt = 23
	baseTimestampAt   = 27
	maxTimestampAt    = 35
	producerIDAt      = 43
	producerEpochAt   = 51
	baseSequenceAt    = 53
	countAt           = 57

	// HeaderSize is the number of bytes before the first record.
	HeaderSize = 61
	// Overhead is the number of bytes that the length field does not count: base offset and the length itself.
	Overhead = 12
	// Magic is the format that this header describes. Formats 0 and 1 are the old message sets.
	Magic = 2
)

// Codec is how the records of a batch are compressed.
type Codec = compress.Codec

// The codecs, as the lowest three bits of the attributes.
const (
	CodecNone   = compress.None
	CodecGzip   = compress.Gzip
	CodecSnappy = compress.Snappy
	CodecLZ4    = compress.LZ4
	CodecZstd   = compress.Zstd
)

// TimestampType says who set a batch's timestamps.
type TimestampType uint8

// The timestamp types, as bit 3 of the attributes.
const (
	CreateTime TimestampType = iota
	LogAppendTime
)

const (
	codecMask         = 0x07
	timestampTypeBit  = 0x08
	transactionalBit  = 0x10
	controlBit        = 0x20
	deleteHorizonBit  = 0x40
	maxSequence       = 1<<31 - 1
	minLength         = HeaderSize - Overhead
	crcCoversFromByte = attributesAt
)

// The ways in which bytes are not a batch of format 2.
var (
	// ErrShort means that the bytes end before the batch does.
	ErrShort = errors.New("batch: cut short")
	// ErrMagic means another format than 2.
	ErrMagic = errors.New("batch: not format 2")
	// ErrLength means a length field that cannot be.
	ErrLength = errors.New("batch: impossible length")
	// ErrCRC means that the checksum does not match.
	ErrCRC = errors.New("batch: checksum mismatch")
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Header is a view of a batch of format 2: the batch's own bytes, at least the first [HeaderSize] of them. It copies and
// allocates nothing, and is good as long as those bytes are. Get one from [Parse], [ParseHead] or [Next].
type Header []byte

// Parse returns the batch that b starts with, whole. It checks length and magic, neither the checksum nor the fields.
func Parse(b []byte) (Header, error) {
	h, err := ParseHead(b)
	if err != nil {
		return nil, err
	}
	size := h.Size()
	if size > len(b) {
		return nil, ErrShort
	}
	return h[:size:size], nil
}

// ParseHead is Parse for when only the header may be at hand: the rest of the batch may lie beyond b. The answer is all
// of b, so that only the header's own fields may be asked for.
func ParseHead(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		if len(b) > magicAt && b[magicAt] != Magic {
			return nil, ErrMagic
		}
		return nil, ErrShort
	}
	if b[magicAt] != Magic {
		return nil, ErrMagic
	}
	h := Header(b)
	if n := h.Length(); n < minLength {
		return nil, fmt.Errorf("%w: %d", ErrLength, n)
	}
	return h, nil
}

// Next returns the batch that b starts with, and what comes after it.
//
//	for len(b) > 0 {
//		h, rest, err := batch.Next(b)
func Next(b []byte) (h Header, rest []byte, err error) {
	if h, err = Parse(b); err != nil {
		return nil, b, err
	}
	return h, b[len(h):], nil
}

// BaseOffset is the offset of the first record; that of the first record there ever was, once compacted.
func (h Header) BaseOffset() wire.Offset {
	return wire.Offset(binary.BigEndian.Uint64(h[baseOffsetAt:]))
}

// LastOffset is the offset of the last record. The next batch starts past it.
func (h Header) LastOffset() wire.Offset { return h.BaseOffset() + wire.Offset(h.LastOffsetDelta()) }

// NextOffset is LastOffset + 1.
func (h Header) NextOffset() wire.Offset { return h.LastOffset() + 1 }

// Length is the length field: the bytes that follow it.
func (h Header) Length() int32 { return int32(binary.BigEndian.Uint32(h[lengthAt:])) }

// Size is the number of bytes of the whole batch.
func (h Header) Size() int { return Overhead + int(h.Length()) }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (h Header) LeaderEpoch() wire.LeaderEpoch {
	return wire.LeaderEpoch(binary.BigEndian.Uint32(h[leaderEpochAt:]))
}

// Magic is the format number, 2.
func (h Header) Magic() int8 { return int8(h[magicAt]) }

// CRC is the checksum as written in the batch.
func (h Header) CRC() uint32 { return binary.BigEndian.Uint32(h[crcAt:]) }

// Attributes are the flags that Codec, TimestampType, Transactional, Control and HasDeleteHorizon take apart.
func (h Header) Attributes() int16 { return int16(binary.BigEndian.Uint16(h[attributesAt:])) }

// Codec is how the records are compressed. It may be a number that no codec has.
func (h Header) Codec() Codec { return Codec(h[attributesAt+1] & codecMask) }

// TimestampType says who set the timestamps.
func (h Header) TimestampType() TimestampType {
	return TimestampType(h[attributesAt+1] & timestampTypeBit >> 3)
}

// Transactional reports whether the batch belongs to a transaction.
func (h Header) Transactional() bool { return h[attributesAt+1]&transactionalBit != 0 }

// Control reports whether the records are markers that no consumer sees.
func (h Header) Control() bool { return h[attributesAt+1]&controlBit != 0 }

// HasDeleteHorizon reports whether the base timestamp is the time at which compaction may drop the batch's tombstones.
func (h Header) HasDeleteHorizon() bool { return h[attributesAt+1]&deleteHorizonBit != 0 }

// LastOffsetDelta is LastOffset less BaseOffset.
func (h Header) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(h[lastOffsetDeltaAt:])) }

// BaseTimestamp is what the records' timestamp deltas are added to.
func (h Header) BaseTimestamp() wire.Timestamp {
	return wire.Timestamp(binary.BigEndian.Uint64(h[baseTimestampAt:]))
}

// MaxTimestamp is the largest timestamp of the records, or of all with [LogAppendTime].
func (h Header) MaxTimestamp() wire.Timestamp {
	return wire.Timestamp(binary.BigEndian.Uint64(h[maxTimestampAt:]))
}

// ProducerID is the idempotent producer, or [wire.NoProducerID].
func (h Header) ProducerID() wire.ProducerID {
	return wire.ProducerID(binary.BigEndian.Uint64(h[producerIDAt:]))
}

// ProducerEpoch is the producer's incarnation.
func (h Header) ProducerEpoch() wire.ProducerEpoch {
	return wire.ProducerEpoch(binary.BigEndian.Uint16(h[producerEpochAt:]))
}

// BaseSequence is the first record's sequence number, or [wire.NoSequence].
func (h Header) BaseSequence() wire.Sequence {
	return wire.Sequence(binary.BigEndian.Uint32(h[baseSequenceAt:]))
}

// LastSequence is the last record's sequence number: sequences go from 2147483647 on to 0.
func (h Header) LastSequence() wire.Sequence {
	base := h.BaseSequence()
	if base == wire.NoSequence {
		return wire.NoSequence
	}
	return AddSequence(base, h.LastOffsetDelta())
}

// Count is the number of records as written; validation has compared it with the records.
func (h Header) Count() int32 { return int32(binary.BigEndian.Uint32(h[countAt:])) }

// Records are the bytes after the header, compressed as Codec says. h must be whole.
func (h Header) Records() []byte { return h[HeaderSize:] }

// CheckCRC compares the checksum with the bytes from the attributes on. h must be whole.
func (h Header) CheckCRC() error {
	if got, want := crc32.Checksum(h[crcCoversFromByte:], castagnoli), h.CRC(); got != want {
		return fmt.Errorf("%w at offset %d: written %08x, computed %08x", ErrCRC, h.BaseOffset(), want, got)
	}
	return nil
}

// SetBaseOffset changes the base offset in place. It is outside the checksum.
func (h Header) SetBaseOffset(o wire.Offset) {
	binary.BigEndian.PutUint64(h[baseOffsetAt:], uint64(o))
}

// SetLeaderEpoch changes the leader epoch in place. It is outside the checksum.
func (h Header) SetLeaderEpoch(e wire.LeaderEpoch) {
	binary.BigEndian.PutUint32(h[leaderEpochAt:], uint32(e))
}

// SetLogAppendTime marks the batch as stamped by the broker at t, in place. The checksum must be set anew.
func (h Header) SetLogAppendTime(t wire.Timestamp) {
	h[attributesAt+1] |= timestampTypeBit
	binary.BigEndian.PutUint64(h[maxTimestampAt:], uint64(t))
}

// setMaxTimestamp changes the latest time in place. The checksum must be set anew.
func (h Header) setMaxTimestamp(t wire.Timestamp) {
	binary.BigEndian.PutUint64(h[maxTimestampAt:], uint64(t))
}

// setLength makes the length field fit h.
func (h Header) setLength() { binary.BigEndian.PutUint32(h[lengthAt:], uint32(len(h)-Overhead)) }

// SetCRC computes the checksum and writes it. h must be whole.
func (h Header) SetCRC() {
	binary.BigEndian.PutUint32(h[crcAt:], crc32.Checksum(h[crcCoversFromByte:], castagnoli))
}

// AddSequence is s advanced by n >= 0, going from 2147483647 on to 0.
func AddSequence(s wire.Sequence, n int32) wire.Sequence {
	if int64(s)+int64(n) > maxSequence {
		return wire.Sequence(int64(s) + int64(n) - maxSequence - 1)
	}
	return s + wire.Sequence(n)
}
