package batch

import (
	"encoding/binary"
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// ControlType is what the record of a control batch means.
type ControlType int16

// The control types that are known. Types 2 to 6 are of Kafka's own metadata log, and mean nothing to a partition.
const (
	ControlAbort         ControlType = 0
	ControlCommit        ControlType = 1
	ControlLeaderChange  ControlType = 2
	ControlSnapshotBegin ControlType = 3
	ControlSnapshotEnd   ControlType = 4
	ControlKRaftVersion  ControlType = 5
	ControlKRaftVoters   ControlType = 6
)

// EndsTransaction reports whether t is a commit or an abort.
func (t ControlType) EndsTransaction() bool { return t == ControlAbort || t == ControlCommit }

// The key of a control record is a version and a type, the value of an end marker a version and the coordinator's
// epoch. Later versions may append fields.
const (
	controlKeySize     = 4
	markerValueSize    = 6
	controlVersion     = 0
	controlTypeAt      = 2
	coordinatorEpochAt = 2
)

// Marker ends a transaction of a producer in one partition.
type Marker struct {
	Commit           bool
	ProducerID       wire.ProducerID
	ProducerEpoch    wire.ProducerEpoch
	CoordinatorEpoch int32
}

// BuildMarker makes the batch of m in b. It is good until b's next Reset.
func BuildMarker(b *Builder, m Marker, now wire.Timestamp, epoch wire.LeaderEpoch) (Header, error) {
	b.Reset(Template{
		Transactional: true, Control: true, LeaderEpoch: epoch,
		Idempotent: true, ProducerID: m.ProducerID, ProducerEpoch: m.ProducerEpoch, BaseSequence: wire.NoSequence,
	})
	var key [controlKeySize]byte
	var value [markerValueSize]byte
	if m.Commit {
		binary.BigEndian.PutUint16(key[controlTypeAt:], uint16(ControlCommit))
	}
	binary.BigEndian.PutUint32(value[coordinatorEpochAt:], uint32(m.CoordinatorEpoch))
	if err := b.Append(now, key[:], value[:], nil); err != nil {
		return nil, err
	}
	return b.Finish()
}

// ParseControlKey returns the type that the key of a control record names. It may be one that is not known.
func ParseControlKey(key []byte) (ControlType, error) {
	if len(key) < controlKeySize || int16(binary.BigEndian.Uint16(key)) < controlVersion {
		return 0, fmt.Errorf("%w: control record with a key of % x", ErrRecords, key[:min(len(key), controlKeySize)])
	}
	return ControlType(binary.BigEndian.Uint16(key[controlTypeAt:])), nil
}

// ParseControl returns the type of a control batch, by its first record, and its value. h must be whole.
func ParseControl(h Header) (t ControlType, value []byte, err error) {
	if !h.Control() || h.Codec() != CodecNone {
		return 0, nil, fmt.Errorf("%w: no control batch, or a compressed one", ErrRecords)
	}
	var r Record
	it := h.Iterate(h.Records())
	if !it.Next(&r) {
		if it.Err() == nil {
			return 0, nil, fmt.Errorf("%w: control batch without a record", ErrRecords)
		}
		return 0, nil, it.Err()
	}
	t, err = ParseControlKey(r.Key)
	return t, r.Value, err
}

// ParseMarker returns the marker that h holds. h must be whole, and of a type that ends transactions.
func ParseMarker(h Header) (Marker, error) {
	t, value, err := ParseControl(h)
	switch {
	case err != nil:
		return Marker{}, err
	case !t.EndsTransaction():
		return Marker{}, fmt.Errorf("%w: control type %d ends no transaction", ErrRecords, t)
	case len(value) < markerValueSize || int16(binary.BigEndian.Uint16(value)) < controlVersion:
		return Marker{}, fmt.Errorf("%w: end marker of %d bytes", ErrRecords, len(value))
	}
	return Marker{
		Commit: t == ControlCommit, ProducerID: h.ProducerID(), ProducerEpoch: h.ProducerEpoch(),
		CoordinatorEpoch: int32(binary.BigEndian.Uint32(value[coordinatorEpochAt:])),
	}, nil
}
