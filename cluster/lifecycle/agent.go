package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// AgentOptions says how a broker keeps its place in the cluster.
type AgentOptions struct {
	Cluster      string
	Registration metadata.RegisterBroker
	Damage       func() control.Damage // of this broker's replicas, as they are now
	// Register and Heartbeat reach the controller, wherever it is. A [*control.Refusal] is its answer; any other error
	// means that it was not reached, and is tried again.
	Register  func(context.Context, RegisterRequest) (RegisterAnswer, error)
	Heartbeat func(context.Context, HeartbeatRequest) (HeartbeatAnswer, error)
	Applied   func() wire.Index // the metadata that has taken effect here
	State     func() StateHash  // of the newest metadata here
	LogEnd    func() wire.Index
	Readmit   bool          // an operator lets the directory of a removed broker in again
	Replace   bool          // an operator has the directory take the place of another that is down
	Refused   func(error)   // the controller will have no more of this node, and waiting changes nothing
	Interval  time.Duration // between heartbeats
	Session   time.Duration // after which the controller fences a broker it does not hear
	Log       *slog.Logger
}

// Agent is a broker's side of its registration: it registers, and sends heartbeats from then on.
type Agent struct {
	opts    AgentOptions
	cancel  context.CancelFunc
	running sync.WaitGroup
	stopped chan struct{} // closed when no heartbeats are sent any more
	poke    chan struct{}

	ready    atomic.Bool  // the broker can serve once it is unfenced
	answered atomic.Int64 // when the last heartbeat was, in nanoseconds since start
	start    time.Time

	// What it is known by, without a lock, whether another may lead in this broker's place. Times are in nanoseconds since start.
	alive  atomic.Int64 // until when the session lasts
	behind atomic.Int64 // the metadata up to this index must take effect: the session had run out before it was prolonged; 0: it has
	sleep  sleep

	mu struct {
		sync.Mutex
		registered RegisterAnswer
		epoch      wire.BrokerEpoch // 0: not registered
		answer     HeartbeatAnswer  // the last
		shutdown   bool
		refused    error
		changed    chan struct{} // closed and replaced when any of these changes
	}
}

// StartAgent begins to register.
func StartAgent(o AgentOptions) *Agent {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Agent{opts: o, cancel: cancel, stopped: make(chan struct{}), poke: make(chan struct{}, 1), start: time.Now()}
	a.mu.answer.Fenced = true
	a.mu.changed = make(chan struct{})
	a.sleep.limit = max(o.Session/8, 500*time.Millisecond)
	a.running.Go(func() { a.watch(ctx) })
	a.running.Go(func() { a.run(ctx) })
	return a
}

// Close ends the heartbeats.
func (a *Agent) Close() {
	a.cancel()
	a.running.Wait()
}

// watch keeps track of whether this process goes on.
func (a *Agent) watch(ctx context.Context) {
	tick := time.NewTicker(a.sleep.limit / 4)
	defer tick.Stop()
	for {
		a.sleep.tick(time.Since(a.start))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Poke makes it send a heartbeat now, as when the controller has changed.
func (a *Agent) Poke() {
	select {
	case a.poke <- struct{}{}:
	default:
	}
}

// Alive reports whether the session lasts, counted from the sending of the last heartbeat that was answered: the
// controller cannot have fenced this broker yet for its silence. After a session that ran out, the metadata of that time must have
// taken effect: others may have been made leaders.
func (a *Agent) Alive() bool {
	return time.Since(a.start) < time.Duration(a.alive.Load()) && a.caughtUp()
}

// Current reports whether this broker may go by what it knows. It is Alive, but for one whose session ran out while it was awake: it
// is the controller that is gone then, and the others go on without it too. One that slept through the end of its session does not
// know what was decided meanwhile, until a heartbeat is answered and the metadata of that time is here.
func (a *Agent) Current() bool {
	now := time.Since(a.start)
	alive := time.Duration(a.alive.Load())
	return (now < alive || !a.sleep.since(alive, now)) && a.caughtUp()
}

func (a *Agent) caughtUp() bool {
	behind := a.behind.Load()
	if behind == 0 {
		return true
	}
	if a.opts.Applied() < wire.Index(behind) {
		return false
	}
	a.behind.CompareAndSwap(behind, 0) // so that nobody need ask again
	return true
}

// Epoch returns the epoch of this broker's present incarnation; 0: it is not registered.
func (a *Agent) Epoch() wire.BrokerEpoch {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.mu.epoch
}

// Registered waits for the first registration. An error other than ctx's is the controller's refusal: it will not change
// by waiting.
func (a *Agent) Registered(ctx context.Context) (RegisterAnswer, error) {
	for {
		a.mu.Lock()
		r, epoch, refused, changed := a.mu.registered, a.mu.epoch, a.mu.refused, a.mu.changed
		a.mu.Unlock()
		switch {
		case refused != nil:
			return r, refused
		case epoch != 0:
			return r, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("wait for the controller: %w", ctx.Err())
		}
	}
}

// Unfenced says that the broker can serve, and waits until the controller has unfenced it.
func (a *Agent) Unfenced(ctx context.Context) error {
	a.ready.Store(true)
	a.Poke()
	return a.wait(ctx, "to be unfenced", func() bool { return !a.mu.answer.Fenced })
}

// unreached is how long a broker that stops waits for a controller that does not answer: the quorum may be gone for good.
const unreached = 1500 * time.Millisecond

// Shutdown asks the controller to move leaderships off this broker, and waits until it has, as long as it answers.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	a.mu.shutdown = true
	a.mu.Unlock()
	a.answered.Store(int64(time.Since(a.start)))
	a.Poke()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		for ctx.Err() == nil {
			left := time.Duration(a.answered.Load()) + unreached - time.Since(a.start)
			if left <= 0 {
				cancel(errors.New("the controller does not answer"))
				return
			}
			select {
			case <-time.After(left):
			case <-ctx.Done():
			}
		}
	}()
	return a.wait(ctx, "to be let go", func() bool { return a.mu.answer.ShouldShutdown })
}

