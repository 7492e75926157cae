package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
)

// LeaderOptions says how the controller's part runs.
type LeaderOptions struct {
	Controller *Controller
	Quorum     *quorum.Quorum
	Self       wire.UUID // our directory
	Session    time.Duration
	Voters     int // wanted, where there are enough brokers
	// Probe dials a broker at once. It reports whether that incarnation lives: it is certainly dead if nothing listens at
	// its address, or somebody else does. An error means that it is not known.
	Probe func(ctx context.Context, b *metadata.BrokerInfo) (lives bool, err error)
	// Ask has a broker's present incarnation tell the state of replicas, in the order of the question.
	Ask func(ctx context.Context, b *metadata.BrokerInfo, partitions []wire.TopicIDPartition) ([]control.ReplicaState, error)
	// Reached waits until the metadata up to an index has taken effect on a broker.
	Reached  func(ctx context.Context, b *metadata.BrokerInfo, index wire.Index) error
	Settings control.Settings
	Log      *slog.Logger
	Now      func() time.Time
}

// Leader is what a node does while it is the controller: it keeps the brokers' sessions, fences who died, and keeps the
// quorum in shape. It exists on every node, and works on one.
type Leader struct {
	opts LeaderOptions

	mu       sync.Mutex // held for the sessions only, never over a change
	sessions *sessions  // nil: not the controller

	reign    context.CancelFunc // of the loop that runs; used by the goroutine that calls Reign alone
	ended    chan struct{}
	wake     chan struct{}  // a token: somebody may have to be fenced
	changed  chan struct{}  // a token: the quorum may have to change
	suspects chan wire.UUID // directories of brokers that may have died

	// A controller that slept may have been replaced. It must not tell brokers, and itself least of all, that they are not fenced.
	start time.Time
	sleep sleep
	known atomic.Int64 // when it was last known to lead, in nanoseconds since start

	compared, differed atomic.Int64 // heartbeats whose state was as ours at the same index, and those where it was another
}

// NewLeader returns a Leader that is told of its reign by [Leader.Reign].
func NewLeader(o LeaderOptions) *Leader {
	l := &Leader{opts: o, wake: make(chan struct{}, 1), changed: make(chan struct{}, 1), suspects: make(chan wire.UUID, 64), start: time.Now()}
	l.sleep.limit = 500 * time.Millisecond
	return l
}

// Reign begins to work in a term, or ends for term 0. One goroutine calls it. It returns when what was before has ended.
func (l *Leader) Reign(term wire.Term) {
	if l.reign != nil {
		l.reign()
		<-l.ended
		l.reign = nil
	}
	l.mu.Lock()
	l.sessions = nil
	if term != 0 {
		l.sessions = newSessions(l.opts.Now(), l.opts.Session, l.opts.Quorum.Image())
		if id, heard := l.opts.Quorum.Predecessor(); !heard.IsZero() {
			if b := l.opts.Quorum.Image().BrokerByDirectory(id); b != nil {
				l.sessions.heard(l.opts.Now(), b.Broker, b.Epoch, heard)
			}
		}
	}
	l.mu.Unlock()
	if term == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	l.reign, l.ended = cancel, make(chan struct{})
	go l.run(ctx, l.ended)
	// Who died together with the last controller is told by its silence only after a session; a look tells it now.
	l.opts.Quorum.Image().Brokers(func(b *metadata.BrokerInfo) bool {
		if !b.Fenced && b.Directory != l.opts.Self {
			l.Suspect(b.Directory)
		}
		return true
	})
}

// Suspect has a broker looked at at once: a connection of it broke, or gossip says that it is gone. Hints that come
// faster than they can be looked at are dropped; sessions catch what they miss.
func (l *Leader) Suspect(directory wire.UUID) {
	select {
	case l.suspects <- directory:
	default:
	}
}

func (l *Leader) run(ctx context.Context, ended chan struct{}) {
	defer close(ended)
	var others sync.WaitGroup
	defer others.Wait()
	// A change of the quorum may take seconds, while a member does not answer: fencing must not wait for it.
	others.Go(func() { l.tend(ctx) })
	others.Go(func() { l.heal(ctx) })
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		l.sleep.tick(time.Since(l.start))
		select {
		case <-ctx.Done():
			return
		case directory := <-l.suspects:
			others.Go(func() { l.probe(ctx, directory) })
			continue
		case <-l.wake:
		case <-tick.C:
		}
		l.fence(ctx)
	}
}

// tend keeps the quorum in shape.
func (l *Leader) tend(ctx context.Context) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.changed:
		case <-tick.C:
		}
		l.quorum(ctx)
	}
}

