//go:build synctests

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// The simulation of whole clusters: three to five real nodes with all that they have, a real client (franz-go) that writes with acks=all and is
// idempotent, one that reads, and a group whose member changes, over a network and disks in memory that fail, under a fake clock. Each seed is one run.
// At the end, when all has healed, what was acknowledged is there, once, in its place and in order, no two values were seen at one offset,
// no consumer has skipped anything, the replicas are equal byte for byte, and what the group has committed is committed.
//
// Meanwhile, in most runs, an operator changes things (simoperator_test.go, simmoves_test.go). It deletes records, and has them deleted by age: what is acknowledged as deleted
// is gone on every replica, and nothing else is gone. It moves partitions to other brokers, changes how many replicas they have, and
// cancels that, and elects preferred leaders: at the end every broker holds what it is to hold, and nothing else. It deletes a topic and creates it again, under the same
// name: that has what was written since, and nothing of what was before. It changes min.insync.replicas and the durability of the topic.
//
// What goes wrong is what the topic's durability promises to survive (simfaults_test.go). A process cannot be paused here, and a disk
// neither fills up nor gives errors: that is in cluster/sim and cluster/e2e.
type dataSimulation struct {
	*simulation
	replicated bool // the topic has durability=replicated at first
	loose      looseness
	partitions int
	writer     *acked.Writer
	history    []string // faults and what the operator did, with their times; guarded by the simulation's lock
	landed     map[string]int
	operator   operator

	readers struct {
		sync.Mutex                    // a leaf
		values     []map[int64]string // by partition and offset, as anybody has read them
		next       []int64            // of the reader, by partition
		read       []map[string]bool  // by the group, by partition
		asked      []int64            // to be committed by the group, which may be done or not
		committed  []int64            // by the group, acknowledged
		commits    int
	}
}

const (
	simClient    = "10.0.0.99"
	simTopicName = "t"
	simGroup     = "g"
)

// options are those of a client in the simulation.
func (d *dataSimulation) options(more ...kgo.Opt) []kgo.Opt {
	dial := d.net.dialer(simClient)
	return append([]kgo.Opt{
		kgo.SeedBrokers(d.seedBrokers()...), kgo.MetadataMinAge(acked.RetryPause), kgo.RequestTimeoutOverhead(2 * time.Second), kgo.AlwaysRetryEOF(),
		kgo.Dialer(func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return dial(ctx, address)
		}),
	}, more...)
}

// consumer are the options of one that reads from the start.
func (d *dataSimulation) consumer(more ...kgo.Opt) []kgo.Opt {
	return d.options(append(more, kgo.ConsumeTopics(simTopicName), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(500*time.Millisecond))...)
}

func (d *dataSimulation) seedBrokers() (all []string) {
	for _, x := range d.nodes {
		all = append(all, x.host+":9092")
	}
	return all
}

