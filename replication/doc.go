// Package replication is what the leader of a partition, and a follower of it, know and decide: how far each replica is,
// which of them count, where the high watermark stands, who belongs into the ISR, and where logs part. It is pure: it is
// stepped with what happened, and answers with what follows; the drivers in replication/replica do it.
//
//	           fetch at an offset, in an epoch            Fetched
//	Follower ------------------------------------> log ------------> Leader ---> Proposal, to the controller
//	   ^       records, or where the logs part      |                  ^  |
//	   +--------------------------------------------+       Durable    |  v
//	   +---------- what is synced, once the logs agree ----------------+ high watermark
//
// # The marks of a partition
//
//	start <= high watermark <= durable end <= end      (durability=fsync)
//	start <= high watermark <= end                     (durability=replicated)
//
// A record below the high watermark is acknowledged, and visible to consumers. With fsync a replica counts with what it
// has synced, with replicated with what it has appended.
//
// # What if
//
//   - the in-sync replicas are fewer than min.insync.replicas: the watermark stands still (KIP-966);
//   - the durability is switched while the partition runs: the watermark never falls; it waits for the other mark to
//     reach it;
//   - an ISR was asked for and the answer got lost: both it and the present one hold the watermark until the metadata
//     tells (the maximal ISR, KIP-497);
//   - a replica is throttled (KIP-73): a [Quota] says how much of it may be copied, unless the watermark waits for it;
//   - a follower was started again: it counts with nothing until it has fetched as that incarnation (KIP-903);
//   - a follower's disk hangs: records arrive there and are not synced, so it lags and leaves the ISR;
//   - a follower wrote what the new leader does not have: it cuts its log exactly to where the leader's epoch ends, never to
//     a watermark (KIP-101, KIP-279), and until then neither takes the leader's marks nor tells what it has synced;
//   - recovery found a follower's log suspect: it is emptied once a leader has answered, and fetched anew.
package replication
