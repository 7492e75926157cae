package cluster_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

type partition = kmsg.MetadataResponseTopicPartition

// partitions returns a topic's partitions by number, as the node that the client was made for tells of them now.
func partitions(t *testing.T, c *kgo.Client, topic string) []partition {
	t.Helper()
	q := kmsg.NewPtrMetadataRequest()
	q.Topics = append(q.Topics, kmsg.MetadataRequestTopic{Topic: &topic})
	answer, err := c.SeedBrokers()[0].RetriableRequest(limited(t), q)
	if err != nil {
		t.Fatal(err)
	}
	a := answer.(*kmsg.MetadataResponse)
	if len(a.Topics) != 1 {
		t.Fatalf("%+v", a)
	}
	out := a.Topics[0].Partitions
	slices.SortFunc(out, func(a, b partition) int { return int(a.Partition - b.Partition) })
	return out
}

func createReplicated(t *testing.T, n *kraftgotest.Node, topic string, count int32, configs map[string]*string) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, n)).CreateTopic(limited(t), count, 3, configs, topic); err != nil {
		t.Fatal(err)
	}
}

// A broker that is stopped in good order is out of every ISR and leads nothing before it goes: at no time is a partition without a
// leader, seen from another node. A preferred leader that is not in sync is not elected by request.
func TestAStoppingBrokerHandsOverFirst(t *testing.T) {
	nodes := three(t)
	createReplicated(t, nodes[0], "t", 12, nil)
	for _, stops := range []int{2, 0} { // the second is the controller
		witness := client(t, nodes[1])
		eventually(t, "all lead", func() bool { return leaders(partitions(t, witness, "t")) > 1 })
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			nodes[stops].Stop()
		}()
		looks := 0
		var without []string
		for done := false; !done; {
			select {
			case <-stopped:
				done = true
			default:
			}
			for _, p := range partitions(t, witness, "t") {
				if p.Leader < 0 {
					without = append(without, fmt.Sprintf("look %d: %+v", looks, p))
				}
			}
			looks++
		}
		if len(without) > 0 { // told only now: the end of the test must not meet the node's stop
			t.Fatalf("broker %d stopped; without a leader were %d: %s", stops+1, len(without), without[0])
		}
		gone := int32(stops + 1)
		for _, p := range partitions(t, witness, "t") {
			if p.Leader == gone || slices.Contains(p.ISR, gone) || !slices.Contains(p.OfflineReplicas, gone) {
				t.Errorf("broker %d has stopped: %+v", gone, p)
			}
		}
		t.Logf("%d looks", looks)
		nodes[stops].Start()
	}
	metrics, _ := get(t, nodes[1], "/metrics")
	if strings.Contains(metrics, "\nkafka_controller_controllerstats_leaderelections_total 0\n") || !strings.Contains(metrics, "\nkafka_controller_controllerstats_uncleanleaderelections_total 0\n") {
		t.Errorf("some leaders were elected, none uncleanly: %s", metrics)
	}
	witness := client(t, nodes[1])
	eventually(t, "all are in sync", func() bool {
		return !slices.ContainsFunc(partitions(t, witness, "t"), func(p kmsg.MetadataResponseTopicPartition) bool { return len(p.ISR) != 3 })
	})
	codes := electPreferred(t, witness, kadm.TopicsSet{"t": {0: {}, 1: {}, 2: {}, 77: {}}})
	if codes[nil]+codes[kerr.ElectionNotNeeded] != 3 || codes[kerr.UnknownTopicOrPartition] != 1 {
		t.Errorf("%v", codes)
	}
	preferred := int32(0) // of how many partitions the broker that stops next is the preferred leader
	// The answer is the controller's: the witness learns of it at its own time.
	eventually(t, "the preferred leaders lead", func() bool {
		return !slices.ContainsFunc(partitions(t, witness, "t")[:3], func(p partition) bool { return p.Leader != p.Replicas[0] })
	})
	for _, p := range partitions(t, witness, "t") {
		if p.Replicas[0] == 3 {
			preferred++
		}
	}
	nodes[2].Stop()
	if codes := electPreferred(t, witness, nil); codes[kerr.PreferredLeaderNotAvailable] != int(preferred) {
		t.Errorf("%v, and broker 3 should lead %d", codes, preferred)
	}
}

