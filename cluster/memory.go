package cluster

import (
	"bytes"
	"os"
	"path"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
)

// memoryLimit returns how many bytes this process may use: the limit of its cgroup, or else the machine's memory; 0 if
// neither is known.
func memoryLimit() int64 {
	limit := int64(0)
	take := func(n int64) {
		if n > 0 && (limit == 0 || n < limit) {
			limit = n
		}
	}
	if b, err := os.ReadFile("/proc/meminfo"); err == nil {
		if _, rest, ok := bytes.Cut(b, []byte("MemTotal:")); ok {
			if fields := bytes.Fields(rest); len(fields) > 0 {
				kb, _ := strconv.ParseInt(string(fields[0]), 10, 64)
				take(kb << 10)
			}
		}
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return limit
	}
	for _, line := range strings.Split(string(b), "\n") {
		parts := strings.SplitN(line, ":", 3)
		switch {
		case len(parts) < 3:
		case parts[1] == "":
			take(readNumber(path.Join("/sys/fs/cgroup", parts[2], "memory.max")))
		case parts[1] == "memory":
			take(readNumber(path.Join("/sys/fs/cgroup/memory", parts[2], "memory.limit_in_bytes")))
		}
	}
	return limit
}

// readNumber returns the number in a file, 0 if there is none ("max" means no limit).
func readNumber(name string) int64 {
	b, err := os.ReadFile(name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// requestBudget is the default of queued.max.request.bytes: a sixteenth of what the process may use, 16 to 256 MiB. What
// a request costs beyond its own bytes, decoded and as garbage, is a small multiple of them.
func requestBudget(limit int64) int64 {
	if limit == 0 {
		return 64 << 20
	}
	return min(max(limit/16, 16<<20), 256<<20)
}

// smallMachine is the memory up to which garbage is collected twice as often as Go would by itself: a node that is held to
// a few hundred megabytes has more use for memory than for the few percent of CPU.
const smallMachine = 1 << 30

// limitHeap makes the garbage collector work harder as the process nears its memory limit, unless GOMEMLIMIT was given.
// The page cache, which counts in a cgroup, gets the rest.
func limitHeap(limit int64) {
	if os.Getenv("GOMEMLIMIT") == "" && limit > 0 {
		debug.SetMemoryLimit(limit / 10 * 6)
	}
	switch small := limit > 0 && limit <= smallMachine; {
	case os.Getenv("GOGC") != "":
	case small:
		debug.SetGCPercent(50)
	default:
		ballast()
	}
}

// ballast is memory that is never touched, and so is never really there. The collector counts it as alive, and waits until as much
// garbage again has gathered: a node that serves little, with a few megabytes alive, would otherwise collect every half second, and one request in a
// hundred would meet it. It is made once for all nodes of a process, and kept for good.
var ballast = sync.OnceValue(func() []byte { return make([]byte, ballastBytes) })

const ballastBytes = 16 << 20
