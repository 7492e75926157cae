package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sort"
	"sync"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

const (
	offsetEntrySize = 8
	timeEntrySize   = 12
	recentSize      = 64
	maxIndexFile    = 1 << 30
)

// offsetEntry says that the batch at position ends with offset, relative to the segment's base.
type offsetEntry struct{ offset, position int32 }

// timeEntry says that timestamp is the largest of all batches up to the one that ends with offset.
type timeEntry struct {
	timestamp wire.Timestamp
	offset    int32
}

// sparseIndex is a segment's offset and time index. That of a segment being written is in memory, with the places of its
// last few batches. When the segment is sealed its entries are written to the files, from which they are then read.
//
// Both indexes ascend strictly, in all fields but that times may repeat an offset.
type sparseIndex struct {
	offsetFile, timeFile fileSlot

	// rebuilding is held while the index is made anew from the log, which reads files.
	rebuilding sync.Mutex

	// mu is a leaf.
	mu struct {
		sync.Mutex
		inMemory bool // offsets and times are all there is
		checked  bool // the files were looked at: counts hold
		offsets  []offsetEntry
		times    []timeEntry
		written  int // leading offsets that are in the file
		timesOut int // leading times that are in the file
		counts   struct{ offsets, times int }
		recent   []offsetEntry // ring of places: offset is here the batch's base
		next     int
	}
}

// addRecent remembers where a batch starts.
func (x *sparseIndex) addRecentLocked(e offsetEntry) {
	if x.mu.recent == nil {
		x.mu.recent = make([]offsetEntry, 0, recentSize)
	}
	if len(x.mu.recent) < recentSize {
		x.mu.recent = append(x.mu.recent, e)
		return
	}
	x.mu.recent[x.mu.next] = e
	x.mu.next = (x.mu.next + 1) % recentSize
}

// recentAt returns the position of a batch with that base, if it is one of the last few.
func (x *sparseIndex) recentAt(relative int32) (int64, bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i := len(x.mu.recent) - 1; i >= 0; i-- {
		e := x.mu.recent[(x.mu.next+i)%len(x.mu.recent)]
		if e.offset == relative {
			return int64(e.position), true
		}
		if e.offset < relative {
			break
		}
	}
	return 0, false
}

func (x *sparseIndex) addLocked(e offsetEntry) {
	if n := len(x.mu.offsets); n == 0 || (e.offset > x.mu.offsets[n-1].offset && e.position > x.mu.offsets[n-1].position) {
		x.mu.offsets = append(x.mu.offsets, e)
	}
}

func (x *sparseIndex) addTimeLocked(e timeEntry) {
	if e.timestamp < 0 {
		return
	}
	if n := len(x.mu.times); n == 0 || (e.timestamp > x.mu.times[n-1].timestamp && e.offset >= x.mu.times[n-1].offset) {
		x.mu.times = append(x.mu.times, e)
	}
}

// searchBlock is the number of entries that a search in a file reads at once, when few enough are left.
const searchBlock = 512

// searchFile finds the last of n ascending entries of a file for which below holds, and leaves it in last. found is
// false when there is none.
func searchFile(f io.ReaderAt, n, entrySize int, last []byte, below func(entry []byte) bool) (found bool, err error) {
	pooled := headBuffers.Get().(*[]byte)
	defer headBuffers.Put(pooled)
	from, to := 0, n // below holds before from, and not from to on
	for to-from > searchBlock {
		middle := from + (to-from)/2
		b := (*pooled)[:entrySize]
		if _, err := f.ReadAt(b, int64(middle)*int64(entrySize)); err != nil {
			return false, fmt.Errorf("read index entry %d: %w", middle, err)
		}
		if below(b) {
			from, found = middle+1, true
			copy(last, b)
		} else {
			to = middle
		}
	}
	b := (*pooled)[:(to-from)*entrySize]
	if len(b) == 0 {
		return found, nil
	}
	if _, err := f.ReadAt(b, int64(from)*int64(entrySize)); err != nil {
		return false, fmt.Errorf("read index entries %d to %d: %w", from, to, err)
	}
	i := sort.Search(to-from, func(i int) bool { return !below(b[i*entrySize:]) })
	if i > 0 {
		copy(last, b[(i-1)*entrySize:i*entrySize])
		found = true
	}
	return found, nil
}

