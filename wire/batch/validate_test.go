package batch

import (
	"bytes"
	"encoding/binary"
	"math"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// change returns a sound batch, changed by f, with a right checksum.
func change(t *testing.T, codec Codec, f func(h Header)) Header {
	h := build(t, Template{Codec: codec}, kafkaRecords(2, CodecNone, 0))
	f(h)
	h.SetCRC()
	return h
}

// Refusals beyond those in testdata/verdicts.txt: of the log's own checks, and ours.
func TestRefusals(t *testing.T) {
	none := func(Header) {}
	for _, c := range []struct {
		name  string
		batch []byte
		o     func(o *Options)
		code  wire.ErrorCode
		words string
	}{
		{"nothing", nil, nil, wire.ErrInvalidRecord, "must have at least one record batch"},
		{"cut", change(t, CodecNone, none)[:100], nil, wire.ErrInvalidRecord, "must have at least one record batch"},
		{"bytes behind", append(change(t, CodecNone, none), 0), nil, wire.ErrInvalidRecord, "exactly one record batch"},
		{"length", change(t, CodecNone, func(h Header) { h[lengthAt] = 0xff }), nil, wire.ErrCorruptMessage, "impossible length"},
		{"offset", change(t, CodecNone, func(h Header) { h.SetBaseOffset(7) }), nil, wire.ErrInvalidRecord, "should be 0, but it is 7"},
		{"size", change(t, CodecNone, none), func(o *Options) { o.MaxMessageBytes = 414 }, wire.ErrMessageTooLarge, "is 415 bytes"},
		{"codec", change(t, CodecNone, func(h Header) { h[attributesAt+1] |= 5 }), nil, wire.ErrUnsupportedCompressionType, "type id: 5"},
		{"producer's epoch", change(t, CodecNone, func(h Header) {
			binary.BigEndian.PutUint64(h[producerIDAt:], 7)
			binary.BigEndian.PutUint32(h[baseSequenceAt:], 0)
		}), nil, wire.ErrInvalidRecord, "producer epoch -1"},
		{"transaction of nobody", change(t, CodecNone, func(h Header) { h[attributesAt+1] |= transactionalBit }), nil,
			wire.ErrInvalidRecord, "without a producerId"},
		{"late, not walked", change(t, CodecLZ4, none), func(o *Options) { o.TimestampAfterMax = 3 }, wire.ErrInvalidTimestamp, "invalid timestamp"},
		{"no gzip", change(t, CodecGzip, func(h Header) { h[HeaderSize] = 0 }), func(o *Options) { o.DeepCompressed = true },
			wire.ErrInvalidRecord, "corrupt compressed data"},
		{"expands", change(t, CodecGzip, none), func(o *Options) { o.DeepCompressed, o.MaxPlainBytes = true, 100 },
			wire.ErrMessageTooLarge, "limit 100 bytes"},
		{"larger when recompressed", build(t, Template{Codec: CodecGzip}, []plainRecord{{0, kafkaTime, nil, make([]byte, 2000), nil}}), func(o *Options) {
			o.Recompress, o.MaxMessageBytes = true, 1000
		}, wire.ErrMessageTooLarge, "Message batch size is "},
		{"unknown format", append([]byte{16: 9}, make([]byte, 80)...), func(o *Options) { o.ProduceVersion = 2 }, wire.ErrCorruptMessage, "Invalid magic"},
		{"old, cut", golden(t, "v1-none.bin")[:200], func(o *Options) { o.ProduceVersion = 2 }, wire.ErrInvalidRecord, "cut short"},
		{"old, compressed twice", append(golden(t, "v1-gzip.bin"), golden(t, "v1-gzip.bin")...), func(o *Options) { o.ProduceVersion = 2 },
			wire.ErrInvalidRecord, "more than one batch"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := client()
			o.Now = kafkaTime
			if c.o != nil {
				c.o(&o)
			}
			_, refusal := Validate(c.batch, &o)
			if refusal == nil {
				t.Fatal("passed")
			}
			if refusal.Code != c.code || !strings.Contains(refusal.Message, c.words) {
				t.Errorf("%s: %s; want %s: ...%s...", refusal.Code, refusal.Message, c.code, c.words)
			}
		})
	}
}

