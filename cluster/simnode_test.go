package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kraftgo/kraftgo/cluster/admin"
	"github.com/kraftgo/kraftgo/cluster/api"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// simStore is where a simulated node's raft keeps its log and its vote: in memory, and it can hang and fail.
type simStore struct {
	*raft.InmemStore
	hang  atomic.Pointer[chan struct{}]
	fails atomic.Int64
}

func (s *simStore) wait() {
	if hang := s.hang.Load(); hang != nil {
		<-*hang
	}
}

func (s *simStore) SetUint64(key []byte, value uint64) error {
	s.wait()
	return s.InmemStore.SetUint64(key, value)
}

func (s *simStore) StoreLogs(l []*raft.Log) error {
	s.wait()
	if s.fails.Add(-1) >= 0 {
		return errors.New("injected: the disk is full")
	}
	return s.InmemStore.StoreLogs(l)
}

// hangs makes all writes wait, until they are let go.
func (s *simStore) hangs() {
	c := make(chan struct{})
	s.hang.Store(&c)
}

func (s *simStore) lets() {
	if c := s.hang.Swap(nil); c != nil {
		close(*c)
	}
}

// simSnapshots keeps the newest snapshot that was written to its end, as files do that are renamed then; raft's own store in memory
// has one from its beginning on.
type simSnapshots struct {
	mu     sync.Mutex // a leaf
	newest *simSnapshot
}

type simSnapshot struct {
	bytes.Buffer
	store *simSnapshots
	meta  raft.SnapshotMeta
}

func (s *simSnapshots) Create(version raft.SnapshotVersion, index, term uint64, c raft.Configuration, at uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	return &simSnapshot{store: s, meta: raft.SnapshotMeta{Version: version, ID: fmt.Sprintf("%d-%d", term, index), Index: index, Term: term, Configuration: c, ConfigurationIndex: at}}, nil
}

func (s *simSnapshots) List() ([]*raft.SnapshotMeta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil {
		return nil, nil
	}
	meta := s.newest.meta
	return []*raft.SnapshotMeta{&meta}, nil
}

func (s *simSnapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.newest == nil || s.newest.meta.ID != id {
		return nil, nil, fmt.Errorf("no snapshot %s", id)
	}
	meta := s.newest.meta
	return &meta, io.NopCloser(bytes.NewReader(s.newest.Bytes())), nil
}

func (s *simSnapshot) ID() string    { return s.meta.ID }
func (s *simSnapshot) Cancel() error { return nil }

func (s *simSnapshot) Close() error {
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	s.meta.Size = int64(s.Len())
	s.store.newest = s
	return nil
}

// simNode is a node of a simulation: all that [Node] has for the metadata, and partitions where the simulation has disks for them. It
// outlives its processes.
type simNode struct {
	s         *simulation
	name      int // 1 for the first
	host      string
	dir       string
	store     *simStore
	snapshots *simSnapshots
	fs        *vfs.Mem
	disk      *simDisk // nil: no partitions

	process atomic.Pointer[Node] // nil: none runs
	up      chan struct{}        // closed when its start has ended, well or not
	dead    bool                 // the process has ended, though its goroutines may not
}

func (s *simulation) newNode(name int) *simNode {
	x := &simNode{s: s, name: name, host: fmt.Sprintf("10.0.0.%d", name)}
	x.wipe()
	return x
}

// wipe gives the node new disks.
func (x *simNode) wipe() {
	dir, err := os.MkdirTemp(x.s.root, fmt.Sprintf("n%d-", x.name))
	if err != nil {
		x.s.t.Fatal(err)
	}
	x.dir, x.store, x.snapshots, x.fs = filepath.Join(dir, "data"), &simStore{InmemStore: raft.NewInmemStore()}, &simSnapshots{}, vfs.NewMem()
	if err := x.fs.Mkdir("/logs"); err != nil {
		x.s.t.Fatal(err)
	}
}

