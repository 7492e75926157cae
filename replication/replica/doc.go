// Package replica drives the replicas that this broker holds: it appends what producers send, fetches what other leaders
// have, tells when records are acknowledged, reads what consumers and followers ask for, and wakes those that wait.
//
//	Produce --> Partition.Append --> storage.Log            (one write)
//	                |                     | synced           (a syncer of storage/disk)
//	                v                     v
//	            ProduceWait <--- Partition.advance ---> FetchWait (consumers: the watermark; followers: the log's end)
//	                              replication.Leader (pure)
//	                                      ^      |
//	          Fetched, Acked by followers |      v
//	                                         alterer --> the controller
//
//	fetcher --> Partition.Ask --> the leader --> Partition.Take --> storage.Log
//	                              replication.Follower (pure)           | synced
//	                                    the leader <-- reporter <-------+
//
// A broker has one fetcher (num.replica.fetchers) and one reporter for each other broker that leads something it follows.
// The next fetch goes out before the records of the last are synced: what is synced travels beside the fetches, which may be
// waiting at the leader.
//
// # Who may call what
//
// Everything may be called from any goroutine. Callbacks ([ProduceWait], and [FetchWait] if it is brief) run on the goroutine that moved a
// mark, with no lock held, and must not block: a syncer may be running them. So may reports to leaders ([Links]).
//
// # What if
//
//   - the partition is deleted, or its log closes after a disk error: whoever waits is told at once;
//   - two requests wait for the same offset: one sync answers both;
//   - a fetch arrives just as the watermark moves: it is registered first and looked at again afterwards;
//   - a partition gets another fetcher while the last has a fetch under way: one of two answers to the same question is ignored;
//   - a report is lost, or the leader cannot count it yet: nobody answers reports, but the follower learns of it when the connection
//     breaks, or when the leader complains, and tells everything again;
//   - the partition stops leading, or leads in another epoch, while something is written: the change waits until it is
//     written (Partition.role), so that nobody writes in a part that is over;
//   - partitions are to be fetched from a leader where a fetch waits already: the leader is nudged to answer it;
//   - a fetch that was long under way comes after a later one, and the leader counts less than the follower has synced: a follower
//     outside the ISR reports again, now and then;
//   - all that a follower asks for is throttled ([Throttle]): its fetch waits at the leader, until the allowance grows or its time is up;
//     what the follower itself holds back it does not ask for, and leaves to the others in its session;
//   - the controller does not answer: an ISR is asked for until it does, or until the metadata has moved on.
//
// Lock order: Partition.role, Partition.taking, then fetchers.mu or alterer.mu, then Partition.mu. Partition.mu is held for no write and no
// wait; under it only marks of the log are read, whose locks are leaves.
package replica
