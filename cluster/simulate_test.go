package cluster

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// The simulation of the metadata plane: real nodes but for their partitions, with raft, feed, gossip, registrations, heartbeats and
// fencing, over a network and stores in memory that fail, under a fake clock. Each seed is one run. All along, no two nodes decide in
// one term, and all have equal hashes at equal indexes; at the end, when all has healed, every acknowledged change is there, nobody is
// fenced, and as many nodes vote as should, all of which live.
//
// A seed chooses faults, not interleavings: a run is much the same again, not the same.
type simulation struct {
	t      *testing.T
	seed   uint64
	random *rand.Rand // of the goroutine that makes faults
	net    *simNet
	root   string
	nodes  []*simNode
	faults map[string]int

	mu      sync.Mutex // a leaf
	log     bytes.Buffer
	hashes  map[wire.Index]metadata.Hash
	terms   map[wire.Term]wire.UUID
	faulty  []string
	changes []*simTopic
}

// simTopic is what workers know of a topic. What they do not know the outcome of may have happened, or happen later.
type simTopic struct {
	name                        string
	created, deleted, maybeGone bool
	retention                   string   // acknowledged last
	maybe                       []string // retentions of which it is not known whether they were set
	createUnknown               bool
}

// Write takes the nodes' logs, which are shown when the run fails.
func (s *simulation) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.log.Len() < 4<<20 {
		s.log.Write(p)
	}
	return len(p), nil
}

func (s *simulation) failed(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faulty = append(s.faulty, fmt.Sprintf("%s: ", time.Now().UTC().Format("04:05.000"))+fmt.Sprintf(format, args...))
}

// sees is told of every image that a node comes to.
func (s *simulation) sees(x *simNode, m *metadata.Image) {
	s.mu.Lock()
	known, ok := s.hashes[m.Index()]
	if !ok {
		s.hashes[m.Index()] = m.Hash()
	}
	s.mu.Unlock()
	if ok && known != m.Hash() {
		s.failed("node %d has hash %s at index %d, another has %s", x.name, m.Hash(), m.Index(), known)
	}
}

// reigns is told of every beginning of a reign.
func (s *simulation) reigns(x *simNode, directory wire.UUID, term wire.Term) {
	s.mu.Lock()
	other, ok := s.terms[term]
	s.terms[term] = directory
	s.mu.Unlock()
	if ok && other != directory {
		s.failed("node %d decides in term %d, in which another has decided", x.name, term)
	}
}

// seeds are the gossip addresses of the others.
func (s *simulation) seeds(but *simNode) []string {
	var out []string
	for _, x := range s.nodes {
		if x != but {
			out = append(out, x.host+":9094")
		}
	}
	return out
}

// wait waits for a condition in the clock of the simulation.
func (s *simulation) wait(atMost time.Duration, what string, done func() bool) bool {
	for end := time.Now().Add(atMost); !done(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(end) {
			s.failed("not within %s: %s", atMost, what)
			return false
		}
	}
	return true
}

func (s *simulation) pause(d time.Duration) { <-time.After(d) }

func (s *simulation) between(least, most time.Duration) time.Duration {
	return least + time.Duration(s.random.Int64N(int64(most-least)+1))
}

// settled returns why the cluster is not whole, or "".
func (s *simulation) settled() string {
	var index wire.Index
	for i, x := range s.nodes {
		m := x.image()
		if m == nil || !x.ready() {
			return fmt.Sprintf("node %d is not up", x.name)
		}
		brokers := 0
		var fenced []wire.BrokerID
		m.Brokers(func(b *metadata.BrokerInfo) bool {
			brokers++
			if b.Fenced {
				fenced = append(fenced, b.Broker)
			}
			return true
		})
		switch {
		case brokers != len(s.nodes) || len(fenced) > 0:
			return fmt.Sprintf("node %d sees %d brokers, fenced are %v", x.name, brokers, fenced)
		case i > 0 && m.Index() != index:
			return fmt.Sprintf("node %d is at index %d, node 1 at %d", x.name, m.Index(), index)
		case !x.node().agent.Load().Alive():
			return fmt.Sprintf("node %d has no session", x.name)
		}
		index = m.Index()
	}
	return s.voters()
}

// gossips returns why gossip is not whole, or "".
func (s *simulation) gossips() string {
	for _, x := range s.nodes {
		if n := len(x.node().gossip.Load().Members()); n != len(s.nodes) {
			return fmt.Sprintf("node %d has %d nodes in its gossip", x.name, n)
		}
	}
	return ""
}

