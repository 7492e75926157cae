//go:build synctests

package cluster

import (
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	pebblevfs "github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
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
	"wipe":     wipe,
	"rot":      rot,
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
	if d.loose.now.Load() && !d.whole() {
		return nil
	}
	x.dies()
	x.disk.losesPower(d.random)
	x.kill()
	return func() { x.start(false, false) }
}

// blackout takes the power from all nodes at once; where the page cache counts, all processes end at once.
func blackout(d *dataSimulation, _ *simNode) func() {
	return d.endAll(!d.loose.now.Load(), func() {})
}

// endAll ends all processes at once, and does something meanwhile. Those that are there start again.
func (d *dataSimulation) endAll(power bool, meanwhile func()) func() {
	for _, y := range d.nodes {
		y.dies()
	}
	for _, y := range d.nodes {
		if power {
			y.disk.losesPower(d.random)
		}
		y.kill()
	}
	meanwhile()
	return func() {
		order := slices.Clone(d.nodes)
		d.random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, y := range order {
			if y.node() == nil {
				y.start(false, false)
				d.pause(d.between(0, time.Second))
			}
		}
	}
}

// whole reports whether the others have all that is acknowledged, so that a disk may be damaged. More than that nobody promises.
func (d *dataSimulation) whole() bool { return d.settled() == "" && d.inSync() == "" }

// soonWhole is whole, within some seconds.
func (d *dataSimulation) soonWhole() bool {
	for range 50 {
		if d.whole() {
			return true
		}
		d.pause(100 * time.Millisecond)
	}
	return false
}

// wipe gives a node an empty log directory while it is down, or all are.
func wipe(d *dataSimulation, x *simNode) func() {
	if !d.soonWhole() {
		return nil
	}
	empty := func() {
		x.disk.mu.Lock()
		defer x.disk.mu.Unlock()
		x.disk.files = vfs.NewMem()
	}
	if d.random.IntN(2) == 0 {
		return d.endAll(false, empty)
	}
	x.kill()
	empty()
	return func() { x.start(false, false) }
}

// rot flips a bit of a batch that is synced, and that recovery reads, while all nodes are down.
func rot(d *dataSimulation, x *simNode) func() {
	if !d.soonWhole() {
		return nil
	}
	t := x.image().Topic(simTopicName)
	id := wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(d.random.IntN(d.partitions))}
	held := x.node().partitions.Partition(id)
	if held == nil {
		return nil
	}
	dir, durable := fmt.Sprintf("%s/%s-%d", x.node().disk.Dir(), simTopicName, id.Partition), held.Log().Durable()
	return d.endAll(false, func() {
		if file, at, ok := d.synced(x, dir, durable); ok {
			var one [1]byte
			_, _ = file.ReadAt(one[:], at)
			one[0] ^= 1 << d.random.IntN(8)
			_, _ = file.WriteAt(one[:], at)
			_ = file.Sync()
			d.note("a bit of %s flips at %d", dir, at)
		}
	})
}

// synced returns a place in the last file of a log, within a batch that is synced and past the recovery point.
func (d *dataSimulation) synced(x *simNode, dir string, durable wire.Offset) (f vfs.File, at int64, ok bool) {
	files := x.disk.files
	names, err := files.List(dir)
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	if err != nil || len(names) == 0 {
		return nil, 0, false
	}
	name := dir + "/" + names[len(names)-1]
	all, err := vfs.ReadFile(files, name, 16<<20)
	points, pointsErr := vfs.ReadFile(files, path.Dir(dir)+"/recovery-point-offset-checkpoint", 1<<20)
	if err != nil || pointsErr != nil {
		return nil, 0, false
	}
	point := int64(0)
	for _, line := range strings.Split(string(points), "\n") {
		if text, ok := strings.CutPrefix(line, strings.Replace(path.Base(dir), "-", " ", 1)+" "); ok {
			point, _ = strconv.ParseInt(text, 10, 64)
		}
	}
	var places []int64
	for rest := all; len(rest) > 0; {
		b, next, err := batch.Next(rest)
		if err != nil {
			break
		}
		if int64(b.BaseOffset()) >= point && b.NextOffset() <= durable {
			start := int64(len(all) - len(rest))
			places = append(places, start+batch.HeaderSize, start+int64(b.Size())-1)
		}
		rest = next
	}
	if len(places) == 0 {
		return nil, 0, false
	}
	f, err = files.Open(name)
	return f, places[d.random.IntN(len(places))], err == nil
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

// note has a fault, or what the operator does, in the history and in the nodes' logs.
func (d *dataSimulation) note(format string, args ...any) {
	line := fmt.Sprintf("--- %s: ", time.Now().UTC().Format("04:05.000")) + fmt.Sprintf(format, args...)
	d.mu.Lock()
	d.history = append(d.history, line)
	d.mu.Unlock()
	fmt.Fprintln(d, line)
}

// alone are the faults during which there is no other.
var alone = []string{"blackout", "wipe", "rot"}

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
		if len(now) >= 2 || slices.ContainsFunc(now, func(f fault) bool { return f.x == x || slices.Contains(alone, f.name) }) || x.node() == nil {
			continue
		}
		if slices.Contains(alone, name) && len(now) > 0 {
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
