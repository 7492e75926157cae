package listen

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
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

func TestMain(m *testing.M) {
	poison = true
	m.Run()
}

type handlerFunc func(*Request)

func (f handlerFunc) Handle(r *Request) { f(r) }

func serve(t *testing.T, o Options, h func(*Request)) *Listener {
	t.Helper()
	n, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := Serve(n, handlerFunc(h), o)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := l.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return l
}

func dial(t *testing.T, l *Listener) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

// heartbeat is a frame of Heartbeat v0 with the correlation id and a group id of n bytes.
func heartbeat(id int32, n int) []byte {
	h := message.RequestHeader{Key: message.KeyHeartbeat, CorrelationID: id, ClientID: new(string)}
	b := h.AppendTo(make([]byte, 4))
	b = (&message.HeartbeatRequest{GroupID: strings.Repeat("g", n)}).AppendTo(b, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

func readAnswer(c io.Reader) (id int32, body []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, nil, err
	}
	body = make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(c, body); err != nil {
		return 0, nil, err
	}
	return int32(binary.BigEndian.Uint32(body)), body[4:], nil
}

// Requests of one connection are answered in their order, whichever answer is ready first, whatever their sizes and
// however the bytes were cut on the way.
func TestAnswersComeInTheOrderOfTheRequests(t *testing.T) {
	var wg sync.WaitGroup
	l := serve(t, Options{}, func(r *Request) {
		var m message.HeartbeatRequest
		if err := m.Decode(r.Body, 0); err != nil {
			t.Error(err)
		}
		answer := &message.HeartbeatResponse{ErrorCode: wire.ErrorCode(len(m.GroupID) % 100)}
		if len(m.GroupID)%3 == 0 {
			r.Reply(answer)
			return
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.Reply(answer)
		}()
	})
	c := dial(t, l)
	const n = 3000
	rng := rand.New(rand.NewPCG(1, 2))
	sizes := make([]int, n)
	go func() {
		var out []byte
		for i := range sizes {
			sizes[i] = rng.IntN(200)
			if rng.IntN(20) == 0 {
				sizes[i] = rng.IntN(32000)
			}
			out = append(out, heartbeat(int32(i), sizes[i])...)
		}
		for len(out) > 0 {
			k := min(len(out), 1+rng.IntN(50000))
			if _, err := c.Write(out[:k]); err != nil {
				t.Error(err)
				return
			}
			out = out[k:]
		}
	}()
	for i := range n {
		id, body, err := readAnswer(c)
		if err != nil {
			t.Fatal(err)
		}
		if id != int32(i) || int(binary.BigEndian.Uint16(body)) != sizes[i]%100 {
			t.Fatalf("answer %d has id %d, code %d, want code %d", i, id, body, sizes[i]%100)
		}
	}
	wg.Wait()
}

func TestBadFramesCloseTheConnectionWithALogLine(t *testing.T) {
	frame := func(size int32, rest ...byte) []byte { return append(wire.AppendInt32(nil, size), rest...) }
	good := heartbeat(1, 3)
	for _, tc := range []struct {
		name, want string
		bytes      []byte
	}{
		{"negative", "too short", frame(-5, 0, 0)},
		{"too short", "too short", frame(3, 0, 0, 0)},
		{"too long", "allowed are 8 to 1000", frame(100_000, 0, 12, 0, 0)},
		{"produce too long", "allowed are 8 to 2000", frame(2001, 0, 0, 0, 0)},
		{"unknown key", "unknown API key", frame(8, 0x11, 0x11, 0, 0, 0, 0, 0, 1)},
		{"unknown version", "unsupported version of Heartbeat", frame(8, 0, 12, 0, 99, 0, 0, 0, 1)},
		{"header cut", "malformed", frame(9, 0, 12, 0, 0, 0, 0, 0, 1, 0)},
		{"ends within", "ended within a request", good[:len(good)-2]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var mu sync.Mutex
			var log bytes.Buffer
			l := serve(t, Options{MaxFrame: 2000, MaxOtherFrame: 1000, Log: slog.New(slog.NewTextHandler(lockedWriter{&mu, &log}, nil))}, func(r *Request) {
				t.Error("a bad frame reached the handler")
				r.NoReply()
			})
			c := dial(t, l)
			if _, err := c.Write(tc.bytes); err != nil {
				t.Fatal(err)
			}
			if err := c.(*net.TCPConn).CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Read(make([]byte, 1)); err == nil {
				t.Fatalf("%d bytes instead of the end", n)
			}
			mu.Lock()
			defer mu.Unlock()
			if !strings.Contains(log.String(), tc.want) || !strings.Contains(log.String(), "peer=") {
				t.Fatalf("log: %s", log.String())
			}
		})
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l lockedWriter) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

// Half-sent frames that hold all request memory are given up; a good client's requests are served meanwhile.
func TestHalfSentFramesDoNotStarveOthers(t *testing.T) {
	l := serve(t, Options{Budget: NewBudget(256 << 10), BudgetWait: 50 * time.Millisecond, PartialTimeout: 200 * time.Millisecond}, func(r *Request) {
		r.Reply(&message.HeartbeatResponse{})
	})
	var bad []net.Conn
	for range 40 {
		c := dial(t, l)
		bad = append(bad, c)
		b := wire.AppendInt32(nil, 1<<20)
		b = append(b, make([]byte, 60<<10)...) // Produce v0, half of it
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
	}
	c := dial(t, l)
	for i := range 50 {
		if _, err := c.Write(heartbeat(int32(i), 30)); err != nil {
			t.Fatal(err)
		}
		if id, _, err := readAnswer(c); err != nil || id != int32(i) {
			t.Fatalf("answer %d: id %d, %v", i, id, err)
		}
	}
	for i, b := range bad {
		if _, err := b.Read(make([]byte, 1)); err == nil {
			t.Fatalf("half-sent frame %d was answered", i)
		}
	}
	free := func() int64 {
		b := l.opts.Budget
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.mu.free
	}
	deadline := time.Now().Add(5 * time.Second)
	for free() != 256<<10 {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes of the budget are free again, of %d", free(), 256<<10)
		}
	}
}

