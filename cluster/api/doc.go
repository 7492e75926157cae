// Package api answers the requests of clients: one file a request key, each with a [handler] that names the key and
// serves it. What is not in the table in handlers.go is not advertised, and not served.
//
// A handler turns the message into calls on what the [Broker] is made of, and their results into an answer; decisions
// live in metadata/control, replication and coordinator.
//
// # Who may call what
//
// [Broker.Handle] is called by the connections' readers, many at a time. A handler that waits for something other than
// memory first calls MayBlock, or answers later from another goroutine.
//
// # What if
//
//   - a body does not decode: the connection closes, as Kafka's does, with a log line;
//   - the version is none that is advertised: the same, but for ApiVersions, which answers in version 0;
//   - a handler panics: it is a bug; the process ends, since state may be half changed.
package api
