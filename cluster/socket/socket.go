// Package socket reads from and writes to plain TCP connections with calls that never wait in the kernel.
//
// The runtime is not told of such a call (it is a RawSyscall), which spares what telling it costs: at each first call after the process
// had nothing to do, the wake-up of its monitor thread, which then looks around every few dozen microseconds. At low rates, when
// every record finds the process idle, that is a large part of what a record costs. The calls must be short: whoever moves much data uses
// the connection's own methods.
//
// # Who may call what
//
// Any goroutine, as with the connection's own methods; of several that write at a time the bytes may mix.
package socket

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Most is how many bytes one call should move: a copy of that is short beside what a wait costs.
const Most = 32 << 10

// Raw returns what the functions of this package work on; nil: c is no plain TCP connection, also below those that wrap it.
func Raw(c net.Conn) syscall.RawConn {
	if _, encrypts := c.(*tls.Conn); encrypts {
		return nil
	}
	if w, ok := c.(interface{ NetConn() net.Conn }); ok {
		return Raw(w.NetConn())
	}
	if t, ok := c.(*net.TCPConn); ok {
		if raw, err := t.SyscallConn(); err == nil {
			return raw
		}
	}
	return nil
}

// Write writes what there is room for at once, or all of b if it may wait, and returns how many bytes that were.
func Write(raw syscall.RawConn, b []byte, wait bool) (n int, err error) {
	var failed error
	err = raw.Write(func(fd uintptr) bool {
		for n < len(b) {
			rest := b[n:min(n+Most, len(b))]
			k, errno := write(fd, rest)
			switch errno {
			case 0:
				n += k
			case unix.EINTR:
			case unix.EAGAIN:
				return !wait
			default:
				failed = os.NewSyscallError("sendto", errno)
				return true
			}
		}
		return true
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// Read waits for bytes, and reads some into what get returns, which is called when they are likely to be there; drop takes that back if
// they are not.
func Read(raw syscall.RawConn, get func() []byte, drop func()) (n int, err error) {
	var failed error
	err = raw.Read(func(fd uintptr) bool {
		b := get()
		for {
			k, errno := read(fd, b[:min(len(b), Most)])
			switch errno {
			case 0:
				if n = k; n == 0 {
					failed = io.EOF
				}
				return true
			case unix.EINTR:
			case unix.EAGAIN:
				drop()
				return false
			default:
				failed = os.NewSyscallError("recvfrom", errno)
				return true
			}
		}
	})
	if err == nil {
		err = failed
	}
	return n, err
}

// Reader reads from a connection: with calls of this package, if that can be.
type Reader struct {
	conn net.Conn
	raw  syscall.RawConn
	into []byte
}

// NewReader returns a reader from c. One goroutine may use it.
func NewReader(c net.Conn) *Reader { return &Reader{conn: c, raw: Raw(c)} }

// Read implements [io.Reader].
func (r *Reader) Read(p []byte) (int, error) {
	if r.raw == nil || len(p) == 0 || len(p) > Most {
		return r.conn.Read(p)
	}
	r.into = p
	return Read(r.raw, r.get, nothing)
}

func (r *Reader) get() []byte { return r.into }

func nothing() {}