// A client that hangs up while its frame waits for request memory is noticed at once, bytes before its end or not: such
// connections would count against the limits for as long as the wait may last, and keep others out.
func TestHungUpWhileWaitingForMemoryIsNoticed(t *testing.T) {
	l := serve(t, Options{Budget: NewBudget(64 << 10), BudgetWait: time.Hour}, func(r *Request) { r.Reply(&message.HeartbeatResponse{}) })
	half := append(wire.AppendInt32(nil, 100<<10), make([]byte, 60<<10)...) // Produce v0, most of it
	holder := dial(t, l)
	if _, err := holder.Write(half); err != nil {
		t.Fatal(err)
	}
	waiting := func() int {
		b := l.opts.Budget
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.mu.waiters)
	}
	until := func(what string, done func() bool) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); !done(); {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d connections, %d of them wait for memory", what, l.Connections(), waiting())
			}
		}
	}
	b := l.opts.Budget
	until("the first frame holds the memory", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.mu.free < 17<<10 // what a frame takes that needs any
	})
	var more []net.Conn
	for range 20 {
		c := dial(t, l)
		more = append(more, c)
		if _, err := c.Write(half[:40<<10]); err != nil {
			t.Fatal(err)
		}
	}
	until("20 wait", func() bool { return waiting() == 20 })
	for _, c := range more {
		c.Close()
	}
	until("20 are gone", func() bool { return waiting() == 0 && l.Connections() == 1 })
}

// A request that another broker relays is served as one of our own, and its answer is the same bytes.
func TestRelayedRequestsAreAnsweredAlike(t *testing.T) {
	handler := handlerFunc(func(r *Request) {
		if r.RemoteIP() != "10.1.2.3" && r.relayed != nil || r.relayed != nil && r.RelayID() != (wire.UUID{7}) || r.Listener() != "INSIDE" {
			r.Abort("who is this?")
			return
		}
		go r.Reply(&message.HeartbeatResponse{ErrorCode: wire.ErrNotController})
	})
	l := serve(t, Options{Name: "INSIDE"}, handler)
	c := dial(t, l)
	request := heartbeat(77, 10)
	if _, err := c.Write(request); err != nil {
		t.Fatal(err)
	}
	id, want, err := readAnswer(c)
	if err != nil || id != 77 {
		t.Fatal(id, err)
	}
	got, err := Relay(t.Context(), handler, Options{Name: "INSIDE"}, wire.UUID{7}, "10.1.2.3:5", request[4:])
	if err != nil || !bytes.Equal(got[4:], want) || binary.BigEndian.Uint32(got) != 77 {
		t.Fatalf("%x, want %x, %v", got, want, err)
	}
	if _, err := Relay(t.Context(), handler, Options{Name: "OUTSIDE"}, wire.UUID{7}, "10.1.2.3:5", request[4:]); err == nil {
		t.Fatal("an aborted request was answered")
	}
	if _, err := Relay(t.Context(), handler, Options{}, wire.UUID{7}, "10.1.2.3:5", []byte{0, 200, 0, 0, 0, 0, 0, 0}); err == nil {
		t.Fatal("an unknown key was served")
	}
}