// floorOffset returns the last entry at or below relative; the zero entry, which stands for the segment's start, if none.
func (x *sparseIndex) floorOffset(c *FileCache, s *segment, relative int32) (offsetEntry, error) {
	return x.findOffset(c, s, func(e offsetEntry) bool { return e.offset <= relative })
}

// floorPosition is floorOffset by position.
func (x *sparseIndex) floorPosition(c *FileCache, s *segment, position int64) (offsetEntry, error) {
	return x.findOffset(c, s, func(e offsetEntry) bool { return int64(e.position) <= position })
}

func (x *sparseIndex) findOffset(c *FileCache, s *segment, below func(offsetEntry) bool) (offsetEntry, error) {
	if err := x.check(c, s); err != nil {
		return offsetEntry{}, err
	}
	x.mu.Lock()
	if x.mu.inMemory {
		defer x.mu.Unlock()
		i := sort.Search(len(x.mu.offsets), func(i int) bool { return !below(x.mu.offsets[i]) })
		if i == 0 {
			return offsetEntry{}, nil
		}
		return x.mu.offsets[i-1], nil
	}
	n := x.mu.counts.offsets
	x.mu.Unlock()
	if n == 0 {
		return offsetEntry{}, nil
	}
	f, err := x.offsetFile.use(c, s.path+indexSuffix, false)
	if err != nil {
		return offsetEntry{}, err
	}
	defer f.release()
	var last [offsetEntrySize]byte
	found, err := searchFile(f, n, offsetEntrySize, last[:], func(b []byte) bool { return below(decodeOffsetEntry(b)) })
	if err != nil || !found {
		return offsetEntry{}, err
	}
	return decodeOffsetEntry(last[:]), nil
}

// floorTime returns the last time entry whose timestamp is below t; ok false: there is none.
func (x *sparseIndex) floorTime(c *FileCache, s *segment, t wire.Timestamp) (found timeEntry, ok bool, err error) {
	if err := x.check(c, s); err != nil {
		return found, false, err
	}
	x.mu.Lock()
	if x.mu.inMemory {
		defer x.mu.Unlock()
		i := sort.Search(len(x.mu.times), func(i int) bool { return x.mu.times[i].timestamp >= t })
		if i == 0 {
			return found, false, nil
		}
		return x.mu.times[i-1], true, nil
	}
	n := x.mu.counts.times
	x.mu.Unlock()
	if n == 0 {
		return found, false, nil
	}
	f, err := x.timeFile.use(c, s.path+timeIndexSuffix, false)
	if err != nil {
		return found, false, err
	}
	defer f.release()
	var last [timeEntrySize]byte
	ok, err = searchFile(f, n, timeEntrySize, last[:], func(b []byte) bool { return decodeTimeEntry(b).timestamp < t })
	if err != nil || !ok {
		return found, false, err
	}
	return decodeTimeEntry(last[:]), true, nil
}

// lastTime returns the last time entry.
func (x *sparseIndex) lastTime(c *FileCache, s *segment) (timeEntry, bool, error) {
	return x.floorTime(c, s, 1<<63-1)
}

func readOffsetEntry(f io.ReaderAt, i int) (offsetEntry, error) {
	var b [offsetEntrySize]byte
	if _, err := f.ReadAt(b[:], int64(i)*offsetEntrySize); err != nil {
		return offsetEntry{}, fmt.Errorf("read index entry %d: %w", i, err)
	}
	return decodeOffsetEntry(b[:]), nil
}

func readTimeEntry(f io.ReaderAt, i int) (timeEntry, error) {
	var b [timeEntrySize]byte
	if _, err := f.ReadAt(b[:], int64(i)*timeEntrySize); err != nil {
		return timeEntry{}, fmt.Errorf("read time index entry %d: %w", i, err)
	}
	return decodeTimeEntry(b[:]), nil
}

func decodeOffsetEntry(b []byte) offsetEntry {
	return offsetEntry{int32(binary.BigEndian.Uint32(b)), int32(binary.BigEndian.Uint32(b[4:]))}
}

func decodeTimeEntry(b []byte) timeEntry {
	return timeEntry{wire.Timestamp(binary.BigEndian.Uint64(b)), int32(binary.BigEndian.Uint32(b[8:]))}
}

func appendOffsetEntry(b []byte, e offsetEntry) []byte {
	return wire.AppendInt32(wire.AppendInt32(b, e.offset), e.position)
}

func appendTimeEntry(b []byte, e timeEntry) []byte {
	return wire.AppendInt32(wire.AppendInt64(b, int64(e.timestamp)), e.offset)
}

