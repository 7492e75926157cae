package listen

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kraftgo/kraftgo/cluster/socket"
	"github.com/kraftgo/kraftgo/wire"
)

// stageSize is what is read at a time before it is known how long a frame is.
const stageSize = 4 << 10

// frameSource cuts a connection's bytes into frames.
//
// Bytes are first read into a stage, which is taken from the pool when bytes are there: an idle connection holds no
// buffer. A frame that came alone keeps the stage as its buffer. One that is longer gets a buffer of its own, sized by
// what has come and by the connection's last long frame, and is read into it to its end and no further.
type frameSource struct {
	conn  *Conn
	stage *Buffer // nil: nothing staged
	at    int     // bytes of stage already cut off
	hint  int     // size of the last long frame
}

// frame is one request with the memory it lies in.
type frame struct {
	buffer  *Buffer
	bytes   []byte // without the length
	charged int64  // of the budget
}

// next returns the next frame. io.EOF means that the client closed between two frames.
func (s *frameSource) next() (frame, error) {
	for {
		have := s.staged()
		if len(have) >= 8 {
			size, err := s.frameSize(have)
			if err != nil {
				return frame{}, err
			}
			switch {
			case len(have) >= 4+size:
				return s.cut(4 + size), nil
			case 4+size > stageSize:
				return s.long(have, 4+size)
			}
		} else if len(have) >= 4 {
			if size := int32(binary.BigEndian.Uint32(have)); size < 4 {
				return frame{}, &errFrame{-1, -1, fmt.Sprintf("a request of %d bytes is too short for its header", size)}
			}
		}
		if len(have) > 0 {
			s.conn.begunFrame()
			if s.at > 0 {
				s.stage.B = s.stage.B[:copy(s.stage.B, have)]
				s.at = 0
			}
		}
		if err := s.fillStage(); err != nil {
			if errors.Is(err, io.EOF) && len(have) > 0 {
				return frame{}, &errFrame{-1, -1, "the connection ended within a request"}
			}
			return frame{}, err
		}
	}
}

func (s *frameSource) staged() []byte {
	if s.stage == nil {
		return nil
	}
	return s.stage.B[s.at:]
}

// frameSize checks the length of the frame that have begins with against the limit of its key.
func (s *frameSource) frameSize(have []byte) (int, error) {
	size := int32(binary.BigEndian.Uint32(have))
	key, version := int16(binary.BigEndian.Uint16(have[4:])), int16(binary.BigEndian.Uint16(have[6:]))
	limit := s.conn.listener.opts.MaxOtherFrame
	if wire.APIKey(key) == s.conn.listener.opts.ProduceKey {
		limit = s.conn.listener.opts.MaxFrame
	}
	if size < 8 || int(size) > limit {
		return 0, &errFrame{key, version, fmt.Sprintf("a request of %d bytes, allowed are 8 to %d", size, limit)}
	}
	return int(size), nil
}

// cut returns the first n staged bytes as a frame.
func (s *frameSource) cut(n int) frame {
	s.conn.partial.Store(0)
	have := s.staged()
	if s.at == 0 && len(have) == n {
		b := s.stage
		s.stage = nil
		return frame{buffer: b, bytes: b.B[4:]}
	}
	b := GetBuffer(n)
	b.B = append(b.B, have[:n]...)
	if s.at += n; s.at == len(s.stage.B) {
		s.stage.Release()
		s.stage, s.at = nil, 0
	}
	return frame{buffer: b, bytes: b.B[4:]}
}