// A graceful stop answers what was read, and only then closes.
func TestCloseAnswersWhatWasRead(t *testing.T) {
	release := make(chan struct{})
	arrived := make(chan struct{}, 10)
	l := serve(t, Options{}, func(r *Request) {
		arrived <- struct{}{}
		go func() {
			<-release
			r.Reply(&message.HeartbeatResponse{})
		}()
	})
	c := dial(t, l)
	for i := range 3 {
		if _, err := c.Write(heartbeat(int32(i), 1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		<-arrived
	}
	closed := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		closed <- l.Close(ctx)
	}()
	close(release)
	for i := range 3 {
		if id, _, err := readAnswer(c); err != nil || id != int32(i) {
			t.Fatalf("answer %d: id %d, %v", i, id, err)
		}
	}
	if _, err := c.Read(make([]byte, 1)); err != io.EOF {
		t.Fatalf("after the last answer: %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

func TestConnectionLimits(t *testing.T) {
	l := serve(t, Options{MaxConnectionsIP: 2}, func(r *Request) { r.Reply(&message.HeartbeatResponse{}) })
	for i := range 2 {
		c := dial(t, l)
		if _, err := c.Write(heartbeat(int32(i), 1)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := readAnswer(c); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := dial(t, l).Read(make([]byte, 1)); err == nil {
		t.Fatal("a third connection was let in")
	}
}

func TestIdleConnectionsClose(t *testing.T) {
	l := serve(t, Options{IdleTimeout: 100 * time.Millisecond}, func(r *Request) { r.NoReply() })
	if _, err := dial(t, l).Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
}

// fakeRange is a file range in memory, without sendfile.
type fakeRange struct {
	b    []byte
	held *atomic.Int64
}

func (f fakeRange) Len() int                         { return len(f.b) }
func (f fakeRange) ReadInto(dst []byte) (int, error) { return copy(dst, f.b), nil }
func (f fakeRange) Release()                         { f.held.Add(-1) }

// Answers made of many pieces come out as they went in, and every range is released, also when the client is gone.
func TestPiecesAreJoinedAndReleased(t *testing.T) {
	var ranges atomic.Int64
	want := []byte{}
	rng := rand.New(rand.NewPCG(3, 4))
	var parts [][]byte
	for range 2000 {
		p := make([]byte, rng.IntN(12000))
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		parts = append(parts, p)
		want = append(want, p...)
	}
	l := serve(t, Options{}, func(r *Request) {
		pieces := []Piece{{Bytes: wire.AppendInt32(nil, int32(len(want)+4))}, {Bytes: wire.AppendInt32(nil, r.Header.CorrelationID)}}
		for i, p := range parts {
			if i%2 == 0 {
				pieces = append(pieces, Piece{Bytes: p})
				continue
			}
			ranges.Add(1)
			pieces = append(pieces, Piece{File: noSendfile{fakeRange{p, &ranges}}})
		}
		r.ReplyPieces(pieces, nil)
	})
	c := dial(t, l)
	for i := range 3 {
		if _, err := c.Write(heartbeat(int32(i), 1)); err != nil {
			t.Fatal(err)
		}
		_, body, err := readAnswer(c)
		if err != nil || !bytes.Equal(body, want) {
			t.Fatalf("answer %d: %v, equal %v", i, err, bytes.Equal(body, want))
		}
	}
	if _, err := c.Write(heartbeat(9, 1)); err != nil {
		t.Fatal(err)
	}
	c.Close()
	deadline := time.Now().Add(10 * time.Second)
	for l.Connections() > 0 || ranges.Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d ranges were not released", ranges.Load())
		}
	}
}

type noSendfile struct{ fakeRange }

func (noSendfile) SendTo(c rawConn) (int64, error) {
	return 0, fmt.Errorf("ranges below %d bytes are read", sendfileMin)
}

// Whoever answers waits for no client: one that does not read holds up nobody but itself, and gets everything, in order, when it reads.
func TestASlowClientHoldsUpNobodyWhoAnswers(t *testing.T) {
	const n = 400
	requests := make(chan *Request, n)
	l := serve(t, Options{MaxPipelined: n}, func(r *Request) { requests <- r })
	c := dial(t, l)
	var out []byte
	for i := range n {
		out = append(out, heartbeat(int32(i), 1)...)
	}
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	body := func(i int32) []byte { return bytes.Repeat([]byte{byte(i), byte(i >> 8)}, 1000+int(i)*50) }
	var ranges atomic.Int64
	var all []*Request // answered when all are read: what is answered before its Handle has returned is written by the reader, which may wait
	for range n {
		all = append(all, <-requests)
	}
	for _, r := range all { // far more than the socket's buffers hold
		b := body(r.Header.CorrelationID)
		head := wire.AppendInt32(wire.AppendInt32(nil, int32(4+len(b))), r.Header.CorrelationID)
		ranges.Add(1)
		r.ReplyPieces([]Piece{{Bytes: head}, {File: readable{fakeRange{b, &ranges}}}}, nil)
	}
	for i := range int32(n) {
		id, got, err := readAnswer(c)
		if err != nil || id != i || !bytes.Equal(got, body(i)) {
			t.Fatalf("answer %d: id %d, %v", i, id, err)
		}
	}
	deadline := time.Now().Add(10 * time.Second)
	for ranges.Load() != 0 {
		if time.Now().After(deadline) {
			t.Fatalf("%d ranges were not released", ranges.Load())
		}
	}
}

// readable is a file range that is written as any bytes.
type readable struct{ fakeRange }

func (r readable) SendTo(c rawConn) (n int64, err error) {
	left := r.b
	return int64(len(r.b)), errors.Join(c.Write(func(fd uintptr) bool {
		for len(left) > 0 {
			k, e := unix.Write(int(fd), left)
			if e == unix.EAGAIN {
				return false
			}
			if err = e; e != nil {
				return true
			}
			left = left[k:]
		}
		return true
	}), err)
}
