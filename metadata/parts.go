package metadata

import (
	"errors"
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// A change of many records is written as several commands, its parts, so that no entry of the log is large: large ones hold up
// heartbeats and snapshots. Their records take effect together, with the last part.
//
// The parts of one change come one behind the other, since one controller decides at a time. Any other command in between, and
// any command of a later term, says that the rest never comes: then what came is dropped.

const (
	// CommandMax is how many bytes one entry of the metadata log may have.
	CommandMax = 256 << 10
	// partMax is how many bytes of records go into one part; the last has a reply of up to [ReplyMax] beside them.
	partMax = 128 << 10
)

var (
	// ErrIncomplete is the result of a part whose predecessors are not there any more.
	ErrIncomplete = errors.New("the parts of the change before this one were dropped")
	// ErrTooLarge is the result of splitting a change with a record that fits into no command.
	ErrTooLarge = errors.New("a value is too long to be kept in the metadata")
)

// Part says which part of a change a command is. The zero value is a change of one command.
type Part struct {
	Change wire.UUID // the same for all parts; zero: there is one
	Number int       // counts from 0
	More   bool      // further parts follow
}

// Split divides the records of a change into those of the parts that it needs, in order.
func Split(records []Record) ([][]Record, error) {
	var parts [][]Record
	start, size := 0, 0
	var b []byte
	for i, r := range records {
		b = AppendRecord(b[:0], r)
		if len(b) > partMax {
			return nil, fmt.Errorf("%w: a record has %d bytes, %d are the most", ErrTooLarge, len(b), partMax)
		}
		if size += len(b); size > partMax {
			parts = append(parts, records[start:i])
			start, size = i, len(b)
		}
	}
	return append(parts, records[start:]), nil
}

// pending are the parts of a change that has not come to its end.
type pending struct {
	change  wire.UUID
	term    wire.Term
	parts   int
	records []Record
}

// continues reports whether the command is the next part.
func (p *pending) continues(term wire.Term, c *Command) bool {
	return p.change == c.Part.Change && p.term == term && p.parts == c.Part.Number
}

// dropPending forgets what no end can come of any more.
func (s *State) dropPending() {
	s.image.hash = s.image.hash.minus(s.hasher.pending(&s.pending))
	s.pending = pending{}
}

// addPart keeps a part that others follow, and returns nothing, or returns the records of the whole change with its last.
func (s *State) addPart(term wire.Term, c *Command) ([]Record, error) {
	p := &s.pending
	if c.Part.Number != p.parts {
		return nil, ErrIncomplete
	}
	if !c.Part.More {
		all := slices.Concat(p.records, c.Records)
		s.dropPending()
		return all, nil
	}
	old := *p
	// A snapshot may have the old slice: never write behind its end.
	*p = pending{c.Part.Change, term, p.parts + 1, append(slices.Clip(p.records), c.Records...)}
	h := s.image.hash.minus(s.hasher.head(&old)).plus(s.hasher.head(p))
	s.image.hash = h.plus(s.hasher.pendingFrom(p, len(old.records)))
	return nil, nil
}

// pending hashes all that is pending.
func (x *hasher) pending(p *pending) Hash { return x.head(p).plus(x.pendingFrom(p, 0)) }

// head hashes what is pending but for the records.
func (x *hasher) head(p *pending) Hash {
	if p.parts == 0 {
		return Hash{}
	}
	x.b = wire.AppendUUID(append(x.b[:0], hashPending), p.change)
	x.b = wire.AppendUvarint(wire.AppendInt64(x.b, int64(p.term)), uint32(p.parts))
	return x.sum()
}

// pendingFrom hashes the pending records from one on, each with its place.
func (x *hasher) pendingFrom(p *pending, from int) Hash {
	var h Hash
	for i, r := range p.records[from:] {
		x.b = wire.AppendUvarint(append(x.b[:0], hashPendingRecord), uint32(from+i))
		x.b = AppendRecord(x.b, r)
		h = h.plus(x.sum())
	}
	return h
}

func appendPending(b []byte, p *pending) []byte {
	b = wire.AppendUUID(b, p.change)
	b = wire.AppendUvarint(wire.AppendInt64(b, int64(p.term)), uint32(p.parts))
	b = wire.AppendArrayLength(b, len(p.records), true)
	for _, r := range p.records {
		b = AppendRecord(b, r)
	}
	return b
}

func (s *State) readPending(r *wire.Reader) error {
	p := pending{change: r.UUID(), term: wire.Term(r.Int64()), parts: int(r.Uvarint())}
	for n := r.ArrayLength(true, false, 4); n > 0; n-- {
		rec, err := ReadRecord(r)
		if err != nil {
			return err
		}
		p.records = append(p.records, rec)
	}
	s.pending = p
	s.image.hash = s.image.hash.plus(s.hasher.pending(&p))
	return nil
}

func appendPart(b []byte, p *Part) []byte {
	if p.Change.IsZero() {
		return wire.AppendBool(b, false)
	}
	b = wire.AppendUUID(wire.AppendBool(b, true), p.Change)
	return wire.AppendBool(wire.AppendUvarint(b, uint32(p.Number)), p.More)
}

func readPart(r *wire.Reader) (p Part) {
	if r.Bool() {
		p = Part{Change: r.UUID(), Number: int(r.Uvarint()), More: r.Bool()}
	}
	return p
}
