package cluster

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// simNet is a network in memory, for simulations under a fake clock: everything that waits in it waits for a condition, a channel or a
// timer. Streams are ordered and buffered; while their way is cut nothing arrives, and it does when it is whole again, as with TCP.
// Datagrams are lost, delayed and overtaken.
type simNet struct {
	mu        sync.Mutex // a leaf
	random    *rand.Rand
	loss      float64 // of datagrams
	latency   time.Duration
	cuts      map[[2]string]int // from one host to another: how many faults cut it
	listeners map[string]*simListener
	sockets   map[string]*simSocket
	streams   map[*simStream]struct{}
	dead      map[string]bool // hosts whose process has ended, though its goroutines may not
}

func newSimNet(random *rand.Rand) *simNet {
	return &simNet{
		random: random, cuts: map[[2]string]int{}, listeners: map[string]*simListener{}, sockets: map[string]*simSocket{}, streams: map[*simStream]struct{}{}, dead: map[string]bool{},
	}
}

// delay returns how long something takes on its way now.
func (n *simNet) delay() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.latency/2 + time.Duration(n.random.Int64N(int64(n.latency)+1))
}

// draw returns a time of at most so much.
func (n *simNet) draw(most time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	return time.Duration(n.random.Int64N(int64(most) + 1))
}

// loses reports whether a datagram is lost.
func (n *simNet) loses() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.random.Float64() < n.loss
}

func (n *simNet) isCut(from, to string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cuts[[2]string{from, to}] > 0
}

// cut cuts the way from one host to another, or ends one such fault.
func (n *simNet) cut(from, to string, cut bool) {
	n.mu.Lock()
	if cut {
		n.cuts[[2]string{from, to}]++
	} else {
		n.cuts[[2]string{from, to}]--
	}
	var woken []*simStream
	for s := range n.streams {
		woken = append(woken, s)
	}
	n.mu.Unlock()
	for _, s := range woken {
		s.wake()
	}
}

// die is the end of a host's process: nothing more comes from it.
func (n *simNet) die(host string) {
	n.mu.Lock()
	n.dead[host] = true
	n.mu.Unlock()
	n.vanish(host)
}

// live lets a host have a process again.
func (n *simNet) live(host string) {
	n.mu.Lock()
	delete(n.dead, host)
	n.mu.Unlock()
}

func (n *simNet) isDead(host string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dead[host]
}

// vanish is the end of a host's process: its listeners refuse, and its streams are reset.
func (n *simNet) vanish(host string) {
	n.mu.Lock()
	var gone []*simStream
	for s := range n.streams {
		if s.from == host || s.to == host {
			gone = append(gone, s)
			delete(n.streams, s)
		}
	}
	var listeners []*simListener
	for a, l := range n.listeners {
		if h, _, _ := net.SplitHostPort(a); h == host {
			listeners = append(listeners, l)
			delete(n.listeners, a)
		}
	}
	for a, s := range n.sockets {
		if s.host == host {
			delete(n.sockets, a)
		}
	}
	n.mu.Unlock()
	for _, l := range listeners {
		_ = l.Close()
	}
	for _, s := range gone {
		s.end(errSimReset)
	}
}

func tcpAddr(address string) *net.TCPAddr {
	host, port, _ := net.SplitHostPort(address)
	number, _ := strconv.Atoi(port)
	return &net.TCPAddr{IP: net.ParseIP(host), Port: number}
}

// dialer returns how a host connects to others.
func (n *simNet) dialer(from string) func(ctx context.Context, address string) (net.Conn, error) {
	return func(ctx context.Context, address string) (net.Conn, error) {
		to, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		fail := func(err error) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Addr: tcpAddr(address), Err: err}
		}
		select {
		case <-time.After(n.delay()):
		case <-ctx.Done():
			return fail(ctx.Err())
		}
		for n.isCut(from, to) || n.isCut(to, from) {
			select {
			case <-time.After(200 * time.Millisecond): // as a SYN is sent again
			case <-ctx.Done():
				return fail(ctx.Err())
			}
		}
		n.mu.Lock()
		l := n.listeners[address]
		n.mu.Unlock()
		if n.isDead(from) {
			return fail(net.ErrClosed)
		}
		if l == nil {
			return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
		}
		there, back := newSimStream(n, from, to), newSimStream(n, to, from)
		near := &simConn{in: back, out: there, local: tcpAddr(from + ":40000"), remote: tcpAddr(address)}
		far := &simConn{in: there, out: back, local: tcpAddr(address), remote: near.local}
		select {
		case l.incoming <- far:
			return near, nil
		case <-l.done:
			return fail(os.NewSyscallError("connect", syscall.ECONNREFUSED))
		case <-ctx.Done():
			return fail(ctx.Err())
		}
	}
}

