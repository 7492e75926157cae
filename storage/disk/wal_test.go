package disk

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"pgregory.net/rapid"
)

// numbered is a batch that no other equals.
func numbered(number, size int) []byte {
	b := make([]byte, batch.HeaderSize+size)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batch.Overhead))
	b[16] = batch.Magic
	binary.BigEndian.PutUint64(b[35:], uint64(number))
	binary.BigEndian.PutUint64(b[43:], 1<<64-1)
	for i := range size {
		b[batch.HeaderSize+i] = byte(number + i)
	}
	batch.Header(b).SetCRC()
	return b
}

// walMachine is a directory with a write-ahead log beside the simplest form of what must be in it.
type walMachine struct {
	fs       *vfs.Mem
	disk     *Disk
	models   map[Replica]*walModel
	number   int
	history  []string // for who looks into a failure: what the goroutines do differs from run to run
	restored int64

	mu      sync.Mutex
	moved   *sync.Cond // the durable end of some log moved
	offline error
}

type walModel struct {
	batches [][]byte // one offset each, from first on
	first   wire.Offset
	start   wire.Offset
}

func (m *walModel) end() wire.Offset { return m.first + wire.Offset(len(m.batches)) }

func (m *walMachine) open(t *rapid.T) {
	t.Helper()
	d, report, err := Open(Options{
		Dir: "/d", FS: m.fs, BootID: func() string { return "boot-1" }, WAL: 64 << 10, WALFile: 16 << 10, Checkpoint: time.Hour, Retention: time.Hour,
		Log: func(Replica) storage.Options {
			return storage.Options{SegmentBytes: 6000, RetentionAge: storage.Unlimited}
		},
		OnDurable: func(wire.TopicIDPartition, wire.Offset) { m.mu.Lock(); m.moved.Broadcast(); m.mu.Unlock() },
		OnOffline: func(err error) { m.mu.Lock(); m.offline = err; m.moved.Broadcast(); m.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	m.disk = d
	m.restored += report.Restored
}

// settle waits until all that was appended is durable.
func (m *walMachine) settle(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.models {
		l := m.disk.Log(r.Key())
		for l.Durable() < l.End() {
			if m.offline != nil {
				t.Fatal(m.offline)
			}
			m.moved.Wait()
		}
	}
}

// check compares every log with its model.
func (m *walMachine) check(t *rapid.T) {
	t.Helper()
	for r, model := range m.models {
		l := m.disk.Log(r.Key())
		if l.Start() != model.start || l.End() != model.end() || l.Durable() > l.End() {
			t.Fatalf("%v: start %d, durable %d, end %d; the model has %d to %d", r, l.Start(), l.Durable(), l.End(), model.start, model.end())
		}
		for o := l.Start(); o < l.End(); o++ {
			m.same(t, l, o, model.batches[o-model.first])
		}
	}
}

func (m *walMachine) same(t *rapid.T, l *storage.Log, o wire.Offset, want []byte) {
	t.Helper()
	s, code, err := l.Read(o, 1, l.End(), true)
	if err != nil || code != 0 {
		t.Fatal(o, code, err)
	}
	defer s.Release()
	got := make([]byte, s.Len())
	if _, err := s.ReadInto(got); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("offset %d has number %d, the model %d", o, batch.Header(got).MaxTimestamp(), batch.Header(want).MaxTimestamp())
	}
}

func (m *walMachine) draw(t *rapid.T) (Replica, *walModel, *storage.Log) {
	r := rapid.SampledFrom([]Replica{first, second}).Draw(t, "replica")
	m.history = append(m.history, fmt.Sprint(r.Partition, " ", m.models[r].start, " ", m.models[r].end()))
	return r, m.models[r], m.disk.Log(r.Key())
}

func (m *walMachine) append(t *rapid.T, model *walModel, l *storage.Log) {
	t.Helper()
	m.number++
	b := numbered(m.number, rapid.IntRange(0, 700).Draw(t, "size"))
	if _, code, err := l.AppendAsLeader(storage.Append{Batches: b}); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	model.batches = append(model.batches, slices.Clone(b))
}

// crash loses what was not synced, at whatever moment the write-ahead log is.
func (m *walMachine) crash(t *rapid.T) {
	durable := map[Replica]wire.Offset{}
	for r := range m.models {
		durable[r] = m.disk.Log(r.Key()).Durable()
	}
	after := m.fs.Crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	ends := map[Replica]wire.Offset{}
	for r := range m.models {
		ends[r] = m.disk.Log(r.Key()).End()
	}
	_ = m.disk.Close() // of the old file system, which nobody looks at any more
	m.fs = after
	m.open(t)
	for r, model := range m.models {
		l := m.disk.Log(r.Key())
		if l.End() < durable[r] {
			t.Fatalf("%v: the end is %d, though it was durable up to %d (suspect: %s)", r, l.End(), durable[r], l.Suspect())
		}
		if l.End() > ends[r] {
			t.Fatalf("%v: the end is %d, and was %d", r, l.End(), ends[r])
		}
		if l.Suspect() != "" && durable[r] == ends[r] {
			t.Fatalf("%v: suspect though nothing was on its way: %s", r, l.Suspect())
		}
		if err := l.ClearSuspect(); err != nil {
			t.Fatal(err)
		}
		if l.End() < model.first {
			t.Fatalf("%v: the end is %d, before the start of all", r, l.End())
		}
		model.batches = model.batches[:l.End()-model.first]
	}
	m.check(t)
}

func (m *walMachine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": m.check,
		"append": func(t *rapid.T) {
			_, model, l := m.draw(t)
			for range rapid.IntRange(1, 12).Draw(t, "batches") {
				m.append(t, model, l)
			}
		},
		"trickle": func(t *rapid.T) { // one after the other is durable: all that lies within a segment goes through the write-ahead log
			_, model, l := m.draw(t)
			for range rapid.IntRange(1, 30).Draw(t, "batches") {
				m.append(t, model, l)
				m.settle(t)
			}
		},
		"settle": m.settle,
		"truncate": func(t *rapid.T) {
			_, model, l := m.draw(t)
			to := wire.Offset(rapid.Int64Range(int64(model.start), int64(model.end())).Draw(t, "to"))
			if _, err := l.Truncate(to); err != nil {
				t.Fatal(err)
			}
			model.batches = model.batches[:to-model.first]
		},
		"startAnew": func(t *rapid.T) {
			_, model, l := m.draw(t)
			at := model.end() + wire.Offset(rapid.IntRange(0, 3).Draw(t, "gap"))
			if err := l.TruncateFullyAndStartAt(at); err != nil {
				t.Fatal(err)
			}
			*model = walModel{first: at, start: at}
		},
		"deleteRecords": func(t *rapid.T) {
			_, model, l := m.draw(t)
			to := wire.Offset(rapid.Int64Range(int64(model.start), int64(l.Durable())).Draw(t, "to"))
			if code, err := l.SetLogStart(to); code != 0 || err != nil {
				t.Fatal(code, err)
			}
			model.start = to
		},
		"checkpoint": func(t *rapid.T) {
			_, _, l := m.draw(t)
			if _, err := l.Checkpoint(); err != nil {
				t.Fatal(err)
			}
		},
		"comesBack": func(t *rapid.T) {
			r, model, _ := m.draw(t)
			if err := m.disk.Delete(r.Key()); err != nil {
				t.Fatal(err)
			}
			if err := m.disk.Add(r); err != nil {
				t.Fatal(err)
			}
			*model = walModel{}
		},
		"restart": func(t *rapid.T) {
			if err := m.disk.Close(); err != nil {
				t.Fatal(err)
			}
			m.open(t)
		},
		"crash": m.crash,
	}
}

// What the write-ahead log made durable is there after a power cut at any moment, what was cut or deleted is not, and what was appended
// anew at the same offsets is.
func TestWALAgainstModel(t *testing.T) {
	restored := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		m := &walMachine{fs: vfs.NewMem(), models: map[Replica]*walModel{first: {}, second: {}}}
		m.moved = sync.NewCond(&m.mu)
		if err := m.fs.Mkdir("/d"); err != nil {
			t.Fatal(err)
		}
		if err := m.fs.SyncDir("/"); err != nil {
			t.Fatal(err)
		}
		m.open(t)
		if err := m.disk.Add(first, second); err != nil {
			t.Fatal(err)
		}
		actions := m.actions()
		for name, act := range actions {
			actions[name] = func(t *rapid.T) {
				defer func() {
					if t.Failed() {
						fmt.Println(m.history)
					}
				}()
				if name != "" {
					m.history = append(m.history, name)
				}
				act(t)
			}
		}
		for range 5 { // thirty steps are too few to fill files and to use them again
			t.Repeat(actions)
		}
		if err := m.disk.Close(); err != nil {
			t.Fatal(err)
		}
		restored += m.restored
	})
	if restored == 0 {
		t.Fatal("nothing ever came back from the write-ahead log: the test shows nothing")
	}
}
