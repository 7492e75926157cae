package quorum

import (
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

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

var (
	// ErrNotLeader is the result of a proposal that was certainly not applied, since another node leads.
	ErrNotLeader = errors.New("this node does not lead the metadata quorum")
	// ErrUnknown is the result of a proposal of which it is not known whether it was applied.
	ErrUnknown = errors.New("the metadata quorum changed while the change was being committed")
	// ErrLocked is the result of Open when another process has the directory open.
	ErrLocked = errors.New("another process has the metadata log open")
)

// Options says how to run. The zero value of a field takes the default in brackets.
type Options struct {
	Dir       string    // the metadata directory; it must exist
	ID        wire.UUID // the directory's uuid: our raft server id
	Address   string    // host:port of the internal listener
	Bootstrap bool      // found a new quorum of one; an error if the log is not empty
	Logger    *slog.Logger
	// Listener is called with every new image and the records that led to it, in order. For the first call, and after
	// a snapshot was restored, records is nil: the image must be taken whole.
	Listener func(image *metadata.Image, records []metadata.Record)
	// Fatal is called once if the state machine cannot go on; the node must stop.
	Fatal             func(error)
	SnapshotThreshold uint64 // log entries between snapshots (8192)
	TrailingLogs      uint64 // log entries kept behind a snapshot (10240)
}

// Quorum is this node's part in the metadata quorum.
type Quorum struct {
	opts  Options
	raft  *raft.Raft
	store *raftboltdb.BoltStore
	fsm   *fsm

	mu struct {
		sync.Mutex
		published wire.Index    // the last index the listener has seen
		changed   chan struct{} // closed and replaced when published rises
	}
	stop    chan struct{}
	stopped chan struct{}
}

// Open starts raft on the directory. The node may have to wait for a leader: see [Quorum.WaitLeader].
func Open(opts Options) (*Quorum, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(opts.Dir, "raft.db"),
		BoltOptions: &bolt.Options{
			NoFreelistSync: true, FreelistType: bolt.FreelistMapType, Timeout: time.Second,
		},
	})
	if err != nil {
		if errors.Is(err, bolterrors.ErrTimeout) || err.Error() == "timeout" {
			return nil, fmt.Errorf("%w: %s", ErrLocked, opts.Dir)
		}
		return nil, fmt.Errorf("open metadata log in %s: %w", opts.Dir, err)
	}
	q := &Quorum{opts: opts, store: store, stop: make(chan struct{}), stopped: make(chan struct{})}
	q.mu.changed = make(chan struct{})
	q.fsm = newFSM(opts.Fatal)
	if err := q.startRaft(); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	go q.publish()
	return q, nil
}

func (q *Quorum) startRaft() error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: slogWriter{q.opts.Logger}, DisableTime: true})
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(q.opts.Dir, 2, logger)
	if err != nil {
		return fmt.Errorf("open metadata snapshots in %s: %w", q.opts.Dir, err)
	}
	cached, err := raft.NewLogCache(512, q.store)
	if err != nil {
		return fmt.Errorf("metadata log cache: %w", err)
	}
	address := raft.ServerAddress(q.opts.ID.String() + "@" + q.opts.Address)
	transport := newTransport(address)
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(q.opts.ID.String())
	cfg.Logger = logger
	cfg.NoLegacyTelemetry = true
	cfg.CommitTimeout = 5 * time.Millisecond
	cfg.MaxAppendEntries = 256
	if q.opts.SnapshotThreshold > 0 {
		cfg.SnapshotThreshold = q.opts.SnapshotThreshold
	}
	if q.opts.TrailingLogs > 0 {
		cfg.TrailingLogs = q.opts.TrailingLogs
	}
	if q.opts.Bootstrap {
		err := raft.BootstrapCluster(cfg, cached, q.store, snapshots, transport, raft.Configuration{
			Servers: []raft.Server{{Suffrage: raft.Voter, ID: cfg.LocalID, Address: address}},
		})
		if err != nil {
			return fmt.Errorf("found the metadata quorum: %w", err)
		}
	}
	q.raft, err = raft.NewRaft(cfg, q.fsm, cached, q.store, snapshots, transport)
	if err != nil {
		return fmt.Errorf("start raft: %w", err)
	}
	servers := q.raft.GetConfiguration()
	if err := servers.Error(); err != nil {
		return fmt.Errorf("read the quorum's members: %w", err)
	}
	if s := servers.Configuration().Servers; len(s) == 1 && s[0].ID == cfg.LocalID {
		transport.campaign(cfg.LocalID)
	}
	return nil
}

