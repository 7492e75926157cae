package message

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// allocated returns how many bytes f allocated.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// decodeBounded decodes a hostile body, and fails when that allocates more than four times the body and a constant.
// The allocator's rounding up is not counted against it.
func decodeBounded(t *testing.T, m Message, body []byte, version int16) error {
	t.Helper()
	var err error
	bound := (4*len(body)+256<<10)*5/4 + 64<<10
	if n := allocated(func() { err = m.Decode(body, version) }); n > bound {
		t.Fatalf("%T version %d: decoding %d bytes allocated %d: %v", m, version, len(body), n, err)
	}
	return err
}

// TestTruncated: no strict beginning of a message is a message, nor is a response with a byte more. A request with
// bytes more is what it is without them.
func TestTruncated(t *testing.T) {
	eachMessage(t, func(t *testing.T, _ string, key wire.APIKey, version int16, response bool) {
		rng := rand.New(rand.NewPCG(uint64(key), 1))
		for range 3 {
			m := oursFor(key, response)
			randomFill(rng, reflect.ValueOf(m).Elem(), 0)
			b := m.AppendTo(nil, version)
			for n := range b {
				if err := m.Decode(b[:n:n], version); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("%d of %d bytes: %v", n, len(b), err)
				}
			}
			err := m.Decode(append(b, 0, 0, 0), version)
			if response && !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("a response with bytes more: %v", err)
			}
			if !response && (err != nil || !bytes.Equal(m.AppendTo(nil, version), b)) {
				t.Fatalf("a request with bytes more: %v", err)
			}
		}
	})
}

// TestMutated: whatever a byte is changed to, decoding ends, within its bound, and what it accepts reads back.
func TestMutated(t *testing.T) {
	eachMessage(t, func(t *testing.T, _ string, key wire.APIKey, version int16, response bool) {
		rng := rand.New(rand.NewPCG(uint64(key), 2))
		m := oursFor(key, response)
		randomFill(rng, reflect.ValueOf(m).Elem(), 0)
		b := m.AppendTo(nil, version)
		for i := range min(len(b), 200) {
			old := b[i]
			for _, v := range []byte{0, 1, 0x7f, 0x80, 0xff} {
				b[i] = v
				again := oursFor(key, response)
				if again.Decode(b, version) != nil {
					continue
				}
				if c := again.AppendTo(nil, version); len(c) != again.Size(version) || again.Decode(c, version) != nil {
					t.Fatalf("%x was accepted, and became %x", b, c)
				}
			}
			b[i] = old
		}
	})
}

// TestPatternBodies: bodies of one repeated byte claim huge and many arrays.
func TestPatternBodies(t *testing.T) {
	for _, info := range All() {
		for _, version := range []int16{info.MinVersion, info.MaxVersion} {
			for _, pattern := range []byte{0, 1, 2, 3, 0x10, 0x7f, 0xff} {
				body := bytes.Repeat([]byte{pattern}, 100_000)
				for _, response := range []bool{false, true} {
					decodeBounded(t, oursFor(info.Key, response), body, version)
				}
			}
		}
	}
}

// TestSmallestElements: arrays full of the smallest elements, which grow most in memory, are within the bound; those
// that would be beyond are refused.
func TestSmallestElements(t *testing.T) {
	refused := 0
	for _, info := range All() {
		for _, version := range []int16{info.MinVersion, info.MaxVersion} {
			for _, response := range []bool{false, true} {
				for i := range reflect.TypeOf(oursFor(info.Key, response)).Elem().NumField() {
					m := oursFor(info.Key, response)
					v := reflect.ValueOf(m).Elem().Field(i)
					if v.Kind() != reflect.Slice {
						continue
					}
					v.Set(reflect.MakeSlice(v.Type(), 100_000, 100_000))
					body := m.AppendTo(nil, version)
					if decodeBounded(t, oursFor(info.Key, response), body, version) != nil {
						refused++
					}
				}
			}
		}
	}
	if refused == 0 {
		t.Error("no body came to its bound: the test is too weak")
	}
}

