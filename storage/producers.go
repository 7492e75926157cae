package storage

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// keptBatches is how many of a producer's last batches are known again when they are sent twice.
const keptBatches = 5

const (
	noProducerEpoch wire.ProducerEpoch = -1
	noOffset        wire.Offset        = -1
)

// Origin says who made the batches of an append, which decides how much is checked.
type Origin uint8

const (
	// FromClient is a producer: epoch and sequence are checked.
	FromClient Origin = iota
	// FromCoordinator is a group or transaction coordinator, whose batches have no sequence: only the epoch is checked.
	FromCoordinator
	// fromLeader is replication and recovery: a leader has checked, so that nothing may be refused.
	fromLeader
)

// keptBatch is what is remembered of a batch.
type keptBatch struct {
	lastOffset   wire.Offset
	timestamp    wire.Timestamp // the largest
	lastSequence wire.Sequence
	delta        int32 // last offset less first
}

func (b keptBatch) firstSequence() wire.Sequence {
	first := int64(b.lastSequence) - int64(b.delta)
	if first < 0 && b.lastSequence >= 0 {
		first += math.MaxInt32 + 1
	}
	return wire.Sequence(first)
}

// producerState is what is known of one producer id. batches[:kept] are its last batches, the newest last, all of epoch.
type producerState struct {
	id               wire.ProducerID
	epoch            wire.ProducerEpoch // noProducerEpoch: nothing is known yet
	kept             uint8
	coordinatorEpoch int32
	lastTimestamp    wire.Timestamp
	transactionStart wire.Offset // of the open transaction; noOffset: none
	batches          [keptBatches]keptBatch
}

func newProducerState(id wire.ProducerID) producerState {
	return producerState{
		id: id, epoch: noProducerEpoch, coordinatorEpoch: -1, lastTimestamp: wire.NoTimestamp, transactionStart: noOffset,
	}
}

func (p *producerState) lastSequence() wire.Sequence {
	if p.kept == 0 {
		return wire.NoSequence
	}
	return p.batches[p.kept-1].lastSequence
}

func (p *producerState) setEpoch(epoch wire.ProducerEpoch) {
	if p.epoch != epoch {
		p.epoch, p.kept = epoch, 0
	}
}

func (p *producerState) keep(b keptBatch) {
	if p.kept == keptBatches {
		copy(p.batches[:], p.batches[1:])
		p.kept--
	}
	p.batches[p.kept] = b
	p.kept++
}

// duplicate finds the batch with exactly these sequences among those kept.
func (p *producerState) duplicate(h batch.Header) (keptBatch, bool) {
	if p.epoch != h.ProducerEpoch() {
		return keptBatch{}, false
	}
	first, last := h.BaseSequence(), h.LastSequence()
	for _, b := range p.batches[:p.kept] {
		if b.lastSequence == last && b.firstSequence() == first {
			return b, true
		}
	}
	return keptBatch{}, false
}

// checkEpoch refuses a producer that another incarnation has superseded. version is the transaction version of a marker,
// 0 otherwise: from 2 on a marker's epoch is above that of its data, but for one that is written again.
func (p *producerState) checkEpoch(epoch wire.ProducerEpoch, version int16) wire.ErrorCode {
	switch {
	case epoch > p.epoch || epoch == p.epoch && version < 2:
		return wire.ErrNone
	case version >= 2 && epoch == p.epoch && (p.transactionStart == noOffset || epoch == math.MaxInt16):
		return wire.ErrNone
	}
	return wire.ErrInvalidProducerEpoch
}

// checkSequence refuses a batch that does not follow the producer's last.
func (p *producerState) checkSequence(epoch wire.ProducerEpoch, first wire.Sequence, v *verification) wire.ErrorCode {
	if v != nil && v.supportsEpochBump && first != 0 && p.epoch == noProducerEpoch {
		return wire.ErrOutOfOrderSequenceNumber
	}
	if v != nil && first > v.lowestSequence {
		return wire.ErrOutOfOrderSequenceNumber
	}
	switch {
	case p.epoch == noProducerEpoch:
		// All that the producer wrote is gone from the log: any sequence may be the next.
		return wire.ErrNone
	case epoch != p.epoch && first != 0:
		return wire.ErrOutOfOrderSequenceNumber
	case epoch == p.epoch && int64(first) != int64(p.lastSequence())+1 && (first != 0 || p.lastSequence() != math.MaxInt32):
		return wire.ErrOutOfOrderSequenceNumber
	}
	return wire.ErrNone
}