// WaitLeader waits until this node leads, and has applied everything committed before.
func (q *Quorum) WaitLeader(ctx context.Context) error {
	for {
		if q.raft.State() == raft.Leader {
			if err := q.raft.Barrier(10 * time.Second).Error(); err == nil {
				return q.waitPublished(ctx, wire.Index(q.fsm.applied.Load()))
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for leadership of the metadata quorum: %w", ctx.Err())
		case <-q.stop:
			return ErrNotLeader
		case <-q.raft.LeaderCh():
		case <-time.After(10 * time.Millisecond): // LeaderCh is one deep and overwrites; never rely on it alone
		}
	}
}

// Term returns the present raft term. A command must be decided under the term it is proposed with.
func (q *Quorum) Term() wire.Term { return wire.Term(q.raft.CurrentTerm()) }

// Image returns the newest applied metadata.
func (q *Quorum) Image() *metadata.Image { return q.fsm.image.Load() }

// Propose commits the command and waits until it is applied and the listener has seen it. It returns its index.
func (q *Quorum) Propose(ctx context.Context, c metadata.Command) (wire.Index, error) {
	deadline := 30 * time.Second
	if t, ok := ctx.Deadline(); ok {
		deadline = time.Until(t)
	}
	f := q.raft.Apply(c.AppendTo(nil), deadline)
	switch err := f.Error(); {
	case err == nil:
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrEnqueueTimeout), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return 0, fmt.Errorf("%w: %w", ErrNotLeader, err)
	default:
		return 0, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if err, ok := f.Response().(error); ok && err != nil {
		return 0, err
	}
	index := wire.Index(f.Index())
	return index, q.waitPublished(ctx, index)
}

// Voter is a member of the quorum as raft's configuration has it.
type Voter struct {
	ID      wire.UUID
	Address string
	Votes   bool
}

// Status is what DescribeQuorum tells.
type Status struct {
	Leader      wire.UUID // zero: unknown
	Term        wire.Term
	Committed   wire.Index
	LastIndex   wire.Index
	Applied     wire.Index
	Voters      []Voter
	SelfLeads   bool
	LastContact time.Duration // since the leader was last heard of; 0 on the leader
}

// Status returns the quorum's present state as this node sees it.
func (q *Quorum) Status() (Status, error) {
	s := Status{
		Term: q.Term(), Committed: wire.Index(q.raft.CommitIndex()), LastIndex: wire.Index(q.raft.LastIndex()),
		Applied: wire.Index(q.fsm.applied.Load()), SelfLeads: q.raft.State() == raft.Leader,
	}
	_, leader := q.raft.LeaderWithID()
	if leader != "" {
		id, err := wire.ParseUUID(string(leader))
		if err != nil {
			return s, fmt.Errorf("raft server id: %w", err)
		}
		s.Leader = id
	}
	if !s.SelfLeads {
		s.LastContact = time.Since(q.raft.LastContact())
	}
	f := q.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return s, fmt.Errorf("read the quorum's members: %w", err)
	}
	for _, server := range f.Configuration().Servers {
		id, err := wire.ParseUUID(string(server.ID))
		if err != nil {
			return s, fmt.Errorf("raft server id: %w", err)
		}
		s.Voters = append(s.Voters, Voter{ID: id, Address: string(server.Address), Votes: server.Suffrage == raft.Voter})
	}
	return s, nil
}

// Close stops raft. Nothing is proposed or published after it returns.
func (q *Quorum) Close() error {
	close(q.stop)
	err := q.raft.Shutdown().Error()
	<-q.stopped
	return errors.Join(err, q.store.Close())
}