// wait waits for a state under a.mu.
func (a *Agent) wait(ctx context.Context, what string, done func() bool) error {
	for {
		a.mu.Lock()
		ok, refused, changed := done(), a.mu.refused, a.mu.changed
		a.mu.Unlock()
		switch {
		case ok:
			return nil
		case refused != nil:
			return refused
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("wait %s: %w", what, context.Cause(ctx))
		case <-a.stopped:
			return fmt.Errorf("wait %s: the node is stopping", what)
		}
	}
}

func (a *Agent) update(f func()) {
	a.mu.Lock()
	f()
	close(a.mu.changed)
	a.mu.changed = make(chan struct{})
	a.mu.Unlock()
}

// retryFirst is the pause after a first failure and between heartbeats while the broker waits to be unfenced; it doubles up
// to the heartbeat interval.
const retryFirst = 20 * time.Millisecond

func (a *Agent) run(ctx context.Context) {
	defer close(a.stopped)
	wait := retryFirst
	var said time.Time
	for {
		again, err := a.step(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err == nil && !again:
			wait = a.opts.Interval
		case err == nil:
			wait = retryFirst
		default:
			wait = min(max(2*wait, retryFirst), a.opts.Interval, 500*time.Millisecond)
			if time.Since(said) > 3*time.Second {
				a.opts.Log.Info("the controller is not reached; trying on", "error", err)
				said = time.Now()
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-a.poke:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

func (a *Agent) refuse(err error) {
	a.update(func() { a.mu.refused = err })
	if a.opts.Refused != nil {
		a.opts.Refused(err)
	}
}

// prolong notes that a heartbeat was answered, which was sent at that time.
func (a *Agent) prolong(sent time.Duration, answer HeartbeatAnswer) {
	now := time.Since(a.start)
	a.answered.Store(int64(now))
	if answer.Fenced {
		a.alive.Store(min(a.alive.Load(), int64(now)))
		return
	}
	if now >= time.Duration(a.alive.Load()) {
		a.behind.Store(int64(answer.Applied)) // before the session lasts again
	}
	a.alive.Store(int64(sent + a.opts.Session))
}

// step registers or sends one heartbeat. again says that the next should come soon.
func (a *Agent) step(ctx context.Context) (again bool, err error) {
	a.mu.Lock()
	epoch, broker, shutdown, refused := a.mu.epoch, a.mu.registered.Broker, a.mu.shutdown, a.mu.refused
	a.mu.Unlock()
	if refused != nil {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, max(a.opts.Interval, time.Second))
	defer cancel()
	var refusal *control.Refusal
	if epoch == 0 {
		damage := a.opts.Damage()
		r, err := a.opts.Register(ctx, RegisterRequest{
			Cluster: a.opts.Cluster, Registration: a.opts.Registration, Lossy: damage.Lossy, Suspects: damage.Suspects, Readmit: a.opts.Readmit, Replace: a.opts.Replace,
		})
		switch {
		case errors.As(err, &refusal):
			a.refuse(refusal)
			return false, nil
		case err != nil:
			return false, err
		}
		a.opts.Registration.Broker = r.Broker
		a.opts.Readmit, a.opts.Replace = false, false // who is removed, or replaced, from now on stays out
		a.update(func() { a.mu.registered, a.mu.epoch = r, r.Epoch })
		return true, nil
	}
	sent := time.Since(a.start)
	state := a.opts.State()
	answer, err := a.opts.Heartbeat(ctx, HeartbeatRequest{
		Broker: broker, Epoch: epoch, Applied: a.opts.Applied(), State: state, LogEnd: a.opts.LogEnd(), WantUnfence: a.ready.Load() && !shutdown, WantShutdown: shutdown,
	})
	switch {
	case errors.As(err, &refusal) && refusal.Code == wire.ErrBrokerIDNotRegistered:
		a.refuse(fmt.Errorf("broker %d was removed from the cluster, and stops. To bring it back with what it holds, start it once with --readmit; a node with an empty directory joins as a new broker", broker))
		return false, nil
	case errors.As(err, &refusal) && refusal.Code == wire.ErrStaleBrokerEpoch:
		a.opts.Log.Warn("the controller does not know this incarnation of the broker; registering anew", "error", refusal)
		fenced := HeartbeatAnswer{Fenced: true}
		a.prolong(sent, fenced)
		a.update(func() { a.mu.epoch, a.mu.answer = 0, fenced })
		return true, nil
	case err != nil:
		return false, err
	}
	if answer.Differs != nil {
		a.refuse(differs(broker, state.Hash, *answer.Differs))
		return false, nil
	}
	a.prolong(sent, answer)
	a.update(func() { a.mu.answer = answer })
	return answer.Soon || answer.Fenced && a.ready.Load() && !shutdown, nil
}
