package listen

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/cluster/socket"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Handler serves requests.
type Handler interface {
	// Handle serves one request, whose header was read and whose version is one that the message package knows, except
	// that any version of ApiVersions is handed over.
	Handle(r *Request)
}

// Conn is one client connection.
type Conn struct {
	listener *Listener
	net      net.Conn
	raw      syscall.RawConn // of a plain TCP connection, else nil
	done     chan struct{}   // closed when the client is gone or was given up
	ctx      context.Context
	cancel   context.CancelFunc
	ip       string

	// State is the handlers' own, used by the reader alone (authentication, the client's software name).
	State any

	lastActive atomic.Int64 // unix nanoseconds of the last byte read or written
	partial    atomic.Int64 // unix nanoseconds when the frame now coming in began; 0: none
	writing    atomic.Int64 // unix nanoseconds when the write now in work began; 0: none

	wake chan struct{} // one token when the writer goroutine should look
	left *leftover     // of whoever writes: for the writer goroutine to begin with

	// mu is held for queue operations only, never over I/O.
	mu struct {
		sync.Mutex
		queue    []*Request // requests read and not yet written, in order
		writer   bool       // somebody is writing
		handed   bool       // it is to be the writer goroutine
		handling bool       // the reader is in Handle, and writes what is ready when it returns
		room     *sync.Cond // signalled when the queue shrinks
		started  bool       // the writer goroutine runs
		closing  bool       // no more requests; close when the queue is empty
	}
}

// Listener returns the name of the listener the client came by.
func (c *Conn) Listener() string { return c.listener.opts.Name }

// Transport returns the connection as it was accepted, which may know who is at the other end.
func (c *Conn) Transport() net.Conn { return c.net }

// RemoteAddr returns the client's address.
func (c *Conn) RemoteAddr() string { return c.net.RemoteAddr().String() }

// RemoteIP returns the client's address without the port.
func (c *Conn) RemoteIP() string { return c.ip }

// Done is closed when the connection is gone, so that nobody waits for its sake.
func (c *Conn) Done() <-chan struct{} { return c.done }

// Context is cancelled when the connection is gone.
func (c *Conn) Context() context.Context { return c.ctx }

// errFrame is the reason why a connection was closed that is worth a log line.
type errFrame struct {
	key, version int16
	reason       string
}

func (e *errFrame) Error() string { return e.reason }

// read is the reader goroutine.
func (c *Conn) read() {
	err := c.readRequests()
	var bad *errFrame
	switch {
	case errors.As(err, &bad):
		c.listener.opts.Log.Warn("connection closed for a bad request", "listener", c.Listener(), "peer", c.RemoteAddr(),
			"key", bad.key, "version", bad.version, "reason", bad.reason)
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed):
		c.listener.opts.Log.Debug("connection lost", "peer", c.RemoteAddr(), "error", err)
	}
	if c.stopReading() {
		return // a graceful stop: the writer closes after the last answer
	}
	c.close()
}

// stopReading reports whether answers are still due on a connection that is being closed in good order.
func (c *Conn) stopReading() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mu.closing && c.busyLocked()
}

// busyLocked reports whether answers are due: those being written are not in the queue any more.
func (c *Conn) busyLocked() bool { return len(c.mu.queue) > 0 || c.mu.writer }

func (c *Conn) readRequests() error {
	source := frameSource{conn: c}
	defer source.drop()
	for {
		if err := c.waitRoom(); err != nil {
			return err
		}
		f, err := source.next()
		if err != nil {
			return err
		}
		r := &Request{Conn: c, frame: f, received: time.Now()}
		if err := r.parse(); err != nil {
			r.free()
			return err
		}
		c.mu.Lock()
		if c.mu.closing {
			// The connection was found idle while the frame came in, and is closed: what would be done now could not be answered,
			// and the client would ask for it again.
			c.mu.Unlock()
			r.free()
			return net.ErrClosed
		}
		c.mu.queue = append(c.mu.queue, r)
		c.mu.handling = true
		c.mu.Unlock()
		c.listener.handler.Handle(r)
		c.handled()
	}
}

// handled writes, from the reader itself, what was answered while it was in Handle: no other goroutine need wake for it,
// and a client that does not read holds up nobody else.
func (c *Conn) handled() {
	c.mu.Lock()
	c.mu.handling = false
	mine := !c.mu.writer && len(c.mu.queue) > 0 && c.mu.queue[0].ready
	if mine {
		c.mu.writer = true
	}
	c.mu.Unlock()
	if mine {
		c.write()
	}
}

// MayBlock says that Handle is about to wait: answers of earlier requests must not wait for it to return.
func (r *Request) MayBlock() { r.Conn.handled() }