// check makes sure that the index can be used: that it is in memory, or its files are whole. A missing or bad one is made
// anew from the log.
func (x *sparseIndex) check(c *FileCache, s *segment) error {
	x.mu.Lock()
	ready := x.mu.inMemory || x.mu.checked
	x.mu.Unlock()
	if ready {
		return nil
	}
	x.rebuilding.Lock()
	defer x.rebuilding.Unlock()
	x.mu.Lock()
	ready = x.mu.inMemory || x.mu.checked
	x.mu.Unlock()
	if ready {
		return nil
	}
	offsets, times, ok, err := x.inspect(c, s)
	if err != nil {
		return err
	}
	if ok {
		x.mu.Lock()
		x.mu.checked, x.mu.counts.offsets, x.mu.counts.times = true, offsets, times
		x.mu.Unlock()
		return nil
	}
	return x.rebuild(c, s, defaultIndexInterval)
}

const defaultIndexInterval = 4096

// inspect looks at the ends of both files. ok false: one is missing or cannot be right.
func (x *sparseIndex) inspect(c *FileCache, s *segment) (offsets, times int, ok bool, err error) {
	size := s.size.Load()
	f, err := x.offsetFile.use(c, s.path+indexSuffix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	defer f.release()
	offsets, ok, err = entries(f, offsetEntrySize)
	if !ok || err != nil {
		return 0, 0, false, err
	}
	if offsets > 0 {
		e, err := readOffsetEntry(f, offsets-1)
		if err != nil || e.offset < 0 || e.position <= 0 || int64(e.position) >= size {
			return 0, 0, false, err
		}
	}
	t, err := x.timeFile.use(c, s.path+timeIndexSuffix, false)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	defer t.release()
	times, ok, err = entries(t, timeEntrySize)
	if !ok || err != nil {
		return 0, 0, false, err
	}
	if times > 0 {
		e, err := readTimeEntry(t, times-1)
		if err != nil || e.timestamp <= 0 || e.offset < 0 {
			return 0, 0, false, err
		}
	} else if size > 0 {
		return 0, 0, false, nil // a sealed segment has at least one, unless no batch has a time
	}
	return offsets, times, true, nil
}

func entries(f vfs.File, entrySize int64) (int, bool, error) {
	size, err := f.Size()
	return int(size / entrySize), size%entrySize == 0 && size <= maxIndexFile, err
}

// rebuild makes the index in memory from the log's headers.
func (x *sparseIndex) rebuild(c *FileCache, s *segment, interval int64) error {
	f, err := s.log.use(c, s.logName, false)
	if err != nil {
		return err
	}
	defer f.release()
	b := indexBuilder{interval: interval, maxTimestamp: wire.NoTimestamp}
	if _, err := s.walk(f, 0, s.size.Load(), func(h batch.Header, position int64) bool {
		b.add(s, h, position)
		return true
	}); err != nil {
		return err
	}
	b.seal(s)
	x.mu.Lock()
	x.mu.inMemory, x.mu.offsets, x.mu.times, x.mu.written, x.mu.timesOut = true, b.offsets, b.times, 0, 0
	x.mu.Unlock()
	return nil
}

// indexBuilder makes index entries of batches that go by, by the rule of append.
type indexBuilder struct {
	interval     int64
	since        int64
	maxTimestamp wire.Timestamp
	maxAt        wire.Offset
	offsets      []offsetEntry
	times        []timeEntry
}

func (b *indexBuilder) add(s *segment, h batch.Header, position int64) {
	if t := h.MaxTimestamp(); t > b.maxTimestamp {
		b.maxTimestamp, b.maxAt = t, h.LastOffset()
	}
	if b.since > b.interval {
		b.offsets = append(b.offsets, offsetEntry{s.relative(h.LastOffset()), int32(position)})
		b.seal(s)
		b.since = 0
	}
	b.since += int64(h.Size())
}

// seal adds the time entry that a segment ends with.
func (b *indexBuilder) seal(s *segment) {
	e := timeEntry{b.maxTimestamp, s.relative(b.maxAt)}
	if n := len(b.times); e.timestamp >= 0 && (n == 0 || e.timestamp > b.times[n-1].timestamp) {
		b.times = append(b.times, e)
	}
}

// load brings the files' entries into memory, as far as they ascend and lie below size and end. The appender does that
// before it adds to them.
func (x *sparseIndex) load(fsys vfs.FS, s *segment, size int64, end wire.Offset) error {
	ob, err := readIfThere(fsys, s.path+indexSuffix)
	if err != nil {
		return err
	}
	tb, err := readIfThere(fsys, s.path+timeIndexSuffix)
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.offsets, x.mu.times = nil, nil
	limit := end - s.base
	for ; len(ob) >= offsetEntrySize; ob = ob[offsetEntrySize:] {
		e := decodeOffsetEntry(ob)
		n := len(x.mu.offsets)
		x.addLocked(e)
		if e.position <= 0 || e.offset < 0 || int64(e.position) >= size || wire.Offset(e.offset) >= limit || len(x.mu.offsets) == n {
			x.mu.offsets = x.mu.offsets[:n]
			break
		}
	}
	for ; len(tb) >= timeEntrySize; tb = tb[timeEntrySize:] {
		e := decodeTimeEntry(tb)
		n := len(x.mu.times)
		x.addTimeLocked(e)
		if e.offset < 0 || wire.Offset(e.offset) >= limit || len(x.mu.times) == n {
			x.mu.times = x.mu.times[:n]
			break
		}
	}
	x.mu.inMemory, x.mu.written, x.mu.timesOut = true, len(x.mu.offsets), len(x.mu.times)
	return nil
}

func readIfThere(fsys vfs.FS, name string) ([]byte, error) {
	b, err := vfs.ReadFile(fsys, name, maxIndexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// cut forgets all entries at or past a boundary. It must be in memory.
func (x *sparseIndex) cut(relative int32, position int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.offsets = x.mu.offsets[:sort.Search(len(x.mu.offsets), func(i int) bool {
		return x.mu.offsets[i].offset >= relative || int64(x.mu.offsets[i].position) >= position
	})]
	x.mu.times = x.mu.times[:sort.Search(len(x.mu.times), func(i int) bool { return x.mu.times[i].offset >= relative })]
	x.mu.written, x.mu.timesOut = min(x.mu.written, len(x.mu.offsets)), min(x.mu.timesOut, len(x.mu.times))
	x.mu.recent, x.mu.next = x.mu.recent[:0], 0
}

// flush writes to the files what they lack, and their right lengths, durably. sealed: it then lets go of the memory.
// No append runs meanwhile that could touch this segment's index when sealed; when not, what is added meanwhile is left
// for the next time.
func (x *sparseIndex) flush(c *FileCache, s *segment, sealed bool) error {
	x.mu.Lock()
	if !x.mu.inMemory {
		x.mu.Unlock()
		return nil
	}
	from, fromTime := x.mu.written, x.mu.timesOut
	offsets, times := x.mu.offsets[:len(x.mu.offsets):len(x.mu.offsets)], x.mu.times[:len(x.mu.times):len(x.mu.times)]
	x.mu.Unlock()

	b := make([]byte, 0, (len(offsets)-from)*offsetEntrySize)
	for _, e := range offsets[from:] {
		b = appendOffsetEntry(b, e)
	}
	if err := writeTail(c, &x.offsetFile, s.path+indexSuffix, b, from*offsetEntrySize); err != nil {
		return err
	}
	b = make([]byte, 0, (len(times)-fromTime)*timeEntrySize)
	for _, e := range times[fromTime:] {
		b = appendTimeEntry(b, e)
	}
	if err := writeTail(c, &x.timeFile, s.path+timeIndexSuffix, b, fromTime*timeEntrySize); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.mu.written, x.mu.timesOut = len(offsets), len(times)
	if sealed {
		x.mu.inMemory, x.mu.checked = false, true
		x.mu.counts.offsets, x.mu.counts.times = len(offsets), len(times)
		x.mu.offsets, x.mu.times, x.mu.recent = nil, nil, nil
		x.mu.next = 0
	}
	return nil
}

// writeTail makes the file consist of its first at bytes and b, durably: recovery trusts what it holds for offsets below the
// recovery point, and a truncation may have left other entries there.
func writeTail(c *FileCache, slot *fileSlot, name string, b []byte, at int) error {
	f, err := slot.use(c, name, false)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = slot.use(c, name, true)
	}
	if err != nil {
		return err
	}
	defer f.release()
	if len(b) > 0 {
		if _, err := f.WriteAt(b, int64(at)); err != nil {
			return err
		}
	}
	if err := f.Truncate(int64(at + len(b))); err != nil {
		return err
	}
	return f.Sync()
}
