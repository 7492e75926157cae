package internal

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/cluster/socket"
	"github.com/kraftgo/kraftgo/wire"
)

// Method names what is called.
type Method byte

// Handler serves calls.
type Handler interface {
	// Handle returns the answer. An [*Error] reaches the caller as it is, any other error as its text. ctx ends when the
	// caller is gone.
	Handle(ctx context.Context, peer Identity, m Method, body []byte) ([]byte, error)
	// Hear takes what the peer tells and wants no answer to. An error has it told that it was not heard. It is called by the reader of the
	// connection, in the order of what is told, and must wait for nothing. body is good until it returns.
	Hear(peer Identity, m Method, body []byte) error
}

// Error is a handler's error as the caller gets it. Code is the handler's own; -1 stands for an error of another type.
type Error struct {
	Code int16
	Text string
}

// Error returns the text.
func (e *Error) Error() string { return e.Text }

var (
	// ErrNotSent is the result of a call that was certainly not executed.
	ErrNotSent = errors.New("the call was not sent")
	// ErrUnknownOutcome is the result of a call of which it is not known whether it was executed.
	ErrUnknownOutcome = errors.New("the connection broke, or time ran out, before the answer came")
	errClientClosed   = errors.New("the client was closed")
)

const (
	frameHead = 4 + 8 + 1
	// readSize is how much of small frames is read at a time.
	readSize = 4 << 10
	// maxFrame bounds a body. Metadata travels in pieces of at most 8 MiB.
	maxFrame = 16 << 20
	// statusError is the byte of an answer that is an error; 0 is success.
	statusError = 1
)

// told is the id of frames that are no calls and no answers: one side tells the other something (tag: the method), which sends the tag
// back if it could not do with it what it should.
const told = 0

// frame is a call (tag: the method) or an answer (tag: the status).
type frame struct {
	id   uint64
	tag  byte
	body []byte
}

func (f *frame) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(f.body)))
	b = binary.BigEndian.AppendUint64(b, f.id)
	b = append(b, f.tag)
	return append(b, f.body...)
}

// readFrame reads a frame; the body grows with what comes, not with what the head claims.
func readFrame(r io.Reader) (f frame, err error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return f, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	f.id, f.tag = binary.BigEndian.Uint64(head[4:]), head[12]
	if n > maxFrame {
		return f, fmt.Errorf("a frame of %d bytes, allowed are %d", n, maxFrame)
	}
	for len(f.body) < n {
		have := len(f.body)
		f.body = append(f.body, make([]byte, min(n-have, max(have, 64<<10)))...)
		if _, err := io.ReadFull(r, f.body[have:]); err != nil {
			return f, err
		}
	}
	return f, nil
}

// frameWriter writes whole frames, each within a time.
type frameWriter struct {
	mu      sync.Mutex
	conn    net.Conn
	raw     syscall.RawConn // of a plain TCP connection, else nil
	timeout time.Duration
}

func newFrameWriter(c net.Conn, timeout time.Duration) *frameWriter {
	return &frameWriter{conn: c, raw: socket.Raw(c), timeout: timeout}
}

func (w *frameWriter) write(f frame) error {
	b := f.appendTo(make([]byte, 0, frameHead+len(f.body)))
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.raw != nil && len(b) <= socket.Most {
		n, err := socket.Write(w.raw, b, false)
		if err != nil || n == len(b) {
			return err
		}
		b = b[n:]
	}
	return w.finishLocked(b)
}

// finishLocked writes what may have to wait for room.
func (w *frameWriter) finishLocked(b []byte) error {
	if err := w.conn.SetWriteDeadline(time.Now().Add(w.timeout)); err != nil {
		return err
	}
	_, err := w.conn.Write(b)
	if err == nil {
		err = w.conn.SetWriteDeadline(time.Time{}) // what is next written may not look at the time
	}
	return err
}

// tryWrite writes a frame if that can be done without waiting. It returns false if nothing was written. One that was written in part is
// finished on a goroutine that running waits for; failed is called if that cannot be.
func (w *frameWriter) tryWrite(f frame, running *sync.WaitGroup, failed func()) bool {
	if w.raw == nil || !w.mu.TryLock() {
		return false
	}
	b := f.appendTo(make([]byte, 0, frameHead+len(f.body)))
	n, err := socket.Write(w.raw, b, false)
	if err != nil || n == 0 || n == len(b) {
		w.mu.Unlock()
		return n > 0
	}
	running.Add(1)
	go func() {
		defer running.Done()
		defer w.mu.Unlock()
		if err := w.finishLocked(b[n:]); err != nil {
			failed()
		}
	}()
	return true
}

