package feed

import (
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// ring keeps the newest entries, bounded by count and bytes. Indexes rise, with gaps: raft's own entries are not
// commands.
type ring struct {
	maxEntries, maxBytes int

	entries []Entry
	bytes   int
	after   wire.Index // every command above this index is in entries
}

func (r *ring) add(e Entry) {
	r.entries = append(r.entries, e)
	r.bytes += len(e.Data)
	drop := 0
	for len(r.entries)-drop > 1 && (len(r.entries)-drop > r.maxEntries || r.bytes > r.maxBytes) {
		r.bytes -= len(r.entries[drop].Data)
		r.after = r.entries[drop].Index
		drop++
	}
	if drop > 0 {
		clear(r.entries[:drop]) // the array lives on behind the slice until append moves it
		r.entries = r.entries[drop:]
	}
}

// reset forgets everything: the state now begins with a snapshot of this index.
func (r *ring) reset(index wire.Index) {
	r.entries, r.bytes, r.after = nil, 0, index
}

// from returns the entries above index up to about maxBytes, at least one if there is any; false if older ones than
// are kept would be needed.
func (r *ring) from(index wire.Index, maxBytes int) ([]Entry, bool) {
	if index < r.after {
		return nil, false
	}
	lo := r.above(index)
	end, bytes := lo, 0
	for end < len(r.entries) && (end == lo || bytes+len(r.entries[end].Data) <= maxBytes) {
		bytes += len(r.entries[end].Data)
		end++
	}
	return append([]Entry(nil), r.entries[lo:end]...), true
}

// above returns the place of the first entry above an index.
func (r *ring) above(index wire.Index) int {
	lo, hi := 0, len(r.entries)
	for lo < hi {
		if mid := (lo + hi) / 2; r.entries[mid].Index <= index {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// hash returns the hash after the entry of exactly this index.
func (r *ring) hash(index wire.Index) (metadata.Hash, bool) {
	if i := r.above(index) - 1; i >= 0 && r.entries[i].Index == index {
		return r.entries[i].Hash, true
	}
	return metadata.Hash{}, false
}
