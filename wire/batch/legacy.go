package batch

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// A message of format 0 or 1 is an entry of a message set: offset, length, then what the length counts: checksum, magic,
// attributes, in format 1 the time, key and value with their lengths. A compressed message wraps a set in its value.
const (
	entryOverhead      = 12
	messageCRCAt       = 12
	messageMagicAt     = 16
	messageAttrsAt     = 17
	messageTimestampAt = 18

	messageOverhead0 = 14 // of what the length counts, without key and value
	messageOverhead1 = 22
)

// message is one entry of a message set. Its bytes alias the set.
type message struct {
	entry      []byte // whole
	offset     wire.Offset
	magic      int8
	attributes byte
	timestamp  wire.Timestamp // NoTimestamp in format 0
	key, value []byte
}

func (m *message) codec() Codec { return Codec(m.attributes & codecMask) }

func (m *message) stamped() bool { return m.magic > 0 && m.attributes&timestampTypeBit != 0 }

func (m *message) crc() uint32 { return binary.BigEndian.Uint32(m.entry[messageCRCAt:]) }

func (m *message) checkCRC() error {
	if got := crc32.ChecksumIEEE(m.entry[messageMagicAt:]); got != m.crc() {
		return fmt.Errorf("%w at offset %d: written %08x, computed %08x", ErrCRC, m.offset, m.crc(), got)
	}
	return nil
}

// splitEntry takes the first entry off a message set, without looking further than its magic.
func splitEntry(set []byte) (entry, rest []byte, err error) {
	if len(set) < entryOverhead {
		return nil, set, ErrShort
	}
	size := int32(binary.BigEndian.Uint32(set[lengthAt:]))
	switch {
	case size < messageOverhead0:
		return nil, set, fmt.Errorf("%w: message of %d bytes", ErrLength, size)
	case int(size) > len(set)-entryOverhead:
		return nil, set, ErrShort
	}
	size += entryOverhead
	return set[:size:size], set[size:], nil
}

// parseMessage takes an entry apart. It does not check the checksum.
func parseMessage(entry []byte) (m message, err error) {
	m = message{
		entry: entry, offset: wire.Offset(binary.BigEndian.Uint64(entry)), magic: int8(entry[messageMagicAt]),
		attributes: entry[messageAttrsAt], timestamp: wire.NoTimestamp,
	}
	rest := entry[messageTimestampAt:]
	switch {
	case m.magic != 0 && m.magic != 1:
		return m, fmt.Errorf("%w, 0 or 1: %d", ErrMagic, m.magic)
	case m.magic == 1 && len(entry)-entryOverhead < messageOverhead1:
		return m, fmt.Errorf("%w: message of %d bytes", ErrLength, len(entry)-entryOverhead)
	case m.magic == 1:
		m.timestamp = wire.Timestamp(binary.BigEndian.Uint64(rest))
		rest = rest[8:]
	}
	for _, field := range []*[]byte{&m.key, &m.value} {
		if len(rest) < 4 {
			return m, fmt.Errorf("%w: message at offset %d is cut short", ErrRecords, m.offset)
		}
		n := int32(binary.BigEndian.Uint32(rest))
		rest = rest[4:]
		if n < 0 {
			continue
		}
		if int(n) > len(rest) {
			return m, fmt.Errorf("%w: field of %d bytes in the message at offset %d, %d left", ErrRecords, n, m.offset, len(rest))
		}
		*field, rest = rest[:n:n], rest[n:]
	}
	if len(rest) > 0 {
		return m, fmt.Errorf("%w: %d bytes after the value of the message at offset %d", ErrRecords, len(rest), m.offset)
	}
	return m, nil
}

// visitMessages calls visit for each record of one outer message, with its true offset and time: itself, or what it wraps,
// of which at most limit bytes come out. The checksums of wrapped messages are checked, its own is the caller's.
func visitMessages(m *message, limit int, visit func(r *Record) error) error {
	if m.codec() == CodecNone {
		return visit(&Record{Offset: m.offset, Timestamp: m.timestamp, Key: m.key, Value: m.value})
	}
	if m.codec() > CodecLZ4 {
		return fmt.Errorf("%w: format %d has no %s", compress.ErrCodec, m.magic, m.codec())
	}
	if m.value == nil {
		return fmt.Errorf("%w: compressed message with a null value (magic = %d)", ErrRecords, m.magic)
	}
	scratch := borrow()
	defer release(scratch)
	set, err := compress.Decompress((*scratch)[:0], m.value, m.codec(), limit)
	if err != nil {
		return err
	}
	*scratch = set[:0]
	shift, err := innerShift(m, set)
	if err != nil {
		return err
	}
	for rest := set; len(rest) > 0; {
		var entry []byte
		if entry, rest, err = splitEntry(rest); err != nil {
			return nil // cut short at the end, which innerShift has accepted
		}
		inner, err := parseMessage(entry)
		if err != nil {
			return err
		}
		if err := inner.checkCRC(); err != nil {
			return err
		}
		if m.stamped() {
			inner.timestamp = m.timestamp
		}
		if err := visit(&Record{Offset: inner.offset + shift, Timestamp: inner.timestamp, Key: inner.key, Value: inner.value}); err != nil {
			return err
		}
	}
	return nil
}

// innerShift checks the entries of the set that m wraps and returns what must be added to their offsets. In format 0
// they are true. In format 1 they are relative, and the last of them has the wrapper's; but a wrapper at 0 was not
// assigned an offset yet, or by a client (librdkafka) that leaves it there.
func innerShift(m *message, set []byte) (wire.Offset, error) {
	last, count := wire.Offset(0), 0
	for rest := set; len(rest) > 0; {
		entry, after, err := splitEntry(rest)
		if err != nil {
			if err == ErrShort && count > 0 {
				break // as from a fetch that was cut; Kafka's readers stop here too
			}
			return 0, err
		}
		switch inner := Codec(entry[messageAttrsAt] & codecMask); {
		case int8(entry[messageMagicAt]) != m.magic:
			return 0, fmt.Errorf("%w: compressed message magic %d does not match wrapper magic %d", ErrRecords,
				int8(entry[messageMagicAt]), m.magic)
		case inner != CodecNone:
			return 0, fmt.Errorf("%w: message %d within a compressed one is compressed (%s)", ErrRecords, count, inner)
		}
		last, rest = wire.Offset(binary.BigEndian.Uint64(entry)), after
		count++
	}
	switch {
	case count == 0:
		return 0, fmt.Errorf("%w: compressed message without messages", ErrRecords)
	case m.magic == 0 || m.offset == 0:
		return 0, nil
	case m.offset < last:
		return 0, fmt.Errorf("%w: wrapper offset %d is less than the last inner offset %d and not zero", ErrRecords, m.offset, last)
	}
	return m.offset - last, nil
}
