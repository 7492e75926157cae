package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// TestRequestHeader: headers read back for every key and version, and look to kmsg's formatter as they do to us.
func TestRequestHeader(t *testing.T) {
	id := "client"
	for _, info := range All() {
		for version := info.MinVersion; version <= info.LatestStable; version++ {
			for _, clientID := range []*string{nil, &id} {
				h := RequestHeader{info.Key, version, -77, clientID}
				frame := h.AppendTo(nil)
				if len(frame) != h.Size() {
					t.Fatalf("%+v: Size is %d, not %d", h, h.Size(), len(frame))
				}
				have, body, err := SplitRequest(append(frame, "body"...))
				if err != nil || !reflect.DeepEqual(have, h) || string(body) != "body" {
					t.Fatalf("%+v became %+v with body %q, %v", h, have, body, err)
				}
				if clientID == nil {
					continue
				}
				request := kmsg.RequestForKey(int16(info.Key))
				request.SetVersion(version)
				want := kmsg.NewRequestFormatter(kmsg.FormatterClientID(id)).AppendRequest(nil, request, -77)[4:]
				if !bytes.HasPrefix(want, frame) || len(want)-len(frame) != len(request.AppendTo(nil)) {
					t.Fatalf("header %x, kmsg writes %x", frame, want)
				}
			}
		}
	}
}

func TestRequestHeaderRefusals(t *testing.T) {
	good := (&RequestHeader{Key: KeyMetadata, Version: 12, CorrelationID: 1}).AppendTo(nil)
	for n := range good {
		if _, _, err := SplitRequest(good[:n]); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%d of %d bytes: %v", n, len(good), err)
		}
	}
	unknown := (&RequestHeader{Key: 93, CorrelationID: 5}).AppendTo(nil)
	if h, _, err := SplitRequest(unknown); !errors.Is(err, wire.ErrVersion) || h.CorrelationID != 5 {
		t.Errorf("unknown key: %+v, %v", h, err)
	}
	// A client of the future opens with a version of ApiVersions that we lack, and tagged fields that we do not know.
	future := (&RequestHeader{Key: KeyAPIVersions, Version: 99}).AppendTo(nil)
	future = append(future[:len(future)-1], 1, 4, 1, 'x', 'b') // one field, tag 4, of one byte; then the body
	if h, body, err := SplitRequest(future); err != nil || h.Version != 99 || string(body) != "b" {
		t.Errorf("ApiVersions 99: %+v, body %q, %v", h, body, err)
	}
}

func TestResponseHeader(t *testing.T) {
	for _, info := range All() {
		for version := info.MinVersion; version <= info.MaxVersion; version++ {
			b := AppendResponseHeader(nil, info.Key, version, 1<<30)
			want := 4
			if info.Flexible(version) && info.Name != "ApiVersions" {
				want = 5
			}
			if len(b) != want || ResponseHeaderSize(info.Key, version) != want {
				t.Errorf("%s version %d: header %x", info.Name, version, b)
			}
			id, body, err := SplitResponse(append(b, 'b'), info.Key, version)
			if id != 1<<30 || string(body) != "b" || err != nil {
				t.Errorf("%s version %d: id %d, body %q, %v", info.Name, version, id, body, err)
			}
			if _, _, err := SplitResponse(b[:want-1], info.Key, version); !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("cut: %v", err)
			}
		}
	}
}
