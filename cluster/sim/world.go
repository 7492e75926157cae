package sim

import (
	"bytes"
	"container/heap"
	"fmt"
	"hash"
	"hash/fnv"
	"math/rand/v2"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Result is what a run came to.
type Result struct {
	Fault    string // the first rule that was broken; empty: none was
	Trace    []byte // a line for each event, if it was asked for
	Hash     uint64 // of the trace
	Events   int
	Faults   map[string]int // that were made to happen, by kind
	Acked    int            // records that producers were told are written
	Elected  int            // leaders
	Diverged int            // truncations of followers
	Took     time.Duration  // in the clock of the run
}

// Run simulates one seed. With trace the result has the trace.
func Run(seed uint64, trace bool) Result {
	w := newWorld(seed, trace)
	w.run()
	w.close()
	w.result.Trace, w.result.Hash, w.result.Took = w.trace.Bytes(), w.hash.Sum64(), w.now
	return w.result
}

// world is one run. Its parts call each other directly, within one event, or leave each other events for later.
type world struct {
	random *rand.Rand
	now    time.Duration
	queue  queue
	order  int // of events, so that those at one instant have an order
	traced bool
	trace  bytes.Buffer
	hash   hash.Hash64
	result Result

	options    options
	network    network
	controller *controller
	brokers    []*broker // by id, less one
	producers  []*producer
	consumers  []*consumer
	parts      []*part // all partitions that there ever were
	touched    []*held // to be looked at after the present event
	acks       []ack   // given in the present event
	unheard    bool    // the next ISR that grows is not heard of by its leader
	calm       bool    // the end: nothing goes wrong any more
	nextWord   uint64
	looseWords map[uint64]bool // those that may be written more than once
	nextBoot   int
}

// options are drawn from the seed.
type options struct {
	brokers    int
	partitions int
	replicas   int16
	minInSync  int
	replicated bool // durability
	busy       time.Duration
	drop       float64 // share of messages that are lost
	repeat     float64 // and that come twice
	latency    time.Duration
	syncTime   time.Duration
	late       bool // fetches may come again much later
	lone       bool // a producer with acks=1 too
	pause      time.Duration
	menu       []fault // the faults of this run
}

func newWorld(seed uint64, traced bool) *world {
	w := &world{random: rand.New(rand.NewPCG(seed, 0x5eed)), traced: traced, hash: fnv.New64a(), looseWords: map[uint64]bool{}}
	w.result.Faults = map[string]int{}
	o := &w.options
	o.brokers = 3 + w.random.IntN(2)
	o.partitions = 1 + w.random.IntN(3)
	o.replicas = int16(2 + w.random.IntN(2))
	o.minInSync = min(int(o.replicas), 1+w.random.IntN(3))
	if w.random.IntN(3) > 0 {
		o.replicas, o.minInSync = 3, 2
	}
	o.replicated = w.random.IntN(3) == 0
	o.busy = time.Duration(4+w.random.IntN(8)) * time.Second
	o.latency = time.Duration(1+w.random.IntN(10)) * time.Millisecond
	o.syncTime = time.Duration(1+w.random.IntN(30)) * time.Millisecond
	o.lone = w.random.IntN(2) == 0
	if w.random.IntN(2) == 0 {
		o.drop, o.repeat = 0.05*w.random.Float64(), 0.05*w.random.Float64()
	}
	o.late = w.random.IntN(2) == 0
	o.pause = time.Duration(100+w.random.IntN(900)) * time.Millisecond
	o.menu = w.drawMenu(seed)
	w.network = network{world: w, cut: map[link]bool{}}
	w.controller = newController(w)
	for i := range o.brokers {
		w.brokers = append(w.brokers, newBroker(w, wire.BrokerID(i+1)))
	}
	return w
}

func (w *world) run() {
	w.log("%+v", w.options)
	for _, b := range w.brokers {
		b.start()
	}
	w.controller.tick()
	w.after(300*time.Millisecond, w.found)
	w.after(w.options.busy, w.heal)
	for w.result.Fault == "" && w.queue.Len() > 0 && w.now < w.options.busy+rest {
		e := heap.Pop(&w.queue).(event)
		w.now = e.at
		w.result.Events++
		e.act()
		w.check()
	}
	if w.result.Fault == "" {
		w.checkEnd()
	}
}

// rest is how long the cluster has, once nothing goes wrong any more, to bring everybody in sync.
const rest = 12 * time.Second

// close ends what has timers of the real clock.
func (w *world) close() {
	for _, b := range w.brokers {
		b.drop()
	}
}

// fail notes that a rule was broken. The first counts.
func (w *world) fail(format string, args ...any) {
	if w.result.Fault == "" {
		w.result.Fault = fmt.Sprintf(format, args...)
		w.log("BROKEN: %s", w.result.Fault)
	}
}

// log writes a line of the trace.
func (w *world) log(format string, args ...any) {
	line := fmt.Appendf(nil, "%10.4f ", w.now.Seconds())
	line = fmt.Appendf(line, format, args...)
	line = append(line, '\n')
	_, _ = w.hash.Write(line) // never fails
	if w.traced {
		w.trace.Write(line)
	}
}

// after has act done later.
func (w *world) after(d time.Duration, act func()) {
	w.order++
	heap.Push(&w.queue, event{w.now + max(d, 0), w.order, act})
}

// about is a random time about d, from half of it to one and a half.
func (w *world) about(d time.Duration) time.Duration {
	return d/2 + time.Duration(w.random.Int64N(int64(d)+1))
}

// chance is true in that share of the cases.
func (w *world) chance(share float64) bool { return share > 0 && w.random.Float64() < share }

// Read fills b with random bytes.
func (w *world) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(w.random.Uint32())
	}
	return len(b), nil
}

type event struct {
	at    time.Duration
	order int
	act   func()
}

// queue is a heap of events, the next first.
type queue []event

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].at < q[j].at || q[i].at == q[j].at && q[i].order < q[j].order
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(event)) }
func (q *queue) Pop() any {
	old := *q
	e := old[len(old)-1]
	old[len(old)-1] = event{}
	*q = old[:len(old)-1]
	return e
}
