package internal

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

var secret = []byte("all nodes know this")

func as(directory byte, change func(*Options)) Options {
	o := Options{
		Self: func() Identity {
			return Identity{Cluster: "c1", Directory: wire.UUID{directory}, Broker: wire.BrokerID(directory), Generation: 3, Nonce: 1000 + uint64(directory)}
		},
		Secret: secret,
	}
	if change != nil {
		change(&o)
	}
	return o
}

// logged keeps what a listener logs.
type logged struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func listen(t testing.TB, o Options) (*Listener, *logged) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log := &logged{}
	o.Log = slog.New(slog.NewTextHandler(log, nil))
	s := Listen(l, o)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, log
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("never: " + what)
		}
	}
}

func TestBothSidesKnowEachOther(t *testing.T) {
	for _, s := range [][]byte{nil, secret} {
		with := func(o *Options) { o.Secret = s }
		l, _ := listen(t, as(1, with))
		c, err := Dial(t.Context(), as(2, with), l.Addr().String(), KindRaft, wire.UUID{1})
		if err != nil {
			t.Fatal(err)
		}
		in, err := l.Streams(KindRaft).Accept()
		if err != nil {
			t.Fatal(err)
		}
		if c.Peer != l.opts.Self() || in.(*Conn).Peer != as(2, nil).Self() {
			t.Fatalf("%+v and %+v", c.Peer, in.(*Conn).Peer)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 5)
		if _, err := io.ReadFull(in, b); err != nil || string(b) != "hello" {
			t.Fatal(string(b), err)
		}
		if err := errors.Join(c.Close(), in.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestRefusals(t *testing.T) {
	other := func(o *Options) {
		self := o.Self
		o.Self = func() Identity { i := self(); i.Cluster = "c2"; return i }
	}
	picky := func(o *Options) {
		o.Check = func(p Identity) error { return fmt.Errorf("broker %d is an older copy", p.Broker) }
	}
	for name, c := range map[string]struct {
		acceptor, dialler func(*Options)
		expect            wire.UUID
		want              error
		says              string
		log               string // "": the acceptor only sees the other hang up
	}{
		"another cluster":     {other, nil, wire.UUID{1}, ErrOtherCluster, "give the node a seed of its own cluster", ""},
		"a wiped directory":   {nil, nil, wire.UUID{9}, ErrNotWhoWasExpected, "directory CQAAAAAAAAAAAAAAAAAAAA was expected, directory AQAAAAAAAAAAAAAAAAAAAA is there", "was expected"},
		"another secret":      {func(o *Options) { o.Secret = []byte("x") }, nil, wire.UUID{1}, ErrSecret, "all nodes need the same --secret-file", "it says: one side does not prove"},
		"no secret there":     {func(o *Options) { o.Secret = nil }, nil, wire.UUID{1}, ErrSecret, "one of the two nodes has a secret", "has a secret"},
		"no secret here":      {nil, func(o *Options) { o.Secret = nil }, wire.UUID{1}, ErrSecret, "one of the two nodes has a secret", "has a secret"},
		"the acceptor checks": {picky, nil, wire.UUID{1}, ErrRefused, "broker 2 is an older copy", "broker 2 is an older copy"},
		"the dialler checks":  {nil, picky, wire.UUID{1}, ErrUnwanted, "broker 1 is an older copy", ""},
	} {
		t.Run(name, func(t *testing.T) {
			l, log := listen(t, as(1, c.acceptor))
			_, err := Dial(t.Context(), as(2, c.dialler), l.Addr().String(), KindRaft, c.expect)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Fatalf("%v", err)
			}
			if c.log != "" {
				until(t, "the acceptor logs "+c.log, func() bool { return strings.Contains(log.String(), c.log) })
			}
		})
	}
}

func TestAnotherListenerIsTold(t *testing.T) {
	for name, answer := range map[string]string{"http": "HTTP/1.1 400 Bad Request\r\n\r\n", "hangs up": ""} {
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			go func() {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(answer))
				_ = c.Close()
			}()
			_, err = Dial(t.Context(), as(2, nil), l.Addr().String(), KindRPC, wire.UUID{})
			if !errors.Is(err, ErrNotKraftgo) {
				t.Fatalf("%v", err)
			}
		})
	}
}

