package internal

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Options says how brokers speak to each other. The zero value of a field takes the default in brackets.
type Options struct {
	Self   func() Identity
	Secret []byte                                                      // nil: nobody proves anything; for loopback only
	Dial   func(ctx context.Context, address string) (net.Conn, error) // [TCP]
	// Check refuses a peer that has proved itself; its message reaches the other side.
	Check func(peer Identity) error
	// OnClosed is called when the last stream of calls from a peer's incarnation has closed: a hint that it died.
	OnClosed       func(peer Identity)
	Handshake      time.Duration // [5 s]
	WriteTimeout   time.Duration // of one frame [10 s]
	MaxConnections int           // in all [4096]
	MaxStrangers   int           // of which in the handshake [256]
	MaxCalls       int           // of one connection in work [128]
	Log            *slog.Logger  // [discard]
}

func (o Options) withDefaults() Options {
	def(&o.Handshake, 5*time.Second)
	def(&o.WriteTimeout, 10*time.Second)
	def(&o.MaxConnections, 4096)
	def(&o.MaxStrangers, 256)
	def(&o.MaxCalls, 128)
	if o.Dial == nil {
		o.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", address)
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// Conn is a stream whose other side is known.
type Conn struct {
	net.Conn
	Peer   Identity
	closed func()
	once   sync.Once
}

// PeerBroker returns the broker at the other end, as it has proved; NoBroker if it is not registered yet.
func (c *Conn) PeerBroker() wire.BrokerID { return c.Peer.Broker }

// NetConn returns the connection below, for system calls that want it.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Close closes the stream.
func (c *Conn) Close() error {
	c.once.Do(func() {
		if c.closed != nil {
			c.closed()
		}
	})
	return c.Conn.Close()
}

// Dial opens a stream to a node, and refuses anybody but expect; zero: any node of our cluster.
func Dial(ctx context.Context, o Options, address string, k Kind, expect wire.UUID) (*Conn, error) {
	o = o.withDefaults()
	ctx, cancel := context.WithTimeout(ctx, o.Handshake)
	defer cancel()
	c, err := o.Dial(ctx, address)
	if err != nil {
		return nil, err
	}
	// The handshake ends with ctx, deadline or not.
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })
	peer, err := o.dialHandshake(c, k, expect)
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("node at %s: %w", address, err), c.Close())
	}
	return &Conn{Conn: c, Peer: peer}, nil
}

// Listener accepts the streams of other nodes.
type Listener struct {
	opts    Options
	net     net.Listener
	stop    chan struct{}
	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	mu struct {
		sync.Mutex
		conns     map[net.Conn]struct{}
		strangers int
		calls     map[incarnation]int // streams of calls, by who opened them
		handler   Handler
		waiting   chan struct{} // closed when the handler is there
		closed    bool
		said      map[string]time.Time // when a refusal was logged
	}
	streams map[Kind]chan *Conn
}

type incarnation struct {
	directory wire.UUID
	nonce     uint64
}

// Listen starts to accept on l. Calls wait until [Listener.Serve] was called.
func Listen(l net.Listener, o Options) *Listener {
	s := &Listener{opts: o.withDefaults(), net: l, stop: make(chan struct{}), streams: map[Kind]chan *Conn{KindRaft: make(chan *Conn), KindFetch: make(chan *Conn)}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.mu.conns, s.mu.calls, s.mu.waiting, s.mu.said = map[net.Conn]struct{}{}, map[incarnation]int{}, make(chan struct{}), map[string]time.Time{}
	s.running.Add(1)
	go s.accept()
	return s
}

// Serve begins to serve calls.
func (s *Listener) Serve(h Handler) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.handler = h
	close(s.mu.waiting)
}

// Addr returns the address that is bound.
func (s *Listener) Addr() net.Addr { return s.net.Addr() }

// Streams returns the streams of a kind as they come in. Closing it ends Accept; it ends with the Listener, too.
func (s *Listener) Streams(k Kind) net.Listener {
	return &kindListener{of: s, in: s.streams[k], closed: make(chan struct{})}
}