// verification is a transaction that the coordinator is being asked about.
type verification struct {
	guard             VerificationGuard
	lowestSequence    wire.Sequence
	epoch             wire.ProducerEpoch
	supportsEpochBump bool
	since             int64 // Unix milliseconds
}

// staging is what an append will change, gathered before anything is written. It is reused.
type staging struct {
	producers []producerState
	begun     []openTransaction
	completed []completedTransaction
	marked    []wire.ProducerID // got a marker, of whatever transaction
}

func (s *staging) reset() {
	s.producers, s.begun, s.completed, s.marked = s.producers[:0], s.begun[:0], s.completed[:0], s.marked[:0]
}

// producerTable is all that a log knows of its producers. The appender owns it.
type producerTable struct {
	states    map[wire.ProducerID]*producerState
	verifying map[wire.ProducerID]*verification
	lastGuard VerificationGuard
}

func (t *producerTable) reset() {
	clear(t.states)
	clear(t.verifying)
}

func (t *producerTable) staged(s *staging, id wire.ProducerID) *producerState {
	for i := range s.producers {
		if s.producers[i].id == id {
			return &s.producers[i]
		}
	}
	if p := t.states[id]; p != nil {
		s.producers = append(s.producers, *p)
	} else {
		s.producers = append(s.producers, newProducerState(id))
	}
	return &s.producers[len(s.producers)-1]
}

// stageBatch checks one batch of an idempotent producer, and stages what it changes. first is the offset that it gets.
// duplicate: it was appended before, as old.
func (t *producerTable) stageBatch(s *staging, h batch.Header, first wire.Offset, a *Append, verify bool) (old keptBatch, duplicate bool, code wire.ErrorCode) {
	p := t.staged(s, h.ProducerID())
	if h.Control() {
		return old, false, stageMarker(s, p, h, first, a)
	}
	epoch := h.ProducerEpoch()
	if a.Origin == FromClient {
		if old, duplicate = p.duplicate(h); duplicate {
			return old, true, wire.ErrNone
		}
		v := t.verifying[p.id]
		open := p.transactionStart != noOffset && p.epoch == epoch
		if verify && h.Transactional() && !open && (v == nil || v.guard != a.Guard) {
			return old, false, wire.ErrInvalidTxnState
		}
		if code := p.checkEpoch(epoch, 0); code != wire.ErrNone {
			return old, false, code
		}
		if code := p.checkSequence(epoch, h.BaseSequence(), v); code != wire.ErrNone {
			return old, false, code
		}
	} else if a.Origin == FromCoordinator {
		if code := p.checkEpoch(epoch, 0); code != wire.ErrNone {
			return old, false, code
		}
	}
	if p.transactionStart != noOffset && !h.Transactional() && a.Origin != fromLeader {
		return old, false, wire.ErrInvalidTxnState
	}
	last := first + wire.Offset(h.LastOffsetDelta())
	p.setEpoch(epoch)
	p.keep(keptBatch{lastOffset: last, timestamp: h.MaxTimestamp(), lastSequence: h.LastSequence(), delta: h.LastOffsetDelta()})
	p.lastTimestamp = h.MaxTimestamp()
	if p.transactionStart == noOffset && h.Transactional() {
		p.transactionStart = first
		s.begun = append(s.begun, openTransaction{first: first, id: p.id})
	}
	return old, false, wire.ErrNone
}

