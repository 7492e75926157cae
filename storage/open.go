package storage

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// The files of a partition's directory that belong to no segment.
const (
	epochFile    = "leader-epoch-checkpoint"
	metadataFile = "partition.metadata"
	suspectFile  = "suspect"
)

// ErrWrongTopic is a directory that belongs to another topic of the same name, or to another partition.
var ErrWrongTopic = errors.New("directory belongs to another topic")

const maxSmallFile = 64 << 20

// Open opens the log in its directory, or an empty one where there is none, and brings it in order. See the package doc
// for what is cut and what is not.
func Open(c Config, o Options) (*Log, Recovery, error) {
	c, o = c.withDefaults(), o.withDefaults()
	var r Recovery
	if err := o.validate(); err != nil {
		return nil, r, fmt.Errorf("options of %s: %w", c.Dir, err)
	}
	l := &Log{config: c, parent: path.Dir(c.Dir)}
	l.mu.options, l.mu.damagedAt, l.mu.checkpointSnapshot, l.mu.chained, l.mu.skipped = o, noOffset, noOffset, noOffset, noOffset
	l.mu.Lock()
	defer l.mu.Unlock()
	var client *wal.Client
	var err error
	if c.WAL != nil { // first: what a replica that was here before has there must not come back into what is done now
		client, err = c.WAL.Client(wire.TopicIDPartition{Topic: c.TopicID, Partition: c.Partition}, l.walDurable, l.syncFiles)
	}
	if err == nil {
		err = l.openLocked(&r)
	}
	l.wal = client
	if err != nil {
		l.dropFilesLocked()
		l.endWALLocked()
		return nil, r, fmt.Errorf("open log %s: %w", c.Dir, err)
	}
	r.Suspect = l.Suspect()
	return l, r, nil
}

func (l *Log) openLocked(r *Recovery) error {
	names, err := l.config.FS.List(l.config.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	} else if err == nil {
		l.mu.dirMade, l.mu.dirDurable = true, l.config.Kept.Started
	}
	if err != nil {
		return err
	}
	if err := l.takeInventory(names); err != nil {
		return err
	}
	kept := &l.config.Kept
	start := kept.LogStart
	l.mu.startKept = start
	segments := l.view()
	if len(segments) == 0 {
		l.end.Store(int64(start))
		return l.openEmptyLocked(start)
	}
	start = max(start, segments[0].base)
	l.start.Store(int64(start))
	last := segments[len(segments)-1]
	if kept.Clean && kept.RecoveryPoint >= last.base && (last.size.Load() > 0 || kept.RecoveryPoint == last.base) {
		last.end.Store(int64(kept.RecoveryPoint))
		l.end.Store(int64(kept.RecoveryPoint))
		l.durable.Store(int64(kept.RecoveryPoint))
		err = l.openCleanLocked(kept.RecoveryPoint)
	} else {
		err = l.recoverLocked(r)
	}
	if err != nil {
		return err
	}
	if start > l.End() {
		return l.emptyLocked(start)
	}
	n := 0
	for segments = l.view(); n+1 < len(segments) && segments[n+1].base <= start; n++ {
	}
	if n > 0 {
		return l.dropOldestLocked(n, start)
	}
	l.epochs.cutStart(start)
	return nil
}

// openCleanLocked reads what a clean stop at end has left.
func (l *Log) openCleanLocked(end wire.Offset) error {
	lost, err := l.loadEpochs(end + 1) // a leader that wrote nothing yet starts at end
	if err != nil {
		return err
	}
	if lost {
		if err := l.gatherEpochs(end); err != nil {
			return err
		}
	}
	return l.reloadProducersLocked(end, end)
}

// openEmptyLocked opens a log without a segment.
func (l *Log) openEmptyLocked(start wire.Offset) error {
	l.start.Store(int64(start))
	l.durable.Store(int64(start))
	l.mu.lastSnapshot = start
	kept := &l.config.Kept
	if had := max(kept.RecoveryPoint, kept.Noted); had > start || kept.Started && !l.mu.dirMade {
		return l.suspectLocked(fmt.Sprintf("no records are left, though they were durable up to offset %d", had))
	}
	return nil
}