// serveCalls serves one stream of calls to its end.
func (s *Listener) serveCalls(c *Conn) {
	defer s.counted(c.Peer)()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	var calls sync.WaitGroup
	defer calls.Wait()
	defer c.Close()
	s.mu.Lock()
	waiting := s.mu.waiting
	s.mu.Unlock()
	select {
	case <-waiting:
	case <-s.stop:
		return
	}
	s.mu.Lock()
	h := s.mu.handler
	s.mu.Unlock()
	w := newFrameWriter(c, s.opts.WriteTimeout)
	slots := make(chan struct{}, s.opts.MaxCalls)
	in := bufio.NewReaderSize(socket.NewReader(c), readSize)
	for {
		f, err := readFrame(in)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
				s.opts.Log.Debug("node lost", "listener", "internal", "broker", c.Peer.Broker, "error", err)
			}
			cancel()
			return
		}
		if f.id == told {
			if err := h.Hear(c.Peer, Method(f.tag), f.body); err == nil {
				continue
			}
			s.opts.Log.Debug("node not understood", "listener", "internal", "broker", c.Peer.Broker, "method", f.tag, "error", err)
			f.body = nil
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		calls.Go(func() {
			defer func() { <-slots }()
			answer := f // of what was not heard
			if f.id != told {
				answer = answerOf(h.Handle(ctx, c.Peer, Method(f.tag), f.body))
				answer.id = f.id
			}
			if err := w.write(answer); err != nil {
				_ = c.Close() // the reader sees it, and ends
			}
		})
	}
}

func answerOf(body []byte, err error) frame {
	if err == nil && len(body) > maxFrame {
		err = fmt.Errorf("an answer of %d bytes, allowed are %d", len(body), maxFrame)
	}
	if err == nil {
		return frame{body: body}
	}
	e := &Error{-1, err.Error()}
	errors.As(err, &e)
	return frame{tag: statusError, body: append(wire.AppendInt16(nil, e.Code), e.Text...)}
}

// Client calls one node. It connects when there is something to say, and again after a loss.
type Client struct {
	opts    Options
	address string
	expect  wire.UUID
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	dialing chan struct{} // a token for who connects
	mu      struct {
		sync.Mutex
		stream *stream // nil: not connected
		closed bool
	}
}

// stream is one connection of a client.
type stream struct {
	conn *Conn
	w    *frameWriter

	mu      sync.Mutex
	next    uint64
	waiting map[uint64]chan frame // nil: broken
	unheard map[Method]func()     // of what was told: for when it may not have been heard
}

