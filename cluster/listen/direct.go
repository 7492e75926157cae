package listen

import (
	"fmt"
	"net"
	"time"

	"github.com/kraftgo/kraftgo/cluster/socket"
)

// directMost is how many bytes of answers are copied together and written by one call. Whoever gives an answer that is not larger
// writes it himself; more is left to the writer goroutine, which may take its time.
const directMost = socket.Most

// run is small answers in one run of bytes.
type run struct {
	bytes []byte
	copy  *Buffer // where bytes lie; nil: in the only answer
}

func (r *run) free() {
	if r.copy != nil {
		r.copy.Release()
		r.copy = nil
	}
}

// join returns answers as one run; ok is false if they are too large for it, or the connection is no plain TCP connection.
func (c *Conn) join(batch []*Request) (out run, ok bool, err error) {
	if c.raw == nil {
		return out, false, nil
	}
	size, count := 0, 0
	for _, r := range batch {
		if r.abort {
			return out, false, nil
		}
		for i := range r.pieces {
			if size += r.pieces[i].size(); size > directMost {
				return out, false, nil
			}
			count++
		}
	}
	if count == 1 && len(batch) == 1 && batch[0].pieces[0].File == nil {
		return run{bytes: batch[0].pieces[0].Bytes}, true, nil
	}
	if size == 0 { // acks=0
		return out, true, nil
	}
	out.copy = GetBuffer(size)
	for _, r := range batch {
		for i := range r.pieces {
			p := &r.pieces[i]
			at := len(out.bytes)
			out.bytes = out.copy.B[:at+p.size()]
			if p.File == nil {
				copy(out.bytes[at:], p.Bytes)
			} else if _, err := p.File.ReadInto(out.bytes[at:]); err != nil {
				out.free()
				return out, false, fmt.Errorf("read %d bytes of a log: %w", p.size(), err)
			}
		}
	}
	return out, true, nil
}

func (p *Piece) size() int {
	if p.File != nil {
		return p.File.Len()
	}
	return len(p.Bytes)
}

// leftover is what the writer goroutine is to write first.
type leftover struct {
	batch []*Request
	run   run // with sent bytes already on their way
	sent  int
}

// direct writes what is ready, on the goroutine that has answered, which must wait for nobody: what does not go at once is left to the
// writer goroutine. The caller has set mu.writer.
func (c *Conn) direct() {
	var few [4]*Request
	batch := c.take(few[:0])
	if len(batch) == 0 {
		return
	}
	out, ok, err := c.join(batch)
	sent := 0
	if ok {
		select {
		case <-c.done:
			err = net.ErrClosed
		default:
			sent, err = socket.Write(c.raw, out.bytes, false)
		}
	}
	switch {
	case err != nil:
		out.free()
		c.wrote(batch, err)
		c.write()
		return
	case !ok || sent < len(out.bytes):
		left := &leftover{append([]*Request(nil), batch...), out, sent}
		if !c.handOver(left) {
			out.free()
			c.wrote(batch, net.ErrClosed)
			c.write()
		}
		return
	}
	out.free()
	c.wrote(batch, nil)
	c.mu.Lock()
	more := len(c.mu.queue) > 0 && c.mu.queue[0].ready && !c.goneLocked()
	c.mu.Unlock()
	// Others that have answered meanwhile have left it to us: that must not go on for ever.
	if !more || !c.handOver(nil) {
		c.write()
	}
}

// handOver leaves the writing to the writer goroutine; false: the connection is gone.
func (c *Conn) handOver(left *leftover) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.goneLocked() {
		return false
	}
	c.left, c.mu.handed = left, true
	if !c.mu.started {
		c.mu.started = true
		c.listener.running.Add(1)
		go c.writerLoop()
	}
	c.signal()
	return true
}

// writerLoop is the writer goroutine.
func (c *Conn) writerLoop() {
	defer c.listener.running.Done()
	for gone := false; !gone; {
		select {
		case <-c.wake:
		case <-c.done:
			gone = true
		}
		c.mu.Lock()
		mine := c.mu.handed
		c.mu.handed = false
		c.mu.Unlock()
		if mine {
			c.writeLeft()
			c.write()
		}
	}
}

// writeLeft writes what was begun, or was too large to begin with.
func (c *Conn) writeLeft() {
	left := c.left
	if left == nil {
		return
	}
	c.left = nil
	if left.run.bytes == nil {
		c.wrote(left.batch, c.writeBatch(left.batch))
		return
	}
	c.writing.Store(time.Now().UnixNano())
	_, err := socket.Write(c.raw, left.run.bytes[left.sent:], true)
	c.writing.Store(0)
	left.run.free()
	c.wrote(left.batch, err)
}
