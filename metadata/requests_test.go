package metadata

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// What is remembered is what a plain list says: the last requests, and of these the last replies up to a size; a snapshot at
// any time remembers the same, and forgets the same afterwards.
func TestRequestsAgainstAList(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState()
		var all []request
		size := rapid.SampledFrom([]int{0, 10, ReplyMax / 2, ReplyMax, ReplyMax + 1})
		n := rapid.IntRange(1, 80).Draw(t, "requests")
		for i := 1; i <= n; i++ {
			r := request{wire.UUID{1, byte(i)}, make([]byte, size.Draw(t, "size"))}
			if ok, err := s.Apply(wire.Index(i), 1, Command{Term: 1, Request: r.id, Reply: r.reply}); !ok || err != nil {
				t.Fatal(ok, err)
			}
			if len(r.reply) > ReplyMax {
				r.reply = nil
			}
			all = append(all, r)
			if rapid.IntRange(0, 20).Draw(t, "snapshot") == 0 {
				again, err := ReadSnapshot(bytes.NewReader(snapshotBytes(t, s)))
				if err != nil {
					t.Fatal(err)
				}
				s = again
			}
		}
		kept := 0
		for i := len(all) - 1; i >= 0; i-- {
			kept += len(all[i].reply)
			want := len(all[i].reply)
			if kept > repliesKept {
				want = 0
			}
			if got, known := s.Reply(all[i].id); !known || len(got) != want {
				t.Fatalf("request %d of %d: known %v, %d bytes, want %d", i, n, known, len(got), want)
			}
		}
		if _, known := s.Reply(wire.UUID{9}); known {
			t.Fatal("a request is known that never was")
		}
		if got, want := s.Hash(), s.Snapshot().recompute(); got != want {
			t.Fatalf("hash %s, should be %s", got, want)
		}
	})
}

func TestOldRequestsAreForgotten(t *testing.T) {
	s := NewState()
	id := func(i int) wire.UUID { return wire.UUID{byte(i >> 8), byte(i), 1} }
	for i := 1; i <= requestsKept+10; i++ {
		if _, err := s.Apply(wire.Index(i), 1, Command{Term: 1, Request: id(i), Reply: make([]byte, 500)}); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range map[int]bool{1: false, 10: false, 11: true, requestsKept + 10: true} {
		if _, known := s.Reply(id(i)); known != want {
			t.Errorf("request %d is known: %v", i, known)
		}
	}
	if reply, _ := s.Reply(id(requestsKept + 10)); len(reply) != 500 {
		t.Errorf("the last reply has %d bytes", len(reply))
	}
	if reply, _ := s.Reply(id(20)); reply != nil {
		t.Errorf("a reply is kept beyond the bound")
	}
	if got, want := s.Hash(), s.Snapshot().recompute(); got != want {
		t.Fatalf("hash %s, should be %s", got, want)
	}
}
