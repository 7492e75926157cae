package message

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

func addSeeds(f *testing.F, response bool) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, info := range All() {
		for _, version := range []int16{info.MinVersion, (info.MinVersion + info.MaxVersion) / 2, info.MaxVersion} {
			m := oursFor(info.Key, response)
			randomFill(rng, reflect.ValueOf(m).Elem(), 1)
			f.Add(int16(info.Key), version, m.AppendTo(nil, version))
		}
	}
}

func fuzzDecode(t *testing.T, key, version int16, body []byte, response bool) {
	if NewRequest(wire.APIKey(key)) == nil {
		return
	}
	m := oursFor(wire.APIKey(key), response)
	if decodeBounded(t, m, body, version) != nil {
		return
	}
	b := m.AppendTo(nil, version)
	if len(b) != m.Size(version) {
		t.Fatalf("Size is %d, not %d", m.Size(version), len(b))
	}
	again := oursFor(wire.APIKey(key), response)
	if err := again.Decode(b, version); err != nil {
		t.Fatalf("what was accepted is not read back: %v", err)
	}
	if c := again.AppendTo(nil, version); !bytes.Equal(b, c) {
		t.Fatalf("%x became %x", b, c)
	}
}

func FuzzDecodeRequest(f *testing.F) {
	addSeeds(f, false)
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) { fuzzDecode(t, key, version, body, false) })
}

func FuzzDecodeResponse(f *testing.F) {
	addSeeds(f, true)
	f.Fuzz(func(t *testing.T, key, version int16, body []byte) { fuzzDecode(t, key, version, body, true) })
}

func FuzzSplitRequest(f *testing.F) {
	f.Add((&RequestHeader{Key: KeyMetadata, Version: 12}).AppendTo(nil))
	f.Fuzz(func(t *testing.T, frame []byte) {
		h, body, err := SplitRequest(frame)
		if err == nil && len(body)+8 > len(frame) {
			t.Fatalf("%+v leaves %d of %d bytes", h, len(body), len(frame))
		}
	})
}
