package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// settles waits for a condition, and says at the end what it was told last.
func settles(t *testing.T, what string, done func() string) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	last := done()
	for ; last != ""; last = done() {
		if time.Now().After(deadline) {
			t.Fatalf("%s: %s", what, last)
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		}
	}
}

// dumpReplicas logs what the nodes know of their replicas, if the test has failed.
func dumpReplicas(t *testing.T, nodes []*kraftgotest.Node) {
	for _, n := range nodes {
		if !t.Failed() || !n.Running() {
			continue
		}
		answer, err := http.Get("http://" + n.Admin() + "/debug/replicas")
		if err != nil {
			t.Log(err)
			continue
		}
		b, err := io.ReadAll(answer.Body)
		t.Logf("broker %d: %s %v", n.Broker(), b, errors.Join(err, answer.Body.Close()))
	}
}

func newClient(t *testing.T, seeds []string, options ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(50 * time.Millisecond), kgo.RecordPartitioner(kgo.ManualPartitioner())}, options...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produceSome(t *testing.T, c *kgo.Client, topic string, from, to int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	records := make([]*kgo.Record, 0, to-from)
	for i := from; i < to; i++ {
		records = append(records, &kgo.Record{Topic: topic, Partition: int32(i % 3), Value: fmt.Appendf(nil, "record %d", i)})
	}
	if err := c.ProduceSync(ctx, records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// shrunken returns "" when the ISRs of a topic's partitions all have a size.
func shrunken(t *testing.T, admin *kadm.Client, topic string, size int) string {
	topics, err := admin.ListTopics(t.Context(), topic)
	if err != nil {
		return err.Error()
	}
	for _, p := range topics[topic].Partitions.Sorted() {
		if len(p.ISR) != size || p.Leader < 0 {
			return fmt.Sprintf("partition %d: leader %d, ISR %v, wanted are %d", p.Partition, p.Leader, p.ISR, size)
		}
	}
	return ""
}

// lags reports whether a leader's metrics tell of a follower that lacks records, and of as many bytes as there are of them.
func lags(t *testing.T, nodes []*kraftgotest.Node) (some bool) {
	t.Helper()
	for _, n := range nodes {
		metrics, _ := get(t, n, "/metrics")
		records := !strings.Contains(metrics, "\nkraftgo_replica_lag_max_records 0\n")
		bytes := !strings.Contains(metrics, "\nkraftgo_replica_lag_max_bytes 0\n")
		if records != bytes {
			t.Logf("broker %d: a lag in records %v, in bytes %v", n.Broker(), records, bytes)
		}
		some = some || records && bytes
	}
	return some
}

// Every record is on every replica, byte for byte; a broker that stops leaves the ISR, and comes back into it with what it
// missed; what is acknowledged meanwhile is read after a change of all leaders.
func TestReplicasAreTheSame(t *testing.T) {
	first := kraftgotest.Start(t, map[string]string{"min.insync.replicas": "2"})
	nodes := []*kraftgotest.Node{first, first.Join(nil), first.Join(nil)}
	t.Cleanup(func() { dumpReplicas(t, nodes) })
	seeds := []string{nodes[0].Client(), nodes[1].Client(), nodes[2].Client()}
	c := newClient(t, seeds)
	admin := kadm.NewClient(c)
	if _, err := admin.CreateTopic(t.Context(), 3, 3, nil, "copied"); err != nil {
		t.Fatal(err)
	}
	produceSome(t, c, "copied", 0, 100)
	nodes[2].Stop()
	settles(t, "the ISR without the stopped broker", func() string { return shrunken(t, admin, "copied", 2) })
	produceSome(t, c, "copied", 100, 200)
	if !lags(t, nodes[:2]) {
		t.Error("no leader tells that the stopped broker lacks anything")
	}
	nodes[2].Start()
	settles(t, "the ISR with the broker that is back", func() string { return shrunken(t, admin, "copied", 3) })
	produceSome(t, c, "copied", 200, 300)
	nodes[1].Restart()
	nodes[0].Restart()
	produceSome(t, c, "copied", 300, 400)
	settles(t, "the ISR at the end", func() string { return shrunken(t, admin, "copied", 3) })
	settles(t, "nobody lacks anything", func() string {
		if lags(t, nodes) {
			return "the metrics tell of a lag"
		}
		return ""
	})

	reader := newClient(t, seeds, kgo.ConsumeTopics("copied"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	seen := map[string]bool{}
	for len(seen) < 400 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		fetches := reader.PollFetches(ctx)
		cancel()
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of 400 records, %v", len(seen), err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if seen[string(r.Value)] {
				t.Errorf("%s came twice", r.Value)
			}
			seen[string(r.Value)] = true
		})
	}
	for p := range 3 {
		name := filepath.Join("logs", fmt.Sprintf("copied-%d", p), "00000000000000000000.log")
		settles(t, "equal logs", func() string {
			want, err := os.ReadFile(filepath.Join(nodes[0].Dir(), name))
			if err != nil {
				return err.Error()
			}
			for _, n := range nodes[1:] {
				got, err := os.ReadFile(filepath.Join(n.Dir(), name))
				if err != nil || !bytes.Equal(got, want) {
					return fmt.Sprintf("broker %d, partition %d: %d bytes, %d at the first broker, %v", n.Broker(), p, len(got), len(want), err)
				}
			}
			return ""
		})
	}
}

