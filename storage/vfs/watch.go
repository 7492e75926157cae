package vfs

import (
	"sync/atomic"
	"time"
)

// Watched is a file system that can tell whether its disk hangs: something is being written, synced or changed, and nothing of
// the kind has come to its end for a while. Reads do not count, since the page cache may answer them for long.
type Watched struct {
	FS
	begun, ended atomic.Int64 // operations
}

// Watch returns fsys, watched.
func Watch(fsys FS) *Watched { return &Watched{FS: fsys} }

// Hang looks at the disk every period, until stop is closed, and calls hangs, once, when it has hung for patience.
func (w *Watched) Hang(stop <-chan struct{}, period, patience time.Duration, hangs func(time.Duration)) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	ended, since := w.ended.Load(), time.Now()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		now := w.ended.Load()
		if now != ended || w.begun.Load() == now {
			ended, since = now, time.Now()
			continue
		}
		if waited := time.Since(since); waited >= patience {
			hangs(waited)
			return
		}
	}
}

func (w *Watched) do(f func() error) error {
	w.begun.Add(1)
	defer w.ended.Add(1)
	return f()
}

func (w *Watched) file(f File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &watchedFile{f, w}, nil
}

// Create implements [FS].
func (w *Watched) Create(name string) (f File, err error) {
	err = w.do(func() error { f, err = w.FS.Create(name); return err })
	return w.file(f, err)
}

// Open implements [FS].
func (w *Watched) Open(name string) (File, error) { return w.file(w.FS.Open(name)) }

// OpenDirect implements [FS].
func (w *Watched) OpenDirect(name string) (File, error) { return w.file(w.FS.OpenDirect(name)) }

// Rename implements [FS].
func (w *Watched) Rename(from, to string) error {
	return w.do(func() error { return w.FS.Rename(from, to) })
}

// Remove implements [FS].
func (w *Watched) Remove(name string) error {
	return w.do(func() error { return w.FS.Remove(name) })
}

// RemoveAll implements [FS].
func (w *Watched) RemoveAll(name string) error {
	return w.do(func() error { return w.FS.RemoveAll(name) })
}

// Mkdir implements [FS].
func (w *Watched) Mkdir(name string) error { return w.do(func() error { return w.FS.Mkdir(name) }) }

// SyncDir implements [FS].
func (w *Watched) SyncDir(dir string) error { return w.do(func() error { return w.FS.SyncDir(dir) }) }

type watchedFile struct {
	File
	of *Watched
}

func (f *watchedFile) WriteAt(b []byte, offset int64) (int, error) {
	f.of.begun.Add(1)
	n, err := f.File.WriteAt(b, offset)
	f.of.ended.Add(1)
	return n, err
}

func (f *watchedFile) Sync() error { return f.of.do(f.File.Sync) }

func (f *watchedFile) writeSync(b []byte, at int64) error {
	f.of.begun.Add(1)
	err := WriteSync(f.File, b, at)
	f.of.ended.Add(1)
	return err
}

func (f *watchedFile) Truncate(size int64) error {
	return f.of.do(func() error { return f.File.Truncate(size) })
}

func (f *watchedFile) descriptor() (int, bool) { return Descriptor(f.File) }