// between runs a handshake through somebody who sees and changes bytes, and returns what both sides got.
func between(t *testing.T, change func(toAcceptor bool, at int, b byte) byte) (dialled, accepted error) {
	t.Helper()
	dialler, left := net.Pipe()
	right, acceptor := net.Pipe()
	deadline := time.Now().Add(500 * time.Millisecond) // a length that grew makes a side wait for more
	for _, c := range []net.Conn{dialler, left, right, acceptor} {
		if err := c.SetDeadline(deadline); err != nil {
			t.Fatal(err)
		}
	}
	pass := func(from, to net.Conn, toAcceptor bool) {
		b := make([]byte, 1)
		for i := 0; ; i++ {
			if _, err := from.Read(b); err != nil {
				break
			}
			b[0] = change(toAcceptor, i, b[0])
			if _, err := to.Write(b); err != nil {
				break
			}
		}
		from.Close()
		to.Close()
	}
	go pass(left, right, true)
	go pass(right, left, false)
	done := make(chan error)
	go func() {
		o := as(1, nil)
		_, _, err := o.acceptHandshake(acceptor)
		acceptor.Close()
		done <- err
	}()
	o := as(2, nil)
	_, dialled = o.dialHandshake(dialler, KindRaft, wire.UUID{1})
	dialler.Close()
	return dialled, <-done
}

// Whoever changes any one byte on the way is noticed by one side at least, and by the other before it begins: the dialler
// begins only after the acceptor's last word.
func TestEveryChangedByteIsNoticed(t *testing.T) {
	sizes := map[bool]int{}
	var mu sync.Mutex
	if d, a := between(t, func(to bool, at int, b byte) byte {
		mu.Lock()
		defer mu.Unlock()
		sizes[to] = max(sizes[to], at+1)
		return b
	}); d != nil || a != nil {
		t.Fatal(d, a)
	}
	var all sync.WaitGroup
	slots := make(chan struct{}, 32)
	for _, direction := range []bool{true, false} {
		for at := range sizes[direction] {
			slots <- struct{}{}
			all.Go(func() {
				defer func() { <-slots }()
				dialled, accepted := between(t, func(to bool, i int, b byte) byte {
					if to == direction && i == at {
						return b ^ 1
					}
					return b
				})
				// The acceptor's very last byte is its assent: changed, the acceptor cannot know.
				last := !direction && at == sizes[false]-1
				if dialled == nil || accepted == nil && !last {
					t.Errorf("byte %d towards the acceptor: %v: dialler %v, acceptor %v", at, direction, dialled, accepted)
				}
			})
		}
	}
	all.Wait()
}

// What was said in one handshake opens no other.
func TestAReplayedHandshakeFails(t *testing.T) {
	var said []byte
	var mu sync.Mutex
	if d, a := between(t, func(to bool, _ int, b byte) byte {
		mu.Lock()
		defer mu.Unlock()
		if to {
			said = append(said, b)
		}
		return b
	}); d != nil || a != nil {
		t.Fatal(d, a)
	}
	near, far := net.Pipe()
	defer near.Close()
	go func() { _, _ = near.Write(said) }()
	go func() { _, _ = io.Copy(io.Discard, near) }()
	o := as(1, nil)
	if _, _, err := o.acceptHandshake(far); !errors.Is(err, ErrSecret) {
		t.Fatalf("%v", err)
	}
}

// Strangers that say anything, or nothing, cost a bounded number of connections for a bounded time, and a node gets in.
func TestStrangersDoNotKeepNodesOut(t *testing.T) {
	l, _ := listen(t, as(1, func(o *Options) { o.Handshake, o.MaxStrangers = 300*time.Millisecond, 16 }))
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 200 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		b := make([]byte, r.IntN(400))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		if i%2 == 0 {
			b = append([]byte{byte(KindRPC)}, append([]byte(handshakeMagic), append([]byte{handshakeVersion, 0xff, 0xff}, b...)...)...)
		}
		_, _ = c.Write(b[:len(b)*(i%3)/2])
	}
	until(t, "a node is let in", func() bool {
		c, err := Dial(t.Context(), as(2, nil), l.Addr().String(), KindRPC, wire.UUID{1})
		return err == nil && c.Close() == nil
	})
}

func FuzzHello(f *testing.F) {
	h := hello{identity: as(1, nil).Self()}
	f.Add(h.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHello(b)
		if err != nil {
			return
		}
		if again, err := decodeHello(h.appendTo(nil)); err != nil || again != h {
			t.Fatalf("%+v became %+v, %v", h, again, err)
		}
	})
}

