package storage

import (
	"encoding/binary"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// testBatch describes a batch to be made.
type testBatch struct {
	count      int32
	size       int // bytes of one record's value
	timestamp  wire.Timestamp
	id         wire.ProducerID // 0: none; make gives id-1
	epoch      wire.ProducerEpoch
	sequence   wire.Sequence
	txn        bool
	marker     string // "commit" or "abort"
	coordEpoch int32
}

func appendRecord(b []byte, delta int32, key, value []byte) []byte {
	var r []byte
	r = wire.AppendInt8(r, 0)
	r = wire.AppendVarlong(r, 0)
	r = wire.AppendVarint(r, delta)
	if key == nil {
		r = wire.AppendVarint(r, -1)
	} else {
		r = append(wire.AppendVarint(r, int32(len(key))), key...)
	}
	r = append(wire.AppendVarint(r, int32(len(value))), value...)
	r = wire.AppendVarint(r, 0)
	return append(wire.AppendVarint(b, int32(len(r))), r...)
}

// make returns the batch with base offset 0.
func (t testBatch) make() []byte {
	b := make([]byte, batch.HeaderSize)
	count := max(t.count, 1)
	attributes := int16(0)
	if t.txn || t.marker != "" {
		attributes |= 0x10
	}
	if t.marker != "" {
		attributes |= 0x20
		kind := int16(0)
		if t.marker == "commit" {
			kind = 1
		}
		b = appendRecord(b, 0, wire.AppendInt16(wire.AppendInt16(nil, 0), kind), wire.AppendInt32(wire.AppendInt16(nil, 0), t.coordEpoch))
	} else {
		value := make([]byte, t.size)
		for i := range value {
			value[i] = byte(i*7 + int(t.timestamp))
		}
		for i := range count {
			b = appendRecord(b, i, nil, value)
		}
	}
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[12:], 0xffffffff)
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], uint16(attributes))
	binary.BigEndian.PutUint32(b[23:], uint32(count-1))
	ts := t.timestamp
	binary.BigEndian.PutUint64(b[27:], uint64(ts))
	binary.BigEndian.PutUint64(b[35:], uint64(ts))
	id, epoch, seq := t.id-1, t.epoch, t.sequence
	if t.id == 0 {
		epoch, seq = -1, -1
	}
	if t.marker != "" {
		seq = -1
	}
	binary.BigEndian.PutUint64(b[43:], uint64(id))
	binary.BigEndian.PutUint16(b[51:], uint16(epoch))
	binary.BigEndian.PutUint32(b[53:], uint32(seq))
	binary.BigEndian.PutUint32(b[57:], uint32(count))
	batch.Header(b).SetCRC()
	return b
}

// testKeeper remembers as a log directory does, in memory.
type testKeeper struct{ kept Kept }

func (k *testKeeper) Note(o wire.Offset) { k.kept.Noted = o }
func (k *testKeeper) LowerTo(o wire.Offset) error {
	k.kept.Noted = min(k.kept.Noted, o)
	k.kept.RecoveryPoint = min(k.kept.RecoveryPoint, o)
	return nil
}
func (k *testKeeper) Start(o wire.Offset) error { k.kept.LogStart = o; return nil }
func (k *testKeeper) Begin() error              { k.kept.Started = true; return nil }

// testLog opens a log whose syncs happen only when asked for.
func testLog(t testing.TB, fs vfs.FS, k *testKeeper, o Options) (*Log, Recovery) {
	t.Helper()
	l, r, err := Open(testConfig(fs, k), o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return l, r
}

func testConfig(fs vfs.FS, k *testKeeper) Config {
	return Config{
		FS: fs, Dir: "/data/t-0", TopicID: wire.TopicID{1}, Kept: k.kept, Keeper: k,
		Schedule: func(*Log) {}, Now: func() time.Time { return time.UnixMilli(1_000_000) },
	}
}

func testFS(t testing.TB) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if err := m.Mkdir("/data"); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return m
}

// mustAppend appends one batch as leader.
func mustAppend(t testing.TB, l *Log, b testBatch) Appended {
	t.Helper()
	r, code, err := l.AppendAsLeader(Append{Batches: b.make(), LeaderEpoch: 1, Origin: originOf(b)})
	if code != 0 || err != nil {
		t.Fatalf("append: %v %v", code, err)
	}
	return r
}

func originOf(b testBatch) Origin {
	if b.marker != "" {
		return FromCoordinator
	}
	return FromClient
}

// readAll returns all bytes in [from, upTo), read in pieces of at most max bytes.
func readAll(t testing.TB, l *Log, from, upTo wire.Offset, max int) []byte {
	t.Helper()
	var all []byte
	for from < upTo {
		s, code, err := l.Read(from, max, upTo, true)
		if code != 0 || err != nil {
			t.Fatalf("read from %d: %v %v", from, code, err)
		}
		if s.Len() == 0 {
			break
		}
		b := make([]byte, s.Len())
		if _, err := s.ReadInto(b); err != nil {
			t.Fatalf("read from %d: %v", from, err)
		}
		s.Release()
		for rest := b; len(rest) > 0; {
			h, r, err := batch.Next(rest)
			if err != nil {
				t.Fatalf("read from %d: %v", from, err)
			}
			if err := h.CheckCRC(); err != nil {
				t.Fatalf("read from %d: %v", from, err)
			}
			from, rest = h.NextOffset(), r
		}
		all = append(all, b...)
	}
	return all
}
