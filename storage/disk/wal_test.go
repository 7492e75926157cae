package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
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
	hooks    *hooked
	full     atomic.Bool // there is no room for segments and the write-ahead log
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
	batches  [][]byte // one offset each, from first on
	first    wire.Offset
	start    wire.Offset
	retained wire.Offset // the start may come back to here: retention is not synced
	options  storage.Options
}

// anew is the model of a log that begins anew.
func (m *walModel) anew(at wire.Offset) { m.batches, m.first, m.start, m.retained = nil, at, at, at }

func (m *walModel) end() wire.Offset { return m.first + wire.Offset(len(m.batches)) }

func (m *walMachine) open(t *rapid.T) {
	t.Helper()
	m.hooks = hook(m.fs)
	m.hooks.before(m.usual)
	d, report, err := Open(m.options(m.hooks))
	if err != nil {
		t.Fatal(err)
	}
	m.disk = d
	m.restored += report.Restored
}

// usual is what happens to operations if nothing else is asked for.
func (m *walMachine) usual(op vfs.Op, name string) error {
	if !m.full.Load() || !isWAL(name) && !isSegment(name) {
		return nil
	}
	switch {
	case op == vfs.OpCreate && isWAL(name):
		return syscall.ENOSPC
	case op == vfs.OpWrite && isSegment(name):
		return &vfs.Torn{Bytes: 40, Err: syscall.ENOSPC}
	}
	return nil
}

func (m *walMachine) options(fs vfs.FS) Options {
	return Options{
		Dir: "/d", FS: fs, BootID: func() string { return "boot-1" }, WAL: 64 << 10, WALFile: 16 << 10, Checkpoint: time.Hour, Retention: time.Hour,
		Log: func(r Replica) storage.Options {
			if model := m.models[r]; model != nil {
				return model.options
			}
			return storage.Options{}
		},
		OnDurable: func(wire.TopicIDPartition, wire.Offset) { m.mu.Lock(); m.moved.Broadcast(); m.mu.Unlock() },
		OnOffline: func(err error) { m.mu.Lock(); m.offline = err; m.moved.Broadcast(); m.mu.Unlock() },
	}
}

