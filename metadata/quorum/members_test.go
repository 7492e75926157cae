package quorum

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// network is streams in memory, which can be cut.
type network struct {
	mu    sync.Mutex
	hosts map[string]*host
	cut   map[string]bool // hosts that reach nobody and are reached by nobody
	open  []net.Conn
}

type host struct {
	network  *network
	address  string
	incoming chan net.Conn
	done     chan struct{}
	once     sync.Once
}

func newNetwork() *network { return &network{hosts: map[string]*host{}, cut: map[string]bool{}} }

func (n *network) at(address string) *host {
	h := &host{network: n, address: address, incoming: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	n.hosts[address] = h
	n.mu.Unlock()
	return h
}

// isolate cuts a host off, or connects it again.
func (n *network) isolate(address string, cut bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.cut[address] = cut
	for _, c := range n.open {
		c.Close()
	}
	n.open = nil
}

func (h *host) Accepted() net.Listener { return h }

func (h *host) Accept() (net.Conn, error) {
	select {
	case c := <-h.incoming:
		return c, nil
	case <-h.done:
		return nil, net.ErrClosed
	}
}

func (h *host) Close() error   { h.once.Do(func() { close(h.done) }); return nil }
func (h *host) Addr() net.Addr { return memberAddr(h.address) }

func (h *host) Dial(ctx context.Context, address string, _ wire.UUID) (net.Conn, error) {
	h.network.mu.Lock()
	to, cut := h.network.hosts[address], h.network.cut[address] || h.network.cut[h.address]
	h.network.mu.Unlock()
	if to == nil || cut {
		return nil, errors.New("no route")
	}
	near, far := net.Pipe()
	select {
	case to.incoming <- far:
	case <-to.done:
		return nil, errors.New("refused")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h.network.mu.Lock()
	h.network.open = append(h.network.open, near, far)
	h.network.mu.Unlock()
	return near, nil
}

// flakyStore can be made to hang or to fail.
type flakyStore struct {
	Store
	hang  atomic.Pointer[chan struct{}]
	fails atomic.Int64
}

func (f *flakyStore) SetUint64(key []byte, value uint64) error {
	if hang := f.hang.Load(); hang != nil {
		<-*hang
	}
	return f.Store.SetUint64(key, value)
}

func (f *flakyStore) StoreLogs(l []*raft.Log) error {
	if hang := f.hang.Load(); hang != nil {
		<-*hang
	}
	if f.fails.Add(-1) >= 0 {
		return errors.New("injected")
	}
	return f.Store.StoreLogs(l)
}

// voter is a member under test.
type voter struct {
	*Quorum
	store *flakyStore
	id    wire.UUID
	addr  string
}

// three returns a quorum of three voters, grown from one.
func three(t *testing.T) (*network, []*voter) {
	t.Helper()
	n := newNetwork()
	var all []*voter
	for i := range 3 {
		v := &voter{store: &flakyStore{}, id: wire.UUID{byte(i + 1)}, addr: fmt.Sprintf("n%d:9093", i+1)}
		replica := feed.NewReplica(feed.Options{})
		t.Cleanup(replica.Close)
		q, err := Open(Options{
			Dir: t.TempDir(), ID: v.id, Address: v.addr, Bootstrap: i == 0, Replica: replica, Streams: n.at(v.addr),
			Election: 200 * time.Millisecond, WriteDeadline: 500 * time.Millisecond,
			wrap: func(s Store) Store { v.store.Store = s; return v.store },
		})
		if err != nil {
			t.Fatal(err)
		}
		v.Quorum = q
		t.Cleanup(func() {
			if err := q.Close(); err != nil {
				t.Error(err)
			}
		})
		all = append(all, v)
	}
	lead(t, all[0].Quorum)
	for _, v := range all[1:] {
		for _, kind := range []ChangeKind{Stage, Promote} {
			s, err := all[0].Status()
			if err != nil {
				t.Fatal(err)
			}
			if err := all[0].Alter(t.Context(), Change{kind, v.id, v.addr}, s.Members); err != nil {
				t.Fatal(err)
			}
		}
	}
	return n, all
}

// leader waits until one of them leads.
func leader(t *testing.T, of []*voter) *voter {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		for _, v := range of {
			if v.Reign() != 0 {
				return v
			}
		}
	}
	t.Fatal("nobody leads")
	return nil
}

func others(all []*voter, v *voter) []*voter {
	var out []*voter
	for _, x := range all {
		if x != v {
			out = append(out, x)
		}
	}
	return out
}

func commit(t *testing.T, v *voter, i int) wire.Index {
	t.Helper()
	c := set(i)
	c.Term = v.Reign()
	index, err := v.Propose(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return index
}

func equalAt(t *testing.T, index wire.Index, all []*voter) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var want []byte
	for _, v := range all {
		if err := v.opts.Replica.WaitPublished(ctx, index); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := v.opts.Replica.Snapshot().WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = b.Bytes()
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Fatal("the voters' states differ")
		}
	}
}

