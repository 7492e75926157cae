package e2e

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// spreadCase is a cluster and a topic to be placed in it.
type spreadCase struct {
	seed       uint64
	partitions int
	replicas   int
	racks      []int // by broker; -1: none
}

// uneven is how far what brokers lead and hold is from even: the difference of the most and the least; and how few racks a partition
// is on.
type uneven struct{ leads, holds, racks int }

func (c *spreadCase) judge(placed [][]int) uneven {
	leads, holds := make([]int, len(c.racks)), make([]int, len(c.racks))
	least := len(c.racks)
	for _, p := range placed {
		on := map[int]bool{}
		leads[p[0]-1]++
		for _, id := range p {
			holds[id-1]++
			on[c.racks[id-1]] = true
		}
		least = min(least, len(on))
	}
	spread := func(of []int) int {
		low, high := of[0], of[0]
		for _, n := range of {
			low, high = min(low, n), max(high, n)
		}
		return high - low
	}
	return uneven{spread(leads), spread(holds), least}
}

// place has our controller place the topic.
func (c *spreadCase) place(t *testing.T) [][]int {
	t.Helper()
	s := metadata.NewState()
	var records []metadata.Record
	for i, rack := range c.racks {
		r := &metadata.RegisterBroker{Broker: wire.BrokerID(i + 1), Directory: wire.UUID{byte(i + 1)}}
		if rack >= 0 {
			name := fmt.Sprint("r", rack)
			r.Rack = &name
		}
		records = append(records, r, &metadata.BrokerState{Broker: r.Broker})
	}
	if _, err := s.Apply(1, 1, metadata.Command{Term: 1, Records: records}); err != nil {
		t.Fatal(err)
	}
	made, answers := control.CreateTopics(s.Image(), control.Defaults{Partitions: 1, Replicas: 1, MaxPartitions: 10_000}, []control.NewTopic{
		{Name: "t", Partitions: int32(c.partitions), Replicas: int16(c.replicas), ID: wire.UUID{1}, Seed: c.seed},
	})
	if answers[0].Refusal != nil {
		t.Fatal(answers[0].Refusal)
	}
	var out [][]int
	for _, r := range made {
		if p, ok := r.(*metadata.PartitionRecord); ok {
			var ids []int
			for _, id := range p.Replicas {
				ids = append(ids, int(id))
			}
			out = append(out, ids)
		}
	}
	return out
}

// Topics in thousands of random clusters, placed by us and by Kafka's own placer: ours are on as many racks, and leaders and replicas
// are as even or more so.
func TestClientSpread(t *testing.T) {
	installed(t, "tools", "java")
	jars := filepath.Join(clientsHome(t), "peer", "server", "*")
	program, err := filepath.Abs("clients/spread/Spread.java")
	if err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	var cases []spreadCase
	var input strings.Builder
	for range number("SPREAD_CLUSTERS", 1000) {
		racks := random.IntN(9)
		c := spreadCase{seed: random.Uint64() >> 1, partitions: 1 + random.IntN(200)}
		equal := random.IntN(2) == 0
		brokers := 1 + random.IntN(50)
		if equal && racks > 0 {
			brokers = max(brokers/racks, 1) * racks
		}
		for i := range brokers {
			switch {
			case racks == 0:
				c.racks = append(c.racks, -1)
			case equal:
				c.racks = append(c.racks, i%racks)
			default:
				c.racks = append(c.racks, random.IntN(racks))
			}
		}
		c.replicas = 1 + random.IntN(min(5, brokers))
		cases = append(cases, c)
		fmt.Fprintln(&input, c.seed, c.partitions, c.replicas, strings.Trim(fmt.Sprint(c.racks), "[]"))
	}
	stdout, stderr, err := run(t, 2*time.Minute, input.String(), "java", "-Xmx512m", "-cp", jars, program)
	if err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	lines := strings.Split(strings.TrimSpace(string(stdout)), "\n")
	if len(lines) != len(cases) {
		t.Fatalf("%d answers to %d clusters", len(lines), len(cases))
	}
	better, worse := 0, 0
	for i, line := range lines {
		var kafkas [][]int
		for _, part := range strings.Split(strings.TrimSuffix(line, ","), ",") {
			var ids []int
			for _, word := range strings.Fields(part) {
				var id int
				if _, err := fmt.Sscan(word, &id); err != nil {
					t.Fatal(err)
				}
				ids = append(ids, id)
			}
			kafkas = append(kafkas, ids)
		}
		c := &cases[i]
		theirs, ours := c.judge(kafkas), c.judge(c.place(t))
		switch {
		case ours.racks < theirs.racks, ours.leads > theirs.leads, ours.holds > theirs.holds:
			worse++
			if worse <= 10 {
				t.Errorf("%d partitions of %d replicas, racks %v: ours %+v, Kafka's %+v", c.partitions, c.replicas, c.racks, ours, theirs)
			}
		case ours != theirs:
			better++
		}
	}
	t.Logf("%d clusters: in %d we are more even than Kafka, in %d less", len(cases), better, worse)
}
