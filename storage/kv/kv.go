// Package kv is the broker's one Pebble: what the coordinators derived from their logs, by log partition.
//
// The logs are the truth, and the store a cache of their effects: it may be deleted while the broker is stopped. Every
// batch of effects carries, in the same commit, the offset up to which its partition's log is applied, so that what is
// found after a crash is always the effect of a prefix of the log. Commits are not synced.
//
// # Keys
//
// FORMAT.md has them byte by byte: a kind, the partition, then what the kind says. Deleting a partition is deleting ranges.
package kv

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/wire"
)

// The kinds of key. A number is never used again for something else.
const (
	kindApplied byte = 1
	kindGroup   byte = 2
	kindOffset  byte = 3
)

// Store is an open Pebble. Any goroutine may use it.
type Store struct{ db *pebble.DB }

// Open opens or makes the store in a directory.
func Open(dir string) (*Store, error) { return OpenFS(dir, vfs.Default) }

// OpenFS is Open on another file system, for tests.
func OpenFS(dir string, fs vfs.FS) (*Store, error) {
	cache := pebble.NewCache(8 << 20)
	defer cache.Unref()
	db, err := pebble.Open(dir, &pebble.Options{
		FS: fs, Cache: cache, MemTableSize: 4 << 20, MaxOpenFiles: 128, L0CompactionThreshold: 2,
		FormatMajorVersion: pebble.FormatNewest, Logger: silent{},
	})
	if err != nil {
		return nil, fmt.Errorf("open the offset store in %s: %w", dir, err)
	}
	return &Store{db}, nil
}

// Close flushes and closes the store.
func (s *Store) Close() error {
	return errors.Join(s.db.Flush(), s.db.Close())
}

// silent drops what Pebble would log; its fatal errors are bugs or a dead disk.
type silent struct{}

func (silent) Infof(string, ...any)  {}
func (silent) Errorf(string, ...any) {}
func (silent) Fatalf(format string, args ...any) {
	panic("pebble: " + fmt.Sprintf(format, args...))
}

func partitionKey(kind byte, p wire.Partition) []byte {
	return binary.BigEndian.AppendUint32([]byte{kind}, uint32(p))
}

func groupKey(kind byte, p wire.Partition, group string) []byte {
	k := binary.BigEndian.AppendUint16(partitionKey(kind, p), uint16(len(group)))
	return append(k, group...)
}

func offsetKey(p wire.Partition, group, topic string, partition wire.Partition) []byte {
	k := binary.BigEndian.AppendUint16(groupKey(kindOffset, p, group), uint16(len(topic)))
	k = append(k, topic...)
	return binary.BigEndian.AppendUint32(k, uint32(partition))
}

// Applied is how far a partition's log is in the store: Next is the offset of the first record that is not, Epoch the
// leader epoch of the last that is.
type Applied struct {
	Next  wire.Offset
	Epoch wire.LeaderEpoch
}

// Applied returns how far a partition is applied; zero if it is not at all.
func (s *Store) Applied(p wire.Partition) (Applied, error) {
	v, err := s.get(partitionKey(kindApplied, p))
	if err != nil || v == nil {
		return Applied{}, err
	}
	if len(v) != 12 {
		return Applied{}, fmt.Errorf("offset store: applied offset of partition %d has %d bytes", p, len(v))
	}
	return Applied{wire.Offset(binary.BigEndian.Uint64(v)), wire.LeaderEpoch(binary.BigEndian.Uint32(v[8:]))}, nil
}

// get returns a copy of a value, nil if there is none.
func (s *Store) get(key []byte) ([]byte, error) {
	v, closer, err := s.db.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("offset store: %w", err)
	}
	out := append([]byte{}, v...)
	return out, closer.Close()
}

// Offset returns the value of a committed offset, nil if there is none.
func (s *Store) Offset(p wire.Partition, group, topic string, partition wire.Partition) ([]byte, error) {
	return s.get(offsetKey(p, group, topic, partition))
}

