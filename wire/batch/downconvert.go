package batch

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// ErrNoOldForm means records that the old formats cannot hold: compressed by zstd. It is answered as
// UNSUPPORTED_COMPRESSION_TYPE.
var ErrNoOldForm = errors.New("batch: zstd has no form in message formats 0 and 1")

// ToLegacy appends batches to dst as a message set of format magic, 0 or 1, for consumers that know no other. Records below
// start are left out, and control batches, and the headers of records. The codec stays. A batch at the end that is cut short
// is left out too, as from a fetch. Records that decompress to more than limit bytes are [compress.ErrTooLarge].
//
// Where a batch cannot be converted, what came before it is returned without an error, so that a consumer gets that far:
// only when there is nothing before it is the error returned, and dst as it was.
func ToLegacy(dst, batches []byte, magic int8, start wire.Offset, limit int) ([]byte, error) {
	if magic != 0 && magic != 1 {
		panic(fmt.Sprintf("batch: no conversion to format %d", magic))
	}
	empty := len(dst)
	for len(batches) > 0 {
		h, rest, err := Next(batches)
		if errors.Is(err, ErrShort) {
			break
		}
		if err == nil {
			batches = rest
			if h.Control() || h.LastOffset() < start {
				continue
			}
			dst, err = appendLegacy(dst, h, magic, start, limit)
		}
		if err != nil {
			if len(dst) > empty {
				return dst, nil
			}
			return dst, err
		}
	}
	return dst, nil
}

// appendLegacy converts one batch. On error it returns dst as it was.
func appendLegacy(dst []byte, h Header, magic int8, start wire.Offset, limit int) ([]byte, error) {
	codec := h.Codec()
	if codec > CodecLZ4 {
		return dst, ErrNoOldForm
	}
	set := dst
	if codec != CodecNone {
		scratch := borrow()
		defer release(scratch)
		set = (*scratch)[:0]
		defer func() { *scratch = set[:0] }()
	}
	w := legacyWriter{magic: magic, relative: magic == 1 && codec != CodecNone, attributes: 0, latest: wire.NoTimestamp}
	if magic == 1 && h.TimestampType() == LogAppendTime {
		w.attributes = timestampTypeBit
	}
	var failed error
	err := h.each(limit, func(r *Record) bool {
		if r.Offset >= start {
			set, failed = w.append(set, r)
		}
		return failed == nil
	})
	if err = errors.Join(err, failed); err != nil {
		return dst, err
	}
	if codec == CodecNone {
		return set, nil
	}
	if w.count == 0 {
		return dst, nil
	}
	return w.wrap(dst, set, codec)
}

// legacyWriter writes the messages of one batch.
type legacyWriter struct {
	magic      int8
	relative   bool // offsets count from the first record's
	attributes byte
	count      int
	first      wire.Offset
	last       wire.Offset
	latest     wire.Timestamp
}

func (w *legacyWriter) append(set []byte, r *Record) ([]byte, error) {
	if w.count == 0 {
		w.first = r.Offset
	}
	w.count++
	w.last, w.latest = r.Offset, max(w.latest, r.Timestamp)
	offset := r.Offset
	if w.relative {
		offset -= w.first
	}
	if len(r.Key)+len(r.Value) > math.MaxInt32-messageOverhead1 {
		return set, fmt.Errorf("%w: message of %d bytes", ErrFull, len(r.Key)+len(r.Value))
	}
	at := len(set)
	set = w.start(set, offset, w.attributes, r.Timestamp)
	set = wire.AppendNullableBytes(set, r.Key, false)
	set = wire.AppendNullableBytes(set, r.Value, false)
	finishMessage(set[at:])
	return set, nil
}

// start writes what precedes the key, with zeros for length and checksum.
func (w *legacyWriter) start(set []byte, offset wire.Offset, attributes byte, t wire.Timestamp) []byte {
	set = wire.AppendInt64(set, int64(offset))
	set = append(set, 0, 0, 0, 0, 0, 0, 0, 0, byte(w.magic), attributes)
	if w.magic == 1 {
		set = wire.AppendInt64(set, int64(t))
	}
	return set
}

// wrap appends set to dst as one compressed message. Its offset is that of the last record within.
func (w *legacyWriter) wrap(dst, set []byte, codec Codec) ([]byte, error) {
	at := len(dst)
	out := w.start(dst, w.last, w.attributes|byte(codec), w.latest)
	out = wire.AppendNullableBytes(out, nil, false)
	valueLength := len(out)
	out = append(out, 0, 0, 0, 0)
	var err error
	if w.magic == 0 && codec == CodecLZ4 {
		out, err = compress.CompressLegacyLZ4(out, set, compress.DefaultLevel)
	} else {
		out, err = compress.Compress(out, set, codec, compress.DefaultLevel)
	}
	if err != nil {
		return dst, fmt.Errorf("batch: compress: %w", err)
	}
	if len(out)-at > math.MaxInt32 {
		return dst, fmt.Errorf("%w: message of %d bytes", ErrFull, len(out)-at)
	}
	binary.BigEndian.PutUint32(out[valueLength:], uint32(len(out)-valueLength-4))
	finishMessage(out[at:])
	return out, nil
}

// finishMessage sets length and checksum of the entry, which is all of b.
func finishMessage(b []byte) {
	binary.BigEndian.PutUint32(b[lengthAt:], uint32(len(b)-entryOverhead))
	binary.BigEndian.PutUint32(b[messageCRCAt:], crc32.ChecksumIEEE(b[messageMagicAt:]))
}
