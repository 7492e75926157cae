package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// crowd is a cluster of many nodes, each in a network namespace of its own, whose metadata is changed all the time.
type crowd struct {
	*arena
	formation
	secret  string
	moves   int            // addresses that were given anew
	terms   map[int]string // who decided in a term
	wanted  []*wantedTopic
	wantedM sync.Mutex
}

func newCrowd(t *testing.T, count int, seed uint64) *crowd {
	a, secret := newBridge(t, seed)
	c := &crowd{arena: a, secret: secret, terms: map[int]string{}}
	c.formation.t = t
	binary(t)
	for i := 1; i <= count; i++ {
		c.connect(i)
		p := &process{t: t, dir: filepath.Join(t.TempDir(), "data"), prefix: []string{"nsenter", "--net=/run/netns/" + c.space(i)}, args: []string{"--secret-file", secret, "--set", "cluster.replica.rebuild.ms=0"}}
		c.formation.nodes = append(c.formation.nodes, p)
		c.arena.nodes = c.formation.nodes
		if i == 1 {
			p.start("init", c.listeners(c.address(i))...)
		} else {
			p.start("join", append(c.listeners(c.address(i)), "--seed", c.address(1)+":9094")...)
		}
		t.Cleanup(func() {
			p.kill()
			if t.Failed() {
				t.Logf("broker %d wrote:\n%s", p.broker, p.stderr)
			}
		})
	}
	c.settled()
	return c
}

func (c *crowd) listeners(host string) []string {
	at := func(port int) string { return fmt.Sprintf("%s:%d", host, port) }
	return []string{"--client", at(9092), "--internal", at(9093), "--gossip", at(9094), "--admin", "127.0.0.1:9644"}
}

func (c *crowd) process(i int) *process { return c.formation.nodes[i] }
func (c *crowd) count() int             { return len(c.formation.nodes) }

var decides = regexp.MustCompile(`msg="this node is the controller" term=(\d+)`)

// read takes from a node's log in which terms it decided.
func (c *crowd) read(i int) {
	c.arena.t.Helper()
	p := c.process(i)
	who := fmt.Sprintf("node %d, broker %d", i+1, p.broker)
	for _, m := range decides.FindAllStringSubmatch(p.stderr.String(), -1) {
		term, err := strconv.Atoi(m[1])
		if err != nil {
			c.arena.t.Fatal(err)
		}
		if other, ok := c.terms[term]; ok && other != who {
			c.arena.t.Errorf("in term %d, %s decides, and %s did", term, who, other)
		}
		c.terms[term] = who
	}
}

// host is where a node is now.
func host(p *process) string { return p.client[:len(p.client)-len(":9092")] }

// cutOff has some nodes and the others not see each other.
func (c *crowd) cutOff(some []int, cut bool) {
	word := map[bool]string{true: "add", false: "del"}[cut]
	for i := range c.count() {
		for j := range c.count() {
			if slices.Contains(some, i) != slices.Contains(some, j) {
				c.must("ip", "-n", c.space(i+1), "route", word, "blackhole", host(c.process(j)))
			}
		}
	}
}

// several are some nodes, fewer than all.
func (c *crowd) several(most int) []int { return c.random.Perm(c.count())[:1+c.random.IntN(most)] }

