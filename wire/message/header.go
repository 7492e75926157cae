package message

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// RequestHeader stands before every request. Its encoding follows from the key and version that are its first fields:
// the client id is there from header version 1, the tagged fields from header version 2, which flexible requests have.
// (Header version 0, without a client id, belonged to version 0 of ControlledShutdown alone.)
type RequestHeader struct {
	Key           wire.APIKey
	Version       int16
	CorrelationID int32
	ClientID      *string // of the classic encoding even before flexible requests
}

// SplitRequest decodes the header at the start of a frame, and returns what follows it, which aliases frame.
//
// A key that is not here is an error that wraps [wire.ErrVersion]: where its header ends cannot be known. The version
// is not checked, since version 99 of ApiVersions must be answered too; one beyond ours is taken for flexible if our
// highest is.
func SplitRequest(frame []byte) (h RequestHeader, body []byte, err error) {
	r := wire.NewReader(frame)
	h.Key, h.Version, h.CorrelationID = wire.APIKey(r.Int16()), r.Int16(), r.Int32()
	if r.Err() != nil {
		return h, nil, fmt.Errorf("request header: %w", r.Err())
	}
	info, ok := Lookup(h.Key)
	if !ok {
		return h, nil, fmt.Errorf("%w: API key %d", wire.ErrVersion, h.Key)
	}
	h.ClientID = r.NullableString(false)
	if info.Flexible(h.Version) {
		r.SkipTags()
	}
	if r.Err() != nil {
		return h, nil, fmt.Errorf("header of %s version %d: %w", info.Name, h.Version, r.Err())
	}
	return h, frame[r.Offset():], nil
}

func (h *RequestHeader) flexible() bool {
	info, ok := Lookup(h.Key)
	return ok && info.Flexible(h.Version)
}

// Size returns how many bytes AppendTo appends.
func (h *RequestHeader) Size() int {
	n := 8 + wire.SizeNullableString(h.ClientID, false)
	if h.flexible() {
		n++
	}
	return n
}

// AppendTo appends the header to b.
func (h *RequestHeader) AppendTo(b []byte) []byte {
	b = wire.AppendInt16(b, int16(h.Key))
	b = wire.AppendInt16(b, h.Version)
	b = wire.AppendInt32(b, h.CorrelationID)
	b = wire.AppendNullableString(b, h.ClientID, false)
	if h.flexible() {
		b = append(b, 0)
	}
	return b
}

// responseTags reports whether the header of that response has tagged fields. That of ApiVersions never has: a client
// reads it before it can know whether the broker took its version for flexible, or answered in version 0.
func responseTags(key wire.APIKey, version int16) bool {
	info, ok := Lookup(key)
	return ok && key != KeyAPIVersions && info.Flexible(version)
}

// ResponseHeaderSize returns how many bytes AppendResponseHeader appends.
func ResponseHeaderSize(key wire.APIKey, version int16) int {
	if responseTags(key, version) {
		return 5
	}
	return 4
}

// AppendResponseHeader appends the header of the response to a request of that key and version.
func AppendResponseHeader(b []byte, key wire.APIKey, version int16, correlationID int32) []byte {
	b = wire.AppendInt32(b, correlationID)
	if responseTags(key, version) {
		b = append(b, 0)
	}
	return b
}

// SplitResponse decodes the header at the start of a response's frame, and returns what follows it.
func SplitResponse(frame []byte, key wire.APIKey, version int16) (correlationID int32, body []byte, err error) {
	r := wire.NewReader(frame)
	correlationID = r.Int32()
	if responseTags(key, version) {
		r.SkipTags()
	}
	if r.Err() != nil {
		return 0, nil, fmt.Errorf("header of the response to %s version %d: %w", Name(key), version, r.Err())
	}
	return correlationID, frame[r.Offset():], nil
}