// becomes waits until nothing is wrong any more.
func (s *simulation) becomes(atMost time.Duration, what string, wrong func() string) bool {
	if s.wait(atMost, what, func() bool { return wrong() == "" }) {
		return true
	}
	s.failed("since %s", wrong())
	return false
}

// voters returns why the quorum is not as it should be, or "".
func (s *simulation) voters() string {
	for _, x := range s.nodes {
		if x.node().quorum.Reign() == 0 {
			continue
		}
		status, err := x.node().quorum.Status()
		if err != nil {
			return err.Error()
		}
		votes := 0
		for _, m := range status.Members {
			if !m.Votes {
				continue
			}
			i := slices.IndexFunc(s.nodes, func(x *simNode) bool { return x.node().directory == m.ID && x.node().internalAddr == m.Address })
			if i < 0 {
				return fmt.Sprintf("voter %s at %s is not one of the nodes", m.ID, m.Address)
			}
			// What the leader has may not be committed: it is when the others have it.
			if theirs, err := s.nodes[i].node().quorum.Status(); err != nil || fmt.Sprint(theirs.Members) != fmt.Sprint(status.Members) {
				return fmt.Sprintf("node %d has another quorum than its leader, or an error: %v", s.nodes[i].name, err)
			}
			votes++
		}
		if want := min(3, len(s.nodes)-1+len(s.nodes)%2); votes != want {
			return fmt.Sprintf("%d vote", votes)
		}
		return ""
	}
	return "nobody decides"
}

// ask has a node serve a client's request, and returns the body of the answer.
func (s *simulation) ask(x *simNode, m message.Request, wait time.Duration) (body []byte, version int16, err error) {
	n := x.node()
	if n == nil || n.apiBroker.Load() == nil {
		return nil, 0, errors.New("the node does not serve")
	}
	info, _ := message.Lookup(m.APIKey())
	version = info.LatestStable
	client := "simulated"
	h := message.RequestHeader{Key: m.APIKey(), Version: version, CorrelationID: 5, ClientID: &client}
	var id wire.UUID
	s.net.mu.Lock()
	binary.BigEndian.PutUint64(id[:], s.net.random.Uint64()|1)
	s.net.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	answer, err := n.peers.Relay(ctx, id, "PLAINTEXT", "10.0.0.99:1", m.AppendTo(h.AppendTo(nil), version))
	if err != nil {
		return nil, 0, err
	}
	return answer[5:], version, nil // all are flexible: correlation id, no tags
}

// outcome is what became of a request.
type outcome int

const (
	unknown outcome = iota // it may have been done, or be done later
	done
	refused
)

func (s *simulation) judge(code int16) outcome {
	switch wire.ErrorCode(code) {
	case wire.ErrNone:
		return done
	case wire.ErrInvalidReplicationFactor, wire.ErrUnknownTopicOrPartition:
		return refused
	}
	return unknown
}

func (s *simulation) create(x *simNode, name string, partitions int32, replicas int16) outcome {
	body, v, err := s.ask(x, &message.CreateTopicsRequest{TimeoutMs: 10_000, Topics: []message.CreateTopicsRequestTopic{{Name: name, NumPartitions: partitions, ReplicationFactor: replicas}}}, 20*time.Second)
	if err != nil {
		return unknown
	}
	r := kmsg.CreateTopicsResponse{Version: v}
	if err := r.ReadFrom(body); err != nil || len(r.Topics) != 1 {
		s.failed("an answer to CreateTopics: %v", err)
		return unknown
	}
	return s.judge(r.Topics[0].ErrorCode)
}

func (s *simulation) remove(x *simNode, name string) outcome {
	body, v, err := s.ask(x, &message.DeleteTopicsRequest{TimeoutMs: 10_000, Topics: []message.DeleteTopicsRequestTopic{{Name: &name}}}, 20*time.Second)
	if err != nil {
		return unknown
	}
	r := kmsg.DeleteTopicsResponse{Version: v}
	if err := r.ReadFrom(body); err != nil || len(r.Topics) != 1 {
		s.failed("an answer to DeleteTopics: %v", err)
		return unknown
	}
	return s.judge(r.Topics[0].ErrorCode)
}

func (s *simulation) configure(x *simNode, name, value string) outcome {
	body, v, err := s.ask(x, &message.IncrementalAlterConfigsRequest{Resources: []message.IncrementalAlterConfigsRequestResource{{
		ResourceType: 2, ResourceName: name, Configs: []message.IncrementalAlterConfigsRequestConfig{{Name: "retention.ms", Value: &value}},
	}}}, 20*time.Second)
	if err != nil {
		return unknown
	}
	r := kmsg.IncrementalAlterConfigsResponse{Version: v}
	if err := r.ReadFrom(body); err != nil || len(r.Resources) != 1 {
		s.failed("an answer to IncrementalAlterConfigs: %v", err)
		return unknown
	}
	return s.judge(r.Resources[0].ErrorCode)
}

