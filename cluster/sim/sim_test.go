package sim

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
)

func number(name string, otherwise uint64) uint64 {
	if v, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return v
	}
	return otherwise
}

// Whole clusters keep their promises, whatever goes wrong: SIM_SEEDS runs from SIM_FIRST on.
func TestSimulate(t *testing.T) {
	first, seeds := number("SIM_FIRST", 0), number("SIM_SEEDS", 500)
	if testing.Short() {
		seeds = min(seeds, 50)
	}
	var next, events, acked, diverged, elected atomic.Uint64
	var mu sync.Mutex
	faults := map[string]int{}
	next.Store(first)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < first+seeds && !t.Failed(); seed = next.Add(1) - 1 {
				r := Run(seed, false)
				if r.Fault != "" {
					t.Errorf("seed %d: broken: %s", seed, r.Fault)
				}
				events.Add(uint64(r.Events))
				acked.Add(uint64(r.Acked))
				diverged.Add(uint64(r.Diverged))
				elected.Add(uint64(r.Elected))
				mu.Lock()
				for name, n := range r.Faults {
					faults[name] += n
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	t.Logf("%d seeds, %d events, %d records acknowledged, %d leaders elected, %d logs cut, faults %v", seeds, events.Load(), acked.Load(), elected.Load(), diverged.Load(), faults)
	if !t.Failed() && (acked.Load() < 50*seeds || elected.Load() < 5*seeds || diverged.Load() < seeds) {
		t.Errorf("too little happened to prove anything")
	}
}

// One seed run twice gives the same trace: five of them, or SIM_SEED.
func TestSimulateTwice(t *testing.T) {
	seeds := []uint64{0, 1, 2, 3, 4}
	if os.Getenv("SIM_SEED") != "" {
		seeds = []uint64{number("SIM_SEED", 0)}
	}
	for _, seed := range seeds {
		a, b := bytes.Split(Run(seed, true).Trace, []byte("\n")), bytes.Split(Run(seed, true).Trace, []byte("\n"))
		for i := range min(len(a), len(b)) {
			if !bytes.Equal(a[i], b[i]) {
				t.Fatalf("seed %d differs in line %d:\n%s\n%s", seed, i+1, a[i], b[i])
			}
		}
		if len(a) != len(b) {
			t.Fatalf("seed %d has %d lines, and %d", seed, len(a), len(b))
		}
		t.Logf("seed %d: %d lines, twice", seed, len(a))
	}
}

// SIM_SEED prints the trace of one run.
func TestSimulateOne(t *testing.T) {
	if os.Getenv("SIM_SEED") == "" {
		t.Skip("SIM_SEED names no seed")
	}
	r := Run(number("SIM_SEED", 0), true)
	fmt.Printf("%s", r.Trace)
	fmt.Printf("%d events, %d acknowledged, faults %v, hash %x\n", r.Events, r.Acked, r.Faults, r.Hash)
	if r.Fault != "" {
		t.Errorf("broken: %s", r.Fault)
	}
}
