package storage

import (
	"math"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// The search for a batch that was sent again goes back by so many bytes of the log at a time, and by no more than so many in all.
const (
	againStep = 1 << 20
	againMost = 64 << 20
)

// againLocked finds a batch that is sent again, with exactly these sequences, though its producer has written more since than is kept of
// it. A client may have five requests under way to a leader that answers late, since it waits for replicas of another partition, or is cut
// off, and meanwhile send what comes after to the next leader, which has those five already, and takes it; then they come again. They are
// not out of order, as Kafka's broker says, which keeps the last five batches and looks no further (ProducerStateManager): Java's producer
// sends such a batch again until its delivery times out, two minutes by default, and all that the partition gets waits behind it.
//
// The log is read backwards, headers only, until there is an older batch of that producer.
func (l *Log) againLocked(h batch.Header) (old keptBatch, found bool) {
	p := l.mu.producers.states[h.ProducerID()]
	if p == nil || p.kept == 0 || p.epoch != h.ProducerEpoch() || h.Control() {
		return old, false
	}
	oldest := p.batches[0]
	distance := sequencesFrom(h.BaseSequence(), oldest.firstSequence())
	if distance == 0 || distance > math.MaxInt32/2 {
		return old, false // it comes after, not before
	}
	// Each record in between has an offset of its own.
	end := oldest.lastOffset - wire.Offset(oldest.delta) - wire.Offset(distance) + 1 // past where it may begin
	segments := l.view()
	left := int64(againMost)
	for i := find(segments, end-1); i >= 0 && left > 0; i-- {
		s := segments[i]
		done := false
		if old, found, done = l.againInLocked(s, min(end, s.endOffset()), h, &left); done {
			return old, found
		}
	}
	return old, false
}

// sequencesFrom is how many sequences there are from one to another that comes later; they wrap around.
func sequencesFrom(a, b wire.Sequence) int64 {
	n := int64(b) - int64(a)
	if n < 0 {
		n += math.MaxInt32 + 1
	}
	return n
}

// againInLocked is againLocked for one segment, of which batches that begin before end are looked at. done: there is no need to look in
// others.
func (l *Log) againInLocked(s *segment, end wire.Offset, h batch.Header, left *int64) (old keptBatch, found, done bool) {
	f, err := s.log.use(l.config.Files, s.logName, false)
	if err != nil {
		return old, false, true
	}
	defer f.release()
	to, err := s.floor(l.config.Files, end)
	if err != nil {
		return old, false, true
	}
	for last := true; last || to > 0 && *left > 0; last = false {
		from := max(to-againStep, 0)
		if e, err := s.index.floorPosition(l.config.Files, s, from); err == nil {
			from = int64(e.position)
		}
		limit := to
		if last { // the entry is before what it was asked for
			limit = s.size.Load()
		}
		_, err := s.walk(f, from, s.size.Load(), func(x batch.Header, position int64) bool {
			if position >= limit || x.BaseOffset() >= end || found {
				return false
			}
			if x.ProducerID() != h.ProducerID() || x.Control() {
				return true
			}
			if x.ProducerEpoch() == h.ProducerEpoch() && x.BaseSequence() == h.BaseSequence() && x.LastSequence() == h.LastSequence() {
				old = keptBatch{lastOffset: x.LastOffset(), timestamp: x.MaxTimestamp(), lastSequence: x.LastSequence(), delta: x.LastOffsetDelta()}
				found = true
			}
			done = done || x.ProducerEpoch() != h.ProducerEpoch() || sequencesFrom(x.BaseSequence(), h.BaseSequence()) < math.MaxInt32/2 // what is further back is older
			return true
		})
		*left -= to - from
		if found || done || err != nil || from >= to {
			return old, found, found || done || err != nil
		}
		to = from
	}
	return old, false, false
}
