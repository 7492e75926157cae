package listen

import (
	"context"
	"errors"
	"net"
	"sync"

	"github.com/kraftgo/kraftgo/wire"
)

// Frame returns the request as it came: header and body, without the length. It is good until the answer.
func (r *Request) Frame() []byte { return r.frame.bytes }

// ReplyFrame answers with a frame that another broker made: header and body, without the length. The request's correlation
// id must be in it.
func (r *Request) ReplyFrame(frame []byte) {
	r.out = GetBuffer(4 + len(frame))
	r.out.B = append(wire.AppendInt32(r.out.B, int32(len(frame))), frame...)
	r.pieces = append(r.pieces[:0], Piece{Bytes: r.out.B})
	r.finishReply()
}

// Relayed reports whether another broker sent the request.
func (r *Request) Relayed() bool { return r.relayed != nil }

// RelayID is what the broker that sent the request names it by, when it sends it again too; zero: it came from a client.
func (r *Request) RelayID() wire.UUID {
	if r.relayed == nil {
		return wire.UUID{}
	}
	return r.relayed.id
}

// Undecided gives a relayed request back unanswered: [Relay] returns err, and the broker that sent it may send it elsewhere.
func (r *Request) Undecided(err error) {
	x := r.relayed
	x.mu.Lock()
	x.undecided = err
	x.mu.Unlock()
	r.pieces = nil
	r.finishReply()
}

// relayed is the part of a request that came by another broker.
type relayed struct {
	mu    sync.Mutex
	ready chan struct{} // closed when there is an answer
	frame []byte        // nil: it was aborted, or has no answer
	why   string

	id        wire.UUID
	undecided error // it was not answered
}

// remote is the connection of a relayed request: the client is connected elsewhere.
type remote struct {
	net.Conn
	peer string
}

func (c remote) RemoteAddr() net.Addr { return address(c.peer) }

type address string

func (a address) Network() string { return "tcp" }
func (a address) String() string  { return string(a) }

// Relay serves a request that a client sent to another broker, and returns the answer's frame. listener names the listener
// that the client came by, and peer its address; id is the same when the request is sent again.
func Relay(ctx context.Context, h Handler, o Options, id wire.UUID, peer string, frameBytes []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	c := &Conn{listener: &Listener{opts: o.withDefaults()}, net: remote{peer: peer}, done: make(chan struct{}), ctx: ctx, cancel: cancel}
	c.ip, _, _ = net.SplitHostPort(peer)
	defer close(c.done)
	r := &Request{Conn: c, frame: frame{bytes: frameBytes}, relayed: &relayed{ready: make(chan struct{}), id: id}}
	if err := r.parse(); err != nil {
		return nil, err
	}
	h.Handle(r)
	select {
	case <-r.relayed.ready:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	r.relayed.mu.Lock()
	defer r.relayed.mu.Unlock()
	if r.relayed.undecided != nil {
		return nil, r.relayed.undecided
	}
	if r.relayed.frame == nil {
		return nil, errors.New(r.relayed.why)
	}
	return r.relayed.frame, nil
}

// relay hands the answer of a relayed request to [Relay].
func (r *Request) relay() {
	x := r.relayed
	x.mu.Lock()
	defer x.mu.Unlock()
	select {
	case <-x.ready:
		panic("listen: a relayed request was answered twice")
	default:
	}
	for _, p := range r.pieces {
		if p.File != nil {
			x.why = "its answer is not made of bytes"
		}
		x.frame = append(x.frame, p.Bytes...)
	}
	switch {
	case r.abort:
		x.frame, x.why = nil, "the request was refused"
	case len(x.frame) < 4:
		x.frame, x.why = nil, "the request has no answer"
	default:
		x.frame = x.frame[4:]
	}
	r.free()
	close(x.ready)
}