// waitRoom waits until fewer requests than allowed are in work.
func (c *Conn) waitRoom() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.mu.queue) >= c.listener.opts.MaxPipelined {
		if c.goneLocked() {
			return net.ErrClosed
		}
		c.mu.room.Wait()
	}
	if c.mu.closing {
		return net.ErrClosed
	}
	return nil
}

// close ends the connection now. It may be called more than once, from anywhere.
func (c *Conn) close() {
	c.mu.Lock()
	if c.goneLocked() {
		c.mu.Unlock()
		return
	}
	close(c.done)
	c.mu.room.Broadcast()
	var drop []*Request
	if !c.mu.writer {
		drop = c.drainLocked()
	}
	c.mu.Unlock()
	for _, r := range drop {
		r.free()
	}
	c.cancel()
	c.net.Close()
	c.signal()
	c.listener.forget(c)
	c.listener.running.Done()
}

// finish makes the connection close once all that was read is answered.
func (c *Conn) finish() {
	c.mu.Lock()
	c.mu.closing = true
	idle := !c.busyLocked()
	c.mu.room.Broadcast()
	c.mu.Unlock()
	if idle {
		c.close()
		return
	}
	// Stop the reader, which may wait in a read; the writer goes on.
	c.net.SetReadDeadline(time.Unix(1, 0))
}

// drainLocked takes the answered requests out of the queue of a connection that is gone, for the caller to free. Those
// that are answered later free themselves.
func (c *Conn) drainLocked() []*Request {
	var ready, waiting []*Request
	for _, r := range c.mu.queue {
		if r.ready {
			ready = append(ready, r)
		} else {
			waiting = append(waiting, r)
		}
	}
	c.mu.queue = waiting
	return ready
}

// goneLocked reports whether close was called.
func (c *Conn) goneLocked() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

func (c *Conn) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// answered is called when a request has its answer.
func (c *Conn) answered(r *Request) {
	c.mu.Lock()
	if c.goneLocked() {
		c.mu.Unlock()
		r.free()
		return
	}
	r.ready = true
	if c.mu.writer || c.mu.handling || len(c.mu.queue) == 0 || c.mu.queue[0] != r {
		c.mu.Unlock()
		return
	}
	c.mu.writer = true
	c.mu.Unlock()
	if c.listener.mayDirect() {
		c.direct()
	} else if !c.handOver(nil) {
		c.write() // frees what is answered
	}
}

// take takes the answers at the head of the queue that are ready. If there are none, nobody writes any more, and a connection that is
// only waiting for that is closed.
func (c *Conn) take(batch []*Request) []*Request {
	c.mu.Lock()
	n := 0
	for n < len(c.mu.queue) && c.mu.queue[n].ready {
		n++
	}
	if n > 0 {
		batch = append(batch, c.mu.queue[:n]...)
		rest := copy(c.mu.queue, c.mu.queue[n:])
		clear(c.mu.queue[rest:])
		c.mu.queue = c.mu.queue[:rest]
		c.mu.room.Signal()
		c.mu.Unlock()
		return batch
	}
	c.mu.writer = false
	last := c.mu.closing && len(c.mu.queue) == 0
	var drop []*Request
	if c.goneLocked() {
		drop = c.drainLocked()
	}
	c.mu.Unlock()
	for _, r := range drop {
		r.free()
	}
	if last {
		c.close()
	}
	return nil
}

// write writes answers until the head of the queue has none. The caller has set mu.writer, and may wait.
func (c *Conn) write() {
	var few [4]*Request
	for {
		batch := c.take(few[:0])
		if len(batch) == 0 {
			return
		}
		c.wrote(batch, c.writeBatch(batch))
	}
}

// wrote is the end of answers that were written, or could not be: then the connection ends, and whatever else is answered is only freed.
func (c *Conn) wrote(batch []*Request, err error) {
	for _, r := range batch {
		r.free()
	}
	if err == nil {
		c.lastActive.Store(time.Now().UnixNano())
		return
	}
	if !errors.Is(err, net.ErrClosed) {
		c.listener.opts.Log.Debug("connection lost while answering", "peer", c.RemoteAddr(), "error", err)
	}
	c.close()
}