// stageMarker ends the producer's transaction.
func stageMarker(s *staging, p *producerState, h batch.Header, offset wire.Offset, a *Append) wire.ErrorCode {
	m, ok := parseMarker(h)
	if !ok {
		return wire.ErrNone // compaction has emptied the batch; or it is a control record of another kind
	}
	if a.Origin != fromLeader {
		if code := p.checkEpoch(h.ProducerEpoch(), a.TransactionVersion); code != wire.ErrNone {
			return code
		}
		if p.coordinatorEpoch > m.coordinatorEpoch {
			return wire.ErrTransactionCoordinatorFenced
		}
	}
	if p.transactionStart != noOffset {
		s.completed = append(s.completed, completedTransaction{
			openTransaction: openTransaction{first: p.transactionStart, id: p.id}, last: offset, aborted: !m.commit,
		})
	}
	s.marked = append(s.marked, p.id)
	p.setEpoch(h.ProducerEpoch())
	p.coordinatorEpoch = m.coordinatorEpoch
	p.transactionStart = noOffset
	p.lastTimestamp = m.timestamp
	return wire.ErrNone
}

// commit makes what was staged so.
func (t *producerTable) commit(s *staging) {
	for i := range s.producers {
		staged := &s.producers[i]
		p := t.states[staged.id]
		if p == nil {
			p = new(producerState)
			if t.states == nil {
				t.states = make(map[wire.ProducerID]*producerState)
			}
			t.states[staged.id] = p
		}
		*p = *staged
	}
	for _, b := range s.begun {
		delete(t.verifying, b.id)
	}
	for _, id := range s.marked {
		delete(t.verifying, id)
	}
}

// startVerification is Log.StartVerification.
func (t *producerTable) startVerification(id wire.ProducerID, epoch wire.ProducerEpoch, sequence wire.Sequence, bump bool, nowMs int64) VerificationGuard {
	v := t.verifying[id]
	if v == nil || v.epoch != epoch {
		t.lastGuard++
		v = &verification{guard: t.lastGuard, lowestSequence: sequence, epoch: epoch, supportsEpochBump: bump, since: nowMs}
		if t.verifying == nil {
			t.verifying = make(map[wire.ProducerID]*verification)
		}
		t.verifying[id] = v
	}
	v.lowestSequence = min(v.lowestSequence, sequence)
	return v.guard
}

// expire forgets the producers without an open transaction that were idle for long.
func (t *producerTable) expire(nowMs, afterMs int64) {
	for id, p := range t.states {
		if p.expired(nowMs, afterMs) {
			delete(t.states, id)
		}
	}
	for id, v := range t.verifying {
		if nowMs-v.since >= afterMs {
			delete(t.verifying, id)
		}
	}
}

func (p *producerState) expired(nowMs, afterMs int64) bool {
	return p.transactionStart == noOffset && nowMs-int64(p.lastTimestamp) >= afterMs
}

// Producer is a producer id as DescribeProducers tells it.
type Producer struct {
	ID               wire.ProducerID
	Epoch            wire.ProducerEpoch
	LastSequence     wire.Sequence
	LastTimestamp    wire.Timestamp
	CoordinatorEpoch int32
	TransactionStart wire.Offset // of the open transaction; -1: none
}

