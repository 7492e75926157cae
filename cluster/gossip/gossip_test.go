package gossip

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// node is a gossiping node under test.
type node struct {
	*Gossip
	t    testing.TB
	log  *logged
	mu   sync.Mutex
	gone []Member
}

// logged keeps what a node logs.
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

// start runs a node of cluster c1 with a directory and a nonce.
func start(t testing.TB, directory byte, nonce uint64, change func(*Options)) *node {
	t.Helper()
	tcp, udp := bound(t)
	address := tcp.Addr().String()
	n := &node{t: t, log: &logged{}}
	o := Options{
		TCP: tcp, UDP: udp, Advertise: address, Rejoin: 50 * time.Millisecond, quick: true,
		Self: Member{Cluster: "c1", Directory: wire.UUID{directory}, Broker: wire.BrokerID(directory), Nonce: nonce, Internal: "h:1", Gossip: address},
		Log:  slog.New(slog.NewTextHandler(n.log, nil)),
		OnGone: func(m Member) {
			n.mu.Lock()
			defer n.mu.Unlock()
			n.gone = append(n.gone, m)
		},
	}
	if change != nil {
		change(&o)
	}
	g, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Gossip = g
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return n
}

func bound(t testing.TB) (net.Listener, net.PacketConn) {
	t.Helper()
	for range 100 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		if udp, err := net.ListenPacket("udp", tcp.Addr().String()); err == nil {
			return tcp, udp
		}
		tcp.Close()
	}
	t.Fatal("no port is free for both tcp and udp")
	return nil, nil
}

func (n *node) address() string { return n.self.Load().Gossip }

// sees reports whether the node sees exactly these directories.
func (n *node) sees(directories ...byte) bool {
	var got []byte
	for _, m := range n.Members() {
		got = append(got, m.Directory[0])
	}
	return bytes.Equal(got, directories)
}

// saw reports whether the node was told that an incarnation went.
func (n *node) saw(directory byte, nonce uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, m := range n.gone {
		if m.Directory[0] == directory && m.Nonce == nonce {
			return true
		}
	}
	return false
}

func until(t testing.TB, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

func seeded(by ...*node) func(*Options) {
	return func(o *Options) {
		for _, n := range by {
			o.Seeds = append(o.Seeds, n.address())
		}
	}
}

func with(all ...func(*Options)) func(*Options) {
	return func(o *Options) {
		for _, f := range all {
			f(o)
		}
	}
}

func secret(s string) func(*Options) { return func(o *Options) { o.Secret = []byte(s) } }

func TestMembersFindEachOther(t *testing.T) {
	for _, s := range []string{"", "a secret that all know"} {
		a := start(t, 1, 1, secret(s))
		b := start(t, 2, 1, with(secret(s), seeded(a)))
		c := start(t, 3, 1, with(secret(s), seeded(b)))
		all := []*node{a, b, c}
		for _, n := range all {
			until(t, "three members", func() bool { return n.sees(1, 2, 3) })
		}
		if err := b.Update(func(m *Member) { m.Leading = true }); err != nil {
			t.Fatal(err)
		}
		until(t, "an update is seen", func() bool { return c.Members()[1].Leading })
		if err := b.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		until(t, "who left is gone", func() bool { return a.saw(2, 1) && c.saw(2, 1) })
		if err := c.Close(); err != nil { // without a word
			t.Fatal(err)
		}
		until(t, "who died is gone", func() bool { return a.saw(3, 1) && a.sees(1) })
	}
}

// A node that comes back elsewhere is seen there; the news of its old incarnation's death does not take it away.
func TestARestartElsewhere(t *testing.T) {
	a := start(t, 1, 1, nil)
	old := start(t, 2, 10, seeded(a))
	until(t, "both there", func() bool { return a.sees(1, 2) })
	if err := old.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, 2, 11, seeded(a))
	until(t, "the old incarnation is gone", func() bool { return a.saw(2, 10) })
	until(t, "the new one is there", func() bool {
		m := a.Members()
		return a.sees(1, 2) && m[1].Nonce == 11 && m[1].Gossip == again.address()
	})
	if a.saw(2, 11) {
		t.Fatal("the new incarnation was taken for gone")
	}
}

