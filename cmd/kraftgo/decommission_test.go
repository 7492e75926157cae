package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// quorumBecomes waits until the metadata quorum is as wanted, as the command tells it.
func quorumBecomes(t *testing.T, what string, wanted func(quorumSummary) bool) {
	t.Helper()
	var last string
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); {
		out, said, code := command("", "cluster", "quorum", "--format", "json")
		if last = out + said; code == 0 && wanted(parse[quorumSummary](t, out)) {
			return
		}
	}
	t.Fatalf("never: %s; %s", what, last)
}

func votersOf(q quorumSummary) (n int) {
	for _, r := range q.Replicas {
		if r.Role != "observer" {
			n++
		}
	}
	return n
}

// requestsMeanwhile has brokers change a topic, one after the other, until the returned function is called. What they ask the
// controller must not fail, and is not asked again by the client.
func requestsMeanwhile(t *testing.T, nodes []*kraftgotest.Node, topic string) (end func()) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(nodes[0].Client()), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	ids := make([]int, len(nodes))
	for i, n := range nodes {
		ids[i] = int(n.Broker())
	}
	stop, ended := make(chan struct{}), make(chan struct{})
	end = sync.OnceFunc(func() {
		close(stop)
		<-ended
		c.Close()
	})
	t.Cleanup(end)
	ctx := context.WithoutCancel(t.Context()) // the cleanup waits for what is under way
	go func() {
		defer close(ended)
		longest := time.Duration(0)
		for i := 0; ; i++ {
			select {
			case <-stop:
				t.Logf("%d changes were made meanwhile, the longest took %s", i, longest.Round(time.Millisecond))
				return
			default:
			}
			value := fmt.Sprint(1_000_000 + i)
			q := kmsg.NewPtrIncrementalAlterConfigsRequest()
			change := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
			change.Name, change.Value = "retention.ms", &value
			resource := kmsg.NewIncrementalAlterConfigsRequestResource()
			resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeTopic, topic
			resource.Configs = append(resource.Configs, change)
			q.Resources = append(q.Resources, resource)
			start := time.Now()
			a, err := c.Broker(ids[i%len(ids)]).Request(ctx, q)
			longest = max(longest, time.Since(start))
			if err != nil || a.(*kmsg.IncrementalAlterConfigsResponse).Resources[0].ErrorCode != 0 {
				t.Errorf("change %d: %+v, %v", i, a, err)
			}
		}
	}()
	return end
}

// The controller is taken out as any other broker is. It hands the quorum over first, as soon as it is cordoned: who wants something of
// the controller meanwhile gets it.
func TestTheControllerIsDecommissioned(t *testing.T) {
	one := broker(t, nil)
	others := []*kraftgotest.Node{one.Join(nil), one.Join(nil), one.Join(nil)}
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", others[0].Client())
	must(t, "", "topic", "create", "t", "--partitions", "8", "--replicas", "3")
	known(t, "t")
	quorumBecomes(t, "three voters, led by the first", func(q quorumSummary) bool { return votersOf(q) == 3 && q.Leader == one.Broker() })
	end := requestsMeanwhile(t, others, "t")
	must(t, "", "node", "cordon", "1")
	quorumBecomes(t, "led by another", func(q quorumSummary) bool { return q.Leader > one.Broker() })
	_, said, code := command("", "node", "decommission", "1", "--watch")
	if code != 0 || !strings.Contains(said, "is out of the cluster") {
		t.Fatalf("exit %d: %s", code, said)
	}
	<-one.Failed()
	one.Stop()
	quorumBecomes(t, "three others vote", func(q quorumSummary) bool { return votersOf(q) == 3 && len(q.Replicas) == 3 })
	end()
}

// A controller that is unregistered at once, by hand, hands over first too, and the next one lets it go.
func TestTheControllerIsUnregistered(t *testing.T) {
	one := broker(t, nil)
	others := []*kraftgotest.Node{one.Join(nil), one.Join(nil), one.Join(nil)}
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", others[0].Client())
	must(t, "", "topic", "create", "t", "--replicas", "3")
	known(t, "t")
	quorumBecomes(t, "three voters, led by the first", func(q quorumSummary) bool { return votersOf(q) == 3 && q.Leader == one.Broker() })
	end := requestsMeanwhile(t, others, "t")
	q := kmsg.NewPtrUnregisterBrokerRequest()
	q.BrokerID = one.Broker()
	c, err := kgo.NewClient(kgo.SeedBrokers(one.Client()), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := c.Broker(int(one.Broker())).Request(t.Context(), q)
	if err != nil || a.(*kmsg.UnregisterBrokerResponse).ErrorCode != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	quorumBecomes(t, "led by another, before the first is stopped", func(q quorumSummary) bool { return q.Leader > one.Broker() })
	<-one.Failed()
	one.Stop()
	end()
}