// Every single bit matters: none may be turned over unnoticed, but those that the broker sets itself.
func TestEveryTurnedBitIsRefused(t *testing.T) {
	sound := build(t, Template{}, kafkaRecords(2, CodecNone, 0))
	o := client()
	o.Now = kafkaTime
	for i := range len(sound) * 8 {
		if at := i / 8; at >= leaderEpochAt && at < magicAt {
			continue
		}
		b := bytes.Clone(sound)
		b[i/8] ^= 1 << (i % 8)
		if _, refusal := Validate(b, &o); refusal == nil {
			t.Errorf("bit %d of byte %d", i%8, i/8)
		}
	}
}

func TestLogAppendTimeIsStamped(t *testing.T) {
	for _, codec := range everyCodec {
		h := build(t, Template{Codec: codec}, kafkaRecords(2, CodecNone, 0))
		o := client()
		o.TimestampType = LogAppendTime
		got, refusal := Validate(h, &o)
		if refusal != nil || got.Rewritten {
			t.Fatal(codec, refusal, got.Rewritten)
		}
		if err := got.Batch.CheckCRC(); err != nil || got.Batch.MaxTimestamp() != o.Now {
			t.Error(codec, err, got.Batch.MaxTimestamp())
		}
		for _, r := range unpack(t, got.Batch) {
			if r.Timestamp != o.Now {
				t.Errorf("%s: record at %d", codec, r.Timestamp)
			}
		}
	}
}

// A client whose maximum is wrong (some write none) must not spoil searches by time.
func TestMaxTimestampIsMended(t *testing.T) {
	for _, codec := range []Codec{CodecNone, CodecLZ4} {
		h := change(t, codec, func(h Header) { h.setMaxTimestamp(-1) })
		o := client()
		o.DeepCompressed = true
		got, refusal := Validate(h, &o)
		if refusal != nil || got.Batch.MaxTimestamp() != kafkaTime+5 || got.Batch.CheckCRC() != nil {
			t.Errorf("%s: %v %d", codec, refusal, got.Batch.MaxTimestamp())
		}
	}
}

