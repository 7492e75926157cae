// Package gossip finds the cluster's members and hints at those who went. It wraps hashicorp/memberlist; what it says is a
// hint, never authority: who is a member, and who is alive, the metadata tells.
//
// The TCP port is shared: a stream that begins with [helloMagic] is a newcomer's hello, by which it learns the cluster's id
// and the members' addresses before it has joined anything; any other is memberlist's.
//
// # Who may call what
//
// Everything may be called from any goroutine. The functions in [Options] are called by one goroutine of the package, one
// at a time, never under memberlist's lock.
//
// # What if
//
//   - no seed answers: they are tried on, with back-off, and the log says so now and then, with what each says to a hello;
//   - both halves of a long partition have forgotten each other, which memberlist does after half a minute: a peer that was
//     known and is absent is dialled again, one at a time, every [Options.Rejoin]; the peers are kept in a file;
//   - a node comes back at another address: it has another name, since a name is directory and boot nonce; the old
//     incarnation's departure, which comes late, is not taken for the new one's;
//   - a node of another cluster, or one that does not know the secret: it is kept out, and the log says so;
//   - the peers' file is damaged: it is ignored, with a warning.
package gossip
