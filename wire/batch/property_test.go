package batch

import (
	"bytes"
	"math"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// drawBytes draws bytes, among them none and null.
func drawBytes(t *rapid.T, what string) []byte {
	if rapid.Bool().Draw(t, what+" null") {
		return nil
	}
	b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, what)
	if b == nil {
		b = []byte{}
	}
	return b
}

func drawRecords(t *rapid.T) []plainRecord {
	var out []plainRecord
	for i := range rapid.IntRange(1, 200).Draw(t, "records") {
		r := plainRecord{
			Offset:    wire.Offset(i),
			Timestamp: wire.Timestamp(rapid.Int64Range(-1, 1_700_000_000_000).Draw(t, "timestamp")),
			Key:       drawBytes(t, "key"), Value: drawBytes(t, "value"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			key := append([]byte{}, drawBytes(t, "header key")...)
			r.Headers = append(r.Headers, RecordHeader{key, drawBytes(t, "header value")})
		}
		out = append(out, r)
	}
	return out
}

// What is built passes, and holds what was put in, whatever is done to its compression.
func TestAnyBatchSurvives(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawRecords(rt)
		codec := rapid.SampledFrom(everyCodec).Draw(rt, "codec")
		h := build(t, Template{Codec: codec}, want)
		o := client()
		o.DeepCompressed = rapid.Bool().Draw(rt, "deep")
		o.Recompress = rapid.Bool().Draw(rt, "recompress")
		o.Codec = rapid.SampledFrom(everyCodec).Draw(rt, "target")
		got, refusal := Validate(h, &o)
		if refusal != nil {
			rt.Fatalf("%+v", refusal)
		}
		if err := same(want, unpack(t, got.Batch), true); err != nil {
			rt.Fatal(err)
		}
		if codec == CodecNone {
			compareKmsg(rt, h, want)
		}
	})
}

// compareKmsg reads h by an independent decoder.
func compareKmsg(t *rapid.T, h Header, want []plainRecord) {
	var theirs kmsg.RecordBatch
	if err := theirs.ReadFrom(h); err != nil {
		t.Fatal(err)
	}
	if theirs.NumRecords != h.Count() || theirs.MaxTimestamp != int64(h.MaxTimestamp()) || theirs.CRC != int32(h.CRC()) {
		t.Fatalf("kmsg has the header %+v", theirs)
	}
	rest := theirs.Records
	for i, w := range want {
		var r kmsg.Record
		size, n := kmsgVarint(rest)
		if err := r.ReadFrom(rest[:n+int(size)]); err != nil {
			t.Fatal(i, err)
		}
		rest = rest[n+int(size):]
		if !sameBytes(r.Key, w.Key) || !sameBytes(r.Value, w.Value) || len(r.Headers) != len(w.Headers) ||
			r.OffsetDelta != int32(i) || theirs.FirstTimestamp+r.TimestampDelta64 != int64(w.Timestamp) {
			t.Fatalf("kmsg read record %d as %+v", i, r)
		}
	}
	if len(rest) > 0 {
		t.Fatalf("kmsg leaves %d bytes", len(rest))
	}
}

func kmsgVarint(b []byte) (int32, int) {
	v, end := varintAt(b, 0)
	return v, end
}

// What the old formats can hold survives the way there and back.
func TestThereAndBack(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		want := drawRecords(rt)
		codec := rapid.SampledFrom(everyCodec[:4]).Draw(rt, "codec")
		magic := int8(rapid.IntRange(0, 1).Draw(rt, "format"))
		base := wire.Offset(rapid.Int64Range(0, math.MaxInt64/2).Draw(rt, "base"))
		h := build(t, Template{Codec: codec, BaseOffset: base}, want)
		set, err := ToLegacy(nil, h, magic, 0, plainLimit)
		if err != nil {
			rt.Fatal(err)
		}
		var b Builder
		back, err := FromLegacy(&b, set, plainLimit)
		if err != nil {
			rt.Fatal(err)
		}
		for i := range want {
			want[i].Headers = nil
			if magic == 0 {
				want[i].Timestamp = wire.NoTimestamp
			}
		}
		if err := same(want, unpack(t, back), true); err != nil {
			rt.Fatal(err)
		}
		for i, r := range legacyRecords(t, set) {
			if r.Offset != base+wire.Offset(i) {
				rt.Fatalf("record %d has offset %d", i, r.Offset)
			}
		}
	})
}

