package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

var brokers = metadata.Resource{Type: metadata.ResourceBroker}

// command sets a setting to i, at an index that leaves gaps as raft's own entries do.
func command(i int) Entry {
	v := fmt.Sprint(i)
	c := metadata.Command{Term: 3, Records: []metadata.Record{&metadata.ConfigRecord{Resource: brokers, Name: "log.retention.ms", Value: &v}}}
	return Entry{Index: wire.Index(2 * i), Term: 3, Data: c.AppendTo(nil)}
}

func replica(t testing.TB, o Options) *Replica {
	t.Helper()
	r := NewReplica(o)
	t.Cleanup(r.Close)
	return r
}

func apply(t testing.TB, r *Replica, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if err := r.Apply(command(i)); err != nil {
			t.Fatal(err)
		}
	}
}

func state(t testing.TB, r *Replica) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := r.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Two sources bring the same commands, interleaved, late and again: each takes effect once, and the listener sees every
// index once, in order.
func TestEachIndexTakesEffectOnce(t *testing.T) {
	var seen []wire.Index
	r := replica(t, Options{Listener: func(m *metadata.Image, _ []metadata.Record) { seen = append(seen, m.Index()) }})
	for i := 1; i <= 50; i++ {
		apply(t, r, max(1, i-7), i)
		apply(t, r, max(1, i-3), i)
	}
	older := replica(t, Options{})
	apply(t, older, 1, 20)
	if err := r.Restore(bytes.NewReader(state(t, older))); err != nil {
		t.Fatal(err)
	}
	if err := r.WaitPublished(t.Context(), 100); err != nil {
		t.Fatal(err)
	}
	for i, index := range seen {
		if index != wire.Index(2*(i+1)) {
			t.Fatalf("the listener saw %v", seen)
		}
	}
	want := replica(t, Options{})
	apply(t, want, 1, 50)
	if !bytes.Equal(state(t, r), state(t, want)) {
		t.Fatal("the state is not that of every command once")
	}
}

func TestAnUnknownRecordStopsEverything(t *testing.T) {
	var fatal error
	r := replica(t, Options{Fatal: func(err error) { fatal = err }})
	apply(t, r, 1, 3)
	e := command(4)
	e.Data = []byte{99}
	if err := r.Apply(e); !errors.Is(err, metadata.ErrUnknownRecord) || !errors.Is(fatal, metadata.ErrUnknownRecord) {
		t.Fatalf("%v, fatal %v", err, fatal)
	}
	if err := r.Apply(command(5)); err == nil || r.Image().Index() != 6 || r.Failed() == nil {
		t.Fatalf("went on after it: %v, index %d", err, r.Image().Index())
	}
}

// The ring answers as a plain list would.
func TestRingAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := ring{maxEntries: rapid.IntRange(1, 8).Draw(t, "entries"), maxBytes: rapid.IntRange(1, 60).Draw(t, "bytes")}
		var all []Entry
		index := wire.Index(0)
		forgotten := wire.Index(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.IntRange(0, 15).Draw(t, "reset") == 0 {
				index += 5
				all, forgotten = nil, index
				r.reset(index)
				continue
			}
			index += wire.Index(rapid.IntRange(1, 3).Draw(t, "gap"))
			e := Entry{Index: index, Data: make([]byte, rapid.IntRange(0, 20).Draw(t, "size"))}
			all = append(all, e)
			r.add(e)
			from := wire.Index(rapid.IntRange(0, int(index)).Draw(t, "from"))
			limit := rapid.IntRange(0, 50).Draw(t, "max")
			got, ok := r.from(from, limit)
			if from < forgotten && ok {
				t.Fatalf("answered from %d, below a snapshot of %d", from, forgotten)
			}
			if !ok {
				if from >= r.after {
					t.Fatalf("refused from %d, has all after %d", from, r.after)
				}
				continue
			}
			var want []Entry
			bytes := 0
			for _, e := range all {
				if e.Index > from && (len(want) == 0 || bytes+len(e.Data) <= limit) {
					want = append(want, e)
					bytes += len(e.Data)
				} else if e.Index > from {
					break
				}
			}
			if len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
				t.Fatalf("from %d: %v, want %v", from, got, want)
			}
		}
		if len(r.entries) > r.maxEntries {
			t.Fatalf("%d entries kept of %d", len(r.entries), r.maxEntries)
		}
	})
}

// inProcess is a source in this process, through the codec.
type inProcess struct {
	of    *Replica
	fails atomic.Int64 // so many answers fail
	lies  func(*Answer)
	calls atomic.Int64
}

func (s *inProcess) String() string { return "test source" }

