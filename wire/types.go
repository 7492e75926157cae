package wire

import (
	"encoding/base64"
	"fmt"
	"strconv"
)

// Offset is the place of a record in a partition, from 0. An end offset is one past the last record.
type Offset int64

// LeaderEpoch counts the leaders of one partition, from 0. NoLeaderEpoch (-1) stands for unknown.
type LeaderEpoch int32

// NoLeaderEpoch is the epoch of a batch, request or answer that names none.
const NoLeaderEpoch LeaderEpoch = -1

// PartitionEpoch counts the changes of a partition's registration (leader, ISR, replicas) in the metadata, from 0.
type PartitionEpoch int32

// BrokerID names a broker, from 0. NoBroker (-1) stands for none.
type BrokerID int32

// NoBroker is the leader of a partition that has none, and the replica id of a consumer's fetch.
const NoBroker BrokerID = -1

// BrokerEpoch is the metadata index at which a broker's present incarnation registered.
type BrokerEpoch int64

// Index is a position in the metadata log (a raft index), from 1. 0 stands for nothing yet.
type Index uint64

// Term is a raft term. The controller's epoch in Kafka's answers is the term.
type Term uint64

// ProducerID names an idempotent or transactional producer, from 0. NoProducerID (-1) stands for none.
type ProducerID int64

// NoProducerID is the producer id of a batch that is not idempotent.
const NoProducerID ProducerID = -1

// ProducerEpoch counts the incarnations of a producer id, 0 to 32767.
type ProducerEpoch int16

// Sequence numbers a producer's records within a partition, 0 to 2147483647, then 0 again. NoSequence is -1.
type Sequence int32

// NoSequence is the base sequence of a batch that is not idempotent.
const NoSequence Sequence = -1

// Partition is the number of a partition within its topic, from 0.
type Partition int32

// Timestamp is a record's time in milliseconds since 1970 UTC. NoTimestamp (-1) stands for none.
type Timestamp int64

// NoTimestamp marks a batch or record without a time (message format 0).
const NoTimestamp Timestamp = -1

// APIKey is the number of a request kind.
type APIKey int16

// UUID is a 16 byte identifier, written as Kafka writes it: unpadded URL-safe base64.
type UUID [16]byte

// TopicID identifies one incarnation of a topic: a topic deleted and created again has a new one.
type TopicID = UUID

// IsZero reports whether u is the all-zero UUID, which stands for none.
func (u UUID) IsZero() bool { return u == UUID{} }

// String returns the 22 characters that Kafka's tools print.
func (u UUID) String() string { return base64.RawURLEncoding.EncodeToString(u[:]) }

// ParseUUID is the inverse of String.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("uuid %q: want 22 characters of URL-safe base64", s)
	}
	copy(u[:], b)
	return u, nil
}

// TopicPartition names a partition by the name of its topic.
type TopicPartition struct {
	Topic     string
	Partition Partition
}

// String returns "topic-partition", which is also the name of the partition's directory.
func (t TopicPartition) String() string { return t.Topic + "-" + strconv.Itoa(int(t.Partition)) }

// TopicIDPartition names a partition by the id of its topic.
type TopicIDPartition struct {
	Topic     TopicID
	Partition Partition
}
