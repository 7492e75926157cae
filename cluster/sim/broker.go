package sim

import (
	"fmt"
	"io"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// broker is a machine with a broker on it. It outlives the processes that run there.
type broker struct {
	world      *world
	id         wire.BrokerID
	directory  wire.UUID // of the metadata directory
	generation uint64
	files      *vfs.Mem
	machine    int // counts the times that it was booted
	faults     faulty
	paused     bool
	waiting    []func()   // of the process, until it is not paused any more
	process    *process   // nil: none runs
	disk       *disk.Disk // of the process that runs, or ran last
	wiped      bool       // once, records on its disk were lost
}

type logKey = wire.TopicIDPartition

// process is one start of a broker's program.
type process struct {
	broker   *broker
	boot     int
	disk     *disk.Disk
	lossy    bool
	nonce    uint64
	epoch    wire.BrokerEpoch // 0: not registered
	applied  int              // index of the last command that was applied
	image    *metadata.Image
	begun    bool
	opening  bool // openLater waits
	held     map[logKey]*held
	env      *replica.Env
	awaiting []awaiting
}

// awaiting is what waits for the metadata up to an index.
type awaiting struct {
	index int
	act   func()
}

const dataDir = "/logs"

// epochMs is when runs begin, on the clocks on walls.
const epochMs = 1_700_000_000_000

func newBroker(w *world, id wire.BrokerID) *broker {
	b := &broker{world: w, id: id, files: vfs.NewMem()}
	_, _ = w.Read(b.directory[:])
	b.makeDataDir()
	return b
}

func (b *broker) makeDataDir() {
	_ = b.files.Mkdir(dataDir)
	_ = b.files.SyncDir("/")
}

// does has the process do something now, or once it is not stopped any more; nothing if it is dead.
func (p *process) does(act func()) {
	switch b := p.broker; {
	case b.process != p:
	case b.paused:
		b.waiting = append(b.waiting, func() { p.does(act) })
	default:
		act()
	}
}

// after has the process do something later.
func (p *process) after(d time.Duration, act func()) {
	p.broker.world.after(d, func() { p.does(act) })
}

// start starts the program, unless it runs.
func (b *broker) start() {
	w := b.world
	if b.process != nil {
		return
	}
	w.nextBoot++
	b.generation++
	p := &process{broker: b, boot: w.nextBoot, held: map[logKey]*held{}, image: metadata.NewState().Image(), nonce: w.random.Uint64()}
	b.process, b.paused, b.waiting = p, false, nil
	d, report, err := disk.Open(disk.Options{
		Dir: dataDir, FS: vfs.Inject(unlocked{b.files}, b.faults.refuse),
		Log: func(r disk.Replica) storage.Options { return p.settings(r.Topic).Log },
		HighWatermark: func(id logKey) wire.Offset {
			if h := p.held[id]; h != nil {
				return h.partition.HighWatermark()
			}
			return 0
		},
		OnDurable: p.durable, OnOffline: p.offline, Syncers: 1, Openers: 1, Checkpoint: 2 * time.Second, Retention: time.Second,
		Now:    func() time.Time { return time.UnixMilli(epochMs).Add(w.now) },
		BootID: func() string { return fmt.Sprintf("%d-%d", b.id, b.machine) },
		Random: w, Schedule: p.syncLater,
	})
	if err != nil {
		w.log("b%d does not start: %v", b.id, err)
		b.process = nil
		w.after(w.about(500*time.Millisecond), b.start)
		return
	}
	b.disk, p.disk, p.lossy = d, d, report.Lossy
	w.log("b%d starts, lossy %v", b.id, report.Lossy)
	for _, r := range d.Replicas() {
		if log := d.Log(r.Key()); log != nil {
			w.log("b%d has %s: durable %d, end %d, suspect %q", b.id, r.DirName(), log.Durable(), log.End(), log.Suspect())
		}
	}
	p.env = &replica.Env{
		Broker: b.id, LagMax: lagMax,
		Now: func() time.Duration { return w.now },
		Eligible: func(id wire.BrokerID, epoch wire.BrokerEpoch) bool {
			b := p.image.Broker(id)
			return b != nil && b.Live() && (epoch == replication.NoBrokerEpoch || b.Epoch == epoch)
		},
		Propose: func(of *replica.Partition, wish replication.Proposal) { p.of(of).wants(wish) },
		Synced:  func(of *replica.Partition) { p.of(of).report() },
	}
	p.beat()
	p.keepHouse()
	p.watch()
}

const lagMax = 1200 * time.Millisecond

// unlocked is a file system whose locks end with the process that took them.
type unlocked struct{ vfs.FS }

type noLock struct{}

func (noLock) Close() error { return nil }

// Lock takes no lock.
func (unlocked) Lock(string) (io.Closer, error) { return noLock{}, nil }

// syncLater has a log synced when the disk comes to it.
func (p *process) syncLater(l *storage.Log) {
	p.after(p.broker.world.about(p.broker.world.options.syncTime), func() {
		if p.broker.faults.hung {
			p.after(20*time.Millisecond, func() { p.syncLater(l) })
			return
		}
		if l.RunSync() {
			p.syncLater(l)
		}
	})
}

func (p *process) durable(id logKey, _ wire.Offset) {
	if h := p.held[id]; h != nil && p.broker.process == p {
		h.touch()
		h.partition.Durable(h.log.Durable())
	}
}

// offline ends the process, as the program ends itself: its disk has failed.
func (p *process) offline(err error) {
	w := p.broker.world
	w.log("b%d disk failed: %v", p.broker.id, err)
	for _, h := range p.ordered() {
		h.partition.Retire(wire.ErrKafkaStorageError)
	}
	w.after(0, func() {
		if p.broker.process == p {
			if p.broker.faults.failing { // what could not be synced is gone from the page cache too
				p.broker.faults.failing = false
				p.broker.losePower()
			}
			p.broker.kill()
			w.after(w.about(500*time.Millisecond), p.broker.start)
		}
	})
}

// watch looks now and then for followers that lag.
func (p *process) watch() {
	p.after(lagMax/2, func() {
		p.reconsider()
		p.watch()
	})
}

func (p *process) keepHouse() {
	p.after(p.broker.world.about(500*time.Millisecond), func() {
		if !p.broker.faults.hung {
			p.disk.KeepHouse()
		}
		p.keepHouse()
	})
}

// kill ends the process at once. What it wrote is in the page cache.
func (b *broker) kill() {
	if b.process == nil {
		return
	}
	b.world.log("b%d is killed", b.id)
	p := b.process
	b.drop()
	c := b.world.controller
	b.world.network.send(b.id, atController, func() { c.lost(b.id, p.epoch) }) // a connection that is refused
}

// drop forgets the process.
func (b *broker) drop() {
	p := b.process
	if p == nil {
		return
	}
	b.process, b.paused, b.waiting = nil, false, nil
	for _, h := range p.ordered() {
		h.partition.Retire(wire.ErrNotLeaderOrFollower) // whoever waits has timers of the real clock
	}
}

// losePower ends the machine. What was not synced may be gone.
func (b *broker) losePower() {
	b.world.log("b%d loses its power", b.id)
	b.drop()
	b.files = b.files.Crash(b.world.random)
	b.machine++
	b.makeDataDir()
}

// beat registers, or sends a heartbeat, over and over.
func (p *process) beat() {
	b := p.broker
	w := b.world
	again := func(d time.Duration) { p.after(w.about(d), p.beat) }
	if p.epoch == 0 {
		r := metadata.RegisterBroker{
			Broker: b.id, Directory: b.directory, Generation: b.generation, Nonce: p.nonce, LogDirs: []wire.UUID{p.disk.UUID()},
			Features: control.SupportedFeatures(), MinInSync: 1,
		}
		found := p.damage()
		w.network.ask(p, call{from: b.id, to: atController, timeout: 500 * time.Millisecond, lost: func() { again(heartbeat) }, serve: func(reply func(func())) {
			epoch, ok := w.controller.register(r, found)
			reply(func() {
				if ok {
					p.epoch, p.lossy = epoch, false
					if err := p.disk.LossKnown(); err != nil {
						w.log("b%d: %v", b.id, err)
						b.kill()
						w.after(w.about(500*time.Millisecond), b.start)
						return
					}
					p.restarted()
				}
				again(20 * time.Millisecond)
			})
		}})
		return
	}
	epoch, applied, ready := p.epoch, p.applied, p.begun
	w.network.ask(p, call{from: b.id, to: atController, timeout: 500 * time.Millisecond, lost: func() { again(20 * time.Millisecond) }, serve: func(reply func(func())) {
		known := w.controller.beat(b.id, epoch, applied, ready)
		list := w.controller.log[applied:]
		reply(func() {
			p.learn(applied, list)
			if !known && p.epoch == epoch {
				p.epoch = 0
			}
			again(heartbeat)
		})
	}})
}

// damage tells which replicas the controller must not take for what they were.
func (p *process) damage() control.Damage {
	d := control.Damage{Lossy: p.lossy}
	for _, r := range p.disk.Replicas() {
		if log := p.disk.Log(r.Key()); log != nil && log.Suspect() != "" {
			d.Suspects = append(d.Suspects, r.Key())
		}
	}
	return d
}

// replicaState tells what is left of a replica.
func (p *process) replicaState(id logKey) control.ReplicaState {
	log := p.disk.Log(id)
	if log == nil || log.Err() != nil || p.disk.Err() != nil {
		return control.ReplicaState{LastEpoch: wire.NoLeaderEpoch, Suspect: true}
	}
	state := control.ReplicaState{LastEpoch: wire.NoLeaderEpoch, End: log.Intact(), Suspect: log.Suspect() != ""}
	if end := log.Intact(); end > log.Start() {
		state.LastEpoch = log.EpochAt(end - 1)
	}
	return state
}
