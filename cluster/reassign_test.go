package cluster

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

func create(t *testing.T, ctx context.Context, n *Node, topic control.NewTopic) {
	t.Helper()
	err := n.controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		records, answers := control.CreateTopics(m, control.Defaults{MaxPartitions: 100}, []control.NewTopic{topic})
		if answers[0].Refusal != nil {
			t.Error(answers[0].Refusal)
		}
		return records
	})
	if err != nil {
		t.Fatal(err)
	}
}

// seen waits until a topic's partition 0, as a node sees it, is as wanted.
func seen(t *testing.T, ctx context.Context, n *Node, topic wire.TopicID, what string, done func(metadata.PartitionInfo) bool) {
	t.Helper()
	for {
		index := n.replica.Published()
		var p metadata.PartitionInfo
		if found := n.replica.Image().TopicByID(topic); found != nil {
			p = found.Partitions[0]
			if done(p) {
				return
			}
		}
		if err := n.replica.WaitPublished(ctx, index+1); err != nil {
			t.Fatalf("%s: %v; %+v", what, err, p)
		}
	}
}

// A reassignment is asked of any broker, and listed by any; while the new replica is away it waits, also for a new controller; and it
// ends when that replica is in sync.
func TestReassignmentOutlivesTheController(t *testing.T) {
	nodes := startNodes(t, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	topic := wire.UUID{2}
	create(t, ctx, nodes[0], control.NewTopic{Name: "t", Partitions: -1, Replicas: -1, ID: topic, Assignment: []control.ManualPartition{{Brokers: []wire.BrokerID{2, 3}}}})
	settings, dir := nodes[4].config.Settings, nodes[4].config.Data
	stop(t, nodes, 4)
	cl, err := kgo.NewClient(kgo.SeedBrokers(nodes[2].Address().Client))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	adm := kadm.NewClient(cl)
	var req kadm.AlterPartitionAssignmentsReq
	req.Assign("t", 0, []int32{5, 3})
	answers, err := adm.AlterPartitionAssignments(ctx, req)
	if err != nil || answers.Error() != nil {
		t.Fatalf("%v %v", err, answers.Error())
	}
	stop(t, nodes, 0)
	var list kadm.ListPartitionReassignmentsResponses
	for len(list) == 0 {
		if list, err = adm.ListPartitionReassignments(ctx, kadm.TopicsSet{"t": {0: {}}}); err != nil {
			t.Fatal(err)
		}
	}
	r := list["t"][0]
	if !slices.Equal(r.Replicas, []int32{5, 3, 2}) || !slices.Equal(r.AddingReplicas, []int32{5}) || !slices.Equal(r.RemovingReplicas, []int32{2}) {
		t.Fatalf("%+v", r)
	}
	if s := nodes[1].partitions.Summary(); s.Leading != 1 || s.UnderReplicated != 0 {
		t.Errorf("a replica that is still to come is not missing: %+v", s)
	}
	if nodes[4], err = Start(ctx, Config{Data: dir, Settings: settings}); err != nil {
		t.Fatal(err)
	}
	seen(t, ctx, nodes[1], topic, "the reassignment ends", func(p metadata.PartitionInfo) bool { return !p.Reassigning() })
	p := nodes[1].replica.Image().TopicByID(topic).Partitions[0]
	if p.Leader != 5 || !slices.Equal(p.Replicas, []wire.BrokerID{5, 3}) || len(p.ISR) != 2 {
		t.Fatalf("%+v", p)
	}
	if all, unclean := nodes[1].changes.elected(); all != 1 || unclean != 0 {
		t.Errorf("%d elections, %d of them unclean", all, unclean)
	}
	if list, err = adm.ListPartitionReassignments(ctx, kadm.TopicsSet{"t": {0: {}}}); err != nil || len(list) != 0 {
		t.Fatalf("%+v, %v", list, err)
	}
	for held := true; held; held = nodes[1].disk.Log(wire.TopicIDPartition{Topic: topic}) != nil {
		if ctx.Err() != nil {
			t.Fatal("the replica that moved away is still there")
		}
	}
}

// A broker that was away leads again what prefers it, soon after its replicas are in sync.
func TestPreferredLeadersComeBack(t *testing.T) {
	nodes := startNodes(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	second := "1"
	topic := wire.UUID{3}
	create(t, ctx, nodes[0], control.NewTopic{Name: "t", Partitions: -1, Replicas: -1, ID: topic, Assignment: []control.ManualPartition{{Brokers: []wire.BrokerID{3, 1, 2}}}})
	err := nodes[0].controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		return append(control.Fence(m, 3, false), &metadata.ConfigRecord{
			Resource: metadata.Resource{Type: metadata.ResourceBroker}, Name: "leader.imbalance.check.interval.seconds", Value: &second,
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	seen(t, ctx, nodes[1], topic, "another leads", func(p metadata.PartitionInfo) bool { return p.LeaderEpoch > 0 })
	seen(t, ctx, nodes[1], topic, "it leads again, in sync", func(p metadata.PartitionInfo) bool { return p.Leader == 3 && len(p.ISR) == 3 })
}
