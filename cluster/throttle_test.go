package cluster_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// throttleTest is a partition of some size on brokers 1 and 2, led by 1, that is to come to broker 3.
type throttleTest struct {
	*testing.T
	nodes  []*kraftgotest.Node
	client *kgo.Client
	admin  *kadm.Client
}

const throttledTopic = "throttled"

func newThrottleTest(t *testing.T, records, size int) *throttleTest {
	t.Helper()
	first := kraftgotest.Start(t, map[string]string{"min.insync.replicas": "2", "default.replication.factor": "2"})
	h := &throttleTest{T: t, nodes: []*kraftgotest.Node{first, first.Join(nil)}}
	t.Cleanup(func() { dumpReplicas(t, h.nodes) })
	h.client = newClient(t, []string{first.Client()}, kgo.MaxBufferedRecords(100), kgo.ProducerLinger(0))
	h.admin = kadm.NewClient(h.client)
	if _, err := h.admin.CreateTopic(t.Context(), 1, 2, nil, throttledTopic); err != nil {
		t.Fatal(err)
	}
	h.nodes = append(h.nodes, first.Join(nil))
	random := rand.NewChaCha8([32]byte{1}) // that does not compress
	for range records {
		value := make([]byte, size)
		if _, err := random.Read(value); err != nil {
			t.Fatal(err)
		}
		h.produce(value)
	}
	return h
}

func (h *throttleTest) produce(value []byte) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 30*time.Second)
	defer cancel()
	if err := h.client.ProduceSync(ctx, &kgo.Record{Topic: throttledTopic, Value: value}).FirstErr(); err != nil {
		h.Fatal(err)
	}
}

// rates sets both rates on all brokers.
func (h *throttleTest) rates(bytesPerSecond int) {
	h.Helper()
	value := strconv.Itoa(bytesPerSecond)
	answers, err := h.admin.AlterBrokerConfigs(h.Context(), []kadm.AlterConfig{
		{Name: "leader.replication.throttled.rate", Value: &value}, {Name: "follower.replication.throttled.rate", Value: &value},
	})
	if err != nil || answers[0].Err != nil {
		h.Fatal(err, answers)
	}
}

// list has replicas throttled.
func (h *throttleTest) list(side, replicas string) {
	h.Helper()
	answers, err := h.admin.AlterTopicConfigs(h.Context(), []kadm.AlterConfig{{Name: side + ".replication.throttled.replicas", Value: &replicas}}, throttledTopic)
	if err != nil || answers[0].Err != nil {
		h.Fatal(err, answers)
	}
}

func (h *throttleTest) assign(replicas ...int32) {
	h.Helper()
	var r kadm.AlterPartitionAssignmentsReq
	r.Assign(throttledTopic, 0, replicas)
	if answers, err := h.admin.AlterPartitionAssignments(h.Context(), r); err != nil || answers.Error() != nil {
		h.Fatal(err, answers.Error())
	}
}

// leader returns the node that leads.
func (h *throttleTest) leader() *kraftgotest.Node {
	h.Helper()
	topics, err := h.admin.ListTopics(h.Context(), throttledTopic)
	if err != nil {
		h.Fatal(err)
	}
	return h.nodes[topics[throttledTopic].Partitions[0].Leader-1]
}

// copied returns how many bytes of the partition are on broker 3.
func (h *throttleTest) copied() int64 {
	h.Helper()
	dirs, err := h.admin.DescribeBrokerLogDirs(h.Context(), 3, nil)
	if err != nil {
		h.Fatal(err)
	}
	p, _ := dirs.Lookup(dirs.Sorted()[0].Dir, throttledTopic, 0)
	return p.Size
}

func (h *throttleTest) metric(n *kraftgotest.Node, name string) float64 {
	h.Helper()
	text, _ := get(h.T, n, "/metrics")
	_, after, _ := strings.Cut(text, "\n"+name+" ")
	line, _, _ := strings.Cut(after, "\n")
	v, err := strconv.ParseFloat(line, 64)
	if err != nil {
		h.Fatalf("metric %s: %v", name, err)
	}
	return v
}

func (h *throttleTest) inSync() []int32 {
	h.Helper()
	topics, err := h.admin.ListTopics(h.Context(), throttledTopic)
	if err != nil {
		h.Fatal(err)
	}
	return topics[throttledTopic].Partitions[0].ISR
}

// What is added to a partition is copied no faster than either side is told to (KIP-73), whatever the other side would do; producers that
// wait for the in-sync replicas are served meanwhile; and a higher rate lets it end.
func TestThrottledReplicasAreCopiedAtTheRate(t *testing.T) {
	for _, c := range []struct{ side, replicas, metric string }{
		{"leader", "0:1,0:2", "kafka_server_leaderreplication_byte_rate"},
		{"follower", "0:3", "kafka_server_followerreplication_byte_rate"},
		{"leader", "*", "kafka_server_leaderreplication_byte_rate"},
	} {
		t.Run(c.side+" "+c.replicas, func(t *testing.T) {
			t.Parallel()
			const batch = 40_000
			const total = 200 * batch
			h := newThrottleTest(t, total/batch, batch)
			const rate = 200_000
			h.rates(rate)
			h.list(c.side, c.replicas)
			begin := time.Now()
			h.assign(1, 2, 3)
			for n, copied := 0, int64(0); copied < 3*rate; n++ {
				copied = h.copied()
				passed := time.Since(begin)
				if most := rate*passed.Seconds() + rate + 2*batch; float64(copied) > most {
					t.Fatalf("%d bytes copied in %v, of at most %.0f", copied, passed, most)
				}
				if n < 50 {
					h.produce([]byte("something small"))
				}
			}
			if isr := h.inSync(); len(isr) != 2 {
				t.Fatalf("in sync are %v, with %d bytes copied", isr, h.copied())
			}
			counted := h.leader()
			if c.side == "follower" {
				counted = h.nodes[2]
			}
			if r := h.metric(counted, c.metric); r <= 0 {
				t.Errorf("%s is %v", c.metric, r)
			}
			h.rates(1 << 30)
			settles(t, "the copy ends", func() string { return shrunken(t, h.admin, throttledTopic, 3) })
			if n := h.copied(); n < total {
				t.Errorf("%d bytes copied, of %d", n, total)
			}
		})
	}
}