// The leader is cut off: another leads, the old one knows that it does not, and takes over what was decided meanwhile.
func TestACutOffLeaderIsReplaced(t *testing.T) {
	n, all := three(t)
	old := leader(t, all)
	equalAt(t, commit(t, old, 1), all)
	n.isolate(old.addr, true)
	rest := others(all, old)
	now := leader(t, rest)
	index := commit(t, now, 2)
	for deadline := time.Now().Add(20 * time.Second); old.Reign() != 0; {
		if time.Now().After(deadline) {
			t.Fatal("the leader that was cut off still thinks it leads")
		}
	}
	c := set(3)
	c.Term = old.Term()
	if _, err := old.Propose(t.Context(), c); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("the old leader took a proposal: %v", err)
	}
	n.isolate(old.addr, false)
	equalAt(t, index, all)
}

// The leader's disk hangs, and only its disk: without a deadline its heartbeats would keep the others quiet for ever.
func TestALeaderWhoseDiskHangsStepsDown(t *testing.T) {
	_, all := three(t)
	old := leader(t, all)
	commit(t, old, 1)
	hang := make(chan struct{})
	old.store.hang.Store(&hang)
	c := set(2)
	c.Term = old.Reign()
	if _, err := old.Propose(t.Context(), c); err == nil {
		t.Error("a proposal was committed by a leader whose disk hangs")
	}
	now := leader(t, others(all, old))
	index := commit(t, now, 3)
	old.store.hang.Store(nil)
	close(hang)
	equalAt(t, index, all)
	if got := old.Image().Config(brokers)["log.retention.ms"]; got != "3" {
		t.Fatalf("the old leader has %q", got)
	}
}

// One failed store on a follower must not stop it for good.
func TestAFollowerGoesOnAfterAFailedStore(t *testing.T) {
	_, all := three(t)
	l := leader(t, all)
	for i := range 20 {
		others(all, l)[i%2].store.fails.Store(1)
		equalAt(t, commit(t, l, i), all)
	}
}

func TestMembershipChanges(t *testing.T) {
	_, all := three(t)
	l := leader(t, all)
	s, err := l.Status()
	if err != nil {
		t.Fatal(err)
	}
	gone := others(all, l)[0]
	for _, kind := range []ChangeKind{Demote, Remove} {
		if s, err = l.Status(); err != nil {
			t.Fatal(err)
		}
		if err := l.Alter(t.Context(), Change{kind, gone.id, gone.addr}, s.Members); err != nil {
			t.Fatal(err)
		}
		if err := l.Alter(t.Context(), Change{kind, gone.id, gone.addr}, s.Members); err == nil {
			t.Fatal("a change that was decided on an older membership was made")
		}
	}
	commit(t, l, 1)
	for deadline := time.Now().Add(20 * time.Second); gone.Follows(400 * time.Millisecond); {
		if time.Now().After(deadline) {
			t.Fatal("a member that was removed still thinks that it follows")
		}
	}
	if err := l.Transfer(); err != nil {
		t.Fatal(err)
	}
	next := leader(t, others(others(all, gone), l))
	if s, err = next.Status(); err != nil || len(s.Members) != 2 || s.Leader != next.id || s.LeaderAddr != next.addr {
		t.Fatalf("%+v, %v", s, err)
	}
}