// A new topic takes records at once, though its followers have a fetch waiting at each leader that knows nothing of it: they have that
// answered. It would wait for longer than the test does.
func TestANewTopicIsReplicatedAtOnce(t *testing.T) {
	settings := map[string]string{"replica.fetch.wait.max.ms": "25000", "min.insync.replicas": "3"}
	a := kraftgotest.Start(t, settings)
	for range 2 {
		a.Join(nil)
	}
	c := client(t, a)
	for i := range 5 {
		topic := fmt.Sprintf("t%d", i)
		createReplicated(t, a, topic, 6, nil)
		fill(t, c, topic, 0, 60)
	}
}

// What a new leader's followers have synced counts when they have heard that the logs agree. They do at once, though nothing is written,
// and though they fetch from it already: before, it tells no ends, and a coordinator does not begin.
func TestANewLeaderSettlesThoughNothingIsWritten(t *testing.T) {
	settings := map[string]string{"replica.fetch.wait.max.ms": "600000", "replica.lag.time.max.ms": "600000", "min.insync.replicas": "2"}
	nodes := []*kraftgotest.Node{kraftgotest.Start(t, settings)}
	nodes = append(nodes, nodes[0].Join(nil), nodes[0].Join(nil))
	createReplicated(t, nodes[0], "t", 6, nil)
	fill(t, client(t, nodes[0]), "t", 0, 60)
	nodes[2].Stop()
	admin := kadm.NewClient(newClient(t, []string{nodes[0].Client(), nodes[1].Client()}))
	settles(t, "the ends of the logs are told", func() string {
		ends, err := admin.ListEndOffsets(limited(t), "t")
		if err = errors.Join(err, ends.Error()); err != nil {
			return err.Error()
		}
		sum := int64(0)
		ends.Each(func(e kadm.ListedOffset) { sum += e.Offset })
		if sum != 60 {
			return fmt.Sprintf("%d records", sum)
		}
		return ""
	})
}

// When records are deleted, all replicas have deleted them: whoever leads next does not bring them back.
func TestDeletedRecordsAreGoneEverywhere(t *testing.T) {
	settings := map[string]string{"replica.fetch.wait.max.ms": "25000", "min.insync.replicas": "1"}
	nodes := []*kraftgotest.Node{kraftgotest.Start(t, settings)}
	nodes = append(nodes, nodes[0].Join(nil), nodes[0].Join(nil))
	createReplicated(t, nodes[0], "t", 1, nil)
	fill(t, client(t, nodes[0]), "t", 0, 100)
	for _, cut := range []int64{40, 70} {
		led := partitions(t, client(t, nodes[0]), "t")[0].Leader
		at := slices.IndexFunc(nodes, func(n *kraftgotest.Node) bool { return n.Running() && n.Broker() == led })
		admin := kadm.NewClient(client(t, nodes[at]))
		answers, err := admin.DeleteRecords(limited(t), kadm.Offsets{"t": {0: {Topic: "t", Partition: 0, At: cut}}})
		if err != nil || answers.Error() != nil || answers["t"][0].LowWatermark != cut {
			t.Fatalf("%+v, %v", answers, err)
		}
		nodes[at].Stop()
		nodes = append(nodes[:at:at], nodes[at+1:]...)
		eventually(t, "another leads", func() bool {
			p := partitions(t, client(t, nodes[0]), "t")
			return len(p) == 1 && p[0].Leader >= 0 && p[0].Leader != led
		})
		starts, err := kadm.NewClient(client(t, nodes[0])).ListStartOffsets(limited(t), "t")
		if err != nil || starts.Error() != nil || starts["t"][0].Offset != cut {
			t.Fatalf("after %d: %+v, %v", led, starts, err)
		}
	}
}