// A replica that takes the place of one on a lost broker is copied no faster than its budget allows.
func TestRebuiltReplicasAreCopiedAtTheRate(t *testing.T) {
	const batch = 40_000
	const total = 200 * batch
	const rate = 200_000
	h := newThrottleTest(t, total/batch, batch)
	set := func(name string, value int) {
		t.Helper()
		text := strconv.Itoa(value)
		if answers, err := h.admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: name, Value: &text}}); err != nil || answers[0].Err != nil {
			t.Fatal(err, answers)
		}
	}
	set("cluster.replica.rebuild.rate", rate)
	set("cluster.replica.rebuild.ms", 1)
	begin := time.Now()
	h.nodes[1].Stop()
	for copied := int64(0); copied < 3*rate; {
		copied = h.copied()
		passed := time.Since(begin)
		if most := rate*passed.Seconds() + rate + 2*batch; float64(copied) > most {
			t.Fatalf("%d bytes copied in %v, of at most %.0f", copied, passed, most)
		}
	}
	if isr := h.inSync(); !slices.Equal(isr, []int32{1}) {
		t.Fatalf("in sync are %v, with %d bytes copied", isr, h.copied())
	}
	set("cluster.replica.rebuild.rate", 1<<30)
	eventually(t, "the copy ends", func() bool { return len(h.inSync()) == 2 })
	if n := h.copied(); n < total {
		t.Errorf("%d bytes copied, of %d", n, total)
	}
}

// goroutinesMade counts all that this process ever had.
func goroutinesMade() uint64 {
	samples := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64()
}

// A rate of 0 holds a copy up altogether; the fetches that get nothing wait, and do not come again and again. What is not listed is copied
// all the same, as is what follows on the replicas in sync; and without the list the copy ends.
func TestAThrottledFetchWaits(t *testing.T) {
	for _, side := range []string{"leader", "follower"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			h := newThrottleTest(t, 20, 10_000)
			h.rates(0)
			h.list(side, "*")
			if _, err := h.admin.CreateTopic(t.Context(), 1, 2, nil, "free"); err != nil {
				t.Fatal(err)
			}
			h.assign(1, 2, 3)
			var r kadm.AlterPartitionAssignmentsReq
			r.Assign("free", 0, []int32{3, 1})
			if answers, err := h.admin.AlterPartitionAssignments(t.Context(), r); err != nil || answers.Error() != nil {
				t.Fatal(err, answers.Error())
			}
			settles(t, "what is not throttled is copied", func() string {
				topics, err := h.admin.ListTopics(t.Context(), "free")
				if err != nil {
					return err.Error()
				}
				if p := topics["free"].Partitions[0]; !slices.Equal(p.Replicas, []int32{3, 1}) || len(p.ISR) != 2 {
					return fmt.Sprintf("%+v", p)
				}
				return ""
			})
			leader := h.leader()
			fetches := func() float64 { return h.metric(leader, `kraftgo_requests_total{request="Fetch"}`) }
			before, begin, goroutines := fetches(), time.Now(), goroutinesMade()
			settles(t, "time passes", func() string {
				if time.Since(begin) < 2*time.Second {
					return "not yet"
				}
				return ""
			})
			made, after, passed := goroutinesMade()-goroutines, fetches(), time.Since(begin)
			// Two brokers follow, each with a connection for what is in sync and one for what is not; each fetch waits half a second.
			if most := 4 * (2*passed.Seconds() + 5); after-before > most {
				t.Errorf("%.0f fetches in %v, of at most %.0f", after-before, passed, most)
			}
			if made > 20_000 { // a wait that ends at once and begins anew makes one each time
				t.Errorf("%d goroutines made in %v: something spins", made, passed)
			}
			h.produce(bytes.Repeat([]byte("x"), 1000))
			if n, isr := h.copied(), h.inSync(); n != 0 || len(isr) != 2 {
				t.Errorf("%d bytes copied; in sync are %v", n, isr)
			}
			h.list(side, "")
			settles(t, "the copy ends", func() string { return shrunken(t, h.admin, throttledTopic, 3) })
		})
	}
}

// A list that is no list of replicas is refused, in Kafka's words.
func TestThrottledReplicasAreChecked(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	admin := kadm.NewClient(newClient(t, []string{n.Client()}))
	if _, err := admin.CreateTopic(t.Context(), 1, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	for _, value := range []string{"0", "0:1,*", "0:1:2", "a:b", "0:1;0:2"} {
		answers, err := admin.AlterTopicConfigs(t.Context(), []kadm.AlterConfig{{Name: "leader.replication.throttled.replicas", Value: &value}}, "t")
		if err != nil {
			t.Fatal(err)
		}
		const want = "leader.replication.throttled.replicas must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."
		if a := answers[0]; a.Err == nil || !strings.HasSuffix(a.ErrMessage, want) {
			text, _ := json.Marshal(a)
			t.Errorf("%q: %s", value, text)
		}
	}
	negative := "-1"
	answers, err := admin.AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "follower.replication.throttled.rate", Value: &negative}}, 1)
	if err != nil || answers[0].Err == nil || !strings.Contains(answers[0].ErrMessage, "Value must be at least 0") {
		t.Errorf("%v %+v", err, answers)
	}
}
