package quorum

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
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
	Address   string    // host:port of the internal listener, as others reach it
	Bootstrap bool      // found a new quorum of one; an error if the log is not empty
	Replica   *feed.Replica
	Streams   Streams
	// Resolve returns where a member is reached now; false: where the quorum's configuration has it.
	Resolve func(id wire.UUID) (address string, ok bool)
	// Reign is called with the term when this node has become the leader and has applied all that was committed before,
	// and with 0 when it is not any more. The calls come from one goroutine, in order.
	Reign  func(wire.Term)
	Logger *slog.Logger

	Election          time.Duration // without a word of the leader before an election begins [750 ms]
	WriteDeadline     time.Duration // of a write to the log; later the disk counts as failed [5 s]
	SnapshotThreshold uint64        // log entries between snapshots [8192]
	SnapshotInterval  time.Duration // between two looks whether one is due [120 s]
	TrailingLogs      uint64        // log entries kept behind a snapshot [10240]

	// Store and Snapshots are of simulations: nil is what stands in Dir. Close does not close them.
	Store     Store
	Snapshots raft.SnapshotStore

	wrap func(Store) Store // of tests, which make the store fail
}

// Quorum is this node's part in the metadata quorum. A node that no quorum has taken in has one too, which sits still.
type Quorum struct {
	opts    Options
	raft    *raft.Raft
	store   io.Closer
	guarded *guardedStore
	trans   *transport
	stop    chan struct{}
	stopped chan struct{}

	mu struct {
		sync.Mutex
		reign   wire.Term     // 0: not leading, or not ready to
		changed chan struct{} // closed and replaced when reign changes

		predecessor wire.UUID // who led last, other than this node
		heard       time.Time // when it was last heard as the leader
	}
}

