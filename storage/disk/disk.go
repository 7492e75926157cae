package disk

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

const (
	lockFile       = "kraftgo.lock"
	cleanFile      = "kraftgo.clean"
	bootFile       = "kraftgo.boot"
	lossyFile      = "kraftgo.lossy"
	kafkaCleanFile = ".kafka_cleanshutdown"
	maxSmallFile   = 64 << 20
)

// ErrOffline is any call on a directory whose disk has failed.
var ErrOffline = errors.New("log directory is offline")

// ErrUnknownReplica is a replica that the directory does not hold.
var ErrUnknownReplica = errors.New("no such replica in this log directory")

// Options says how a log directory is opened. Only Dir is needed.
type Options struct {
	Dir string // exists
	FS  vfs.FS // nil: the real one

	// Log gives the settings of a replica's log; of no replica: those that hold where nothing else is said. nil: the defaults.
	Log func(Replica) storage.Options
	// HighWatermark gives the offset past which retention deletes nothing; it is noted beside the durable offset, and given
	// back by [Disk.Watermark]. It must be quick. nil: the durable end, and nothing is noted.
	HighWatermark func(wire.TopicIDPartition) wire.Offset
	// OnDurable is called after each sync of a log. It must be quick. nil: nobody.
	OnDurable func(wire.TopicIDPartition, wire.Offset)
	// OnOffline is called once, when the disk has failed. nil: nobody.
	OnOffline func(error)

	Syncers   int // syncs at a time; default 32
	Openers   int // logs opened at a time; default 4 per processor
	OpenFiles int // see storage.NewFileCache
	// WAL is how many bytes the files of the write-ahead log may have that all logs share; 0: there is none, and each log syncs its
	// own files for what is appended. It has goroutines of its own.
	WAL        int64
	WALFile    int64         // of one of them at first, for tests; 0: see wal.Options
	Checkpoint time.Duration // between checkpoints of what has changed; default 1 minute
	Retention  time.Duration // at least so long between two looks at a log; default 1 minute

	Now    func() time.Time // nil: time.Now
	BootID func() string    // of the running kernel; empty: unknown. nil: ask it
	Random io.Reader        // for names that nothing else has; nil: crypto/rand

	// Schedule takes the place of the directory's goroutines, so that a simulation decides what happens when: it gets the logs
	// that want to be synced ([storage.Config]), and the house is kept by [Disk.KeepHouse] only. With one opener and one syncer
	// nothing here starts a goroutine then. nil: the directory has its own.
	Schedule func(*storage.Log)
}

func (o Options) withDefaults() Options {
	o.FS = cmp.Or(o.FS, vfs.OS)
	o.Syncers = cmp.Or(o.Syncers, 32)
	o.Openers = cmp.Or(o.Openers, 4*runtime.GOMAXPROCS(0))
	o.Checkpoint = cmp.Or(o.Checkpoint, time.Minute)
	o.Retention = cmp.Or(o.Retention, time.Minute)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.BootID == nil {
		o.BootID = kernelBootID
	}
	if o.Random == nil {
		o.Random = rand.Reader
	}
	if o.Log == nil {
		o.Log = func(Replica) storage.Options { return storage.Options{} }
	}
	o.Dir = path.Clean(o.Dir)
	return o
}

func (o Options) validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
	}{{"Syncers", o.Syncers}, {"Openers", o.Openers}} {
		if f.value < 1 {
			faults = append(faults, fmt.Errorf("%s (%d) must be positive", f.name, f.value))
		}
	}
	if o.Dir == "" || o.Dir == "." {
		faults = append(faults, errors.New("Dir must be given"))
	}
	return errors.Join(faults...)
}