// start begins a process: that of the founder, of a newcomer that joins, or of a member.
func (x *simNode) start(found, join bool) {
	s := x.s
	n := &Node{
		config: Config{
			Data: x.dir, Found: found, Join: join, Seeds: s.seeds(x), Log: slog.New(slog.NewTextHandler(s, &slog.HandlerOptions{Level: slog.LevelInfo})).With("node", x.name),
			Settings: map[string]string{},
		},
		failed: make(chan error, 1), opened: make(chan struct{}),
	}
	n.log = n.config.Log
	n.brokerID.Store(int32(wire.NoBroker))
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.world = world{
		dial: s.net.dialer(x.host),
		tune: func(o *quorum.Options) {
			o.Store, o.Snapshots, o.SnapshotThreshold, o.TrailingLogs, o.SnapshotInterval = x.store, x.snapshots, 60, 40, 7*time.Second
		},
		applied: func(m *metadata.Image) { s.sees(x, m) },
		reigns:  func(term wire.Term) { s.reigns(x, n.directory, term) },
	}
	steps := []func() error{n.openDirectory, func() error { return x.sockets(n) }, n.openQuorum, n.joinGossip, func() error { return x.logs(n) }, n.register, func() error { return x.serve(n) }}
	if x.disk != nil {
		steps = x.disk.begin(x, n)
	}
	up := make(chan struct{})
	x.up, x.dead = up, false
	x.process.Store(n)
	go func() {
		defer close(up)
		for _, step := range steps {
			if err := step(); err != nil {
				if n.ctx.Err() == nil {
					s.failed("node %d does not start: %v", x.name, err)
				}
				return
			}
		}
	}()
}

func (x *simNode) sockets(n *Node) error {
	at := func(port int) string { return fmt.Sprintf("%s:%d", x.host, port) }
	n.internalSocket, n.gossipTCP, n.gossipUDP = x.s.net.listen(at(9093)), x.s.net.listen(at(9094)), x.s.net.socket(at(9094))
	n.internalAddr, n.gossipAddr = at(9093), at(9094)
	n.identity.Addresses = map[string]string{"internal": at(9093), "gossip": at(9094)}
	n.endpoints = []endpoint{{name: "PLAINTEXT", advertise: at(9092)}}
	if x.disk != nil {
		n.sockets = append(n.sockets, x.s.net.listen(at(9092)))
	}
	n.metrics = api.NewMetrics()
	n.admin = admin.Serve(x.s.net.listen(at(9644)), n.metrics.Registry)
	return nil
}

// nameQuorum makes the name that tells that there is a metadata log, which is in memory.
func (x *simNode) nameQuorum() error {
	return os.WriteFile(filepath.Join(x.dir, "metadata", "raft.db"), nil, 0o600)
}

func (x *simNode) logs(n *Node) (err error) {
	if err := x.nameQuorum(); err != nil {
		return err
	}
	n.disk, _, err = disk.Open(disk.Options{Dir: "/logs", FS: x.fs, BootID: func() string { return "simulated" }})
	return err
}

func (x *simNode) serve(n *Node) error {
	n.broker = &api.Broker{
		ID: n.identity.Broker, Log: n.log, Controller: n.controller, Leader: n.leader, Cluster: n.peers, Alive: n.agent.Load().Alive, Current: n.agent.Load().Current,
		Settings: n.settings, Disk: n.disk, Metrics: n.metrics, Now: time.Now,
	}
	n.apiBroker.Store(n.broker)
	return n.agent.Load().Unfenced(n.ctx)
}

// kill ends the process at once.
func (x *simNode) kill() { x.end(false) }

// stop ends the process in good order.
func (x *simNode) stop() { x.end(true) }

// dies is the moment at which the process ends: nothing comes from it any more.
func (x *simNode) dies() {
	n := x.process.Load()
	if n == nil || x.dead {
		return
	}
	x.failure(n)
	x.dead = true
	x.s.net.die(x.host)
	n.cancel()
	if x.disk != nil {
		x.disk.ends()
	}
}

// failure tells if the node could not go on.
func (x *simNode) failure(n *Node) {
	select {
	case err := <-n.failed:
		x.s.failed("node %d failed: %v", x.name, err)
	default:
	}
}

func (x *simNode) end(orderly bool) {
	n := x.process.Load()
	if n == nil {
		return
	}
	if !orderly {
		x.dies()
	}
	x.process.Store(nil)
	x.store.lets()
	x.store.fails.Store(0)
	n.cancel()
	<-x.up
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if orderly {
		n.retire(ctx, false)
	}
	if x.disk != nil {
		x.disk.rests()
	}
	if x.dead {
		cancel() // nobody hears its answers
	}
	if err := n.close(ctx); err != nil && !x.dead {
		x.s.t.Logf("node %d: close: %v", x.name, err)
	}
	if !x.dead {
		x.failure(n)
	}
	x.s.net.vanish(x.host)
	x.s.net.live(x.host)
}

// node returns the present process; nil: none runs.
func (x *simNode) node() *Node { return x.process.Load() }

// image returns the newest metadata that the node has; nil: it has none yet.
func (x *simNode) image() *metadata.Image {
	n := x.process.Load()
	if n == nil {
		return nil
	}
	select {
	case <-n.opened:
		return n.replica.Image()
	default:
		return nil
	}
}

// ready reports whether the node serves.
func (x *simNode) ready() bool {
	n := x.process.Load()
	return n != nil && n.apiBroker.Load() != nil
}