// takeInventory looks at the names in the directory, removes left-overs and lists the segments with their sizes.
func (l *Log) takeInventory(names []string) error {
	var segments []*segment
	var caches []string
	for _, name := range names {
		base, suffix, isSegmentFile := splitName(name)
		switch {
		case strings.HasSuffix(name, deletedSuffix), strings.HasSuffix(name, ".tmp"), strings.HasSuffix(name, ".cleaned"):
			if err := removeIfThere(l.config.FS, l.config.Dir+"/"+name); err != nil {
				return err
			}
		case strings.HasSuffix(name, ".swap"):
			return fmt.Errorf("%s: a compaction was interrupted; only its own broker can complete it", name)
		case isSegmentFile && suffix == logSuffix:
			segments = append(segments, newSegment(l.config.Dir, base))
		case isSegmentFile && suffix != snapshotSuffix:
			caches = append(caches, name)
		}
	}
	slices.SortFunc(segments, func(a, b *segment) int { return int(max(-1, min(1, a.base-b.base))) })
	for i, s := range segments {
		info, err := l.config.FS.Stat(s.path + logSuffix)
		if err != nil {
			return err
		}
		if info.Size > math.MaxInt32 {
			return fmt.Errorf("%w: %s%s has %d bytes", ErrCorrupt, s.path, logSuffix, info.Size)
		}
		s.size.Store(info.Size)
		l.bytes.Add(info.Size)
		if s.sealed = i < len(segments)-1; s.sealed {
			s.end.Store(int64(segments[i+1].base))
		}
	}
	l.setSegments(segments)
	for _, name := range caches { // an index without its log
		base, _, _ := splitName(name)
		if i := find(segments, base); i < 0 || segments[i].base != base {
			if err := removeIfThere(l.config.FS, l.config.Dir+"/"+name); err != nil {
				return err
			}
		}
	}
	return l.readSmallFiles(names)
}

// splitName takes "00000000000000001000.log" apart.
func splitName(name string) (base wire.Offset, suffix string, ok bool) {
	i := strings.IndexByte(name, '.')
	if i != 20 {
		return 0, "", false
	}
	n, err := strconv.ParseInt(name[:i], 10, 64)
	return wire.Offset(n), name[i:], err == nil && n >= 0
}

func (l *Log) readSmallFiles(names []string) error {
	if slices.Contains(names, metadataFile) {
		b, err := vfs.ReadFile(l.config.FS, l.config.Dir+"/"+metadataFile, maxSmallFile)
		if err != nil {
			return err
		}
		if err := l.checkOwner(b); err != nil {
			return err
		}
	}
	if slices.Contains(names, suspectFile) {
		b, err := vfs.ReadFile(l.config.FS, l.config.Dir+"/"+suspectFile, maxSmallFile)
		if err != nil {
			return err
		}
		reason := cmp.Or(strings.TrimSpace(string(b)), "unknown reason")
		l.suspicion.Store(&reason)
	}
	return nil
}

// checkOwner refuses a directory of another topic or partition. If this log was here before, somebody has swapped directories: then
// nothing in it is ours, and it is fetched anew.
func (l *Log) checkOwner(metadata []byte) error {
	id, partition := parsePartitionMetadata(metadata)
	own := l.config
	switch {
	case own.TopicID.IsZero(), (id.IsZero() || id == own.TopicID) && (partition < 0 || partition == own.Partition):
		return nil
	case own.Listed:
		l.mu.damagedAt = own.Kept.LogStart
		return l.suspectLocked(fmt.Sprintf("the directory is that of partition %d of topic %s", partition, id))
	}
	return fmt.Errorf("%w: partition %d of %s, not %d of %s", ErrWrongTopic, partition, id, own.Partition, own.TopicID)
}

