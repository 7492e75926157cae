package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
)

// calmMonitor is what keeps the Go runtime's monitor thread calm, in GODEBUG. It has the runtime print a line about its scheduler to
// standard error every 24.8 days, as rarely as can be said; what we want is that the monitor never sleeps deeply then.
//
// A monitor that sleeps deeply is woken by the first system call after a pause, and then looks around every 20 microseconds until nothing
// runs any more. A broker that gets a record now and then has such pauses before and after each of the handful of steps that a record
// takes: the monitor was half of all its context switches and a quarter of its CPU. One that does not sleep deeply looks around less
// and less often, every 10 ms in the end, as long as it finds nothing to do. What it is there for, to take the processor from those who
// have long been in a system call, comes up to 10 ms late when that begins, and as fast as ever while it goes on. That matters where all
// processors are taken so at once, which is why nothing is done if there is only one. As long as the write-ahead
// log took two calls for each write, three brokers on two processors that were written to as fast as can be took 3.0 s for what they take
// 2.2 s for otherwise; since it takes one, 1.9 s.
const calmMonitor = "schedtrace=2147483647"

// execute replaces this process by another program. nil, as in tests: nothing does.
var execute func(path string, args, environment []string) error

// calm has a node run with a calm monitor. The runtime reads GODEBUG once, before everything else, so that the process begins again with
// it. If that cannot be, or somebody has said otherwise, it goes on as it is.
func calm() {
	if execute == nil || runtime.GOMAXPROCS(0) < 2 {
		return
	}
	environment, changed := calmEnvironment(os.Environ())
	path, err := os.Executable()
	if !changed || err != nil {
		return
	}
	_ = execute(path, os.Args, environment) // returns only if it could not be done, which costs CPU and no more
}

// calmEnvironment returns the environment to begin again with; changed is false if that is nothing new.
func calmEnvironment(environment []string) (_ []string, changed bool) {
	const name = "GODEBUG="
	i := slices.IndexFunc(environment, func(v string) bool { return strings.HasPrefix(v, name) })
	switch {
	case i < 0:
		return append(slices.Clone(environment), name+calmMonitor), true
	case strings.Contains(environment[i], "schedtrace="):
		return environment, false
	}
	out := slices.Clone(environment)
	out[i] = strings.TrimSuffix(out[i], ",")
	if out[i] != name {
		out[i] += ","
	}
	out[i] += calmMonitor
	return out, true
}
