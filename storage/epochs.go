package storage

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"sync"

	"github.com/kraftgo/kraftgo/wire"
)

// epochStart says that the leader of epoch wrote from start on.
type epochStart struct {
	epoch wire.LeaderEpoch
	start wire.Offset
}

// epochCache knows where each leader's reign starts. Epochs ascend strictly, starts do not descend.
type epochCache struct {
	// mu is a leaf.
	mu struct {
		sync.Mutex
		entries []epochStart
		changed bool // since the file was written
	}
}

// assign notes that epoch wrote at start. A reign that starts there or later has no record, and is forgotten.
func (c *epochCache) assign(epoch wire.LeaderEpoch, start wire.Offset) {
	if epoch < 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.mu.entries)
	if n > 0 && c.mu.entries[n-1].epoch == epoch {
		return
	}
	n = c.backedLocked(start)
	if n > 0 && c.mu.entries[n-1].epoch >= epoch {
		if n < len(c.mu.entries) {
			c.mu.entries, c.mu.changed = c.mu.entries[:n], true
		}
		return
	}
	c.mu.entries = append(c.mu.entries[:n], epochStart{epoch, start})
	c.mu.changed = true
}

// backedLocked is the number of reigns that have records below offset.
func (c *epochCache) backedLocked(offset wire.Offset) int {
	n := len(c.mu.entries)
	for n > 0 && c.mu.entries[n-1].start >= offset {
		n--
	}
	return n
}

// fits reports whether records of epoch may follow those below offset: leaders' epochs never fall along a log.
func (c *epochCache) fits(epoch wire.LeaderEpoch, offset wire.Offset) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.backedLocked(offset)
	return n == 0 || c.mu.entries[n-1].epoch <= epoch
}

// before is the epoch of the last record below offset.
func (c *epochCache) before(offset wire.Offset) wire.LeaderEpoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.backedLocked(offset); n > 0 {
		return c.mu.entries[n-1].epoch
	}
	return wire.NoLeaderEpoch
}

func (c *epochCache) latest() wire.LeaderEpoch {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.mu.entries); n > 0 {
		return c.mu.entries[n-1].epoch
	}
	return wire.NoLeaderEpoch
}

// endOf is Log.EpochEndOffset: the largest known epoch at or below the one asked for, and where the next one starts.
func (c *epochCache) endOf(epoch wire.LeaderEpoch, end wire.Offset) (wire.LeaderEpoch, wire.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.mu.entries)
	if epoch == wire.NoLeaderEpoch || n == 0 {
		return wire.NoLeaderEpoch, noOffset
	}
	if epoch == c.mu.entries[n-1].epoch {
		return epoch, end
	}
	i := sort.Search(n, func(i int) bool { return c.mu.entries[i].epoch > epoch })
	switch i {
	case n: // a reign of which this log knows nothing yet
		return wire.NoLeaderEpoch, noOffset
	case 0: // before all that is known: the log starts with the first known reign
		return epoch, c.mu.entries[0].start
	}
	return c.mu.entries[i-1].epoch, c.mu.entries[i].start
}

// cutEnd forgets the reigns that start at or past end.
func (c *epochCache) cutEnd(end wire.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := sort.Search(len(c.mu.entries), func(i int) bool { return c.mu.entries[i].start >= end })
	if n < len(c.mu.entries) {
		c.mu.entries, c.mu.changed = c.mu.entries[:n], true
	}
}

// cutStart forgets the reigns that ended before start; the one that start is in then starts there.
func (c *epochCache) cutStart(start wire.Offset) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := sort.Search(len(c.mu.entries), func(i int) bool { return c.mu.entries[i].start > start })
	if i == 0 || (i == 1 && c.mu.entries[0].start == start) {
		return
	}
	c.mu.entries = append([]epochStart{{c.mu.entries[i-1].epoch, start}}, c.mu.entries[i:]...)
	c.mu.changed = true
}

// encode returns the leader-epoch-checkpoint file when it must be written; nil: it need not.
func (c *epochCache) encode() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.mu.changed {
		return nil
	}
	c.mu.changed = false
	b := fmt.Appendf(nil, "0\n%d\n", len(c.mu.entries))
	for _, e := range c.mu.entries {
		b = fmt.Appendf(b, "%d %d\n", e.epoch, e.start)
	}
	return b
}

// decode replaces the cache by the content of a leader-epoch-checkpoint file.
func (c *epochCache) decode(b []byte) error {
	rows, err := parseCheckpoint(b, 2)
	if err != nil {
		return err
	}
	var entries []epochStart
	for _, row := range rows {
		epoch, err := strconv.ParseInt(row[0], 10, 32)
		if err != nil {
			return fmt.Errorf("%w: epoch %q", ErrCorrupt, row[0])
		}
		start, err := strconv.ParseInt(row[1], 10, 64)
		if err != nil {
			return fmt.Errorf("%w: start offset %q", ErrCorrupt, row[1])
		}
		e := epochStart{wire.LeaderEpoch(epoch), wire.Offset(start)}
		if n := len(entries); e.epoch < 0 || e.start < 0 || n > 0 && (entries[n-1].epoch >= e.epoch || entries[n-1].start > e.start) {
			return fmt.Errorf("%w: epoch %d at %d is out of order", ErrCorrupt, epoch, start)
		}
		entries = append(entries, e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mu.entries, c.mu.changed = entries, false
	return nil
}

// parseCheckpoint takes a file of Kafka's checkpoint form apart: a version line, a line with the number of rows, and
// rows of fields separated by blanks.
func parseCheckpoint(b []byte, fields int) ([][]string, error) {
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	if len(lines) < 2 || string(bytes.TrimSpace(lines[0])) != "0" {
		return nil, fmt.Errorf("%w: checkpoint without version 0", ErrCorrupt)
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(lines[1])))
	if err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("%w: checkpoint of %d rows tells of %q", ErrCorrupt, len(lines)-2, lines[1])
	}
	rows := make([][]string, 0, n)
	for _, line := range lines[2:] {
		var row []string
		for _, f := range bytes.Fields(line) {
			row = append(row, string(f))
		}
		if len(row) != fields {
			return nil, fmt.Errorf("%w: checkpoint row %q has not %d fields", ErrCorrupt, line, fields)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
