package listen

import (
	"fmt"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Piece is a part of an answer: bytes, or a range of a file.
type Piece struct {
	Bytes []byte
	File  FileRange // nil: Bytes
}

// FileRange is a range of a file that is part of an answer. It is released once, when the answer was written or given up.
type FileRange interface {
	Len() int
	// ReadInto fills dst, which is Len bytes long, or returns an error.
	ReadInto(dst []byte) (int, error)
	// SendTo sends all of it with sendfile.
	SendTo(conn syscall.RawConn) (int64, error)
	Release()
}

const (
	// sendfileMin is the size from which sendfile costs less than reading into memory and writing with the rest:
	// below, the extra call weighs more than the copy.
	sendfileMin = 16 << 10
	// joinMax is the size up to which pieces are copied together; longer ones go to writev as they are.
	joinMax = 8 << 10
)

// gather collects pieces and writes them with as few calls as possible.
type gather struct {
	conn    *Conn
	list    net.Buffers
	held    []*Buffer
	pending int
}

// add queues a piece, or sends it when it is a file range worth a sendfile.
func (g *gather) add(p *Piece) error {
	if p.File == nil {
		g.bytes(p.Bytes)
	} else if n := p.File.Len(); g.conn.raw != nil && n >= sendfileMin {
		if err := g.write(true); err != nil {
			return err
		}
		sent, err := p.File.SendTo(g.conn.raw)
		if err == nil && sent != int64(n) {
			err = io.ErrShortWrite
		}
		if err != nil {
			return fmt.Errorf("send %d bytes of a log: %w", n, err)
		}
	} else {
		b := GetBuffer(n)
		g.held = append(g.held, b)
		if _, err := p.File.ReadInto(b.B[:n]); err != nil {
			return fmt.Errorf("read %d bytes of a log: %w", n, err)
		}
		g.bytes(b.B[:n])
	}
	if g.pending >= 1<<20 || len(g.list) >= 512 {
		return g.write(false)
	}
	return nil
}

func (g *gather) bytes(b []byte) {
	if len(b) == 0 {
		return
	}
	g.pending += len(b)
	if len(b) > joinMax {
		g.list = append(g.list, b)
		return
	}
	// Join with the last piece if that is a buffer of ours with room.
	if k := len(g.held) - 1; k >= 0 && len(g.list) > 0 {
		last := g.list[len(g.list)-1]
		h := g.held[k]
		if len(h.B) > 0 && len(last) > 0 && &last[0] == &h.B[0] && len(last) == len(h.B) && cap(h.B)-len(h.B) >= len(b) {
			h.B = append(h.B, b...)
			g.list[len(g.list)-1] = h.B
			return
		}
	}
	if len(g.list) == 0 {
		g.list = append(g.list, b)
		return
	}
	h := GetBuffer(4 * joinMax)
	h.B = append(h.B, b...)
	g.held = append(g.held, h)
	g.list = append(g.list, h.B)
}

// write writes what was queued. more says that a file follows at once.
func (g *gather) write(more bool) error {
	if len(g.list) == 0 {
		return nil
	}
	var err error
	switch {
	case more && g.conn.raw != nil:
		err = g.sendMore()
	case len(g.list) == 1:
		_, err = g.conn.net.Write(g.list[0])
	default:
		list := g.list // WriteTo consumes its receiver
		_, err = list.WriteTo(g.conn.net)
	}
	g.list, g.pending = g.list[:0], 0
	for _, h := range g.held {
		h.Release()
	}
	g.held = g.held[:0]
	return err
}

// sendMore writes with MSG_MORE, so that the header of a fetch travels in one packet with the file's first bytes.
func (g *gather) sendMore() error {
	list := [][]byte(g.list)
	var sendErr error
	err := g.conn.raw.Write(func(fd uintptr) bool {
		for len(list) > 0 {
			n, err := unix.SendmsgBuffers(int(fd), list, nil, nil, unix.MSG_MORE|unix.MSG_NOSIGNAL)
			switch err {
			case nil:
			case unix.EINTR:
				continue
			case unix.EAGAIN:
				return false
			default:
				sendErr = os.NewSyscallError("sendmsg", err)
				return true
			}
			for n > 0 && len(list) > 0 {
				k := min(n, len(list[0]))
				list[0] = list[0][k:]
				n -= k
				if len(list[0]) == 0 {
					list = list[1:]
				}
			}
		}
		return true
	})
	if err == nil {
		err = sendErr
	}
	return err
}

func (g *gather) flush() error {
	err := g.write(false)
	for _, h := range g.held {
		h.Release()
	}
	g.held = nil
	return err
}
