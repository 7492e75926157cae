package disk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

// restoring writes what the write-ahead log has into the segments again.
type restoring struct {
	d     *Disk
	named map[string]int // how many replicas of the manifest have that directory's name

	// mu is a leaf.
	mu struct {
		sync.Mutex
		segments map[segmentKey]segmentState
		ours     map[wire.TopicIDPartition]bool // whether the replica's directory is its own
		bytes    int64
	}
}

type segmentKey struct {
	replica wire.TopicIDPartition
	base    wire.Offset
}

// segmentState is what was found out of a segment.
type segmentState int

const (
	segmentSame    segmentState = iota // as the write-ahead log has it, so far
	segmentChanged                     // something was missing, and is written
	segmentGone                        // it is not there any more, or something before was lost: nothing more is written
)

// pieces are entries of a segment, in the order in which they were added.
type pieces struct {
	key     segmentKey
	entries []wal.Entry
}

// restore writes what was added to the write-ahead log into the segments, where it is missing, and syncs them. Files that are gone were
// deleted since. It is done before the logs are opened, so that for them it is as if their files had been synced. It returns
// how many bytes were missing. No more files are open than there are openers.
func (d *Disk) restore() (int64, error) {
	r := restoring{d: d, named: map[string]int{}}
	r.mu.segments, r.mu.ours = map[segmentKey]segmentState{}, map[wire.TopicIDPartition]bool{}
	for _, e := range d.manifest.entries {
		r.named[e.DirName()]++
	}
	err := wal.Replay(d.options.FS, d.options.Dir, d.uuid, r.apply)
	if err == nil {
		err = r.sync()
	}
	if err != nil {
		return 0, fmt.Errorf("restore from the write-ahead log: %w", err)
	}
	return r.mu.bytes, nil
}

// apply writes entries, segment by segment.
func (r *restoring) apply(entries []wal.Entry) error {
	places := map[segmentKey]int{}
	var all []pieces
	for _, e := range entries {
		key := segmentKey{e.Key, e.Base}
		i, known := places[key]
		if !known {
			i = len(all)
			places[key] = i
			all = append(all, pieces{key: key})
		}
		all[i].entries = append(all[i].entries, e)
	}
	return inParallel(r.d.options.Openers, all, r.write)
}

// write writes what a segment lacks.
func (r *restoring) write(p pieces) error {
	r.mu.Lock()
	before := r.mu.segments[p.key]
	r.mu.Unlock()
	if before == segmentGone {
		return nil
	}
	f, err := r.open(p.key)
	if err != nil {
		return err
	}
	after, written := segmentGone, int64(0)
	if f != nil {
		after, written, err = restoreSegment(f, p.entries)
		err = errors.Join(err, f.Close())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.segments[p.key] = max(before, after)
	r.mu.bytes += written
	return err
}

// compareBytes is how much of a segment is read at once.
const compareBytes = 1 << 20

// restoreSegment writes what a segment lacks of entries.
func restoreSegment(f vfs.File, entries []wal.Entry) (state segmentState, written int64, err error) {
	size, err := f.Size()
	if err != nil {
		return state, 0, err
	}
	var buf []byte
	for len(entries) > 0 {
		n, from, to := run(entries)
		if from > size {
			// What lies between was not durable when this was added, and is gone: nobody was told of either.
			return segmentGone, written, f.Sync()
		}
		have := min(to, size) - from
		buf = slices.Grow(buf[:0], int(have))[:have]
		if have > 0 {
			if _, err := f.ReadAt(buf, from); err != nil {
				return state, written, err
			}
		}
		for _, e := range entries[:n] {
			at, length := e.Position-from, int64(len(e.Bytes))
			if at+length <= have && bytes.Equal(buf[at:at+length], e.Bytes) {
				continue
			}
			if _, err := f.WriteAt(e.Bytes, e.Position); err != nil {
				return state, written, err
			}
			state, written = segmentChanged, written+length
		}
		size, entries = max(size, to), entries[n:]
	}
	return state, written, nil
}

// run returns how many entries follow each other without a gap, and where they lie.
func run(entries []wal.Entry) (n int, from, to int64) {
	from = entries[0].Position
	for to = from; n < len(entries); n++ {
		e := &entries[n]
		if e.Position != to || n > 0 && to-from+int64(len(e.Bytes)) > compareBytes {
			break
		}
		to += int64(len(e.Bytes))
	}
	return n, from, to
}

// sync syncs what was changed.
func (r *restoring) sync() error {
	var changed []segmentKey
	for key, state := range r.mu.segments {
		if state == segmentChanged {
			changed = append(changed, key)
		}
	}
	slices.SortFunc(changed, func(a, b segmentKey) int {
		return cmp.Or(bytes.Compare(a.replica.Topic[:], b.replica.Topic[:]), cmp.Compare(a.replica.Partition, b.replica.Partition), cmp.Compare(a.base, b.base))
	})
	return inParallel(r.d.options.Openers, changed, func(key segmentKey) error {
		f, err := r.open(key)
		if err != nil || f == nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}

// open opens a segment's file; nil: there is none that it could be.
func (r *restoring) open(key segmentKey) (vfs.File, error) {
	fsys := r.d.options.FS
	entry := r.d.manifest.entries[key.replica]
	if entry == nil {
		return nil, nil
	}
	dir := r.d.options.Dir + "/" + entry.DirName()
	if ours, err := r.owns(key.replica, entry, dir); err != nil || !ours {
		return nil, err
	}
	f, err := fsys.Open(storage.SegmentFile(dir, key.base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return f, err
}

// owns reports whether a directory is the replica's own. One that does not tell is so unless another replica has that name, too.
func (r *restoring) owns(key wire.TopicIDPartition, e *entry, dir string) (bool, error) {
	r.mu.Lock()
	ours, known := r.mu.ours[key]
	r.mu.Unlock()
	if known {
		return ours, nil
	}
	ours, told, err := storage.Owns(r.d.options.FS, dir, key)
	if err != nil {
		return false, err
	}
	ours = ours && (told || r.named[e.DirName()] == 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.mu.ours[key] = ours
	return ours, nil
}
