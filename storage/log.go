package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

// The faults that callers tell apart.
var (
	// ErrClosed is any call on a log that was closed, by Close or by a disk error ([Log.Err] tells which).
	ErrClosed = errors.New("log closed")
	// ErrCorrupt marks bytes that cannot be what was written.
	ErrCorrupt = errors.New("corrupt")
	// ErrDamaged is an append to a log with damage below its recovery point. It must be truncated below that first.
	ErrDamaged = errors.New("log damaged below its recovery point")
)

// Log is the record log of one partition. At all times
//
//	start <= durable <= end
//
// each an offset one past the last record that it covers. start and durable fall only by a truncation.
//
// Locks are taken in this order: syncing, mu, and then any of the leaves within.
type Log struct {
	config Config // never changes after Open
	parent string

	start   atomic.Int64
	durable atomic.Int64
	end     atomic.Int64 // stored after the bytes can be read
	bytes   atomic.Int64

	// segments ascend by base; the last is active unless the log is empty. The slice is replaced, never changed.
	segments atomic.Pointer[[]*segment]
	epochs   epochCache
	open     transactionTable
	fault    atomic.Pointer[faultBox]

	suspicion atomic.Pointer[string] // changed under mu; nil: none

	wanted atomic.Int32 // see RequestSync

	wal *wal.Client // nil: none
	// shared orders what the write-ahead log says of the end with cuts. It is a leaf.
	shared struct {
		sync.Mutex
		generation uint64    // rises with each cut: what was added before concerns nobody
		noted      time.Time // when the keeper was last told
	}

	// syncing is held by whoever syncs, through all of it: there is one fdatasync at a time.
	syncing sync.Mutex

	// mu is held by the appender, also while it writes. A sync takes it only to see what there is to do.
	mu struct {
		sync.Mutex
		options   Options
		closed    bool
		ending    bool        // appends are refused: Close has begun
		damagedAt wire.Offset // first damaged offset; noOffset: none
		producers producerTable
		staging   staging
		active    *openFile // the active segment's, from the first write until it is synced

		dirty              bool       // OnDirty was called, and no sync has covered all since
		unsynced           []*segment // sealed and not yet synced
		snapshots          []snapshot // taken and not yet written
		lastSnapshot       wire.Offset
		dirMade            bool        // the directory exists
		dirDurable         bool        // and will after a power cut
		namesChanged       bool        // names in the directory are not yet durable, and no sync has begun since
		namesPending       bool        // likewise, and no sync has ended since
		chained            wire.Offset // what lies before is durable, or is on its way through the write-ahead log; noOffset: unknown
		skipped            wire.Offset // a deletion has raised Durable to here, where the segment's bytes are not synced; noOffset: they are
		startKept          wire.Offset // the start that the keeper has; retention does not tell it
		trash              []trash
		checkpointSnapshot wire.Offset // of a snapshot file that belongs to no segment; noOffset: none
	}
}

// faultBox holds the error that closed a log for good.
type faultBox struct{ err error }

// snapshot is the content of a producer snapshot file that is to be written.
type snapshot struct {
	offset wire.Offset
	bytes  []byte
}

// trash is a file to be removed later.
type trash struct {
	name string
	due  time.Time
}

// Recovery is what Open found and did.
type Recovery struct {
	BytesRead int64  // of record data
	BytesCut  int64  // off a torn tail
	Suspect   string // why the replica must be refetched; empty: it is sound
}

// Options returns the settings in force.
func (l *Log) Options() Options {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.options
}

// SetOptions changes the settings. They hold from the next append and the next Retain on. If replication alone made records last until
// now, what is there is synced.
func (l *Log) SetOptions(o Options) error {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return fmt.Errorf("options of %s: %w", l.config.Dir, err)
	}
	l.mu.Lock()
	toDisk := l.mu.options.Replicated && !o.Replicated && l.mu.dirty
	l.mu.options = o
	l.mu.Unlock()
	if toDisk {
		l.RequestSync()
	}
	return nil
}

// Dir is the partition's directory.
func (l *Log) Dir() string { return l.config.Dir }

// Start is the first offset that may be read.
func (l *Log) Start() wire.Offset { return wire.Offset(l.start.Load()) }

// End is the offset that the next record gets.
func (l *Log) End() wire.Offset { return wire.Offset(l.end.Load()) }

