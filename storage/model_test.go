package storage

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"pgregory.net/rapid"
)

// model is a log in the simplest form: a list of batches.
type model struct {
	batches []batch.Header
	start   wire.Offset
	end     wire.Offset
}

func (m *model) cut(to wire.Offset) {
	if to >= m.end {
		return
	}
	for n := len(m.batches); n > 0 && m.batches[n-1].LastOffset() >= to; n-- {
		to = min(to, m.batches[n-1].BaseOffset())
		m.batches = m.batches[:n-1]
	}
	m.end = to
}

// bytes returns the batches from the one that holds from on, below upTo.
func (m *model) bytes(from, upTo wire.Offset) []byte {
	var all []byte
	for _, h := range m.batches {
		if h.LastOffset() >= from && h.LastOffset() < upTo {
			all = append(all, h...)
		}
	}
	return all
}

// endOf is the naive form of EpochEndOffset.
func (m *model) endOf(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.Offset) {
	found, latest := wire.NoLeaderEpoch, wire.NoLeaderEpoch
	for _, h := range m.batches {
		if h.LastOffset() < m.start {
			continue
		}
		if latest = h.LeaderEpoch(); latest > epoch {
			if found == wire.NoLeaderEpoch {
				return epoch, max(h.BaseOffset(), m.start)
			}
			return found, h.BaseOffset()
		}
		found = latest
	}
	if latest < epoch {
		return wire.NoLeaderEpoch, noOffset
	}
	return found, m.end
}

// machine is the real log beside the model.
type machine struct {
	fs     *vfs.Mem
	keeper *testKeeper
	log    *Log
	model
	epoch    wire.LeaderEpoch
	sequence [3]wire.Sequence
	open     [3]bool
	options  Options
	now      wire.Timestamp
}

func (m *machine) fatal(t *rapid.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (m *machine) reopen(t *rapid.T) Recovery {
	t.Helper()
	l, r, err := Open(testConfig(m.fs, m.keeper), m.options)
	m.fatal(t, err)
	m.log = l
	return r
}

func (m *machine) check(t *rapid.T) {
	t.Helper()
	l := m.log
	if l.Start() != m.start || l.End() != m.end || l.Durable() < l.Start() || l.Durable() > l.End() {
		t.Fatalf("start %d durable %d end %d; model has %d to %d", l.Start(), l.Durable(), l.End(), m.start, m.end)
	}
	m.compare(t, m.start, m.end, 1<<20)
}

func (m *machine) compare(t *rapid.T, from, upTo wire.Offset, maxBytes int) {
	t.Helper()
	want := m.bytes(from, upTo)
	var got []byte
	for o := from; o < upTo; {
		s, code, err := m.log.Read(o, maxBytes, upTo, true)
		if err != nil || code != 0 {
			t.Fatalf("read %d: %v %v", o, code, err)
		}
		if s.Len() == 0 {
			break
		}
		b := make([]byte, s.Len())
		_, err = s.ReadInto(b)
		s.Release()
		m.fatal(t, err)
		if first := batch.Header(b).Size(); len(b) > maxBytes && len(b) != first {
			t.Fatalf("read of at most %d bytes gave %d", maxBytes, len(b))
		}
		got = append(got, b...)
		for len(b) > 0 {
			h, rest, err := batch.Next(b)
			m.fatal(t, err)
			o, b = h.NextOffset(), rest
		}
	}
	if !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Fatalf("[%d, %d) by %d bytes: %d bytes, model has %d, first other at %d", from, upTo, maxBytes, len(got), len(want), i)
	}
}

func (m *machine) take(b []byte) {
	for len(b) > 0 {
		h, rest, _ := batch.Next(b)
		m.batches = append(m.batches, slices.Clone(h))
		m.end, b = h.NextOffset(), rest
	}
}

// reset forgets which producers the model knows, after the log has lost some of their batches.
func (m *machine) reset() {
	m.epoch++
	for i := range m.sequence {
		m.sequence[i], m.open[i] = 0, false
	}
}

