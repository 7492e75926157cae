package storage

import (
	"bytes"
	"errors"
	"strings"
	"syscall"
	"testing"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

const logFile = "/data/t-0/00000000000000000000.log"

// written returns a file system with a log of n synced batches of one record, its keeper, and its bytes. checkpointAt is
// after how many batches the recovery point was taken.
func written(t *testing.T, n, checkpointAt int) (*vfs.Mem, *testKeeper, []byte) {
	t.Helper()
	fs, k := testFS(t), &testKeeper{}
	l, _ := testLog(t, fs, k, Options{IndexInterval: 1})
	var all []byte
	for i := range n {
		b := testBatch{size: 40, timestamp: wire.Timestamp(i + 1)}.make()
		if _, code, err := l.AppendAsLeader(Append{Batches: b, LeaderEpoch: 2}); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		all = append(all, b...)
		if i+1 == checkpointAt {
			p, err := l.Checkpoint()
			if err != nil {
				t.Fatal(err)
			}
			k.kept.RecoveryPoint = p
		}
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	l.Abandon()
	return fs, k, all
}

func overwrite(t *testing.T, fs vfs.FS, name string, at int64, b ...byte) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}

func resize(t *testing.T, fs vfs.FS, name string, size int64) {
	t.Helper()
	f, err := fs.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
}

func TestTornTailIsCutAndDamageIsSuspect(t *testing.T) {
	const n = 10
	size := int64(len(testBatch{size: 40}.make()))
	for name, c := range map[string]struct {
		checkpointAt int
		noted        wire.Offset // what the side file tells; n: all
		harm         func(fs vfs.FS)
		end          wire.Offset
		suspect      string
	}{
		"nothing": {0, n, func(vfs.FS) {}, n, ""},
		"bytes of a batch that was never finished": {0, n, func(fs vfs.FS) {
			overwrite(t, fs, logFile, n*size, testBatch{size: 40}.make()[:50]...)
		}, n, ""},
		"zeros at the end":                   {0, n, func(fs vfs.FS) { resize(t, fs, logFile, (n+3)*size) }, n, ""},
		"the last batch torn, not noted":     {0, n - 1, func(fs vfs.FS) { resize(t, fs, logFile, n*size-1) }, n - 1, ""},
		"the last batch torn, though noted":  {0, n, func(fs vfs.FS) { resize(t, fs, logFile, n*size-1) }, n - 1, "durable up to 10"},
		"the last batch away, though noted":  {0, n, func(fs vfs.FS) { resize(t, fs, logFile, (n-1)*size) }, n - 1, "durable up to 10"},
		"a flipped bit before sound batches": {0, 3, func(fs vfs.FS) { overwrite(t, fs, logFile, 5*size+70, 0xee) }, 5, "follows damage at 5"},
		"damage below the recovery point, seen": {8, n, func(fs vfs.FS) {
			resize(t, fs, logFile, 7*size)
		}, 8, "before the recovery point 8"},
	} {
		t.Run(name, func(t *testing.T) {
			fs, k, all := written(t, n, c.checkpointAt)
			k.kept.Noted = c.noted
			c.harm(fs)
			for range 2 {
				l, r := testLog(t, fs, k, Options{IndexInterval: 1})
				if l.End() != c.end || !strings.Contains(r.Suspect, c.suspect) || (c.suspect == "") != (r.Suspect == "") {
					t.Fatalf("end %d, %+v", l.End(), r)
				}
				if sound := min(c.end, 7); !bytes.Equal(readAll(t, l, 0, sound, 1<<20), all[:int64(sound)*size]) {
					t.Fatal("other bytes")
				}
				l.Abandon()
			}
		})
	}
}

func TestDamagedLogTakesNothingUntilEmptied(t *testing.T) {
	fs, k, _ := written(t, 10, 8)
	resize(t, fs, logFile, 300)
	l, r := testLog(t, fs, k, Options{})
	if r.Suspect == "" {
		t.Fatal("trusted")
	}
	if _, _, err := l.AppendAsLeader(Append{Batches: testBatch{}.make(), LeaderEpoch: 9}); !errors.Is(err, ErrDamaged) {
		t.Fatalf("append: %v", err)
	}
	if err := l.ClearSuspect(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("clear: %v", err)
	}
	if err := l.TruncateFullyAndStartAt(0); err != nil {
		t.Fatal(err)
	}
	if l.Suspect() == "" {
		t.Fatal("emptying alone must not restore trust")
	}
	mustAppend(t, l, testBatch{})
	if err := errors.Join(l.Sync(), l.ClearSuspect()); err != nil {
		t.Fatal(err)
	}
	l.Abandon()
	if l, r = testLog(t, fs, k, Options{}); r.Suspect != "" || l.End() != 1 {
		t.Fatalf("%+v, end %d", r, l.End())
	}
}

// A damaged replica that must lead is cut before its damage, takes records again, and is trusted from then on.
func TestAcceptedDamageIsCutAndForgotten(t *testing.T) {
	size := int64(len(testBatch{size: 40}.make()))
	for name, c := range map[string]struct {
		checkpointAt int
		harm         func(fs vfs.FS)
		end          wire.Offset
	}{
		"below the recovery point": {8, func(fs vfs.FS) { resize(t, fs, logFile, 3*size) }, 3},
		"below it, within a batch": {8, func(fs vfs.FS) { resize(t, fs, logFile, 3*size+20) }, 3},
		"durable records away":     {0, func(fs vfs.FS) { resize(t, fs, logFile, 9*size) }, 9},
	} {
		fs, k, all := written(t, 10, c.checkpointAt)
		k.kept.Noted = 10
		c.harm(fs)
		l, r := testLog(t, fs, k, Options{})
		if r.Suspect == "" || l.Intact() != c.end {
			t.Fatalf("%s: intact to %d, %+v", name, l.Intact(), r)
		}
		if err := l.Accept(); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if l.End() != c.end || l.Intact() != c.end || l.Suspect() != "" {
			t.Fatalf("%s: end %d, intact to %d, suspect %q", name, l.End(), l.Intact(), l.Suspect())
		}
		if _, code, err := l.AppendAsLeader(Append{Batches: testBatch{}.make(), LeaderEpoch: 3}); code != 0 || err != nil {
			t.Fatal(code, err)
		}
		if err := l.Sync(); err != nil {
			t.Fatal(err)
		}
		l.Abandon()
		l, r = testLog(t, fs, k, Options{})
		if r.Suspect != "" || l.End() != c.end+1 || !bytes.Equal(readAll(t, l, 0, c.end, 1<<20), all[:int64(c.end)*size]) {
			t.Fatalf("%s: opened again: end %d, %+v", name, l.End(), r)
		}
	}
}

// TestNoFlippedBitGoesUnseen flips every bit of a batch past the recovery point, one at a time, be others after it or not. The log ends
// before that batch, and the replica is suspect. Base offset and leader epoch are outside Kafka's checksum: order tells, and what was
// noted as durable. When an epoch falls, either of two batches may have the wrong one: then the log may end one batch earlier. The last
// batch's epoch that rises cannot be told from a true one; the records are right there. Below the recovery point offsets alone are read.
func TestNoFlippedBitGoesUnseen(t *testing.T) {
	for _, c := range []struct{ batches, damaged, checkpointAt int }{{3, 1, 0}, {3, 2, 0}, {2, 1, 0}, {4, 1, 3}} {
		fs, k, all := written(t, c.batches, c.checkpointAt)
		k.kept.Noted = wire.Offset(c.batches)
		size := len(all) / c.batches
		for bit := range size * 8 {
			in, at := bit/8, c.damaged*size+bit/8
			if in >= 12 && in < 16 && c.damaged == c.batches-1 && all[at]>>(bit%8)&1 == 0 || in >= 8 && c.damaged < c.checkpointAt {
				continue
			}
			overwrite(t, fs, logFile, int64(at), all[at]^1<<(bit%8))
			if err := removeIfThere(fs, "/data/t-0/00000000000000000000"+indexSuffix); err != nil {
				t.Fatal(err)
			}
			kept := *k
			l, r := testLog(t, fs, &kept, Options{})
			intact, epoch := int(l.Intact()), in >= 12 && in < 16
			if r.Suspect == "" || intact > c.damaged || intact < c.damaged && !epoch || l.End() < wire.Offset(c.checkpointAt) {
				t.Fatalf("%+v: bit %d of byte %d: end %d, intact to %d, %+v", c, bit%8, in, l.End(), intact, r)
			}
			if c.damaged < c.checkpointAt { // the damage is still there, and the reader meets its head
			} else if got := readAll(t, l, 0, l.Intact(), 1<<20); !bytes.Equal(got, all[:intact*size]) {
				t.Fatalf("%+v: bit %d: other bytes", c, bit)
			}
			l.Abandon()
			if err := fs.Remove("/data/t-0/" + suspectFile); err != nil {
				t.Fatal(err)
			}
			resize(t, fs, logFile, 0)
			overwrite(t, fs, logFile, 0, all...)
		}
	}
}

// A head whose first sector was never written is a torn tail, and no reason to mistrust what is before it; the same wrong offset
// elsewhere is one.
func TestATornHeadIsATornTail(t *testing.T) {
	const start = 1<<56 + 1<<24 + 7
	for _, before := range []int{1, 2, 6, 8, 9} { // bytes of the last head in the sector before
		for _, shift := range []int{0, 40} {
			fs, k := testFS(t), &testKeeper{}
			l, _ := testLog(t, fs, k, Options{})
			if err := l.TruncateFullyAndStartAt(start); err != nil {
				t.Fatal(err)
			}
			const about = 400
			mustAppend(t, l, testBatch{size: about + 512 - before - shift - len(testBatch{size: about}.make())})
			at := l.Size()
			if at != int64(512-before-shift) {
				t.Fatalf("%d bytes", at)
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			kept := k.kept
			for range 2 {
				mustAppend(t, l, testBatch{size: 10})
			}
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
			l.Abandon()
			name := SegmentFile("/data/t-0", start)
			if shift == 0 { // what follows is of the same write, and did not come
				resize(t, fs, name, at+int64(len(testBatch{size: 10}.make())))
			}
			overwrite(t, fs, name, at, make([]byte, min(before, 8))...)
			k.kept = kept
			l, r := testLog(t, fs, k, Options{})
			if l.End() != start+1 || (r.Suspect != "") != (shift > 0) {
				t.Errorf("%d bytes before the sector, moved by %d: end %d, %+v", before, shift, l.End()-start, r)
			}
			l.Abandon()
		}
	}
}

func TestBadIndexesAreMadeAnew(t *testing.T) {
	for _, harm := range []func(fs vfs.FS, name string){
		func(fs vfs.FS, name string) { resize(t, fs, name, 0) },
		func(fs vfs.FS, name string) { resize(t, fs, name, 13) },
		func(fs vfs.FS, name string) { resize(t, fs, name, 4800) },
		func(fs vfs.FS, name string) {
			if err := fs.Remove(name); err != nil {
				t.Fatal(err)
			}
		},
	} {
		for _, suffix := range []string{indexSuffix, timeIndexSuffix} {
			fs, k := testFS(t), &testKeeper{}
			l, _ := testLog(t, fs, k, Options{IndexInterval: 100, SegmentBytes: 2048})
			var all []byte
			for i := range 60 {
				b := testBatch{size: 40, timestamp: wire.Timestamp(i + 1)}.make()
				if _, code, err := l.AppendAsLeader(Append{Batches: b}); code != 0 || err != nil {
					t.Fatal(code, err)
				}
				all = append(all, b...)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			harm(fs, "/data/t-0/00000000000000000000"+suffix)
			k.kept.Clean, k.kept.RecoveryPoint = true, l.End()
			l, _ = testLog(t, fs, k, Options{IndexInterval: 100, SegmentBytes: 2048})
			if got := readAll(t, l, 0, l.End(), 150); !bytes.Equal(got, all) {
				t.Fatal("other bytes")
			}
			s, err := l.BatchAtTimestamp(7)
			if err != nil || s.Len() == 0 {
				t.Fatal(s.Len(), err)
			}
			s.Release()
		}
	}
}

func TestFullDiskLeavesNoTrace(t *testing.T) {
	var full error
	mem := testFS(t)
	fs := vfs.Inject(mem, func(op vfs.Op, name string) error {
		if op == vfs.OpWrite && strings.HasSuffix(name, logSuffix) {
			return full
		}
		return nil
	})
	l, _ := testLog(t, fs, &testKeeper{}, Options{})
	mustAppend(t, l, seq(1, 0, 0, 1))
	full = &vfs.Torn{Bytes: 30, Err: syscall.ENOSPC}
	if _, _, err := l.AppendAsLeader(Append{Batches: seq(1, 0, 1, 1).make(), LeaderEpoch: 1}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	if l.End() != 1 || l.Err() != nil {
		t.Fatalf("end %d, %v", l.End(), l.Err())
	}
	full = nil
	// The same batch again is neither a duplicate nor out of order, and takes the offset that the first try did not use.
	if r := mustAppend(t, l, seq(1, 0, 1, 1)); r.First != 1 || r.Duplicate {
		t.Fatalf("%+v", r)
	}
	info, err := mem.Stat(logFile)
	if err != nil || info.Size != l.Size() {
		t.Fatalf("file of %d bytes, log of %d: %v", info.Size, l.Size(), err)
	}
}

func TestFailedSyncClosesForGood(t *testing.T) {
	var broken error
	var told int
	fs := vfs.Inject(testFS(t), func(op vfs.Op, _ string) error {
		if op == vfs.OpSync {
			return broken
		}
		return nil
	})
	c := testConfig(fs, &testKeeper{})
	c.OnFault = func(error) { told++ }
	l, _, err := Open(c, Options{})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, testBatch{})
	broken = syscall.EIO
	if err := l.Sync(); !errors.Is(err, ErrClosed) || !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	broken = nil // the next one would claim success, for pages that the kernel has dropped
	if err := l.Sync(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if _, _, err := l.AppendAsLeader(Append{Batches: testBatch{}.make()}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	if l.Durable() != 0 || told != 1 {
		t.Fatalf("durable %d, told %d times", l.Durable(), told)
	}
}

func TestFollowerKeepsOffsetsAndEpochs(t *testing.T) {
	l, _ := testLog(t, testFS(t), &testKeeper{}, Options{SegmentBytes: 1024})
	var all []byte
	next := wire.Offset(0)
	for i := range 30 {
		b := batch.Header(testBatch{count: 2, size: 50}.make())
		b.SetBaseOffset(next)
		b.SetLeaderEpoch(wire.LeaderEpoch(i / 10))
		if next = b.NextOffset(); i == 20 {
			next += 5 // compaction took some
		}
		all = append(all, b...)
	}
	if r, code, err := l.AppendAsFollower(all); code != 0 || err != nil || r.First != 0 || r.Last != 64 || r.Bytes != len(all) {
		t.Fatalf("%+v %v %v", r, code, err)
	}
	if len(l.view()) < 3 {
		t.Errorf("%d segments", len(l.view()))
	}
	if got := readAll(t, l, 0, l.End(), 400); !bytes.Equal(got, all) {
		t.Fatal("other bytes")
	}
	if e, o := l.EpochEndOffset(1); e != 1 || o != 40 {
		t.Errorf("epoch 1 ends as %d at %d", e, o)
	}
	if _, code, _ := l.AppendAsFollower(all[:100]); code == 0 {
		t.Error("offsets below the end were taken")
	}
	if end, err := l.Truncate(40); err != nil || end != 40 || l.LatestEpoch() != 1 {
		t.Fatalf("end %d, epoch %d: %v", end, l.LatestEpoch(), err)
	}
}
