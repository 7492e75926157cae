// Package message has every request and response of the Kafka protocol that clients send to brokers, in every version
// that there has been, generated from the schemas in the folder schema by cmd/wiregen.
//
//	m := message.NewRequest(header.Key)
//	if err := m.Decode(body, header.Version); err != nil { ... }
//	response := m.NewResponse()
//	out = response.AppendTo(message.AppendResponseHeader(out, ...), header.Version)
//
// # How messages look in Go
//
//   - A field is there in every version. Encoding drops what the version lacks; decoding gives it its default.
//   - A nullable string or structure is a pointer, nil being null. A nil slice is null where the version allows it,
//     and empty elsewhere; after decoding a nullable array, nil was null, and empty was empty. Arrays that are never
//     null are nil when empty.
//   - A nullable field starts as null; numbers start as what Kafka's description gives, by SetDefaults, which
//     NewRequest and NewResponse have called. A struct literal starts at zero: call SetDefaults, or fill all fields.
//   - Names are Kafka's with Go's capitals, but for Topics and Partitions, which Kafka calls TopicData, Responses,
//     PartitionData or PartitionResponses in some messages.
//   - Fields of bytes and records alias the buffer that was decoded; everything else is copied.
//   - Tagged fields that the schema does not know are skipped, and not kept.
//
// # What if
//
//   - a body is cut, has null where there is no null, or claims more elements than it has bytes for: Decode returns an
//     error that wraps [wire.ErrMalformed], before it allocates for the claim. In all it allocates at most four times
//     the body and a constant (see [wire.Reader]);
//   - bytes are left over: that is malformed in a response, and ignored in a request, since there are clients in use
//     that send some and Kafka never minded (see [wire.Reader.FinishRequest]);
//   - the version is none of the message: Decode returns [wire.ErrVersion]. AppendTo and Size must not be called so;
//   - Decode failed: the message holds parts, and is good for nothing but another Decode.
//
// Messages know no connections, and what they mean is told where they are handled.
package message

import "github.com/kraftgo/kraftgo/wire"

//go:generate go run github.com/kraftgo/kraftgo/cmd/wiregen -schema schema -out . -package message

// A Message is a request or a response without its header.
type Message interface {
	// APIKey returns the key that the message belongs to.
	APIKey() wire.APIKey
	// SetDefaults makes the message what Kafka takes for fields that were not sent.
	SetDefaults()
	// Decode replaces the message by what b encodes in that version: all of b, in a response.
	Decode(b []byte, version int16) error
	// Size returns how many bytes AppendTo appends, exactly.
	Size(version int16) int
	// AppendTo appends the message, encoded in that version, to b.
	AppendTo(b []byte, version int16) []byte
}

// A Request is what a client sends.
type Request interface {
	Message
	// NewResponse returns an empty response to the request, with its defaults.
	NewResponse() Response
}

// A Response is what a broker answers.
type Response interface {
	Message
	response()
}

// Info tells which versions there are of a key.
type Info struct {
	Key          wire.APIKey
	Name         string // as Kafka spells it: InitProducerId
	MinVersion   int16  // the lowest that we can decode; Kafka may advertise a higher one
	MaxVersion   int16  // the highest that we can decode
	FlexibleFrom int16  // the first version with compact lengths and tagged fields; -1: none
	LatestStable int16  // the highest that may be advertised
}

// Flexible reports whether that version has compact lengths and tagged fields.
func (i Info) Flexible(version int16) bool { return i.FlexibleFrom >= 0 && version >= i.FlexibleFrom }

type entry struct {
	Info
	newRequest func() Request
}

// Lookup returns what is known of a key.
func Lookup(key wire.APIKey) (Info, bool) {
	if key < 0 || int(key) >= len(infos) || infos[key].Name == "" {
		return Info{}, false
	}
	return infos[key].Info, true
}

// All returns the keys in ascending order.
func All() []Info {
	var all []Info
	for _, e := range infos {
		if e.Name != "" {
			all = append(all, e.Info)
		}
	}
	return all
}

// Name returns Kafka's name of a key, or "" for one that is not here.
func Name(key wire.APIKey) string {
	info, _ := Lookup(key)
	return info.Name
}

// NewRequest returns an empty request of that key with its defaults, or nil for a key that is not here.
func NewRequest(key wire.APIKey) Request {
	if _, ok := Lookup(key); !ok {
		return nil
	}
	m := infos[key].newRequest()
	m.SetDefaults()
	return m
}
