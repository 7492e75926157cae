package vfs

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
)

// Mem is a file system in memory. At all times each file knows what a Sync has covered, and the whole which names a
// SyncDir has covered, so that Crash can take the rest away.
type Mem struct {
	mu struct {
		sync.Mutex
		names   map[string]*memNode // as the running process sees them
		durable map[string]*memNode // as they are after a power cut, before pending
		pending []nameChange        // not yet durable, oldest first
		locked  map[string]bool
	}
}

// nameChange is one creation (node set), or removal (node nil) of a name. It is durable after a SyncDir of dir.
type nameChange struct {
	name string
	node *memNode
	dir  string
}

type memNode struct {
	isDir bool

	mu struct {
		sync.RWMutex
		data     []byte
		synced   []byte
		dirty    []span // parts of data that may differ from synced
		modified time.Time
	}
}

type span struct{ from, to int64 }

// crashBlock is the number of bytes that a power cut keeps or loses together.
const crashBlock = 512

// NewMem returns an empty file system with a durable root "/".
func NewMem() *Mem {
	m := &Mem{}
	root := &memNode{isDir: true}
	m.mu.names = map[string]*memNode{"/": root, ".": root}
	m.mu.durable = map[string]*memNode{"/": root, ".": root}
	m.mu.locked = map[string]bool{}
	return m
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

// linkLocked makes name mean node, or nothing when node is nil.
func (m *Mem) linkLocked(name string, node *memNode) {
	if node == nil {
		delete(m.mu.names, name)
	} else {
		m.mu.names[name] = node
	}
	m.mu.pending = append(m.mu.pending, nameChange{name, node, path.Dir(name)})
}

func (m *Mem) parentLocked(op, name string) error {
	if p := m.mu.names[path.Dir(name)]; p == nil || !p.isDir {
		return pathError(op, name, fs.ErrNotExist)
	}
	return nil
}

// Create makes an empty file.
func (m *Mem) Create(name string) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.parentLocked("create", name); err != nil {
		return nil, err
	}
	if n := m.mu.names[name]; n != nil {
		if n.isDir {
			return nil, pathError("create", name, fs.ErrExist)
		}
		f := &memFile{n}
		return f, f.Truncate(0)
	}
	n := &memNode{}
	m.linkLocked(name, n)
	return &memFile{n}, nil
}

