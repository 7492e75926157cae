// Package runtime runs the group coordinator: a shard for each partition of __consumer_offsets that this broker leads, with
// the groups that hash to it.
//
//	request -> shard's inbox -> step the group (pure) -> records into the open batch, answers parked with them
//	                            inbox empty -> append the batch -> committed -> Pebble, answers released
//
// A shard is one goroutine. It takes what is in its inbox in one go, so that the records of many commits share one batch
// and one sync: the more there is to do, the larger the batches.
//
// # State
//
// Groups live in memory and are stepped speculatively; what an answer depends on is written before the answer is given.
// Committed offsets are read from the store alone, which holds what is committed and nothing else. The store is a cache of
// the log: each batch of effects carries the offset up to which the log is applied.
//
// # What if
//
//   - we become leader of a partition: the shard applies what the store lacks, restores the groups, and refuses with
//     COORDINATOR_LOAD_IN_PROGRESS until then;
//   - we stop to lead: what waits is refused with NOT_COORDINATOR, the groups are dropped;
//   - the broker was stopped, and another may lead since ([Options.Current]): requests are refused with NOT_COORDINATOR;
//   - an append fails, or it is not known whether it was committed: what waited for it is refused, and before anything
//     else is read from the store, the shard applies what the log holds after all;
//   - the store lost its last commits (power cut): the log is applied again from where it is; if it is ahead of the log, or
//     of another epoch, the partition is dropped and applied from the log's start;
//   - a record of the log does not decode: it is left out, and logged: one bad record must not stop a thousand groups.
package runtime
