// Package sim runs whole clusters in one goroutine, from one seed, so that a run can be repeated to the byte.
//
// What decides and what writes is real: replication/replica's partitions with the pure leader and follower in them, storage/disk's
// directories and storage's logs on a file system in memory that crashes, metadata/control's plans on metadata's state. What
// drives them is simulated: time, the network, the moment of each sync, the loops of a broker, clients; and the controller's quorum
// is one that never fails, since raft is tried elsewhere (cluster's simulation of the metadata plane).
//
//	world.go       seed, clock, events, trace
//	network.go     messages that are late, lost, repeated; links that are cut one way
//	controller.go  metadata, sessions, fencing, elections, preferred leaders
//	broker.go      a broker's life: start, registration, metadata, heartbeats, death
//	replicas.go    what a broker does to its replicas as the metadata changes
//	follow.go      fetches, reports of what is synced, wishes for ISRs
//	client.go      producers and consumers
//	faults.go      what goes wrong; damage.go: with disks; operate.go: what operators do meanwhile
//	check.go       the rules, after every event
//	end.go         the end, when all is well again: that in the end nothing is lost, and everybody is in sync and has the same bytes
//
// # The rules
//
// They are named as in the faults that [Run] reports:
//
//   - two leaders: at most one broker leads a partition in an epoch;
//   - leader lacks: who begins to lead has all that was ever below a watermark;
//   - prefix differs: below its watermark, every replica has what was below a leader's watermark;
//   - two values: what is below a leader's watermark never changes;
//   - watermark falls: that of a leader never does, and none that a client was told is lower than what was told before in that epoch
//     or an earlier one;
//   - acknowledged too soon: a record that is acknowledged for all is below the watermark;
//   - on no disk: with durability=fsync what is below the watermark is synced on min.insync.replicas;
//   - in-sync replica lacks: a running member of the ISR has what is below the watermark;
//   - written twice: a record of an idempotent producer is below the watermark at one offset;
//   - sequence lost: no leader refuses the next sequence of a producer whose last one was acknowledged;
//   - broken follower: no leader gives a follower what it did not ask for, or cannot take;
//   - not healed, replicas differ, lost: what [Run] finds at the end.
//
// # What is not here
//
// Requests are not encoded, and a fetch asks for one partition. Goroutines and locks are not tried: that is for the race detector
// and for the end-to-end tests.
//
// # A seed that fails
//
//	just sim-seed 4711      its trace, and the rule that broke
//	just sim-twice 4711     that two runs of it are the same
package sim
