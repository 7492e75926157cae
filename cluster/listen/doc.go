// Package listen serves client connections: it cuts the byte stream into requests, hands them to a [Handler], and
// writes the answers in the order of the requests.
//
//	socket -> reader (one goroutine) -> Handler.Handle ---- Request.Reply, in any order, from any goroutine
//	socket <- writer <- ordered queue of slots <----------- a slot a request, written when all before it are
//
// The writer is whoever has just given the answer that the client waits for, if that is small and the socket takes it at once: the reader,
// or a goroutine that moved a watermark. Otherwise, and where such answers are many, it is a goroutine of the connection.
//
// A reader waits without a buffer; it takes one from a pool when bytes are there, and the buffer goes back once the
// answer is on its way. What a frame claims to be long is not believed: buffers grow with what came.
//
// # Who may call what
//
// Handle is called by the connection's reader and must not keep it for long, except where the protocol lets one request
// hold the next up. Every request is answered exactly once, by Reply, NoReply or Abort, from any goroutine.
//
// # What if
//
//   - a frame is longer than the limit of its key, negative, cut, or of an unknown key or version: the connection
//     closes, and one log line names peer, key, version and reason (an unknown version of ApiVersions is the handler's to
//     answer);
//   - the requests in work hold more bytes than the budget: readers wait, for at most [Options.BudgetWait], then give
//     the connection up, so that half-sent frames cannot starve the rest; a client that hangs up meanwhile is noticed,
//     although nobody reads from it, so that its connection does not count against the limits;
//   - a client does not read its answers: nobody waits for it but its own goroutines; its reader stops at [Options.MaxPipelined] requests, and the connection
//     closes when one write takes longer than [Options.WriteTimeout];
//   - a client goes away while requests wait: [Conn.Done] is closed, so that what waits can be dropped;
//   - Close: no request is read any more, those that were read are answered, then the connections close.
//
// This package knows no API key but for the limits, and no topic.
package listen
