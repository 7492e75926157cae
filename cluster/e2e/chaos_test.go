package e2e

import (
	"bytes"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
)

// arena is three nodes, each in a network namespace and on a disk of its own, so that networks can be cut and disks lose power.
type arena struct {
	t       *testing.T
	name    string // of its bridge and namespaces
	network string // the first three numbers of its addresses
	nodes   []*process
	mounts  []string
	images  []string
	random  *rand.Rand
	landed  map[string]int
	router  *router
}

// sh runs a command of the system.
func sh(words ...string) error {
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (a *arena) must(words ...string) {
	a.t.Helper()
	if err := sh(words...); err != nil {
		a.t.Fatal(err)
	}
}

// newArena makes the networks and disks, and founds the cluster.
func newArena(t *testing.T, seed uint64) *arena {
	t.Helper()
	a, secret := newBridge(t, seed)
	for i := 1; i <= 3; i++ {
		a.addNode(i, secret)
	}
	a.router = newRouter(a)
	return a
}

// newBridge makes what the nodes' networks are connected to, and the file with the secret of their cluster.
func newBridge(t *testing.T, seed uint64) (a *arena, secret string) {
	t.Helper()
	pid := os.Getpid()
	a = &arena{t: t, name: fmt.Sprintf("kg%d", pid%100000), network: fmt.Sprintf("10.77.%d", pid%250), random: rand.New(rand.NewPCG(seed, 1)), landed: map[string]int{}}
	a.must("ip", "link", "add", a.name, "type", "bridge")
	t.Cleanup(func() { _ = sh("ip", "link", "del", a.name) })
	a.must("ip", "addr", "add", a.network+".254/24", "dev", a.name)
	a.must("ip", "link", "set", a.name, "up")
	secret = filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("c2VjcmV0IG9mIGEgdGVzdCBjbHVzdGVyLCAzMiBieXRlcw==\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return a, secret
}

func (a *arena) space(i int) string   { return fmt.Sprintf("%s-%d", a.name, i) }
func (a *arena) address(i int) string { return fmt.Sprintf("%s.%d", a.network, i) }

// connect makes a node's network.
func (a *arena) connect(i int) {
	t, space, link := a.t, a.space(i), fmt.Sprintf("%sv%d", a.name, i)
	a.must("ip", "netns", "add", space)
	t.Cleanup(func() { _ = sh("ip", "netns", "del", space) })
	a.must("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", space)
	a.must("ip", "link", "set", link, "master", a.name, "up")
	a.must("ip", "-n", space, "addr", "add", a.address(i)+"/24", "dev", "eth0")
	a.must("ip", "-n", space, "link", "set", "eth0", "up")
	a.must("ip", "-n", space, "link", "set", "lo", "up")
}

func (a *arena) addNode(i int, secret string) {
	t := a.t
	a.connect(i)
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "disk"), filepath.Join(dir, "mnt")
	a.must("truncate", "-s", "1G", image)
	a.must("mkfs.ext4", "-q", "-F", image)
	a.must("mkdir", mount)
	a.must("mount", "-o", "loop", image, mount)
	t.Cleanup(func() { _ = sh("umount", mount) })
	a.mounts, a.images = append(a.mounts, mount), append(a.images, image)
	// Not ip netns exec: that takes a copy of all mounts along, which keeps a disk busy that has lost its power.
	p := &process{t: t, dir: filepath.Join(mount, "data"), prefix: []string{"nsenter", "--net=/run/netns/" + a.space(i)}, args: []string{"--secret-file", secret, "--set", "min.insync.replicas=2"}}
	at := func(port int) string { return fmt.Sprintf("%s:%d", a.address(i), port) }
	words := []string{"--client", at(9092), "--internal", at(9093), "--gossip", at(9094), "--admin", "127.0.0.1:9644"}
	if i == 1 {
		p.start("init", words...)
	} else {
		p.start("join", append(words, "--seed", a.address(1)+":9094")...)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("broker %d wrote:\n%s", p.broker, p.stderr)
		}
	})
	a.nodes = append(a.nodes, p)
}

