//go:build synctests

package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// operator changes the cluster while it is in trouble, through a client of its own. Whatever it is not told of may have been done.
type operator struct {
	client *kadm.Client
	random *rand.Rand
	acts   []string       // of this run
	done   map[string]int // acknowledged

	again     again
	minInSync bool // it was changed

	low []int64 // by partition: what is below was deleted, acknowledged

	mu       sync.Mutex    // a leaf
	asked    []int64       // by partition: what is below was to be deleted
	ages     bool          // records are deleted by age, at times
	youngest time.Duration // of the ages at which they were
	starts   [][]sawStart  // by partition
}

// operatorPatience is how long the operator waits for an answer.
const operatorPatience = 5 * time.Second

// sawStart is a log start that was seen on any node, higher than those before.
type sawStart struct {
	start wire.Offset
	at    time.Time
}

// operatorActs are what an operator does; each reports whether it was acknowledged.
var operatorActs = map[string]func(d *dataSimulation) bool{
	"delete records": deleteRecords,
	"retention":      changeRetention,
	"reassign":       reassign,
	"elect":          electPreferred,
	"topic again":    topicAgain,
	"min in sync":    changeMinInSync,
	"durability":     changeDurability,
}

// operate begins to operate, in most runs. end ends it, with settings as they were at the beginning.
func (d *dataSimulation) operate() (end func(), ok bool) {
	o := &d.operator
	o.random, o.done = rand.New(rand.NewPCG(d.seed, 4)), map[string]int{}
	o.low, o.asked, o.starts = make([]int64, d.partitions), make([]int64, d.partitions), make([][]sawStart, d.partitions)
	for name := range operatorActs {
		o.acts = append(o.acts, name)
	}
	slices.Sort(o.acts)
	o.random.Shuffle(len(o.acts), func(i, j int) { o.acts[i], o.acts[j] = o.acts[j], o.acts[i] })
	o.acts = o.acts[:min([]int{0, 1, 2, len(o.acts)}[o.random.IntN(4)], len(o.acts))]
	c, err := kgo.NewClient(d.options()...)
	if err != nil {
		d.failed("an operator: %v", err)
		return nil, false
	}
	o.client = kadm.NewClient(c)
	o.client.SetTimeoutMillis(int32(operatorPatience.Milliseconds())) // what nobody waits for any more is not to be done much later
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { d.operateUntil(ctx) })
	running.Go(func() { d.watchStarts(ctx) })
	return func() {
		cancel()
		running.Wait()
		d.calmDown()
		c.Close()
	}, true
}

// operateUntil does one thing after the other until ctx ends.
func (d *dataSimulation) operateUntil(ctx context.Context) {
	o := &d.operator
	for len(o.acts) > 0 {
		select {
		case <-ctx.Done():
			return
		case <-time.After(300*time.Millisecond + time.Duration(o.random.Int64N(int64(4*time.Second)))):
		}
		if name := o.acts[o.random.IntN(len(o.acts))]; operatorActs[name](d) {
			o.done[name]++
		}
	}
}

// calmDown sets back what would go on when all else is over.
func (d *dataSimulation) calmDown() {
	if !d.operator.ages && !d.operator.minInSync {
		return
	}
	d.pause(operatorPatience) // what was asked for and not answered is done by now, or never
	if d.operator.minInSync {
		d.wait(30*time.Second, "two in sync are enough again", func() bool { return d.setting("min.insync.replicas", "2") })
	}
	if d.operator.ages {
		d.wait(30*time.Second, "retention ends", func() bool { return d.retain(-1) })
		d.becomes(30*time.Second, "all nodes know that retention has ended", func() string { return d.knows("retention.ms", "-1") })
	}
}

// knows returns which node has another setting of the topic, or "".
func (d *dataSimulation) knows(name, value string) string {
	for _, x := range d.nodes {
		m := x.image()
		if m == nil {
			return fmt.Sprintf("node %d is not up", x.name)
		}
		if is := m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: simTopicName})[name]; is != value {
			return fmt.Sprintf("node %d has %s=%s", x.name, name, is)
		}
	}
	return ""
}

// deleteRecords deletes what everybody has read, so that nobody misses it.
func deleteRecords(d *dataSimulation) bool {
	o, p := &d.operator, d.operator.random.IntN(d.partitions)
	d.readers.Lock()
	most := min(d.readers.next[p], d.readers.committed[p])
	d.readers.Unlock()
	o.mu.Lock()
	least := o.asked[p] + 1
	if least > most {
		o.mu.Unlock()
		return false
	}
	before := least + o.random.Int64N(most-least+1)
	o.asked[p] = before
	o.mu.Unlock()
	d.writer.Deleted(int32(p), before)
	d.note("operator: delete what is below %d in partition %d", before, p)
	ctx, cancel := within(operatorPatience)
	defer cancel()
	var wanted kadm.Offsets
	wanted.Add(kadm.Offset{Topic: simTopicName, Partition: int32(p), At: before})
	answers, err := o.client.DeleteRecords(ctx, wanted)
	a, _ := answers.Lookup(simTopicName, int32(p))
	if err = errors.Join(err, a.Err); err != nil {
		return false
	}
	if a.LowWatermark < before || a.LowWatermark > before && !o.ages {
		d.failed("what is below %d in partition %d is deleted, and the low watermark is %d", before, p, a.LowWatermark)
	}
	o.low[p] = before
	d.note("operator: deleted what is below %d in partition %d", before, p)
	d.checkStart(p)
	return true
}