// Owns reports whether a directory is that of a replica, as far as its files tell; told: they tell anything.
func Owns(fsys vfs.FS, dir string, key wire.TopicIDPartition) (owns, told bool, err error) {
	b, err := readIfThere(fsys, dir+"/"+metadataFile)
	if err != nil || b == nil {
		return err == nil, false, err
	}
	id, partition := parsePartitionMetadata(b)
	return id == key.Topic && (partition < 0 || partition == key.Partition), true, nil
}

// SegmentFile is the name of the file with the records of the segment that starts at base.
func SegmentFile(dir string, base wire.Offset) string { return segmentPath(dir, base) + logSuffix }

// parsePartitionMetadata reads a topic's id, zero if there is none, and a partition, -1 if there is none, as in Kafka's directories.
func parsePartitionMetadata(b []byte) (id wire.TopicID, partition wire.Partition) {
	partition = -1
	for line := range bytes.Lines(b) {
		key, value, _ := bytes.Cut(bytes.TrimSpace(line), []byte(":"))
		value = bytes.TrimSpace(value)
		switch string(key) {
		case "topic_id":
			if v, err := wire.ParseUUID(string(value)); err == nil {
				id = v
			}
		case "partition":
			if v, err := strconv.ParseInt(string(value), 10, 32); err == nil {
				partition = wire.Partition(v)
			}
		}
	}
	return id, partition
}

// writePartitionMetadata says whose directory it is. Kafka reads the first two lines, and no further.
func (l *Log) writePartitionMetadata() error {
	if l.config.TopicID.IsZero() {
		return nil
	}
	b := fmt.Appendf(nil, "version: 0\ntopic_id: %s\npartition: %d\n", l.config.TopicID, l.config.Partition)
	return vfs.WriteFile(l.config.FS, l.config.Dir, l.config.Dir+"/"+metadataFile, b)
}

// suspectLocked makes the suspicion durable. The first reason stays.
func (l *Log) suspectLocked(reason string) error {
	if l.Suspect() != "" {
		return nil
	}
	l.suspicion.Store(&reason)
	if !l.mu.dirMade {
		if err := l.config.FS.Mkdir(l.config.Dir); err != nil {
			return err
		}
		l.mu.dirMade = true
		if err := l.config.FS.SyncDir(l.parent); err != nil {
			return err
		}
	}
	return vfs.WriteFile(l.config.FS, l.config.Dir, l.config.Dir+"/"+suspectFile, []byte(reason+"\n"))
}

// loadEpochs reads the epochs that start below limit. recoverAll means that the file was of no use.
func (l *Log) loadEpochs(limit wire.Offset) (recoverAll bool, err error) {
	b, err := readIfThere(l.config.FS, l.config.Dir+"/"+epochFile)
	if err != nil {
		return false, err
	}
	if b == nil || l.epochs.decode(b) != nil {
		return true, nil
	}
	l.epochs.cutEnd(limit)
	return false, nil
}

// loadActiveLocked makes the active segment ready for appends: its index in memory, its timestamps known.
func (l *Log) loadActiveLocked(s *segment) error {
	if err := l.ownIndexLocked(s); err != nil {
		return err
	}
	if _, _, err := l.newest(s); err != nil {
		return err
	}
	size := s.size.Load()
	last, err := s.index.floorPosition(l.config.Files, s, size)
	if err != nil {
		return err
	}
	s.sinceIndexEntry = size - int64(last.position)
	s.firstTimestamp = wire.NoTimestamp
	if size == 0 {
		return nil
	}
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return err
	}
	defer f.release()
	_, err = s.walk(f, 0, size, func(h batch.Header, _ int64) bool {
		s.firstTimestamp = h.MaxTimestamp()
		return false
	})
	return err
}

func (l *Log) snapshotOffsets() ([]wire.Offset, error) {
	names, err := l.config.FS.List(l.config.Dir)
	if err != nil {
		return nil, err
	}
	var offsets []wire.Offset
	for _, name := range names {
		if o, suffix, ok := splitName(name); ok && suffix == snapshotSuffix {
			offsets = append(offsets, o)
		}
	}
	return offsets, nil // the names are sorted, and so these are
}