// TestArrayBomb: an array that claims more elements than there are bytes for costs nothing.
func TestArrayBomb(t *testing.T) {
	for version, body := range map[int16][]byte{
		1:  {0x7f, 0xff, 0xff, 0xff},
		4:  append([]byte{0x00, 0x0f, 0xff, 0xff}, make([]byte, 1000)...),
		12: {0xff, 0xff, 0xff, 0xff, 0x0f},
		13: append([]byte{0xff, 0xff, 0x03}, make([]byte, 1000)...),
	} {
		var m MetadataRequest
		var err error
		if n := allocated(func() { err = m.Decode(body, version) }); n > 8192 || !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("version %d allocated %d bytes: %v", version, n, err)
		}
	}
	// A claim that the bytes could hold, but do not: the elements are allocated in steps, and the first is bad.
	body := append([]byte{0xc0, 0x84, 0x3d}, bytes.Repeat([]byte{0xff}, 20_000_000)...)
	var m MetadataRequest
	if n := allocated(func() { _ = m.Decode(body, 12) }); n > 64<<10 {
		t.Errorf("a bad first element cost %d bytes", n)
	}
}

// TestTagBomb: tagged fields by the million neither spin nor allocate.
func TestTagBomb(t *testing.T) {
	// Six bytes that claim four thousand million tagged fields.
	var m ListGroupsRequest
	if err := m.Decode([]byte{1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f}, 5); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("tags without bytes: %v", err)
	}
	body := []byte{1, 1}
	body = wire.AppendUvarint(body, 1_000_000)
	for tag := range uint32(1_000_000) {
		body = wire.AppendTag(body, tag, 0)
	}
	started := time.Now()
	if n := allocated(func() { _ = m.Decode(body, 5) }); n > 8192 {
		t.Errorf("a million unknown tags allocated %d bytes", n)
	}
	if d := time.Since(started); d > 5*time.Second {
		t.Errorf("a million unknown tags took %v", d)
	}
	for _, bad := range [][]byte{{1, 1, 2, 5, 0, 5, 0}, {1, 1, 2, 5, 0, 4, 0}, {1, 1, 1, 5, 9}, {1, 1, 1, 5}} {
		if err := m.Decode(bad, 5); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("tags %x: %v", bad, err)
		}
	}
}

// TestTaggedValues: a known tagged field must fill its length, and its claims count against its own bytes.
func TestTaggedValues(t *testing.T) {
	id := "c"
	good := (&FetchRequest{ClusterID: &id, ReplicaID: -1}).AppendTo(nil, 12)
	var m FetchRequest
	if err := m.Decode(good, 12); err != nil || *m.ClusterID != "c" {
		t.Fatalf("%+v, %v", m, err)
	}
	for tail, want := range map[string]bool{
		"\x01\x00\x02\x02c":  true,  // as it is
		"\x01\x00\x02\x03c":  false, // the string is longer than the field
		"\x01\x00\x03\x02cc": false, // the field is longer than the string
		"\x01\x00\x01\x00":   true,  // null
		"\x01\x00\x00":       false,
	} {
		b := append(good[:len(good)-5:len(good)-5], tail...)
		if err := m.Decode(b, 12); (err == nil) != want {
			t.Errorf("tail %x: %v", tail, err)
		}
	}
}

func TestNullRefused(t *testing.T) {
	for name, decode := range map[string]func() error{
		"array":          func() error { return new(MetadataRequest).Decode([]byte{0xff, 0xff, 0xff, 0xff}, 0) },
		"string":         func() error { return new(HeartbeatRequest).Decode([]byte{0xff, 0xff, 0, 0, 0, 0, 0, 0}, 0) },
		"compact string": func() error { return new(HeartbeatRequest).Decode([]byte{0, 0, 0, 0, 0, 1, 1, 0}, 4) },
		"topic name":     func() error { return new(MetadataRequest).Decode([]byte{2, 0, 0, 0, 0, 0, 0}, 9) },
	} {
		if err := decode(); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestDecodeAllocations: decoding a Produce request of one batch allocates its arrays and strings alone.
func TestDecodeAllocations(t *testing.T) {
	m := ProduceRequest{Topics: []ProduceRequestTopic{{Partitions: []ProduceRequestPartition{{Records: make([]byte, 1000)}}}}}
	b := m.AppendTo(nil, 13)
	if n := testing.AllocsPerRun(100, func() {
		if err := m.Decode(b, 13); err != nil {
			panic(fmt.Sprint(err))
		}
	}); n > 2 {
		t.Errorf("%v allocations", n)
	}
	if r := m.Topics[0].Partitions[0].Records; &r[0] != &b[len(b)-3-1000] {
		t.Error("records are copied")
	}
}