type simListener struct {
	net      *simNet
	address  string
	incoming chan net.Conn
	done     chan struct{}
	once     sync.Once
}

func (n *simNet) listen(address string) *simListener {
	l := &simListener{net: n, address: address, incoming: make(chan net.Conn, 128), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listeners[address] = l
	return l
}

func (l *simListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.incoming:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *simListener) Close() error {
	l.once.Do(func() {
		l.net.mu.Lock()
		if l.net.listeners[l.address] == l {
			delete(l.net.listeners, l.address)
		}
		l.net.mu.Unlock()
		close(l.done)
		for {
			select {
			case c := <-l.incoming:
				_ = c.Close()
				continue
			default:
			}
			return
		}
	})
	return nil
}

func (l *simListener) Addr() net.Addr { return tcpAddr(l.address) }

// simStream is one direction of a connection.
type simStream struct {
	net      *simNet
	from, to string

	mu            sync.Mutex // a leaf, but for the network's
	cond          *sync.Cond
	chunks        []simChunk
	size          int
	last          time.Time // when the last chunk arrives
	closed        bool      // by the writer
	deaf          bool      // closed by the reader
	broken        error
	readBy, write time.Time // deadlines
}

type simChunk struct {
	at time.Time
	b  []byte
}

const simWindow = 4 << 20

// As the net package has it: clients look at the kind of an error to tell whether to try again.
var (
	errSimReset = &net.OpError{Op: "read", Net: "tcp", Err: os.NewSyscallError("read", syscall.ECONNRESET)}
	errSimPipe  = &net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}
)

func newSimStream(n *simNet, from, to string) *simStream {
	s := &simStream{net: n, from: from, to: to}
	s.cond = sync.NewCond(&s.mu)
	n.mu.Lock()
	n.streams[s] = struct{}{}
	n.mu.Unlock()
	return s
}

func (s *simStream) wake() {
	s.mu.Lock()
	s.cond.Broadcast()
	s.mu.Unlock()
}

func (s *simStream) end(err error) {
	s.mu.Lock()
	s.broken = err
	s.cond.Broadcast()
	s.mu.Unlock()
}

// waitUntil waits for a wake-up, at the latest at a time.
func (s *simStream) waitUntil(t time.Time) {
	if !t.IsZero() {
		timer := time.AfterFunc(max(time.Until(t), 1), s.wake)
		defer timer.Stop()
	}
	s.cond.Wait()
}

func passed(t time.Time) bool { return !t.IsZero() && !time.Now().Before(t) }

func (s *simStream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		cut := s.net.isCut(s.from, s.to)
		until := s.readBy
		switch {
		case s.deaf:
			return 0, net.ErrClosed
		case passed(s.readBy):
			return 0, os.ErrDeadlineExceeded
		case s.broken != nil && !cut:
			return 0, s.broken
		case len(s.chunks) > 0 && !cut:
			c := &s.chunks[0]
			if !time.Now().Before(c.at) {
				n := copy(p, c.b)
				if c.b = c.b[n:]; len(c.b) == 0 {
					s.chunks = s.chunks[1:]
				}
				s.size -= n
				s.cond.Broadcast()
				return n, nil
			}
			if until.IsZero() || c.at.Before(until) {
				until = c.at
			}
		case s.closed && len(s.chunks) == 0 && !cut:
			return 0, io.EOF
		}
		s.waitUntil(until)
	}
}

