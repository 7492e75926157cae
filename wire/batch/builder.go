package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// ErrFull means that a record or batch would not fit the lengths of the format, which are 32 bits.
var ErrFull = errors.New("batch: too large for the format")

// Template is what a [Builder] writes into the header of its batch.
type Template struct {
	Codec Codec
	// Level of the codec; 0 stands for its default.
	Level         int
	TimestampType TimestampType
	// LogAppendTime is the time of all records when TimestampType is [LogAppendTime].
	LogAppendTime wire.Timestamp
	Transactional bool
	Control       bool
	// ProducerID, ProducerEpoch and BaseSequence count only if Idempotent; otherwise the batch has none.
	Idempotent    bool
	ProducerID    wire.ProducerID
	ProducerEpoch wire.ProducerEpoch
	BaseSequence  wire.Sequence
	// BaseOffset is the offset of the first record; 0 for what is yet to be appended.
	BaseOffset wire.Offset
	// LeaderEpoch is written as it is; the leader sets it when it appends.
	LeaderEpoch wire.LeaderEpoch
}

// Builder writes one batch after the other, reusing its buffers. The offsets of the records follow on one another.
type Builder struct {
	t      Template
	buf    []byte // header and records, uncompressed
	packed []byte // the same compressed; unused without a codec
	count  int32
	base   wire.Timestamp
	max    wire.Timestamp
}

// Reset starts a batch. What the last [Builder.Finish] returned is overwritten from now on.
func (b *Builder) Reset(t Template) {
	if cap(b.buf) < HeaderSize {
		b.buf = make([]byte, HeaderSize, 1024)
	}
	b.t, b.count, b.base, b.max = t, 0, 0, wire.NoTimestamp
	b.buf = b.buf[:HeaderSize]
}

// Append adds a record. Key and value are null when nil; a header's key must not be nil, its value may be.
func (b *Builder) Append(timestamp wire.Timestamp, key, value []byte, headers []RecordHeader) error {
	size, err := b.room(timestamp, key, value, headers)
	if err != nil {
		return err
	}
	b.start(timestamp, size)
	b.buf = appendNullable(b.buf, key)
	b.buf = appendNullable(b.buf, value)
	b.buf = wire.AppendVarint(b.buf, int32(len(headers)))
	for _, h := range headers {
		b.buf = wire.AppendVarint(b.buf, int32(len(h.Key)))
		b.buf = append(b.buf, h.Key...)
		b.buf = appendNullable(b.buf, h.Value)
	}
	return nil
}

// AppendRecord adds r as it is, but for its offset.
func (b *Builder) AppendRecord(r *Record) error {
	size := b.fixedSize(r.Timestamp) + sizeNullable(r.Key) + sizeNullable(r.Value) +
		wire.SizeVarint(int32(r.headerCount)) + len(r.headers)
	if err := b.fits(size); err != nil {
		return err
	}
	b.start(r.Timestamp, size)
	b.buf = appendNullable(b.buf, r.Key)
	b.buf = appendNullable(b.buf, r.Value)
	b.buf = wire.AppendVarint(b.buf, int32(r.headerCount))
	b.buf = append(b.buf, r.headers...)
	return nil
}

// Count is how many records were added.
func (b *Builder) Count() int { return int(b.count) }

// Size is how large the batch is as yet: exactly, if it is not compressed.
func (b *Builder) Size() int { return len(b.buf) }

// SizeWith is what Size would be after Append of a record.
func (b *Builder) SizeWith(timestamp wire.Timestamp, key, value []byte, headers []RecordHeader) int {
	size := b.recordSize(timestamp, key, value, headers)
	return len(b.buf) + wire.SizeVarint(int32(size)) + size
}

// Finish returns the batch, good until the next Reset. A batch without records is legal, and has the offset range of
// none.
func (b *Builder) Finish() (Header, error) {
	out := b.buf
	if b.t.Codec != CodecNone {
		level := b.t.Level
		if level == 0 {
			level = compress.DefaultLevel
		}
		var err error
		b.packed = append(b.packed[:0], b.buf[:HeaderSize]...)
		if b.packed, err = compress.Compress(b.packed, b.buf[HeaderSize:], b.t.Codec, level); err != nil {
			return nil, fmt.Errorf("batch: compress: %w", err)
		}
		out = b.packed
	}
	if len(out)-Overhead > math.MaxInt32 {
		return nil, fmt.Errorf("%w: batch of %d bytes", ErrFull, len(out))
	}
	b.writeHeader(out)
	return Header(out[:len(out):len(out)]), nil
}