// Durable is the offset below which all survives a power cut.
func (l *Log) Durable() wire.Offset { return wire.Offset(l.durable.Load()) }

// Size is the number of bytes of record data on disk.
func (l *Log) Size() int64 { return l.bytes.Load() }

// Err returns what closed the log for good, or nil.
func (l *Log) Err() error {
	if f := l.fault.Load(); f != nil {
		return f.err
	}
	return nil
}

// Suspect tells why this replica must not be elected nor trusted until it was fetched anew. Empty: it may be. It waits for nothing.
func (l *Log) Suspect() string {
	if s := l.suspicion.Load(); s != nil {
		return *s
	}
	return ""
}

// ClearSuspect forgets the suspicion, once the replica was fetched anew and is in sync.
func (l *Log) ClearSuspect() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.Suspect() == "" {
		return nil
	}
	if l.mu.damagedAt != noOffset {
		return fmt.Errorf("clear suspicion of %s: %w", l.config.Dir, ErrDamaged)
	}
	if l.mu.dirMade {
		// The directory may have been another's. The mark goes last: it must not be gone while the suspicion stays.
		err := l.writePartitionMetadata()
		if err == nil {
			err = l.removeNames(suspectFile)
		}
		if err != nil {
			return fmt.Errorf("clear suspicion: %w", err)
		}
	}
	l.suspicion.Store(nil)
	return nil
}

// Distrust makes the replica suspect, durably, for a reason that its own files do not show.
func (l *Log) Distrust(reason string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.suspectLocked(reason); err != nil {
		return fmt.Errorf("suspect %s: %w", l.config.Dir, err)
	}
	return nil
}

// Intact returns the offset below which no damage was found; End, unless the replica is suspect.
func (l *Log) Intact() wire.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.damagedAt != noOffset {
		return l.mu.damagedAt
	}
	return l.End()
}

// Accept takes the replica for the truth after all, since no better one is left: what lies at and past the first damage is cut, and
// the suspicion is forgotten.
func (l *Log) Accept() error {
	if to := l.Intact(); to < l.End() {
		if _, err := l.Truncate(to); err != nil {
			return err
		}
	}
	return l.ClearSuspect()
}

// ActiveProducers lists the producers that the log knows, by id.
func (l *Log) ActiveProducers() []Producer {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.mu.producers.list()
}

// HasOpenTransaction reports whether the producer has a transaction open here in that epoch.
func (l *Log) HasOpenTransaction(id wire.ProducerID, epoch wire.ProducerEpoch) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.mu.producers.states[id]
	return p != nil && p.transactionStart != noOffset && p.epoch == epoch
}

// VerificationGuard proves that a transaction was verified with its coordinator. The zero guard proves nothing.
type VerificationGuard uint64

// StartVerification begins to verify a transaction. The guard goes along with the append once the coordinator has
// confirmed; a marker that comes in between makes it void. needed is false when the transaction is open here already.
func (l *Log) StartVerification(id wire.ProducerID, epoch wire.ProducerEpoch, sequence wire.Sequence, supportsEpochBump bool) (guard VerificationGuard, needed bool) {
	now := l.config.Now().UnixMilli()
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.mu.producers.states[id]; p != nil && p.transactionStart != noOffset && p.epoch == epoch {
		return 0, false
	}
	return l.mu.producers.startVerification(id, epoch, sequence, supportsEpochBump, now), true
}

// LastStableOffset is the offset that read_committed consumers may read up to, for that watermark: no transaction below
// it is open, or was ended by a marker that the watermark has not passed.
func (l *Log) LastStableOffset(highWatermark wire.Offset) wire.Offset {
	return l.open.lastStable(highWatermark)
}

// LatestEpoch is the epoch of the last known leader, or wire.NoLeaderEpoch.
func (l *Log) LatestEpoch() wire.LeaderEpoch { return l.epochs.latest() }

// EpochEndOffset returns the largest known epoch at or below epoch, and the offset at which the next known one starts. It
// is (-1, -1) when epoch is above all that are known, and (epoch, start of the first) when it is below.
func (l *Log) EpochEndOffset(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.Offset) {
	return l.epochs.endOf(epoch, l.End())
}

// AssignEpoch notes that the leader of epoch writes from End on.
func (l *Log) AssignEpoch(epoch wire.LeaderEpoch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.epochs.assign(epoch, l.End())
}