// settle waits until all that was appended is durable.
func (m *walMachine) settle(t *rapid.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for r := range m.models {
		l := m.disk.Log(r.Key())
		for l.Durable() < l.End() && !m.models[r].options.Replicated {
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
	size := rapid.IntRange(0, 700).Draw(t, "size")
	if model.options.SegmentBytes > 50_000 && rapid.IntRange(0, 9).Draw(t, "large") == 0 {
		size = rapid.IntRange(20_000, 50_000).Draw(t, "size")
	}
	b := numbered(m.number, size)
	_, code, err := l.AppendAsLeader(storage.Append{Batches: b})
	if m.refused(err) {
		return
	}
	if code != 0 || err != nil {
		t.Fatal(code, err)
	}
	model.batches = append(model.batches, slices.Clone(b))
}

// refused reports whether something was refused as it must be on a full disk.
func (m *walMachine) refused(err error) bool { return m.full.Load() && errors.Is(err, syscall.ENOSPC) }

// follow appends several batches as a leader has them.
func (m *walMachine) follow(t *rapid.T, model *walModel, l *storage.Log) {
	t.Helper()
	var all []byte
	var each [][]byte
	for i := range rapid.IntRange(1, 12).Draw(t, "batches") {
		m.number++
		b := numbered(m.number, rapid.IntRange(0, 3000).Draw(t, "size"))
		batch.Header(b).SetBaseOffset(l.End() + wire.Offset(i))
		batch.Header(b).SetLeaderEpoch(0)
		all, each = append(all, b...), append(each, b)
	}
	before := l.End()
	_, code, err := l.AppendAsFollower(all)
	if err != nil && !m.refused(err) || code != 0 {
		t.Fatal(code, err)
	}
	model.batches = append(model.batches, each[:l.End()-before]...)
}

// promises is what a crash must leave of each log.
type promises struct{ durable, end map[Replica]wire.Offset }

func (m *walMachine) promised() promises {
	p := promises{map[Replica]wire.Offset{}, map[Replica]wire.Offset{}}
	for r := range m.models {
		p.durable[r] = m.disk.Log(r.Key()).Durable()
	}
	return p
}

// ended adds what there may be at most.
func (m *walMachine) ended(p promises) promises {
	for r := range m.models {
		p.end[r] = m.disk.Log(r.Key()).End()
	}
	return p
}

// cut takes the power.
func (m *walMachine) cut(t *rapid.T) *vfs.Mem {
	return m.fs.Crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
}

// crash loses what was not synced, at whatever moment the write-ahead log is.
func (m *walMachine) crash(t *rapid.T) {
	p := m.promised()
	after := m.cut(t)
	p = m.ended(p)
	m.goOn(t, after)
	m.kept(t, p)
}

// goOn leaves the old file system, which nobody looks at any more.
func (m *walMachine) goOn(t *rapid.T, after *vfs.Mem) {
	m.full.Store(false)
	_ = m.disk.Close()
	m.mu.Lock()
	m.offline = nil
	m.mu.Unlock()
	m.fs = after
	m.open(t)
}

// kept compares with what was promised.
func (m *walMachine) kept(t *rapid.T, p promises) {
	t.Helper()
	for r, model := range m.models {
		l := m.disk.Log(r.Key())
		if l.End() < p.durable[r] {
			t.Fatalf("%v: the end is %d, though it was durable up to %d (suspect: %s)", r, l.End(), p.durable[r], l.Suspect())
		}
		if l.End() > p.end[r] {
			t.Fatalf("%v: the end is %d, and was %d", r, l.End(), p.end[r])
		}
		if l.Suspect() != "" && p.durable[r] == p.end[r] {
			t.Fatalf("%v: suspect though nothing was on its way: %s", r, l.Suspect())
		}
		if l.Start() < model.retained || l.Start() > model.start {
			t.Fatalf("%v: the start is %d, not within %d and %d", r, l.Start(), model.retained, model.start)
		}
		model.start, model.retained = l.Start(), l.Start()
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

// during does something, in the course of which the power goes, before one of its operations. It reports false if it went afterwards.
func (m *walMachine) during(t *rapid.T, act func()) (after *vfs.Mem, inside bool) {
	left := rapid.IntRange(1, 60).Draw(t, "operations")
	seed := rapid.Uint64().Draw(t, "seed")
	var mu sync.Mutex
	h := m.hooks
	h.before(func(op vfs.Op, name string) error {
		mu.Lock()
		defer mu.Unlock()
		if left--; left == 0 {
			after = m.fs.Crash(rand.New(rand.NewPCG(seed, 0)))
		}
		return m.usual(op, name)
	})
	act()
	h.before(m.usual)
	mu.Lock()
	defer mu.Unlock()
	if inside = after != nil; !inside {
		after = m.fs.Crash(rand.New(rand.NewPCG(seed, 0)))
	}
	return after, inside
}

// crashInside takes the power while a log is changed.
func (m *walMachine) crashInside(t *rapid.T) {
	r, model, l := m.draw(t)
	p := m.ended(m.promised())
	what := rapid.SampledFrom([]string{"truncate", "startAnew", "deleteRecords", "checkpoint", "close", "roll"}).Draw(t, "what")
	m.history = append(m.history, what)
	lowest, anew := model.start, wire.Offset(-1)
	after, inside := m.during(t, func() {
		var err error
		switch what {
		case "truncate":
			to := wire.Offset(rapid.Int64Range(int64(model.start), int64(model.end())).Draw(t, "to"))
			if _, err = l.Truncate(to); err == nil {
				p.durable[r] = min(p.durable[r], to)
			}
		case "startAnew":
			anew = model.end() + wire.Offset(rapid.IntRange(0, 3).Draw(t, "gap"))
			err = l.TruncateFullyAndStartAt(anew)
		case "deleteRecords":
			to := wire.Offset(rapid.Int64Range(int64(model.start), int64(model.end())).Draw(t, "to"))
			_, err = l.SetLogStart(to)
			model.start = to
		case "checkpoint":
			_, err = l.Checkpoint()
		case "roll":
			for range 8 {
				m.append(t, model, l)
			}
			p = m.ended(p)
		case "close":
			err = m.disk.Close()
		}
		if err != nil && !m.refused(err) {
			t.Fatal(what, err)
		}
	})
	_ = inside
	m.goOn(t, after)
	l = m.disk.Log(r.Key())
	if anew >= 0 && l.Start() == anew && l.End() == anew {
		model.anew(anew)
		p.durable[r], p.end[r] = anew, anew
		if err := l.ClearSuspect(); err != nil {
			t.Fatal(err)
		}
	}
	if what == "deleteRecords" {
		if l.Start() != model.start && (l.Start() < model.retained || l.Start() > lowest) {
			t.Fatalf("%v: the start is %d, and was %d before %d", r, l.Start(), lowest, model.start)
		}
		model.start = l.Start()
	}
	m.kept(t, p)
}

// crashInOpen takes the power again while the directory is opened.
func (m *walMachine) crashInOpen(t *rapid.T) {
	p := m.promised()
	after := m.cut(t)
	p = m.ended(p)
	_ = m.disk.Close()
	m.full.Store(false)
	for range rapid.IntRange(1, 3).Draw(t, "times") {
		m.fs = after
		m.hooks = hook(m.fs)
		after, _ = m.during(t, func() {
			d, _, err := Open(m.options(m.hooks))
			if err != nil {
				t.Fatal(err)
			}
			m.disk = d
		})
		_ = m.disk.Close()
	}
	m.goOn(t, after)
	m.kept(t, p)
}

// kill ends the process, and not the machine: nothing is lost.
func (m *walMachine) kill(t *rapid.T) {
	p := m.ended(m.promised())
	m.hooks.before(func(vfs.Op, string) error { return errors.New("killed") })
	before := m.restored
	m.goOn(t, m.fs)
	if m.restored != before {
		t.Fatalf("%d bytes were missing after a kill", m.restored-before)
	}
	for r, end := range p.end {
		if l := m.disk.Log(r.Key()); l.End() != end || l.Suspect() != "" {
			t.Fatalf("%v: the end is %d and was %d (suspect: %s)", r, l.End(), end, l.Suspect())
		}
	}
	m.kept(t, p)
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
			if _, err := l.Truncate(to); m.refused(err) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			model.batches = model.batches[:to-model.first]
		},
		"startAnew": func(t *rapid.T) {
			_, model, l := m.draw(t)
			at := model.end() + wire.Offset(rapid.IntRange(0, 3).Draw(t, "gap"))
			if err := l.TruncateFullyAndStartAt(at); m.refused(err) {
				return
			} else if err != nil {
				t.Fatal(err)
			}
			model.anew(at)
		},
		"deleteRecords": func(t *rapid.T) {
			_, model, l := m.draw(t)
			to := wire.Offset(rapid.Int64Range(int64(model.start), int64(l.End())).Draw(t, "to"))
			if code, err := l.SetLogStart(to); code != 0 || err != nil {
				t.Fatal(code, err)
			}
			model.start, model.retained = max(model.start, to), max(model.retained, to)
		},
		"retain": func(t *rapid.T) {
			_, model, l := m.draw(t)
			if _, err := l.Retain(l.End()); err != nil {
				t.Fatal(err)
			}
			if l.Start() < model.start || l.Start() > l.End() {
				t.Fatal(l.Start())
			}
			model.start = l.Start()
		},
		"follow": func(t *rapid.T) {
			_, model, l := m.draw(t)
			m.follow(t, model, l)
		},
		"durability": func(t *rapid.T) {
			_, model, l := m.draw(t)
			model.options.Replicated = !model.options.Replicated
			if err := l.SetOptions(model.options); err != nil {
				t.Fatal(err)
			}
		},
		"full": func(t *rapid.T) { m.full.Store(!m.full.Load()) },
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
			for err := m.disk.Add(r); err != nil; err = m.disk.Add(r) {
				if !m.refused(err) {
					t.Fatal(err)
				}
				m.full.Store(false)
			}
			model.anew(0)
		},
		"restart": func(t *rapid.T) {
			if err := m.disk.Close(); err != nil {
				t.Fatal(err)
			}
			m.full.Store(false)
			m.open(t)
		},
		"crash":       m.crash,
		"crashInside": m.crashInside,
		"crashInOpen": m.crashInOpen,
		"kill":        m.kill,
	}
}

// What the write-ahead log made durable is there after a power cut at any moment, what was cut or deleted is not, and what was appended
// anew at the same offsets is.
func TestWALAgainstModel(t *testing.T) {
	restored := int64(0)
	rapid.Check(t, func(t *rapid.T) {
		m := &walMachine{fs: vfs.NewMem(), models: map[Replica]*walModel{
			first:  {options: storage.Options{SegmentBytes: 6000, RetentionAge: storage.Unlimited}},
			second: {options: storage.Options{SegmentBytes: 60_000, RetentionAge: storage.Unlimited, RetentionBytes: 100_000}},
		}}
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
