// Package storage keeps one partition's records on disk, in Apache Kafka's own form, and gives them back by offset.
//
// A [Log] is a run of segments, of which only the last, the active one, is written. Between any two batches
//
//	Start <= Durable <= End
//
// each an offset one past the last record that it covers. Records below Durable survive a power cut. Those above it may
// be gone after [Open], but never from the middle.
//
// # Files
//
// FORMAT.md has them byte by byte. They lie in the partition's directory, which comes into being with the first append:
//
//	00000000000000001000.log         record batches as on the wire
//	00000000000000001000.index       sparse offset index: a cache, rebuilt when missing or bad
//	00000000000000001000.timeindex   sparse time index: the same
//	00000000000000001000.txnindex    aborted transactions whose marker is in the segment
//	00000000000000001000.snapshot    producers as they were when all below that offset was applied
//	leader-epoch-checkpoint          where each leader's reign starts
//	partition.metadata               the topic's id
//	suspect                          why the replica must not be trusted, in words; absent when it may be
//
// # Two ways to the disk
//
// What is appended is durable when the log's own file was synced, or when a small append is in the write-ahead log that the logs of a
// directory share (package wal, [Config.WAL]); then the file is synced later.
//
// # Who may call what
//
// Any goroutine may call anything. Appends, truncations and deletions take turns under one mutex; a read never waits for
// it, nor for a sync. A sync never holds it while the disk works.
//
// # What if
//
//   - the disk fills: the part of the batch that was written is cut off again, none of it is readable, and the log goes on;
//   - a write fails otherwise, or any sync does: the log closes for good ([ErrClosed], [Log.Err]), since the kernel may
//     have dropped the pages;
//   - we are killed: Open reads what lies past the recovery point, cuts a torn tail, and rebuilds indexes, epochs and
//     producers from there on;
//   - bytes are damaged below the recovery point, or a tail must be cut that had been noted as durable, or a good batch
//     follows a bad one: the replica is suspect ([Recovery.Suspect]). What lies below the recovery point is not cut. That
//     it is suspect outlives a restart, until [Log.ClearSuspect];
//   - a reader holds a [Slice] of a segment that is deleted meanwhile: the file stays open until it is released. If the
//     range is truncated instead, the reader gets an error.
//
// Storage knows no leaders, topics, watermarks (they come in as arguments) or connections.
package storage
