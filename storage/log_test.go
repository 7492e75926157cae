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