// writeBatch writes the answers of several requests with as few calls as it can.
func (c *Conn) writeBatch(batch []*Request) error {
	select {
	case <-c.done:
		return net.ErrClosed
	default:
	}
	c.writing.Store(time.Now().UnixNano())
	defer c.writing.Store(0)
	out, ok, err := c.join(batch)
	if err != nil {
		return err
	}
	if ok {
		_, err = socket.Write(c.raw, out.bytes, true)
		out.free()
		return err
	}
	g := gather{conn: c}
	for _, r := range batch {
		if r.abort {
			return errors.Join(g.flush(), net.ErrClosed)
		}
		for i := range r.pieces {
			if err := g.add(&r.pieces[i]); err != nil {
				return err
			}
		}
	}
	return g.flush()
}

// Request is one request of a client. Its body is good until it is answered.
type Request struct {
	*Conn
	Header message.RequestHeader
	Body   []byte // aliases a pooled buffer

	frame    frame
	received time.Time
	pieces   []Piece
	out      *Buffer
	ready    bool // under Conn.mu
	abort    bool
	relayed  *relayed // nil: it came by the connection
}

// Received returns when the request had been read.
func (r *Request) Received() time.Time { return r.received }

func (r *Request) parse() error {
	b := r.frame.bytes
	if len(b) < 8 {
		return &errFrame{-1, -1, fmt.Sprintf("a request of %d bytes is too short for its header", len(b))}
	}
	key, version := int16(binary.BigEndian.Uint16(b)), int16(binary.BigEndian.Uint16(b[2:]))
	info, ok := message.Lookup(wire.APIKey(key))
	if !ok {
		return &errFrame{key, version, "unknown API key"}
	}
	if key == int16(message.KeyAPIVersions) && (version < info.MinVersion || version > info.MaxVersion) {
		// The handler answers with what there is; of the header only these eight bytes are sure.
		r.Header = message.RequestHeader{Key: wire.APIKey(key), Version: version, CorrelationID: int32(binary.BigEndian.Uint32(b[4:]))}
		return nil
	}
	if version < info.MinVersion || version > info.MaxVersion {
		return &errFrame{key, version, fmt.Sprintf("unsupported version of %s, which has %d to %d", info.Name, info.MinVersion, info.MaxVersion)}
	}
	header, body, err := message.SplitRequest(b)
	if err != nil {
		return &errFrame{key, version, err.Error()}
	}
	r.Header, r.Body = header, body
	return nil
}

// Reply answers with a message. It must be the only answer.
func (r *Request) Reply(m message.Message) { r.ReplyVersion(m, r.Header.Version) }

// ReplyVersion is Reply in another version than the request's, which ApiVersions needs.
func (r *Request) ReplyVersion(m message.Message, version int16) {
	head := message.ResponseHeaderSize(r.Header.Key, version)
	size := head + m.Size(version)
	r.out = GetBuffer(4 + size)
	b := wire.AppendInt32(r.out.B, int32(size))
	b = message.AppendResponseHeader(b, r.Header.Key, version, r.Header.CorrelationID)
	b = m.AppendTo(b, version)
	if len(b) != 4+size {
		panic(fmt.Sprintf("listen: %T version %d is %d bytes long, its Size said %d", m, version, len(b)-4-head, size-head))
	}
	r.out.B = b
	r.pieces = append(r.pieces[:0], Piece{Bytes: b})
	r.finishReply()
}

// ReplyPieces answers with bytes and file ranges, which together are size and header and body. buffer holds the bytes
// and is released with the answer; it may be nil.
func (r *Request) ReplyPieces(pieces []Piece, buffer *Buffer) {
	r.pieces, r.out = pieces, buffer
	r.finishReply()
}

// NoReply takes the request out of the queue without an answer (Produce with acks=0).
func (r *Request) NoReply() {
	r.pieces = nil
	r.finishReply()
}

// Abort closes the connection once everything before the request is answered, with a log line.
func (r *Request) Abort(reason string) {
	r.Conn.listener.opts.Log.Warn("connection closed for a bad request", "listener", r.Conn.Listener(), "peer", r.RemoteAddr(),
		"key", int16(r.Header.Key), "version", r.Header.Version, "reason", reason)
	r.abort = true
	r.finishReply()
}

func (r *Request) finishReply() {
	if r.relayed != nil {
		r.relay()
		return
	}
	// The frame is not needed any more: free its memory before the write, which may take long.
	r.freeFrame()
	r.Conn.answered(r)
}

func (r *Request) freeFrame() {
	if r.frame.buffer != nil {
		r.frame.buffer.Release()
		r.Conn.listener.opts.Budget.release(r.frame.charged)
		r.frame, r.Body = frame{}, nil
	}
}

func (r *Request) free() {
	r.freeFrame()
	for i := range r.pieces {
		if f := r.pieces[i].File; f != nil {
			f.Release()
		}
	}
	r.pieces = nil
	if r.out != nil {
		r.out.Release()
		r.out = nil
	}
}
