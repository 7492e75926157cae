// Package metadata is what the cluster has agreed on: its brokers, topics, partitions, settings and features, as a
// state machine that is fed committed commands, and the immutable images that everybody reads.
//
//	         Command (records, term, request id)
//	                     |
//	raft log  ---------> State.Apply ----> Image ----> listeners, handlers, the partition manager
//	                     ^                   |
//	snapshot  -----------+-------------------+  WriteSnapshot / ReadSnapshot
//
// # What is where
//
//   - record.go, codec.go: the records and their encoding, FORMAT.md describes the bytes;
//   - access.go: the records of ACLs, credentials and quotas;
//   - command.go: the envelope of a raft entry; parts.go: large changes in several of them; requests.go: what is answered again;
//   - state.go: [State], the only writer; image.go: [Image], what it looked like at one index;
//   - snapshot.go: an image as records, and back;
//   - level.go: which records may be written, by the finalised kraftgo.version;
//   - hash.go: what tells whether two brokers have the same state.
//
// # Who may call what
//
// One goroutine owns a [State]. An [Image] never changes after it was handed out; any number may read it.
//
// # What if
//
//   - a command was decided in another term than the one it was committed in: Apply skips it and says so
//     ([ErrStaleTerm]), since its decider may not have known the newest state;
//   - a change in parts does not come to its end, since its controller died: the next command drops what came;
//   - a command comes twice (a retry after a lost answer): the request id is known, the first result stands;
//   - a record's type or version is unknown: Apply refuses with [ErrUnknownRecord]; the node must stop, since its
//     state would differ from the others' from here on. So it is with a finalised level that this program does not know,
//     which comes before such records and names the release that is needed;
//   - a record does not fit the state (a partition of a topic that is not there): a bug, and a panic.
//
// This package has no clock, randomness, file or goroutine: Apply is a function of the log alone.
package metadata
