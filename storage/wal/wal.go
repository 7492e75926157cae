package wal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// maxGroup is the most bytes that go down with one write.
const maxGroup = 4 << 20

// ErrClosed is any call after Close, or after a fault.
var ErrClosed = errors.New("write-ahead log closed")

// Options say how a write-ahead log works. A zero field takes the default in brackets.
type Options struct {
	FS        vfs.FS
	Dir       string
	Directory wire.UUID // the directory's id: files of another are not read
	Limit     int64     // bytes that all files may have [256 MiB]
	Smallest  int64     // of one file [4 MiB]
	Largest   int64     // of one file [32 MiB]
	// Clients is how many logs may wait for a sync of their own files; each keeps one open until then [4096].
	Clients int
	// OnFault is called once when a write failed. nil: nobody.
	OnFault func(error)
}

func (o Options) withDefaults() Options {
	o.Limit = cmp.Or(o.Limit, 256<<20)
	o.Smallest = min(cmp.Or(o.Smallest, 4<<20), o.Limit/2) &^ (blockSize - 1)
	o.Largest = max(min(cmp.Or(o.Largest, 32<<20), o.Limit/2, maxFileSize)&^(blockSize-1), o.Smallest)
	o.Clients = cmp.Or(o.Clients, 4096)
	return o
}

// Log is the write-ahead log of a directory.
type Log struct {
	o       Options
	running sync.WaitGroup
	// mu is a leaf.
	mu struct {
		sync.Mutex
		work     sync.Cond // something is staged, or the end has come
		clients  map[wire.TopicIDPartition]*Client
		staging  *group
		idle     *group
		files    []*file   // in use, oldest first; the last is written
		free     []*file   // prepared, or used up
		bytes    int64     // of all
		names    int       // of files that were made
		begun    uint64    // files
		low      uint64    // as the last group that is durable has it
		busy     int       // clients that wait for a sync of their files
		making   bool      // a goroutine makes a file or empties some
		pause    time.Time // before then no other is started: the last had no success
		closed   bool
		fault    error
		groupMax int
	}
}

// file is one of the files.
type file struct {
	vfs.File
	size   int64
	used   int64 // bytes of groups that were written, or are being
	number uint64
	groups uint64
	adds   map[*Client]uint64 // the last Add of each that went here
}

// group is what goes down with one write.
type group struct {
	buf     []byte // aligned; the first used are filled
	used    int
	entries int
	adds    []add
	waiting []chan error // told once it is written
}

// add is the last Add of a client in a group.
type add struct {
	client     *Client
	end        wire.Offset
	generation uint64
}

// Open makes a write-ahead log with no files: they come when they are needed. Files that are there already must be gone
// ([Replay] and then [Remove]).
func Open(o Options) *Log {
	l := &Log{o: o.withDefaults()}
	l.mu.work.L = &l.mu
	l.mu.clients = map[wire.TopicIDPartition]*Client{}
	l.mu.staging, l.mu.idle = &group{}, &group{}
	l.mu.groupMax = int(min(maxGroup, l.o.Smallest))
	l.running.Go(l.write)
	return l
}

// Close ends the writes. What was added and is not yet durable stays so. The files stay too.
func (l *Log) Close() error {
	l.mu.Lock()
	l.mu.closed = true
	l.mu.work.Broadcast()
	l.mu.Unlock()
	l.running.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var faults []error
	for _, f := range append(l.mu.files, l.mu.free...) {
		faults = append(faults, f.Close())
	}
	l.mu.files, l.mu.free = nil, nil
	for _, v := range l.mu.staging.waiting {
		v <- ErrClosed
	}
	return errors.Join(faults...)
}

// Client returns the part of one log. durable is told, on the goroutine that writes, how far what was added is on disk; it
// must be quick. sync makes what was added durable where it belongs.
func (l *Log) Client(key wire.TopicIDPartition, durable func(end wire.Offset, generation uint64), sync func() error) (*Client, error) {
	l.mu.Lock()
	old := l.mu.clients[key]
	c := &Client{log: l, key: key, durable: durable, sync: sync}
	l.mu.clients[key] = c
	l.mu.Unlock()
	if old != nil { // the replica was here before: what it added must not come back
		old.Close()
		l.mu.Lock()
		if c.last = old.last; old.group != nil {
			c.last = math.MaxUint64 // it is not written yet
		}
		l.mu.Unlock()
		return c, c.Void()
	}
	return c, nil
}