// publish hands every image to the listener, in order.
func (q *Quorum) publish() {
	defer close(q.stopped)
	for {
		batch := q.fsm.take()
		for _, c := range batch {
			if q.opts.Listener != nil {
				q.opts.Listener(c.image, c.records)
			}
			q.mu.Lock()
			q.mu.published = c.image.Index()
			close(q.mu.changed)
			q.mu.changed = make(chan struct{})
			q.mu.Unlock()
		}
		if len(batch) > 0 {
			continue
		}
		select {
		case <-q.fsm.wake:
		case <-q.stop:
			return
		}
	}
}

func (q *Quorum) waitPublished(ctx context.Context, index wire.Index) error {
	for {
		q.mu.Lock()
		published, changed := q.mu.published, q.mu.changed
		q.mu.Unlock()
		if published >= index {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%w: committed at %d, waiting for it to take effect here: %w", ErrUnknown, index, ctx.Err())
		case <-q.stop:
			return fmt.Errorf("%w: this node is stopping", ErrUnknown)
		}
	}
}

// slogWriter passes raft's own lines on.
type slogWriter struct{ log *slog.Logger }

func (w slogWriter) Write(p []byte) (int, error) {
	if w.log != nil {
		w.log.Warn("raft", "line", string(trimNewline(p)))
	}
	return len(p), nil
}

func trimNewline(p []byte) []byte {
	for len(p) > 0 && p[len(p)-1] == '\n' {
		p = p[:len(p)-1]
	}
	return p
}

// change is one image to publish.
type change struct {
	image   *metadata.Image
	records []metadata.Record
}

// fsm is raft's view of the metadata state. raft calls it from one goroutine.
type fsm struct {
	state   *metadata.State
	image   atomic.Pointer[metadata.Image]
	applied atomic.Uint64 // index of the last command applied
	fatal   func(error)
	failed  bool

	wake chan struct{} // holds one token when pending is not empty
	mu   struct {
		sync.Mutex
		pending []change
	}
}

func newFSM(fatal func(error)) *fsm {
	f := &fsm{state: metadata.NewState(), fatal: fatal, wake: make(chan struct{}, 1)}
	f.image.Store(f.state.Image())
	return f
}

// Apply implements raft.FSM. Its answer is nil or an error.
func (f *fsm) Apply(l *raft.Log) any {
	if f.failed {
		return metadata.ErrUnknownRecord
	}
	c, err := metadata.DecodeCommand(l.Data)
	if err != nil {
		f.failed = true
		err = fmt.Errorf("metadata log at index %d: %w", l.Index, err)
		if f.fatal != nil {
			f.fatal(err)
		}
		return err
	}
	applied, err := f.state.Apply(wire.Index(l.Index), wire.Term(l.Term), c)
	if !applied {
		c.Records = []metadata.Record{}
	}
	f.publish(c.Records)
	if err != nil {
		return err
	}
	return nil
}

func (f *fsm) publish(records []metadata.Record) {
	image := f.state.Image()
	f.image.Store(image)
	f.applied.Store(uint64(image.Index()))
	f.mu.Lock()
	f.mu.pending = append(f.mu.pending, change{image, records})
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

func (f *fsm) take() []change {
	f.mu.Lock()
	defer f.mu.Unlock()
	batch := f.mu.pending
	f.mu.pending = nil
	return batch
}

// Snapshot implements raft.FSM. It is O(1): the image is copy-on-write.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return fsmSnapshot{f.state.Snapshot()}, nil }

// Restore implements raft.FSM.
func (f *fsm) Restore(r io.ReadCloser) error {
	state, err := metadata.ReadSnapshot(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return err
	}
	f.state = state
	f.publish(nil)
	return nil
}

type fsmSnapshot struct{ snapshot *metadata.Snapshot }

// Persist implements raft.FSMSnapshot; it runs beside Apply.
func (s fsmSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.snapshot.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	return sink.Close()
}

// Release implements raft.FSMSnapshot.
func (s fsmSnapshot) Release() {}

// Exists reports whether the directory holds a metadata log.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "raft.db"))
	return err == nil
}
