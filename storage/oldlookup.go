package storage

import (
	"sort"

	"github.com/kraftgo/kraftgo/wire"
)

// EpochAt returns the epoch of the leader that wrote the record at an offset, or that the next record there will be
// written after; wire.NoLeaderEpoch when the log knows none.
func (l *Log) EpochAt(o wire.Offset) wire.LeaderEpoch {
	l.epochs.mu.Lock()
	defer l.epochs.mu.Unlock()
	entries := l.epochs.mu.entries
	i := sort.Search(len(entries), func(i int) bool { return entries[i].start > o })
	if i == 0 {
		return wire.NoLeaderEpoch
	}
	return entries[i-1].epoch
}

// OffsetsBefore answers the first form of ListOffsets (version 0): at most n offsets at which segments start, the newest
// first. before -1 means the end and all starts, -2 the log's start alone; a time in milliseconds leaves out the segments
// whose newest record is later.
func (l *Log) OffsetsBefore(before int64, n int) []wire.Offset {
	var out []wire.Offset
	if before == -1 {
		out = append(out, l.End())
	}
	view := l.view()
	for i := len(view) - 1; i >= 0; i-- {
		start := max(view[i].base, l.Start())
		if before >= 0 {
			if newest, _, err := l.newest(view[i]); err != nil || int64(newest) > before {
				continue
			}
		}
		if before == -2 && i > 0 || len(out) > 0 && out[len(out)-1] == start {
			continue
		}
		out = append(out, start)
	}
	if len(view) == 0 && before == -2 {
		out = append(out, l.Start())
	}
	return out[:min(len(out), max(n, 0))]
}
