package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
)

// ballastTopic is a topic with data that has to be moved.
const ballastTopic = "ballast"

// fourNodes starts a cluster of four with a topic "t" for a writer and another that holds so many megabytes, three replicas each.
func fourNodes(t *testing.T, megabytes int, settings ...string) (nodes []*process, admin *kadm.Client, records int) {
	t.Helper()
	settings = append([]string{"--set", "min.insync.replicas=2"}, settings...)
	nodes = []*process{founded(t, settings...)}
	for range 3 {
		nodes = append(nodes, joined(t, nodes[0], settings...))
	}
	admin = admins(t, nodes)
	for _, topic := range []string{"t", ballastTopic} {
		r, err := admin.CreateTopic(t.Context(), 12, 3, nil, topic)
		if err := errors.Join(err, r.Err); err != nil {
			t.Fatal(err)
		}
		allInSync(t, admin, topic)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(clients(nodes)...), kgo.DefaultProduceTopic(ballastTopic), kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.MaxBufferedRecords(2000))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	values := make([][]byte, 64) // random, so that nothing makes them small
	source := rand.NewChaCha8([32]byte{1})
	for i := range values {
		values[i] = make([]byte, 16<<10)
		if _, err := source.Read(values[i]); err != nil {
			t.Fatal(err)
		}
	}
	var failed error
	records = megabytes << 20 / len(values[0])
	for i := range records {
		c.Produce(t.Context(), kgo.SliceRecord(values[i%len(values)]), func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
	}
	if err := errors.Join(c.Flush(t.Context()), failed); err != nil {
		t.Fatal(err)
	}
	return nodes, admin, records
}

// heldBy returns how many replicas of the topics a broker has, and how many replicas there are in sync.
func heldBy(t *testing.T, admin *kadm.Client, id int32, topics ...string) (held, inSync int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	m, err := admin.ListTopics(ctx, topics...)
	if err != nil {
		return -1, 0
	}
	m.EachPartition(func(p kadm.PartitionDetail) {
		if slices.Contains(p.Replicas, id) {
			held++
		}
		inSync += len(p.ISR)
	})
	return held, inSync
}

// hasAll checks that the topic has all records that were written, in all replicas.
func hasAll(t *testing.T, admin *kadm.Client, records int) {
	t.Helper()
	allInSync(t, admin, ballastTopic)
	ends, err := admin.ListEndOffsets(t.Context(), ballastTopic)
	if err := errors.Join(err, ends.Error()); err != nil {
		t.Fatal(err)
	}
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	if n != int64(records) {
		t.Errorf("%s has %d records, written were %d", ballastTopic, n, records)
	}
}

// One of four brokers is taken out by one command while records are written: it ends by itself, the node stops, all replicas are
// elsewhere, and nothing is lost. DECOMMISSION_MB is how much there is to move of, AT_A_TIME how many partitions
// are moved at a time, RATE how many records a second each of the 12 partitions gets.
func TestDecommissionUnderLoad(t *testing.T) {
	nodes, admin, records := fourNodes(t, number("DECOMMISSION_MB", 48))
	w, err := acked.Start(acked.Options{Seeds: clients(nodes), Topic: "t", Partitions: 12, Rate: number("RATE", 50), Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	pauseFor(t, time.Second) // it has found its brokers
	begin := time.Now()
	pauseFor(t, time.Duration(number("BEFORE_SECONDS", 2))*time.Second)
	victim := nodes[3]
	held, _ := heldBy(t, admin, victim.broker, "t", ballastTopic)
	start := time.Now()
	out, err := exec.Command(binary(t), "node", "decommission", fmt.Sprint(victim.broker), "--watch", "--at-a-time", fmt.Sprint(number("AT_A_TIME", 2)), "-b", nodes[0].client).CombinedOutput()
	end := time.Now()
	if err != nil || !strings.Contains(string(out), "is out of the cluster") {
		t.Fatalf("%v: %s", err, out)
	}
	select {
	case <-victim.exited:
	case <-time.After(30 * time.Second):
		t.Fatal("the broker that was taken out goes on")
	}
	p50, p99, n := w.Took(begin, start)
	during50, during99, during := w.Took(start, end)
	gap, _, _ := w.Gap(start, end)
	t.Logf("%d MB, %d replicas moved in %s; acknowledged in (median, 99 %%): before %s, %s (of %d); meanwhile %s, %s (of %d): %.1f times; longest pause of a partition %s",
		number("DECOMMISSION_MB", 48), held, end.Sub(start).Round(time.Millisecond), p50, p99, n, during50, during99, during, float64(during99)/float64(p99), gap.Round(time.Millisecond))
	if held == 0 {
		t.Error("the broker held nothing")
	}
	if left, _ := heldBy(t, admin, victim.broker, "t", ballastTopic); left != 0 {
		t.Errorf("%d replicas are still there", left)
	}
	allInSync(t, admin, "t")
	hasAll(t, admin, records)
	sound(t, w)
}

// A broker that was killed does not come back: what it held is made anew on others after the time that is set.
func TestAKilledBrokerIsReplaced(t *testing.T) {
	nodes, admin, records := fourNodes(t, number("DECOMMISSION_MB", 48), "--set", "cluster.replica.rebuild.ms=3000")
	w, err := acked.Start(acked.Options{Seeds: clients(nodes), Topic: "t", Partitions: 12, Rate: number("RATE", 50), Size: 100})
	if err != nil {
		t.Fatal(err)
	}
	pauseFor(t, time.Second)
	victim := nodes[3]
	held, all := heldBy(t, admin, victim.broker, "t", ballastTopic)
	start := time.Now()
	victim.kill()
	for deadline := start.Add(5 * time.Minute); ; pauseFor(t, 100*time.Millisecond) {
		left, inSync := heldBy(t, admin, victim.broker, "t", ballastTopic)
		if left == 0 && inSync == all {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the dead broker is assigned %d replicas, in sync are %d of %d", left, inSync, all)
		}
	}
	t.Logf("%d replicas were made anew, and in sync, %s after their broker was killed (3 s of which it was waited for)", held, time.Since(start).Round(time.Millisecond))
	if held == 0 {
		t.Error("the broker held nothing")
	}
	hasAll(t, admin, records)
	sound(t, w)
}
