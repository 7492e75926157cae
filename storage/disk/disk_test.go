package disk

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// oneBatch is a valid batch without records in it, but with an offset.
func oneBatch() []byte {
	b := make([]byte, batch.HeaderSize+10)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-batch.Overhead))
	b[16] = batch.Magic
	h := batch.Header(b)
	binary.BigEndian.PutUint64(b[43:], uint64(1<<64-1))
	binary.BigEndian.PutUint64(b[35:], 1000)
	h.SetCRC()
	return b
}

func newFS(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	if err := m.Mkdir("/d"); err != nil {
		t.Fatal(err)
	}
	if err := m.SyncDir("/"); err != nil {
		t.Fatal(err)
	}
	return m
}

func options(fs vfs.FS) Options {
	return Options{
		Dir: "/d", FS: fs, BootID: func() string { return "boot-1" },
		Now: func() time.Time { return time.UnixMilli(5000) },
	}
}

func mustOpen(t *testing.T, o Options) (*Disk, Report) {
	t.Helper()
	d, r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return d, r
}

func appendTo(t *testing.T, d *Disk, r Replica, n int) *storage.Log {
	t.Helper()
	l := d.Log(r.Key())
	if l == nil {
		t.Fatalf("no log of %v", r)
	}
	for range n {
		if _, code, err := l.AppendAsLeader(storage.Append{Batches: oneBatch()}); code != 0 || err != nil {
			t.Fatal(code, err)
		}
	}
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	return l
}

var (
	first  = Replica{wire.TopicID{1}, "one", 0}
	second = Replica{wire.TopicID{1}, "one", 1}
)

