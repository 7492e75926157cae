package storage

import (
	"bytes"
	"testing"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

func TestAppendedBatchesAreReadBack(t *testing.T) {
	for _, fs := range []vfs.FS{testFS(t), vfs.OS} {
		c := testConfig(fs, &testKeeper{})
		if fs == vfs.OS {
			c.Dir = t.TempDir() + "/t-0"
		}
		l, _, err := Open(c, Options{SegmentBytes: 4096, IndexInterval: 200})
		if err != nil {
			t.Fatal(err)
		}
		var want []byte
		for i := range 200 {
			b := testBatch{count: int32(i%3 + 1), size: i % 50, timestamp: wire.Timestamp(i)}.make()
			if _, code, err := l.AppendAsLeader(Append{Batches: b, LeaderEpoch: 3}); code != 0 || err != nil {
				t.Fatal(code, err)
			}
			want = append(want, b...)
		}
		for _, max := range []int{1, 100, 333, 5000, 1 << 20} {
			if got := readAll(t, l, 0, l.End(), max); !bytes.Equal(got, want) {
				t.Fatalf("max %d: read %d bytes, want %d", max, len(got), len(want))
			}
		}
		if len(l.view()) < 3 {
			t.Fatalf("%d segments", len(l.view()))
		}
		if err := l.Sync(); err != nil || l.Durable() != l.End() {
			t.Fatalf("durable %d of %d: %v", l.Durable(), l.End(), err)
		}
		if got := readAll(t, l, 0, l.End(), 333); !bytes.Equal(got, want) {
			t.Fatal("after sync")
		}
		end := l.End()
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		c.Kept = Kept{RecoveryPoint: end, Clean: true, Started: true}
		l, r, err := Open(c, Options{SegmentBytes: 4096, IndexInterval: 200})
		if err != nil || r.BytesRead != 0 || r.Suspect != "" {
			t.Fatalf("clean open: %+v %v", r, err)
		}
		if got := readAll(t, l, 0, l.End(), 333); !bytes.Equal(got, want) {
			t.Fatal("after reopen")
		}
		c.Kept = Kept{Started: true}
		l, r, err = Open(c, Options{SegmentBytes: 4096, IndexInterval: 200})
		if err != nil || r.BytesRead == 0 || r.BytesCut != 0 || r.Suspect != "" || l.End() != end {
			t.Fatalf("recovery: %+v %v", r, err)
		}
		if got := readAll(t, l, 0, l.End(), 333); !bytes.Equal(got, want) {
			t.Fatal("after recovery")
		}
	}
}

// What a follower lacks is told to within an index interval and a batch, over segments, and nothing is lacking at the end.
func TestBytesFrom(t *testing.T) {
	l, _ := testLog(t, testFS(t), &testKeeper{}, Options{SegmentBytes: 4096, IndexInterval: 200})
	for i := range 200 {
		mustAppend(t, l, testBatch{count: int32(i%3 + 1), size: i % 50, timestamp: wire.Timestamp(i)})
	}
	const batchSize = 300 // the largest is not larger
	for o := range l.End() {
		exact := int64(len(readAll(t, l, o, l.End(), 1<<20)))
		if got := l.BytesFrom(o); got < exact || got > exact+200+2*batchSize {
			t.Fatalf("from %d: %d, and there are %d", o, got, exact)
		}
	}
	if l.BytesFrom(0) != l.Size() || l.BytesFrom(l.End()) != 0 {
		t.Errorf("all %d of %d, at the end %d", l.BytesFrom(0), l.Size(), l.BytesFrom(l.End()))
	}
}

// Only an unclean election can have it: a follower is cut to less than what it was told to delete. Its log then starts where it ends
// (Kafka's UnifiedLog.truncateTo), and takes what the new leader has from there.
func TestTruncationBelowTheStartMovesTheStart(t *testing.T) {
	fs, k := testFS(t), &testKeeper{}
	l, _ := testLog(t, fs, k, Options{})
	for range 10 {
		mustAppend(t, l, testBatch{})
	}
	if code, err := l.SetLogStart(8); code != wire.ErrNone || err != nil {
		t.Fatal(code, err)
	}
	if end, err := l.Truncate(5); end != 5 || err != nil {
		t.Fatal(end, err)
	}
	if l.Start() != 5 || l.End() != 5 || k.kept.LogStart != 5 {
		t.Fatalf("from %d to %d, kept start %d", l.Start(), l.End(), k.kept.LogStart)
	}
	mustAppend(t, l, testBatch{})
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, r := testLog(t, fs, k, Options{})
	if l.Start() != 5 || l.End() != 6 || r.Suspect != "" {
		t.Fatalf("opened again: from %d to %d, %+v", l.Start(), l.End(), r)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// With the page cache nobody asks for a sync. When the topic is switched to the disk, what was appended before has to get there, or
// whoever waits for it waits for the next append.
func TestASwitchToTheDiskSyncsWhatIsThere(t *testing.T) {
	k := &testKeeper{}
	c := testConfig(testFS(t), k)
	asked := 0
	c.Schedule = func(l *Log) { asked++ }
	l, _, err := Open(c, Options{Replicated: true})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, testBatch{})
	if asked != 0 {
		t.Fatal("an append asked for a sync")
	}
	if err := l.SetOptions(Options{}); err != nil {
		t.Fatal(err)
	}
	if asked != 1 || l.RunSync() || l.Durable() != 1 {
		t.Fatalf("asked for %d syncs, durable to %d", asked, l.Durable())
	}
	if err := l.SetOptions(Options{}); err != nil || asked != 1 {
		t.Fatalf("asked for %d syncs without need, %v", asked, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}
