package batch

import (
	"errors"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

func TestToLegacyStartsAtTheOffset(t *testing.T) {
	for _, codec := range everyCodec[:4] {
		for magic := range int8(2) {
			h := build(t, Template{Codec: codec, BaseOffset: 100}, kafkaRecords(2, CodecNone, 100))
			for start := wire.Offset(99); start < 105; start++ {
				set, err := ToLegacy([]byte("before"), h, magic, start, plainLimit)
				if err != nil || string(set[:6]) != "before" {
					t.Fatal(codec, magic, start, err)
				}
				want := kafkaRecords(int(magic), CodecNone, 100)
				for len(want) > 0 && want[0].Offset < start {
					want = want[1:]
				}
				if err := same(want, legacyRecords(t, set[6:]), true); err != nil {
					t.Errorf("%s, format %d, from %d: %v", codec, magic, start, err)
				}
			}
		}
	}
}

// A fetch may end within a batch, and hold markers, which old consumers must not see.
func TestToLegacySkipsMarkersAndACutEnd(t *testing.T) {
	var b Builder
	marker, err := BuildMarker(&b, Marker{ProducerID: 1}, kafkaTime, 0)
	if err != nil {
		t.Fatal(err)
	}
	data := build(t, Template{}, kafkaRecords(2, CodecNone, 0))
	fetched := append(append(append([]byte{}, marker...), data...), data[:70]...)
	set, err := ToLegacy(nil, fetched, 1, 0, plainLimit)
	if err != nil {
		t.Fatal(err)
	}
	if err := same(kafkaRecords(1, CodecNone, 0), legacyRecords(t, set), true); err != nil {
		t.Error(err)
	}
}

func TestToLegacyStopsAtZstd(t *testing.T) {
	plain := build(t, Template{}, kafkaRecords(2, CodecNone, 0))
	zstd := build(t, Template{Codec: CodecZstd}, kafkaRecords(2, CodecNone, 0))
	if set, err := ToLegacy(nil, zstd, 1, 0, plainLimit); !errors.Is(err, ErrNoOldForm) || len(set) > 0 {
		t.Errorf("%d bytes, %v", len(set), err)
	}
	set, err := ToLegacy(nil, append(append([]byte{}, plain...), zstd...), 1, 0, plainLimit)
	if err != nil || len(legacyRecords(t, set)) != 4 {
		t.Errorf("what precedes zstd must be served: %v", err)
	}
}

func TestLimitsHoldInConversion(t *testing.T) {
	bomb := build(t, Template{Codec: CodecGzip}, []plainRecord{{0, 0, nil, make([]byte, 1<<20), nil}})
	if _, err := ToLegacy(nil, bomb, 1, 0, 1000); !errors.Is(err, compress.ErrTooLarge) {
		t.Error(err)
	}
	set, err := ToLegacy(nil, bomb, 1, 0, plainLimit)
	if err != nil {
		t.Fatal(err)
	}
	var b Builder
	if _, err := FromLegacy(&b, set, 1000); !errors.Is(err, compress.ErrTooLarge) {
		t.Error(err)
	}
	o := client()
	o.ProduceVersion, o.MaxPlainBytes = 2, 1000
	if _, r := Validate(set, &o); r == nil || r.Code != wire.ErrMessageTooLarge {
		t.Errorf("%+v", r)
	}
	if _, _, _, err := FirstAtOrAfter(bomb, 0, 0, 1000); !errors.Is(err, compress.ErrTooLarge) {
		t.Error(err)
	}
}

// librdkafka leaves the wrapper's offset at 0 when it produces.
func TestWrapperAtZero(t *testing.T) {
	set := golden(t, "v1-gzip.bin")
	for i := range 8 {
		set[i] = 0
	}
	if err := same(kafkaRecords(1, CodecGzip, 0), legacyRecords(t, set), true); err != nil {
		t.Error(err)
	}
}

func TestMalformedMessagesAreErrors(t *testing.T) {
	nested := func(magic int8, codec Codec, set []byte) []byte {
		w := legacyWriter{magic: magic}
		out, err := w.wrap(nil, set, codec)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	null := (&legacyWriter{magic: 1}).start(nil, 0, byte(CodecGzip), 0)
	null = wire.AppendNullableBytes(wire.AppendNullableBytes(null, nil, false), nil, false)
	finishMessage(null)
	corrupt := golden(t, "v1-none.bin")
	corrupt[40] ^= 1
	for name, c := range map[string]struct {
		set  []byte
		want error
	}{
		"null value":        {null, ErrRecords},
		"nothing within":    {nested(1, CodecGzip, nil), ErrRecords},
		"compressed twice":  {nested(1, CodecGzip, golden(t, "v1-gzip.bin")), ErrRecords},
		"formats mixed":     {nested(1, CodecGzip, golden(t, "v0-none.bin")), ErrRecords},
		"inner checksum":    {nested(1, CodecGzip, corrupt), ErrCRC},
		"outer checksum":    {corrupt, ErrCRC},
		"zstd":              {nested(1, CodecZstd, golden(t, "v1-none.bin")), compress.ErrCodec},
		"cut":               {golden(t, "v1-none.bin")[:60], ErrShort},
		"batch of format 2": {golden(t, "v2-none.bin"), ErrMagic},
	} {
		var b Builder
		if _, err := FromLegacy(&b, c.set, plainLimit); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, not %v", name, err, c.want)
		}
	}
}
