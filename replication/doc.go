// Package replication is what the leader of a partition knows and decides about its replicas: how far each is, which of
// them count, and where the high watermark stands. It is pure: it is stepped with what happened, and answers with what
// follows; the drivers in replication/replica do it.
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
//     reach it.
package replication
