package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/cluster/socket"
)

// Listener accepts client connections on one address.
type Listener struct {
	opts    Options
	net     net.Listener
	handler Handler
	running sync.WaitGroup // every goroutine of the listener and its connections
	stop    chan struct{}
	stopped sync.Once
	started time.Time
	pace    pace // of answers written by those who give them

	mu struct {
		sync.Mutex
		conns  map[*Conn]struct{}
		byIP   map[string]int
		closed bool
	}
}

// Serve starts to accept on l. The handler may be called before Serve returns.
func Serve(l net.Listener, h Handler, o Options) *Listener {
	s := &Listener{opts: o.withDefaults(), net: l, handler: h, stop: make(chan struct{}), started: time.Now()}
	s.mu.conns = map[*Conn]struct{}{}
	s.mu.byIP = map[string]int{}
	s.running.Add(2)
	go s.accept()
	go s.sweep()
	return s
}

// Addr returns the address that is bound.
func (s *Listener) Addr() net.Addr { return s.net.Addr() }

// Name returns the listener's name.
func (s *Listener) Name() string { return s.opts.Name }

// Connections returns how many connections are open.
func (s *Listener) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.mu.conns)
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
			// Out of descriptors, most likely: others will close theirs.
			s.opts.Log.Error("accept failed", "listener", s.opts.Name, "error", err)
			backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(backoff):
				continue
			case <-s.stop:
				return
			}
		}
		backoff = 0
		s.admit(c)
	}
}

// admit starts a connection, or closes it when there are too many.
func (s *Listener) admit(n net.Conn) {
	c := &Conn{listener: s, net: n, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.mu.room = sync.NewCond(&c.mu.Mutex)
	c.lastActive.Store(time.Now().UnixNano())
	c.ip, _, _ = net.SplitHostPort(n.RemoteAddr().String())
	c.raw = socket.Raw(n)
	s.mu.Lock()
	reason := ""
	switch {
	case s.mu.closed:
		reason = "the node is stopping"
	case len(s.mu.conns) >= s.opts.MaxConnections:
		reason = fmt.Sprintf("max.connections (%d) reached", s.opts.MaxConnections)
	case s.mu.byIP[c.ip] >= s.opts.MaxConnectionsIP:
		reason = fmt.Sprintf("max.connections.per.ip (%d) reached", s.opts.MaxConnectionsIP)
	}
	if reason != "" {
		s.mu.Unlock()
		s.opts.Log.Warn("connection refused", "listener", s.opts.Name, "peer", n.RemoteAddr(), "reason", reason)
		c.cancel()
		n.Close()
		return
	}
	s.mu.conns[c] = struct{}{}
	s.mu.byIP[c.ip]++
	s.observeLocked()
	// One for the reader, and one until the connection is closed: it may start its writer after the reader has ended.
	s.running.Add(2)
	s.mu.Unlock()
	go func() {
		defer s.running.Done()
		c.read()
	}()
}

// mayDirect reports whether an answer may be written by whoever gives it.
func (s *Listener) mayDirect() bool { return s.pace.allow(time.Since(s.started)) }

func (s *Listener) observeLocked() {
	if s.opts.ObserveConnection != nil {
		s.opts.ObserveConnection(len(s.mu.conns))
	}
}

func (s *Listener) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.mu.conns, c)
	if s.mu.byIP[c.ip]--; s.mu.byIP[c.ip] <= 0 {
		delete(s.mu.byIP, c.ip)
	}
	s.observeLocked()
}

// sweep closes connections that idle, that send a frame too slowly, or that do not take their answers. One goroutine
// looks at all of them now and then, instead of a timer in each.
func (s *Listener) sweep() {
	defer s.running.Done()
	period := max(min(s.opts.IdleTimeout, s.opts.WriteTimeout, s.opts.PartialTimeout)/10, 10*time.Millisecond)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case now := <-tick.C:
			for _, c := range s.list() {
				if reason := c.overdue(now); reason != "" {
					s.opts.Log.Warn("connection closed", "listener", s.opts.Name, "peer", c.RemoteAddr(), "reason", reason)
					c.close()
				}
			}
		}
	}
}

func (c *Conn) overdue(now time.Time) string {
	o := &c.listener.opts
	since := func(ns int64) time.Duration { return time.Duration(now.UnixNano() - ns) }
	if w := c.writing.Load(); w != 0 && since(w) > o.WriteTimeout {
		return "the client does not read its answers"
	}
	if p := c.partial.Load(); p != 0 && since(p) > o.PartialTimeout {
		return "a request did not come to its end in time"
	}
	c.mu.Lock()
	busy := c.busyLocked()
	c.mu.Unlock()
	if !busy && since(c.lastActive.Load()) > o.IdleTimeout {
		return "idle (connections.max.idle.ms)"
	}
	return ""
}

func (s *Listener) list() []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*Conn, 0, len(s.mu.conns))
	for c := range s.mu.conns {
		out = append(out, c)
	}
	return out
}

// StopAccepting closes the listening socket; the connections go on.
func (s *Listener) StopAccepting() error {
	s.mu.Lock()
	s.mu.closed = true
	s.mu.Unlock()
	return s.net.Close()
}

// Abort closes the listener and all connections at once, whatever was accepted; it waits for nothing.
func (s *Listener) Abort() error {
	err := s.StopAccepting()
	for _, c := range s.list() {
		c.close()
	}
	return err
}

// Close stops in good order: requests that were read are answered until ctx ends, then all connections are closed.
func (s *Listener) Close(ctx context.Context) error {
	err := s.StopAccepting()
	if errors.Is(err, net.ErrClosed) {
		err = nil
	}
	for _, c := range s.list() {
		c.finish()
	}
	ended := make(chan struct{})
	go func() {
		s.running.Wait()
		close(ended)
	}()
	s.stopped.Do(func() { close(s.stop) })
	select {
	case <-ended:
	case <-ctx.Done():
		for _, c := range s.list() {
			c.close()
		}
		<-ended
	}
	return err
}
