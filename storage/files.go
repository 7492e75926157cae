package storage

import (
	"sync"
	"sync/atomic"

	"github.com/kraftgo/kraftgo/storage/vfs"
)

// FileCache keeps the open files of many logs, about capacity of them. One that is in use is never closed, so that more
// may be open when more are in use. Which one to close is found by the clock rule: not one used since the hand last passed.
type FileCache struct {
	fsys     vfs.FS
	capacity int

	// mu is taken to add and to close files, not to use one that is open.
	mu struct {
		sync.Mutex
		ring []*openFile
		hand int
	}
}

// DefaultOpenFiles is the capacity of a cache that was not given one.
const DefaultOpenFiles = 8192

// NewFileCache returns an empty cache. A capacity of 0 means [DefaultOpenFiles].
func NewFileCache(fsys vfs.FS, capacity int) *FileCache {
	if fsys == nil {
		fsys = vfs.OS
	}
	if capacity <= 0 {
		capacity = DefaultOpenFiles
	}
	return &FileCache{fsys: fsys, capacity: capacity}
}

// Len is the number of open files.
func (c *FileCache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.mu.ring)
}

// openFile is a file with the number of its users. The cache counts as one as long as it holds the file. At 0 it is
// closed, and never used again.
type openFile struct {
	vfs.File
	fd     int // for sendfile; -1: none
	users  atomic.Int32
	recent atomic.Bool
}

// take makes the caller a user, unless the file is closed already.
func (f *openFile) take() bool {
	for {
		n := f.users.Load()
		if n == 0 {
			return false
		}
		if f.users.CompareAndSwap(n, n+1) {
			if !f.recent.Load() {
				f.recent.Store(true)
			}
			return true
		}
	}
}

func (f *openFile) release() {
	if f.users.Add(-1) == 0 {
		f.File.Close() // all that matters was synced, and an error of close says nothing about that
	}
}

// fileSlot is the place where the users of one name find the file that is open for it.
type fileSlot struct{ open atomic.Pointer[openFile] }

// use returns the open file, opening it (or creating it) when it is not. The caller releases it.
func (s *fileSlot) use(c *FileCache, name string, create bool) (*openFile, error) {
	if f := s.open.Load(); f != nil && !create && f.take() {
		return f, nil
	}
	open := c.fsys.Open
	if create {
		open = c.fsys.Create
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	f := &openFile{File: file, fd: -1}
	if fd, ok := vfs.Descriptor(file); ok {
		f.fd = fd
	}
	f.users.Store(2)
	f.recent.Store(true)
	s.open.Store(f)
	c.add(f)
	return f, nil
}

// drop makes the cache forget the file, which closes it once its users are gone.
func (s *fileSlot) drop(c *FileCache) {
	if f := s.open.Swap(nil); f != nil {
		c.remove(f)
	}
}

func (c *FileCache) add(f *openFile) {
	var old *openFile
	c.mu.Lock()
	if len(c.mu.ring) >= c.capacity {
		old = c.victimLocked()
	}
	if old != nil {
		c.mu.ring[c.mu.hand] = f
		c.mu.hand++
	} else {
		c.mu.ring = append(c.mu.ring, f)
	}
	c.mu.Unlock()
	if old != nil {
		old.release()
	}
}

// victimLocked moves the hand to a file that only the cache holds and that was not used lately; nil: there is none.
func (c *FileCache) victimLocked() *openFile {
	for range 2 * len(c.mu.ring) {
		if c.mu.hand >= len(c.mu.ring) {
			c.mu.hand = 0
		}
		f := c.mu.ring[c.mu.hand]
		if f.users.Load() == 1 && !f.recent.Swap(false) {
			return f
		}
		c.mu.hand++
	}
	return nil
}

func (c *FileCache) remove(f *openFile) {
	c.mu.Lock()
	held := false
	for i, g := range c.mu.ring {
		if g == f {
			last := len(c.mu.ring) - 1
			c.mu.ring[i] = c.mu.ring[last]
			c.mu.ring[last] = nil
			c.mu.ring = c.mu.ring[:last]
			held = true
			break
		}
	}
	c.mu.Unlock()
	if held {
		f.release()
	}
}
