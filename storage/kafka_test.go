package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// testdata/kafka-4.4 is a log directory as Apache Kafka 4.4.0 left it after a clean stop: one partition of a topic with
// small segments (index.interval.bytes=512), written by an idempotent producer, a compressing one and a transactional
// one, which committed 13 transactions, aborted 7 and left one to be aborted by the broker's stop or not at all.
const (
	kafkaSample = "testdata/kafka-4.4/sample-0"
	kafkaEnd    = wire.Offset(161)
)

// copySample returns a copy of the sample without the files of these suffixes.
func copySample(t *testing.T, without ...string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample-0")
	if err := os.CopyFS(dir, os.DirFS(kafkaSample)); err != nil {
		t.Fatal(err)
	}
	for _, suffix := range without {
		names, err := filepath.Glob(dir + "/*" + suffix)
		if err != nil || len(names) == 0 {
			t.Fatalf("no %s: %v", suffix, err)
		}
		for _, n := range names {
			if err := os.Remove(n); err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// sampleTime is shortly after the sample was written, so that its producers have not expired.
func sampleTime(t *testing.T, l *Log) time.Time {
	t.Helper()
	s, err := l.BatchOfMaxTimestamp()
	if err != nil || s.Len() == 0 {
		t.Fatalf("%d bytes: %v", s.Len(), err)
	}
	defer s.Release()
	newest, _, err := l.newest(l.view()[len(l.view())-1])
	if err != nil {
		t.Fatal(err)
	}
	return time.UnixMilli(int64(newest) + 1)
}

func openSample(t *testing.T, dir string, kept Kept) (*Log, Recovery) {
	t.Helper()
	probe, _, err := Open(Config{Dir: dir, Kept: kept}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	now := sampleTime(t, probe)
	probe.Abandon()
	l, r, err := Open(Config{Dir: dir, Kept: kept, Now: func() time.Time { return now }}, Options{IndexInterval: 512})
	if err != nil {
		t.Fatal(err)
	}
	return l, r
}

func TestKafkasDirectoryOpensClean(t *testing.T) {
	l, r := openSample(t, copySample(t), Kept{RecoveryPoint: kafkaEnd, Clean: true})
	if r.BytesRead != 0 || r.BytesCut != 0 || r.Suspect != "" || l.End() != kafkaEnd || l.Start() != 0 {
		t.Fatalf("%+v, start %d end %d", r, l.Start(), l.End())
	}
	checkSample(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func checkSample(t *testing.T, l *Log) {
	t.Helper()
	var want []byte
	for _, s := range l.view() {
		b, err := os.ReadFile(s.path + logSuffix)
		if err != nil {
			t.Fatal(err)
		}
		want = append(want, b...)
	}
	if got := readAll(t, l, 0, l.End(), 700); !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes of %d", len(got), len(want))
	}
	if p := l.ActiveProducers(); len(p) != 3 {
		t.Errorf("producers %+v", p)
	}
	aborted, err := l.AbortedTransactions(0, l.End())
	if err != nil || len(aborted) != 7 {
		t.Errorf("%d aborted transactions: %v", len(aborted), err)
	}
	if e, o := l.EpochEndOffset(0); e != 0 || o != l.End() {
		t.Errorf("epoch 0 ends as %d at %d", e, o)
	}
}

func TestIndexesMadeAnewAreKafkasByteForByte(t *testing.T) {
	dir := copySample(t, ".index", ".timeindex", ".txnindex", ".snapshot", "leader-epoch-checkpoint")
	l, r := openSample(t, dir, Kept{})
	if r.BytesCut != 0 || r.Suspect != "" || l.End() != kafkaEnd {
		t.Fatalf("%+v, end %d", r, l.End())
	}
	checkSample(t, l)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(kafkaSample)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		want, err := os.ReadFile(filepath.Join(kafkaSample, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(dir, n.Name()))
		if os.IsNotExist(err) && filepath.Ext(n.Name()) == snapshotSuffix && n.Name()[:20] != "00000000000000000161" {
			continue // that of a roll: recovery makes only that of the end
		}
		if err != nil {
			t.Error(err)
			continue
		}
		if filepath.Ext(n.Name()) == snapshotSuffix {
			compareSnapshots(t, got, want)
		} else if !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, Kafka's has %d", n.Name(), len(got), len(want))
		}
	}
}

// compareSnapshots compares content: the order of entries is free.
func compareSnapshots(t *testing.T, got, want []byte) {
	t.Helper()
	var a, b producerTable
	if err := a.loadSnapshot(got, 0, 1<<62); err != nil {
		t.Fatal(err)
	}
	if err := b.loadSnapshot(want, 0, 1<<62); err != nil {
		t.Fatal(err)
	}
	if len(a.states) != len(b.states) {
		t.Fatalf("%d producers, Kafka has %d", len(a.states), len(b.states))
	}
	for id, p := range b.states {
		ours := a.states[id]
		if ours == nil {
			t.Errorf("producer %d is missing", id)
			continue
		}
		// Ours keeps older batches too, which Kafka's form has no place for.
		newest := *ours
		if newest.kept > 1 {
			newest.batches = [keptBatches]keptBatch{ours.batches[ours.kept-1]}
			newest.kept = 1
		}
		if newest != *p {
			t.Errorf("producer %d is %+v, Kafka has %+v", id, newest, *p)
		}
	}
}

func TestAppendsGoOnWhereKafkaStopped(t *testing.T) {
	l, _ := openSample(t, copySample(t), Kept{RecoveryPoint: kafkaEnd, Clean: true})
	r, code, err := l.AppendAsLeader(Append{Batches: testBatch{count: 2}.make(), LeaderEpoch: 1})
	if code != 0 || err != nil || r.First != kafkaEnd || r.Last != kafkaEnd+1 {
		t.Fatalf("%+v %v %v", r, code, err)
	}
	if e, o := l.EpochEndOffset(0); e != 0 || o != kafkaEnd {
		t.Errorf("epoch 0 ends as %d at %d", e, o)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := vfs.OS.Stat(l.Dir() + "/00000000000000000163.snapshot"); err != nil {
		t.Error(err)
	}
}