// long reads the rest of a frame of n bytes that does not fit the stage.
func (s *frameSource) long(have []byte, n int) (f frame, err error) {
	s.conn.begunFrame()
	o := &s.conn.listener.opts
	defer func() {
		s.conn.partial.Store(0)
		if err != nil && f.buffer != nil {
			f.buffer.Release()
			o.Budget.release(f.charged)
		}
	}()
	for filled := 0; ; {
		// Believe no more than what has come, and what this client has sent before.
		want := min(n, max(4*max(filled, len(have)), s.hint))
		got, ok := o.Budget.acquire(s.conn.ctx, s.cost(have, want, n)-f.charged, o.BudgetWait, s.conn.hungUp)
		if !ok {
			return f, &errFrame{int16(binary.BigEndian.Uint16(have[4:])), int16(binary.BigEndian.Uint16(have[6:])), "no request memory came free before the client went away or the wait was over"}
		}
		f.charged += got
		b := GetBuffer(want)
		if f.buffer == nil {
			b.B = append(b.B, have...)
			s.stage.Release()
			s.stage, s.at = nil, 0
		} else {
			b.B = append(b.B, f.buffer.B...)
			f.buffer.Release()
		}
		have, f.buffer = b.B, b
		limit := min(n, cap(b.B))
		for len(b.B) < limit {
			read, err := s.conn.readSome(b.B[len(b.B):limit])
			if err != nil {
				if errors.Is(err, io.EOF) {
					err = &errFrame{int16(binary.BigEndian.Uint16(b.B[4:])), int16(binary.BigEndian.Uint16(b.B[6:])), fmt.Sprintf("the connection ended after %d of %d bytes of a request", len(b.B), n)}
				}
				return f, err
			}
			b.B = b.B[:len(b.B)+read]
		}
		if filled = len(b.B); filled == n {
			s.hint = min(n, 1<<20)
			f.bytes = b.B[4:]
			return f, nil
		}
	}
}

// cost is what so many bytes of a frame that will be of size bytes take of the budget. The records of Produce are used
// where they lie; anything else is decoded, into up to four times its size. The first bytes of a frame that is not small
// count too: ten thousand strangers may wait with them.
func (s *frameSource) cost(have []byte, bytes, size int) int64 {
	if size <= s.conn.listener.opts.SmallFrame {
		return 0
	}
	if wire.APIKey(binary.BigEndian.Uint16(have[4:])) == s.conn.listener.opts.ProduceKey {
		return int64(bytes)
	}
	return 5 * int64(bytes)
}

// fillStage reads more bytes into the stage.
func (s *frameSource) fillStage() error {
	if s.stage != nil {
		n, err := s.conn.readSome(s.stage.B[len(s.stage.B):cap(s.stage.B)])
		s.stage.B = s.stage.B[:len(s.stage.B)+n]
		return err
	}
	b, err := s.conn.readFirst()
	s.stage, s.at = b, 0
	return err
}

// drop gives back what is staged.
func (s *frameSource) drop() {
	if s.stage != nil {
		s.stage.Release()
		s.stage = nil
	}
}

// begunFrame notes when the frame that is coming in began, for the sweeper to see.
func (c *Conn) begunFrame() {
	if c.partial.Load() == 0 {
		c.partial.Store(time.Now().UnixNano())
	}
}

func (c *Conn) readSome(p []byte) (int, error) {
	n, err := c.net.Read(p)
	if n > 0 {
		c.lastActive.Store(time.Now().UnixNano())
		return n, nil
	}
	return 0, err
}

// readFirst waits for bytes and reads them into a new stage, which is taken only when they are there.
func (c *Conn) readFirst() (*Buffer, error) {
	if c.raw == nil {
		b := GetBuffer(stageSize)
		n, err := c.readSome(b.B[:cap(b.B)])
		if err != nil {
			b.Release()
			return nil, err
		}
		b.B = b.B[:n]
		return b, nil
	}
	var b *Buffer
	get := func() []byte {
		b = GetBuffer(stageSize)
		return b.B[:cap(b.B)]
	}
	drop := func() {
		b.Release()
		b = nil
	}
	n, err := socket.Read(c.raw, get, drop)
	if err != nil {
		if b != nil {
			b.Release()
		}
		return nil, err
	}
	c.lastActive.Store(time.Now().UnixNano())
	b.B = b.B[:n]
	return b, nil
}

// hungUp reports whether the client has closed its end. A read tells that only after all bytes before the end, which
// nobody reads from a connection that waits for request memory.
func (c *Conn) hungUp() bool {
	if c.raw == nil {
		return false
	}
	gone := false
	err := c.raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(p, 0)
		gone = err == nil && n > 0
	})
	return err != nil || gone
}
