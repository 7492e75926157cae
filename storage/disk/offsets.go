package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"sync"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// offsetsFile holds one record of slotSize bytes per replica, at slot*slotSize. Notes of the durable offset are written
// and not synced: they survive the process, and mostly the machine too. The other fields are synced when they change.
const (
	offsetsFile = "kraftgo.offsets"
	slotSize    = 64
	noLimit     = wire.Offset(math.MaxInt64)
)

// note is what a slot holds.
type note struct {
	key   wire.TopicIDPartition
	noted wire.Offset // durable offset; 0: none
	limit wire.Offset // the recovery point in the checkpoint file counts only up to here
	start wire.Offset // the log's start
	// watermark is the high watermark when the durable offset was last noted: what clients may have seen.
	watermark wire.Offset
}

// offsets is the open file.
type offsets struct {
	file vfs.File
	mu   sync.Mutex // orders syncs with the writes they are for
}

func openOffsets(fsys vfs.FS, dir string) (*offsets, error) {
	name := dir + "/" + offsetsFile
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		if f, err = fsys.Create(name); err == nil {
			err = fsys.SyncDir(dir)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return &offsets{file: f}, nil
}

// read returns the slot's note, if it is that of the replica and whole.
func (o *offsets) read(slot int, key wire.TopicIDPartition) (note, error) {
	n := note{key: key, limit: noLimit}
	var b [slotSize]byte
	if _, err := o.file.ReadAt(b[:], int64(slot)*slotSize); err != nil {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return n, err
	}
	r := wire.NewReader(b[:])
	id, partition := r.UUID(), wire.Partition(r.Int32())
	if binary.BigEndian.Uint32(b[slotSize-4:]) != crc32.ChecksumIEEE(b[:slotSize-4]) || id != key.Topic || partition != key.Partition {
		return n, nil
	}
	n.noted, n.limit, n.start = wire.Offset(r.Int64()), wire.Offset(r.Int64()), wire.Offset(r.Int64())
	n.watermark = wire.Offset(r.Int64())
	return n, nil
}

func (o *offsets) write(slot int, n note) error {
	var b [slotSize]byte
	copy(b[:], n.key.Topic[:])
	binary.BigEndian.PutUint32(b[16:], uint32(n.key.Partition))
	binary.BigEndian.PutUint64(b[20:], uint64(n.noted))
	binary.BigEndian.PutUint64(b[28:], uint64(n.limit))
	binary.BigEndian.PutUint64(b[36:], uint64(n.start))
	binary.BigEndian.PutUint64(b[44:], uint64(n.watermark))
	binary.BigEndian.PutUint32(b[slotSize-4:], crc32.ChecksumIEEE(b[:slotSize-4]))
	_, err := o.file.WriteAt(b[:], int64(slot)*slotSize)
	return err
}

func (o *offsets) writeDurably(slot int, n note) error {
	if err := o.write(slot, n); err != nil {
		return err
	}
	return o.sync()
}

func (o *offsets) sync() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.file.Sync()
}

// keeper is what a log tells its directory to remember.
type keeper struct {
	d     *Disk
	entry *entry

	mu      sync.Mutex
	note    note
	lowered int // how often LowerTo was called
}

// Note implements storage.Keeper.
func (k *keeper) Note(durable wire.Offset) {
	watermark := wire.Offset(0)
	if k.d.options.HighWatermark != nil {
		watermark = k.d.options.HighWatermark(k.entry.Key())
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note.noted = durable
	k.note.watermark = max(k.note.watermark, watermark)
	if err := k.d.offsets.write(k.entry.slot, k.note); err != nil {
		k.d.offline(fmt.Errorf("note durable offset of %s: %w", k.entry.DirName(), err))
	}
}

// LowerTo implements storage.Keeper.
func (k *keeper) LowerTo(offset wire.Offset) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note.noted, k.note.limit = min(k.note.noted, offset), min(k.note.limit, offset)
	k.note.watermark = min(k.note.watermark, offset)
	k.lowered++
	return k.d.offsets.writeDurably(k.entry.slot, k.note)
}

// Start implements storage.Keeper.
func (k *keeper) Start(offset wire.Offset) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.note.start = offset
	if err := k.d.offsets.writeDurably(k.entry.slot, k.note); err != nil {
		return err
	}
	k.d.touch(k.entry.Key())
	return nil
}

// Begin implements storage.Keeper.
func (k *keeper) Begin() error {
	return k.d.change([]string{start(k.entry.Key())}, func() { k.entry.started = true })
}

// watermark returns the high watermark last noted.
func (k *keeper) watermark() wire.Offset {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.note.watermark
}

// lift takes the limit away, once a checkpoint file is on disk whose point was taken when LowerTo had been called lowered
// times. If it was called again meanwhile, the limit still counts.
func (k *keeper) lift(lowered int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.note.limit == noLimit || k.lowered != lowered {
		return
	}
	k.note.limit = noLimit
	if err := k.d.offsets.write(k.entry.slot, k.note); err != nil {
		k.d.offline(fmt.Errorf("note of %s: %w", k.entry.DirName(), err))
	}
}

func (k *keeper) timesLowered() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lowered
}
