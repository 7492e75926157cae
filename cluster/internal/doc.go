// Package internal is the brokers' listener: one TCP port on which streams of several kinds arrive, told apart by their
// first byte, each opened by a mutual handshake; and calls over one of the kinds.
//
//	dialler  -> kind | magic | version | hello: identity, nonce, who is expected
//	acceptor -> status | hello: identity, nonce | proof
//	dialler  -> status | proof
//	acceptor -> status, and the stream begins
//
// A proof is an HMAC-SHA256 under a key derived from the cluster's secret, over the prover's role and everything that was
// said before: kind, version, both identities, both nonces, who was expected. The acceptor's proof comes first, over a
// nonce that the dialler has just drawn, so that the dialler gives its own only to somebody who knows the secret; what an
// impostor can get from either side is a proof over a nonce that will not come again, and in a role that the other side does
// not accept. Without a secret there are no proofs, and identities are claims: the caller must listen on loopback only.
// What comes after the handshake is neither hidden nor signed; a network that others write to needs more.
//
// # Who may call what
//
// Everything may be called from any goroutine. [Handler.Handle] runs in a goroutine for each call, at most
// [Options.MaxCalls] of a connection at a time: then nothing more is read from it. [Handler.Hear] runs on the reader of the connection.
//
// # What is told
//
// Beside calls, one side may tell the other something that wants no answer, for less than a call costs. A frame of it that was written is
// heard, or the connection breaks; either the hearer's complaint or the break has the teller tell it all again ([Client.Tell]).
//
// # What if
//
//   - somebody else answers than was expected (a wiped directory on an old address): the acceptor refuses, and Dial
//     returns [ErrNotWhoWasExpected];
//   - the other is of another cluster, has another secret or none, or is an older copy of a directory: refused, with the
//     reason on both sides;
//   - a stranger sends anything: a bounded number of them is listened to, for a bounded time, and a few hundred bytes of
//     each are read;
//   - a connection breaks under a call: [ErrUnknownOutcome]; the next call dials again;
//   - a peer does not read its answers: the connection closes when a write takes longer than [Options.WriteTimeout].
package internal