// Open starts raft on the directory.
func Open(opts Options) (*Quorum, error) {
	if opts.Election == 0 {
		opts.Election = 750 * time.Millisecond
	}
	if opts.WriteDeadline == 0 {
		opts.WriteDeadline = 5 * time.Second
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	inner, store, err := openStore(&opts)
	if err != nil {
		return nil, err
	}
	if opts.wrap != nil {
		inner = opts.wrap(inner)
	}
	q := &Quorum{opts: opts, store: store, guarded: guard(inner, opts.WriteDeadline, opts.Logger), stop: make(chan struct{}), stopped: make(chan struct{})}
	q.mu.changed = make(chan struct{})
	if err := q.startRaft(); err != nil {
		return nil, errors.Join(err, q.guarded.close(), store.Close())
	}
	go q.watchReign()
	return q, nil
}

func openStore(o *Options) (Store, io.Closer, error) {
	if o.Store != nil {
		return o.Store, io.NopCloser(nil), nil
	}
	store, err := raftboltdb.New(raftboltdb.Options{
		Path: filepath.Join(o.Dir, "raft.db"),
		BoltOptions: &bolt.Options{
			NoFreelistSync: true, FreelistType: bolt.FreelistMapType, Timeout: time.Second,
		},
	})
	switch {
	case err == nil:
		return store, store, nil
	case errors.Is(err, bolterrors.ErrTimeout), err.Error() == "timeout":
		return nil, nil, fmt.Errorf("%w: %s", ErrLocked, o.Dir)
	}
	return nil, nil, fmt.Errorf("open metadata log in %s: %w", o.Dir, err)
}

func openSnapshots(o *Options, logger hclog.Logger) (raft.SnapshotStore, error) {
	if o.Snapshots != nil {
		return o.Snapshots, nil
	}
	s, err := raft.NewFileSnapshotStoreWithLogger(o.Dir, 2, logger)
	if err != nil {
		return nil, fmt.Errorf("open metadata snapshots in %s: %w", o.Dir, err)
	}
	return s, nil
}

func (q *Quorum) startRaft() error {
	logger := hclog.New(&hclog.LoggerOptions{Name: "raft", Level: hclog.Warn, Output: &slogWriter{log: q.opts.Logger, said: map[string]time.Time{}}, DisableTime: true})
	snapshots, err := openSnapshots(&q.opts, logger)
	if err != nil {
		return err
	}
	cached, err := raft.NewLogCache(512, q.guarded)
	if err != nil {
		return fmt.Errorf("metadata log cache: %w", err)
	}
	address := memberAddress(q.opts.ID, q.opts.Address)
	q.trans = newTransport(q.opts, address, logger)
	cfg := raft.DefaultConfig()
	cfg.LocalID = raft.ServerID(q.opts.ID.String())
	cfg.Logger = logger
	cfg.NoLegacyTelemetry = true
	cfg.ShutdownOnRemove = false
	cfg.HeartbeatTimeout, cfg.ElectionTimeout = q.opts.Election, q.opts.Election
	cfg.LeaderLeaseTimeout = q.opts.Election * 2 / 3
	// Followers learn of a commit with the next entries, or after this time. Brokers do not wait for it: they pull commands
	// from the leader as they are committed. Shorter, it would be an exchange with each follower as often.
	cfg.CommitTimeout = q.opts.Election * 2 / 3
	cfg.MaxAppendEntries = 256
	if q.opts.SnapshotThreshold > 0 {
		cfg.SnapshotThreshold = q.opts.SnapshotThreshold
	}
	if q.opts.SnapshotInterval > 0 {
		cfg.SnapshotInterval = q.opts.SnapshotInterval
	}
	if q.opts.TrailingLogs > 0 {
		cfg.TrailingLogs = q.opts.TrailingLogs
	}
	if q.opts.Bootstrap {
		err := raft.BootstrapCluster(cfg, cached, q.guarded, snapshots, q.trans, raft.Configuration{
			Servers: []raft.Server{{Suffrage: raft.Voter, ID: cfg.LocalID, Address: address}},
		})
		if err != nil {
			return errors.Join(fmt.Errorf("found the metadata quorum: %w", err), q.trans.Close())
		}
	}
	q.raft, err = raft.NewRaft(cfg, (*fsm)(q.opts.Replica), cached, q.guarded, snapshots, q.trans)
	if err != nil {
		return errors.Join(fmt.Errorf("start raft: %w", err), q.trans.Close())
	}
	servers := q.raft.GetConfiguration()
	if err := servers.Error(); err != nil {
		return errors.Join(fmt.Errorf("read the quorum's members: %w", err), q.raft.Shutdown().Error(), q.trans.Close())
	}
	if s := servers.Configuration().Servers; len(s) == 1 && s[0].ID == cfg.LocalID {
		q.trans.campaign(cfg.LocalID)
	}
	return nil
}

// watchReign notes when this node begins and ends to lead, and tells [Options.Reign].
func (q *Quorum) watchReign() {
	defer close(q.stopped)
	tick := time.NewTicker(50 * time.Millisecond) // LeaderCh is one deep and overwrites; never rely on it alone
	defer tick.Stop()
	set := func(term wire.Term) {
		q.mu.Lock()
		old := q.mu.reign
		q.mu.reign = term
		if old != term {
			close(q.mu.changed)
			q.mu.changed = make(chan struct{})
		}
		q.mu.Unlock()
		if old != term && q.opts.Reign != nil {
			q.opts.Reign(term)
		}
	}
	for {
		term := q.Term()
		switch leading := q.raft.State() == raft.Leader; {
		case !leading || q.Reign() != 0 && q.Reign() != term:
			set(0)
		case q.Reign() == 0 && q.raft.Barrier(10*time.Second).Error() == nil && q.Term() == term:
			set(term)
			continue
		}
		q.notePredecessor()
		select {
		case <-q.stop:
			set(0)
			return
		case <-q.raft.LeaderCh():
		case <-tick.C:
		}
	}
}

// notePredecessor notes who leads, if it is another, and when it was last heard.
func (q *Quorum) notePredecessor() {
	id, _, err := q.Leader()
	if err != nil || id.IsZero() || id == q.opts.ID {
		return
	}
	heard := q.raft.LastContact()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.mu.predecessor, q.mu.heard = id, heard
}

// Predecessor returns who led before this node did, and when it was last heard here; zero: nobody is known.
func (q *Quorum) Predecessor() (id wire.UUID, heard time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.predecessor, q.mu.heard
}

// Reign returns the term in which this node leads and is ready to decide; 0 if it is not.
func (q *Quorum) Reign() wire.Term {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.mu.reign
}

// WaitLeader waits until this node leads, and has applied everything committed before.
func (q *Quorum) WaitLeader(ctx context.Context) error {
	for {
		q.mu.Lock()
		reign, changed := q.mu.reign, q.mu.changed
		q.mu.Unlock()
		if reign != 0 {
			return q.opts.Replica.WaitPublished(ctx, q.Image().Index())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for leadership of the metadata quorum: %w", ctx.Err())
		case <-q.stop:
			return ErrNotLeader
		case <-changed:
		}
	}
}

// Barrier waits until everything that was proposed before is applied here. It fails if this node does not lead.
func (q *Quorum) Barrier(ctx context.Context) error {
	wait := 30 * time.Second
	if t, ok := ctx.Deadline(); ok {
		wait = time.Until(t)
	}
	if err := q.raft.Barrier(wait).Error(); err != nil {
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return q.opts.Replica.WaitPublished(ctx, q.Image().Index())
}

// Term returns the present raft term. A command must be decided under the term it is proposed with.
func (q *Quorum) Term() wire.Term { return wire.Term(q.raft.CurrentTerm()) }

// Image returns the newest applied metadata.
func (q *Quorum) Image() *metadata.Image { return q.opts.Replica.Image() }

// Propose commits the command and waits until it is applied and the listener has seen it. It returns its index.
func (q *Quorum) Propose(ctx context.Context, c metadata.Command) (wire.Index, error) {
	deadline := 30 * time.Second
	if t, ok := ctx.Deadline(); ok {
		deadline = time.Until(t)
	}
	data := c.AppendTo(nil)
	if len(data) > metadata.CommandMax {
		return 0, fmt.Errorf("%w: a command of %d bytes, %d are the most", metadata.ErrTooLarge, len(data), metadata.CommandMax)
	}
	f := q.raft.Apply(data, deadline)
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
	if err := q.opts.Replica.WaitPublished(ctx, index); err != nil {
		return index, fmt.Errorf("%w: committed at %d: %w", ErrUnknown, index, err)
	}
	return index, nil
}

// slogWriter passes raft's own lines on: errors as warnings, each kind of them now and then, since raft repeats them with every
// attempt; the rest for debugging, and so what a member that is not reached leads to: the node tells who is dead.
type slogWriter struct {
	log  *slog.Logger
	mu   sync.Mutex
	said map[string]time.Time // by the words before the particulars
}

const sayAgain = 10 * time.Second

// unreached are the errors that say no more than that another member is not there.
var unreached = map[string]bool{
	"failed to heartbeat to": true, "failed to appendEntries to": true, "failed to make requestVote RPC": true, "failed to make preVote RPC": true,
	"failed to decode incoming command": true, "failed to flush response": true, "peer has newer term, stopping replication": true,
}

func (w *slogWriter) Write(p []byte) (int, error) {
	line := strings.TrimSpace(string(p))
	level := slog.LevelDebug
	if _, text, isError := strings.Cut(line, "[ERROR]"); isError {
		kind, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(text), "raft: "), ":")
		w.mu.Lock()
		if now := time.Now(); now.Sub(w.said[kind]) > sayAgain && !unreached[kind] {
			w.said[kind] = now
			level = slog.LevelWarn
		}
		w.mu.Unlock()
	}
	w.log.Log(context.Background(), level, "raft", "line", line)
	return len(p), nil
}

// Exists reports whether the directory holds a metadata log.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "raft.db"))
	return err == nil
}
