//go:build synctests

package cluster

import (
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// simGroupPartition is that of the internal topic in which the group is.
const simGroupPartition = 3

// tellOfGroup tells how the group is that does not get on.
func (d *dataSimulation) tellOfGroup() {
	c, err := kgo.NewClient(d.options()...)
	if err != nil {
		d.failed("a client: %v", err)
		return
	}
	defer c.Close()
	ctx, cancel := within(operatorPatience)
	defer cancel()
	groups, err := kadm.NewClient(c).DescribeGroups(ctx, simGroup)
	d.failed("the group, by its coordinator: %+v, %v%s", groups[simGroup], err, d.described(d.newest().Topic(control.OffsetsTopic), simGroupPartition))
}

// newest is the newest metadata that any node has.
func (d *dataSimulation) newest() (newest *metadata.Image) {
	for _, x := range d.nodes {
		if m := x.image(); m != nil && (newest == nil || m.Index() > newest.Index()) {
			newest = m
		}
	}
	return newest
}

// reassign moves a partition, one of the topics or that of the group, to some brokers, two or more, and cancels that at times.
func reassign(d *dataSimulation) bool {
	m, random := d.newest(), d.operator.random
	if m == nil {
		return false
	}
	topic, p := simTopicName, int32(random.IntN(d.partitions))
	switch n := random.IntN(8); {
	case n == 0 && d.operator.again.there:
		topic, p = d.operator.again.name(), 0
	case n < 3:
		topic, p = control.OffsetsTopic, simGroupPartition
	}
	var brokers []int32
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		brokers = append(brokers, int32(b.Broker))
		return true
	})
	slices.Sort(brokers)
	random.Shuffle(len(brokers), func(i, j int) { brokers[i], brokers[j] = brokers[j], brokers[i] })
	brokers = brokers[:min(2+random.IntN(3), len(brokers))]
	d.note("operator: move %s-%d to %v", topic, p, brokers)
	if !d.moved(topic, p, brokers) {
		return false
	}
	if random.IntN(2) == 0 {
		d.pause(time.Duration(random.Int64N(int64(300 * time.Millisecond))))
		if cancelReassignment(d) {
			d.operator.done["cancel"]++
		}
	}
	return true
}

// cancelReassignment cancels the first reassignment that is under way.
func cancelReassignment(d *dataSimulation) bool {
	m, topic, p := d.newest(), "", int32(0)
	if m == nil {
		return false
	}
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			if t.Partitions[i].Reassigning() {
				topic, p = t.Name, int32(i)
				return false
			}
		}
		return true
	})
	if topic == "" {
		return false
	}
	d.note("operator: cancel the move of %s-%d", topic, p)
	return d.moved(topic, p, nil)
}

// electPreferred has the preferred replicas lead, of all partitions that it can be done for.
func electPreferred(d *dataSimulation) bool {
	d.note("operator: elect the preferred leaders")
	ctx, cancel := within(operatorPatience)
	defer cancel()
	answers, err := d.operator.client.ElectLeaders(ctx, kadm.ElectPreferredReplica, nil)
	if err != nil {
		return false
	}
	for _, partitions := range answers {
		for _, a := range partitions {
			if a.Err == nil {
				return true
			}
		}
	}
	return false
}

// moved reports whether a reassignment, or with no brokers its cancellation, was acknowledged.
func (d *dataSimulation) moved(topic string, p int32, brokers []int32) bool {
	ctx, cancel := within(operatorPatience)
	defer cancel()
	var wanted kadm.AlterPartitionAssignmentsReq
	wanted.Assign(topic, p, brokers)
	answers, err := d.operator.client.AlterPartitionAssignments(ctx, wanted)
	a, ok := answers[topic][p]
	return err == nil && ok && a.Err == nil
}

// strays returns which replica a node holds that it is not to hold, or "".
func (d *dataSimulation) strays() string {
	for _, x := range d.nodes {
		for _, r := range x.node().disk.Replicas() {
			t := x.image().TopicByID(r.TopicID)
			if t == nil || !slices.Contains(t.Partitions[r.Partition].Replicas, x.node().identity.Broker) {
				return fmt.Sprintf("node %d holds %s-%d of topic %s", x.name, r.Topic, r.Partition, wire.UUID(r.TopicID))
			}
		}
	}
	return ""
}
