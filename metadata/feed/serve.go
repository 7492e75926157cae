package feed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// ErrUnknownSnapshot is the result of asking for a chunk of a snapshot that is not held any more: begin again.
var ErrUnknownSnapshot = errors.New("this snapshot is not held any more")

// Answer is what a fetch brings.
type Answer struct {
	Entries []Entry
	// Behind says that commands which are not kept any more would be needed: take a snapshot.
	Behind bool
	// Applied is the index that the answering broker had reached.
	Applied wire.Index
}

// Fetch returns commands above index, up to about maxBytes of them. When there are none it waits for the next until
// ctx ends, and then answers without entries.
func (r *Replica) Fetch(ctx context.Context, index wire.Index, maxBytes int) Answer {
	for {
		r.mu.Lock()
		entries, ok := r.mu.ring.from(index, maxBytes)
		applied, grown := r.image.Load().Index(), r.mu.grown
		r.mu.Unlock()
		if !ok {
			return Answer{Behind: true, Applied: applied}
		}
		if len(entries) > 0 {
			return Answer{Entries: entries, Applied: applied}
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return Answer{Applied: applied}
		case <-r.stop:
			return Answer{Applied: applied}
		}
	}
}

// snapshots holds the encoded snapshots that others are fetching.
type snapshots struct {
	mu   sync.Mutex
	held map[wire.Index]*heldSnapshot
}

type heldSnapshot struct {
	bytes []byte
	used  time.Time
}

// Chunk is a piece of a snapshot.
type Chunk struct {
	Snapshot wire.Index // names the snapshot
	Total    int64      // its bytes
	Bytes    []byte     // from the offset that was asked for; must not be written
}

// snapshotIdle is how long a snapshot is held after its last use, and snapshotsHeld how many at a time: pullers that
// start together share one.
const (
	snapshotIdle  = time.Minute
	snapshotsHeld = 2
)

// Chunk returns up to max bytes of a snapshot from an offset on. Index 0 begins one: the newest that is held if it is
// younger than what the log can add to it, else a new one. now tells which snapshots nobody fetches any more.
func (r *Replica) Chunk(now time.Time, index wire.Index, offset int64, max int) (Chunk, error) {
	s := &r.snapshots
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, h := range s.held {
		if now.Sub(h.used) > snapshotIdle {
			delete(s.held, i)
		}
	}
	if index == 0 {
		var err error
		if index, err = r.beginSnapshot(now); err != nil {
			return Chunk{}, err
		}
	}
	h := s.held[index]
	if h == nil {
		return Chunk{}, ErrUnknownSnapshot
	}
	if offset < 0 || offset > int64(len(h.bytes)) {
		return Chunk{}, fmt.Errorf("offset %d of a snapshot of %d bytes", offset, len(h.bytes))
	}
	h.used = now
	end := min(offset+int64(max), int64(len(h.bytes)))
	return Chunk{Snapshot: index, Total: int64(len(h.bytes)), Bytes: h.bytes[offset:end]}, nil
}

// beginSnapshot returns a snapshot that the kept commands continue. The caller holds s.mu.
func (r *Replica) beginSnapshot(now time.Time) (wire.Index, error) {
	s := &r.snapshots
	r.mu.Lock()
	after := r.mu.ring.after
	r.mu.Unlock()
	newest := wire.Index(0)
	for i := range s.held {
		newest = max(newest, i)
	}
	if newest > 0 && newest >= after {
		return newest, nil
	}
	snapshot := r.Snapshot()
	var b bytes.Buffer
	if _, err := snapshot.WriteTo(&b); err != nil {
		return 0, err
	}
	if s.held == nil {
		s.held = map[wire.Index]*heldSnapshot{}
	}
	for len(s.held) >= snapshotsHeld {
		oldest := wire.Index(0)
		for i := range s.held {
			if oldest == 0 || i < oldest {
				oldest = i
			}
		}
		delete(s.held, oldest)
	}
	s.held[snapshot.Index()] = &heldSnapshot{b.Bytes(), now}
	return snapshot.Index(), nil
}