// checkStart asks a broker for the start of a partition. What was deleted does not come back.
func (d *dataSimulation) checkStart(p int) {
	o := &d.operator
	ctx, cancel := within(operatorPatience)
	defer cancel()
	starts, err := o.client.ListStartOffsets(ctx, simTopicName)
	s, ok := starts.Lookup(simTopicName, int32(p))
	if ok && errors.Join(err, s.Err) == nil && (s.Offset < o.low[p] || s.Offset > o.asked[p] && !o.ages) {
		d.failed("partition %d begins at %d, though what is below %d was deleted, and nothing from %d on", p, s.Offset, o.low[p], o.asked[p])
	}
}

// changeRetention has records deleted by age from now on, or not any more.
func changeRetention(d *dataSimulation) bool {
	age := time.Duration(-1)
	if o := &d.operator; o.random.IntN(3) > 0 {
		age = 3*time.Second + time.Duration(o.random.Int64N(int64(12*time.Second)))
		o.mu.Lock()
		if !o.ages || age < o.youngest {
			o.ages, o.youngest = true, age
		}
		o.mu.Unlock()
	}
	return d.retain(age)
}

func (d *dataSimulation) retain(age time.Duration) bool {
	value := "-1"
	if age >= 0 {
		value = strconv.FormatInt(age.Milliseconds(), 10)
	}
	d.note("operator: retention.ms=%s", value)
	return d.setting("retention.ms", value)
}

// setting sets something of the topic.
func (d *dataSimulation) setting(name, value string) bool {
	ctx, cancel := within(operatorPatience)
	defer cancel()
	answers, err := d.operator.client.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, simTopicName)
	if err != nil || len(answers) != 1 {
		return false
	}
	return answers[0].Err == nil
}

// watchStarts looks at the log starts until ctx ends.
func (d *dataSimulation) watchStarts(ctx context.Context) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for p := range d.partitions {
			d.highestStart(p)
		}
	}
}

// highestStart is the highest log start of a partition that was seen on any node.
func (d *dataSimulation) highestStart(p int) wire.Offset {
	highest := wire.Offset(0)
	for _, x := range d.nodes {
		if m := x.image(); m == nil || !x.ready() || m.Topic(simTopicName) == nil {
			continue
		} else if r := x.node().partitions.Partition(wire.TopicIDPartition{Topic: m.Topic(simTopicName).ID, Partition: wire.Partition(p)}); r != nil {
			highest = max(highest, r.Log().Start())
		}
	}
	o := &d.operator
	o.mu.Lock()
	defer o.mu.Unlock()
	if n := len(o.starts[p]); n > 0 && o.starts[p][n-1].start >= highest {
		return o.starts[p][n-1].start
	}
	o.starts[p] = append(o.starts[p], sawStart{highest, time.Now()})
	return highest
}

// deletedBetween reports whether somebody who was to read from on may read to on, since from was too old for a node. Another that
// leads next may have more.
func (d *dataSimulation) deletedBetween(p int32, from, to int64) bool {
	d.operator.mu.Lock()
	ages := d.operator.ages
	d.operator.mu.Unlock()
	highest := int64(d.highestStart(int(p)))
	return ages && from < highest && to <= highest
}

// start is the highest start of the replicas of a partition.
func (d *dataSimulation) start(t *metadata.Topic, p int) (start wire.Offset) {
	for _, x := range d.nodes {
		if r := x.replica(t, p); r != nil {
			start = max(start, r.Log().Start())
		}
	}
	return start
}

// undeleted returns what is left of what was deleted, or "".
func (d *dataSimulation) undeleted() string {
	t := d.nodes[0].image().Topic(simTopicName)
	for p, low := range d.operator.low {
		for _, x := range d.nodes {
			if r := x.replica(t, p); r != nil && int64(r.Log().Start()) < low {
				return fmt.Sprintf("partition %d begins on node %d at %d, though what is below %d was deleted%s", p, x.name, r.Log().Start(), low, d.described(t, p))
			}
		}
	}
	return ""
}

// checkDeleted looks at what was deleted that should not have been: more than was asked for, or before its time.
func (d *dataSimulation) checkDeleted() {
	o := &d.operator
	d.writer.Each(func(p int32, sequence, offset int64, begun time.Time) {
		if offset < o.asked[p] {
			return
		}
		for _, s := range o.starts[p] {
			if offset >= int64(s.start) {
				continue
			}
			if age := s.at.Sub(begun); !o.ages || age < o.youngest-time.Millisecond { // timestamps have whole milliseconds
				d.failed("value %d of partition %d at %d was deleted when it was %s old (start %d); to be deleted were those below %d, and (%t) those %s old", sequence, p, offset, age, s.start, o.asked[p], o.ages, o.youngest)
			}
			return
		}
	})
}
