package wal

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
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
	Limit     int64     // bytes that all files may have; at least 64 KiB [256 MiB]
	Smallest  int64     // of one file [4 MiB]
	Largest   int64     // of one file [32 MiB]
	// Clients is how many logs may wait for a sync of their own files; each keeps one open until then [4096].
	Clients int
	// OnFault is called once when a write, or the sync of a file that was to be used, failed. nil: nobody.
	OnFault func(error)
}

func (o Options) withDefaults() Options {
	o.Limit = max(cmp.Or(o.Limit, 256<<20), 64<<10)
	o.Smallest = min(cmp.Or(o.Smallest, 4<<20), o.Limit/2) &^ (blockSize - 1)
	o.Largest = max(min(cmp.Or(o.Largest, 32<<20), o.Limit/2, maxFileSize)&^(blockSize-1), o.Smallest)
	o.Clients = cmp.Or(o.Clients, 4096)
	return o
}

// Log is the write-ahead log of a directory.
type Log struct {
	o       Options
	running sync.WaitGroup
	spare   sync.Mutex // held while a file is made for a void; taken before mu
	// mu is a leaf.
	mu struct {
		sync.Mutex
		work     sync.Cond // for writers: something is staged and nobody writes, or the end has come
		resting  int       // writers that wait for work
		writing  bool      // one of them writes
		clients  map[wire.TopicIDPartition]*Client
		ended    []*Client // closed, while something of them may still be given back
		staging  *group
		idle     []*group  // to be filled again
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
	disk   vfs.File // not embedded: it has a way to write and sync at once, which embedding would hide
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
	if told := o.OnFault; told != nil {
		var once sync.Once
		l.o.OnFault = func(err error) { once.Do(func() { told(err) }) }
	}
	l.mu.work.L = &l.mu
	l.mu.clients = map[wire.TopicIDPartition]*Client{}
	l.mu.staging = &group{}
	l.mu.groupMax = int(min(maxGroup, l.o.Smallest))
	l.mu.resting = 1
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
		faults = append(faults, f.disk.Close())
	}
	l.mu.files, l.mu.free = nil, nil
	for _, v := range l.mu.staging.waiting {
		v <- ErrClosed
	}
	l.mu.staging.waiting = nil
	return errors.Join(faults...)
}

// Client returns the part of one log. durable is told, on a goroutine that writes, how far what was added is on disk, not always in
// order; it must be quick. sync makes what was added durable where it belongs.
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
		if err := c.Void(); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// keptForVoids is the part of a file that only voids may use when there is no other file to go on with: on a full disk logs must still
// be cut.
const keptForVoids = 16

// fitsLocked reports whether n more bytes can be staged, and have a place then.
func (l *Log) fitsLocked(n int, void bool) bool {
	size := max(l.mu.staging.used, headerSize) + n
	if size > l.mu.groupMax {
		return false
	}
	if len(l.mu.free) > 0 {
		return true
	}
	i := len(l.mu.files) - 1
	if i < 0 {
		return false
	}
	f := l.mu.files[i]
	room := f.size - f.used
	if !void {
		room -= f.size / keptForVoids
	}
	return int64(roundUp(size)) <= room
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

// maxResting is how many writers wait for work at most; usually one writes while the other tells.
const maxResting = 2

// wakeLocked sees to it that what is staged is written.
func (l *Log) wakeLocked() {
	switch {
	case l.mu.writing || l.mu.closed || l.mu.staging.used == 0: // whoever writes looks afterwards
	case l.mu.resting > 0:
		l.mu.work.Signal()
	default:
		l.mu.resting++
		l.running.Go(l.write)
	}
}

// write is a goroutine that writes groups, one at a time among all such goroutines. While it tells those concerned, another one goes
// on: whoever is told may wait for a log that waits for its void. It was counted as resting.
func (l *Log) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		for (l.mu.staging.used == 0 || l.mu.writing) && !l.mu.closed {
			l.mu.work.Wait()
		}
		l.mu.resting--
		if l.mu.closed {
			return
		}
		g := l.mu.staging
		l.mu.staging = l.freshLocked()
		f, h := l.placeLocked(g)
		l.mu.writing = true
		l.mu.Unlock()
		err := g.down(f, h, l.o.Directory)
		l.mu.Lock()
		l.mu.writing = false
		l.writtenLocked(g, h, err)
		l.wakeLocked()
		l.mu.Unlock()
		l.tell(g, err)
		l.mu.Lock()
		if len(l.mu.idle) < maxResting {
			l.mu.idle = append(l.mu.idle, g)
		}
		if l.mu.resting >= maxResting {
			return
		}
		l.mu.resting++
	}
}

// freshLocked returns a group to be filled.
func (l *Log) freshLocked() *group {
	n := len(l.mu.idle)
	if n == 0 {
		return &group{}
	}
	g := l.mu.idle[n-1]
	l.mu.idle = l.mu.idle[:n-1]
	return g
}

// writtenLocked takes note of a group that was written, or was not.
func (l *Log) writtenLocked(g *group, h header, err error) {
	for i := range g.adds {
		if c := g.adds[i].client; c.group == g {
			c.group = nil
		}
	}
	if err != nil {
		l.failLocked(err)
	} else if h.low > l.mu.low {
		l.mu.low = h.low
		l.mu.ended = slices.DeleteFunc(l.mu.ended, l.forgetLocked)
	}
}

// failLocked ends the writes. The caller tells OnFault once mu is released.
func (l *Log) failLocked(err error) {
	if l.mu.fault == nil {
		l.mu.fault = err
	}
	l.mu.closed = true
	l.mu.work.Broadcast()
	for _, w := range l.mu.staging.waiting { // nobody will write it
		w <- l.mu.fault
	}
	l.mu.staging.waiting = nil
}

// forgetLocked forgets a client that was closed if nothing of it can come back, and reports whether it is one to remember no more.
func (l *Log) forgetLocked(c *Client) bool {
	if l.mu.clients[c.key] != c {
		return true
	}
	if c.group != nil || c.last >= max(l.mu.low, 1) {
		return false
	}
	delete(l.mu.clients, c.key)
	return true
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
	if err := vfs.WriteSync(f.disk, g.buf[:size], f.used-int64(size)); err != nil {
		return fmt.Errorf("write-ahead log: %w", err)
	}
	return nil
}

// tell tells those concerned of a group that was written, and makes it usable again.
func (l *Log) tell(g *group, err error) {
	for _, w := range g.waiting {
		w <- err
	}
	for i := range g.adds {
		if a := &g.adds[i]; err == nil {
			a.client.durable(a.end, a.generation)
		}
	}
	if err != nil && l.o.OnFault != nil {
		l.o.OnFault(err)
	}
	clear(g.adds)
	clear(g.waiting)
	g.used, g.entries, g.adds, g.waiting = 0, 0, g.adds[:0], g.waiting[:0]
}
