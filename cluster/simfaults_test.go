//go:build synctests

package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/storage/vfs"
)

// dataFault does something to a node, and returns how it is undone; nil: it could not be done.
type dataFault func(d *dataSimulation, x *simNode) (undo func())

// dataFaults are what goes wrong with whole clusters. Connections are ordered streams, so that nothing is repeated in them: it is clients
// and brokers that repeat what they sent, when a connection is reset under it.
var dataFaults = map[string]dataFault{
	"kill": func(_ *dataSimulation, x *simNode) func() {
		x.kill()
		return func() { x.start(false, false) }
	},
	"stop": func(_ *dataSimulation, x *simNode) func() {
		x.stop()
		return func() { x.start(false, false) }
	},
	"power":    losePower,
	"blackout": blackout,
	"isolate": func(d *dataSimulation, x *simNode) func() {
		return d.cutHosts(x, append(d.others(x), simClient), true, true)
	},
	"apart": func(d *dataSimulation, x *simNode) func() { // clients reach it
		return d.cutHosts(x, d.others(x), true, true)
	},
	"deaf": func(d *dataSimulation, x *simNode) func() {
		return d.cutHosts(x, append(d.others(x), simClient), false, true)
	},
	"mute": func(d *dataSimulation, x *simNode) func() {
		return d.cutHosts(x, append(d.others(x), simClient), true, false)
	},
	"one way": func(d *dataSimulation, x *simNode) func() {
		hosts := append(d.others(x), simClient)
		return d.cutHosts(x, []string{hosts[d.random.IntN(len(hosts))]}, true, false)
	},
	"clients cut": func(d *dataSimulation, x *simNode) func() { return d.cutHosts(x, []string{simClient}, true, true) },
	"reset": func(d *dataSimulation, x *simNode) func() {
		hosts := append(d.others(x), simClient)
		d.net.reset(x.host, hosts[d.random.IntN(len(hosts))])
		return func() {}
	},
	"slow network": func(d *dataSimulation, _ *simNode) func() {
		return d.net.slower(d.between(20*time.Millisecond, 200*time.Millisecond))
	},
	"hung syncs": func(_ *dataSimulation, x *simNode) func() { return x.disk.hang() },
}

// losePower takes the power from a node. Where the page cache counts, min.insync.replicas - 1 nodes at a time may lose what was
// acknowledged: another only when all are in sync again.
func losePower(d *dataSimulation, x *simNode) func() {
	if d.replicated && (d.settled() != "" || d.inSync() != "") {
		return nil
	}
	x.dies()
	x.disk.losesPower(d.random)
	x.kill()
	return func() { x.start(false, false) }
}

// blackout takes the power from all nodes at once; where the page cache counts, all processes end at once.
func blackout(d *dataSimulation, _ *simNode) func() {
	for _, x := range d.nodes {
		x.dies()
	}
	for _, x := range d.nodes {
		if !d.replicated {
			x.disk.losesPower(d.random)
		}
		x.kill()
	}
	return func() {
		for _, x := range d.nodes {
			if x.node() == nil {
				d.pause(d.between(0, time.Second))
				x.start(false, false)
			}
		}
	}
}

func (d *dataSimulation) others(x *simNode) (hosts []string) {
	for _, y := range d.nodes {
		if y != x {
			hosts = append(hosts, y.host)
		}
	}
	return hosts
}

// cutHosts cuts the ways between a node and hosts: from it, to it, or both.
func (d *dataSimulation) cutHosts(x *simNode, hosts []string, from, to bool) (heal func()) {
	set := func(cut bool) {
		for _, h := range hosts {
			if from {
				d.net.cut(x.host, h, cut)
			}
			if to {
				d.net.cut(h, x.host, cut)
			}
		}
	}
	set(true)
	return func() { set(false) }
}

// note has a fault in the history and in the nodes' logs.
func (d *dataSimulation) note(format string, args ...any) {
	line := fmt.Sprintf("--- %s: ", time.Now().UTC().Format("04:05.000")) + fmt.Sprintf(format, args...)
	d.history = append(d.history, line)
	fmt.Fprintln(d, line)
}

// trouble makes things go wrong for a while, one or two at once, and then undoes all.
func (d *dataSimulation) trouble() {
	type fault struct {
		name  string
		x     *simNode
		undo  func()
		until time.Time
	}
	var now []fault
	landed, names := 0, d.menu()
	over := func(f fault) {
		d.note("over: %s, node %d", f.name, f.x.name)
		f.undo()
	}
	for end := time.Now().Add(d.between(20*time.Second, 40*time.Second)); time.Now().Before(end) || landed < 5; d.pause(d.between(100*time.Millisecond, 1500*time.Millisecond)) {
		now = slices.DeleteFunc(now, func(f fault) bool {
			if time.Now().Before(f.until) {
				return false
			}
			over(f)
			return true
		})
		name, x := names[d.random.IntN(len(names))], d.nodes[d.random.IntN(len(d.nodes))]
		if len(now) >= 2 || slices.ContainsFunc(now, func(f fault) bool { return f.x == x || f.name == "blackout" }) || x.node() == nil {
			continue
		}
		if name == "blackout" && len(now) > 0 {
			continue
		}
		d.note("%s, node %d", name, x.name)
		undo := dataFaults[name](d, x)
		if undo == nil {
			d.note("not now: %s, node %d", name, x.name)
			continue
		}
		d.landed[name]++
		landed++
		now = append(now, fault{name, x, undo, time.Now().Add(d.between(200*time.Millisecond, 8*time.Second))})
	}
	for _, f := range now {
		over(f)
	}
	d.note("all is well again")
}

// menu draws the kinds of faults of a run: all, or few of them often.
func (d *dataSimulation) menu() (names []string) {
	for name := range dataFaults {
		names = append(names, name)
	}
	slices.Sort(names)
	if d.random.IntN(2) == 0 {
		d.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:2+d.random.IntN(3)]
		slices.Sort(names)
	}
	return names
}

// reset ends the connections between two hosts, as a firewall does that forgets them.
func (n *simNet) reset(one, other string) {
	n.mu.Lock()
	var gone []*simStream
	for s := range n.streams {
		if s.from == one && s.to == other || s.from == other && s.to == one {
			gone = append(gone, s)
			delete(n.streams, s)
		}
	}
	n.mu.Unlock()
	for _, s := range gone {
		s.end(errSimReset)
	}
}

// slower has everything take longer, until the function is called that it returns.
func (n *simNet) slower(by time.Duration) (undo func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.latency += by
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.latency -= by
	}
}

func newSimDisk(n *simNet, slow time.Duration) *simDisk {
	return &simDisk{net: n, files: vfs.NewMem(), offsets: pebblevfs.NewCrashableMem(), slow: slow, ended: &atomic.Bool{}}
}

// hang makes syncs wait until the function is called that it returns.
func (d *simDisk) hang() (let func()) {
	hung := make(chan struct{})
	d.mu.Lock()
	d.hung = hung
	d.mu.Unlock()
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.hung == hung {
			d.hung = nil
			close(hung)
		}
	}
}

// losesPower takes what is not synced, from a disk whose process has ended.
func (d *simDisk) losesPower(random *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.boots++
	d.files = d.files.Crash(random)
	d.offsets = d.offsets.CrashClone(pebblevfs.CrashCloneCfg{UnsyncedDataPercent: random.IntN(101), RNG: random})
}