// NewClient returns a client of the node at address, which must be expect; zero: any node of our cluster.
func NewClient(o Options, address string, expect wire.UUID) *Client {
	c := &Client{opts: o.withDefaults(), address: address, expect: expect, dialing: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

// Close breaks the connection, and waits until nothing runs any more.
func (c *Client) Close() error {
	c.mu.Lock()
	c.mu.closed = true
	s := c.mu.stream
	c.mu.Unlock()
	c.cancel()
	if s != nil {
		_ = s.conn.Close() // it is being given up
	}
	c.running.Wait()
	return nil
}

// Call has the node do something. An error that the node returned is an [*Error]; [ErrNotSent] and [ErrUnknownOutcome] tell
// the rest apart.
func (c *Client) Call(ctx context.Context, m Method, body []byte) ([]byte, error) {
	if len(body) > maxFrame {
		return nil, fmt.Errorf("%w: a call of %d bytes, allowed are %d", ErrNotSent, len(body), maxFrame)
	}
	s, err := c.connected(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	id, answer, ok := s.expect()
	if !ok {
		return nil, fmt.Errorf("%w: the connection to %s broke", ErrNotSent, c.address)
	}
	defer s.forget(id)
	if err := s.w.write(frame{id, byte(m), body}); err != nil {
		_ = s.conn.Close() // a frame may be half written: the reader ends the stream
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	select {
	case f, ok := <-answer:
		switch {
		case !ok:
			return nil, fmt.Errorf("%w: the connection to %s broke", ErrUnknownOutcome, c.address)
		case f.tag == 0:
			return f.body, nil
		case len(f.body) < 2:
			return nil, &Error{-1, "an error without words"}
		}
		return nil, &Error{int16(binary.BigEndian.Uint16(f.body)), string(f.body[2:])}
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnknownOutcome, ctx.Err())
	}
}

// TellNow tells the node something without waiting for anything: not for an answer, which there is none to, for a connection, nor for room
// in it. It returns false if it was not told; it may be told by [Client.Tell] then.
//
// unheard is called, perhaps more than once, on a goroutine that must not wait, if anything of the method may not have been heard of what
// was told with a connection until now: since that broke, or the other side said so. All of it must be told again then.
func (c *Client) TellNow(m Method, body []byte, unheard func()) bool {
	c.mu.Lock()
	s := c.mu.stream
	if c.mu.closed || s == nil {
		c.mu.Unlock()
		return false
	}
	c.running.Add(1)
	c.mu.Unlock()
	defer c.running.Done()
	return s.tells(m, unheard) && s.w.tryWrite(frame{told, byte(m), body}, &c.running, func() { _ = s.conn.Close() })
}

// Tell is TellNow, but waits, as long as ctx lasts, for a connection, and for room in it.
func (c *Client) Tell(ctx context.Context, m Method, body []byte, unheard func()) error {
	s, err := c.connected(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotSent, err)
	}
	if !s.tells(m, unheard) {
		return fmt.Errorf("%w: the connection to %s broke", ErrNotSent, c.address)
	}
	if err := s.w.write(frame{told, byte(m), body}); err != nil {
		_ = s.conn.Close() // a frame may be half written: the reader ends the stream
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return nil
}

// tells notes, before something is told, whom that concerns; false: the stream has ended.
func (s *stream) tells(m Method, unheard func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		return false
	}
	s.unheard[m] = unheard
	return true
}

// connected returns the stream, which it makes if there is none.
func (c *Client) connected(ctx context.Context) (*stream, error) {
	current := func() (*stream, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.mu.closed {
			return nil, errClientClosed
		}
		return c.mu.stream, nil
	}
	if s, err := current(); s != nil || err != nil {
		return s, err
	}
	select {
	case c.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, errClientClosed
	}
	defer func() { <-c.dialing }()
	if s, err := current(); s != nil || err != nil {
		return s, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(c.ctx, cancel)()
	conn, err := Dial(ctx, c.opts, c.address, KindRPC, c.expect)
	if err != nil {
		return nil, err
	}
	s := &stream{conn: conn, w: newFrameWriter(conn, c.opts.WriteTimeout), waiting: map[uint64]chan frame{}, unheard: map[Method]func(){}}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mu.closed {
		return nil, errors.Join(errClientClosed, conn.Close())
	}
	c.mu.stream = s
	c.running.Add(1)
	go func() {
		defer c.running.Done()
		s.read()
		c.mu.Lock()
		c.mu.stream = nil
		c.mu.Unlock()
	}()
	return s, nil
}

// expect registers a call.
func (s *stream) expect() (id uint64, answer chan frame, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting == nil {
		return 0, nil, false
	}
	s.next++
	answer = make(chan frame, 1)
	s.waiting[s.next] = answer
	return s.next, answer, true
}

func (s *stream) forget(id uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, id)
}

// read hands out answers until the connection breaks.
func (s *stream) read() {
	in := bufio.NewReaderSize(socket.NewReader(s.conn), readSize)
	for {
		f, err := readFrame(in)
		if err != nil {
			break
		}
		s.mu.Lock()
		answer := s.waiting[f.id]
		delete(s.waiting, f.id)
		unheard := s.unheard[Method(f.tag)]
		s.mu.Unlock()
		if f.id == told && unheard != nil {
			unheard()
		}
		if answer != nil {
			answer <- f
		}
	}
	_ = s.conn.Close() // it broke
	s.mu.Lock()
	for _, answer := range s.waiting {
		close(answer)
	}
	s.waiting = nil
	unheard := s.unheard
	s.mu.Unlock()
	for _, f := range unheard {
		f()
	}
}
