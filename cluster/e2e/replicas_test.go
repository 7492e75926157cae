package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// threeNodes starts a cluster of three processes, with Kafka's advice for topics that matter.
func threeNodes(t *testing.T) []*process {
	t.Helper()
	settings := []string{"--set", "min.insync.replicas=2"}
	first := founded(t, settings...)
	return []*process{first, joined(t, first, settings...), joined(t, first, settings...)}
}

func clients(nodes []*process) []string {
	var out []string
	for _, n := range nodes {
		out = append(out, n.client)
	}
	return out
}

// admins returns an admin client of the nodes.
func admins(t *testing.T, nodes []*process) *kadm.Client {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(clients(nodes)...), kgo.MetadataMinAge(20*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return kadm.NewClient(c)
}

// allInSync waits until every partition of a topic has all its replicas in sync.
func allInSync(t *testing.T, admin *kadm.Client, topic string) {
	t.Helper()
	what := ""
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); pauseFor(t, 20*time.Millisecond) {
		what = ""
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		topics, err := admin.ListTopics(ctx, topic)
		cancel()
		if err != nil {
			what = err.Error()
			continue
		}
		for _, p := range topics[topic].Partitions {
			if p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
				what = fmt.Sprintf("partition %d: leader %d, replicas %v, ISR %v", p.Partition, p.Leader, p.Replicas, p.ISR)
			}
		}
		if what == "" {
			return
		}
	}
	t.Fatalf("not whole: %s", what)
}

func pauseFor(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// controllerOf returns which of the nodes is the controller.
func controllerOf(t *testing.T, admin *kadm.Client, nodes []*process) int {
	t.Helper()
	m, err := admin.BrokerMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return slices.IndexFunc(nodes, func(n *process) bool { return n.broker == m.Controller })
}

// Brokers end in each of the ways while records are written to all partitions: what was acknowledged is there, once, in its
// place. The longest pause of a partition is printed; FAILOVER_RUNS repeats, PARTITIONS and RATE set the load.
func TestBrokersEndUnderLoad(t *testing.T) {
	runs, partitions, rate := number("FAILOVER_RUNS", 1), number("PARTITIONS", 12), number("RATE", 50)
	for _, c := range []struct {
		name       string
		controller bool
		end        func(n *process)
	}{
		{"kill -9 of a broker", false, (*process).kill},
		{"kill -9 of the controller", true, (*process).kill},
		{"SIGTERM of a broker", false, (*process).stop},
		{"SIGTERM of the controller", true, (*process).stop},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := threeNodes(t)
			admin := admins(t, nodes)
			if _, err := admin.CreateTopic(t.Context(), int32(partitions), 3, nil, "t"); err != nil {
				t.Fatal(err)
			}
			allInSync(t, admin, "t")
			w, err := acked.Start(acked.Options{Seeds: clients(nodes), Topic: "t", Partitions: partitions, Rate: rate, Size: 100})
			if err != nil {
				t.Fatal(err)
			}
			var longest []time.Duration
			for range runs {
				pauseFor(t, 2*time.Second)
				victim := controllerOf(t, admin, nodes)
				if !c.controller {
					victim = (victim + 1) % len(nodes)
				}
				before := time.Now()
				c.end(nodes[victim])
				noneSilent(t, w)
				pauseFor(t, time.Second)
				gap, median, p := w.Gap(before, time.Now())
				longest = append(longest, gap)
				t.Logf("longest pause %s (partition %d), median over the partitions %s", gap.Round(time.Millisecond), p, median.Round(time.Millisecond))
				nodes[victim].restart()
				allInSync(t, admin, "t")
			}
			slices.Sort(longest)
			t.Logf("%s, %d runs, longest pause of a partition: median %s, worst %s", c.name, runs, longest[len(longest)/2].Round(time.Millisecond), longest[len(longest)-1].Round(time.Millisecond))
			sound(t, w)
		})
	}
}

// A broker that is stopped for longer than its session, as by a debugger or a hypervisor, loses its leaderships, and what it did
// not know when it wakes changes nothing that was acknowledged.
func TestABrokerSleepsUnderLoad(t *testing.T) {
	nodes := threeNodes(t)
	admin := admins(t, nodes)
	if _, err := admin.CreateTopic(t.Context(), 12, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	allInSync(t, admin, "t")
	w, err := acked.Start(acked.Options{Seeds: clients(nodes), Topic: "t", Partitions: 12, Rate: 50, Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	pauseFor(t, time.Second)
	victim := nodes[controllerOf(t, admin, nodes)]
	before := time.Now()
	if err := victim.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	noneSilent(t, w)
	gap, _, _ := w.Gap(before, time.Now())
	t.Logf("SIGSTOP of the controller: longest pause %s", gap.Round(time.Millisecond))
	if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	allInSync(t, admin, "t")
	sound(t, w)
}

// A produce request that waits for an in-sync replica which is asleep is answered when its time is up, not when the client has given up
// on the connection. A fraction of a second is a timeout like any other.
func TestProduceTimesOut(t *testing.T) {
	nodes := threeNodes(t)
	admin := admins(t, nodes)
	if _, err := admin.CreateTopic(t.Context(), 1, 3, nil, "t"); err != nil {
		t.Fatal(err)
	}
	allInSync(t, admin, "t")
	topics, err := admin.ListTopics(t.Context(), "t")
	if err != nil {
		t.Fatal(err)
	}
	var b batch.Builder
	b.Reset(batch.Template{LeaderEpoch: -1})
	if err := b.Append(wire.Timestamp(time.Now().UnixMilli()), nil, []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	records, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = records
	topic := kmsg.NewProduceRequestTopic()
	topic.Topic, topic.TopicID, topic.Partitions = "t", topics["t"].ID, append(topic.Partitions, part)
	request := kmsg.NewPtrProduceRequest()
	request.Acks, request.TimeoutMillis, request.Topics = -1, 100, append(request.Topics, topic)
	c, err := kgo.NewClient(kgo.SeedBrokers(clients(nodes)...), kgo.RequestTimeoutOverhead(700*time.Millisecond), kgo.RequestRetries(0))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	leader := topics["t"].Partitions[0].Leader
	if _, err := c.Broker(int(leader)).Request(t.Context(), kmsg.NewPtrMetadataRequest()); err != nil { // it knows the leader's address then
		t.Fatal(err)
	}
	i := slices.IndexFunc(nodes, func(n *process) bool { return n.broker != leader })
	nodes[i].suspend()
	defer func() { _ = nodes[i].cmd.Process.Signal(syscall.SIGCONT) }() // it has not ended
	r, err := c.Broker(int(leader)).Request(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(r.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode); !errors.Is(err, kerr.RequestTimedOut) {
		t.Errorf("%v", err)
	}
}

// noneSilent waits until every partition was written to after now.
func noneSilent(t *testing.T, w *acked.Writer) {
	t.Helper()
	now := time.Now()
	for deadline := now.Add(60 * time.Second); w.Silent(now) > 0; pauseFor(t, 10*time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d partitions take no records", w.Silent(now))
		}
	}
}

// sound ends the writing and checks all of it.
func sound(t *testing.T, w *acked.Writer) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	if err := w.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	v, err := w.Check(ctx)
	t.Log(v)
	if err != nil || !v.Sound() || v.Acked == 0 {
		t.Errorf("%v, %v", v, err)
	}
}

// number reads a number from the environment.
func number(name string, otherwise int) int {
	if n, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return n
	}
	return otherwise
}
