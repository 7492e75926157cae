package cluster

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

func startNodes(t *testing.T, n int) []*Node {
	t.Helper()
	nodes := make([]*Node, n)
	for i := range nodes {
		c := Config{Data: t.TempDir(), Settings: map[string]string{
			"listeners": "127.0.0.1:0", "admin.listener": "127.0.0.1:0", "internal.listener": "127.0.0.1:0", "gossip.listener": "127.0.0.1:0",
		}}
		if i == 0 {
			c.Found = true
		} else {
			c.Join, c.Seeds = true, []string{nodes[0].Address().Gossip}
		}
		node, err := Start(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stop(t, nodes, i) })
		nodes[i] = node
	}
	return nodes
}

// stop stops a node that was not stopped before.
func stop(t *testing.T, nodes []*Node, i int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if node := nodes[i]; node != nil {
		nodes[i] = nil
		if err := node.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
}

// Any leader's wish for an ISR reaches the controller, and is seen by the leader when it is answered.
func TestLeadersAlterTheirISR(t *testing.T) {
	nodes := startNodes(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	topic := wire.UUID{1}
	create(t, ctx, nodes[0], control.NewTopic{Name: "t", Partitions: 3, Replicas: 3, ID: topic})
	for _, n := range nodes {
		if err := n.replica.WaitPublished(ctx, nodes[0].replica.Image().Index()); err != nil {
			t.Fatal(err)
		}
		self := n.identity.Broker
		i := slices.IndexFunc([]wire.Partition{0, 1, 2}, func(p wire.Partition) bool { return n.replica.Image().TopicByID(topic).Partitions[p].Leader == self })
		p := n.replica.Image().TopicByID(topic).Partitions[i]
		ask := lifecycle.AlterPartitionRequest{Broker: self, Epoch: n.replica.Image().Broker(self).Epoch, Partitions: []lifecycle.AlterPartition{{
			Topic: topic, Partition: wire.Partition(i), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.Epoch, ISR: []lifecycle.ISRMember{{Broker: self, Epoch: -1}},
		}}}
		answer, err := n.peers.alterPartition(ctx, ask)
		if err != nil {
			t.Fatal(err)
		}
		got := n.replica.Image().TopicByID(topic).Partitions[i]
		a := answer.Partitions[0]
		if a.Code != wire.ErrNone || a.PartitionEpoch != p.Epoch+1 || got.Epoch < a.PartitionEpoch || !slices.Equal(a.ISR, []wire.BrokerID{self}) {
			t.Fatalf("answer %+v, partition here %+v", a, got)
		}
		ask.Epoch--
		var refusal *control.Refusal
		if _, err = n.peers.alterPartition(ctx, ask); !errors.As(err, &refusal) || refusal.Code != wire.ErrStaleBrokerEpoch {
			t.Fatalf("from an earlier incarnation: %v", err)
		}
	}
}