func (m *machine) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"": m.check,
		"append": func(t *rapid.T) {
			m.now++
			var all []byte
			for range rapid.IntRange(1, 3).Draw(t, "batches") {
				all = append(all, testBatch{
					count: rapid.Int32Range(1, 4).Draw(t, "count"), size: rapid.IntRange(0, 300).Draw(t, "size"), timestamp: m.now,
				}.make()...)
			}
			_, code, err := m.log.AppendAsLeader(Append{Batches: all, LeaderEpoch: m.epoch})
			if err != nil || code != 0 {
				t.Fatal(code, err)
			}
			m.take(all)
		},
		"produce": func(t *rapid.T) {
			i := rapid.IntRange(0, 2).Draw(t, "producer")
			m.now++
			b := testBatch{
				id: wire.ProducerID(i + 1), epoch: wire.ProducerEpoch(m.epoch), sequence: m.sequence[i], timestamp: m.now, txn: i > 0,
				count: rapid.Int32Range(1, 3).Draw(t, "count"),
			}
			if m.open[i] && rapid.Bool().Draw(t, "end") {
				b.marker, b.count = rapid.SampledFrom([]string{"commit", "abort"}).Draw(t, "kind"), 1
				m.open[i] = false
			} else {
				m.sequence[i] += wire.Sequence(b.count)
				m.open[i] = i > 0
			}
			raw := b.make()
			_, code, err := m.log.AppendAsLeader(Append{Batches: raw, LeaderEpoch: m.epoch, Origin: originOf(b)})
			if err != nil || code != 0 {
				t.Fatalf("producer %d sequence %d: %v %v", i, b.sequence, code, err)
			}
			m.take(raw)
		},
		"read": func(t *rapid.T) {
			from := wire.Offset(rapid.Int64Range(int64(m.start), int64(m.end)).Draw(t, "from"))
			upTo := wire.Offset(rapid.Int64Range(int64(from), int64(m.end)).Draw(t, "upTo"))
			m.compare(t, from, upTo, rapid.IntRange(1, 3000).Draw(t, "max"))
		},
		"epochs": func(t *rapid.T) {
			if n := len(m.batches); n == 0 || m.batches[n-1].LastOffset() < m.start {
				return // the log may still know the last reign, which tells nobody anything
			}
			e := wire.LeaderEpoch(rapid.Int32Range(0, int32(m.epoch)+1).Draw(t, "epoch"))
			ge, go_ := m.log.EpochEndOffset(e)
			if we, wo := m.endOf(e); ge != we || go_ != wo {
				t.Fatalf("epoch %d ends as %d at %d, model has %d at %d", e, ge, go_, we, wo)
			}
		},
		"time": func(t *rapid.T) {
			at := wire.Timestamp(rapid.Int64Range(0, int64(m.now)+1).Draw(t, "time"))
			s, err := m.log.BatchAtTimestamp(at)
			m.fatal(t, err)
			defer s.Release()
			got := make([]byte, s.Len())
			_, err = s.ReadInto(got)
			m.fatal(t, err)
			i := slices.IndexFunc(m.batches, func(h batch.Header) bool { return h.LastOffset() >= m.start && h.MaxTimestamp() >= at })
			if i < 0 && len(got) > 0 || i >= 0 && !bytes.Equal(got, m.batches[i]) {
				t.Fatalf("time %d: %d bytes, model's batch %d", at, len(got), i)
			}
		},
		"newLeader": func(*rapid.T) { m.reset() },
		"sync": func(t *rapid.T) {
			m.fatal(t, m.log.Sync())
			if m.log.Durable() != m.end {
				t.Fatalf("durable %d of %d after a sync", m.log.Durable(), m.end)
			}
		},
		"checkpoint": func(t *rapid.T) {
			p, err := m.log.Checkpoint()
			m.fatal(t, err)
			m.keeper.kept.RecoveryPoint = p
		},
		"truncate": func(t *rapid.T) {
			to := wire.Offset(rapid.Int64Range(max(0, int64(m.start)-5), int64(m.end)).Draw(t, "to"))
			deleted := to < m.start
			m.cut(to)
			end, err := m.log.Truncate(to)
			m.fatal(t, err)
			if deleted && end == to {
				m.end = to // the batch that straddles it was deleted, and did not come through a loss of power
			}
			if m.end < m.start {
				m.start = m.end // a batch that straddled the start
			}
			if end != m.end {
				t.Fatalf("truncated to %d, model to %d", end, m.end)
			}
			m.reset()
			if m.log.Start() != m.start {
				t.Fatalf("the log starts at %d, the model's at %d", m.log.Start(), m.start)
			}
		},
		"deleteRecords": func(t *rapid.T) {
			to := wire.Offset(rapid.Int64Range(int64(m.start), int64(m.end)).Draw(t, "to"))
			code, err := m.log.SetLogStart(to)
			if err != nil || code != 0 {
				t.Fatal(code, err)
			}
			m.start = to
		},
		"restart": func(t *rapid.T) {
			producers := m.log.ActiveProducers()
			m.fatal(t, m.log.Close())
			m.keeper.kept.RecoveryPoint, m.keeper.kept.Clean = m.end, true
			r := m.reopen(t)
			m.keeper.kept.Clean = false
			if r.BytesRead != 0 || r.Suspect != "" {
				t.Fatalf("after a clean stop: %+v", r)
			}
			m.sameProducers(t, producers)
		},
		"kill": func(t *rapid.T) {
			producers, noted := m.log.ActiveProducers(), m.keeper.kept.Noted
			m.log.Abandon()
			r := m.reopen(t)
			if r.BytesCut != 0 || r.Suspect != "" {
				t.Fatalf("after a kill, noted %d: %+v", noted, r)
			}
			m.sameProducers(t, producers)
		},
		"powerCut": m.powerCut,
	}
}