func FuzzFrame(f *testing.F) {
	x := frame{7, 1, []byte("body")}
	f.Add(x.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := readFrame(bytes.NewReader(b))
		if err == nil && !bytes.HasPrefix(b, x.appendTo(nil)) {
			t.Fatalf("%x became %x", b, x.appendTo(nil))
		}
	})
}

type handlerFunc func(context.Context, Identity, Method, []byte) ([]byte, error)

func (f handlerFunc) Hear(Identity, Method, []byte) error { return errors.New("nobody listens") }

func (f handlerFunc) Handle(ctx context.Context, p Identity, m Method, b []byte) ([]byte, error) {
	return f(ctx, p, m, b)
}

func client(t *testing.T, o Options, l *Listener) *Client {
	t.Helper()
	c := NewClient(o, l.Addr().String(), wire.UUID{1})
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// Many calls at once on one connection: each gets its own answer, whichever is ready first.
func TestCallsAreAnsweredInAnyOrder(t *testing.T) {
	l, _ := listen(t, as(1, nil))
	var mu sync.Mutex
	held := map[string]chan struct{}{}
	l.Serve(handlerFunc(func(ctx context.Context, p Identity, m Method, b []byte) ([]byte, error) {
		if m == 2 {
			return nil, &Error{41, "elsewhere"}
		}
		if m == 3 {
			return nil, errors.New("plain")
		}
		mu.Lock()
		wait := make(chan struct{})
		held[string(b)] = wait
		all := len(held) == 50
		mu.Unlock()
		if all {
			mu.Lock()
			for _, w := range held {
				close(w)
			}
			mu.Unlock()
		}
		<-wait
		return fmt.Appendf(nil, "%s for %d", b, p.Broker), nil
	}))
	c := client(t, as(2, nil), l)
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			body := fmt.Appendf(bytes.Repeat([]byte("x"), i*5000), "%d", i)
			answer, err := c.Call(t.Context(), 1, body)
			if err != nil || string(answer) != string(body)+" for 2" {
				t.Errorf("call %d: %d bytes, %v", i, len(answer), err)
			}
		})
	}
	all.Wait()
	var e *Error
	if _, err := c.Call(t.Context(), 2, nil); !errors.As(err, &e) || e.Code != 41 || e.Text != "elsewhere" {
		t.Fatal(err)
	}
	if _, err := c.Call(t.Context(), 3, nil); !errors.As(err, &e) || e.Code != -1 || e.Text != "plain" {
		t.Fatal(err)
	}
}

