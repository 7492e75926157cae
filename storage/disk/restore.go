package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

// restoring writes what the write-ahead log has into the segments again.
type restoring struct {
	d        *Disk
	segments map[segmentKey]*restored
	ours     map[wire.TopicIDPartition]bool // whether the replica's directory is its own
	buf      []byte
	bytes    int64
}

type segmentKey struct {
	replica wire.TopicIDPartition
	base    wire.Offset
}

// restored is a segment's file; nil: it is not there any more, or something before was lost.
type restored struct {
	file    vfs.File
	size    int64
	changed bool
}

// restore writes what was added to the write-ahead log into the segments, where it is missing, and syncs them. Files that are gone were
// deleted since. It is done before the logs are opened, so that for them it is as if their files had been synced. It returns
// how many bytes were missing.
func (d *Disk) restore() (int64, error) {
	r := restoring{d: d, segments: map[segmentKey]*restored{}, ours: map[wire.TopicIDPartition]bool{}}
	err := wal.Replay(d.options.FS, d.options.Dir, d.uuid, r.apply)
	for _, s := range r.segments {
		if s == nil {
			continue
		}
		if s.changed && err == nil {
			err = s.file.Sync()
		}
		if cerr := s.file.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return 0, fmt.Errorf("restore from the write-ahead log: %w", err)
	}
	return r.bytes, nil
}

func (r *restoring) apply(e wal.Entry) error {
	key := segmentKey{e.Key, e.Base}
	s, known := r.segments[key]
	if !known {
		var err error
		if s, err = r.open(e); err != nil {
			return err
		}
		r.segments[key] = s
	}
	if s == nil {
		return nil
	}
	if e.Position > s.size {
		// What lies between was not durable when this was added, and is gone: nobody was told of either.
		r.segments[key] = nil
		return s.end()
	}
	if have := min(int64(len(e.Bytes)), s.size-e.Position); have == int64(len(e.Bytes)) {
		if cap(r.buf) < len(e.Bytes) {
			r.buf = make([]byte, len(e.Bytes))
		}
		b := r.buf[:len(e.Bytes)]
		if _, err := s.file.ReadAt(b, e.Position); err != nil {
			return err
		}
		if bytes.Equal(b, e.Bytes) {
			return nil
		}
	}
	if _, err := s.file.WriteAt(e.Bytes, e.Position); err != nil {
		return err
	}
	s.changed = true
	s.size = max(s.size, e.Position+int64(len(e.Bytes)))
	r.bytes += int64(len(e.Bytes))
	return nil
}

func (s *restored) end() error {
	var err error
	if s.changed {
		err = s.file.Sync()
	}
	return errors.Join(err, s.file.Close())
}

// open opens a segment's file; nil: there is none that it could be.
func (r *restoring) open(e wal.Entry) (*restored, error) {
	fsys := r.d.options.FS
	entry := r.d.manifest.entries[e.Key]
	if entry == nil {
		return nil, nil
	}
	dir := r.d.options.Dir + "/" + entry.DirName()
	ours, known := r.ours[e.Key]
	if !known {
		var err error
		if ours, err = storage.Owns(fsys, dir, e.Key); err != nil {
			return nil, err
		}
		r.ours[e.Key] = ours
	}
	if !ours {
		return nil, nil
	}
	f, err := fsys.Open(storage.SegmentFile(dir, e.Base))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &restored{file: f, size: size}, nil
}