// within is a context for something that takes at most so long.
func within(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func (d *dataSimulation) createTopic() bool {
	c, err := kgo.NewClient(d.options()...)
	if err != nil {
		d.failed("a client: %v", err)
		return false
	}
	defer c.Close()
	enough, age, replicated := "2", "3000", "replicated"
	settings := map[string]*string{"min.insync.replicas": &enough, "segment.ms": &age}
	if d.replicated {
		settings["durability"] = &replicated
	}
	ctx, cancel := within(30 * time.Second)
	defer cancel()
	r, err := kadm.NewClient(c).CreateTopic(ctx, int32(d.partitions), 3, settings, simTopicName)
	if err = errors.Join(err, r.Err); err != nil {
		d.failed("create the topic: %v", err)
	}
	return err == nil
}

// saw notes what was read.
func (d *dataSimulation) saw(who string, r *kgo.Record) {
	value := string(r.Value)
	known, ok := d.readers.values[r.Partition][r.Offset]
	d.readers.values[r.Partition][r.Offset] = value
	if ok && known != value {
		d.failed("the %s sees %q in partition %d at %d, where %q was seen", who, value, r.Partition, r.Offset, known)
	}
}

// troubled tells of errors that a consumer must not see.
func (d *dataSimulation) troubled(who string, f kgo.Fetches) {
	f.EachError(func(_ string, p int32, err error) {
		var loss *kgo.ErrDataLoss
		if errors.As(err, &loss) {
			d.failed("the %s of partition %d: %v", who, p, err)
		}
	})
}

// read reads all partitions until ctx ends.
func (d *dataSimulation) read(ctx context.Context) {
	c, err := kgo.NewClient(d.consumer()...)
	if err != nil {
		d.failed("a reader: %v", err)
		return
	}
	defer c.Close()
	for {
		f := c.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		d.troubled("reader", f)
		d.readers.Lock()
		f.EachRecord(func(r *kgo.Record) {
			if next := d.readers.next[r.Partition]; r.Offset != next && !d.deletedBetween(r.Partition, next, r.Offset) {
				d.failed("the reader gets offset %d of partition %d after %d", r.Offset, r.Partition, next-1)
			}
			d.readers.next[r.Partition] = r.Offset + 1
			d.saw("reader", r)
		})
		d.readers.Unlock()
	}
}

// consume has one member after the other read all partitions and commit, until ctx ends.
func (d *dataSimulation) consume(ctx context.Context) {
	for random := rand.New(rand.NewPCG(d.seed, 3)); ctx.Err() == nil; {
		m := member{d: d, next: map[int32]kgo.EpochOffset{}}
		var err error
		m.client, err = kgo.NewClient(d.consumer(kgo.ConsumerGroup(simGroup), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.SessionTimeout(6*time.Second), kgo.RebalanceTimeout(5*time.Second), kgo.HeartbeatInterval(time.Second), kgo.OnPartitionsRevoked(m.loses), kgo.OnPartitionsLost(m.loses))...)
		if err != nil {
			d.failed("a member: %v", err)
			return
		}
		bounded, cancel := context.WithTimeout(ctx, time.Duration(3+random.IntN(15))*time.Second)
		m.run(bounded)
		cancel()
		m.client.AllowRebalance()
		m.client.Close()
	}
}

// member is one member of the group. It reads from where the group has committed.
type member struct {
	d      *dataSimulation
	client *kgo.Client
	next   map[int32]kgo.EpochOffset // of the partitions that it has read from since they are its own; guarded by the readers' lock
}

// loses is told of partitions that are the member's no more, as far as it knows.
func (m *member) loses(_ context.Context, _ *kgo.Client, lost map[string][]int32) {
	m.d.readers.Lock()
	defer m.d.readers.Unlock()
	for _, p := range lost[simTopicName] {
		delete(m.next, p)
	}
}

// run reads and commits until ctx ends.
func (m *member) run(ctx context.Context) {
	d := m.d
	for {
		f := m.client.PollFetches(ctx)
		if ctx.Err() != nil {
			return
		}
		d.troubled("group", f)
		d.readers.Lock()
		f.EachRecord(m.gets)
		ends := maps.Clone(m.next)
		for p, end := range ends {
			d.readers.asked[p] = max(d.readers.asked[p], end.Offset)
		}
		d.readers.Unlock()
		m.commit(ctx, ends)
		m.client.AllowRebalance()
		select {
		case <-ctx.Done():
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (m *member) gets(r *kgo.Record) {
	d := m.d
	least, most := d.readers.committed[r.Partition], d.readers.asked[r.Partition]
	switch want, ok := m.next[r.Partition]; {
	case !ok && (r.Offset < least && !d.deletedBetween(r.Partition, least, r.Offset) || r.Offset > most && !d.deletedBetween(r.Partition, most, r.Offset)):
		d.failed("the group has committed %d of partition %d, and asked to commit %d, and a member begins at %d", least, r.Partition, most, r.Offset)
	case ok && r.Offset != want.Offset && !d.deletedBetween(r.Partition, want.Offset, r.Offset):
		d.failed("a member gets offset %d of partition %d after %d", r.Offset, r.Partition, want.Offset-1)
	}
	m.next[r.Partition] = kgo.EpochOffset{Epoch: r.LeaderEpoch, Offset: r.Offset + 1}
	d.readers.read[r.Partition][string(r.Value)] = true
	d.saw("group", r)
}

func (m *member) commit(ctx context.Context, ends map[int32]kgo.EpochOffset) {
	d := m.d
	bounded, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	m.client.CommitOffsetsSync(bounded, map[string]map[int32]kgo.EpochOffset{simTopicName: ends}, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, r *kmsg.OffsetCommitResponse, err error) {
		if err != nil {
			return
		}
		d.readers.Lock()
		defer d.readers.Unlock()
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode == 0 {
					d.readers.committed[p.Partition] = max(d.readers.committed[p.Partition], ends[p.Partition].Offset)
					d.readers.commits++
				}
			}
		}
	})
}

// begun reports whether all clients are at work.
func (d *dataSimulation) begun() bool {
	d.readers.Lock()
	defer d.readers.Unlock()
	return d.readers.commits > 3 && d.writer.Acked() > 100
}

// inSync returns why not all replicas are in sync, or "".
func (d *dataSimulation) inSync() string { return d.differing(false) }

// alike returns why not all replicas are in sync and equally long, or "".
func (d *dataSimulation) alike() string { return d.differing(true) }

// replica returns a node's replica of a partition; nil: it holds none.
func (x *simNode) replica(t *metadata.Topic, i int) *replica.Partition {
	return x.node().partitions.Partition(wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)})
}