// Open opens a file.
func (m *Mem) Open(name string) (File, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.names[name]
	if n == nil || n.isDir {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return &memFile{n}, nil
}

// OpenDirect is Open.
func (m *Mem) OpenDirect(name string) (File, error) { return m.Open(name) }

// Rename renames a file, or a directory with all below it.
func (m *Mem) Rename(from, to string) error {
	from, to = path.Clean(from), path.Clean(to)
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.names[from]
	if n == nil {
		return pathError("rename", from, fs.ErrNotExist)
	}
	if err := m.parentLocked("rename", to); err != nil {
		return err
	}
	below := m.belowLocked(from)
	unsynced := map[string]bool{}
	m.mu.pending = slices.DeleteFunc(m.mu.pending, func(c nameChange) bool {
		unsynced[c.name] = true
		return c.node != nil && strings.HasPrefix(c.name, from+"/") // it is linked anew below, and not in another directory of the old name
	})
	m.linkLocked(to, n)
	for _, name := range below {
		m.linkLocked(to+name[len(from):], m.mu.names[name])
		if !unsynced[name] { // what a directory is known to hold goes along with it
			m.mu.pending[len(m.mu.pending)-1].dir = path.Dir(to)
		}
		delete(m.mu.names, name)
	}
	m.linkLocked(from, nil)
	return nil
}

// belowLocked returns all names under dir, sorted.
func (m *Mem) belowLocked(dir string) []string {
	var names []string
	prefix := strings.TrimSuffix(dir, "/") + "/"
	for name := range m.mu.names {
		if strings.HasPrefix(name, prefix) && name != "/" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Remove removes a file or an empty directory.
func (m *Mem) Remove(name string) error {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.mu.names[name]
	if n == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if n.isDir && len(m.belowLocked(name)) > 0 {
		return pathError("remove", name, fmt.Errorf("directory not empty"))
	}
	m.linkLocked(name, nil)
	return nil
}

// RemoveAll removes a directory and all in it.
func (m *Mem) RemoveAll(name string) error {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	below := m.belowLocked(name)
	for i := len(below) - 1; i >= 0; i-- {
		m.linkLocked(below[i], nil)
	}
	if m.mu.names[name] != nil {
		m.linkLocked(name, nil)
	}
	return nil
}

// Mkdir makes a directory.
func (m *Mem) Mkdir(name string) error {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.mu.names[name]; n != nil {
		if n.isDir {
			return nil
		}
		return pathError("mkdir", name, fs.ErrExist)
	}
	if err := m.parentLocked("mkdir", name); err != nil {
		return err
	}
	m.linkLocked(name, &memNode{isDir: true})
	return nil
}

// List returns the names in a directory.
func (m *Mem) List(dir string) ([]string, error) {
	dir = path.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.mu.names[dir]; n == nil || !n.isDir {
		return nil, pathError("list", dir, fs.ErrNotExist)
	}
	var names []string
	for _, name := range m.belowLocked(dir) {
		if path.Dir(name) == dir {
			names = append(names, path.Base(name))
		}
	}
	return names, nil
}

// Stat describes a name.
func (m *Mem) Stat(name string) (Info, error) {
	name = path.Clean(name)
	m.mu.Lock()
	n := m.mu.names[name]
	m.mu.Unlock()
	if n == nil {
		return Info{}, pathError("stat", name, fs.ErrNotExist)
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return Info{Size: int64(len(n.mu.data)), Modified: n.mu.modified, IsDir: n.isDir}, nil
}

// SyncDir makes the names in dir durable.
func (m *Mem) SyncDir(dir string) error {
	dir = path.Clean(dir)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.mu.names[dir]; n == nil || !n.isDir {
		return pathError("syncdir", dir, fs.ErrNotExist)
	}
	rest := m.mu.pending[:0]
	for _, c := range m.mu.pending {
		if c.dir == dir {
			apply(m.mu.durable, c)
		} else {
			rest = append(rest, c)
		}
	}
	m.mu.pending = rest
	return nil
}

func apply(names map[string]*memNode, c nameChange) {
	if c.node != nil {
		names[c.name] = c.node
		return
	}
	if n := names[c.name]; n != nil && n.isDir { // what it held is gone with it, and does not come back with another of that name
		for name := range names {
			if strings.HasPrefix(name, c.name+"/") {
				delete(names, name)
			}
		}
	}
	delete(names, c.name)
}

type memLock struct {
	m    *Mem
	name string
}

func (l *memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	delete(l.m.mu.locked, l.name)
	return nil
}

// Lock holds name until closed.
func (m *Mem) Lock(name string) (io.Closer, error) {
	name = path.Clean(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mu.locked[name] {
		return nil, fmt.Errorf("lock %s: %w", name, ErrLocked)
	}
	m.mu.locked[name] = true
	return &memLock{m, name}, nil
}

// Crash returns the file system as a power cut at this moment could have left it, drawn from random. The old one goes on
// as if nothing had happened, and shares nothing with the new one.
func (m *Mem) Crash(random *rand.Rand) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := make(map[string]*memNode, len(m.mu.durable))
	for name, n := range m.mu.durable {
		names[name] = n
	}
	// A journal keeps the order of changes, so that what survives of them is a prefix. Mostly it is nothing.
	if random.IntN(2) == 0 {
		for _, c := range m.mu.pending[:random.IntN(len(m.mu.pending)+1)] {
			apply(names, c)
		}
	}
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	// All files as they are at one moment: what is written meanwhile to one must not be there without what was synced before in another.
	held := map[*memNode]bool{}
	for _, n := range names {
		if !held[n] {
			held[n] = true
			n.mu.RLock()
			defer n.mu.RUnlock()
		}
	}
	after := NewMem()
	for _, name := range sorted {
		if name == "/" || name == "." {
			continue
		}
		if p := after.mu.names[path.Dir(name)]; p == nil {
			continue // its directory's own name was lost
		}
		n := names[name].crashLocked(random)
		after.mu.names[name], after.mu.durable[name] = n, n
	}
	return after
}

// crashLocked returns n as it may be after a power cut: synced content, some later blocks, and any size in between.
func (n *memNode) crashLocked(random *rand.Rand) *memNode {
	c := &memNode{isDir: n.isDir}
	c.mu.modified = n.mu.modified
	data := slices.Clone(n.mu.synced)
	if len(n.mu.dirty) > 0 {
		low, high := min(len(data), len(n.mu.data)), max(len(data), len(n.mu.data))
		size := low + random.IntN(high-low+1)
		if size <= len(data) {
			data = data[:size]
		} else {
			data = append(data, make([]byte, size-len(data))...)
		}
		keep := random.IntN(5) // of four blocks; all, none or some
		for _, s := range n.mu.dirty {
			for at := s.from; at < s.to; at = (at/crashBlock + 1) * crashBlock {
				if random.IntN(4) < keep && at < int64(len(data)) && at < int64(len(n.mu.data)) {
					to := min(s.to, (at/crashBlock+1)*crashBlock, int64(len(n.mu.data)))
					copy(data[at:], n.mu.data[at:to])
				}
			}
		}
	}
	c.mu.data, c.mu.synced = data, slices.Clone(data)
	return c
}

type memFile struct{ n *memNode }

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	if off >= int64(len(f.n.mu.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.mu.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	if need := off + int64(len(p)); need > int64(len(f.n.mu.data)) {
		f.n.resizeLocked(need)
	}
	copy(f.n.mu.data[off:], p)
	f.n.dirtyLocked(off, off+int64(len(p)))
	f.n.mu.modified = time.Now()
	return len(p), nil
}

// resizeLocked changes the length; new bytes are zero.
func (n *memNode) resizeLocked(size int64) {
	old := int64(len(n.mu.data))
	if size <= old {
		clear(n.mu.data[size:])
		n.mu.data = n.mu.data[:size]
		return
	}
	n.mu.data = slices.Grow(n.mu.data, int(size-old))[:size]
	clear(n.mu.data[old:])
}

func (n *memNode) dirtyLocked(from, to int64) {
	if k := len(n.mu.dirty); k > 0 && n.mu.dirty[k-1].to == from {
		n.mu.dirty[k-1].to = to
		return
	}
	n.mu.dirty = append(n.mu.dirty, span{from, to})
}

func (f *memFile) Sync() error {
	n := f.n
	n.mu.Lock()
	defer n.mu.Unlock()
	size := len(n.mu.data)
	if len(n.mu.synced) > size {
		n.mu.synced = n.mu.synced[:size]
	} else {
		n.mu.synced = append(n.mu.synced, n.mu.data[len(n.mu.synced):]...)
	}
	for _, s := range n.mu.dirty {
		if s.from < int64(size) {
			copy(n.mu.synced[s.from:], n.mu.data[s.from:min(s.to, int64(size))])
		}
	}
	n.mu.dirty = n.mu.dirty[:0]
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.n.mu.Lock()
	defer f.n.mu.Unlock()
	old := int64(len(f.n.mu.data))
	f.n.resizeLocked(size)
	f.n.dirtyLocked(min(old, size), max(old, size))
	f.n.mu.modified = time.Now()
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.n.mu.RLock()
	defer f.n.mu.RUnlock()
	return int64(len(f.n.mu.data)), nil
}

func (f *memFile) Close() error { return nil }
