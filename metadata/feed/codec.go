package feed

import (
	"fmt"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// codecVersion heads what brokers send each other.
const codecVersion = 1

// AppendTo appends the answer as it travels: version int8, behind int8, applied int64, then the entries as a compact
// array of index int64, term int64, compact bytes, hash of the state after it 16 bytes.
func (a *Answer) AppendTo(b []byte) []byte {
	b = wire.AppendInt8(b, codecVersion)
	b = wire.AppendBool(b, a.Behind)
	b = wire.AppendInt64(b, int64(a.Applied))
	b = wire.AppendArrayLength(b, len(a.Entries), true)
	for i := range a.Entries {
		b = appendEntry(b, &a.Entries[i])
		b = metadata.AppendHash(b, a.Entries[i].Hash)
	}
	return b
}

func appendEntry(b []byte, e *Entry) []byte {
	b = wire.AppendInt64(b, int64(e.Index))
	b = wire.AppendInt64(b, int64(e.Term))
	return wire.AppendBytes(b, e.Data, true)
}

func readEntry(r *wire.Reader) Entry {
	return Entry{Index: wire.Index(r.Int64()), Term: wire.Term(r.Int64()), Data: append([]byte(nil), r.Bytes(true)...)}
}

// DecodeAnswer is the inverse of [Answer.AppendTo]. Nothing aliases b.
func DecodeAnswer(b []byte) (Answer, error) {
	var a Answer
	r := wire.NewReader(b)
	if v := r.Int8(); r.Err() == nil && v != codecVersion {
		return a, fmt.Errorf("metadata feed of version %d, this kraftgo knows %d: upgrade this node", v, codecVersion)
	}
	a.Behind, a.Applied = r.Bool(), wire.Index(r.Int64())
	for n := r.ArrayLength(true, false, 33); n > 0 && r.Err() == nil; n-- {
		e := readEntry(&r)
		e.Hash = metadata.ReadHash(&r)
		a.Entries = append(a.Entries, e)
	}
	return a, finish(&r)
}

// AppendTo appends the chunk as it travels: version int8, snapshot int64, total int64, compact bytes.
func (c *Chunk) AppendTo(b []byte) []byte {
	b = wire.AppendInt8(b, codecVersion)
	b = wire.AppendInt64(b, int64(c.Snapshot))
	b = wire.AppendInt64(b, c.Total)
	return wire.AppendBytes(b, c.Bytes, true)
}

// DecodeChunk is the inverse of [Chunk.AppendTo]. The bytes alias b.
func DecodeChunk(b []byte) (Chunk, error) {
	r := wire.NewReader(b)
	if v := r.Int8(); r.Err() == nil && v != codecVersion {
		return Chunk{}, fmt.Errorf("metadata snapshot chunk of version %d, this kraftgo knows %d: upgrade this node", v, codecVersion)
	}
	c := Chunk{Snapshot: wire.Index(r.Int64()), Total: r.Int64(), Bytes: r.Bytes(true)}
	return c, finish(&r)
}

func finish(r *wire.Reader) error {
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("metadata feed: %w", err)
	}
	return nil
}