// described tells how all replicas of a partition are.
func (d *dataSimulation) described(t *metadata.Topic, i int) (all string) {
	for _, x := range d.nodes {
		if r := x.replica(t, i); r != nil {
			all += fmt.Sprintf("\nnode %d, broker %d: %+v", x.name, x.node().identity.Broker, r.Describe())
		}
	}
	return all
}

func (d *dataSimulation) differing(inLength bool) (why string) {
	d.nodes[0].image().Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			name := fmt.Sprintf("%s-%d", t.Name, i)
			if p.Leader == wire.NoBroker || len(p.ISR) != len(p.Replicas) {
				why = fmt.Sprintf("%s has leader %d, and %v of %v in sync%s", name, p.Leader, p.ISR, p.Replicas, d.described(t, i))
				return false
			}
			end := wire.Offset(-1)
			for _, x := range d.nodes {
				if !slices.Contains(p.Replicas, x.node().identity.Broker) {
					continue
				}
				r := x.replica(t, i)
				if r == nil {
					why = fmt.Sprintf("node %d does not hold %s", x.name, name)
					return false
				}
				if end < 0 {
					end = r.Log().End()
				}
				if r.Log().Suspect() != "" || inLength && (r.Log().End() != end || r.HighWatermark() != end) {
					why = fmt.Sprintf("node %d has %s up to %d, watermark %d, suspect %q, and another up to %d", x.name, name, r.Log().End(), r.HighWatermark(), r.Log().Suspect(), end)
					return false
				}
			}
		}
		return true
	})
	return why
}

// logBytes is a log from the batch on that has an offset.
func logBytes(log *storage.Log, from wire.Offset) ([]byte, error) {
	var out bytes.Buffer
	for at := from; at < log.End(); {
		slice, code, err := log.Read(at, 1<<20, log.End(), true)
		if err != nil || code != wire.ErrNone {
			return nil, errors.Join(err, fmt.Errorf("read at %d: %s", at, code))
		}
		b := make([]byte, slice.Len())
		_, err = slice.ReadInto(b)
		slice.Release()
		if err != nil {
			return nil, err
		}
		out.Write(b)
		next, err := batchesEnd(b)
		if err != nil {
			return nil, err
		}
		at = next
	}
	return out.Bytes(), nil
}