// DeleteRecords may cut into a batch: a replica that is new, or that was left behind for longer than the leader's log reaches back,
// gets that batch whole, and shows nothing of what is deleted.
func TestReplicasBeginWhereDeletionsCutIntoABatch(t *testing.T) {
	settings := map[string]string{"min.insync.replicas": "1"}
	nodes := []*kraftgotest.Node{kraftgotest.Start(t, settings)}
	nodes = append(nodes, nodes[0].Join(nil), nodes[0].Join(nil))
	t.Cleanup(func() { dumpReplicas(t, nodes) })
	seeds := []string{nodes[0].Client(), nodes[1].Client(), nodes[2].Client()}
	c := newClient(t, seeds, kgo.ProducerLinger(50*time.Millisecond))
	admin := kadm.NewClient(c)
	for topic, replicas := range map[string][]int32{"left": {1, 2, 3}, "moved": {1, 2}} {
		q := kmsg.NewPtrCreateTopicsRequest()
		t1 := kmsg.NewCreateTopicsRequestTopic()
		t1.Topic, t1.NumPartitions, t1.ReplicationFactor = topic, -1, -1
		t1.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: replicas}}
		q.Topics = append(q.Topics, t1)
		if answer, err := q.RequestWith(limited(t), c); err != nil || answer.Topics[0].ErrorCode != 0 {
			t.Fatalf("%+v, %v", answer, err)
		}
	}
	stopped := slices.IndexFunc(nodes, func(n *kraftgotest.Node) bool { return n.Broker() == 3 })
	nodes[stopped].Stop()
	for _, topic := range []string{"left", "moved"} {
		for range 2 { // each a batch
			var records []*kgo.Record
			for i := range 50 {
				records = append(records, &kgo.Record{Topic: topic, Value: fmt.Append(nil, i)})
			}
			if err := c.ProduceSync(limited(t), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
		answers, err := admin.DeleteRecords(limited(t), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 70}}})
		if err != nil || answers.Error() != nil {
			t.Fatalf("%+v, %v", answers, err)
		}
	}
	nodes[stopped].Start()
	var move kadm.AlterPartitionAssignmentsReq
	move.Assign("moved", 0, []int32{3})
	if answers, err := admin.AlterPartitionAssignments(limited(t), move); err != nil || answers.Error() != nil {
		t.Fatalf("%+v, %v", answers, err)
	}
	settles(t, "the replica that was left behind", func() string { return shrunken(t, admin, "left", 3) })
	settles(t, "the replica that moved", func() string { return shrunken(t, admin, "moved", 1) })
	move = nil
	move.Assign("left", 0, []int32{3})
	if answers, err := admin.AlterPartitionAssignments(limited(t), move); err != nil || answers.Error() != nil {
		t.Fatalf("%+v, %v", answers, err)
	}
	settles(t, "the replica that was left behind leads", func() string { return shrunken(t, admin, "left", 1) })
	for _, topic := range []string{"left", "moved"} {
		starts, err := admin.ListStartOffsets(limited(t), topic)
		if err != nil || starts.Error() != nil || starts[topic][0].Offset != 70 {
			t.Errorf("%s starts: %+v, %v", topic, starts, err)
		}
		ends, err := admin.ListEndOffsets(limited(t), topic)
		if err != nil || ends.Error() != nil || ends[topic][0].Offset != 100 {
			t.Errorf("%s ends: %+v, %v", topic, ends, err)
		}
	}
}