// poke has the loops look now.
func (l *Leader) poke() {
	for _, c := range []chan struct{}{l.wake, l.changed} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// probe looks whether a suspect is dead, and ends its session if it is.
func (l *Leader) probe(ctx context.Context, directory wire.UUID) {
	b := l.opts.Quorum.Image().BrokerByDirectory(directory)
	if b == nil || b.Fenced || b.Directory == l.opts.Self {
		return
	}
	if !l.certainlyDead(ctx, b) {
		return
	}
	l.mu.Lock()
	if l.sessions != nil {
		l.sessions.lost(l.opts.Now(), b.Broker, b.Epoch)
	}
	l.mu.Unlock()
	l.opts.Log.Info("broker is dead", "broker", b.Broker, "address", b.Internal)
	l.poke()
}

// probes is how often a suspect is dialled while the answer is unclear: a process that is being killed closes its
// connections before its listener, which takes a connection more and resets it.
const probes = 6

// certainlyDead dials a suspect until it is clear whether it lives.
func (l *Leader) certainlyDead(ctx context.Context, b *metadata.BrokerInfo) bool {
	for try := range probes {
		lives, err := l.opts.Probe(ctx, b)
		if err == nil {
			return !lives
		}
		l.opts.Log.Debug("a suspect gives no clear answer", "broker", b.Broker, "address", b.Internal, "error", err)
		select {
		case <-time.After(20 * time.Millisecond << try):
		case <-ctx.Done():
			return false
		}
	}
	return false
}

// fence fences the brokers whose sessions have ended.
func (l *Leader) fence(ctx context.Context) {
	l.mu.Lock()
	var expired []wire.BrokerID
	if l.sessions != nil {
		expired = l.sessions.expired(l.opts.Now(), l.opts.Quorum.Image())
	}
	l.mu.Unlock()
	for _, id := range expired {
		err := l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
			if !l.stillExpired(id, m) {
				return nil
			}
			return control.Fence(m, id, false)
		})
		if err != nil {
			if ctx.Err() == nil {
				l.opts.Log.Warn("broker not fenced", "broker", id, "error", err)
			}
			return
		}
		l.opts.Log.Info("broker fenced", "broker", id, "reason", "its session ended")
	}
}

// stillExpired looks again when the change is decided: a heartbeat may have come meanwhile.
func (l *Leader) stillExpired(id wire.BrokerID, m *metadata.Image) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sessions == nil {
		return false
	}
	b, n := m.Broker(id), l.sessions.of[id]
	return b != nil && n != nil && n.epoch == b.Epoch && !n.until.After(l.opts.Now())
}

// Register serves a broker's registration.
func (l *Leader) Register(ctx context.Context, r RegisterRequest) (RegisterAnswer, error) {
	image := l.opts.Quorum.Image()
	if have := image.ClusterID(); r.Cluster != have {
		return RegisterAnswer{}, &control.Refusal{Code: wire.ErrInconsistentClusterID, Message: fmt.Sprintf("This is cluster %s, the node's directory is of cluster %s. Give it a seed of its own cluster, or join with a new directory.", have, r.Cluster)}
	}
	// An incarnation that lives keeps its place: a copy of its directory must not take it.
	if old := image.BrokerByDirectory(r.Registration.Directory); old != nil && !old.Fenced && old.Nonce != r.Registration.Nonce && old.Directory != l.opts.Self {
		switch lives, err := l.opts.Probe(ctx, old); {
		case err != nil:
			return RegisterAnswer{}, fmt.Errorf("another start of this directory, at %s, may be alive, and is waited for: %w", old.Internal, err)
		case lives:
			return RegisterAnswer{}, &control.Refusal{Code: wire.ErrDuplicateBrokerRegistration, Message: fmt.Sprintf("Broker %d runs from this directory already, at %s: this is a copy. Stop this one, remove the copy, and join it as a new node.", old.Broker, old.Internal)}
		}
	}
	var refusal *control.Refusal
	var id wire.BrokerID
	err := l.opts.Controller.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
		var back []metadata.Record
		if back, refusal = control.Readmit(m, r.Registration.Directory, r.Readmit); refusal != nil {
			return nil
		}
		if refusal = control.CheckReplace(m, &r.Registration, r.Replace); refusal != nil {
			return nil
		}
		records, id, refusal = control.Register(m, r.Registration, control.Damage{Lossy: r.Lossy, Suspects: r.Suspects})
		if refusal != nil {
			return nil
		}
		return append(back, records...)
	})
	if refusal != nil {
		return RegisterAnswer{}, refusal
	}
	if err != nil {
		return RegisterAnswer{}, err
	}
	b := l.opts.Quorum.Image().Broker(id)
	if b == nil || b.Directory != r.Registration.Directory {
		return RegisterAnswer{}, errors.New("another registration of this broker came in between; try again")
	}
	return RegisterAnswer{Broker: id, Epoch: b.Epoch}, nil
}