// unregister has the cluster forget a broker that is gone.
func (s *simulation) unregister(id wire.BrokerID) bool {
	return s.wait(60*time.Second, fmt.Sprintf("broker %d is unregistered", id), func() bool {
		for _, x := range s.nodes {
			body, v, err := s.ask(x, &message.UnregisterBrokerRequest{BrokerID: id}, 5*time.Second)
			if err != nil {
				continue
			}
			r := kmsg.UnregisterBrokerResponse{Version: v}
			if err := r.ReadFrom(body); err == nil && (r.ErrorCode == 0 || wire.ErrorCode(r.ErrorCode) == wire.ErrBrokerIDNotRegistered) {
				return true
			}
		}
		return false
	})
}

// work asks for changes until stop is closed: topics are made, altered and deleted, one after the other, through any node.
func (s *simulation) work(worker int, stop chan struct{}) {
	random := rand.New(rand.NewPCG(s.seed, uint64(worker)+100))
	var mine []*simTopic
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(100+random.IntN(900)) * time.Millisecond):
		}
		x := s.nodes[random.IntN(len(s.nodes))]
		if !x.ready() {
			continue
		}
		if len(mine) == 0 || random.IntN(2) == 0 {
			c := &simTopic{name: fmt.Sprintf("w%d-%d", worker, i)}
			s.mu.Lock()
			s.changes = append(s.changes, c)
			s.mu.Unlock()
			switch s.create(x, c.name, int32(1+random.IntN(3)), int16(1+random.IntN(3))) {
			case done:
				c.created = true
				mine = append(mine, c)
			case unknown:
				c.createUnknown = true
			}
			continue
		}
		k := random.IntN(len(mine))
		c := mine[k]
		if random.IntN(4) == 0 {
			mine = slices.Delete(mine, k, k+1)
			if s.remove(x, c.name) == done {
				c.deleted = true
			} else {
				c.maybeGone = true
			}
			continue
		}
		value := strconv.Itoa(100_000 + i)
		switch s.configure(x, c.name, value) {
		case done:
			c.retention = value
		case unknown:
			c.maybe = append(c.maybe, value)
		case refused:
			s.failed("topic %s, which was acknowledged, is not known", c.name)
		}
	}
}

// working has workers ask for changes while something happens.
func (s *simulation) working(first int, during func()) {
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for w := range 3 {
		workers.Go(func() { s.work(first+w, stop) })
	}
	during()
	close(stop)
	workers.Wait()
}

// audit compares what was acknowledged with what is there, and returns how many changes were.
func (s *simulation) audit() (acknowledged int) {
	m := s.nodes[0].image()
	for _, c := range s.changes {
		t := m.Topic(c.name)
		value := m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: c.name})["retention.ms"]
		switch {
		case c.deleted && t != nil:
			s.failed("topic %s is there, though its deletion was acknowledged", c.name)
		case c.created && !c.deleted && !c.maybeGone && t == nil:
			s.failed("topic %s is not there, though it was acknowledged", c.name)
		case !c.created && !c.createUnknown && t != nil:
			s.failed("topic %s is there, though it was refused", c.name)
		case t != nil && c.created && value != c.retention && !slices.Contains(c.maybe, value):
			s.failed("topic %s has retention %q, acknowledged was %q", c.name, value, c.retention)
		}
		for _, yes := range []bool{c.created, c.deleted, c.retention != ""} {
			if yes {
				acknowledged++
			}
		}
	}
	return acknowledged
}

// simFamily is what a seed does.
type simFamily struct {
	name   string
	nodes  int
	run    func(s *simulation)
	faults int // at least
}

// kinds of faults; each is done to a node, and undone by what it returns.
var simFaults = map[string]func(s *simulation, x *simNode) (undo func()){
	"kill": func(_ *simulation, x *simNode) func() {
		x.kill()
		return func() { x.start(false, false) }
	},
	"stop": func(_ *simulation, x *simNode) func() {
		x.stop()
		return func() { x.start(false, false) }
	},
	"isolate": func(s *simulation, x *simNode) func() {
		return s.part([]*simNode{x})
	},
	"halves": func(s *simulation, _ *simNode) func() {
		some := slices.Clone(s.nodes)
		s.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
		return s.part(some[:1+s.random.IntN(len(some)-1)])
	},
	"one way": func(s *simulation, x *simNode) func() {
		y := s.nodes[s.random.IntN(len(s.nodes))]
		if x == y {
			return s.part([]*simNode{x})
		}
		from, to := x.host, y.host
		s.net.cut(from, to, true)
		return func() { s.net.cut(from, to, false) }
	},
	"hung disk": func(_ *simulation, x *simNode) func() {
		x.store.hangs()
		return x.store.lets
	},
	"failing disk": func(s *simulation, x *simNode) func() {
		x.store.fails.Store(int64(1 + s.random.IntN(5)))
		return func() { x.store.fails.Store(0) }
	},
}