// metadataFaults by name; what they return undoes them.
var metadataFaults = map[string]func(c *crowd, i int) (undo func()){
	"kill -9": func(c *crowd, i int) func() { return c.ended([]int{i}, (*process).kill) },
	"kill -9 of several": func(c *crowd, _ int) func() {
		return c.ended(c.several(c.count()-1), (*process).kill)
	},
	"SIGTERM": func(c *crowd, i int) func() { return c.ended([]int{i}, (*process).stop) },
	"SIGSTOP": func(c *crowd, _ int) func() {
		some := c.several(3)
		for _, i := range some {
			_ = c.process(i).cmd.Process.Signal(syscall.SIGSTOP)
		}
		return func() {
			for _, i := range some {
				_ = c.process(i).cmd.Process.Signal(syscall.SIGCONT)
			}
		}
	},
	"partition": func(c *crowd, _ int) func() {
		some := c.several(c.count() - 1)
		c.cutOff(some, true)
		return func() { c.cutOff(some, false) }
	},
	"cable": func(c *crowd, i int) func() {
		link := fmt.Sprintf("%sv%d", c.name, i+1)
		c.must("ip", "link", "set", link, "down")
		return func() { c.must("ip", "link", "set", link, "up") }
	},
	"one-way": func(c *crowd, i int) func() {
		j := (i + 1 + c.random.IntN(c.count()-1)) % c.count()
		to := host(c.process(j))
		c.must("ip", "-n", c.space(i+1), "route", "add", "blackhole", to)
		return func() { c.must("ip", "-n", c.space(i+1), "route", "del", "blackhole", to) }
	},
	"moved": func(c *crowd, i int) func() {
		p := c.process(i)
		p.kill()
		c.read(i)
		c.moves++
		next := fmt.Sprintf("%s.%d", c.network, 20+c.moves%200)
		c.must("ip", "-n", c.space(i+1), "addr", "del", host(p)+"/24", "dev", "eth0")
		c.must("ip", "-n", c.space(i+1), "addr", "add", next+"/24", "dev", "eth0")
		return func() { p.start("start", c.listeners(next)...) }
	},
	"wiped": func(c *crowd, i int) func() {
		// Two of three voters must not be lost for good before the first was replaced.
		c.settled()
		p := c.process(i)
		p.kill()
		c.read(i)
		if err := os.RemoveAll(p.dir); err != nil {
			c.arena.t.Fatal(err)
		}
		old, others := p.broker, c.others(p)
		return func() {
			seed := others[c.random.IntN(len(others))]
			p.start("join", append(c.listeners(host(p)), "--seed", seed.gossip)...)
			c.until(fmt.Sprintf("broker %d is unregistered", old), func() bool {
				_, err := ask(seed, func(ctx context.Context, k *kgo.Client) (any, error) {
					r := kmsg.NewPtrUnregisterBrokerRequest()
					r.BrokerID = old
					a, err := r.RequestWith(ctx, k)
					if err != nil {
						return nil, err
					}
					return nil, kerr.ErrorForCode(a.ErrorCode)
				})
				return err == nil || errors.Is(err, kerr.BrokerIDNotRegistered)
			})
			c.settled()
		}
	},
}

// ended ends processes, and starts them again, at the same time: alone, none of them may have a quorum to come up with.
func (c *crowd) ended(some []int, how func(*process)) func() {
	var all sync.WaitGroup
	for _, i := range some {
		all.Go(func() { how(c.process(i)) })
	}
	all.Wait()
	for _, i := range some {
		c.read(i)
	}
	return func() {
		var nodes []*process
		for _, i := range some {
			nodes = append(nodes, c.process(i))
		}
		c.together(nodes...)
	}
}

// wantedTopic is what a worker knows of a topic. What it does not know the outcome of may have happened, or happen later.
type wantedTopic struct {
	name                              string
	created, maybe, deleted, mayBeOut bool
	retention                         string
	retentions                        []string
}