// checkReplicas compares the replicas.
func (d *dataSimulation) checkReplicas() {
	d.nodes[0].image().Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			var first []byte
			var of *simNode
			from := d.start(t, i) // each replica deletes by itself what is too old
			for _, x := range d.nodes {
				r := x.replica(t, i)
				if r == nil {
					continue
				}
				b, err := logBytes(r.Log(), from)
				switch {
				case err != nil:
					d.failed("node %d, %s-%d: %v", x.name, t.Name, i, err)
				case of == nil:
					of, first = x, b
				case !bytes.Equal(b, first):
					d.failed("node %d has other bytes than node %d in %s-%d", x.name, of.name, t.Name, i)
				}
			}
		}
		return true
	})
}

// caughtUp returns what has not been read, or "".
func (d *dataSimulation) caughtUp() (why string) {
	t := d.nodes[0].image().Topic(simTopicName)
	d.readers.Lock()
	defer d.readers.Unlock()
	for p, next := range d.readers.next {
		end := int64(0)
		for _, x := range d.nodes { // a follower may not have heard of the last records yet
			if r := x.replica(t, p); r != nil {
				end = max(end, int64(r.HighWatermark()))
			}
		}
		if next != end || d.readers.asked[p] != end { // an answer to a commit may be lost
			return fmt.Sprintf("partition %d ends at %d, read is up to %d, and by the group up to %d", p, end, next, d.readers.asked[p])
		}
	}
	return ""
}

// checkGroup compares what the group has read and committed.
func (d *dataSimulation) checkGroup() {
	d.writer.Each(func(p int32, sequence, offset int64, _ time.Time) {
		if d.deletedBetween(p, offset, offset+1) {
			return
		}
		value := d.readers.values[p][offset]
		if !strings.HasPrefix(value, fmt.Sprintf("%d/%d/", p, sequence)) || !d.readers.read[p][value] {
			d.failed("value %d of partition %d was acknowledged at %d, where %q was read; by the group: %t", sequence, p, offset, value, d.readers.read[p][value])
		}
	})
	c, err := kgo.NewClient(d.options()...)
	if err != nil {
		d.failed("a client: %v", err)
		return
	}
	defer c.Close()
	ctx, cancel := within(10 * time.Second)
	defer cancel()
	offsets, err := kadm.NewClient(c).FetchOffsets(ctx, simGroup)
	if err != nil {
		d.failed("fetch the offsets: %v", err)
		return
	}
	for p, committed := range d.readers.committed {
		o, _ := offsets.Lookup(simTopicName, int32(p))
		if o.At < committed || o.At > d.readers.asked[p] {
			d.failed("the group has committed %d of partition %d, asked to commit %d, and is told %d", committed, p, d.readers.asked[p], o.At)
		}
	}
}

// check is the end of a run: all is well.
func (d *dataSimulation) check(stopReading func()) {
	if !d.becomes(30*time.Second, "all is well after the last fault", d.settled) || !d.becomes(30*time.Second, "all replicas are in sync after the last fault", d.inSync) {
		return
	}
	ctx, cancel := within(60 * time.Second)
	defer cancel()
	if err := d.writer.Stop(ctx); err != nil {
		d.failed("what was sent is not answered a minute after the last fault: %v", err)
		return
	}
	if !d.becomes(30*time.Second, "all is read", d.caughtUp) {
		d.tellOfGroup()
		return
	}
	stopReading()
	if !d.becomes(10*time.Second, "all replicas have the same when nothing is written any more", d.alike) || !d.becomes(10*time.Second, "what was deleted is deleted everywhere", d.undeleted) || !d.becomes(10*time.Second, "nobody holds what it is not to hold", d.strays) {
		return
	}
	for p := range d.partitions {
		if d.operator.ages {
			d.writer.Deleted(int32(p), int64(d.highestStart(p)))
		}
	}
	v, err := d.writer.Check(ctx)
	if err != nil {
		d.failed("read the topic: %v", err)
		return
	}
	if !v.Sound() {
		d.failed("%s; last error: %v", v, v.LastError)
	}
	d.checkReplicas()
	d.checkGroup()
	d.checkDeleted()
	d.checkAgain(ctx)
	total := 0
	for _, n := range d.landed {
		total += n
	}
	d.t.Logf("seed %d: %d acknowledged, %d given up (%v), %d deleted, %d commits, faults %v, operator %v", d.seed, v.Acked, v.Failed, v.LastError, v.Deleted, d.readers.commits, d.landed, d.operator.done)
	if v.Acked < 500 || d.readers.commits < 5 || total < 5 {
		d.failed("%d acknowledged records, %d commits and %d faults: too few for the run to mean anything", v.Acked, d.readers.commits, total)
	}
}

