// Package feed carries committed metadata commands from the quorum's voters to every broker, and applies them.
//
// A [Replica] is a broker's copy of the metadata: commands come from raft on a voter, and from a [Puller] on any other
// broker, both by index, and each index takes effect once whichever comes first. It keeps the last commands, so that any
// broker that has them can serve others ([Replica.Fetch]); one that asks for older ones is sent a snapshot in chunks.
// A [Store] keeps what was pulled on disk, so that a restart asks only for what came since.
//
//	raft FSM  --Apply, Restore--> Replica --> listener, image, waiting readers
//	Puller    --Apply, Restore-->   |
//	other brokers' Pullers <--Fetch, Chunk--
//
// Only committed commands may be given to a Replica: nothing is ever taken back.
//
// # Files, in the directory given to [OpenStore]
//
//	feed.snapshot   the metadata as of some index (metadata/FORMAT.md)
//	feed.log        the commands after it, each with index, term, length and checksum (FORMAT.md)
//
// Neither is synced: both are a cache, and what is missing or damaged is pulled again.
//
// # Who may call what
//
// Every method of a Replica may be called from any goroutine. The listener is called by one goroutine with every image in
// order. A Puller is one goroutine of its own, from Start to Close; a Store belongs to its Puller.
//
// # What if
//
//   - a command has a record that this program does not know: nothing more is applied, and [Options.Fatal] is called;
//   - the one that is asked has another state at the same index: the command takes effect, [PullerOptions.Differs] is told,
//     and the next one is asked. Which of the two is wrong is not known here: the node that is not the controller stops;
//   - the one that is asked has less than we have, or reports a lower term at an index: its answer is not used, and the
//     next one is asked;
//   - nobody can be reached: the image stays what it is, and the attempts go on with back-off.
package feed
