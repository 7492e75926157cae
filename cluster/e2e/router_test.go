package e2e

import (
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// router takes packets from one node to another through this process, where they are lost or come late. Kernels may lack netem, which
// is the usual way. Each node has a tun device; what goes there is said by a route for the time of a fault only, so that at other times
// nothing of this is in the way.
type router struct {
	arena *arena
	tuns  []*os.File
	// weather of now.
	loss   atomic.Int64 // packets of 1,000 that are lost
	delay  atomic.Int64 // of each packet, nanoseconds
	passed atomic.Int64
	lost   atomic.Int64
	random struct {
		sync.Mutex
		*rand.Rand
	}
}

const tunDevice = "tun0"

// newRouter gives every node of the arena its device.
func newRouter(a *arena) *router {
	r := &router{arena: a}
	r.random.Rand = rand.New(rand.NewPCG(a.random.Uint64(), 2))
	for i := range a.nodes {
		r.tuns = append(r.tuns, openTun(a, i))
	}
	for i := range r.tuns {
		go r.carry(r.tuns[i])
	}
	a.t.Cleanup(func() {
		for _, f := range r.tuns {
			_ = f.Close()
		}
	})
	return r
}

// openTun makes a device in the namespace of node i, and returns the end that this process reads and writes.
func openTun(a *arena, i int) *os.File {
	t := a.t
	t.Helper()
	fd, err := syscall.Open("/dev/net/tun", syscall.O_RDWR|syscall.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	name := a.name + "t" + string(rune('1'+i))
	var request [40]byte // struct ifreq: the name, and flags
	copy(request[:15], name)
	const tunWithoutInfo = 0x1001 // IFF_TUN | IFF_NO_PI
	*(*uint16)(unsafe.Pointer(&request[16])) = tunWithoutInfo
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), 0x400454ca /* TUNSETIFF */, uintptr(unsafe.Pointer(&request))); e != 0 {
		t.Fatal(e)
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		t.Fatal(err)
	}
	space := a.space(i + 1)
	a.must("ip", "link", "set", name, "netns", space, "name", tunDevice)
	a.must("ip", "-n", space, "link", "set", tunDevice, "up")
	return os.NewFile(uintptr(fd), "/dev/net/tun")
}

// carry takes on what one node sends, until its device is closed.
func (r *router) carry(from *os.File) {
	buffer := make([]byte, 65536)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		if n < 20 || buffer[0]>>4 != 4 {
			continue
		}
		to := int(buffer[19]) - 1 // the last number of an address is the node's
		if to < 0 || to >= len(r.tuns) {
			continue
		}
		r.random.Lock()
		lost := r.random.Int64N(1000) < r.loss.Load()
		r.random.Unlock()
		if lost {
			r.lost.Add(1)
			continue
		}
		r.passed.Add(1)
		packet := append([]byte(nil), buffer[:n]...)
		// An error is one more lost packet.
		if d := time.Duration(r.delay.Load()); d > 0 {
			time.AfterFunc(d, func() { _, _ = r.tuns[to].Write(packet) })
		} else {
			_, _ = r.tuns[to].Write(packet)
		}
	}
}

// between has all that node i and the others send to each other lost or late, until the returned function is called.
func (r *router) between(i int, lossOf1000 int64, delay time.Duration) (undo func()) {
	a := r.arena
	a.t.Helper()
	r.loss.Store(lossOf1000)
	r.delay.Store(int64(delay))
	r.passed.Store(0)
	r.lost.Store(0)
	routes := func(word string) {
		for j := range a.nodes {
			if j == i {
				continue
			}
			for _, way := range [][2]int{{i, j}, {j, i}} {
				from, to := way[0]+1, way[1]+1
				a.must("ip", "-n", a.space(from), "route", word, a.address(to), "dev", tunDevice, "src", a.address(from))
			}
		}
	}
	routes("add")
	return func() {
		routes("del")
		a.t.Logf("         %d packets carried, %d lost", r.passed.Load(), r.lost.Load())
		if r.passed.Load() == 0 {
			a.t.Error("no packet went the way that was to lose or delay it: the fault did not happen")
		}
	}
}

// The router really loses and delays: a run whose faults do nothing would prove nothing.
func TestRouterLosesAndDelays(t *testing.T) {
	if number("CHAOS_SECONDS", 0) == 0 || os.Getuid() != 0 {
		t.Skip("needs root, and CHAOS_SECONDS")
	}
	a, _ := newBridge(t, 1)
	a.connect(1)
	a.connect(2)
	a.nodes = make([]*process, 2)
	r := newRouter(a)
	// knock asks for a port that nobody listens at, and tells whether it was refused within a second.
	knock := func() (refused bool, took time.Duration) {
		start := time.Now()
		err := sh("nsenter", "--net=/run/netns/"+a.space(1), "timeout", "1", "bash", "-c", "exec 3<>/dev/tcp/"+a.address(2)+"/7")
		return err != nil && strings.Contains(err.Error(), "refused"), time.Since(start)
	}
	undo := r.between(0, 0, 20*time.Millisecond)
	if refused, took := knock(); !refused || took < 40*time.Millisecond {
		t.Errorf("refused: %v, in %s, with 20 ms each way", refused, took)
	}
	undo()
	undo = r.between(0, 1000, 0)
	if refused, _ := knock(); refused {
		t.Error("an answer, though all packets are lost")
	}
	if r.lost.Load() == 0 {
		t.Error("nothing was lost")
	}
	r.passed.Add(1) // what undo asks for: here nothing may pass
	undo()
	if refused, _ := knock(); !refused {
		t.Error("no answer after it is undone")
	}
}