func (t *producerTable) list() []Producer {
	list := make([]Producer, 0, len(t.states))
	for _, p := range t.states {
		list = append(list, Producer{
			ID: p.id, Epoch: p.epoch, LastSequence: p.lastSequence(), LastTimestamp: p.lastTimestamp,
			CoordinatorEpoch: p.coordinatorEpoch, TransactionStart: p.transactionStart,
		})
	}
	slices.SortFunc(list, func(a, b Producer) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// The producer snapshot: version, checksum of all that follows it, count, entries.
const (
	snapshotVersion    = 1
	snapshotCRCAt      = 2
	snapshotEntriesAt  = 6
	snapshotEntrySize  = 46
	maxSnapshotEntries = 1 << 24
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// encodeSnapshot returns the table in the form of a .snapshot file.
func (t *producerTable) encodeSnapshot() []byte {
	b := make([]byte, 0, snapshotEntriesAt+4+len(t.states)*snapshotEntrySize)
	b = wire.AppendInt16(b, snapshotVersion)
	b = wire.AppendInt32(b, 0)
	b = wire.AppendInt32(b, int32(len(t.states)))
	order := make([]*producerState, 0, len(t.states))
	for _, p := range t.states {
		order = append(order, p)
		last, delta := noOffset, int32(0)
		if p.kept > 0 {
			last, delta = p.batches[p.kept-1].lastOffset, p.batches[p.kept-1].delta
		}
		b = wire.AppendInt64(b, int64(p.id))
		b = wire.AppendInt16(b, int16(p.epoch))
		b = wire.AppendInt32(b, int32(p.lastSequence()))
		b = wire.AppendInt64(b, int64(last))
		b = wire.AppendInt32(b, delta)
		b = wire.AppendInt64(b, int64(p.lastTimestamp))
		b = wire.AppendInt32(b, p.coordinatorEpoch)
		b = wire.AppendInt64(b, int64(p.transactionStart))
	}
	b = appendOlder(b, order)
	binary.BigEndian.PutUint32(b[snapshotCRCAt:], crc32.Checksum(b[snapshotEntriesAt:], castagnoli))
	return b
}

// appendOlder appends, behind what Kafka reads, the batches that its form has no place for: of each producer in the order
// of the entries all it keeps but the newest. Without them a producer that resends several batches after a restart would
// be told that they are out of order.
func appendOlder(b []byte, order []*producerState) []byte {
	for _, p := range order {
		n := max(int(p.kept), 1) - 1
		b = append(b, byte(n))
		for _, k := range p.batches[:n] {
			b = wire.AppendInt64(b, int64(k.lastOffset))
			b = wire.AppendInt64(b, int64(k.timestamp))
			b = wire.AppendInt32(b, int32(k.lastSequence))
			b = wire.AppendInt32(b, k.delta)
		}
	}
	return b
}

// readOlder reads what appendOlder wrote; a file of Kafka's ends before it.
func readOlder(r *wire.Reader, order []*producerState) {
	if r.Remaining() == 0 {
		return
	}
	for _, p := range order {
		n := int(r.Int8())
		if n < 0 || n >= keptBatches {
			r.Fail("%d older batches of producer %d", n, p.id)
			return
		}
		newest := p.batches[0]
		for i := range n {
			p.batches[i] = keptBatch{
				lastOffset: wire.Offset(r.Int64()), timestamp: wire.Timestamp(r.Int64()),
				lastSequence: wire.Sequence(r.Int32()), delta: r.Int32(),
			}
		}
		if n > 0 {
			p.batches[n], p.kept = newest, uint8(n)+1
		}
	}
	if r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
}

// loadSnapshot replaces the table by a .snapshot file's content, less the expired.
func (t *producerTable) loadSnapshot(b []byte, nowMs, expireMs int64) error {
	if len(b) < snapshotEntriesAt+4 {
		return fmt.Errorf("%w: producer snapshot of %d bytes", ErrCorrupt, len(b))
	}
	if got, want := crc32.Checksum(b[snapshotEntriesAt:], castagnoli), binary.BigEndian.Uint32(b[snapshotCRCAt:]); got != want {
		return fmt.Errorf("%w: producer snapshot's checksum is %08x, written %08x", ErrCorrupt, got, want)
	}
	r := wire.NewReader(b)
	version := r.Int16()
	r.Int32()
	n := int(r.Int32())
	if version != snapshotVersion || n < 0 || n > maxSnapshotEntries || n*snapshotEntrySize > r.Remaining() {
		return fmt.Errorf("%w: producer snapshot of version %d with %d entries in %d bytes", ErrCorrupt, version, n, len(b))
	}
	t.reset()
	if n > 0 && t.states == nil {
		t.states = make(map[wire.ProducerID]*producerState, n)
	}
	order := make([]*producerState, 0, n)
	for range n {
		p := newProducerState(wire.ProducerID(r.Int64()))
		p.epoch = wire.ProducerEpoch(r.Int16())
		kept := keptBatch{lastSequence: wire.Sequence(r.Int32()), lastOffset: wire.Offset(r.Int64()), delta: r.Int32()}
		p.lastTimestamp = wire.Timestamp(r.Int64())
		p.coordinatorEpoch = r.Int32()
		p.transactionStart = wire.Offset(r.Int64())
		kept.timestamp = p.lastTimestamp
		if kept.lastOffset >= 0 {
			p.keep(kept)
		}
		order = append(order, &p)
		if !p.expired(nowMs, expireMs) {
			t.states[p.id] = &p
		}
	}
	readOlder(&r, order)
	return r.Err()
}