// walk and Iterator are two readings of one format: they must agree on every input.
func FuzzRecords(f *testing.F) {
	f.Add(int32(4), []byte(build(f, Template{}, kafkaRecords(2, CodecNone, 0)).Records()))
	f.Add(int32(0), []byte{})
	f.Add(int32(1), []byte{14, 0, 0, 0, 1, 1, 2, 0})
	f.Fuzz(func(t *testing.T, count int32, plain []byte) {
		h := Header(make([]byte, HeaderSize))
		h[countAt], h[countAt+1], h[countAt+2], h[countAt+3] = byte(count>>24), byte(count>>16), byte(count>>8), byte(count)
		if count < 0 {
			return // checkHeader refuses it before walk
		}
		var r Record
		var headers []RecordHeader
		it := h.Iterate(plain)
		inOrder, nullKey, latest := true, false, wire.Timestamp(math.MinInt64)
		for i := wire.Offset(0); it.Next(&r); i++ {
			inOrder, nullKey = inOrder && r.Offset == i, nullKey || r.Key == nil
			if r.Timestamp != wire.NoTimestamp {
				latest = max(latest, r.Timestamp)
			}
			if headers = r.Headers(headers[:0]); len(headers) != r.HeaderCount() {
				t.Fatal("headers")
			}
		}
		s, err := walk(plain, count, 0)
		if (err == nil) != (it.Err() == nil) {
			t.Fatalf("walk: %v, iterator: %v", err, it.Err())
		}
		if err == nil && (s.inOrder != inOrder || s.nullKey != nullKey || s.latest != latest) {
			t.Fatalf("%+v; the iterator saw %v %v %d", s, inOrder, nullKey, latest)
		}
	})
}

func FuzzValidate(f *testing.F) {
	for _, codec := range everyCodec {
		f.Add([]byte(build(f, Template{Codec: codec}, kafkaRecords(2, CodecNone, 0))), byte(codec))
	}
	f.Add(golden(f, "v0-lz4.bin"), byte(0xff))
	f.Add(golden(f, "v1-none.bin"), byte(0xf8))
	f.Fuzz(func(t *testing.T, b []byte, flags byte) {
		o := client()
		o.MaxPlainBytes = 1 << 20
		o.Codec, o.Recompress, o.Compacted = Codec(flags%5), flags&8 != 0, flags&16 != 0
		o.DeepCompressed, o.TimestampType = flags&32 != 0, TimestampType(flags>>6&1)
		if flags&128 != 0 {
			o.ProduceVersion = 2
		}
		if len(b) >= HeaderSize && b[magicAt] == Magic && Header(b).Size() == len(b) {
			Header(b).SetCRC() // or nothing would get past it
		}
		got, refusal := Validate(b, &o)
		if refusal != nil {
			if refusal.Code == wire.ErrNone || refusal.Message == "" {
				t.Fatalf("%+v", refusal)
			}
			return
		}
		h := got.Batch
		if h.CheckCRC() != nil || h.Size() != len(h) || h.BaseOffset() != 0 || h.LastOffsetDelta() != h.Count()-1 || h.Count() < 1 {
			t.Fatalf("appended: % x", []byte(h))
		}
		if o.DeepCompressed || h.Codec() == CodecNone {
			plain, err := h.Plain(nil, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			it := h.Iterate(plain)
			if err := it.Check(); err != nil {
				t.Fatal(err)
			}
		}
		again := bytes.Clone(h)
		o.ProduceVersion, o.TimestampType = 11, CreateTime
		if h.TimestampType() == LogAppendTime {
			o.Internal = true
		}
		if r, refusal := Validate(again, &o); refusal != nil || r.Rewritten {
			t.Fatalf("what was accepted is not, the second time: %+v", refusal)
		}
	})
}

func FuzzLegacy(f *testing.F) {
	for _, name := range []string{"v0-none", "v1-none", "v1-gzip", "v1-stamped"} {
		f.Add(golden(f, name+".bin"))
	}
	f.Fuzz(func(t *testing.T, set []byte) {
		if entry, _, err := splitEntry(set); err == nil && len(entry) > messageTimestampAt {
			finishMessage(entry) // or nothing would get past the checksum
		}
		var b Builder
		h, err := FromLegacy(&b, set, 1<<20)
		if err != nil {
			return
		}
		back, err := ToLegacy(nil, h, 1, 0, 4<<20)
		if err != nil {
			t.Fatal(err)
		}
		want := unpack(t, h)
		if len(want) == 0 {
			return
		}
		if err := same(want, legacyRecords(t, back), true); err != nil {
			t.Fatal(err)
		}
	})
}