// part cuts some nodes off the others.
func (s *simulation) part(some []*simNode) (heal func()) {
	var ways [][2]string
	for _, x := range some {
		for _, y := range s.nodes {
			if !slices.Contains(some, y) {
				ways = append(ways, [2]string{x.host, y.host}, [2]string{y.host, x.host})
			}
		}
	}
	for _, w := range ways {
		s.net.cut(w[0], w[1], true)
	}
	return func() {
		for _, w := range ways {
			s.net.cut(w[0], w[1], false)
		}
	}
}

// storm makes faults of some kinds for a time, one or two at once.
func (s *simulation) storm(lasts time.Duration, kinds ...string) {
	type fault struct {
		undo  func()
		until time.Time
		x     *simNode
	}
	var now []fault
	for end := time.Now().Add(lasts); time.Now().Before(end); s.pause(s.between(200*time.Millisecond, 3*time.Second)) {
		now = slices.DeleteFunc(now, func(f fault) bool {
			over := time.Now().After(f.until)
			if over {
				f.undo()
			}
			return over
		})
		x := s.nodes[s.random.IntN(len(s.nodes))]
		if len(now) >= 2 || slices.ContainsFunc(now, func(f fault) bool { return f.x == x }) {
			continue
		}
		kind := kinds[s.random.IntN(len(kinds))]
		s.faults[kind]++
		fmt.Fprintf(s, "--- %s: %s, node %d\n", time.Now().UTC().Format("04:05.000"), kind, x.name)
		now = append(now, fault{simFaults[kind](s, x), time.Now().Add(s.between(time.Second, 15*time.Second)), x})
	}
	for _, f := range now {
		f.undo()
	}
}

var simFamilies = []simFamily{
	{"processes end", 5, func(s *simulation) { s.storm(60*time.Second, "kill", "stop") }, 3},
	{"networks break", 5, func(s *simulation) { s.storm(60*time.Second, "isolate", "halves", "one way") }, 3},
	{"disks fail", 3, func(s *simulation) { s.storm(60*time.Second, "hung disk", "failing disk", "kill") }, 3},
	{"all of it", 5, func(s *simulation) {
		s.storm(60*time.Second, "kill", "stop", "isolate", "halves", "one way", "hung disk", "failing disk")
	}, 3},
	{"seven nodes", 7, func(s *simulation) {
		s.storm(45*time.Second, "kill", "stop", "isolate", "halves", "one way", "hung disk", "failing disk")
	}, 3},
	{"directories are lost and nodes move", 5, (*simulation).replacing, 2},
	{"a long partition", 5, (*simulation).longPartition, 1},
}

// replacing has nodes come back with nothing, as new ones, and under other addresses.
func (s *simulation) replacing() {
	for range 2 + s.random.IntN(3) {
		i := s.random.IntN(len(s.nodes))
		x := s.nodes[i]
		if s.random.IntN(2) == 0 {
			s.faults["moved"]++
			s.storm(s.between(time.Second, 10*time.Second), "kill", "isolate")
			x.kill()
			if !raceDetector { // hashicorp/raft races with itself when a member's address changes: see kraftgotest.MovesMembers
				x.host = fmt.Sprintf("10.0.%d.%d", s.faults["moved"], x.name)
			}
			s.pause(s.between(0, 5*time.Second))
			x.start(false, false)
		} else {
			s.faults["wiped"]++
			old := x.node().identity.Broker
			x.kill()
			x.wipe()
			s.pause(s.between(0, 5*time.Second))
			x.start(false, true)
			if !s.wait(time.Minute, "a node that lost its directory joins", x.ready) || !s.unregister(old) {
				return
			}
		}
		s.faults["replaced"]++
		// Two directories of three voters must not be lost before the first was replaced.
		if !s.becomes(time.Minute, "the cluster is whole after a node was replaced", s.settled) {
			return
		}
	}
}