type kindListener struct {
	of     *Listener
	in     chan *Conn
	closed chan struct{}
	once   sync.Once
}

func (k *kindListener) Accept() (net.Conn, error) {
	select {
	case c := <-k.in:
		return c, nil
	case <-k.closed:
	case <-k.of.stop:
	}
	return nil, net.ErrClosed
}

func (k *kindListener) Close() error {
	k.once.Do(func() { close(k.closed) })
	return nil
}

func (k *kindListener) Addr() net.Addr { return k.of.Addr() }

// Close closes every stream, and waits until nothing runs any more.
func (s *Listener) Close() error {
	s.mu.Lock()
	if s.mu.closed {
		s.mu.Unlock()
		return nil
	}
	s.mu.closed = true
	conns := s.mu.conns
	s.mu.conns = nil
	s.mu.Unlock()
	close(s.stop)
	s.cancel()
	err := s.net.Close()
	for c := range conns {
		_ = c.Close() // it is being given up: what it says of that helps nobody
	}
	s.running.Wait()
	return err
}

func (s *Listener) accept() {
	defer s.running.Done()
	backoff := time.Duration(0)
	for {
		c, err := s.net.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.opts.Log.Error("accept failed", "listener", "internal", "error", err)
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(backoff):
				continue
			case <-s.stop:
				return
			}
		}
		backoff = 0
		if !s.admit(c) {
			_ = c.Close() // there are too many, or we are closing
			continue
		}
		go func() {
			defer s.running.Done()
			s.open(c)
		}()
	}
}

func (s *Listener) admit(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.mu.closed || len(s.mu.conns) >= s.opts.MaxConnections || s.mu.strangers >= s.opts.MaxStrangers {
		return false
	}
	s.mu.conns[c] = struct{}{}
	s.mu.strangers++
	s.running.Add(1)
	return true
}

func (s *Listener) forget(c net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
}

// open does the handshake, and hands the stream to whom it is for.
func (s *Listener) open(c net.Conn) {
	err := c.SetDeadline(time.Now().Add(s.opts.Handshake))
	var k Kind
	var peer Identity
	if err == nil {
		k, peer, err = s.opts.acceptHandshake(c)
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	s.mu.Lock()
	s.mu.strangers--
	s.mu.Unlock()
	if err != nil {
		level := slog.LevelDebug
		if s.worthALine(peer, err) {
			level = slog.LevelWarn
		}
		s.opts.Log.Log(s.ctx, level, "node refused", "listener", "internal", "peer", c.RemoteAddr(), "broker", peer.Broker, "reason", err)
		s.forget(c)
		_ = c.Close() // the reason is told
		return
	}
	conn := &Conn{Conn: c, Peer: peer, closed: func() { s.forget(c) }}
	if k == KindRPC {
		s.serveCalls(conn)
		return
	}
	select {
	case s.streams[k] <- conn:
	case <-s.stop:
		_ = conn.Close() // it is being given up
	}
}

// sayAgain is when a refusal that goes on is logged again: a node that is refused tries on.
const sayAgain = 30 * time.Second

// worthALine reports whether a refusal was not logged lately.
func (s *Listener) worthALine(peer Identity, why error) bool {
	key := peer.Directory.String() + why.Error()
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.mu.said[key]) < sayAgain {
		return false
	}
	if len(s.mu.said) > 1000 {
		clear(s.mu.said)
	}
	s.mu.said[key] = now
	return true
}

// counted notes a stream of calls until the function it returns is called.
func (s *Listener) counted(peer Identity) func() {
	who := incarnation{peer.Directory, peer.Nonce}
	s.mu.Lock()
	s.mu.calls[who]++
	s.mu.Unlock()
	return func() {
		s.mu.Lock()
		s.mu.calls[who]--
		last := s.mu.calls[who] == 0
		if last {
			delete(s.mu.calls, who)
		}
		closing := s.mu.closed
		s.mu.Unlock()
		if last && !closing && s.opts.OnClosed != nil {
			s.opts.OnClosed(peer)
		}
	}
}