func TestCleanStopIsKnownAndReadsNothing(t *testing.T) {
	fs := newFS(t)
	d, r := mustOpen(t, options(fs))
	if !r.New || r.Lossy {
		t.Fatalf("%+v", r)
	}
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 10)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, r2 := mustOpen(t, options(fs))
	if !r2.Clean || r2.New || r2.UUID != r.UUID || len(r2.Replicas) != 2 {
		t.Fatalf("%+v", r2)
	}
	if rec := r2.Replicas[first.Key()]; rec.BytesRead != 0 || rec.Suspect != "" {
		t.Fatalf("%+v", rec)
	}
	l := d.Log(first.Key())
	if l.End() != 10 || l.Durable() != 10 {
		t.Fatalf("end %d durable %d", l.End(), l.Durable())
	}
	appendTo(t, d, first, 1)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKilledProcessIsNotCleanAndReadsOnlyPastTheCheckpoint(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 100)
	if err := d.CheckpointNow(); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 3)
	after := fs.Crash(rand.New(rand.NewPCG(1, 1)))
	o := options(after)
	o.BootID = func() string { return "boot-2" }
	d2, r := mustOpen(t, o)
	rec := r.Replicas[first.Key()]
	if r.Clean || !r.Lossy || rec.Suspect != "" {
		t.Fatalf("%+v", r)
	}
	if want := int64(3 * len(oneBatch())); rec.BytesRead != want {
		t.Fatalf("read %d bytes, want %d", rec.BytesRead, want)
	}
	if l := d2.Log(first.Key()); l.End() != 103 {
		t.Fatalf("end %d", l.End())
	}
	if err := errors.Join(d.Close(), d2.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	for name, o := range map[string]Options{"memory": options(newFS(t)), "real": {Dir: t.TempDir()}} {
		t.Run(name, func(t *testing.T) {
			d, _ := mustOpen(t, o)
			if _, _, err := Open(o); !errors.Is(err, vfs.ErrLocked) {
				t.Fatalf("second open: %v", err)
			}
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
			d, _ = mustOpen(t, o)
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestListedReplicaWhoseFilesAreGoneIsSuspect(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 5)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveAll("/d/one-0"); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, options(fs))
	if r.Replicas[first.Key()].Suspect == "" {
		t.Fatal("lost replica is trusted")
	}
	if s := r.Replicas[second.Key()].Suspect; s != "" {
		t.Fatalf("the replica that never had a file is suspect: %s", s)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, r = mustOpen(t, options(fs))
	if r.Replicas[first.Key()].Suspect == "" {
		t.Fatal("the suspicion did not outlive a restart")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDeletedReplicaIsGoneAndItsNameIsFree(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 5)
	other := Replica{wire.TopicID{9}, "one", 0}
	if err := d.Add(other); !errors.Is(err, storage.ErrWrongTopic) {
		t.Fatalf("another topic took the directory: %v", err)
	}
	if err := d.Delete(first.Key()); err != nil {
		t.Fatal(err)
	}
	if err := d.Delete(first.Key()); !errors.Is(err, ErrUnknownReplica) {
		t.Fatalf("%v", err)
	}
	if err := d.Add(other); err != nil {
		t.Fatal(err)
	}
	if l := appendTo(t, d, other, 2); l.End() != 2 {
		t.Fatalf("end %d", l.End())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, options(fs))
	if len(r.Replicas) != 1 || d.Log(other.Key()).End() != 2 {
		t.Fatalf("%+v", r)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	names, err := fs.List("/d")
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if strings.HasSuffix(n, "-delete") {
			t.Errorf("%s is still there", n)
		}
	}
}

func TestFailedDiskGoesOfflineOnce(t *testing.T) {
	var broken atomic.Bool
	fs := vfs.Inject(newFS(t), func(op vfs.Op, name string) error {
		if broken.Load() && op == vfs.OpSync {
			return syscall.EIO
		}
		return nil
	})
	o := options(fs)
	var told atomic.Int32
	o.OnOffline = func(error) { told.Add(1) }
	d, _ := mustOpen(t, o)
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 1)
	broken.Store(true)
	for _, r := range []Replica{first, second} {
		if _, _, err := d.Log(r.Key()).AppendAsLeader(storage.Append{Batches: oneBatch()}); err != nil && !errors.Is(err, storage.ErrClosed) {
			t.Fatal(err)
		}
		if err := d.Log(r.Key()).Sync(); err == nil {
			t.Fatal("sync succeeded")
		}
	}
	if told.Load() != 1 || !errors.Is(d.Err(), ErrOffline) || !errors.Is(d.Err(), syscall.EIO) {
		t.Fatalf("told %d times: %v", told.Load(), d.Err())
	}
	if _, _, err := d.Log(first.Key()).AppendAsLeader(storage.Append{Batches: oneBatch()}); !errors.Is(err, storage.ErrClosed) {
		t.Fatalf("append after the fault: %v", err)
	}
	broken.Store(false)
	if err := d.Close(); !errors.Is(err, ErrOffline) {
		t.Fatalf("close: %v", err)
	}
	d, r := mustOpen(t, options(fs))
	if r.Clean {
		t.Fatal("a stop after a fault counts as clean")
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestTornManifestLineIsIgnoredAndDamageIsNot(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := fs.Open("/d/" + manifestFile)
	if err != nil {
		t.Fatal(err)
	}
	size, err := f.Size()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("add AQAAAAAAAAAAAAAA"), size); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, options(fs))
	if len(r.Replicas) != 2 {
		t.Fatalf("%+v", r)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'x'}, 60); err != nil {
		t.Fatal(err)
	}
	if f, err = fs.Open("/d/" + manifestFile); err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{'x'}, 60); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Open(options(fs)); !errors.Is(err, storage.ErrCorrupt) {
		t.Fatalf("damaged manifest: %v", err)
	}
}

func TestTruncationThenCrashIsNotSuspect(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := appendTo(t, d, first, 20)
	if err := d.CheckpointNow(); err != nil {
		t.Fatal(err)
	}
	if end, err := l.Truncate(5); err != nil || end != 5 {
		t.Fatal(end, err)
	}
	for seed := range uint64(20) {
		d2, r := mustOpen(t, options(fs.Crash(rand.New(rand.NewPCG(seed, 2)))))
		rec := r.Replicas[first.Key()]
		if rec.Suspect != "" || d2.Log(first.Key()).End() != 5 {
			t.Fatalf("%+v, end %d", rec, d2.Log(first.Key()).End())
		}
		if err := d2.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestDeletedRecordsStayDeleted(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := appendTo(t, d, first, 20)
	if code, err := l.SetLogStart(7); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if code, _ := l.SetLogStart(21); code != wire.ErrOffsetOutOfRange {
		t.Fatal(code)
	}
	d2, _ := mustOpen(t, options(fs.Crash(rand.New(rand.NewPCG(3, 3)))))
	if s := d2.Log(first.Key()).Start(); s != 7 {
		t.Fatalf("start %d after a crash", s)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	starts, err := readCheckpoint(fs, "/d/"+logStartFile)
	if err != nil || starts["one-0"] != 7 {
		t.Fatalf("%v %v", starts, err)
	}
	if err := d2.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestKafkasLogDirectoryIsTakenOver(t *testing.T) {
	dir := t.TempDir() + "/data"
	if err := os.CopyFS(dir, os.DirFS("../testdata/kafka-4.4")); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, Options{Dir: dir})
	if !r.New || !r.Clean || r.Lossy {
		t.Fatalf("%+v", r)
	}
	id, err := wire.ParseUUID("4mEQSjgHQDuDYDn0Ncx2Qw")
	if err != nil {
		t.Fatal(err)
	}
	sample := Replica{id, "sample", 0}
	if err := d.Add(sample); err != nil {
		t.Fatal(err)
	}
	l := d.Log(sample.Key())
	if l.End() != 161 || l.Durable() != 161 || l.Suspect() != "" {
		t.Fatalf("end %d durable %d %s", l.End(), l.Durable(), l.Suspect())
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if d, r = mustOpen(t, Options{Dir: dir}); !r.Clean || r.New || d.Log(sample.Key()).End() != 161 {
		t.Fatalf("%+v", r)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestManyEmptyReplicasAreCheap(t *testing.T) {
	const n = 5000
	dir := t.TempDir()
	d, _ := mustOpen(t, Options{Dir: dir})
	replicas := make([]Replica, n)
	for i := range replicas {
		replicas[i] = Replica{wire.TopicID{2}, "many", wire.Partition(i)}
	}
	if err := d.Add(replicas...); err != nil {
		t.Fatal(err)
	}
	if files := d.files.Len(); files != 0 {
		t.Errorf("%d files open", files)
	}
	names, err := os.ReadDir(dir)
	if err != nil || len(names) > 10 {
		t.Errorf("%d names: %v", len(names), err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, Options{Dir: dir})
	if len(r.Replicas) != n || len(d.Replicas()) != n || !r.Clean {
		t.Fatalf("%d replicas", len(r.Replicas))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A replica that is set aside is out of use, now and after a restart, and all its files are there.
func TestSetAsideKeepsTheFiles(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 2)
	if err := d.SetAside(first.Key()); err != nil {
		t.Fatal(err)
	}
	if err := d.SetAside(first.Key()); !errors.Is(err, ErrUnknownReplica) {
		t.Fatal(err)
	}
	for range 2 {
		if d.Log(first.Key()) != nil || d.Log(second.Key()) == nil {
			t.Fatalf("%v", d.Replicas())
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		names, err := fs.List("/d")
		if err != nil {
			t.Fatal(err)
		}
		kept := slices.IndexFunc(names, func(n string) bool {
			return strings.HasPrefix(n, first.DirName()+".") && strings.HasSuffix(n, "-aside")
		})
		if kept < 0 {
			t.Fatalf("%v", names)
		}
		if files, err := fs.List("/d/" + names[kept]); err != nil || !slices.ContainsFunc(files, func(n string) bool { return strings.HasSuffix(n, ".log") }) {
			t.Fatalf("%v, %v", files, err)
		}
		d, _ = mustOpen(t, options(fs))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// Directories that somebody has swapped hold nothing that is ours: their replicas are suspect, until they were emptied and filled again.
func TestSwappedDirectoriesAreSuspect(t *testing.T) {
	for _, clean := range []bool{true, false} {
		fs := newFS(t)
		d, _ := mustOpen(t, options(fs))
		list := []Replica{{wire.TopicID{7}, "t", 0}, {wire.TopicID{7}, "t", 1}, {wire.TopicID{8}, "u", 0}}
		for i, r := range list {
			if err := d.Add(r); err != nil {
				t.Fatal(err)
			}
			l := appendTo(t, d, r, 5+i)
			if err := l.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if clean {
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			fs = fs.Crash(rand.New(rand.NewPCG(4, 4)))
		}
		root := options(fs).Dir + "/"
		for _, names := range [][2]string{{"t-0", "aside"}, {"t-1", "t-0"}, {"u-0", "t-1"}, {"aside", "u-0"}} {
			if err := fs.Rename(root+names[0], root+names[1]); err != nil {
				t.Fatal(err)
			}
		}
		d, report := mustOpen(t, options(fs))
		for _, r := range list {
			if report.Replicas[r.Key()].Suspect == "" && d.Log(r.Key()).Suspect() == "" {
				t.Fatalf("%v is trusted, clean %v", r, clean)
			}
			l := d.Log(r.Key())
			if l.Intact() != 0 {
				t.Errorf("%v: intact up to %d", r, l.Intact())
			}
			if err := l.TruncateFullyAndStartAt(0); err != nil {
				t.Fatal(err)
			}
			appendTo(t, d, r, 3)
			if err := errors.Join(l.Sync(), l.ClearSuspect()); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d, report = mustOpen(t, options(fs))
		for _, r := range list {
			if report.Replicas[r.Key()].Suspect != "" || d.Log(r.Key()).End() != 3 {
				t.Errorf("%v after it was filled again: %+v", r, report.Replicas[r.Key()])
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A start after a power cut that came to nothing does not hide the loss from the next one: the cluster does not know of it yet.
// (Simulation, seed 1088.)
func TestLossIsToldUntilItIsKnown(t *testing.T) {
	fs := newFS(t)
	o := options(fs)
	d, _ := mustOpen(t, o)
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	o.BootID = func() string { return "boot-2" }
	for range 2 { // each is killed before anybody hears of it
		o.FS = fs.Crash(rand.New(rand.NewPCG(1, 1)))
		fs = o.FS.(*vfs.Mem)
		var r Report
		if d, r = mustOpen(t, o); !r.Lossy {
			t.Fatal("the loss is hidden")
		}
	}
	if err := d.Close(); err != nil { // nor does a clean stop hide it
		t.Fatal(err)
	}
	d, r := mustOpen(t, o)
	if !r.Lossy {
		t.Fatal("the loss is hidden by a clean stop")
	}
	for range 2 {
		if err := d.LossKnown(); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if _, r = mustOpen(t, o); r.Lossy {
		t.Fatal("the loss is told again")
	}
}

// The checkpoint files go by the names of topics: what they say of one that was deleted does not hold for another of its name.
// (Simulation, seed 18: the new replica was suspect, since it lacked what the old one had.)
func TestAnotherTopicOfANameBeginsAnew(t *testing.T) {
	fs := newFS(t)
	o := options(fs)
	d, _ := mustOpen(t, o)
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	appendTo(t, d, first, 100)
	if code, err := d.Log(first.Key()).SetLogStart(40); code != wire.ErrNone || err != nil {
		t.Fatal(code, err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, _ = mustOpen(t, o)
	if err := d.Delete(first.Key()); err != nil {
		t.Fatal(err)
	}
	again := first
	again.TopicID = wire.UUID{99}
	if err := d.Add(again); err != nil {
		t.Fatal(err)
	}
	sound := func(d *Disk, when string) {
		t.Helper()
		if l := d.Log(again.Key()); l.Suspect() != "" || l.Start() != 0 || l.End() != 0 {
			t.Fatalf("%s: suspect %q, start %d, end %d", when, l.Suspect(), l.Start(), l.End())
		}
	}
	sound(d, "at first")
	o.FS = fs.Crash(rand.New(rand.NewPCG(1, 1)))
	after, _ := mustOpen(t, o)
	sound(after, "after a power cut")
	if err := errors.Join(d.Close(), after.Close()); err != nil {
		t.Fatal(err)
	}
	after, _ = mustOpen(t, o)
	sound(after, "after a clean stop")
	appendTo(t, after, again, 3)
	if err := after.Close(); err != nil {
		t.Fatal(err)
	}
	after, _ = mustOpen(t, o)
	if l := after.Log(again.Key()); l.Suspect() != "" || l.End() != 3 {
		t.Fatalf("with records: suspect %q, end %d", l.Suspect(), l.End())
	}
	if err := after.Close(); err != nil {
		t.Fatal(err)
	}
}

// A replica that must have had records, and of which the directory knows nothing, was lost: it is suspect, also after a restart.
// (Simulation, seed 4949: it was elected, empty, while another had everything.)
func TestAReplicaThatIsNotKnownWasLost(t *testing.T) {
	fs := newFS(t)
	o := options(fs)
	d, _ := mustOpen(t, o)
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	other := first
	other.Partition++
	if err := d.AddLost(first, other); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if s := d.Log(first.Key()).Suspect(); s != "" {
			t.Errorf("one that is known is suspect: %s", s)
		}
		if d.Log(other.Key()).Suspect() == "" {
			t.Error("one that was lost is trusted")
		}
		o.FS = o.FS.(*vfs.Mem).Crash(rand.New(rand.NewPCG(1, 1)))
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		d, _ = mustOpen(t, o)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A replica that was moved away and comes back is a new one: what was noted of the old one says nothing of it.
func TestAReplicaThatComesBackBeginsAnew(t *testing.T) {
	fs := newFS(t)
	d, _ := mustOpen(t, options(fs))
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	l := appendTo(t, d, first, 5)
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
	if code, err := l.SetLogStart(3); code != wire.ErrNone || err != nil {
		t.Fatal(code, err)
	}
	if err := d.Delete(first.Key()); err != nil {
		t.Fatal(err)
	}
	if err := d.Add(first); err != nil {
		t.Fatal(err)
	}
	if l := d.Log(first.Key()); l.Suspect() != "" || l.Start() != 0 || l.End() != 0 || d.Watermark(first.Key()) != 0 {
		t.Errorf("suspect %q, from %d to %d, watermark %d", l.Suspect(), l.Start(), l.End(), d.Watermark(first.Key()))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// What is deleted can be taken back by hand for as long as deleted segments can, and goes then; a restart in between does not hasten it.
func TestDeletedReplicasAreKeptForAWhile(t *testing.T) {
	fs, now := newFS(t), time.Unix(1000, 0)
	o := options(fs)
	o.Now = func() time.Time { return now }
	o.Schedule = func(*storage.Log) {}
	o.Log = func(Replica) storage.Options { return storage.Options{FileDeleteDelay: time.Minute} }
	there := func(d *Disk) (n int) {
		t.Helper()
		d.KeepHouse()
		names, err := fs.List("/d")
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, "-delete") {
				n++
			}
		}
		return n
	}
	d, _ := mustOpen(t, o)
	if err := d.Add(first, second); err != nil {
		t.Fatal(err)
	}
	for _, r := range []Replica{first, second} {
		appendTo(t, d, r, 5)
	}
	if err := d.Delete(first.Key()); err != nil || there(d) != 1 {
		t.Fatal("gone at once", err)
	}
	now = now.Add(50 * time.Second)
	if err := d.Delete(second.Key()); err != nil || there(d) != 2 {
		t.Fatal("gone before its time", err)
	}
	now = now.Add(20 * time.Second)
	if n := there(d); n != 1 {
		t.Fatalf("%d are there after the time of the first", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, _ = mustOpen(t, o)
	now = now.Add(50 * time.Second)
	if n := there(d); n != 1 {
		t.Fatalf("%d are there after a restart", n)
	}
	now = now.Add(20 * time.Second)
	if n := there(d); n != 0 {
		t.Fatalf("%d are still there", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// A topic may have thousands of partitions, and whoever deletes it does nothing else meanwhile: they go with the syncs of one.
func TestManyReplicasAreDeletedTogether(t *testing.T) {
	var syncs atomic.Int32
	fs := vfs.Inject(newFS(t), func(op vfs.Op, name string) error {
		if op == vfs.OpSync || op == vfs.OpSyncDir {
			syncs.Add(1)
		}
		return nil
	})
	o := options(fs)
	o.Schedule = func(*storage.Log) {}
	d, _ := mustOpen(t, o)
	var keys []wire.TopicIDPartition
	for i := range 100 {
		r := Replica{wire.TopicID{7}, "many", wire.Partition(i)}
		if err := d.Add(r); err != nil {
			t.Fatal(err)
		}
		appendTo(t, d, r, 1)
		keys = append(keys, r.Key())
	}
	before := syncs.Load()
	if err := d.Delete(append(keys, first.Key())...); !errors.Is(err, ErrUnknownReplica) {
		t.Fatalf("one that is not known: %v", err)
	}
	if n := syncs.Load() - before; n > 2 {
		t.Errorf("%d syncs", n)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, r := mustOpen(t, o)
	if len(r.Replicas) != 0 {
		t.Errorf("left are %d", len(r.Replicas))
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
