package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// openTransaction is a transaction of producer id whose first record is at first.
type openTransaction struct {
	first wire.Offset
	id    wire.ProducerID
}

// completedTransaction is one whose marker is at last.
type completedTransaction struct {
	openTransaction
	last    wire.Offset
	aborted bool
}

// transactionTable tells how far read_committed readers may see. Readers and appender share it.
type transactionTable struct {
	unstable atomic.Int32 // length of open and completed

	// mu is a leaf.
	mu struct {
		sync.Mutex
		open      []openTransaction      // ascending by first
		completed []completedTransaction // ascending by first; whose marker may be past the watermark yet
	}
}

func byFirst(t openTransaction, first wire.Offset) int {
	return int(max(-1, min(1, t.first-first)))
}

func (t *transactionTable) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.open, t.mu.completed = nil, nil
	t.unstable.Store(0)
}

func (t *transactionTable) begin(o openTransaction) {
	t.mu.Lock()
	defer t.mu.Unlock()
	i, _ := slices.BinarySearchFunc(t.mu.open, o.first, byFirst)
	t.mu.open = slices.Insert(t.mu.open, i, o)
	t.unstable.Add(1)
}

// complete moves a transaction from open to completed, and returns the last stable offset for the index: that of the
// oldest transaction of another producer, or what follows the marker.
func (t *transactionTable) complete(c completedTransaction) wire.Offset {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i, ok := slices.BinarySearchFunc(t.mu.open, c.first, byFirst); ok {
		t.mu.open = slices.Delete(t.mu.open, i, i+1)
		j, _ := slices.BinarySearchFunc(t.mu.completed, c.first, func(d completedTransaction, first wire.Offset) int {
			return byFirst(d.openTransaction, first)
		})
		t.mu.completed = slices.Insert(t.mu.completed, j, c)
	}
	if len(t.mu.open) > 0 {
		return t.mu.open[0].first
	}
	return c.last + 1
}