// A broken connection: what was sent has an unknown outcome, the next call connects anew, and the other side learns that
// the caller may have died, once for all its streams.
func TestABrokenConnection(t *testing.T) {
	closed := make(chan Identity, 10)
	l, _ := listen(t, as(1, func(o *Options) { o.OnClosed = func(p Identity) { closed <- p } }))
	started := make(chan struct{})
	l.Serve(handlerFunc(func(ctx context.Context, _ Identity, m Method, b []byte) ([]byte, error) {
		if m == 1 {
			started <- struct{}{}
			<-ctx.Done() // the caller is gone
		}
		return b, nil
	}))
	c, second := client(t, as(2, nil), l), client(t, as(2, nil), l)
	if _, err := second.Call(t.Context(), 2, nil); err != nil {
		t.Fatal(err)
	}
	fault := make(chan error)
	go func() {
		_, err := c.Call(t.Context(), 1, nil)
		fault <- err
	}()
	<-started
	c.mu.Lock()
	broken := c.mu.stream.conn
	c.mu.Unlock()
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-fault; !errors.Is(err, ErrUnknownOutcome) {
		t.Fatal(err)
	}
	until(t, "a call goes through again", func() bool {
		answer, err := c.Call(t.Context(), 2, []byte("again"))
		if err != nil && !errors.Is(err, ErrNotSent) {
			t.Fatal(err)
		}
		return string(answer) == "again"
	})
	select {
	case p := <-closed:
		t.Fatalf("%+v has other streams", p)
	default:
	}
	if err := errors.Join(c.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
	if p := <-closed; p.Broker != 2 {
		t.Fatalf("%+v", p)
	}
	if _, err := c.Call(t.Context(), 2, nil); !errors.Is(err, ErrNotSent) {
		t.Fatal(err)
	}
	nobody := NewClient(as(2, nil), "127.0.0.1:1", wire.UUID{1})
	if _, err := nobody.Call(t.Context(), 2, nil); !errors.Is(err, ErrNotSent) {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	slow := client(t, as(2, nil), l)
	go func() { <-started; cancel() }()
	if _, err := slow.Call(ctx, 1, nil); !errors.Is(err, ErrUnknownOutcome) || !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

// So many calls are in work on a connection, and no more are read.
func TestCallsAreBounded(t *testing.T) {
	l, _ := listen(t, as(1, func(o *Options) { o.MaxCalls = 3 }))
	var mu sync.Mutex
	now, most := 0, 0
	l.Serve(handlerFunc(func(_ context.Context, _ Identity, _ Method, b []byte) ([]byte, error) {
		mu.Lock()
		now++
		most = max(most, now)
		mu.Unlock()
		runtime.Gosched()
		mu.Lock()
		now--
		mu.Unlock()
		return b, nil
	}))
	c := client(t, as(2, nil), l)
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if _, err := c.Call(t.Context(), 1, nil); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if most > 3 {
		t.Fatalf("%d calls at a time", most)
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	l, _ := listen(t, as(1, nil))
	started := make(chan struct{}, 1)
	l.Serve(handlerFunc(func(ctx context.Context, _ Identity, _ Method, _ []byte) ([]byte, error) {
		started <- struct{}{}
		<-ctx.Done()
		return nil, ctx.Err()
	}))
	c := NewClient(as(2, nil), l.Addr().String(), wire.UUID{})
	fault := make(chan error)
	go func() {
		_, err := c.Call(t.Context(), 1, nil)
		fault <- err
	}()
	<-started
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-fault; err == nil {
		t.Fatal("a call was answered by a listener that closed")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	until(t, "all goroutines ended", func() bool { return runtime.NumGoroutine() <= before })
}

// hearing is a handler of what is told alone.
type hearing func(m Method, body []byte) error

func (h hearing) Hear(_ Identity, m Method, body []byte) error { return h(m, body) }
func (h hearing) Handle(context.Context, Identity, Method, []byte) ([]byte, error) {
	return nil, nil
}

// What is told is heard in its order, whoever tells it and however large it is. Nothing can be told at once without a connection.
func TestWhatIsToldIsHeardInOrder(t *testing.T) {
	l, _ := listen(t, as(1, nil))
	heard := make(chan int, 10_000)
	l.Serve(hearing(func(_ Method, body []byte) error {
		heard <- int(binary.BigEndian.Uint32(body))
		return nil
	}))
	c := client(t, as(2, nil), l)
	unheard := func() { t.Error("it was heard") }
	if c.TellNow(1, []byte{0, 0, 0, 0}, unheard) {
		t.Fatal("told to nobody")
	}
	const n = 2000
	atOnce := 0
	for i := range n {
		body := binary.BigEndian.AppendUint32(nil, uint32(i))
		body = append(body, make([]byte, i%10*5000)...)
		if c.TellNow(1, body, unheard) {
			atOnce++
		} else if err := c.Tell(t.Context(), 1, body, unheard); err != nil {
			t.Fatal(err)
		}
	}
	for i := range n {
		if got := <-heard; got != i {
			t.Fatalf("heard %d, not %d", got, i)
		}
	}
	if atOnce == 0 {
		t.Error("nothing was told at once")
	}
	c.mu.Lock()
	s := c.mu.stream
	c.mu.Unlock()
	s.mu.Lock()
	clear(s.unheard) // the client closes
	s.mu.Unlock()
}

// Who tells something learns that it may not have been heard: the other side says so, or the connection breaks, before that has read it or
// after.
func TestWhatMayNotHaveBeenHeard(t *testing.T) {
	l, _ := listen(t, as(1, nil))
	heard := make(chan Method, 10)
	l.Serve(hearing(func(m Method, _ []byte) error {
		heard <- m
		if m == 1 {
			return errors.New("too early")
		}
		return nil
	}))
	c := client(t, as(2, nil), l)
	unheard := map[Method]chan struct{}{1: make(chan struct{}, 10), 2: make(chan struct{}, 10)}
	tell := func(m Method) {
		t.Helper()
		said := func() { unheard[m] <- struct{}{} }
		if !c.TellNow(m, nil, said) {
			if err := c.Tell(t.Context(), m, nil, said); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-heard; got != m {
			t.Fatalf("heard %d", got)
		}
	}
	tell(2)
	tell(1)
	<-unheard[1]
	if len(unheard[2]) != 0 {
		t.Fatal("the other message was heard")
	}
	c.mu.Lock()
	broken := c.mu.stream.conn
	c.mu.Unlock()
	if err := broken.Close(); err != nil {
		t.Fatal(err)
	}
	<-unheard[1]
	<-unheard[2]
	tell(2)
}