func (m *machine) sameProducers(t *rapid.T, want []Producer) {
	t.Helper()
	if got := m.log.ActiveProducers(); !reflect.DeepEqual(got, want) {
		t.Fatalf("producers %+v, before %+v", got, want)
	}
}

// powerCut loses what was not synced. What is left must be a prefix that holds all that was durable, and a second
// recovery must find what the first has left.
func (m *machine) powerCut(t *rapid.T) {
	durable := m.log.Durable()
	m.log.Abandon()
	m.fs = m.fs.Crash(rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0)))
	first := m.reopen(t)
	if m.log.End() < durable {
		t.Fatalf("end %d after a power cut, %d was durable: %+v", m.log.End(), durable, first)
	}
	m.cut(m.log.End())
	if m.end < m.start {
		m.end, m.batches = m.start, nil // all that was left was deleted before
	}
	if m.end != m.log.End() {
		t.Fatalf("end %d is within a batch, model ends at %d", m.log.End(), m.end)
	}
	m.reset()
	m.check(t)
	producers := m.log.ActiveProducers()
	m.log.Abandon()
	second := m.reopen(t)
	if second.BytesCut != 0 || second.Suspect != first.Suspect {
		t.Fatalf("first recovery %+v, second %+v", first, second)
	}
	m.sameProducers(t, producers)
	m.check(t)
	m.fatal(t, m.log.ClearSuspect())
}

func TestLogAgainstModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{fs: vfs.NewMem(), keeper: &testKeeper{}, options: Options{
			SegmentBytes: 4500, IndexInterval: rapid.Int32Range(1, 600).Draw(t, "interval"), RetentionAge: Unlimited,
			ProducerIDExpiration: 1 << 60,
		}}
		m.fatal(t, m.fs.Mkdir("/data"))
		m.fatal(t, m.fs.SyncDir("/"))
		m.reopen(t)
		t.Repeat(m.actions())
	})
}