func (s *inProcess) Fetch(ctx context.Context, index wire.Index, maxBytes int, wait time.Duration) (Answer, error) {
	s.calls.Add(1)
	if s.fails.Add(-1) >= 0 {
		return Answer{}, errors.New("cut")
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	a := s.of.Fetch(ctx, index, maxBytes)
	if s.lies != nil {
		s.lies(&a)
	}
	return DecodeAnswer(a.AppendTo(nil))
}

func (s *inProcess) Chunk(_ context.Context, snapshot wire.Index, offset int64, maxBytes int) (Chunk, error) {
	if s.fails.Add(-1) >= 0 {
		return Chunk{}, errors.New("cut")
	}
	c, err := s.of.Chunk(time.Now(), snapshot, offset, min(maxBytes, 100))
	if err != nil {
		return c, err
	}
	return DecodeChunk(c.AppendTo(nil))
}

func follow(t *testing.T, r *Replica, store *Store, sources ...Source) *Puller {
	t.Helper()
	p := StartPuller(PullerOptions{
		Replica: r, Store: store, Needed: func() bool { return true }, Sources: func() []Source { return sources },
		Log: slog.New(slog.DiscardHandler), Retry: time.Millisecond,
	})
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func reaches(t *testing.T, r *Replica, index wire.Index) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := r.WaitPublished(ctx, index); err != nil {
		t.Fatal(err)
	}
}

// A follower catches up by a snapshot and by commands, through failures, and then follows; the states are equal.
func TestPullerCatchesUpAndFollows(t *testing.T) {
	leader := replica(t, Options{KeepEntries: 10})
	apply(t, leader, 1, 100)
	source, dead := &inProcess{of: leader}, &inProcess{of: leader}
	source.fails.Store(3)
	dead.fails.Store(1 << 40)
	r := replica(t, Options{})
	follow(t, r, nil, dead, source)
	reaches(t, r, 200)
	for i := 101; i <= 150; i++ {
		apply(t, leader, i, i)
		reaches(t, r, wire.Index(2*i))
	}
	if !bytes.Equal(state(t, leader), state(t, r)) {
		t.Fatal("the follower's state differs")
	}
}

// Answers that cannot be of our history are not used, and another source is asked.
func TestPullerRefusesAnotherHistory(t *testing.T) {
	leader := replica(t, Options{})
	apply(t, leader, 1, 20)
	for name, lie := range map[string]func(*Answer){
		"an index again":  func(a *Answer) { a.Entries = append([]Entry{{Index: 4, Term: 3}}, a.Entries...) },
		"a lower term":    func(a *Answer) { a.Entries = append([]Entry{{Index: 11, Term: 2}}, a.Entries...) },
		"less than we do": func(a *Answer) { a.Applied, a.Entries = 3, nil },
	} {
		t.Run(name, func(t *testing.T) {
			liar, honest := &inProcess{of: leader, lies: lie}, &inProcess{of: leader}
			r := replica(t, Options{})
			apply(t, r, 1, 5)
			follow(t, r, nil, liar, honest)
			reaches(t, r, 40)
			if liar.calls.Load() == 0 {
				t.Fatal("the liar was not asked")
			}
			if !bytes.Equal(state(t, leader), state(t, r)) {
				t.Fatal("the follower's state differs")
			}
		})
	}
}

// A source with another state than ours is noticed at the first command that both have, told of, and not asked again in that
// round; the hashes of those that agree are equal.
func TestPullerNoticesAnotherState(t *testing.T) {
	honest, other := replica(t, Options{}), replica(t, Options{})
	apply(t, honest, 1, 20)
	v := "differs"
	c := metadata.Command{Term: 3, Records: []metadata.Record{&metadata.ConfigRecord{Resource: brokers, Name: "log.retention.bytes", Value: &v}}}
	if err := other.Apply(Entry{Index: 2, Term: 3, Data: c.AppendTo(nil)}); err != nil {
		t.Fatal(err)
	}
	apply(t, other, 2, 20)
	r := replica(t, Options{})
	apply(t, r, 1, 5)
	bad, good := &inProcess{of: other}, &inProcess{of: honest}
	told := make(chan *Difference, 1)
	p := StartPuller(PullerOptions{
		Replica: r, Needed: func() bool { return true }, Sources: func() []Source { return []Source{bad, good} },
		Differs: func(s Source, d *Difference) {
			if s != Source(bad) {
				t.Errorf("%v differs: %v", s, d)
			}
			told <- d
		},
		Log: slog.New(slog.DiscardHandler), Retry: time.Millisecond,
	})
	d := <-told
	reaches(t, r, 40)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	ours, _ := r.HashAt(d.Index)
	theirs, _ := other.HashAt(d.Index)
	if d.Index != 12 || d.Ours != ours || d.Theirs != theirs {
		t.Errorf("told of %v; ours is %s, theirs %s", d, ours, theirs)
	}
	for i := 6; i <= 20; i++ {
		a, oka := r.HashAt(wire.Index(2 * i))
		b, okb := honest.HashAt(wire.Index(2 * i))
		if a != b || !oka || !okb {
			t.Errorf("at index %d the hashes are %s and %s", 2*i, a, b)
		}
	}
	if _, ok := r.HashAt(13); ok {
		t.Error("a hash at an index without a command")
	}
}

// What was pulled is there after a restart; a log that is cut or flipped anywhere gives a state that the leader had,
// from which pulling goes on to the leader's.
func TestStoreSurvivesCutsAndFlips(t *testing.T) {
	leader := replica(t, Options{KeepEntries: 15})
	apply(t, leader, 1, 30)
	dir := t.TempDir()
	r := replica(t, Options{})
	s, why, err := OpenStore(dir, r)
	if err != nil || why != nil {
		t.Fatal(err, why)
	}
	p := StartPuller(PullerOptions{
		Replica: r, Store: s, Needed: func() bool { return true }, Sources: func() []Source { return []Source{&inProcess{of: leader}} },
		Log: slog.New(slog.DiscardHandler),
	})
	reaches(t, r, 60)
	apply(t, leader, 31, 40)
	reaches(t, r, 80)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(filepath.Join(dir, logFile))
	if err != nil || len(log) < 200 {
		t.Fatal(len(log), err)
	}
	snapshot, err := os.ReadFile(filepath.Join(dir, snapshotFile))
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, snapshot, log []byte, whole bool) {
		t.Helper()
		dir := t.TempDir()
		for name, b := range map[string][]byte{snapshotFile: snapshot, logFile: log} {
			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again := replica(t, Options{})
		s, why, err := OpenStore(dir, again)
		if err != nil {
			t.Fatal(what, err)
		}
		if index := again.Image().Index(); whole && (index != 80 || why != nil) || !whole && index > 0 && (index < 60 || index > 80) {
			t.Fatalf("%s: it came back at %d (%v)", what, index, why)
		}
		follow(t, again, s, &inProcess{of: leader})
		reaches(t, again, 80)
		if !bytes.Equal(state(t, leader), state(t, again)) {
			t.Fatalf("%s: the state differs", what)
		}
	}
	try("whole", snapshot, log, true)
	for n := 0; n < len(log); n += 7 {
		try(fmt.Sprintf("log cut at %d", n), snapshot, log[:n], false)
		flipped := bytes.Clone(log)
		flipped[n] ^= 4
		try(fmt.Sprintf("log flipped at %d", n), snapshot, flipped, false)
	}
	damaged := bytes.Clone(snapshot)
	damaged[len(damaged)/2] ^= 1
	try("snapshot flipped", damaged, log, false)
}

// When raft has brought commands in between, the store begins anew instead of leaving a gap.
func TestStoreLeavesNoGap(t *testing.T) {
	dir := t.TempDir()
	r := replica(t, Options{})
	s, _, err := OpenStore(dir, r)
	if err != nil {
		t.Fatal(err)
	}
	one := func(i int) []Entry { apply(t, r, i, i); return []Entry{command(i)} }
	for i := 1; i <= 3; i++ {
		if err := s.Append(wire.Index(2*i-2), one(i), r); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, r, 4, 9) // not through the store
	if err := s.Append(18, one(10), r); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	written := time.Now().Add(-time.Hour).Truncate(time.Second)
	if err := os.Chtimes(filepath.Join(dir, logFile), written, written); err != nil {
		t.Fatal(err)
	}
	again := replica(t, Options{})
	s, why, err := OpenStore(dir, again)
	if err != nil || why != nil {
		t.Fatal(err, why)
	}
	defer s.Close()
	if !bytes.Equal(state(t, r), state(t, again)) {
		t.Fatal("the state differs after a restart")
	}
	if info, err := os.Stat(filepath.Join(dir, logFile)); err != nil || !info.ModTime().Equal(written) {
		t.Errorf("a log of %d bytes that was written at %s seems to be of %s once it was opened: %v", info.Size(), written, info.ModTime(), err)
	}
}

func FuzzDecodeAnswer(f *testing.F) {
	a := Answer{Entries: []Entry{command(1), command(2)}, Applied: 9}
	f.Add(a.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := DecodeAnswer(b)
		if err != nil {
			return
		}
		again, err := DecodeAnswer(a.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(a, again) {
			t.Fatalf("%+v became %+v, %v", a, again, err)
		}
		_, _ = DecodeChunk(b)
	})
}
