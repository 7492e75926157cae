// Package replica drives the replicas that this broker holds: it appends what producers send, tells when that is
// acknowledged, reads what consumers ask for, and wakes those that wait.
//
//	Produce --> Partition.Append --> storage.Log            (one write)
//	                |                     | synced           (a syncer of storage/disk)
//	                v                     v
//	            ProduceWait <--- Partition.advance ---> FetchWait
//	                              replication.Leader (pure)
//
// # Who may call what
//
// Everything may be called from any goroutine. Callbacks ([ProduceWait], [FetchWait]) run on the goroutine that moved a
// mark, with no lock held, and must not block: a syncer may be running them.
//
// # What if
//
//   - the partition is deleted, or its log closes after a disk error: whoever waits is told at once;
//   - two requests wait for the same offset: one sync answers both;
//   - a fetch arrives just as the watermark moves: it is registered first and looked at again afterwards.
//
// Lock order: Partition.mu is a leaf. Nothing is called, written or waited for while it is held.
package replica