func kernelBootID() string {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Report is what Open found.
type Report struct {
	UUID  wire.UUID
	New   bool // the directory was empty
	Clean bool // the last stop was in good order
	// Lossy means that a stop was not, and that the machine was started again since: what was not synced is gone. It is so at
	// every open from then on until [Disk.LossKnown] was called.
	Lossy    bool
	Restored int64 // bytes that only the write-ahead log had, which are in the logs now
	Replicas map[wire.TopicIDPartition]storage.Recovery
}

// Disk is one log directory. Every replica in the manifest has an open log, as long as the disk works.
type Disk struct {
	options Options
	uuid    wire.UUID
	lock    io.Closer
	files   *storage.FileCache
	offsets *offsets
	wal     *wal.Log // nil: none
	syncers syncers
	failed  atomic.Pointer[error]

	points map[string]wire.Offset // from the checkpoint files, by directory name; for Open and Add
	starts map[string]wire.Offset

	keeping housekeeper

	// manifestMu orders changes of the manifest, and is taken before mu.
	manifestMu sync.Mutex
	manifest   *manifest
	list       vfs.File // the manifest's file
	// changes wait for manifestMu, oldest first: whoever has it next makes them all.
	changes struct {
		sync.Mutex // a leaf
		waiting    []*change
	}

	mu struct {
		sync.RWMutex
		replicas map[wire.TopicIDPartition]*replica
		closed   bool
	}
}

// replica is an open log with what the directory does for it.
type replica struct {
	*entry
	log    *storage.Log
	keeper *keeper
	dirty  atomic.Bool // waits for a checkpoint
	point  wire.Offset // recovery point; the housekeeper's
	dueAt  time.Time   // of the earliest entry in the housekeeper's heap; guarded by its mu
}

// Open opens a log directory and all logs that its manifest names.
func Open(o Options) (*Disk, Report, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, Report{}, fmt.Errorf("log directory options: %w", err)
	}
	d := &Disk{options: o, files: storage.NewFileCache(o.FS, o.OpenFiles)}
	d.syncers.limit, d.keeping.d = o.Syncers, d
	d.mu.replicas = map[wire.TopicIDPartition]*replica{}
	lock, err := o.FS.Lock(o.Dir + "/" + lockFile)
	if err != nil {
		return nil, Report{}, fmt.Errorf("log directory %s: %w", o.Dir, err)
	}
	d.lock = lock
	report, err := d.open()
	if err != nil {
		d.giveUp()
		return nil, report, fmt.Errorf("log directory %s: %w", o.Dir, err)
	}
	if o.Schedule == nil {
		d.keeping.start()
	}
	return d, report, nil
}

// giveUp closes what an Open that failed has opened.
func (d *Disk) giveUp() {
	for _, r := range d.mu.replicas {
		r.log.Abandon()
	}
	d.syncers.ended.Wait()
	if d.wal != nil {
		d.wal.Close()
	}
	if d.offsets != nil {
		d.offsets.file.Close()
	}
	if d.list != nil {
		d.list.Close()
	}
	d.lock.Close()
}

func (d *Disk) open() (r Report, err error) {
	fsys, dir := d.options.FS, d.options.Dir
	if d.manifest, err = loadManifest(fsys, dir); err != nil {
		return r, err
	}
	if d.manifest == nil {
		r.New = true
		d.manifest = &manifest{entries: map[wire.TopicIDPartition]*entry{}}
		if _, err := io.ReadFull(d.options.Random, d.manifest.uuid[:]); err != nil {
			return r, err
		}
	}
	d.uuid, r.UUID = d.manifest.uuid, d.manifest.uuid
	if err := d.manifest.rewrite(fsys, dir); err != nil {
		return r, err
	}
	if d.list, err = fsys.Open(dir + "/" + manifestFile); err != nil {
		return r, err
	}
	if d.offsets, err = openOffsets(fsys, dir); err != nil {
		return r, err
	}
	if r.Clean, r.Lossy, err = d.takeMarkers(r.New); err != nil {
		return r, err
	}
	if d.points, err = readCheckpoint(fsys, dir+"/"+recoveryPointFile); err != nil {
		return r, err
	}
	if d.starts, err = readCheckpoint(fsys, dir+"/"+logStartFile); err != nil {
		return r, err
	}
	if err := d.removeDeleted(); err != nil {
		return r, err
	}
	if !r.Clean {
		if r.Restored, err = d.restore(); err != nil {
			return r, err
		}
	}
	if d.options.WAL > 0 {
		d.wal = wal.Open(wal.Options{
			FS: fsys, Dir: dir, Directory: d.uuid, Limit: d.options.WAL, Smallest: d.options.WALFile, Largest: 8 * d.options.WALFile, OnFault: d.offline,
		})
	}
	r.Replicas, err = d.openAll(r.Clean)
	if err == nil { // only now has recovery synced what was there already, as after a kill
		err = wal.Remove(fsys, dir)
	}
	return r, err
}

// LossKnown notes that those concerned know of the loss that [Report.Lossy] told. Until then a start that came to nothing must not hide
// it from the next one.
func (d *Disk) LossKnown() error {
	fsys, dir := d.options.FS, d.options.Dir
	err := fsys.Remove(dir + "/" + lossyFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = fsys.SyncDir(dir)
	}
	if err != nil {
		err = fmt.Errorf("note that the loss is known: %w", err)
	}
	return err
}

