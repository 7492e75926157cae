package gossip

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

// transport is memberlist's transport over sockets that are bound already, on whose TCP port newcomers say hello.
type transport struct {
	tcp       net.Listener
	udp       net.PacketConn
	advertise string
	dialer    Dialer
	hello     func(net.Conn) // serves a newcomer, whose first byte was read

	packets chan *memberlist.Packet
	streams chan net.Conn
	stop    chan struct{}
	once    sync.Once
	running sync.WaitGroup
	hellos  chan struct{} // a token for each stream whose first byte has not come, or that says hello

	cut atomic.Bool // of tests: nothing comes in or goes out
}

const (
	// maxUndecided bounds the streams that have not shown what they are.
	maxUndecided = 128
	// undecided is how long a stream may take to its first byte.
	undecided   = 5 * time.Second
	maxDatagram = 64 << 10
)

func newTransport(o *Options, hello func(net.Conn)) *transport {
	t := &transport{
		tcp: o.TCP, udp: o.UDP, advertise: o.Advertise, dialer: o.Dial, hello: hello, packets: make(chan *memberlist.Packet, 256), streams: make(chan net.Conn),
		stop: make(chan struct{}), hellos: make(chan struct{}, maxUndecided),
	}
	t.running.Add(2)
	go t.accept()
	go t.receive()
	return t
}

func (t *transport) accept() {
	defer t.running.Done()
	for {
		c, err := t.tcp.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil:
			select {
			case <-time.After(50 * time.Millisecond): // out of descriptors, most likely
				continue
			case <-t.stop:
				return
			}
		}
		select {
		case t.hellos <- struct{}{}:
		default:
			_ = c.Close() // there are too many of those who say nothing
			continue
		}
		t.running.Add(1)
		go func() {
			defer t.running.Done()
			t.route(c)
		}()
	}
}

// firstByte gives a byte back that was read to see what a stream is.
type firstByte struct {
	net.Conn
	b    byte
	read bool
}

func (f *firstByte) Read(p []byte) (int, error) {
	if f.read || len(p) == 0 {
		return f.Conn.Read(p)
	}
	f.read = true
	p[0] = f.b
	return 1, nil
}

// route looks at a stream's first byte.
func (t *transport) route(c net.Conn) {
	free := sync.OnceFunc(func() { <-t.hellos })
	defer free()
	defer t.closeWithUs(c)()
	var b [1]byte
	if c.SetDeadline(time.Now().Add(undecided)) != nil || t.cut.Load() {
		_ = c.Close() // it is gone
		return
	}
	if _, err := c.Read(b[:]); err != nil {
		_ = c.Close() // it said nothing
		return
	}
	if b[0] == helloMagic {
		t.hello(c)
		_ = c.Close() // it has its answer
		return
	}
	if c.SetDeadline(time.Time{}) != nil {
		_ = c.Close() // it is gone
		return
	}
	free()
	select {
	case t.streams <- &firstByte{Conn: c, b: b[0]}:
	case <-t.stop:
		_ = c.Close() // nobody takes it any more
	}
}

// closeWithUs closes c when the transport shuts down before the function that it returns is called.
func (t *transport) closeWithUs(c net.Conn) func() {
	done := make(chan struct{})
	t.running.Add(1)
	go func() {
		defer t.running.Done()
		select {
		case <-t.stop:
			_ = c.Close() // so that nobody waits for it
		case <-done:
		}
	}()
	return func() { close(done) }
}

func (t *transport) receive() {
	defer t.running.Done()
	b := make([]byte, maxDatagram)
	for {
		n, from, err := t.udp.ReadFrom(b)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil || n == 0 || t.cut.Load():
			continue
		}
		p := &memberlist.Packet{Buf: append([]byte(nil), b[:n]...), From: from, Timestamp: time.Now()}
		select {
		case t.packets <- p:
		case <-t.stop:
			return
		default: // memberlist is behind: as if the network had lost it
		}
	}
}

// FinalAdvertiseAddr implements [memberlist.Transport].
func (t *transport) FinalAdvertiseAddr(string, int) (net.IP, int, error) {
	a, err := net.ResolveTCPAddr("tcp", t.advertise)
	if err != nil {
		return nil, 0, fmt.Errorf("gossip address %s: %w", t.advertise, err)
	}
	return a.IP, a.Port, nil
}

var errCut = errors.New("cut off by a test")

// WriteTo implements [memberlist.Transport].
func (t *transport) WriteTo(b []byte, addr string) (time.Time, error) {
	if t.cut.Load() {
		return time.Now(), nil // lost on the way: an error would be our own network's, which blames nobody
	}
	to, err := net.ResolveUDPAddr("udp", addr)
	if err != nil {
		return time.Time{}, err
	}
	_, err = t.udp.WriteTo(b, to)
	return time.Now(), err
}

// PacketCh implements [memberlist.Transport].
func (t *transport) PacketCh() <-chan *memberlist.Packet { return t.packets }

// DialTimeout implements [memberlist.Transport].
func (t *transport) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	if t.cut.Load() {
		return nil, errCut
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return t.dialer.dial(ctx, addr)
}

// WriteToAddress implements [memberlist.NodeAwareTransport].
func (t *transport) WriteToAddress(b []byte, a memberlist.Address) (time.Time, error) {
	return t.WriteTo(b, a.Addr)
}

// DialAddressTimeout implements [memberlist.NodeAwareTransport].
func (t *transport) DialAddressTimeout(a memberlist.Address, timeout time.Duration) (net.Conn, error) {
	return t.DialTimeout(a.Addr, timeout)
}

// StreamCh implements [memberlist.Transport].
func (t *transport) StreamCh() <-chan net.Conn { return t.streams }

// Shutdown implements [memberlist.Transport].
func (t *transport) Shutdown() error {
	var err error
	t.once.Do(func() {
		close(t.stop)
		err = errors.Join(t.tcp.Close(), t.udp.Close())
	})
	t.running.Wait()
	return err
}

// hostPort splits an address whose port is a number.
func hostPort(address string) (string, int, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host, int(n), err
}
