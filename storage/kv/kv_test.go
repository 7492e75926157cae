package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/wire"
)

// After a power cut at any moment the store holds the effects of a prefix of the log, and says which.
func TestACrashLeavesAPrefix(t *testing.T) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 1))
		fs := vfs.NewCrashableMem()
		s, err := OpenFS("offsets", fs)
		if err != nil {
			t.Fatal(err)
		}
		n := 1 + r.IntN(300)
		for i := range n {
			b := s.NewBatch()
			for _, err := range []error{
				b.SetOffset(3, "g", "t", wire.Partition(i%7), fmt.Append(nil, i)),
				b.SetGroup(3, "g", fmt.Append(nil, i)),
				b.Commit(3, Applied{Next: wire.Offset(i + 1), Epoch: 2}),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
		}
		crashed := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: r.IntN(101), RNG: r})
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s, err = OpenFS("offsets", crashed)
		if err != nil {
			t.Fatal(err)
		}
		a, err := s.Applied(3)
		if err != nil || int(a.Next) > n {
			t.Fatalf("seed %d: %+v %v", seed, a, err)
		}
		for p := range wire.Partition(7) {
			want := ""
			for i := range int(a.Next) {
				if i%7 == int(p) {
					want = fmt.Sprint(i)
				}
			}
			got, err := s.Offset(3, "g", "t", p)
			if err != nil || string(got) != want {
				t.Fatalf("seed %d: applied to %d, partition %d is %q, want %q (%v)", seed, a.Next, p, got, want, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Names that are prefixes of one another, and partitions that are neighbours, stay apart.
func TestKeysStayApart(t *testing.T) {
	s, err := OpenFS("offsets", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	b := s.NewBatch()
	for _, group := range []string{"", "g", "gg", "g\x00t"} {
		if err := b.SetOffset(1, group, "t", 0, []byte(group)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.SetOffset(2, "g", "t", 0, []byte("two")); err != nil {
		t.Fatal(err)
	}
	if err := b.Commit(1, Applied{Next: 9}); err != nil {
		t.Fatal(err)
	}
	count := 0
	err = s.Offsets(1, "g", func(topic string, p wire.Partition, value []byte) error {
		count++
		if topic != "t" || p != 0 || string(value) != "g" {
			t.Errorf("%s-%d: %q", topic, p, value)
		}
		return nil
	})
	if err != nil || count != 1 {
		t.Fatalf("%d offsets of g: %v", count, err)
	}
	var groups []string
	if err := s.OffsetGroups(1, func(g string) { groups = append(groups, g) }); err != nil || len(groups) != 4 {
		t.Fatalf("%q %v", groups, err)
	}
	if err := s.Drop(1); err != nil {
		t.Fatal(err)
	}
	a, err := s.Applied(1)
	if err != nil || a != (Applied{}) {
		t.Fatalf("%+v %v", a, err)
	}
	if v, err := s.Offset(2, "g", "t", 0); err != nil || string(v) != "two" {
		t.Fatalf("partition 2: %q %v", v, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
