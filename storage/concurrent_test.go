package storage

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// TestReadersAppenderAndSyncs has readers follow an appender while syncs, rolls and deletions go on. What they read must
// be gapless and sound at every moment.
func TestReadersAppenderAndSyncs(t *testing.T) {
	const batches, readers = 3000, 3
	c := testConfig(vfs.OS, &testKeeper{})
	c.Dir, c.Schedule, c.Files = t.TempDir()+"/t-0", nil, NewFileCache(vfs.OS, 2)
	var mu sync.Mutex
	durable := wire.Offset(0)
	c.OnDurable = func(o wire.Offset) {
		mu.Lock()
		defer mu.Unlock()
		if o <= durable {
			t.Errorf("durable went from %d to %d", durable, o)
		}
		durable = o
	}
	l, _, err := Open(c, Options{SegmentBytes: 16 << 10, IndexInterval: 256})
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() { follow(t, l, batches) })
	}
	b := testBatch{size: 100, timestamp: 1}.make()
	for i := range batches {
		if _, code, err := l.AppendAsLeader(Append{Batches: b, LeaderEpoch: wire.LeaderEpoch(i / 1000)}); code != 0 || err != nil {
			t.Error(code, err)
			break
		}
	}
	wg.Wait()
	if err := l.Sync(); err != nil || l.Durable() != batches {
		t.Fatalf("durable %d: %v", l.Durable(), err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if n := c.Files.Len(); n != 0 {
		t.Errorf("%d files left open", n)
	}
}

// follow reads up to the end until that is target.
func follow(t *testing.T, l *Log, target wire.Offset) {
	buf := make([]byte, 64<<10)
	for at := wire.Offset(0); at < target; {
		upTo := l.End()
		s, code, err := l.Read(at, 8<<10, upTo, true)
		if code != 0 || err != nil {
			t.Errorf("read %d: %v %v", at, code, err)
			return
		}
		n, err := s.ReadInto(buf)
		s.Release()
		if err != nil {
			t.Errorf("read %d: %v", at, err)
			return
		}
		for rest := buf[:n]; len(rest) > 0; {
			h, r, err := batch.Next(rest)
			if err != nil || h.CheckCRC() != nil || h.BaseOffset() != at {
				t.Errorf("at %d: offset %d, %v", at, h.BaseOffset(), err)
				return
			}
			if h.NextOffset() > upTo {
				t.Errorf("read up to %d, got a batch to %d", upTo, h.NextOffset())
				return
			}
			at, rest = h.NextOffset(), r
		}
	}
}

func TestSliceOutlivesItsSegment(t *testing.T) {
	c := testConfig(vfs.OS, &testKeeper{})
	c.Dir = t.TempDir() + "/t-0"
	now := time.UnixMilli(1_000_000)
	c.Now = func() time.Time { return now }
	l, _, err := Open(c, Options{SegmentBytes: 1024})
	if err != nil {
		t.Fatal(err)
	}
	for range 30 {
		mustAppend(t, l, testBatch{size: 100})
	}
	s, _, err := l.Read(0, 500, l.End(), true)
	if err != nil {
		t.Fatal(err)
	}
	if code, err := l.SetLogStart(25); code != 0 || err != nil {
		t.Fatal(code, err)
	}
	if _, code, _ := l.Read(0, 500, l.End(), true); code != wire.ErrOffsetOutOfRange {
		t.Fatalf("read below the start: %v", code)
	}
	if next, err := l.EmptyTrash(); err != nil || !next.Equal(now.Add(time.Minute)) {
		t.Fatalf("%v %v", next, err)
	}
	now = now.Add(time.Minute)
	if next, err := l.EmptyTrash(); err != nil || !next.IsZero() {
		t.Fatalf("%v %v", next, err)
	}
	if h, err := batch.Parse(read(t, &s)); err != nil || h.CheckCRC() != nil {
		t.Fatal(err)
	}
	s.Release()
}

func read(t *testing.T, s *Slice) []byte {
	t.Helper()
	b := make([]byte, s.Len())
	if _, err := s.ReadInto(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSendToASocket(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"sendfile": vfs.OS, "copy": testFS(t)} {
		t.Run(name, func(t *testing.T) {
			c := testConfig(fs, &testKeeper{})
			if fs == vfs.OS {
				c.Dir = t.TempDir() + "/t-0"
			}
			l, _, err := Open(c, Options{})
			if err != nil {
				t.Fatal(err)
			}
			for range 400 { // more than a socket buffers
				mustAppend(t, l, testBatch{size: 10_000})
			}
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			received := make(chan []byte, 1)
			go func() {
				defer close(received)
				conn, err := ln.Accept()
				if err != nil {
					t.Error(err)
					return
				}
				b, err := io.ReadAll(conn)
				if err != nil {
					t.Error(err)
				}
				received <- b
			}()
			conn, err := net.Dial("tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			raw, err := conn.(*net.TCPConn).SyscallConn()
			if err != nil {
				t.Fatal(err)
			}
			s, _, err := l.Read(3, 1<<30, l.End(), true)
			if err != nil {
				t.Fatal(err)
			}
			want := read(t, &s)
			if n, err := s.SendTo(raw); err != nil || n != int64(len(want)) {
				t.Fatal(n, err)
			}
			s.Release()
			conn.Close()
			if got := <-received; string(got) != string(want) {
				t.Fatalf("%d bytes arrived, %d were sent", len(got), len(want))
			}
		})
	}
}

func TestRetentionByTimeAndSize(t *testing.T) {
	day := int64(24 * 3600 * 1000)
	for name, c := range map[string]struct {
		o    Options
		mark wire.Offset
		left int
	}{
		"time":                         {Options{RetentionAge: 50 * time.Hour}, 40, 2},
		"nothing past the watermark":   {Options{RetentionAge: 36 * time.Hour}, 10, 3},
		"everything":                   {Options{RetentionAge: time.Hour}, 40, 0},
		"size":                         {Options{RetentionAge: Unlimited, RetentionBytes: 1}, 40, 1},
		"unlimited":                    {Options{RetentionAge: Unlimited}, 40, 4},
		"a compacted topic keeps them": {Options{RetentionAge: time.Hour, KeepOld: true}, 40, 4},
	} {
		t.Run(name, func(t *testing.T) {
			k := &testKeeper{}
			cfg := testConfig(testFS(t), k)
			cfg.Now = func() time.Time { return time.UnixMilli(4 * day) }
			o := c.o
			o.SegmentAge = 12 * time.Hour
			l, _, err := Open(cfg, o)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 40 {
				mustAppend(t, l, testBatch{timestamp: wire.Timestamp(int64(i/10) * day)})
			}
			if _, err := l.Retain(c.mark); err != nil {
				t.Fatal(err)
			}
			if n := len(l.view()); n != c.left || l.Start() != wire.Offset(10*(4-c.left)) || l.End() != 40 {
				t.Fatalf("%d segments, %d to %d", n, l.Start(), l.End())
			}
			if r := mustAppend(t, l, testBatch{timestamp: wire.Timestamp(4 * day)}); r.First != 40 {
				t.Fatalf("%+v", r)
			}
		})
	}
}