func TestStrangersAreKeptOut(t *testing.T) {
	a := start(t, 1, 1, secret("a secret that all know"))
	b := start(t, 2, 1, with(secret("a secret that all know"), seeded(a)))
	until(t, "both there", func() bool { return a.sees(1, 2) && b.sees(1, 2) })
	other := start(t, 3, 1, with(secret("a secret that all know"), seeded(a), func(o *Options) { o.Self.Cluster = "c2" }))
	guess := start(t, 4, 1, with(secret("another secret altogether"), seeded(a)))
	until(t, "the strangers have tried", func() bool {
		return strings.Contains(other.log.String(), "give the node a seed of its own cluster") && strings.Contains(guess.log.String(), "copy the file that its nodes have")
	})
	if !a.sees(1, 2) || !b.sees(1, 2) || !other.sees(3) || !guess.sees(4) {
		t.Fatalf("a sees %v, b %v, the others %v and %v", a.Members(), b.Members(), other.Members(), guess.Members())
	}
}

// Both halves have forgotten each other, as memberlist does with the dead after a while: they find each other again.
func TestALongPartitionHeals(t *testing.T) {
	a := start(t, 1, 1, nil)
	b := start(t, 2, 1, seeded(a))
	c := start(t, 3, 1, seeded(a))
	until(t, "three members", func() bool { return a.sees(1, 2, 3) && b.sees(1, 2, 3) && c.sees(1, 2, 3) })
	c.trans.cut.Store(true)
	until(t, "the halves part", func() bool { return a.sees(1, 2) && b.sees(1, 2) && c.sees(3) })
	until(t, "and forget", func() bool { return a.list.NumMembers() == 2 && len(a.absent()) == 1 })
	c.trans.cut.Store(false)
	until(t, "they are one again", func() bool { return a.sees(1, 2, 3) && b.sees(1, 2, 3) && c.sees(1, 2, 3) })
	a.Forget(wire.UUID{3})
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// Peers are remembered over a restart; a damaged file is ignored.
func TestPeersFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	keep := func(o *Options) { o.PeersFile = file }
	a := start(t, 1, 1, nil)
	b := start(t, 2, 1, with(seeded(a), keep))
	until(t, "it is written down", func() bool {
		text, err := os.ReadFile(file)
		return err == nil && bytes.Contains(text, []byte(a.address()))
	})
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again := start(t, 2, 2, keep) // without a seed
	until(t, "the peer is found", func() bool { return again.sees(1, 2) })
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	for _, damage := range []string{"", "{", `[null, {"Address": "nonsense"}]`, `[{"Directory": 7}]`} {
		if err := os.WriteFile(file, []byte(damage), 0o600); err != nil {
			t.Fatal(err)
		}
		n := start(t, 3, 1, keep)
		if len(n.absent()) != 0 {
			t.Fatalf("%q gave peers %v", damage, n.absent())
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHello(t *testing.T) {
	plain := start(t, 1, 1, nil)
	more := start(t, 2, 1, seeded(plain))
	until(t, "both there", func() bool { return plain.sees(1, 2) && more.sees(1, 2) })
	locked := start(t, 3, 1, secret("a secret that all know"))
	answer, err := Hello(t.Context(), nil, plain.address(), nil)
	if err != nil || answer.Cluster != "c1" || len(answer.Members) != 2 || answer.Members[0].Directory != (wire.UUID{1}) {
		t.Fatalf("%+v, %v", answer, err)
	}
	if answer, err = Hello(t.Context(), nil, locked.address(), []byte("a secret that all know")); err != nil || answer.Members[0].Internal != "h:1" {
		t.Fatalf("%+v, %v", answer, err)
	}
	other := func(reply string) string {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = c.Write([]byte(reply))
				_ = c.Close()
			}
		}()
		return l.Addr().String()
	}
	for name, c := range map[string]struct {
		seed      string
		secret    string
		is        error
		says      string
		permanent bool
	}{
		"they have a secret":   {locked.address(), "", ErrSecret, "the cluster has one; give this node --secret-file", true},
		"we have a secret":     {plain.address(), "a secret that all know", ErrSecret, "the cluster has none", true},
		"another secret":       {locked.address(), "another secret altogether", ErrSecret, "copy the file that its nodes have", true},
		"an http port":         {other("HTTP/1.1 400 Bad Request\r\n"), "", ErrNotGossip, "give the address that the node prints as gossip=", false},
		"a port that hangs up": {other(""), "", ErrNotGossip, "gossip=", false},
		"another version":      {other(string([]byte{helloBadVersion})), "", ErrVersion, "give both nodes the same kraftgo", true},
		"nobody":               {"127.0.0.1:1", "", nil, "connection refused", false},
		"no port":              {"localhost", "", nil, "a seed is HOST:PORT", false},
	} {
		_, err := Hello(t.Context(), nil, c.seed, []byte(c.secret))
		if err == nil || c.is != nil && !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), c.seed) || Permanent(err) != c.permanent {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Hello(ctx, nil, plain.address(), nil); err == nil {
		t.Error("a hello went on after it was cancelled")
	}
}

// Strangers send anything to both ports: the node lives, and serves.
func TestHostileBytes(t *testing.T) {
	a := start(t, 1, 1, nil)
	r := rand.New(rand.NewPCG(1, 2))
	udp, err := net.Dial("udp", a.address())
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	for i := range 300 {
		b := make([]byte, 1+r.IntN(1000))
		for j := range b {
			b[j] = byte(r.Uint32())
		}
		switch i % 4 {
		case 0:
			b[0] = helloMagic
		case 1:
			b = append([]byte{244, 2, 'c', '1', byte(i % 16)}, b...) // memberlist's, with the right label
		case 2:
			b[0] = byte(i % 14)
		}
		_, _ = udp.Write(b)
		c, err := net.Dial("tcp", a.address())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.Write(b)
		if i%2 == 0 {
			c.Close()
		} else {
			defer c.Close()
		}
	}
	b := start(t, 2, 1, nil)
	until(t, "a hello is answered", func() bool { _, err := Hello(t.Context(), nil, a.address(), nil); return err == nil })
	if _, err := b.list.Join([]string{a.address()}); err != nil {
		t.Fatal(err)
	}
	until(t, "a member joins", func() bool { return a.sees(1, 2) })
}

func TestATooLongSelfIsRefused(t *testing.T) {
	tcp, udp := bound(t)
	defer tcp.Close()
	defer udp.Close()
	_, err := Start(Options{TCP: tcp, UDP: udp, Advertise: tcp.Addr().String(), Self: Member{Rack: strings.Repeat("r", 600)}})
	if err == nil || !strings.Contains(err.Error(), "shorten its rack") {
		t.Fatal(err)
	}
	a := start(t, 1, 1, nil)
	if err := a.Update(func(m *Member) { m.Rack = strings.Repeat("r", 600) }); err == nil || a.Members()[0].Rack != "" {
		t.Fatal(err)
	}
}

func TestMemberRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(0, 40, 60)
		m := Member{
			Cluster: text.Draw(t, "cluster"), Directory: wire.UUID{rapid.Byte().Draw(t, "directory")}, Broker: wire.BrokerID(rapid.Int32().Draw(t, "broker")),
			Nonce: rapid.Uint64().Draw(t, "nonce"), Internal: text.Draw(t, "internal"), Gossip: text.Draw(t, "gossip"), Rack: text.Draw(t, "rack"),
			Leading: rapid.Bool().Draw(t, "leading"), Voter: rapid.Bool().Draw(t, "voter"),
		}
		got, err := decodeMember(m.appendTo(nil))
		if err != nil || got != m {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
	})
}

func FuzzMember(f *testing.F) {
	m := Member{Cluster: "c", Directory: wire.UUID{1}, Internal: "h:1", Recovery: "1-x"}
	f.Add(m.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := decodeMember(b)
		if err != nil {
			return
		}
		if got, err := decodeMember(m.appendTo(nil)); err != nil || got != m {
			t.Fatalf("%+v became %+v, %v", m, got, err)
		}
	})
}

func FuzzHello(f *testing.F) {
	a := HelloAnswer{Cluster: "c", Members: []Member{{Cluster: "c"}}}
	f.Add(a.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := decodeHello(b)
		if err != nil {
			return
		}
		if got, err := decodeHello(a.appendTo(nil)); err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("%+v became %+v, %v", a, got, err)
		}
	})
}
