package control

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Which brokers are cordoned follows from their files and from what was set while running, which is the stronger.
func TestWhoIsCordoned(t *testing.T) {
	text := func(s string) *string { return &s }
	for name, c := range map[string]struct {
		static string
		set    *string
		paths  []string
		want   bool
	}{
		"nothing said":              {"", nil, []string{"/a"}, false},
		"all, by file":              {"*", nil, []string{"/a"}, true},
		"all, while running":        {"", text(" * "), []string{"/a"}, true},
		"the only one":              {"", text("/a"), []string{"/a"}, true},
		"one of two":                {"", text("/a"), []string{"/a", "/b"}, false},
		"both":                      {"", text("/b, /a"), []string{"/a", "/b"}, true},
		"by file, taken back":       {"*", text(""), []string{"/a"}, false},
		"without known directories": {"", text(""), nil, false},
	} {
		records := []metadata.Record{&metadata.RegisterBroker{Broker: 1, LogPaths: c.paths, Cordoned: c.static}, &metadata.BrokerState{Broker: 1}}
		if c.set != nil {
			records = append(records, &metadata.ConfigRecord{Resource: ownResource(1), Name: "cordoned.log.dirs", Value: c.set})
		}
		m := image(t, records...)
		if got := Cordoned(m, m.Broker(1)); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func TestCordonsAreCheckedAsKafkaDoes(t *testing.T) {
	m := image(t, &metadata.RegisterBroker{Broker: 1, LogPaths: []string{"/a"}}, &metadata.RegisterBroker{Broker: 2, LogPaths: []string{"/b"}})
	for _, c := range []struct{ broker, value, says string }{
		{"1", "/a", ""}, {"1", "*", ""}, {"1", "", ""}, {"2", "/b", ""},
		{"1", "/b", "Missing entries : /b"}, {"1", "*,/a", "must not contain other values"}, {"1", "/a,/a", "must not be duplicated"},
		{"", "*", "broker id must be specified"}, {"3", "*", "No broker with id 3"},
	} {
		_, refusal := AlterConfigs(m, metadata.Resource{Type: metadata.ResourceBroker, Name: c.broker}, []Alteration{{"cordoned.log.dirs", OpSet, &c.value}}, nil)
		switch {
		case c.says == "" && refusal != nil, c.says != "" && (refusal == nil || refusal.Code != wire.ErrInvalidRequest || !strings.Contains(refusal.Message, c.says)):
			t.Errorf("%q on broker %q: %v, want %q", c.value, c.broker, refusal, c.says)
		}
	}
}

// Whoever is fenced, about to stop or cordoned gets no replica of new topics and partitions; if that leaves too few, the
// request is refused.
func TestNewReplicasAvoidWhoIsCordonedOrFenced(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := metadata.NewState()
		n := rapid.IntRange(1, 8).Draw(t, "brokers")
		var good []wire.BrokerID
		var records []metadata.Record
		for i := 1; i <= n; i++ {
			id := wire.BrokerID(i)
			r := &metadata.RegisterBroker{Broker: id, LogPaths: []string{"/a"}}
			state := &metadata.BrokerState{Broker: id}
			switch rapid.IntRange(0, 4).Draw(t, "state") {
			case 0:
				state.Fenced = true
			case 1:
				state.ShuttingDown = true
			case 2:
				r.Cordoned = "/a"
			default:
				good = append(good, id)
			}
			records = append(records, r, state)
		}
		old := wire.BrokerID(1)
		records = append(records, &metadata.TopicRecord{Name: "old", ID: wire.UUID{1}}, &metadata.PartitionRecord{Topic: wire.UUID{1}, Replicas: []wire.BrokerID{old}, Leader: old})
		if _, err := s.Apply(1, 1, metadata.Command{Term: 1, Records: records}); err != nil {
			t.Fatal(err)
		}
		m := s.Image()
		replicas := rapid.IntRange(1, n).Draw(t, "replicas")
		plan, answers := CreateTopics(m, someDefaults, []NewTopic{{Name: "new", Partitions: 5, Replicas: int16(replicas), Seed: 7}})
		if (answers[0].Refusal == nil) != (replicas <= len(good)) {
			t.Fatalf("%d replicas on %v: %v", replicas, good, answers[0].Refusal)
		}
		more, refusal := CreatePartitions(m, someDefaults, MorePartitions{Name: "old", Count: 4})
		if (refusal == nil) != (len(good) > 0) {
			t.Fatalf("more partitions on %v: %v", good, refusal)
		}
		for _, r := range append(plan, more...) {
			if p, ok := r.(*metadata.PartitionRecord); ok {
				for _, id := range p.Replicas {
					if !slices.Contains(good, id) {
						t.Fatalf("broker %d got a replica; only %v may", id, good)
					}
				}
			}
		}
		by := []wire.BrokerID{wire.BrokerID(rapid.IntRange(1, n).Draw(t, "by hand"))}
		_, answers = CreateTopics(m, someDefaults, []NewTopic{{Name: "hand", Partitions: -1, Replicas: -1, Assignment: []ManualPartition{{0, by}}}})
		if (answers[0].Refusal == nil) != slices.Contains(good, by[0]) {
			t.Fatalf("by hand on %v, of which %v may: %v", by, good, answers[0].Refusal)
		}
	})
}