func (b *Builder) writeHeader(out []byte) {
	t := b.t
	if !t.Idempotent {
		t.ProducerID, t.ProducerEpoch, t.BaseSequence = wire.NoProducerID, -1, wire.NoSequence
	}
	base, latest := b.base, b.max
	if b.count == 0 {
		base = wire.NoTimestamp
	}
	attributes := uint16(t.Codec) & codecMask
	if t.TimestampType == LogAppendTime {
		attributes |= timestampTypeBit
		latest = t.LogAppendTime
	}
	if t.Transactional {
		attributes |= transactionalBit
	}
	if t.Control {
		attributes |= controlBit
	}
	be := binary.BigEndian
	be.PutUint64(out[baseOffsetAt:], uint64(t.BaseOffset))
	be.PutUint32(out[lengthAt:], uint32(len(out)-Overhead))
	be.PutUint32(out[leaderEpochAt:], uint32(t.LeaderEpoch))
	out[magicAt] = Magic
	be.PutUint16(out[attributesAt:], attributes)
	be.PutUint32(out[lastOffsetDeltaAt:], uint32(b.count-1))
	be.PutUint64(out[baseTimestampAt:], uint64(base))
	be.PutUint64(out[maxTimestampAt:], uint64(latest))
	be.PutUint64(out[producerIDAt:], uint64(t.ProducerID))
	be.PutUint16(out[producerEpochAt:], uint16(t.ProducerEpoch))
	be.PutUint32(out[baseSequenceAt:], uint32(t.BaseSequence))
	be.PutUint32(out[countAt:], uint32(b.count))
	Header(out).SetCRC()
}

// room returns the length of the record's body, and an error if it cannot be added.
func (b *Builder) room(timestamp wire.Timestamp, key, value []byte, headers []RecordHeader) (int, error) {
	for i, h := range headers {
		if h.Key == nil {
			return 0, fmt.Errorf("%w: header %d has a null key", ErrRecords, i)
		}
	}
	size := b.recordSize(timestamp, key, value, headers)
	return size, b.fits(size)
}

func (b *Builder) fits(size int) error {
	if size > math.MaxInt32 || len(b.buf)+size > math.MaxInt32-Overhead || b.count == math.MaxInt32 {
		return fmt.Errorf("%w: record of %d bytes after %d", ErrFull, size, len(b.buf))
	}
	return nil
}

// start writes what precedes the key.
func (b *Builder) start(timestamp wire.Timestamp, size int) {
	if b.count == 0 {
		b.base = timestamp
	}
	b.max = max(b.max, timestamp)
	b.buf = wire.AppendVarint(b.buf, int32(size))
	b.buf = append(b.buf, 0)
	b.buf = wire.AppendVarlong(b.buf, int64(timestamp-b.base))
	b.buf = wire.AppendVarint(b.buf, b.count)
	b.count++
}

// fixedSize is the length of attributes, timestamp and offset.
func (b *Builder) fixedSize(timestamp wire.Timestamp) int {
	delta := int64(0)
	if b.count > 0 {
		delta = int64(timestamp - b.base)
	}
	return 1 + wire.SizeVarlong(delta) + wire.SizeVarint(b.count)
}

func (b *Builder) recordSize(timestamp wire.Timestamp, key, value []byte, headers []RecordHeader) int {
	size := b.fixedSize(timestamp) + sizeNullable(key) + sizeNullable(value) + wire.SizeVarint(int32(len(headers)))
	for _, h := range headers {
		size += wire.SizeVarint(int32(len(h.Key))) + len(h.Key) + sizeNullable(h.Value)
	}
	return size
}

func sizeNullable(v []byte) int {
	if v == nil {
		return 1
	}
	return wire.SizeVarint(int32(len(v))) + len(v)
}

func appendNullable(b, v []byte) []byte {
	if v == nil {
		return wire.AppendVarint(b, -1)
	}
	return append(wire.AppendVarint(b, int32(len(v))), v...)
}