func TestRecordsAreRenumbered(t *testing.T) {
	want := kafkaRecords(2, CodecNone, 0)
	want = append(want, make([]plainRecord, 200)...)
	for i := range want {
		want[i].Offset = wire.Offset(i)
	}
	for _, codec := range everyCodec {
		h := build(t, Template{}, want)
		r := cursor{b: h.Records()}
		for range h.Count() { // offset deltas of one byte become 1, as old librdkafka and others have written
			size := r.varint()
			body := cursor{b: r.b[:size]}
			body.byte()
			body.varlong()
			body.b[0] ^= 2
			r.b = r.b[size:]
		}
		h.SetCRC()
		o := client()
		o.Recompress, o.Codec = codec != CodecNone, codec
		got, refusal := Validate(h, &o)
		if refusal != nil || !got.Rewritten {
			t.Fatalf("%s: %+v, rewritten %v", codec, refusal, got.Rewritten)
		}
		if err := same(want, unpack(t, got.Batch), true); err != nil || got.Batch.CheckCRC() != nil {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

func TestRecompress(t *testing.T) {
	want := kafkaRecords(2, CodecNone, 0)
	for _, from := range everyCodec {
		for _, to := range everyCodec {
			template := Template{
				Codec: from, Idempotent: true, ProducerID: 5, ProducerEpoch: 6, BaseSequence: math.MaxInt32, Transactional: true,
			}
			o := client()
			o.Recompress, o.Codec = true, to
			got, refusal := Validate(build(t, template, want), &o)
			if refusal != nil || got.Rewritten != (from != to) {
				t.Fatalf("%s to %s: %+v, rewritten %v", from, to, refusal, got.Rewritten)
			}
			b := got.Batch
			if b.Codec() != to || b.ProducerID() != 5 || b.ProducerEpoch() != 6 || b.LastSequence() != 2 || !b.Transactional() {
				t.Errorf("%s to %s: header changed", from, to)
			}
			if err := same(want, unpack(t, b), true); err != nil || b.CheckCRC() != nil || b.Size() != len(b) {
				t.Errorf("%s to %s: %v", from, to, err)
			}
		}
	}
}

func TestLegacyProduceIsConverted(t *testing.T) {
	for _, name := range []string{"v0-none", "v0-gzip", "v0-snappy", "v0-lz4", "v1-none", "v1-gzip", "v1-snappy", "v1-lz4"} {
		for _, stamp := range []TimestampType{CreateTime, LogAppendTime} {
			o := client()
			o.ProduceVersion, o.TimestampType = 2, stamp
			o.Recompress, o.Codec = name == "v0-none", CodecZstd
			got, refusal := Validate(golden(t, name+".bin"), &o)
			if refusal != nil || !got.Rewritten {
				t.Fatalf("%s: %+v", name, refusal)
			}
			codec, _, _ := strings.Cut(name[3:], ".")
			if o.Recompress {
				codec = "zstd"
			}
			if b := got.Batch; b.Codec().String() != codec || b.CheckCRC() != nil || b.BaseOffset() != 0 || b.Count() != 4 {
				t.Errorf("%s: %s", name, b.Codec())
			}
			if stamp == LogAppendTime && got.Batch.MaxTimestamp() != o.Now {
				t.Errorf("%s: stamped %d", name, got.Batch.MaxTimestamp())
			}
		}
	}
}

func TestInternalMarkersPass(t *testing.T) {
	var b Builder
	h, err := BuildMarker(&b, Marker{ProducerID: 1}, kafkaTime, 0)
	if err != nil {
		t.Fatal(err)
	}
	o := client()
	o.Internal, o.Compacted, o.Recompress, o.Codec = true, true, true, CodecGzip
	got, refusal := Validate(h, &o)
	if refusal != nil || got.Rewritten {
		t.Errorf("%+v", refusal)
	}
}

func TestValidateAllocatesNothing(t *testing.T) {
	for _, codec := range everyCodec {
		h := build(t, Template{Codec: codec}, kafkaRecords(2, CodecNone, 0))
		o := client()
		if n := testing.AllocsPerRun(100, func() {
			if _, refusal := Validate(h, &o); refusal != nil {
				t.Fatal(refusal)
			}
		}); n > 0 {
			t.Errorf("%s: %v allocations", codec, n)
		}
	}
}

func TestLookup(t *testing.T) {
	for _, codec := range everyCodec {
		h := build(t, Template{Codec: codec, BaseOffset: 100}, kafkaRecords(2, CodecNone, 100))
		for _, c := range []struct {
			at    wire.Timestamp
			from  wire.Offset
			want  wire.Offset
			time  wire.Timestamp
			found bool
		}{
			{0, 0, 100, kafkaTime, true},
			{0, 101, 101, kafkaTime - 10, true},
			{kafkaTime + 1, 0, 102, kafkaTime + 5, true},
			{kafkaTime + 1, 103, 103, kafkaTime + 1, true},
			{kafkaTime + 5, 103, 0, 0, false},
			{kafkaTime + 6, 0, 0, 0, false},
			{0, 104, 0, 0, false},
		} {
			o, at, found, err := FirstAtOrAfter(h, c.at, c.from, plainLimit)
			if err != nil || o != c.want || at != c.time || found != c.found {
				t.Errorf("%s: %+v: got %d at %d, %v, %v", codec, c, o, at, found, err)
			}
		}
		if o, at, found, err := MaxTimestampRecord(h, plainLimit); err != nil || !found || o != 102 || at != kafkaTime+5 {
			t.Errorf("%s: latest %d at %d, %v, %v", codec, o, at, found, err)
		}
	}
}
