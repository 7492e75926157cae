// Package record has the data that Kafka keeps in records of its own topics, or hands through the broker in bytes
// fields, generated from the schemas in the folder schema by cmd/wiregen:
//
//   - __consumer_offsets: keys and values of classic and consumer groups, by [NewGroupRecord];
//   - __transaction_state: [TransactionLogKey] and [TransactionLogValue], by [NewTransactionRecord];
//   - control batches: [ControlRecordTypeSchema] (the key), [EndTxnMarker], [LeaderChangeMessage];
//   - the transaction index: [AbortedTxn];
//   - the embedded consumer protocol of classic groups: [ConsumerProtocolSubscription], [ConsumerProtocolAssignment].
//
// How types look in Go is told by package message, and so is what decoding hostile bytes comes to.
//
// # The two bytes in front
//
// All of these but LeaderChangeMessage start with an int16, which is not a part of the generated structs. In the key
// of a coordinator's record it is the type of the record ([Key.RecordType]), the key itself having one version, 0; use
// [AppendKey] and [DecodeGroupKey] or [DecodeTransactionKey]. Elsewhere it is the version of what follows; use [Append]
// and [Decode]. Type 0 of __consumer_offsets is the oldest form of type 1.
package record

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

//go:generate go run github.com/kraftgo/kraftgo/cmd/wiregen -schema schema -out . -package record

// Data is what the bytes after the leading int16 are decoded into.
type Data interface {
	// Versions returns the lowest and the highest version.
	Versions() (low, high int16)
	// SetDefaults makes the data what Kafka takes for fields that are not there.
	SetDefaults()
	// Decode replaces the data by what b, all of it, encodes in that version.
	Decode(b []byte, version int16) error
	// Size returns how many bytes AppendTo appends, exactly.
	Size(version int16) int
	// AppendTo appends the data, encoded in that version, to b.
	AppendTo(b []byte, version int16) []byte
}

// Key is the key of a coordinator's record.
type Key interface {
	Data
	// RecordType returns the number that stands in front of the key, and tells what the value is.
	RecordType() int16
}

const prefixSize = 2

// Size returns how many bytes Append appends.
func Size(d Data, version int16) int { return prefixSize + d.Size(version) }

// Append appends the version and then the data in it.
func Append(b []byte, d Data, version int16) []byte {
	return d.AppendTo(wire.AppendInt16(b, version), version)
}

// Decode replaces d by what follows the version at the start of b, and returns that version.
func Decode(d Data, b []byte) (version int16, err error) {
	version, rest, err := prefix(b)
	if err != nil {
		return 0, err
	}
	return version, d.Decode(rest, version)
}

func prefix(b []byte) (int16, []byte, error) {
	r := wire.NewReader(b)
	v := r.Int16()
	if r.Err() != nil {
		return 0, nil, fmt.Errorf("version in front of a record: %w", r.Err())
	}
	return v, b[prefixSize:], nil
}

// KeySize returns how many bytes AppendKey appends.
func KeySize(k Key) int { return prefixSize + k.Size(0) }

// AppendKey appends the type of the record and then its key.
func AppendKey(b []byte, k Key) []byte { return k.AppendTo(wire.AppendInt16(b, k.RecordType()), 0) }

// DecodeGroupKey decodes the key of a record of __consumer_offsets, and returns an empty value to [Decode] its value
// into. A type that is not known is an error that wraps [wire.ErrVersion]; Kafka skips such records.
func DecodeGroupKey(b []byte) (Key, Data, error) { return decodeKey(b, "group", NewGroupRecord) }

// DecodeTransactionKey does the same for __transaction_state.
func DecodeTransactionKey(b []byte) (Key, Data, error) {
	return decodeKey(b, "transaction", NewTransactionRecord)
}

func decodeKey(b []byte, space string, records func(int16) (Key, Data)) (Key, Data, error) {
	recordType, rest, err := prefix(b)
	if err != nil {
		return nil, nil, err
	}
	key, value := records(recordType)
	if key == nil {
		return nil, nil, fmt.Errorf("%w: %s record of type %d", wire.ErrVersion, space, recordType)
	}
	return key, value, key.Decode(rest, 0)
}

// DecodeSubscription decodes what a member of a classic consumer group sends about itself when it joins.
func DecodeSubscription(b []byte) (s ConsumerProtocolSubscription, version int16, err error) {
	version, err = decodeEmbedded(b, &s, func(r *wire.Reader, v int16) { s.decode(r, v) })
	return s, version, err
}

// DecodeAssignment decodes what the leader of a classic consumer group gives to a member.
func DecodeAssignment(b []byte) (a ConsumerProtocolAssignment, version int16, err error) {
	version, err = decodeEmbedded(b, &a, func(r *wire.Reader, v int16) { a.decode(r, v) })
	return a, version, err
}

// decodeEmbedded decodes data of the consumer protocol, which clients write and clients read, the broker being only
// curious. As between them, a version beyond ours is read as our highest, and what a later one appended is ignored.
func decodeEmbedded(b []byte, d Data, decode func(*wire.Reader, int16)) (int16, error) {
	r := wire.NewReader(b)
	version := r.Int16()
	low, high := d.Versions()
	if r.Err() == nil && version < low {
		return version, fmt.Errorf("%w: consumer protocol %d", wire.ErrVersion, version)
	}
	decode(&r, min(version, high))
	if r.Err() != nil {
		return version, fmt.Errorf("consumer protocol version %d: %w", version, r.Err())
	}
	return version, nil
}
