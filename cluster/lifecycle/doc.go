// Package lifecycle is a broker's way through the life of the cluster, in three parts. [Agent] is every broker's: it
// registers, and sends heartbeats. [Leader] is what the controller does: it keeps the brokers' sessions, fences who died,
// unfences who is ready, keeps the quorum in shape, finds leaders for partitions that lost theirs, and has preferred leaders come
// back, and replaces replicas that were lost with their brokers. [Controller] decides and commits changes of the metadata where it is
// the controller. [ProducerIDs] hands out producer ids from the blocks that the controller gives.
//
// A session is counted by the controller from the arrival of a heartbeat, and by the broker from the sending of the last one
// that was answered: the broker's ends first. Sessions are in the controller's memory; a new controller gives every broker a
// full one, and looks at all of them at once, since who died together with the old one is otherwise missed for a session.
//
// # What if
//
//   - two requests want the same change at once: decisions are made one at a time, each on the state that the last left;
//   - a request comes again because its controller died on it: the reply is in the log with the change, and the next controller
//     gives it ([Controller.Once]);
//   - it is not known whether a change was committed: the next decision waits until that is settled;
//   - a connection of a broker breaks, or gossip says that it is gone: the controller dials it. Nobody listens there, or
//     somebody else: it is fenced at once. Silence has its full session;
//   - the controller is not reached: registration and heartbeats go on being tried; a broker whose session has ended
//     acknowledges nothing by itself ([Agent.Alive]). It goes on answering reads as long as it is awake;
//   - a broker is stopped for longer than its session, and wakes: it answers nothing from what it knows until the controller has
//     answered it and it has the metadata of that time ([Agent.Current]). If it was the controller itself, it asks the quorum before it
//     answers any heartbeat, its own too. A stop during which the monotonic clock stands still (a machine that is suspended) is not seen;
//   - the controller refuses a registration: waiting does not help, the node stops with the reason;
//   - a broker's metadata has another hash than the controller's at the same index: the broker stops and says so;
//   - a broker stops: its successors know that they lead before it is let go, or 0.7 s are over;
//   - a broker stops while no controller answers: it waits a second and a half, and goes.
package lifecycle