// reloadProducersLocked brings producers and transactions to where they are at end: from the newest snapshot at or below
// it, and the batches since. Snapshots past end are removed. The index of aborted transactions is made anew from indexFrom on,
// or from the snapshot if that is later: a snapshot is written only when the index of all below it is durable.
func (l *Log) reloadProducersLocked(end, indexFrom wire.Offset) error {
	l.mu.producers.reset()
	l.open.reset()
	from := l.view()[0].base
	offsets, err := l.snapshotOffsets()
	if err != nil {
		return err
	}
	now, expire := l.config.Now().UnixMilli(), l.mu.options.ProducerIDExpiration.Milliseconds()
	l.mu.lastSnapshot, l.mu.checkpointSnapshot = from, noOffset
	for _, o := range slices.Backward(offsets) {
		if o > end {
			if err := removeIfThere(l.config.FS, l.snapshotPath(o)); err != nil {
				return err
			}
			continue
		}
		b, err := vfs.ReadFile(l.config.FS, l.snapshotPath(o), maxSmallFile)
		if err != nil {
			return err
		}
		if l.mu.producers.loadSnapshot(b, now, expire) != nil {
			l.mu.producers.reset()
			if err := removeIfThere(l.config.FS, l.snapshotPath(o)); err != nil {
				return err
			}
			continue
		}
		from, l.mu.lastSnapshot = max(o, from), o
		if i := find(l.view(), o); i < 0 || l.view()[i].base != o {
			l.mu.checkpointSnapshot = o
		}
		break
	}
	for _, p := range l.mu.producers.states {
		if p.transactionStart != noOffset {
			l.open.begin(openTransaction{p.transactionStart, p.id})
		}
	}
	indexFrom = max(indexFrom, from)
	for _, s := range l.view() {
		if indexFrom < end && s.endOffset() > indexFrom {
			if err := s.txns.cut(l.config.Files, s, max(indexFrom, s.base)); err != nil {
				return err
			}
		}
	}
	return l.replayLocked(from, end, indexFrom)
}

// replayLocked applies the batches of idempotent producers in [from, end).
func (l *Log) replayLocked(from, end, indexFrom wire.Offset) error {
	segments := l.view()
	if from >= end {
		return nil
	}
	for _, s := range segments[max(find(segments, from), 0):] {
		f, err := s.log.use(l.config.Files, s.logName, false)
		if err != nil {
			return err
		}
		position, err := s.floor(l.config.Files, from)
		if err == nil {
			var inner error
			_, err = s.walk(f, position, s.size.Load(), func(h batch.Header, p int64) bool {
				if h.BaseOffset() >= end {
					return false
				}
				if h.LastOffset() >= from && h.ProducerID() != wire.NoProducerID {
					inner = l.replayBatchLocked(s, f, h, p, indexFrom)
				}
				return inner == nil
			})
			err = errors.Join(err, inner)
		}
		f.release()
		if err != nil {
			if l.mu.damagedAt != noOffset {
				return nil // the log takes no appends before it is cut, which replays again
			}
			return err
		}
	}
	return nil
}

func (l *Log) replayBatchLocked(s *segment, f *openFile, h batch.Header, position int64, indexFrom wire.Offset) error {
	if h.Control() {
		whole := make([]byte, h.Size())
		if _, err := f.ReadAt(whole, position); err != nil {
			return err
		}
		h = whole
	}
	l.mu.staging.reset()
	l.mu.producers.stageBatch(&l.mu.staging, h, h.BaseOffset(), &Append{Origin: fromLeader}, false)
	l.mu.producers.commit(&l.mu.staging)
	for _, b := range l.mu.staging.begun {
		l.open.begin(b)
	}
	for _, c := range l.mu.staging.completed {
		stable := l.open.complete(c)
		if c.aborted && c.last >= indexFrom {
			if err := s.txns.add(l.config.Files, s, abortedEntry{c.id, c.first, c.last, stable}); err != nil {
				return err
			}
		}
	}
	return nil
}