// takeMarkers reads how the last stop was, and makes it durable that the next one is not clean until Close says so.
func (d *Disk) takeMarkers(isNew bool) (clean, lossy bool, err error) {
	fsys, dir := d.options.FS, d.options.Dir
	names, err := fsys.List(dir)
	if err != nil {
		return false, false, err
	}
	clean = slices.Contains(names, cleanFile) || isNew && slices.Contains(names, kafkaCleanFile)
	for _, name := range []string{cleanFile, kafkaCleanFile} {
		if slices.Contains(names, name) {
			if err := fsys.Remove(dir + "/" + name); err != nil {
				return false, false, err
			}
		}
	}
	now, last := d.options.BootID(), ""
	if slices.Contains(names, bootFile) {
		b, err := vfs.ReadFile(fsys, dir+"/"+bootFile, maxSmallFile)
		if err != nil {
			return false, false, err
		}
		last = string(bytes.TrimSpace(b))
	}
	lossy = slices.Contains(names, lossyFile)
	if !lossy && !isNew && !clean && (now == "" || now != last) {
		lossy = true
		if err := vfs.WriteFile(fsys, dir, dir+"/"+lossyFile, []byte("1\n")); err != nil {
			return false, false, err
		}
	}
	// WriteFile syncs the directory, and with it the removal of the markers.
	if err := vfs.WriteFile(fsys, dir, dir+"/"+bootFile, []byte(now+"\n")); err != nil {
		return false, false, err
	}
	return clean, lossy, nil
}

// openAll opens all logs of the manifest, several at a time.
func (d *Disk) openAll(clean bool) (map[wire.TopicIDPartition]storage.Recovery, error) {
	found := make(map[wire.TopicIDPartition]storage.Recovery, len(d.manifest.entries))
	var mu sync.Mutex
	err := inParallel(d.options.Openers, d.manifest.sorted(), func(e *entry) error {
		r, recovery, err := d.openReplica(e, clean, true)
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		found[e.Key()] = recovery
		d.mu.replicas[e.Key()] = r
		return nil
	})
	return found, err
}

// openReplica opens a log. listed is one that the manifest has.
func (d *Disk) openReplica(e *entry, clean, listed bool) (*replica, storage.Recovery, error) {
	key := e.Key()
	n, err := d.offsets.read(e.slot, key)
	if err != nil {
		return nil, storage.Recovery{}, err
	}
	if !listed && !e.started {
		// What is noted is of this replica before it was moved away. The checkpoint files go by names, and may speak of another topic of
		// this name: they do not count.
		n = note{key: key}
	}
	if n.limit == noLimit {
		n.start = max(n.start, d.starts[e.DirName()])
	}
	point, known := d.points[e.DirName()]
	r := &replica{entry: e, keeper: &keeper{d: d, entry: e, note: n}, point: min(point, n.limit)}
	config := storage.Config{
		FS: d.options.FS, Dir: d.options.Dir + "/" + e.DirName(), TopicID: e.TopicID, Partition: e.Partition, Listed: listed, Files: d.files,
		Kept: storage.Kept{
			RecoveryPoint: r.point, LogStart: n.start, Noted: n.noted, Clean: clean && known && point <= n.limit, Started: e.started,
		},
		WAL: d.wal, Keeper: r.keeper, Schedule: d.options.Schedule, OnFault: d.offline, Now: d.options.Now,
		OnDirty: func() { d.markDirty(r) },
	}
	if config.Schedule == nil {
		config.Schedule = d.syncers.schedule
	}
	if d.options.OnDurable != nil {
		config.OnDurable = func(o wire.Offset) { d.options.OnDurable(key, o) }
	}
	log, recovery, err := storage.Open(config, d.options.Log(e.Replica))
	if err != nil {
		return nil, recovery, err
	}
	r.log = log
	if log.Size() > 0 || recovery.Suspect != "" {
		d.markDirty(r)
	}
	return r, recovery, nil
}

// UUID is the directory's own id.
func (d *Disk) UUID() wire.UUID { return d.uuid }

// Dir is the directory's path.
func (d *Disk) Dir() string { return d.options.Dir }

// Err returns what took the directory offline, or nil.
func (d *Disk) Err() error {
	if e := d.failed.Load(); e != nil {
		return fmt.Errorf("%w: %s: %w", ErrOffline, d.options.Dir, *e)
	}
	return nil
}

