package batch

import (
	"errors"

	"github.com/kraftgo/kraftgo/wire"
)

// FromLegacy turns a message set of format 0 or 1 into one batch of format 2, which is b's until its next Reset. Keys, values,
// times and order stay, offsets count up from 0. The codec is that of the set. A wrapped set that decompresses to more than
// limit bytes is [compress.ErrTooLarge].
func FromLegacy(b *Builder, set []byte, limit int) (Header, error) {
	first := true
	b.Reset(Template{})
	for rest := set; len(rest) > 0; {
		entry, after, err := splitEntry(rest)
		if err != nil {
			return nil, err
		}
		m, err := parseMessage(entry)
		if err != nil {
			return nil, err
		}
		if err := m.checkCRC(); err != nil {
			return nil, err
		}
		if first || m.codec() != CodecNone {
			b.t.Codec = m.codec()
		}
		if first && m.stamped() {
			b.t.TimestampType, b.t.LogAppendTime = LogAppendTime, m.timestamp
		}
		first, rest = false, after
		if err := visitMessages(&m, limit, b.AppendRecord); err != nil {
			return nil, err
		}
	}
	return b.Finish()
}

// validateLegacy is Validate for the old formats. As in Kafka a set has either one compressed message, or any number of
// messages that are not, all of one format.
func (o *Options) validateLegacy(set []byte, magic int8) (Result, *Refusal) {
	if o.ProduceVersion >= 3 && magic >= 0 && magic <= Magic {
		return Result{}, invalid("Produce requests with version %d are only allowed to contain record batches with magic "+
			"version 2", o.ProduceVersion)
	}
	if magic < 0 || magic > Magic {
		return Result{}, refuse(wire.ErrCorruptMessage, "Invalid magic found in record: %d", magic)
	}
	messages, codec, refusal := o.splitLegacy(set, magic)
	if refusal != nil {
		return Result{}, refusal
	}
	if o.Recompress {
		codec = o.Codec
	}
	t := Template{Codec: codec, TimestampType: o.TimestampType, LogAppendTime: o.Now}
	if o.Recompress {
		t.Level = o.Level
	}
	var b Builder // not pooled: the batch outlives the call
	var e recordErrors
	b.Reset(t)
	index := int32(0)
	for i := range messages {
		err := visitMessages(&messages[i], o.MaxPlainBytes, func(r *Record) error {
			o.checkRecord(&e, index, r, messages[i].stamped())
			index++
			return b.AppendRecord(r)
		})
		switch {
		case errors.Is(err, ErrCRC):
			return Result{}, refuse(wire.ErrCorruptMessage, "Record is corrupt in topic partition %s: %v", o.TopicPartition, err)
		case err != nil:
			return Result{}, refusePlain(err, o)
		}
	}
	if refusal := e.refusal(); refusal != nil {
		return Result{}, refusal
	}
	h, err := b.Finish()
	if err != nil {
		return Result{}, refusePlain(err, o)
	}
	if len(h) > o.MaxMessageBytes {
		return Result{}, o.refuseRewritten(len(h))
	}
	return Result{Batch: h, Rewritten: true}, nil
}

// splitLegacy takes a set apart and checks sizes and checksums of its outer messages. The codec is that of the compressed
// message, if there is one.
func (o *Options) splitLegacy(set []byte, magic int8) (messages []message, codec Codec, refusal *Refusal) {
	for rest := set; len(rest) > 0; {
		entry, after, err := splitEntry(rest)
		if errors.Is(err, ErrShort) {
			return nil, 0, invalid("The message set in the append to %s is cut short", o.TopicPartition)
		}
		if err != nil {
			return nil, 0, refuse(wire.ErrCorruptMessage, "Message set in the append to %s does not parse: %v", o.TopicPartition, err)
		}
		rest = after
		if len(entry) > o.MaxMessageBytes {
			return nil, 0, refuse(wire.ErrMessageTooLarge, "The record batch size in the append to %s is %d bytes which exceeds "+
				"the maximum configured value of %d).", o.TopicPartition, len(entry), o.MaxMessageBytes)
		}
		m := message{entry: entry}
		if err := m.checkCRC(); err != nil {
			return nil, 0, refuse(wire.ErrCorruptMessage, "Record is corrupt (stored crc = %d) in topic partition %s.",
				m.crc(), o.TopicPartition)
		}
		if got := int8(entry[messageMagicAt]); got != magic {
			return nil, 0, invalid("Batch magic %d is not the same as the first batch's magic byte %d in topic partition %s",
				got, magic, o.TopicPartition)
		}
		if m, err = parseMessage(entry); err != nil {
			return nil, 0, refusePlain(err, o)
		}
		if m.codec() != CodecNone {
			codec = m.codec()
		}
		messages = append(messages, m)
	}
	if codec != CodecNone && len(messages) > 1 {
		return nil, 0, invalid("Compressed outer record has more than one batch")
	}
	return messages, codec, nil
}
