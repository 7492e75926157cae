package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

func setting(name string) Record {
	return &ConfigRecord{Resource: Resource{Type: ResourceBroker}, Name: name, Value: new(string)}
}

// names returns what was set.
func names(m *Image) []string {
	var out []string
	for name := range m.Config(Resource{Type: ResourceBroker}) {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Changes in parts that are broken off, by a new controller or by another change of the same one, leave nothing; those that come
// to their end take effect at once, with the last part. It is so across a snapshot at any point, and the hash follows.
func TestPartsAgainstAPlainReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := NewState()
		var want, collected []string // what has taken effect; what the open change has so far
		open, number, term := wire.UUID{}, 0, wire.Term(1)
		change := byte(0)
		for i := 1; i <= rapid.IntRange(1, 40).Draw(t, "commands"); i++ {
			if rapid.IntRange(0, 9).Draw(t, "snapshot") == 0 {
				again, err := ReadSnapshot(bytes.NewReader(snapshotBytes(t, s)))
				if err != nil {
					t.Fatal(err)
				}
				s = again
			}
			if rapid.IntRange(0, 9).Draw(t, "election") == 0 {
				term++
			}
			name := fmt.Sprintf("n%02d", i)
			c := Command{Term: term, Request: wire.UUID{2, byte(i)}, Records: []Record{setting(name)}}
			kind := rapid.SampledFrom([]string{"alone", "first", "next", "next", "last", "skip", "stale"}).Draw(t, "kind")
			continues := kind == "next" || kind == "last"
			if c.Part = (Part{open, number, kind != "last"}); kind == "alone" {
				c.Part = Part{}
			}
			switch kind {
			case "first":
				change++
				c.Part = Part{wire.UUID{change}, 0, true}
			case "skip":
				c.Part.Number++
			case "stale":
				c.Term--
			}
			if c.Part.Change.IsZero() {
				kind, c.Part = "alone", Part{}
			}
			if kind == "stale" {
				continues = false
			}
			same := s.pending.parts > 0 && s.pending.term == term
			applied, err := s.Apply(wire.Index(i), term, roundTrip(t, c))
			switch {
			case c.Term != term:
				if !errors.Is(err, ErrStaleTerm) {
					t.Fatalf("stale: %v", err)
				}
				if !(same && c.Part.Change == open && c.Part.Number == number) {
					open, number, collected = wire.UUID{}, 0, nil
				}
			case kind == "alone":
				open, number, collected = wire.UUID{}, 0, nil
				want = append(want, name)
				if !applied {
					t.Fatal("a change of one command did not take effect")
				}
			case kind == "first":
				open, number, collected = c.Part.Change, 1, []string{name}
			case continues && same && number > 0:
				collected = append(collected, name)
				if number++; kind == "last" {
					want = append(want, collected...)
					if !applied || len(s.Effect()) != len(collected) {
						t.Fatalf("the last part: %v, %d records took effect, of %d", applied, len(s.Effect()), len(collected))
					}
					open, number, collected = wire.UUID{}, 0, nil
				}
			default:
				if !errors.Is(err, ErrIncomplete) || applied {
					t.Fatalf("%s of %+v: %v %v", kind, c.Part, applied, err)
				}
				open, number, collected = wire.UUID{}, 0, nil
			}
			if got := names(s.Image()); !slices.Equal(got, want) {
				t.Fatalf("after %s %+v there is %v, should be %v", kind, c.Part, got, want)
			}
			if got, want := s.Hash(), s.Snapshot().recompute(); got != want {
				t.Fatalf("hash %s, should be %s", got, want)
			}
		}
	})
}

func roundTrip(t *rapid.T, c Command) Command {
	out, err := DecodeCommand(c.AppendTo(nil))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What Split makes is what came, in order, in commands that are small enough even with the longest reply.
func TestSplit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var records []Record
		for i := range rapid.IntRange(1, 300).Draw(t, "records") {
			value := strings.Repeat("x", rapid.SampledFrom([]int{0, 10, 5000, partMax - 100}).Draw(t, "size"))
			records = append(records, &ConfigRecord{Name: fmt.Sprint(i), Value: &value})
		}
		parts, err := Split(records)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(slices.Concat(parts...), records) {
			t.Fatal("the parts are not the whole")
		}
		for i, p := range parts {
			c := Command{Term: 1 << 60, Request: wire.UUID{1}, Reply: make([]byte, ReplyMax), Part: Part{wire.UUID{1}, 1 << 30, true}, Records: p}
			if n := len(c.AppendTo(nil)); n > CommandMax || len(p) == 0 {
				t.Fatalf("part %d of %d has %d records and %d bytes", i, len(parts), len(p), n)
			}
		}
	})
	long := strings.Repeat("x", partMax)
	if _, err := Split([]Record{setting("a"), &ConfigRecord{Name: "b", Value: &long}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record that fits nowhere: %v", err)
	}
}