// together starts nodes again at the same time: alone, none of them may have a quorum to come up with.
func (a *arena) together(nodes ...*process) {
	var all sync.WaitGroup
	for _, n := range nodes {
		all.Go(func() { n.restart() })
	}
	all.Wait()
}

// cutPower makes a node's disk forget what was not synced, and ends the node.
func (a *arena) cutPower(i int) {
	a.t.Helper()
	f, err := os.Open(a.mounts[i])
	if err != nil {
		a.t.Fatal(err)
	}
	const shutdown, withoutFlush = 0x8004587d, 2 // EXT4_IOC_SHUTDOWN, EXT4_GOING_FLAGS_NOLOGFLUSH
	flags := uint32(withoutFlush)
	if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); e != 0 {
		a.t.Fatal(e)
	}
	if err := f.Close(); err != nil {
		a.t.Fatal(err)
	}
	a.nodes[i].kill()
	a.must("umount", a.mounts[i])
	a.must("mount", "-o", "loop", a.images[i], a.mounts[i])
}

// oneWay drops what node i sends to node j.
func (a *arena) oneWay(i, j int, cut bool) {
	word := map[bool]string{true: "add", false: "del"}[cut]
	a.must("ip", "-n", a.space(i+1), "route", word, "blackhole", a.address(j+1))
}