// AlterPartition serves a leader's wish for other ISRs, in one change of the metadata.
func (l *Leader) AlterPartition(ctx context.Context, r AlterPartitionRequest) (answer AlterPartitionAnswer, err error) {
	var refusal *control.Refusal
	err = l.opts.Controller.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
		records, answer.Partitions, refusal = control.AlterPartition(m, r.Broker, r.Epoch, r.Partitions)
		return records
	})
	switch {
	case refusal != nil:
		return AlterPartitionAnswer{}, refusal
	case err != nil:
		return AlterPartitionAnswer{}, err
	}
	answer.Applied = l.opts.Quorum.Image().Index()
	return answer, nil
}

// stillLeads makes sure, after a sleep, that this node is still the controller: before raft finds out by itself, it would answer as
// one for a moment.
func (l *Leader) stillLeads(ctx context.Context) error {
	now := time.Since(l.start)
	if !l.sleep.since(time.Duration(l.known.Load()), now) {
		return nil
	}
	if err := l.opts.Quorum.Barrier(ctx); err != nil {
		return err
	}
	l.known.Store(int64(now))
	return nil
}

// Heartbeat serves a broker's heartbeat.
func (l *Leader) Heartbeat(ctx context.Context, r HeartbeatRequest) (HeartbeatAnswer, error) {
	if err := l.stillLeads(ctx); err != nil {
		return HeartbeatAnswer{}, err
	}
	image := l.opts.Quorum.Image()
	b := image.Broker(r.Broker)
	switch {
	case b == nil:
		return HeartbeatAnswer{}, &control.Refusal{Code: wire.ErrBrokerIDNotRegistered, Message: fmt.Sprintf("Broker %d is not registered.", r.Broker)}
	case b.Epoch != r.Epoch:
		return HeartbeatAnswer{}, &control.Refusal{Code: wire.ErrStaleBrokerEpoch, Message: fmt.Sprintf("Broker %d has epoch %d, the heartbeat has %d.", r.Broker, b.Epoch, r.Epoch)}
	}
	if theirs := l.compare(r); theirs != nil {
		return HeartbeatAnswer{Fenced: b.Fenced, Differs: theirs}, nil
	}
	l.mu.Lock()
	reigns := l.sessions != nil
	if reigns {
		l.sessions.beat(l.opts.Now(), r.Broker, r.Epoch, r.LogEnd)
	}
	l.mu.Unlock()
	if !reigns {
		return HeartbeatAnswer{}, quorum.ErrNotLeader
	}
	var err error
	switch {
	case r.WantShutdown && !b.Fenced:
		err = l.letGo(ctx, r.Broker, r.Epoch)
	case r.WantUnfence && b.Fenced && !b.ShuttingDown && r.Applied >= wire.Index(b.Epoch):
		err = l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
			if now := m.Broker(r.Broker); now == nil || now.Epoch != r.Epoch {
				return nil
			}
			return control.Unfence(m, r.Broker)
		})
		l.poke() // it may be wanted in the quorum
	}
	if err != nil {
		return HeartbeatAnswer{}, err
	}
	image = l.opts.Quorum.Image()
	answer := HeartbeatAnswer{Applied: image.Index(), Fenced: true, Soon: l.gathering(r.Broker, r.LogEnd, image)}
	if b = image.Broker(r.Broker); b != nil && b.Epoch == r.Epoch {
		answer.Fenced = b.Fenced
		answer.ShouldShutdown = b.Fenced && r.WantShutdown
	}
	return answer, nil
}

// gathering reports whether a broker is of the quorum and catches up to become a voter, or has told of no log yet.
func (l *Leader) gathering(id wire.BrokerID, logEnd wire.Index, image *metadata.Image) bool {
	status, err := l.opts.Quorum.Status()
	b := image.Broker(id)
	return err == nil && b != nil && slices.ContainsFunc(status.Members, func(m quorum.Member) bool { return m.ID == b.Directory && (!m.Votes || logEnd == 0) })
}

// LogEnd is how far a broker's raft log went at its last heartbeat.
type LogEnd struct {
	Index wire.Index
	At    time.Time
}

// LogEnds returns what the brokers last said of their raft logs; nothing on a node that is not the controller.
func (l *Leader) LogEnds() map[wire.BrokerID]LogEnd {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[wire.BrokerID]LogEnd{}
	if l.sessions == nil {
		return out
	}
	for id, n := range l.sessions.of {
		if !n.beat.IsZero() {
			out[id] = LogEnd{n.logEnd, n.beat}
		}
	}
	return out
}
