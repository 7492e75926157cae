package cluster_test

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// commit notes offset n of a group, and committed reads it.
func commit(t *testing.T, c *kgo.Client, n int64) {
	t.Helper()
	var o kadm.Offsets
	o.AddOffset("t", 0, n, -1)
	if err := kadm.NewClient(c).CommitAllOffsets(limited(t), "g", o); err != nil {
		t.Fatal(err)
	}
}

func committed(t *testing.T, c *kgo.Client) int64 {
	t.Helper()
	o, err := kadm.NewClient(c).FetchOffsets(limited(t), "g")
	if err != nil {
		t.Fatal(err)
	}
	return o["t"][0].At
}

// The topic of offsets that a lone broker made gets its replicas as others come: what was committed then is there when that broker
// is gone.
func TestTheTopicOfOffsetsGrowsWithTheCluster(t *testing.T) {
	a := kraftgotest.Start(t, map[string]string{"offsets.topic.num.partitions": "3"})
	createTopic(t, a, "t", 1, nil)
	c := client(t, a)
	commit(t, c, 7)
	b := a.Join(nil)
	d := a.Join(nil)
	witness := client(t, b)
	eventually(t, "three replicas each, in sync", func() bool {
		list := partitions(t, witness, "__consumer_offsets")
		return !slices.ContainsFunc(list, func(p partition) bool { return len(p.Replicas) != 3 || len(p.ISR) != 3 })
	})
	if n := committed(t, c); n != 7 {
		t.Fatalf("committed is %d", n)
	}
	a.Stop()
	c = client(t, d)
	if n := committed(t, c); n != 7 {
		t.Fatalf("after the first broker went, committed is %d", n)
	}
	commit(t, c, 8)
	if n := committed(t, client(t, b)); n != 8 {
		t.Fatalf("committed is %d", n)
	}
}

// A broker that stays away is replaced: its replicas are made anew on another, from those that are left.
func TestReplicasOfALostBrokerAreMadeAnew(t *testing.T) {
	settings := map[string]string{"cluster.replica.rebuild.ms": "500", "broker.session.timeout.ms": "1500", "broker.heartbeat.interval.ms": "300"}
	a := kraftgotest.Start(t, settings)
	nodes := []*kraftgotest.Node{a, a.Join(nil), a.Join(nil), a.Join(nil)}
	createReplicated(t, a, "t", 8, nil)
	c := client(t, a)
	fill(t, c, "t", 0, 1000)
	nodes[3].Stop()
	eventually(t, "all have three replicas in sync on the brokers that are left", func() bool {
		return !slices.ContainsFunc(partitions(t, c, "t"), func(p partition) bool {
			return slices.Contains(p.Replicas, 4) || len(p.Replicas) != 3 || len(p.ISR) != 3
		})
	})
	nodes[2].Stop() // and now there is no other
	fill(t, c, "t", 1000, 1000)
	drain(t, client(t, nodes[1], kgo.ConsumeTopics("t")), 2000)
}