// slowDisk has whatever is written to a node's disk take up to 200 ms, most of the time.
func (a *arena) slowDisk(i int) (undo func()) {
	guard := exec.Command("sh", "-c", "sleep 40; fsfreeze -u "+a.mounts[i])
	if err := guard.Start(); err != nil {
		a.t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		times := 0
		defer func() { stopped <- times }()
		for {
			if sh("fsfreeze", "-f", a.mounts[i]) == nil {
				times++
			}
			<-time.After(200 * time.Millisecond)
			_ = sh("fsfreeze", "-u", a.mounts[i]) // it was not frozen, if the other failed
			select {
			case <-stop:
				return
			case <-time.After(50 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(stop)
		if times := <-stopped; times == 0 {
			a.t.Error("the disk was never slow")
		}
		_ = guard.Process.Kill()
		_ = guard.Wait() // it was killed
	}
}

// fillDisk leaves no byte free on a node's disk.
func (a *arena) fillDisk(i int) (undo func()) {
	filler := filepath.Join(a.mounts[i], "filler")
	var free syscall.Statfs_t
	if err := syscall.Statfs(a.mounts[i], &free); err != nil {
		a.t.Fatal(err)
	}
	f, err := os.Create(filler)
	if err != nil {
		a.t.Fatal(err)
	}
	// Half of what is left, again and again: the file system needs some of it for its own account of the file.
	for size, blocks := int64(0), int64(free.Bfree); blocks > 0; {
		if err := syscall.Fallocate(int(f.Fd()), 0, size, blocks*free.Bsize); err != nil {
			blocks /= 2
			continue
		}
		size += blocks * free.Bsize
	}
	if err := f.Close(); err != nil {
		a.t.Fatal(err)
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			a.t.Fatal(err)
		}
		a.must("sync", "-f", a.mounts[i]) // or the next loss of power would fill the disk again, and a node cannot restore its logs there
		select {
		case <-a.nodes[i].exited:
			a.t.Logf("         node %d had ended", i+1)
			a.nodes[i].restart()
		case <-time.After(time.Second):
		}
	}
}

// faults by name: each is done to a random node, and undone by what it returns. between is how long it lasts.
var faults = map[string]func(a *arena, i int) (undo func()){
	"kill -9": func(a *arena, i int) func() {
		a.nodes[i].kill()
		return func() { a.nodes[i].restart() }
	},
	"SIGTERM": func(a *arena, i int) func() {
		a.nodes[i].stop()
		return func() { a.nodes[i].restart() }
	},
	"SIGSTOP": func(a *arena, i int) func() {
		_ = a.nodes[i].cmd.Process.Signal(syscall.SIGSTOP)
		return func() { _ = a.nodes[i].cmd.Process.Signal(syscall.SIGCONT) }
	},
	"kill -9 of all": func(a *arena, _ int) func() {
		for _, n := range a.nodes {
			n.kill()
		}
		return func() { a.together(a.nodes...) }
	},
	"power loss": func(a *arena, i int) func() {
		a.cutPower(i)
		return func() { a.nodes[i].restart() }
	},
	"power loss of all": func(a *arena, _ int) func() {
		for i := range a.nodes {
			a.cutPower(i)
		}
		return func() { a.together(a.nodes...) }
	},
	"cable": func(a *arena, i int) func() {
		link := fmt.Sprintf("%sv%d", a.name, i+1)
		a.must("ip", "link", "set", link, "down")
		return func() { a.must("ip", "link", "set", link, "up") }
	},
	"one-way": func(a *arena, i int) func() {
		j := (i + 1 + a.random.IntN(2)) % 3
		a.oneWay(i, j, true)
		return func() { a.oneWay(i, j, false) }
	},
	"bridge": func(a *arena, i int) func() { // i and j do not see each other, the third sees both
		j := (i + 1) % 3
		a.oneWay(i, j, true)
		a.oneWay(j, i, true)
		return func() {
			a.oneWay(i, j, false)
			a.oneWay(j, i, false)
		}
	},
	"20 % loss":   func(a *arena, i int) func() { return a.router.between(i, 200, 0) },
	"50 ms delay": func(a *arena, i int) func() { return a.router.between(i, 0, 50*time.Millisecond) },
	"slow disk":   func(a *arena, i int) func() { return a.slowDisk(i) },
	"full disk":   func(a *arena, i int) func() { return a.fillDisk(i) },
	"hung disk": func(a *arena, i int) func() {
		// Whatever happens to this test, the disk thaws: who writes to it cannot be killed.
		guard := exec.Command("sh", "-c", "sleep 30; fsfreeze -u "+a.mounts[i])
		if err := guard.Start(); err != nil {
			a.t.Fatal(err)
		}
		a.must("fsfreeze", "-f", a.mounts[i])
		return func() {
			a.must("fsfreeze", "-u", a.mounts[i])
			_ = guard.Process.Kill()
			_ = guard.Wait()                                                               // it was killed
			if strings.Contains(a.nodes[i].stderr.String(), "giving up all leaderships") { // it stops, now that it can
				select {
				case <-a.nodes[i].exited:
				case <-time.After(40 * time.Second):
					a.t.Fatal("a node whose disk has hung does not stop")
				}
				a.nodes[i].restart()
			}
		}
	},
}

// Random faults, one after the other with pauses, while records are written: nothing acknowledged is lost, doubled, moved or out
// of order, the replicas are the same at the end, and all is healed within half a minute of the last fault.
// CHAOS_SECONDS switches it on and says for how long; CHAOS_SEED and CHAOS_FAULTS (names, by comma) choose. It needs root.
func TestChaos(t *testing.T) {
	seconds := number("CHAOS_SECONDS", 0)
	if seconds == 0 || os.Getuid() != 0 {
		t.Skip("needs root, and CHAOS_SECONDS")
	}
	seed := uint64(number("CHAOS_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("seed %d", seed)
	a := newArena(t, seed)
	names := slices.Sorted(maps.Keys(faults))
	if s := os.Getenv("CHAOS_FAULTS"); s != "" {
		names = strings.Split(s, ",")
	}
	admin := admins(t, a.nodes)
	for _, topic := range []string{"t", "java"} {
		if _, err := admin.CreateTopic(t.Context(), 12, 3, nil, topic); err != nil {
			t.Fatal(err)
		}
		allInSync(t, admin, topic)
	}
	java := startSteady(t, a.nodes, "java", 12, 20)
	w, err := acked.Start(acked.Options{Seeds: clients(a.nodes), Topic: "t", Partitions: 12, Rate: 50, Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	pauseFor(t, 2*time.Second)
	before := w.Acked()
	start := time.Now()
	for time.Since(start) < time.Duration(seconds)*time.Second {
		name := names[a.random.IntN(len(names))]
		i := a.random.IntN(3)
		lasts := time.Duration(500+a.random.IntN(12_000)) * time.Millisecond
		acknowledged := w.Acked()
		t.Logf("%6.1f s: %s, node %d, for %s", time.Since(start).Seconds(), name, i+1, lasts)
		undo := faults[name](a, i)
		pauseFor(t, lasts)
		undo()
		a.landed[name]++
		if a.random.IntN(4) == 0 {
			noneSilent(t, w)
			a.javaGoesOn(java, admin)
			pauseFor(t, time.Duration(a.random.IntN(3000))*time.Millisecond)
		}
		t.Logf("%6.1f s: %d acknowledged meanwhile", time.Since(start).Seconds(), w.Acked()-acknowledged)
	}
	during := w.Acked()
	healed := time.Now()
	allInSync(t, admin, "t")
	noneSilent(t, w)
	a.javaGoesOn(java, admin)
	heal := time.Since(healed)
	pauseFor(t, 2*time.Second)
	t.Logf("healed in %s; acknowledged before %d, during %d, after %d; faults %v", heal, before, during-before, w.Acked()-during, a.landed)
	if heal > 30*time.Second {
		t.Errorf("healed only after %s", heal)
	}
	if before == 0 || during-before < 10*seconds || w.Acked() == during {
		t.Errorf("too few records for the run to mean anything")
	}
	sound(t, w)
	if java != nil {
		java.sound()
	}
	for _, topic := range []string{"t", "java"} {
		allInSync(t, admin, topic)
		a.sameReplicas(topic, 12)
	}
}

// javaGoesOn waits until the Java producer has an acknowledgement of each partition, as noneSilent does for the other.
func (a *arena) javaGoesOn(java *steady, admin *kadm.Client) {
	if java == nil {
		return
	}
	now := time.Now()
	for deadline := now.Add(30 * time.Second); java.w.Silent(now) > 0; pauseFor(a.t, 10*time.Millisecond) {
		if time.Now().Before(deadline) {
			continue
		}
		silent := map[int32]struct{}{}
		for _, p := range java.w.SilentOnes(now) {
			silent[int32(p)] = struct{}{}
		}
		producers, err := admin.DescribeProducers(a.t.Context(), kadm.TopicsSet{"java": silent})
		topics, lerr := admin.ListTopics(a.t.Context(), "java")
		a.t.Fatalf("partitions of the Java producer take no records for half a minute: %+v (%v); %+v (%v); it said %s", producers, err, topics["java"].Partitions, lerr, &java.problems)
	}
}

// sameReplicas compares the logs of all nodes byte for byte.
func (a *arena) sameReplicas(topic string, partitions int) {
	a.t.Helper()
	for p := range partitions {
		var first []byte
		for i, mount := range a.mounts {
			content, err := readLog(filepath.Join(mount, "data", "logs", fmt.Sprintf("%s-%d", topic, p)))
			if err != nil {
				a.t.Error(err)
			}
			if i == 0 {
				first = content
			} else if !bytes.Equal(first, content) {
				a.t.Errorf("partition %d: node %d has %d bytes, node 1 has %d, and they differ", p, i+1, len(content), len(first))
			}
		}
	}
}

// readLog returns the bytes of all segments of a log.
func readLog(dir string) (all []byte, err error) {
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".log" {
			return err
		}
		b, err := os.ReadFile(path)
		all = append(all, b...)
		return err
	})
	return all, err
}
