package batch

import (
	"errors"
	"fmt"
	"math"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// Options is what [Validate] must know of the request, the topic and the broker.
type Options struct {
	// TopicPartition is for the messages of refusals.
	TopicPartition wire.TopicPartition
	// ProduceVersion is the version of the produce request: from 3 on there must be exactly one batch of format 2,
	// before 7 it must not use zstd. Brokers' own appends have the latest.
	ProduceVersion int16
	// Internal means that the batch comes from a coordinator of this cluster, not a client: control batches are allowed.
	Internal bool
	// Now is the broker's time.
	Now wire.Timestamp
	// TimestampType is message.timestamp.type. With [LogAppendTime] the batch is stamped with Now.
	TimestampType TimestampType
	// TimestampBeforeMax and TimestampAfterMax are how many milliseconds a record may lie before and after Now:
	// message.timestamp.before.max.ms and .after.max.ms. math.MaxInt64 is no bound.
	TimestampBeforeMax, TimestampAfterMax int64
	// Compacted means that cleanup.policy has compact: every record needs a key.
	Compacted bool
	// MaxMessageBytes is max.message.bytes, compared with the size of a batch, header and compression included.
	MaxMessageBytes int
	// Recompress means that compression.type is not producer but Codec, at Level (0 is the codec's default).
	Recompress bool
	Codec      Codec
	Level      int
	// MaxPlainBytes is what the records of a batch may decompress to, where they must be decompressed.
	MaxPlainBytes int
	// DeepCompressed decompresses and walks compressed records even if nothing of the topic asks for it, as Kafka does.
	DeepCompressed bool
}

// Result is what to append.
type Result struct {
	// Batch is one batch of format 2 with base offset 0: the caller's bytes, perhaps patched in place, or new ones.
	Batch Header
	// Rewritten means that Batch is new: converted, compressed anew or renumbered.
	Rewritten bool
}

// timeRange returns the earliest and the latest time that a record may have.
func (o *Options) timeRange() (low, high wire.Timestamp) {
	low, high = math.MinInt64, math.MaxInt64
	if before := o.TimestampBeforeMax; int64(o.Now) >= math.MinInt64+before {
		low = o.Now - wire.Timestamp(before)
	}
	if after := o.TimestampAfterMax; int64(o.Now) <= math.MaxInt64-after {
		high = o.Now + wire.Timestamp(after)
	}
	return low, high
}

// Validate checks what a client sent for one partition, as a leader must before it appends, and brings it into the form
// that the topic wants. The rules and their order are Kafka's (ProduceRequest.validateRecords, UnifiedLog.analyze-
// AndValidateRecords, LogValidator). Where they differ, and why:
//
//   - bytes behind the last whole batch are refused; Kafka drops them silently;
//   - compressed records are decompressed only if the topic is compacted, has another compression.type or a bound on how
//     old records may be, or DeepCompressed is set. Otherwise the checksum and the header's counts and times are checked:
//     both times are those of records, so a batch that Kafka takes is never refused, but one that it refuses may pass;
//   - records whose offsets do not count up from 0 are renumbered, compressed or not; Kafka stores the latter as they are;
//   - a batch that claims log append time is refused always, not only where the topic has it too;
//   - a transactional batch without a producer, and a producer's epoch below 0, are refused.
//
// It allocates nothing unless it refuses, rewrites or decompresses.
func Validate(records []byte, o *Options) (Result, *Refusal) {
	if len(records) <= magicAt {
		return Result{}, invalid("Produce requests with version %d must have at least one record batch", o.ProduceVersion)
	}
	if magic := int8(records[magicAt]); magic != Magic {
		return o.validateLegacy(records, magic)
	}
	h, rest, err := Next(records)
	if errors.Is(err, ErrShort) {
		return Result{}, invalid("Produce requests with version %d must have at least one record batch", o.ProduceVersion)
	}
	if err != nil {
		return Result{}, refuse(wire.ErrCorruptMessage, "Record batch in the append to %s does not parse: %v", o.TopicPartition, err)
	}
	if o.ProduceVersion < 7 && h.Codec() == CodecZstd {
		return Result{}, refuse(wire.ErrUnsupportedCompressionType, "Produce requests with version %d are not allowed to use "+
			"ZStandard compression", o.ProduceVersion)
	}
	if len(rest) > 0 {
		return Result{}, invalid("Produce requests with version %d are only allowed to contain exactly one record batch "+
			"per partition", o.ProduceVersion)
	}
	result, r := o.checkBatch(h)
	if r != nil {
		r.ByLog = true
	}
	return result, r
}

func (o *Options) checkBatch(h Header) (Result, *Refusal) {
	if r := o.checkWhole(h); r != nil {
		return Result{}, r
	}
	if r := o.checkHeader(h); r != nil {
		return Result{}, r
	}
	return o.checkRecords(h)
}

// checkWhole is what the log checks before it looks at the records.
func (o *Options) checkWhole(h Header) *Refusal {
	if h.BaseOffset() != 0 && !o.Internal {
		return invalid("The baseOffset of the record batch in the append to %s should be 0, but it is %d",
			o.TopicPartition, h.BaseOffset())
	}
	if len(h) > o.MaxMessageBytes {
		return refuse(wire.ErrMessageTooLarge, "The record batch size in the append to %s is %d bytes which exceeds the "+
			"maximum configured value of %d).", o.TopicPartition, len(h), o.MaxMessageBytes)
	}
	if h.CheckCRC() != nil {
		return refuse(wire.ErrCorruptMessage, "Record is corrupt (stored crc = %d) in topic partition %s.",
			h.CRC(), o.TopicPartition)
	}
	return nil
}

// checkHeader compares the header's fields with one another.
func (o *Options) checkHeader(h Header) *Refusal {
	count := int64(h.Count())
	switch inRange := int64(h.LastOffsetDelta()) + 1; {
	case inRange <= 0:
		return invalid("Batch has an invalid offset range: [%d, %d] in topic partition %s",
			h.BaseOffset(), h.LastOffset(), o.TopicPartition)
	case count <= 0:
		return invalid("Invalid reported count for record batch: %d in topic partition %s", count, o.TopicPartition)
	case count != inRange:
		return invalid("Inconsistent batch offset range [%d, %d] and count of records %d in topic partition %s",
			h.BaseOffset(), h.LastOffset(), count, o.TopicPartition)
	case h.Control() && !o.Internal:
		return invalid("Clients are not allowed to write control records in topic partition %s", o.TopicPartition)
	case !h.Codec().Known():
		return refuse(wire.ErrUnsupportedCompressionType, "Unknown compression type id: %d", uint8(h.Codec()))
	case h.ProducerID() > wire.NoProducerID && h.BaseSequence() < 0 && !o.Internal:
		return invalid("Invalid sequence number %d in record batch with producerId %d in topic partition %s",
			h.BaseSequence(), h.ProducerID(), o.TopicPartition)
	case h.ProducerID() > wire.NoProducerID && h.ProducerEpoch() < 0:
		return invalid("Invalid producer epoch %d in record batch with producerId %d in topic partition %s",
			h.ProducerEpoch(), h.ProducerID(), o.TopicPartition)
	case h.Transactional() && h.ProducerID() <= wire.NoProducerID:
		return invalid("Transactional record batch without a producerId in topic partition %s", o.TopicPartition)
	}
	return nil
}

// claimsStamp reports whether a client's batch claims log append time.
func (o *Options) claimsStamp(h Header) bool {
	return h.TimestampType() == LogAppendTime && !o.Internal
}

// checkRecords is the last step: the records themselves.
func (o *Options) checkRecords(h Header) (Result, *Refusal) {
	convert := o.Recompress && o.Codec != h.Codec() && !h.Control()
	if h.Codec() == CodecNone {
		if !convert {
			return o.checkPlain(h, h.Records(), CodecNone, false)
		}
		return o.checkPlain(h, h.Records(), o.Codec, true)
	}
	low, _ := o.timeRange()
	bounded := o.TimestampType == CreateTime && low > 0
	if !convert && !o.Compacted && !bounded && !o.DeepCompressed && !o.claimsStamp(h) {
		if r := o.checkTimes(h); r != nil {
			return Result{}, r
		}
		return Result{Batch: o.stamp(h, h.MaxTimestamp())}, nil
	}
	scratch := borrow()
	defer release(scratch)
	plain, err := h.Plain(*scratch, o.MaxPlainBytes)
	if err != nil {
		return Result{}, refusePlain(err, o)
	}
	*scratch = plain[:0]
	if convert {
		return o.checkPlain(h, plain, o.Codec, true)
	}
	return o.checkPlain(h, plain, h.Codec(), false)
}

// checkTimes checks the times in the header: that of the first record, and the latest.
func (o *Options) checkTimes(h Header) *Refusal {
	if h.TimestampType() == LogAppendTime {
		return nil // another broker has set it; a client's was refused
	}
	var e recordErrors
	for _, t := range [...]wire.Timestamp{h.BaseTimestamp(), h.MaxTimestamp()} {
		if e.total == 0 {
			o.checkRecord(&e, 0, &Record{Offset: h.BaseOffset(), Timestamp: t}, false)
		}
	}
	return e.refusal()
}

// checkPlain checks the uncompressed records of h and returns h, or if convert the records anew under codec.
func (o *Options) checkPlain(h Header, plain []byte, codec Codec, convert bool) (Result, *Refusal) {
	s, err := walk(plain, h.Count(), h.BaseTimestamp())
	if err != nil {
		return Result{}, refusePlain(err, o)
	}
	latest := max(s.latest, wire.NoTimestamp)
	// A stamped batch has one time, in its header; what its records hold means nothing.
	timed := o.TimestampType == CreateTime && h.TimestampType() == CreateTime && s.earliest <= s.latest
	if low, high := o.timeRange(); timed && (s.earliest < low || s.latest > high) {
		return Result{}, o.refuseRecords(h, plain)
	}
	if o.claimsStamp(h) || o.Compacted && s.nullKey && !h.Control() {
		return Result{}, o.refuseRecords(h, plain)
	}
	if s.inOrder && !convert {
		return Result{Batch: o.stamp(h, latest)}, nil
	}
	return o.rewrite(h, plain, codec, s.inOrder, latest)
}

// stamp sets log append time, or the latest time of the records where the header had another.
func (o *Options) stamp(h Header, latest wire.Timestamp) Header {
	switch {
	case o.TimestampType == LogAppendTime:
		h.SetLogAppendTime(o.Now)
	case h.MaxTimestamp() != latest && h.TimestampType() == CreateTime:
		h.setMaxTimestamp(latest)
	default:
		return h
	}
	h.SetCRC()
	return h
}

// refuseRecords goes through the records once more, for the list of those at fault.
func (o *Options) refuseRecords(h Header, plain []byte) *Refusal {
	var e recordErrors
	var r Record
	it := h.Iterate(plain)
	for i := int32(0); it.Next(&r); i++ {
		o.checkRecord(&e, i, &r, o.claimsStamp(h))
	}
	if refusal := e.refusal(); refusal != nil {
		return refusal
	}
	// The walk and the iterator disagree, which would be a bug; but one that anybody who can produce could make use of.
	return invalid("Invalid records in the append to %s: %v", o.TopicPartition, it.Err())
}

// rewrite returns h with its records under codec, and numbered from 0 unless they are.
func (o *Options) rewrite(h Header, plain []byte, codec Codec, inOrder bool, latest wire.Timestamp) (Result, *Refusal) {
	level := o.Level
	if level == 0 || !o.Recompress {
		level = compress.DefaultLevel
	}
	if !inOrder {
		renumbered := borrow()
		defer release(renumbered)
		var err error
		if plain, err = renumber((*renumbered)[:0], plain, h.Count()); err != nil {
			return Result{}, refusePlain(err, o)
		}
		*renumbered = plain[:0]
	}
	out := make([]byte, HeaderSize, HeaderSize+len(plain))
	copy(out, h[:HeaderSize])
	out, err := compress.Compress(out, plain, codec, level)
	if err != nil {
		return Result{}, refusePlain(err, o)
	}
	if len(out) > o.MaxMessageBytes {
		return Result{}, o.refuseRewritten(len(out))
	}
	n := Header(out)
	n.setLength()
	n[attributesAt+1] = n[attributesAt+1]&^codecMask | byte(codec)
	switch {
	case o.TimestampType == LogAppendTime:
		n.SetLogAppendTime(o.Now)
	case h.TimestampType() == CreateTime:
		n.setMaxTimestamp(latest)
	}
	n.SetCRC()
	return Result{Batch: n, Rewritten: true}, nil
}

func (o *Options) refuseRewritten(size int) *Refusal {
	return refuse(wire.ErrMessageTooLarge, "Message batch size is %d bytes in append to partition %s which exceeds the "+
		"maximum configured size of %d.", size, o.TopicPartition, o.MaxMessageBytes)
}

// renumber appends to dst the records of plain, which a walk has checked, with offset deltas from 0.
func renumber(dst, plain []byte, count int32) ([]byte, error) {
	c := cursor{b: plain}
	for i := range count {
		size := c.varint()
		body := c.b[:size]
		c.b = c.b[size:]
		b := cursor{b: body[1:]}
		b.varlong()
		head := body[:len(body)-len(b.b)]
		b.varint()
		n := len(head) + wire.SizeVarint(i) + len(b.b)
		if n > math.MaxInt32 || len(dst) > math.MaxInt32-n {
			return dst, fmt.Errorf("%w: renumbered", ErrFull)
		}
		dst = append(wire.AppendVarint(dst, int32(n)), head...)
		dst = append(wire.AppendVarint(dst, i), b.b...)
	}
	return dst, nil
}