// work asks for changes of the metadata until stop is closed, through any node, as clients do.
func (c *crowd) work(worker int, stop chan struct{}) {
	random := rand.New(rand.NewPCG(uint64(worker), 7))
	var mine []*wantedTopic
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(50+random.IntN(300)) * time.Millisecond):
		}
		p := c.process(random.IntN(c.count()))
		do := func(f func(ctx context.Context, a *kadm.Client) error) error {
			k, err := kgo.NewClient(kgo.SeedBrokers(p.client), kgo.RetryTimeout(8*time.Second), kgo.DialTimeout(time.Second))
			if err != nil {
				return err
			}
			defer k.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return f(ctx, kadm.NewClient(k))
		}
		if len(mine) == 0 || random.IntN(2) == 0 {
			w := &wantedTopic{name: fmt.Sprintf("w%d-%d", worker, i)}
			c.wantedM.Lock()
			c.wanted = append(c.wanted, w)
			c.wantedM.Unlock()
			err := do(func(ctx context.Context, a *kadm.Client) error {
				_, err := a.CreateTopic(ctx, int32(1+random.IntN(3)), int16(1+random.IntN(3)), nil, w.name)
				return err
			})
			if err == nil {
				w.created = true
				mine = append(mine, w)
			} else {
				w.maybe = true
			}
			continue
		}
		k := random.IntN(len(mine))
		w := mine[k]
		if random.IntN(3) == 0 {
			mine = slices.Delete(mine, k, k+1)
			err := do(func(ctx context.Context, a *kadm.Client) error {
				_, err := a.DeleteTopic(ctx, w.name)
				return err
			})
			w.deleted, w.mayBeOut = err == nil, err != nil
			continue
		}
		value := strconv.Itoa(100_000 + i)
		err := do(func(ctx context.Context, a *kadm.Client) error {
			r, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: &value}}, w.name)
			if err == nil {
				err = r[0].Err
			}
			return err
		})
		if err == nil {
			w.retention = value
		} else {
			w.retentions = append(w.retentions, value)
		}
	}
}

