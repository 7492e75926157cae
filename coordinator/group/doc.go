// Package group is one consumer group of the classic protocol (KIP-62, 345, 394, 559) as its coordinator sees it: a pure
// state machine. It is stepped with requests and with time, and answers with [Effect]s for the driver to do.
//
//		Empty -> PreparingRebalance -> CompletingRebalance -> Stable
//		  ^            |   ^                   |                |
//		  +------------+   +-------------------+----------------+
//
//	  - PreparingRebalance: members are awaited to join again; ends when all have, or their time is up;
//	  - CompletingRebalance: members have joined a new generation, the leader's assignment is awaited;
//	  - Stable: everybody has its assignment;
//	  - Empty: no members; there may be committed offsets.
//
// # Who may call what
//
// One goroutine steps a [Group]. Time only goes up from call to call. A [Token] names a request that is not answered yet;
// each token given in is given back in exactly one answer.
//
// # Events and state
//
// What must outlive the coordinator is written as a GroupMetadata record ([Effect] Write) before it is told to anybody:
// the members and assignment of a generation, and that a group is empty. The driver reports with [Group.Written]. Joins,
// heartbeats and rebalances in progress are not written: after a failover the members come again.
//
// The rules are Kafka's (classes ClassicGroup and GroupMetadataManager of 4.4); comments say where a rule surprises.
package group
