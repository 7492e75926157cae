package storage

import (
	"fmt"
	"testing"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

func benchLog(b *testing.B, o Options) *Log {
	b.Helper()
	c := testConfig(vfs.OS, &testKeeper{})
	c.Dir = b.TempDir() + "/t-0"
	o.RetentionAge = Unlimited
	l, _, err := Open(c, o)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(l.Abandon)
	return l
}

func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{100, 1 << 10, 16 << 10} {
		for _, idempotent := range []bool{false, true} {
			b.Run(fmt.Sprintf("bytes=%d/idempotent=%v", size, idempotent), func(b *testing.B) {
				l := benchLog(b, Options{Replicated: true, SegmentBytes: 64 << 20})
				t := testBatch{size: size, timestamp: 1}
				if idempotent {
					t.id = 1
				}
				raw := t.make()
				b.SetBytes(int64(len(raw)))
				b.ReportAllocs()
				var next wire.Sequence
				for b.Loop() {
					if idempotent {
						raw[53], raw[54], raw[55], raw[56] = byte(next>>24), byte(next>>16), byte(next>>8), byte(next)
						next++
					}
					if _, code, err := l.AppendAsLeader(Append{Batches: raw, LeaderEpoch: 1}); code != 0 || err != nil {
						b.Fatal(code, err)
					}
				}
			})
		}
	}
}

func BenchmarkAppendAndSync(b *testing.B) {
	l := benchLog(b, Options{Replicated: true})
	raw := testBatch{size: 1 << 10}.make()
	b.ReportAllocs()
	for b.Loop() {
		if _, code, err := l.AppendAsLeader(Append{Batches: raw}); code != 0 || err != nil {
			b.Fatal(code, err)
		}
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	l := benchLog(b, Options{Replicated: true, SegmentBytes: 16 << 20})
	raw := testBatch{size: 1 << 10}.make()
	for range 50_000 {
		if _, code, err := l.AppendAsLeader(Append{Batches: raw}); code != 0 || err != nil {
			b.Fatal(code, err)
		}
	}
	if err := l.Sync(); err != nil {
		b.Fatal(err)
	}
	for name, next := range map[string]func(at wire.Offset, i int) wire.Offset{
		"tail":   func(wire.Offset, int) wire.Offset { return l.End() - 5 },
		"random": func(_ wire.Offset, i int) wire.Offset { return wire.Offset(i * 7919 % 50_000) },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				s, code, err := l.Read(next(0, i), 64<<10, l.End(), true)
				if code != 0 || err != nil || s.Len() == 0 {
					b.Fatal(code, err)
				}
				s.Release()
				i++
			}
		})
	}
}