// fitsLocked reports whether n more bytes can be staged, and have a place then.
func (l *Log) fitsLocked(n int) bool {
	size := max(l.mu.staging.used, headerSize) + n
	if size > l.mu.groupMax {
		return false
	}
	if i := len(l.mu.files) - 1; i >= 0 && l.mu.files[i].used+int64(roundUp(size)) <= l.mu.files[i].size {
		return true
	}
	return len(l.mu.free) > 0
}

// stageLocked makes room in the group that is being filled, and returns it.
func (l *Log) stageLocked(n int) *group {
	g := l.mu.staging
	if g.used == 0 {
		g.used = headerSize
	}
	if need := roundUp(g.used + n); need > len(g.buf) {
		bigger := alignedBytes(min(max(need, 2*len(g.buf), 64<<10), roundUp(l.mu.groupMax)))
		copy(bigger, g.buf)
		g.buf = bigger
	}
	g.entries++
	return g
}

// write is the goroutine that writes groups.
func (l *Log) write() {
	for {
		l.mu.Lock()
		for l.mu.staging.used == 0 && !l.mu.closed {
			l.mu.work.Wait()
		}
		if l.mu.closed {
			l.mu.Unlock()
			return
		}
		g := l.mu.staging
		l.mu.staging, l.mu.idle = l.mu.idle, nil
		f, h := l.placeLocked(g)
		l.mu.Unlock()
		err := g.down(f, h, l.o.Directory)
		l.mu.Lock()
		if err == nil {
			l.mu.low = h.low
		} else {
			l.mu.closed, l.mu.fault = true, err
		}
		for i := range g.adds {
			if c := g.adds[i].client; c.group == g {
				c.group = nil
			}
		}
		l.mu.Unlock()
		l.tell(g, err)
	}
}

// placeLocked gives a group its place.
func (l *Log) placeLocked(g *group) (*file, header) {
	size := int64(roundUp(g.used))
	if i := len(l.mu.files) - 1; i < 0 || l.mu.files[i].used+size > l.mu.files[i].size {
		f := l.mu.free[0]
		l.mu.free = l.mu.free[1:]
		l.mu.begun++
		f.number, f.used, f.groups, f.adds = l.mu.begun, 0, 0, map[*Client]uint64{}
		l.mu.files = append(l.mu.files, f)
		l.reclaimLocked()
		l.prepareLocked()
	}
	f := l.mu.files[len(l.mu.files)-1]
	h := header{length: g.used, entries: g.entries, file: f.number, index: f.groups, low: l.mu.files[0].number}
	for i := range g.adds {
		c := g.adds[i].client
		f.adds[c], c.last = c.added, f.number
	}
	f.groups++
	f.used += size
	return f, h
}

// down writes a group to its place.
func (g *group) down(f *file, h header, directory wire.UUID) error {
	size := roundUp(g.used)
	clear(g.buf[g.used:size])
	h.seal(g.buf, directory)
	if err := vfs.WriteSync(f, g.buf[:size], f.used-int64(size)); err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	return nil
}

// tell tells those concerned of a group that was written, and makes it usable again.
func (l *Log) tell(g *group, err error) {
	for i := range g.adds {
		if a := &g.adds[i]; err == nil {
			a.client.durable(a.end, a.generation)
		}
	}
	for _, w := range g.waiting {
		w <- err
	}
	if err != nil && l.o.OnFault != nil {
		l.o.OnFault(err)
	}
	clear(g.adds)
	clear(g.waiting)
	g.used, g.entries, g.adds, g.waiting = 0, 0, g.adds[:0], g.waiting[:0]
	l.mu.Lock()
	l.mu.idle = g
	l.mu.Unlock()
}