// view is the segments as they are now.
func (l *Log) view() []*segment {
	if s := l.segments.Load(); s != nil {
		return *s
	}
	return nil
}

func (l *Log) setSegments(s []*segment) { l.segments.Store(&s) }

// find returns the index of the segment that holds o, or would; -1: o lies before all.
func find(segments []*segment, o wire.Offset) int {
	i, found := slices.BinarySearchFunc(segments, o, func(s *segment, o wire.Offset) int {
		return int(max(-1, min(1, s.base-o)))
	})
	if found {
		return i
	}
	return i - 1
}

// activeLocked is the segment that is written, nil when there is none yet.
func (l *Log) activeLocked() *segment {
	if s := l.view(); len(s) > 0 {
		return s[len(s)-1]
	}
	return nil
}

// usableLocked refuses work on a closed log.
func (l *Log) usableLocked() error {
	if f := l.fault.Load(); f != nil {
		return fmt.Errorf("%w: %w", ErrClosed, f.err)
	}
	if l.mu.closed {
		return ErrClosed
	}
	return nil
}

// fail closes the log for good.
func (l *Log) fail(err error) error {
	if l.fault.CompareAndSwap(nil, &faultBox{err}) && l.config.OnFault != nil {
		l.config.OnFault(err)
	}
	return fmt.Errorf("%w: %w", ErrClosed, err)
}

// Close makes everything durable and writes what the next Open needs so as to read no records: after it, [Kept] with
// Clean and RecoveryPoint = End holds. Reads must have ended; their slices may still be released.
func (l *Log) Close() error {
	l.mu.Lock()
	l.mu.ending = true // what came after the checkpoint would be acknowledged, and not be there after a clean stop
	l.mu.Unlock()
	_, err := l.Checkpoint()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		return ErrClosed
	}
	if err == nil {
		err = l.flushActiveLocked()
	}
	l.mu.closed = true
	l.dropFilesLocked()
	l.endWALLocked()
	if err != nil {
		return fmt.Errorf("close %s: %w", l.config.Dir, err)
	}
	return nil
}

// Abandon closes the log without making anything durable, for when its directory is about to be removed.
func (l *Log) Abandon() {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.closed = true
	l.dropFilesLocked()
	l.endWALLocked()
}

// flushActiveLocked brings the active segment's indexes to disk.
func (l *Log) flushActiveLocked() error {
	s := l.activeLocked()
	if s == nil {
		return nil
	}
	s.index.mu.Lock()
	changed := s.index.mu.inMemory
	s.index.mu.Unlock()
	if !changed || l.mu.damagedAt != noOffset {
		return nil
	}
	newest, at, err := l.newest(s)
	if err != nil {
		return err
	}
	s.index.mu.Lock()
	s.index.addTimeLocked(timeEntry{newest, s.relative(at)})
	s.index.mu.Unlock()
	if err := s.index.flush(l.config.Files, s, true); err != nil {
		return err
	}
	return s.txns.flush(l.config.Files, s)
}

func (l *Log) dropFilesLocked() {
	if l.mu.active != nil {
		l.mu.active.release()
		l.mu.active = nil
	}
	for _, s := range l.view() {
		s.dropFiles(l.config.Files)
	}
}

func (s *segment) dropFiles(c *FileCache) {
	s.log.drop(c)
	s.index.offsetFile.drop(c)
	s.index.timeFile.drop(c)
	s.txns.slot.drop(c)
}

// removeNames removes files of the directory durably. Absent ones are fine.
func (l *Log) removeNames(names ...string) error {
	for _, name := range names {
		if err := removeIfThere(l.config.FS, l.config.Dir+"/"+name); err != nil {
			return err
		}
	}
	return l.config.FS.SyncDir(l.config.Dir)
}

func (c Config) withDefaults() Config {
	if c.FS == nil {
		c.FS = vfs.OS
	}
	if c.Files == nil {
		c.Files = NewFileCache(c.FS, 0)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Keeper == nil {
		c.Keeper = noKeeper{}
	}
	c.Dir = path.Clean(c.Dir)
	return c
}

// noKeeper remembers nothing.
type noKeeper struct{}

func (noKeeper) Note(wire.Offset)          {}
func (noKeeper) LowerTo(wire.Offset) error { return nil }
func (noKeeper) Start(wire.Offset) error   { return nil }
func (noKeeper) Begin() error              { return nil }
