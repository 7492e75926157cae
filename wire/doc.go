// Package wire is the vocabulary of the Kafka protocol: the distinct types of its numbers, its error codes, and the
// primitive encoding that every message, record and file of kraftgo is made of.
//
// # What is where
//
//   - types.go: [Offset], [LeaderEpoch], [BrokerID], [TopicID] and their like. A bare int64 never stands for one.
//   - errorcode.go: [ErrorCode] with Kafka's names and numbers (class Errors of Kafka 4.4).
//   - reader.go: [Reader] takes primitives from a byte slice that a stranger wrote.
//   - array.go: arrays and tagged fields, read within an allowance of memory.
//   - writer.go: Append functions that are its inverse, and Size functions to size a buffer before it is written.
//
// The messages are in wire/message, record batches in wire/batch, codecs in wire/compress. This package imports
// nothing of ours, and knows no message, no file and no connection.
//
// # What if
//
//   - a length is negative where null is not allowed, or longer than what is left: [Reader] keeps the first error,
//     and every later call returns a zero value without doing work;
//   - a count of elements or tagged fields claims more than the remaining bytes can hold: the same error, before
//     anything is allocated for it.
package wire
