// Package quorum drives hashicorp/raft for the metadata: it turns proposals into committed commands, applies them to a
// metadata.State, keeps log and snapshots on disk, and tells the rest of the node what the metadata is now.
//
// # Files, in the directory given to [Open]
//
//	raft.db      the raft log and term (bbolt, through raft-boltdb); synced before an entry counts
//	snapshots/   the newest metadata snapshots, made by raft when the log has grown
//
// # Who may call what
//
// Every method may be called from any goroutine. The state lives in the feed.Replica given to [Options]; [Quorum.Propose]
// returns only when the replica's listener has returned for the image with the command in it. [Options.Reign] is called by
// one goroutine.
//
// # What if
//
//   - we are not the leader, or lost the leadership: Propose returns [ErrNotLeader] (certainly not applied) or
//     [ErrUnknown] (perhaps applied); retrying with the same request id is safe in both cases;
//   - a command has an unknown record: the node must not go on, [Options.Fatal] is called;
//   - the log's disk fails, or a write to it hangs: raft steps down, proposals fail, another leads;
//   - a member has moved: it is dialled where [Options.Resolve] says it is;
//   - somebody else answers at a member's address: the streams refuse, since a server id is part of every address;
//   - this node was never taken into a quorum, or was removed from it: raft sits still, and [Quorum.Follows] is false;
//   - a majority of the voters is lost for good: nothing is decided any more, until an operator makes the quorum anew from what one
//     node has ([ReadRemains], [WriteRecovered]), in a history whose indexes, terms and epochs are above all of the lost one;
//   - we are the only voter: there is nobody to wait for, so we stand for election at once instead of after a timeout.
//
// Traps of raft v1.8.0 that are avoided here: MaxRPCsInFlight is 1, since pipelining wedges a follower after one failed
// store; VerifyLeader is never used as a read fence, since it counts non-voters; a bolt file is opened with a timeout,
// since Open else waits for a held lock for ever.
package quorum