// offline marks the disk as failed.
func (d *Disk) offline(err error) {
	if d.failed.CompareAndSwap(nil, &err) && d.options.OnOffline != nil {
		d.options.OnOffline(err)
	}
}

// Watermark returns the high watermark that was noted with a replica's last sync, which may be older than the true one. 0:
// none.
func (d *Disk) Watermark(key wire.TopicIDPartition) wire.Offset {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r := d.mu.replicas[key]; r != nil {
		return r.keeper.watermark()
	}
	return 0
}

// Log returns a replica's log; nil: the directory does not hold it.
func (d *Disk) Log(key wire.TopicIDPartition) *storage.Log {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if r := d.mu.replicas[key]; r != nil {
		return r.log
	}
	return nil
}

// Replicas lists what the directory holds, by name.
func (d *Disk) Replicas() []Replica {
	all := d.sorted()
	list := make([]Replica, len(all))
	for i, r := range all {
		list[i] = r.Replica
	}
	return list
}

// Stat is the state of one replica's log.
type Stat struct {
	Replica
	Bytes               int64
	Start, Durable, End wire.Offset
	Suspect             string
}

// Stats lists the state of all logs, by name.
func (d *Disk) Stats() []Stat {
	list := d.Replicas()
	stats := make([]Stat, 0, len(list))
	for _, r := range list {
		if l := d.Log(r.Key()); l != nil {
			stats = append(stats, Stat{r, l.Size(), l.Start(), l.Durable(), l.End(), l.Suspect()})
		}
	}
	return stats
}

// Close stops all work, closes all logs, and notes that the stop was clean if all of it went well.
func (d *Disk) Close() error {
	d.mu.Lock()
	if d.mu.closed {
		d.mu.Unlock()
		return nil
	}
	d.mu.closed = true
	d.mu.Unlock()
	d.keeping.stop()
	err := d.Err()
	var lift func()
	if err == nil {
		lift, err = d.closeLogs()
	} else {
		d.eachReplica(func(r *replica) error { r.log.Abandon(); return nil })
	}
	d.syncers.ended.Wait()
	if d.wal != nil {
		err = errors.Join(err, d.wal.Close())
	}
	fsys, dir := d.options.FS, d.options.Dir
	if err == nil {
		err = d.writeCheckpoints()
	}
	if err == nil {
		lift()
		if err = d.Err(); err == nil { // or else a limit still counts
			err = d.offsets.file.Sync()
		}
	}
	if err == nil {
		err = vfs.WriteFile(fsys, dir, dir+"/"+cleanFile, []byte("1\n"))
	}
	return errors.Join(err, d.list.Close(), d.offsets.file.Close(), d.lock.Close())
}

// closeLogs closes all logs. lift is to be called once the checkpoint files have the points that they were closed with.
func (d *Disk) closeLogs() (lift func(), _ error) {
	var mu sync.Mutex
	lowered := map[*replica]int{}
	err := d.eachReplica(func(r *replica) error {
		n := r.keeper.timesLowered()
		err := r.log.Close()
		r.point = r.log.End()
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			lowered[r] = n
		}
		return err
	})
	return func() {
		for r, n := range lowered {
			r.keeper.lift(n)
		}
	}, err
}

// eachReplica calls f for all replicas, several at a time.
func (d *Disk) eachReplica(f func(*replica) error) error {
	return inParallel(d.options.Openers, d.sorted(), f)
}

// sorted returns the replicas by name.
func (d *Disk) sorted() []*replica {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make([]*replica, 0, len(d.mu.replicas))
	for _, r := range d.mu.replicas {
		all = append(all, r)
	}
	slices.SortFunc(all, func(a, b *replica) int { return compareReplicas(a.Replica, b.Replica) })
	return all
}

func compareReplicas(a, b Replica) int {
	return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition), bytes.Compare(a.TopicID[:], b.TopicID[:]))
}

// inParallel calls f for all items, at most limit at a time; for a limit of one, on the caller's goroutine.
func inParallel[T any](limit int, items []T, f func(T) error) error {
	if limit == 1 {
		var faults []error
		for _, item := range items {
			faults = append(faults, f(item))
		}
		return errors.Join(faults...)
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	var faults []error
	slots := make(chan struct{}, limit)
	for _, item := range items {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := f(item); err != nil {
				mu.Lock()
				defer mu.Unlock()
				faults = append(faults, err)
			}
		})
	}
	wg.Wait()
	return errors.Join(faults...)
}