// live writes and reads while something happens.
func (d *dataSimulation) live() {
	if !d.createTopic() {
		return
	}
	for range d.partitions {
		d.readers.values, d.readers.read = append(d.readers.values, map[int64]string{}), append(d.readers.read, map[string]bool{})
	}
	d.readers.next, d.readers.asked, d.readers.committed = make([]int64, d.partitions), make([]int64, d.partitions), make([]int64, d.partitions)
	var err error
	d.writer, err = acked.Start(acked.Options{Seeds: d.seedBrokers(), Topic: simTopicName, Partitions: d.partitions, Rate: 40, Size: 40, Client: d.options()})
	if err != nil {
		d.failed("a writer: %v", err)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	var reading sync.WaitGroup
	stop := func() {
		cancel()
		reading.Wait()
	}
	reading.Go(func() { d.consume(ctx) })
	reading.Go(func() { d.read(ctx) })
	if d.wait(20*time.Second, "the group commits", d.begun) {
		if end, ok := d.operate(); ok {
			d.trouble()
			end()
			d.check(stop)
		}
	}
	stop()
	_ = d.writer.Stop(ctx) // if it has not been stopped
}

// simulateData is one run.
func simulateData(t *testing.T, root string, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 1))
	d := &dataSimulation{
		simulation: &simulation{
			t: t, seed: seed, random: random, net: newSimNet(rand.New(rand.NewPCG(seed, 2))), root: root, faults: map[string]int{},
			hashes: map[wire.Index]metadata.Hash{}, terms: map[wire.Term]wire.UUID{},
		},
		replicated: seed%2 == 1, partitions: 2 + random.IntN(3), landed: map[string]int{},
	}
	d.loose.now.Store(d.replicated)
	d.net.latency, d.net.loss = d.between(200*time.Microsecond, 10*time.Millisecond), random.Float64()*0.05
	slow := d.between(time.Millisecond, 50*time.Millisecond)
	for i := range []int{3, 3, 3, 4, 5}[random.IntN(5)] {
		x := d.newNode(i + 1)
		x.disk = newSimDisk(d.net, slow)
		d.nodes = append(d.nodes, x)
	}
	d.nodes[0].start(true, false)
	d.wait(10*time.Second, "the founder serves", d.nodes[0].ready)
	for _, x := range d.nodes[1:] {
		x.start(false, true)
	}
	if d.becomes(time.Minute, "all nodes join", d.settled) {
		d.live()
	}
	for _, x := range d.nodes {
		x.dies()
	}
	d.mu.Lock()
	logs := d.log.String()
	d.mu.Unlock()
	for _, x := range d.nodes {
		x.kill()
	}
	d.pause(time.Minute) // memberlist does not wait for its own goroutines
	if len(d.faulty) > 0 {
		t.Errorf("seed %d: broken: %s\nfaults:\n%s\n%s", seed, strings.Join(d.faulty, "\n"), strings.Join(d.history, "\n"), lastLines(logs, 400))
	}
}

// SIM_DATA_SEEDS says how many seeds are run, from SIM_FIRST on.
func TestSimulatedClusters(t *testing.T) {
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
	for seed := first; seed < first+number("SIM_DATA_SEEDS", 20); seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { simulateData(t, root, uint64(seed)) })
		})
	}
}

// batchesEnd returns the offset past whole batches.
func batchesEnd(b []byte) (end wire.Offset, err error) {
	for len(b) > 0 {
		h, rest, err := batch.Next(b)
		if err != nil {
			return 0, err
		}
		end, b = h.NextOffset(), rest
	}
	return end, nil
}