// audit compares what was acknowledged with what is there, as one node tells, and returns how many changes were.
func (c *crowd) audit(p *process) (acknowledged int) {
	t := c.arena.t
	there, err := ask(p, func(ctx context.Context, k *kgo.Client) (kadm.TopicDetails, error) {
		return kadm.NewClient(k).ListTopics(ctx)
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range c.wanted {
		if there.Has(w.name) {
			names = append(names, w.name)
		}
	}
	configs, err := ask(p, func(ctx context.Context, k *kgo.Client) (kadm.ResourceConfigs, error) {
		return kadm.NewClient(k).DescribeTopicConfigs(ctx, names...)
	})
	if err != nil {
		t.Fatal(err)
	}
	retention := map[string]string{}
	for _, r := range configs {
		for _, e := range r.Configs {
			if e.Key == "retention.ms" && e.Source == kmsg.ConfigSourceDynamicTopicConfig {
				retention[r.Name] = e.MaybeValue()
			}
		}
	}
	for _, w := range c.wanted {
		is := there.Has(w.name)
		switch {
		case w.deleted && is:
			t.Errorf("topic %s is there, though its deletion was acknowledged", w.name)
		case w.created && !w.deleted && !w.mayBeOut && !is:
			t.Errorf("topic %s is not there, though it was acknowledged", w.name)
		case is && w.created && retention[w.name] != w.retention && !slices.Contains(w.retentions, retention[w.name]):
			t.Errorf("topic %s has retention %q, acknowledged was %q, and may be %q", w.name, retention[w.name], w.retention, w.retentions)
		}
		for _, yes := range []bool{w.created, w.deleted, w.retention != ""} {
			if yes {
				acknowledged++
			}
		}
	}
	return acknowledged
}

// metadataState is what a node tells of its metadata.
type metadataState struct {
	Index int64  `json:"index"`
	Hash  string `json:"hash"`
	Other int64  `json:"other"`
}

// same waits until all nodes have the same metadata, by index and hash.
func (c *crowd) same() {
	c.until("all nodes are at one index", func() bool {
		var all []metadataState
		for i := range c.count() {
			out, err := exec.Command("nsenter", "--net=/run/netns/"+c.space(i+1), "curl", "-s", "-m", "2", "http://127.0.0.1:9644/debug/metadata").Output()
			if err != nil {
				return false
			}
			var s metadataState
			if err := json.Unmarshal(out, &s); err != nil {
				c.arena.t.Fatalf("%v: %s", err, out)
			}
			if s.Other != 0 {
				c.arena.t.Fatalf("node %d has found %d states that differ from its own", i+1, s.Other)
			}
			all = append(all, s)
		}
		for _, s := range all[1:] {
			if s.Index != all[0].Index {
				return false
			}
			if s.Hash != all[0].Hash {
				c.arena.t.Fatalf("at index %d, nodes have hashes %s and %s", s.Index, all[0].Hash, s.Hash)
			}
		}
		return true
	})
}

// working has workers ask for changes meanwhile.
func (c *crowd) working(during func()) {
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 4 {
		workers.Go(func() { c.work(w, stop) })
	}
	during()
	close(stop)
	workers.Wait()
}

// finish checks what must be when all has healed.
func (c *crowd) finish(healed time.Time, faults int) {
	t := c.arena.t
	t.Helper()
	c.settled()
	heal := time.Since(healed)
	c.same()
	for i := range c.count() {
		c.read(i)
		select {
		case <-c.process(i).exited:
			t.Errorf("node %d has ended by itself", i+1)
		default:
		}
	}
	acknowledged := c.audit(c.process(c.random.IntN(c.count())))
	t.Logf("whole again %s after the last fault; %d faults %v, %d terms, %d topics asked for, %d changes acknowledged", heal.Round(time.Millisecond), faults, c.landed, len(c.terms), len(c.wanted), acknowledged)
	if heal > 15*time.Second {
		t.Errorf("whole again only after %s", heal)
	}
	if acknowledged < 10*max(1, faults) {
		t.Errorf("too few changes for the run to mean anything")
	}
}

func needsNetworks(t *testing.T, variable string) (seconds int, seed uint64) {
	t.Helper()
	if seconds = number(variable, 0); seconds == 0 || os.Getuid() != 0 {
		t.Skip("needs root, and " + variable)
	}
	seed = uint64(number("CHAOS_SEED", int(time.Now().UnixNano()%1_000_000)))
	t.Logf("seed %d", seed)
	return seconds, seed
}

// Seven nodes, whose processes end, sleep, lose their directories and move, and whose networks break, while topics are made, altered and
// deleted: at no time two decide in one term, every acknowledged change is there at the end, all have the same metadata, and the cluster
// is whole within 15 seconds of the last fault. METADATA_CHAOS_SECONDS switches it on and says for how long. It needs root.
func TestMetadataChaos(t *testing.T) {
	seconds, seed := needsNetworks(t, "METADATA_CHAOS_SECONDS")
	c := newCrowd(t, 7, seed)
	names := slices.Sorted(maps.Keys(metadataFaults))
	faults := 0
	var healed time.Time
	c.working(func() {
		for start := time.Now(); time.Since(start) < time.Duration(seconds)*time.Second; faults++ {
			name, i := names[c.random.IntN(len(names))], c.random.IntN(c.count())
			lasts := time.Duration(300+c.random.IntN(12_000)) * time.Millisecond
			t.Logf("%6.1f s: %s, node %d, for %s", time.Since(start).Seconds(), name, i+1, lasts)
			undo := metadataFaults[name](c, i)
			pauseFor(t, lasts)
			undo()
			c.landed[name]++
			pauseFor(t, time.Duration(c.random.IntN(2500))*time.Millisecond)
		}
		healed = time.Now()
	})
	c.finish(healed, faults)
}

// Both sides of a partition have forgotten each other when it ends; it heals by itself. LONG_PARTITION_SECONDS says how long it lasts.
// It needs root.
func TestLongPartition(t *testing.T) {
	seconds, seed := needsNetworks(t, "LONG_PARTITION_SECONDS")
	c := newCrowd(t, 5, seed)
	some := c.several(c.count() - 1)
	var healed time.Time
	c.working(func() {
		pauseFor(t, 2*time.Second)
		c.cutOff(some, true)
		t.Logf("nodes %v (from 0 on) are cut off the others for %d s", some, seconds)
		pauseFor(t, time.Duration(seconds)*time.Second)
		c.cutOff(some, false)
		c.landed["long partition"]++
		healed = time.Now()
		pauseFor(t, 5*time.Second)
	})
	c.finish(healed, 1)
}