// longPartition lasts until both sides have forgotten each other, and heals by itself.
func (s *simulation) longPartition() {
	some := slices.Clone(s.nodes)
	s.random.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	left := some[:1+s.random.IntN(len(some)-1)]
	heal := s.part(left)
	s.faults["long partition"]++
	s.pause(5 * time.Minute)
	for _, x := range s.nodes {
		for _, m := range x.node().gossip.Load().Members() {
			y := slices.IndexFunc(s.nodes, func(y *simNode) bool { return y.node().directory == m.Directory })
			if y >= 0 && slices.Contains(left, x) != slices.Contains(left, s.nodes[y]) {
				s.failed("node %d still has node %d in its gossip after five minutes: this run shows nothing", x.name, s.nodes[y].name)
			}
		}
	}
	s.apart(left)
	heal()
}

// apart checks the two sides of a partition that has lasted: at most one decides, and it has fenced the other, and nobody else.
func (s *simulation) apart(left []*simNode) {
	deciding := 0
	for _, x := range s.nodes {
		if x.node().quorum.Reign() == 0 {
			continue
		}
		deciding++
		for _, y := range s.nodes {
			b := x.image().BrokerByDirectory(y.node().directory)
			if b == nil || b.Fenced != (slices.Contains(left, x) != slices.Contains(left, y)) {
				s.failed("after five minutes, node %d, which decides, has node %d as %+v", x.name, y.name, b)
			}
		}
	}
	if deciding > 1 {
		s.failed("%d nodes decide after five minutes", deciding)
	}
}

// simulate is one run.
func simulate(t *testing.T, root string, seed uint64) {
	family := simFamilies[seed%uint64(len(simFamilies))]
	random := rand.New(rand.NewPCG(seed, 1))
	s := &simulation{
		t: t, seed: seed, random: random, net: newSimNet(rand.New(rand.NewPCG(seed, 2))), root: root, faults: map[string]int{},
		hashes: map[wire.Index]metadata.Hash{}, terms: map[wire.Term]wire.UUID{},
	}
	s.net.latency, s.net.loss = s.between(200*time.Microsecond, 20*time.Millisecond), random.Float64()*0.05
	for i := range family.nodes {
		s.nodes = append(s.nodes, s.newNode(i+1))
	}
	s.nodes[0].start(true, false)
	s.wait(10*time.Second, "the founder serves", s.nodes[0].ready)
	for _, x := range s.nodes[1:] { // all at once
		x.start(false, true)
	}
	if s.becomes(time.Minute, "all nodes join", s.settled) {
		s.live(family)
	}
	for _, x := range s.nodes {
		x.kill()
	}
	s.pause(time.Minute) // memberlist does not wait for its own goroutines
	if len(s.faulty) > 0 {
		t.Errorf("seed %d (%s):\n%s\n%s", seed, family.name, strings.Join(s.faulty, "\n"), lastLines(s.log.String(), 400))
	}
}

// live is the part of a run in which something happens.
func (s *simulation) live(family simFamily) {
	s.working(0, func() {
		s.pause(s.between(0, 3*time.Second))
		family.run(s)
		s.net.mu.Lock()
		s.net.loss = 0
		s.net.mu.Unlock()
	})
	// The workers may wait up to 20 seconds for an answer that comes no more; what counts is how long it takes from then on.
	healed := time.Now()
	if !s.becomes(15*time.Second, "all is well after the last fault", s.settled) {
		return
	}
	took := time.Since(healed)
	s.working(10, func() { s.pause(5 * time.Second) })
	if !s.becomes(5*time.Second, "all is well when nothing is asked for any more", s.settled) || !s.becomes(time.Minute, "gossip is whole", s.gossips) {
		return
	}
	s.t.Logf("seed %d (%s): healed %s after the last fault; faults %v; %d reigns, %d commands, %d topics", s.seed, family.name, took.Round(time.Millisecond), s.faults, len(s.terms), len(s.hashes), len(s.changes))
	acknowledged := s.audit()
	total := 0
	for _, n := range s.faults {
		total += n
	}
	if total < family.faults || acknowledged < 10 {
		s.failed("%d faults and %d acknowledged changes: too few for the run to mean anything", total, acknowledged)
	}
}

func lastLines(text string, n int) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

// SIM_SEEDS says how many seeds are run, from SIM_FIRST on.
func TestSimulatedMetadata(t *testing.T) {
	number := func(name string, otherwise int) int {
		if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
			return n
		}
		return otherwise
	}
	root, err := os.MkdirTemp("/dev/shm", "kraftgo-sim-")
	if err != nil {
		root = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	first := number("SIM_FIRST", 0)
	for seed := first; seed < first+number("SIM_SEEDS", 14); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulate(t, root, uint64(seed)) })
		})
	}
}
