// Package cluster puts a node together from a [Config], runs it, and takes it apart in good order.
//
//	Config -> identity (meta.json) -> quorum -> registration -> log directory, partitions -> coordinator -> listeners
//
// A stop goes the other way. The parts know each other only through what is passed to them here.
//
// # Files, in the data directory
//
//	kraftgo.lock   held while a process uses the directory
//	meta.json      who the node is; FORMAT.md has it field by field
//	metadata/      the raft log and snapshots of the metadata quorum
//	logs/          the partitions
//	offsets/       Pebble with the materialised group state; may be deleted while the node is stopped
//
// # What if
//
//   - the directory is locked, of another format, half-founded, or lacks its metadata: Start refuses, and says what to do;
//   - a port is taken: one that was asked for is an error, a default one on loopback moves up by ten;
//   - a part fails while running (its disk, an unknown metadata record): the node stops, [Node.Failed] tells why.
package cluster
