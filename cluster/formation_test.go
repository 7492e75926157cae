package cluster_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// three runs a cluster of three nodes.
func three(t *testing.T) []*kraftgotest.Node {
	t.Helper()
	a := kraftgotest.Start(t, nil)
	return []*kraftgotest.Node{a, a.Join(nil), a.Join(map[string]string{"broker.rack": "r3"})}
}

// eventually polls until done, and says what was not reached. It pauses in between: what done asks opens connections, which a
// broker takes a thousand of.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	pause := time.NewTicker(20 * time.Millisecond)
	defer pause.Stop()
	for end := time.Now().Add(30 * time.Second); !done(); <-pause.C {
		if time.Now().After(end) {
			t.Fatal("never: " + what)
		}
	}
}

// voters returns who votes, as a node tells it.
func voters(t *testing.T, n *kraftgotest.Node) []int32 {
	t.Helper()
	ends := voterEnds(t, n)
	return slices.Sorted(maps.Keys(ends))
}

// voterEnds is where the logs of the voters end.
func voterEnds(t *testing.T, n *kraftgotest.Node) map[int32]int64 {
	t.Helper()
	r := kmsg.NewPtrDescribeQuorumRequest()
	p := kmsg.NewDescribeQuorumRequestTopicPartition()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", append(topic.Partitions, p)
	r.Topics = append(r.Topics, topic)
	a, err := r.RequestWith(limited(t), client(t, n))
	if err != nil || len(a.Topics) != 1 || len(a.Topics[0].Partitions) != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	out := map[int32]int64{}
	for _, v := range a.Topics[0].Partitions[0].CurrentVoters {
		out[v.ReplicaID] = v.LogEndOffset
	}
	return out
}

// Three nodes: all see each other, any of them takes admin requests, and each leads its share of partitions, to which
// clients produce and from which they consume, whichever node they asked first.
func TestThreeNodesAreOneCluster(t *testing.T) {
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters, as broker "+fmt.Sprint(n.Broker())+" tells", func() bool { return slices.Equal(voters(t, n), []int32{1, 2, 3}) })
	}
	for i, n := range nodes {
		if n.Broker() != int32(i+1) {
			t.Fatalf("node %d got broker id %d", i+1, n.Broker())
		}
		c := client(t, n)
		topic := fmt.Sprintf("made-by-%d", n.Broker())
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := kadm.NewClient(c).CreateTopic(ctx, 6, 1, nil, topic); err != nil {
			t.Fatalf("through node %d: %v", i+1, err)
		}
		cancel()
		for _, other := range nodes {
			eventually(t, fmt.Sprintf("broker %d sees three brokers that lead two partitions each", other.Broker()), func() bool {
				meta, err := kadm.NewClient(client(t, other)).Metadata(limited(t), topic)
				if err != nil {
					t.Fatal(err)
				}
				leaders := map[int32]int{}
				for _, p := range meta.Topics[topic].Partitions {
					leaders[p.Leader]++
				}
				return len(meta.Brokers) == 3 && leaders[1] == 2 && leaders[2] == 2 && leaders[3] == 2
			})
		}
		fill(t, c, topic, 0, 300)
		next := nodes[(i+1)%3]
		drain(t, client(t, next, kgo.ConsumeTopics(topic), kgo.ConsumerGroup("g"+topic)), 300)
	}
}
