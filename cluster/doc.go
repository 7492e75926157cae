// Package cluster puts a node together from a [Config], runs it, and takes it apart in good order.
//
//	Config -> identity (meta.json) -> metadata: replica, quorum, puller -> gossip -> registration
//	       -> log directory, partitions -> coordinator -> listeners -> unfenced
//
// A node of several finds the others by gossip and calls them over the internal listener (peers.go). Its metadata comes from
// raft while it is in the quorum, and is pulled from a member otherwise; both end in one replica. What only the controller
// can do is relayed to it, wherever it is, and the answer waits until the effect is seen here.
//
// A stop goes the other way: first leaderships are handed over, the partitions' and then the quorum's. The parts know each other only through what is passed to them here.
//
// # Files, in the data directory
//
//	kraftgo.lock   held while a process uses the directory
//	meta.json      who the node is; FORMAT.md has it field by field
//	metadata/      the raft log and snapshots of the metadata quorum, and what was pulled
//	secret         what all nodes of the cluster share, if anything
//	peers.json     the nodes that were seen, to find them again
//	logs/          the partitions
//	offsets/       Pebble with the materialised group state; may be deleted while the node is stopped
//
// # What if
//
//   - the directory is locked, of another format, half-founded, or lacks its metadata: Start refuses, and says what to do;
//   - no seed answers, or no controller: Start waits as long as its context lasts, and says so now and then;
//   - the directory is a copy, or an older one, of another node's: the controller refuses the registration, and other nodes
//     refuse its connections; it can never vote in the other's name;
//   - a majority of the voters is lost for good: an operator makes the quorum anew from the directory of a node that is left
//     ([OpenRecovery]). Nodes show each other of which history their metadata is; one of an older history is refused, and stops
//     when it is told, until it follows ([Follow]);
//   - a listener for other nodes is to be reached from beyond this machine, and there is no secret: Start refuses;
//   - a port is taken: one that was asked for is an error, a default one on loopback moves up by ten;
//   - a part fails while running (its disk, an unknown metadata record): the node stops, [Node.Failed] tells why.
package cluster
