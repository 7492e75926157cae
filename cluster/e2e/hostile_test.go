package e2e

import (
	"bufio"
	"context"
	bigendian "encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// hostileFrames are what a stranger may send before anybody knows who it is. Each returns bytes for one connection.
var hostileFrames = map[string]func(r *rand.Rand) []byte{
	"claims 2 GiB": func(*rand.Rand) []byte { return wire.AppendInt32(nil, 1<<31-1) },
	"claims -1":    func(*rand.Rand) []byte { return wire.AppendInt32(nil, -1) },
	"claims 100 MiB of produce, sends 200 KiB": func(*rand.Rand) []byte {
		return append(frameHead(100<<20, message.KeyProduce, 9), make([]byte, 200<<10)...)
	},
	"claims 8 MiB of metadata, sends 100 KiB": func(*rand.Rand) []byte {
		return append(frameHead(8<<20, message.KeyMetadata, 12), make([]byte, 100<<10)...)
	},
	"random bytes": func(r *rand.Rand) []byte {
		b := make([]byte, 100+r.IntN(4000))
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	},
	"array bomb": func(*rand.Rand) []byte {
		// Metadata v1 with 2^31-1 topics, and few bytes behind.
		return whole(message.KeyMetadata, 1, append(wire.AppendInt32(nil, 1<<31-1), make([]byte, 100)...))
	},
	"array of the smallest elements": func(*rand.Rand) []byte {
		// CreateTopics v5 (compact): a megabyte that is nearly all array counts.
		body := append(wire.AppendUvarint(nil, 1<<20), make([]byte, 1<<20)...)
		return whole(message.KeyCreateTopics, 5, append([]byte{0}, body...))
	},
	"tag bomb": func(*rand.Rand) []byte {
		return whole(message.KeyAPIVersions, 3, []byte{0, 1, 1, 0xff, 0xff, 0xff, 0x3f, 0, 0})
	},
	"zstd bomb":   func(*rand.Rand) []byte { return whole(message.KeyProduce, 9, make([]byte, 50)) },
	"unknown key": func(*rand.Rand) []byte { return whole(9999, 0, []byte{0, 0}) },
	"slow loris":  func(*rand.Rand) []byte { return []byte{0, 0} },
}

func frameHead(size int32, key wire.APIKey, version int16) []byte {
	b := wire.AppendInt32(nil, size)
	b = wire.AppendInt16(b, int16(key))
	return wire.AppendInt16(b, version)
}

// whole is a frame whose length is right, with the header's client id null.
func whole(key wire.APIKey, version int16, body []byte) []byte {
	b := frameHead(0, key, version)
	b = wire.AppendInt32(b, 7)
	b = append(wire.AppendInt16(b, -1), body...)
	bigendian.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

// A thousand strangers send the worst frames there are, while a good client goes on: the node's memory stays within
// bounds, it does not die, and the good client is served. HOSTILE_SECONDS lengthens the run.
func TestHostileBytes(t *testing.T) {
	seconds := 8
	if s := os.Getenv("HOSTILE_SECONDS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		seconds = n
	}
	prefix := memoryCgroup(t, 256<<20)
	if prefix == nil { // say by hand what the node derives from such a limit
		prefix = []string{"env", "GOGC=50", "GOMEMLIMIT=160MiB"}
	}
	p := foundedBy(t, prefix, "--log-level", "error", "--set", "queued.max.request.bytes=16777216")
	ctx, cancel := context.WithTimeout(t.Context(), time.Duration(seconds+60)*time.Second)
	defer cancel()
	good := goodClient(ctx, t, p.client)
	for range 200 {
		good()
	}
	before := residentKiB(t, p.cmd.Process.Pid)
	stop := make(chan struct{})
	var sent atomic.Int64
	var strangers sync.WaitGroup
	names := make([]string, 0, len(hostileFrames))
	for name := range hostileFrames {
		names = append(names, name)
	}
	for i := range 1000 {
		strangers.Add(1)
		go func() {
			defer strangers.Done()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for {
				select {
				case <-stop:
					return
				default:
				}
				harass(p.client, hostileFrames[names[r.IntN(len(names))]](r), stop)
				sent.Add(1)
			}
		}()
	}
	peak, worst, served := before, time.Duration(0), 0
	for end := time.Now().Add(time.Duration(seconds) * time.Second); time.Now().Before(end); served++ {
		start := time.Now()
		good()
		worst = max(worst, time.Since(start))
		peak = max(peak, residentKiB(t, p.cmd.Process.Pid))
	}
	close(stop)
	strangers.Wait()
	select {
	case <-p.exited:
		t.Fatalf("the node died: %s", p.stderr)
	default:
	}
	t.Logf("started by %v; %d hostile frames; resident %d KiB before, %d KiB at most; the good client was served %d times, at worst in %s", prefix, sent.Load(), before, peak, served, worst)
	if growth := peak - before; growth > 64<<10 {
		t.Errorf("resident memory grew by %d KiB, allowed are 65536", growth)
	}
	if sent.Load() < 1000 || served < 10 {
		t.Errorf("too little happened for this to mean something: %d hostile frames, good client served %d times", sent.Load(), served)
	}
	if strings.Contains(p.stderr.String(), "panic") {
		t.Errorf("panic: %s", p.stderr)
	}
}

// harass sends bytes on a connection of its own, and waits a moment for the node to close it. It comes from another
// address than the good client, so that what is allowed to one address is not taken from the other.
func harass(addr string, b []byte, stop chan struct{}) {
	dialer := net.Dialer{Timeout: 2 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	c, err := dialer.Dial("tcp", addr)
	if err != nil {
		return
	}
	defer c.Close()
	deadline := time.Now().Add(500 * time.Millisecond)
	if c.SetDeadline(deadline) != nil {
		return
	}
	if _, err := c.Write(b); err != nil {
		return
	}
	// The node closes, or leaves us waiting for the rest that never comes: both are fine.
	_, _ = io.Copy(io.Discard, c)
}

// goodClient returns a function that produces a record and reads it back.
func goodClient(ctx context.Context, t *testing.T, addr string) func() {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.DefaultProduceTopic("good"), kgo.ConsumeTopics("good"), kgo.ProducerLinger(0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, "good"); err != nil {
		t.Fatal(err)
	}
	n := 0
	return func() {
		n++
		want := fmt.Sprint(n)
		if err := c.ProduceSync(ctx, kgo.StringRecord(want)).FirstErr(); err != nil {
			t.Fatalf("the good client: %v", err)
		}
		for got := ""; got != want; {
			f := c.PollFetches(ctx)
			if err := f.Err(); err != nil {
				t.Fatalf("the good client: %v", err)
			}
			f.EachRecord(func(r *kgo.Record) { got = string(r.Value) })
		}
	}
}

func residentKiB(t *testing.T, pid int) int {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatalf("the node is gone: %v", err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			n, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// memoryCgroup makes a memory cgroup with a limit, and returns the words that start a command in it; nil where that is not
// possible.
func memoryCgroup(t *testing.T, bytes int64) []string {
	t.Helper()
	dir := filepath.Join("/sys/fs/cgroup/memory", fmt.Sprintf("kraftgo-test-%d", os.Getpid()))
	if os.Mkdir(dir, 0o755) != nil {
		return nil
	}
	t.Cleanup(func() { _ = os.Remove(dir) }) // it is empty once the process has ended
	if os.WriteFile(filepath.Join(dir, "memory.limit_in_bytes"), fmt.Append(nil, bytes), 0o644) != nil {
		return nil
	}
	return []string{"sh", "-c", `echo $$ > ` + dir + `/cgroup.procs && exec "$0" "$@"`}
}

func TestAGracefulStopLosesNothingAndStartsClean(t *testing.T) {
	p := founded(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	good := goodClient(ctx, t, p.client)
	for range 50 {
		good()
	}
	p.stop()
	p.restart()
	good()
	if strings.Contains(p.stderr.String(), "recovered") {
		t.Fatalf("a clean start recovers: %s", p.stderr)
	}
}
