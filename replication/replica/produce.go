package replica

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
)

// Acks is what a producer waits for.
type Acks int16

// The kinds of acknowledgement.
const (
	AcksNone   Acks = 0
	AcksLeader Acks = 1
	AcksAll    Acks = -1
)

// Outcome is what became of one partition's batches.
type Outcome struct {
	Code     wire.ErrorCode
	Appended storage.Appended
	Err      error // the fault behind a storage error
}

// ProduceWait gathers the outcomes of one request's partitions, of Produce or DeleteRecords, and calls its function once, when all are settled or
// time is up. The zero value is not usable: see [NewProduceWait].
type ProduceWait struct {
	outcomes []Outcome
	done     func([]Outcome)

	mu struct {
		sync.Mutex
		open    int // outcomes not settled, plus one until Wait
		settled []bool
		timer   *time.Timer
	}
}

// NewProduceWait returns a wait for n partitions. done gets the outcomes by index.
func NewProduceWait(n int, done func([]Outcome)) *ProduceWait {
	w := &ProduceWait{outcomes: make([]Outcome, n), done: done}
	w.mu.open = n + 1
	w.mu.settled = make([]bool, n)
	return w
}

// Refuse settles a partition that was not appended to.
func (w *ProduceWait) Refuse(i int, code wire.ErrorCode) {
	w.outcomes[i].Code = code
	w.settle(i, code)
}

// Wait says that every partition was appended to or refused. What is still open gets until the timeout.
func (w *ProduceWait) Wait(timeout time.Duration) {
	w.mu.Lock()
	w.mu.open--
	last := w.mu.open == 0
	if !last {
		w.mu.timer = time.AfterFunc(timeout, w.expire)
	}
	w.mu.Unlock()
	if last {
		w.done(w.outcomes)
	}
}

// settle notes that a partition's outcome is final. A code other than ErrNone replaces what the append said.
func (w *ProduceWait) settle(i int, code wire.ErrorCode) {
	w.mu.Lock()
	if w.mu.settled[i] {
		w.mu.Unlock()
		return
	}
	w.mu.settled[i] = true
	if code != wire.ErrNone {
		w.outcomes[i].Code = code
	}
	w.mu.open--
	last := w.mu.open == 0
	if last && w.mu.timer != nil {
		w.mu.timer.Stop()
	}
	w.mu.Unlock()
	if last {
		w.done(w.outcomes)
	}
}

func (w *ProduceWait) expire() {
	for i := range w.outcomes {
		w.settle(i, wire.ErrRequestTimedOut)
	}
}

// Append appends a client's validated batches as leader, and settles outcome i of w when they are acknowledged as acks
// asks. It does not wait.
func (p *Partition) Append(w *ProduceWait, i int, acks Acks, a storage.Append) {
	reign, code := p.append(&w.outcomes[i], acks, a)
	switch {
	case code != wire.ErrNone:
		w.Refuse(i, code)
	case w.outcomes[i].Code != wire.ErrNone || acks == AcksNone:
		w.settle(i, wire.ErrNone)
		p.advance()
	default:
		mark := leaderMark
		if acks == AcksAll {
			mark = highWatermark
		}
		p.acknowledge(w, i, mark, reign, w.outcomes[i].Appended.Last+1)
	}
}

// append writes, if the partition leads and enough replicas are in sync. The part as leader lasts while it does.
func (p *Partition) append(out *Outcome, acks Acks, a storage.Append) (reign int, code wire.ErrorCode) {
	p.role.RLock()
	defer p.role.RUnlock()
	p.mu.Lock()
	a.LeaderEpoch, code = p.servingLocked(wire.NoLeaderEpoch)
	if code == wire.ErrNone && acks == AcksAll && !p.mu.leader.EnoughInSync() {
		code = wire.ErrNotEnoughReplicas
	}
	reign = p.mu.reign
	p.mu.Unlock()
	if code != wire.ErrNone {
		return reign, code
	}
	out.Appended, out.Code, out.Err = p.log.AppendAsLeader(a)
	if out.Err != nil && out.Code == wire.ErrNone {
		out.Code = wire.ErrKafkaStorageError
	}
	return reign, wire.ErrNone
}

// acknowledge registers a wait for offset; the marks may have reached it already. If the partition has stopped leading since
// it was appended, it may be cut off, whoever leads now.
func (p *Partition) acknowledge(w *ProduceWait, i int, m mark, reign int, offset wire.Offset) {
	p.mu.Lock()
	if p.mu.leader == nil || p.mu.reign != reign {
		code := p.mu.gone
		if code == wire.ErrNone {
			code = wire.ErrNotLeaderOrFollower
		}
		p.mu.Unlock()
		w.settle(i, code)
		return
	}
	p.mu.produces = append(p.mu.produces, produceWaiter{offset: offset, mark: m, wait: w, index: i})
	woken := p.advanceLocked()
	p.mu.Unlock()
	woken.runHere()
}