// electPreferred asks for the preferred leaders of partitions, nil for all, and counts the answers.
func electPreferred(t *testing.T, c *kgo.Client, set kadm.TopicsSet) map[error]int {
	t.Helper()
	results, err := kadm.NewClient(c).ElectLeaders(limited(t), kadm.ElectPreferredReplica, set)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[error]int{}
	for _, r := range results["t"] {
		codes[r.Err]++
	}
	return codes
}

func leaders(list []partition) int {
	seen := map[int32]bool{}
	for _, p := range list {
		seen[p.Leader] = true
	}
	return len(seen)
}

// A partition whose only replica is damaged has no leader until an operator says that what is left is enough; from then on it is
// whole again.
func TestADamagedReplicaLeadsOnlyByRequest(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	createTopic(t, n, "t", 2, nil)
	c := client(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	for p := range int32(2) {
		for range 20 {
			if err := c.ProduceSync(limited(t), &kgo.Record{Topic: "t", Partition: p, Value: make([]byte, 1000)}).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.Stop()
	if err := os.Truncate(filepath.Join(n.Dir(), "logs", "t-0", "00000000000000000000.log"), 500); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(n.Dir(), "logs", "kraftgo.clean")); err != nil {
		t.Fatal(err)
	}
	start := func() {
		t.Helper()
		n.Move()
		c = client(t, n, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	start()
	p := partitions(t, c, "t")
	if p[0].Leader != -1 || p[1].Leader != 1 {
		t.Fatalf("%+v", p)
	}
	adm := kadm.NewClient(c)
	results, err := adm.ElectLeaders(limited(t), kadm.ElectLiveReplica, kadm.TopicsSet{"t": {0: {}, 1: {}}})
	if err != nil || results["t"][0].Err != nil || !errors.Is(results["t"][1].Err, kerr.ElectionNotNeeded) {
		t.Fatalf("%+v, %v", results, err)
	}
	if metrics, _ := get(t, n, "/metrics"); !strings.Contains(metrics, "\nkafka_controller_controllerstats_uncleanleaderelections_total 1\n") {
		t.Errorf("the unclean election is not counted: %s", metrics)
	}
	for i := range int64(2) {
		adm = kadm.NewClient(client(t, n)) // which knows of no partition without a leader
		ends, err := adm.ListEndOffsets(limited(t), "t")
		if err != nil || ends["t"][0].Offset != 4+i || ends["t"][1].Offset != 20 {
			t.Fatalf("%+v, %v", ends["t"], err)
		}
		if err := c.ProduceSync(limited(t), &kgo.Record{Topic: "t", Partition: 0, Value: []byte("after")}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		n.Stop()
		start()
		if p := partitions(t, c, "t"); p[0].Leader != 1 || p[1].Leader != 1 {
			t.Fatalf("after another start: %+v", p)
		}
	}
}

// Where a topic allows it, a damaged replica leads at once, by what the controller finds out.
func TestATopicMayAllowUncleanElections(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	yes := "true"
	createTopic(t, n, "t", 1, map[string]*string{"unclean.leader.election.enable": &yes})
	fill(t, client(t, n), "t", 0, 100)
	n.Stop()
	logs := filepath.Join(n.Dir(), "logs")
	if err := errors.Join(os.RemoveAll(filepath.Join(logs, "t-0")), os.Remove(filepath.Join(logs, "kraftgo.clean"))); err != nil {
		t.Fatal(err)
	}
	n.Start()
	c := client(t, n)
	start := time.Now()
	eventually(t, "an empty replica leads", func() bool { return partitions(t, c, "t")[0].Leader == 1 })
	t.Log(time.Since(start))
	fill(t, c, "t", 0, 100)
}