// Offsets calls f for the committed offsets of a group, by topic length, topic and partition. value is good during the
// call only.
func (s *Store) Offsets(p wire.Partition, group string, f func(topic string, partition wire.Partition, value []byte) error) error {
	return s.scan(groupKey(kindOffset, p, group), func(rest, value []byte) error {
		n := int(binary.BigEndian.Uint16(rest))
		return f(string(rest[2:2+n]), wire.Partition(binary.BigEndian.Uint32(rest[2+n:])), value)
	})
}

// Groups calls f for the groups of a partition that have a metadata record. value is good during the call only.
func (s *Store) Groups(p wire.Partition, f func(group string, value []byte) error) error {
	return s.scan(partitionKey(kindGroup, p), func(rest, value []byte) error { return f(string(rest[2:]), value) })
}

// OffsetGroups calls f once for each group of a partition that has committed offsets.
func (s *Store) OffsetGroups(p wire.Partition, f func(group string)) error {
	last, any := "", false
	return s.scan(partitionKey(kindOffset, p), func(rest, _ []byte) error {
		n := int(binary.BigEndian.Uint16(rest))
		if g := string(rest[2 : 2+n]); !any || g != last {
			last, any = g, true
			f(g)
		}
		return nil
	})
}

func (s *Store) scan(prefix []byte, f func(rest, value []byte) error) (err error) {
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: after(prefix)})
	if err != nil {
		return fmt.Errorf("offset store: %w", err)
	}
	defer func() { err = errors.Join(err, it.Close()) }()
	for ok := it.First(); ok; ok = it.Next() {
		value, err := it.ValueAndErr()
		if err != nil {
			return fmt.Errorf("offset store: %w", err)
		}
		if err := f(it.Key()[len(prefix):], value); err != nil {
			return err
		}
	}
	return it.Error()
}

// after returns the first key past all that have the prefix.
func after(prefix []byte) []byte {
	end := append([]byte{}, prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// Drop removes everything of a partition, durably: its log was deleted, truncated, or is ours no more.
func (s *Store) Drop(p wire.Partition) error {
	b := s.db.NewBatch()
	for _, kind := range []byte{kindApplied, kindGroup, kindOffset} {
		k := partitionKey(kind, p)
		if err := b.DeleteRange(k, after(k), nil); err != nil {
			return errors.Join(fmt.Errorf("offset store: %w", err), b.Close())
		}
	}
	return b.Commit(pebble.Sync)
}

// Batch gathers effects that are committed together. One goroutine at a time may use it.
type Batch struct{ b *pebble.Batch }

// NewBatch returns an empty batch; it must be committed or closed.
func (s *Store) NewBatch() *Batch { return &Batch{s.db.NewBatch()} }

// SetGroup sets or, with a nil value, deletes a group's metadata.
func (b *Batch) SetGroup(p wire.Partition, group string, value []byte) error {
	return b.set(groupKey(kindGroup, p, group), value)
}

// SetOffset sets or, with a nil value, deletes a committed offset.
func (b *Batch) SetOffset(p wire.Partition, group, topic string, partition wire.Partition, value []byte) error {
	return b.set(offsetKey(p, group, topic, partition), value)
}

func (b *Batch) set(key, value []byte) error {
	if value == nil {
		return b.b.Delete(key, nil)
	}
	return b.b.Set(key, value, nil)
}

// Commit commits the batch together with how far its partition is applied, without a sync.
func (b *Batch) Commit(p wire.Partition, a Applied) error {
	v := binary.BigEndian.AppendUint64(nil, uint64(a.Next))
	v = binary.BigEndian.AppendUint32(v, uint32(a.Epoch))
	if err := b.b.Set(partitionKey(kindApplied, p), v, nil); err != nil {
		return fmt.Errorf("offset store: %w", err)
	}
	if err := b.b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("offset store: %w", err)
	}
	return b.b.Close()
}