// lastStable is Log.LastStableOffset.
func (t *transactionTable) lastStable(highWatermark wire.Offset) wire.Offset {
	if t.unstable.Load() == 0 {
		return highWatermark
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.mu.completed = slices.DeleteFunc(t.mu.completed, func(c completedTransaction) bool { return c.last < highWatermark })
	t.unstable.Store(int32(len(t.mu.open) + len(t.mu.completed)))
	stable := highWatermark
	if len(t.mu.open) > 0 {
		stable = min(stable, t.mu.open[0].first)
	}
	if len(t.mu.completed) > 0 {
		stable = min(stable, t.mu.completed[0].first)
	}
	return stable
}

// marker is the record of a control batch that ends a transaction.
type marker struct {
	commit           bool
	coordinatorEpoch int32
	timestamp        wire.Timestamp
}

// parseMarker reads the first record of a control batch. ok false: there is none, or it does not end a transaction.
func parseMarker(h batch.Header) (m marker, ok bool) {
	if h.Count() < 1 || len(h) <= batch.HeaderSize {
		return m, false
	}
	r := wire.NewReader(h.Records())
	r.Varint() // length
	r.Int8()   // attributes
	m.timestamp = h.BaseTimestamp() + wire.Timestamp(r.Varlong())
	r.Varint() // offset delta
	key := wire.NewReader(r.Raw(int(r.Varint())))
	value := wire.NewReader(r.Raw(int(r.Varint())))
	if r.Err() != nil {
		return m, false
	}
	key.Int16() // version
	kind := key.Int16()
	value.Int16() // version
	m.coordinatorEpoch = value.Int32()
	m.commit = kind == 1
	return m, key.Err() == nil && value.Err() == nil && (kind == 0 || kind == 1)
}

// AbortedTransaction is a transaction of which a read_committed consumer drops the records.
type AbortedTransaction struct {
	ProducerID  wire.ProducerID
	FirstOffset wire.Offset
}

// abortedEntry is one entry of a .txnindex file.
type abortedEntry struct {
	id                  wire.ProducerID
	first, last, stable wire.Offset
}

const (
	abortedEntrySize    = 34
	abortedEntryVersion = 0
)

// txnIndex is the list of aborted transactions whose marker is in one segment, ascending by last. It is read from its
// file when first asked for. The file comes into being with the first entry.
type txnIndex struct {
	slot fileSlot

	// mu is held while the file is read, and otherwise shortly.
	mu struct {
		sync.Mutex
		loaded  bool
		entries []abortedEntry
		written int
		shrunk  bool // the file has entries that are no more
	}
}

func (x *txnIndex) loadLocked(c *FileCache, s *segment) error {
	if x.mu.loaded {
		return nil
	}
	b, err := readIfThere(c.fsys, s.path+txnIndexSuffix)
	if err != nil {
		return err
	}
	x.mu.entries = nil
	for ; len(b) >= abortedEntrySize; b = b[abortedEntrySize:] {
		r := wire.NewReader(b)
		version := r.Int16()
		e := abortedEntry{wire.ProducerID(r.Int64()), wire.Offset(r.Int64()), wire.Offset(r.Int64()), wire.Offset(r.Int64())}
		if version != abortedEntryVersion || e.first > e.last || e.last < s.base {
			return fmt.Errorf("%w: %s%s: entry %d", ErrCorrupt, s.path, txnIndexSuffix, len(x.mu.entries))
		}
		x.mu.entries = append(x.mu.entries, e)
	}
	x.mu.loaded, x.mu.written = true, len(x.mu.entries)
	return nil
}

func (x *txnIndex) add(c *FileCache, s *segment, e abortedEntry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.loadLocked(c, s); err != nil {
		return err
	}
	x.mu.entries = append(x.mu.entries, e)
	return nil
}

// cut forgets the entries whose marker is at or past o. A file that makes no sense is forgotten as a whole.
func (x *txnIndex) cut(c *FileCache, s *segment, o wire.Offset) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.loadLocked(c, s); err != nil {
		if !errors.Is(err, ErrCorrupt) {
			return err
		}
		x.mu.loaded, x.mu.shrunk = true, true
	}
	x.mu.entries = slices.DeleteFunc(x.mu.entries, func(e abortedEntry) bool { return e.last >= o })
	x.mu.shrunk = x.mu.shrunk || x.mu.written > len(x.mu.entries)
	x.mu.written = min(x.mu.written, len(x.mu.entries))
	return nil
}

// collect adds to list what overlaps [from, upTo). done: no later segment has any.
func (x *txnIndex) collect(c *FileCache, s *segment, from, upTo wire.Offset, list []AbortedTransaction) (_ []AbortedTransaction, done bool, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if err := x.loadLocked(c, s); err != nil {
		return list, false, err
	}
	for _, e := range x.mu.entries {
		if e.last >= from && e.first < upTo {
			list = append(list, AbortedTransaction{e.id, e.first})
		}
		if e.stable >= upTo {
			return list, true, nil
		}
	}
	return list, false, nil
}

// flush writes the entries that the file lacks, durably.
func (x *txnIndex) flush(c *FileCache, s *segment) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.mu.loaded || (x.mu.written == len(x.mu.entries) && !x.mu.shrunk) {
		return nil
	}
	x.mu.shrunk = false
	if len(x.mu.entries) == 0 {
		x.slot.drop(c)
		if err := c.fsys.Remove(s.path + txnIndexSuffix); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	var b []byte
	for _, e := range x.mu.entries[x.mu.written:] {
		b = wire.AppendInt16(b, abortedEntryVersion)
		b = wire.AppendInt64(b, int64(e.id))
		b = wire.AppendInt64(b, int64(e.first))
		b = wire.AppendInt64(b, int64(e.last))
		b = wire.AppendInt64(b, int64(e.stable))
	}
	if err := writeTail(c, &x.slot, s.path+txnIndexSuffix, b, x.mu.written*abortedEntrySize); err != nil {
		return err
	}
	x.mu.written = len(x.mu.entries)
	return nil
}
