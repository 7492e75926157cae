package wal

import (
	"math"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// Client is one log's part of a write-ahead log. Calls for one log do not overlap, but for Synced and Close.
type Client struct {
	log     *Log
	key     wire.TopicIDPartition
	durable func(end wire.Offset, generation uint64)
	sync    func() error

	// What follows is guarded by log.mu.
	added, synced uint64 // Adds, and those that a sync of the log's own files has covered
	last          uint64 // the file that the last went to
	group         *group // that has an Add of this client, and is not written yet
	slot          int    // its place in group.adds
	closed        bool
}

// Add makes bytes durable that were written into a segment, and returns at once. end is the offset past them. False: not
// here; the caller syncs the file itself. Durable is told generation, by which the log knows whether it still cares.
func (c *Client) Add(base wire.Offset, position int64, bytes []byte, end wire.Offset, generation uint64) bool {
	l := c.log
	n := writeSize + len(bytes)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed || c.closed || position > math.MaxUint32 {
		return false
	}
	if !l.fitsLocked(n, false) {
		l.prepareLocked()
		return false
	}
	if c.synced == c.added {
		if l.mu.busy >= l.o.Clients {
			return false
		}
		l.mu.busy++
	}
	g := l.stageLocked(n)
	appendWrite(g.buf[:g.used], &Entry{Key: c.key, Base: base, Position: position, Bytes: bytes})
	g.used += n
	c.added++
	if c.group != g {
		c.group, c.slot = g, len(g.adds)
		g.adds = append(g.adds, add{client: c})
	}
	g.adds[c.slot].end, g.adds[c.slot].generation = end, generation
	l.wakeLocked()
	return true
}

// Added returns what to tell Synced once the log's own files are synced as they are now.
func (c *Client) Added() uint64 {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	return c.added
}

// Synced says that the log's own files are synced, as they were when Added gave n.
func (c *Client) Synced(n uint64) {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.syncedLocked(n)
}

func (c *Client) syncedLocked(n uint64) {
	if c.synced >= n {
		return
	}
	waits := c.synced < c.added
	c.synced = min(n, c.added)
	if waits && c.synced == c.added {
		c.log.mu.busy--
	}
}

// Void makes it durable that what was added so far is not given back after a crash. The log's own files are synced. A disk that is too
// full for a file in which that could be said is an error, and changes nothing.
func (c *Client) Void() error {
	l := c.log
	l.mu.Lock()
	if c.last < max(l.mu.low, 1) && c.group == nil {
		c.syncedLocked(c.added)
		l.mu.Unlock()
		return nil // what there was lies in files that do not count any more
	}
	for !l.mu.closed && !l.fitsLocked(voidSize, true) {
		var err error
		if l.mu.staging.used+voidSize > l.mu.groupMax {
			err = l.waitLocked()
		} else {
			l.mu.Unlock()
			err = l.makeSpare()
			l.mu.Lock()
		}
		if err != nil {
			l.mu.Unlock()
			return err
		}
	}
	if l.mu.closed {
		defer l.mu.Unlock()
		if l.mu.fault != nil {
			return l.mu.fault
		}
		return ErrClosed
	}
	g := l.stageLocked(voidSize)
	appendKey(g.buf[:g.used], entryVoid, c.key)
	g.used += voidSize
	err := l.waitLocked()
	if err == nil {
		c.syncedLocked(c.added)
		if c.group == nil && c.last == math.MaxUint64 {
			c.last = l.mu.begun
		}
	}
	l.mu.Unlock()
	return err
}

// waitLocked waits until what is staged is written.
func (l *Log) waitLocked() error {
	done := make(chan error, 1)
	l.mu.staging.waiting = append(l.mu.staging.waiting, done)
	l.wakeLocked()
	l.mu.Unlock()
	err := <-done
	l.mu.Lock()
	return err
}

// Close ends the client, whose log was closed: nothing more is told, and nobody waits for a sync of its files.
func (c *Client) Close() {
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	c.closed = true
	c.syncedLocked(c.added)
	if !c.log.forgetLocked(c) && !slices.Contains(c.log.mu.ended, c) {
		c.log.mu.ended = append(c.log.mu.ended, c)
	}
}
