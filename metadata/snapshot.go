package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/kraftgo/kraftgo/wire"
)

// ErrCorruptSnapshot marks a snapshot that is not what WriteSnapshot wrote.
var ErrCorruptSnapshot = errors.New("corrupt metadata snapshot")

var (
	snapshotMagic = []byte("kraftgoM")
	castagnoli    = crc32.MakeTable(crc32.Castagnoli)
)

const (
	snapshotVersion  = 1
	snapshotMaxBytes = 4 << 30 // a length above is damage, not data
)

// Snapshot is an image together with what else the next commands depend on.
type Snapshot struct {
	image    *Image
	requests []request // oldest first
	pending  pending
}

// Snapshot returns the present state for [Snapshot.WriteTo], in constant time but for the request ids.
func (s *State) Snapshot() *Snapshot {
	return &Snapshot{image: s.Image(), requests: s.requests.list(), pending: s.pending}
}

// appendBroker writes a broker with its epoch and state, which no single record carries.
func appendBroker(b []byte, i *BrokerInfo) []byte {
	b = wire.AppendInt64(b, int64(i.Epoch))
	b = wire.AppendBool(b, i.Fenced)
	b = wire.AppendBool(b, i.ShuttingDown)
	return AppendRecord(b, &i.RegisterBroker)
}

// WriteTo writes the snapshot: magic, version, length, body, CRC-32C of the body. FORMAT.md has the body's layout.
func (p *Snapshot) WriteTo(w io.Writer) (int64, error) {
	m := p.image
	// First of all, so that a program that is too old says what it needs before it meets what it cannot read.
	body := wire.AppendString(wire.AppendInt16(nil, m.Level()), m.release, true)
	body = wire.AppendInt64(body, int64(m.index))
	body = wire.AppendInt64(body, int64(m.term))
	body = wire.AppendUUID(wire.AppendInt32(body, m.recovery.Generation), m.recovery.ID)
	body = AppendHash(body, m.hash)
	body = appendRequests(body, p.requests)
	body = appendPending(body, &p.pending)
	body = wire.AppendArrayLength(body, m.brokers.Len(), true)
	m.brokers.Ascend(func(i *BrokerInfo) bool { body = appendBroker(body, i); return true })
	records := m.Records()
	body = wire.AppendArrayLength(body, len(records), true)
	for _, r := range records {
		body = AppendRecord(body, r)
	}
	head := append(bytes.Clone(snapshotMagic), snapshotVersion)
	head = wire.AppendInt64(head, int64(len(body)))
	tail := wire.AppendUint32(nil, crc32.Checksum(body, castagnoli))
	var written int64
	for _, part := range [][]byte{head, body, tail} {
		n, err := w.Write(part)
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("write metadata snapshot: %w", err)
		}
	}
	return written, nil
}

// ReadSnapshot returns the state that was written. Nothing is returned of a snapshot that is damaged.
func ReadSnapshot(r io.Reader) (*State, error) {
	head := make([]byte, len(snapshotMagic)+1+8)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, fmt.Errorf("%w: head: %w", ErrCorruptSnapshot, err)
	}
	if !bytes.Equal(head[:len(snapshotMagic)], snapshotMagic) {
		return nil, fmt.Errorf("%w: it begins with %q", ErrCorruptSnapshot, head[:len(snapshotMagic)])
	}
	if v := head[len(snapshotMagic)]; v != snapshotVersion {
		return nil, fmt.Errorf("%w: snapshot version %d, this kraftgo knows %d", ErrUnknownRecord, v, snapshotVersion)
	}
	hr := wire.NewReader(head[len(snapshotMagic)+1:])
	size := hr.Int64()
	if size < 0 || size > snapshotMaxBytes {
		return nil, fmt.Errorf("%w: body of %d bytes", ErrCorruptSnapshot, size)
	}
	// Grow with what comes, not with what the head claims.
	var body bytes.Buffer
	if _, err := io.CopyN(&body, r, size); err != nil {
		return nil, fmt.Errorf("%w: body: %w", ErrCorruptSnapshot, err)
	}
	var tail [4]byte
	if _, err := io.ReadFull(r, tail[:]); err != nil {
		return nil, fmt.Errorf("%w: checksum: %w", ErrCorruptSnapshot, err)
	}
	tr := wire.NewReader(tail[:])
	if sum := crc32.Checksum(body.Bytes(), castagnoli); sum != tr.Uint32() {
		return nil, fmt.Errorf("%w: checksum does not match", ErrCorruptSnapshot)
	}
	return decodeSnapshot(body.Bytes())
}

func decodeSnapshot(body []byte) (*State, error) {
	s := NewState()
	r := wire.NewReader(body)
	level, release := r.Int16(), r.String(true)
	if r.Err() == nil {
		if err := checkFinalized(level, release); err != nil {
			return nil, err
		}
	}
	index, term := wire.Index(r.Int64()), wire.Term(r.Int64())
	s.image.recovery = Recovery{r.Int32(), r.UUID()}
	s.image.hash = s.image.hash.plus(s.hasher.recovery(s.image.recovery))
	hash := ReadHash(&r)
	s.readRequests(&r)
	if err := s.readPending(&r); err != nil {
		return nil, fmt.Errorf("metadata snapshot: %w", err)
	}
	for n := r.ArrayLength(true, false, 12); n > 0; n-- {
		info := BrokerInfo{Epoch: wire.BrokerEpoch(r.Int64()), Fenced: r.Bool(), ShuttingDown: r.Bool()}
		rec, err := ReadRecord(&r)
		if err != nil {
			return nil, fmt.Errorf("metadata snapshot: broker: %w", err)
		}
		registration, ok := rec.(*RegisterBroker)
		if !ok {
			return nil, fmt.Errorf("%w: %T where a broker must be", ErrCorruptSnapshot, rec)
		}
		info.RegisterBroker = *registration
		s.image.brokers.ReplaceOrInsert(&info)
		s.image.hash = s.image.hash.plus(s.hasher.broker(&info))
	}
	for n := r.ArrayLength(true, false, 4); n > 0; n-- {
		rec, err := ReadRecord(&r)
		if err != nil {
			return nil, fmt.Errorf("metadata snapshot: %w", err)
		}
		s.change(index, rec)
	}
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrCorruptSnapshot, err)
	}
	if s.image.hash != hash {
		return nil, fmt.Errorf("%w: the state in it has hash %s, and should have %s", ErrCorruptSnapshot, s.image.hash, hash)
	}
	s.image.index, s.image.term = index, term
	return s, nil
}

// Index returns the index of the last command in the snapshot.
func (p *Snapshot) Index() wire.Index { return p.image.index }