func (s *simStream) put(p []byte) (int, error) {
	at := time.Now().Add(s.net.delay())
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		switch {
		case s.closed:
			return 0, net.ErrClosed
		case passed(s.write):
			return 0, os.ErrDeadlineExceeded
		case s.broken != nil:
			return 0, s.broken
		case s.deaf && !s.net.isCut(s.to, s.from):
			return 0, errSimPipe
		case s.size < simWindow:
			if at.Before(s.last) {
				at = s.last
			}
			s.last = at
			s.chunks = append(s.chunks, simChunk{at, append([]byte(nil), p...)})
			s.size += len(p)
			s.cond.Broadcast()
			return len(p), nil
		}
		s.waitUntil(s.write)
	}
}

// forget takes a stream out of the network's list when both of its ends are closed.
func (s *simStream) forget() {
	s.mu.Lock()
	over := s.closed && s.deaf
	s.mu.Unlock()
	if over {
		s.net.mu.Lock()
		delete(s.net.streams, s)
		s.net.mu.Unlock()
	}
}

// simConn is one end of a connection.
type simConn struct {
	in, out       *simStream
	local, remote net.Addr
}

func (c *simConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *simConn) Write(p []byte) (int, error) { return c.out.put(p) }
func (c *simConn) LocalAddr() net.Addr         { return c.local }
func (c *simConn) RemoteAddr() net.Addr        { return c.remote }

func (c *simConn) Close() error {
	c.out.mu.Lock()
	c.out.closed = true
	c.out.cond.Broadcast()
	c.out.mu.Unlock()
	c.in.mu.Lock()
	c.in.deaf = true
	c.in.cond.Broadcast()
	c.in.mu.Unlock()
	c.in.forget()
	c.out.forget()
	return nil
}

func (c *simConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}

func (c *simConn) SetReadDeadline(t time.Time) error {
	c.in.mu.Lock()
	c.in.readBy = t
	c.in.cond.Broadcast()
	c.in.mu.Unlock()
	return nil
}

func (c *simConn) SetWriteDeadline(t time.Time) error {
	c.out.mu.Lock()
	c.out.write = t
	c.out.cond.Broadcast()
	c.out.mu.Unlock()
	return nil
}

// simSocket takes and sends datagrams.
type simSocket struct {
	net     *simNet
	host    string
	address string
	in      chan simPacket
	done    chan struct{}
	once    sync.Once
}

type simPacket struct {
	from net.Addr
	b    []byte
}

func (n *simNet) socket(address string) *simSocket {
	host, _, _ := net.SplitHostPort(address)
	s := &simSocket{net: n, host: host, address: address, in: make(chan simPacket, 1024), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sockets[address] = s
	return s
}

func (s *simSocket) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case x := <-s.in:
		return copy(p, x.b), x.from, nil
	case <-s.done:
		return 0, nil, net.ErrClosed
	}
}

func (s *simSocket) WriteTo(p []byte, to net.Addr) (int, error) {
	n := s.net
	host, _, err := net.SplitHostPort(to.String())
	if err != nil {
		return 0, err
	}
	if n.isDead(s.host) || n.isCut(s.host, host) || n.loses() {
		return len(p), nil
	}
	packet := simPacket{&net.UDPAddr{IP: net.ParseIP(s.host), Port: tcpAddr(s.address).Port}, append([]byte(nil), p...)}
	time.AfterFunc(n.delay(), func() {
		n.mu.Lock()
		target := n.sockets[to.String()]
		n.mu.Unlock()
		if target == nil || n.isCut(s.host, host) {
			return
		}
		select {
		case target.in <- packet:
		default: // its buffer is full
		}
	})
	return len(p), nil
}

func (s *simSocket) Close() error {
	s.once.Do(func() {
		s.net.mu.Lock()
		if s.net.sockets[s.address] == s {
			delete(s.net.sockets, s.address)
		}
		s.net.mu.Unlock()
		close(s.done)
	})
	return nil
}

func (s *simSocket) LocalAddr() net.Addr              { return tcpAddr(s.address) }
func (s *simSocket) SetDeadline(time.Time) error      { return nil }
func (s *simSocket) SetReadDeadline(time.Time) error  { return nil }
func (s *simSocket) SetWriteDeadline(time.Time) error { return nil }
