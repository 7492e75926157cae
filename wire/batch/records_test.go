package batch

import (
	"bytes"
	"fmt"
	"math"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

var everyCodec = []Codec{CodecNone, CodecGzip, CodecSnappy, CodecLZ4, CodecZstd}

const plainLimit = 64 << 20

// client is what most tests validate with: a plain topic, the latest produce version.
func client() Options {
	return Options{
		TopicPartition: wire.TopicPartition{Topic: "orders", Partition: 3}, ProduceVersion: 11,
		Now: 1_700_000_000_000, TimestampBeforeMax: math.MaxInt64, TimestampAfterMax: 3_600_000,
		MaxMessageBytes: 1 << 20, MaxPlainBytes: plainLimit,
	}
}

// plainRecord is a record that owns its bytes, for comparisons.
type plainRecord struct {
	Offset     wire.Offset
	Timestamp  wire.Timestamp
	Key, Value []byte
	Headers    []RecordHeader
}

// build makes a batch of records under t.
func build(t testing.TB, template Template, records []plainRecord) Header {
	t.Helper()
	var b Builder
	b.Reset(template)
	for _, r := range records {
		want := b.SizeWith(r.Timestamp, r.Key, r.Value, r.Headers)
		if err := b.Append(r.Timestamp, r.Key, r.Value, r.Headers); err != nil {
			t.Fatal(err)
		}
		if b.Size() != want {
			t.Fatalf("SizeWith said %d, the batch has %d", want, b.Size())
		}
	}
	h, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	if template.Codec == CodecNone && len(h) != b.Size() {
		t.Fatalf("Size said %d, the batch has %d", b.Size(), len(h))
	}
	return h
}

// unpack returns the records of a batch.
func unpack(t testing.TB, h Header) []plainRecord {
	t.Helper()
	plain, err := h.Plain(nil, plainLimit)
	if err != nil {
		t.Fatal(err)
	}
	var out []plainRecord
	var r Record
	it := h.Iterate(plain)
	for it.Next(&r) {
		out = append(out, plainRecord{r.Offset, r.Timestamp, r.Key, r.Value, r.Headers(nil)})
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// same compares records, null and empty told apart. Offsets count only if withOffsets.
func same(a, b []plainRecord, withOffsets bool) error {
	if len(a) != len(b) {
		return fmt.Errorf("%d records and %d", len(a), len(b))
	}
	for i := range a {
		x, y := a[i], b[i]
		if !withOffsets {
			y.Offset = x.Offset
		}
		if !x.equal(y) {
			return fmt.Errorf("record %d: %+v and %+v", i, x, y)
		}
	}
	return nil
}

func (r plainRecord) equal(o plainRecord) bool {
	equal := r.Offset == o.Offset && r.Timestamp == o.Timestamp && sameBytes(r.Key, o.Key) && sameBytes(r.Value, o.Value) &&
		len(r.Headers) == len(o.Headers)
	for i := 0; equal && i < len(r.Headers); i++ {
		equal = sameBytes(r.Headers[i].Key, o.Headers[i].Key) && sameBytes(r.Headers[i].Value, o.Headers[i].Value)
	}
	return equal
}

func sameBytes(a, b []byte) bool { return (a == nil) == (b == nil) && bytes.Equal(a, b) }

func TestBuildValidateIterate(t *testing.T) {
	records := []plainRecord{
		{0, 1_699_999_999_000, []byte("k"), []byte("v"), nil},
		{1, 1_699_999_998_000, nil, []byte{}, []RecordHeader{{[]byte("h"), nil}, {[]byte{}, []byte("x")}}},
		{2, 1_699_999_999_500, []byte{}, nil, nil},
		{3, -1, bytes.Repeat([]byte("key"), 100), bytes.Repeat([]byte("value"), 20000), nil},
	}
	for _, codec := range everyCodec {
		for _, deep := range []bool{false, true} {
			h := build(t, Template{Codec: codec}, records)
			o := client()
			o.DeepCompressed = deep
			before := bytes.Clone(h)
			got, refusal := Validate(h, &o)
			if refusal != nil {
				t.Fatalf("%s: %+v", codec, refusal)
			}
			if got.Rewritten || !bytes.Equal(before, got.Batch) || &got.Batch[0] != &h[0] {
				t.Errorf("%s: the batch was not left alone", codec)
			}
			if err := same(records, unpack(t, got.Batch), true); err != nil {
				t.Errorf("%s: %v", codec, err)
			}
			if got.Batch.MaxTimestamp() != 1_699_999_999_500 {
				t.Errorf("%s: max timestamp %d", codec, got.Batch.MaxTimestamp())
			}
		}
	}
}

func TestDefaultLevelsAreKnown(t *testing.T) {
	for _, codec := range everyCodec {
		if err := compress.CheckLevel(codec, compress.DefaultLevel); err != nil {
			t.Error(err)
		}
	}
}
