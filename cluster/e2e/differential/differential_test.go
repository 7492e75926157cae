package differential

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

var (
	record = flag.String("record", "", "address of a fresh Apache Kafka broker, whose answers become testdata/*.kafka")
	accept = flag.Bool("accept", false, "rewrite testdata/*.ours: our answers where they are listed as different")
)

var groups = []group{
	produceCases, sequenceCases, fetchCases, offsetsCases, topicCases, configCases, metadataCases, groupCases, commitCases, clusterCases, electionCases, cordonCases, featureCases, quotaCases, scramCases, aclCases, voterCases,
}

func TestDifferential(t *testing.T) {
	address := *record
	if address == "" {
		address = kraftgotest.Start(t, nodeSettings).Client()
	}
	compare(t, address, func(_, text string) string { return text })
}

// another is what the controller adds to answers, in a cluster of two of which the other broker is asked.
var another = []struct{ pattern, alone string }{
	{`ControllerID: 2\n`, "ControllerID: <broker>\n"},
	{` +Brokers -\n +(Node|Broker)ID: 2\n`, ""},
	{` +ConfigResources -\n +ResourceName: "2"\n +ResourceType: [48]\n`, ""},
	{`only 2 broker\(s\) are registered`, "only 1 broker(s) are registered"},
	{`only 1 broker\(s\) are live and not cordoned`, "only 1 broker(s) are registered"},
	{`leader: false`, "leader: true"},
	{`Local controller 2 `, "Local controller 1 "},
	{`\[ReplicaKey\(id=2, directoryId=<id own>\)\]`, "[ReplicaKey(id=1, directoryId=<id own>)]"},
}

// The same through a broker that is not the controller: what it does not answer by itself, the controller does. The controller is
// cordoned, so that all topics are on the broker that is asked.
func TestDifferentialThroughAnotherBroker(t *testing.T) {
	if *record != "" || *accept {
		t.Skip("answers are taken from a cluster of one broker")
	}
	controller := kraftgotest.Start(t, nodeSettings, func(c *cluster.Config) {
		c.Settings = maps.Clone(c.Settings)
		c.Settings["broker.id"] = "2"
	})
	asked := controller.Join(map[string]string{"broker.id": "1"})
	client, err := kgo.NewClient(kgo.SeedBrokers(controller.Client()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	all := "*"
	if a, err := kadm.NewClient(client).AlterBrokerConfigs(t.Context(), []kadm.AlterConfig{{Name: "cordoned.log.dirs", Value: &all}}, 2); err != nil || a[0].Err != nil {
		t.Fatal(a, err)
	}
	compare(t, asked.Client(), func(name, text string) string {
		if strings.HasPrefix(name, "add-itself-elsewhere/") { // Kafka's broker votes, and this one does not
			return read(t, "voters.kafka")[name]
		}
		for _, a := range another {
			text = regexp.MustCompile(a.pattern).ReplaceAllString(text, a.alone)
		}
		return text
	})
}

// compare asks a broker everything, and compares the answers, as edit leaves them, with those that are kept.
func compare(t *testing.T, address string, edit func(name, text string) string) {
	target := &target{address: address, run: "n" + strconv.FormatInt(time.Now().UnixNano()%1e8, 36) + "x"}
	target.learn(t)
	used := map[string]bool{}
	count, equal := 0, 0
	for _, g := range groups {
		t.Run(g.name, func(t *testing.T) {
			answers := g.answers(t, target)
			for name, text := range answers {
				answers[name] = edit(name, text)
			}
			if *record != "" {
				write(t, g.name+".kafka", answers)
				return
			}
			kafka, ours := read(t, g.name+".kafka"), read(t, g.name+".ours")
			listed := map[string]string{}
			for _, name := range slices.Sorted(maps.Keys(answers)) {
				count++
				if answers[name] == kafka[name] {
					equal++
					if _, ok := ours[name]; ok && !*accept {
						t.Errorf("%s: equal to Kafka's, but kept in %s.ours", name, g.name)
					}
					continue
				}
				judge(t, g.name+"/"+name, answers[name], kafka[name], ours[name], used, func() { listed[name] = answers[name] })
			}
			for name := range kafka {
				if _, ok := answers[name]; !ok {
					t.Errorf("%s: kept of Kafka's, but there is no such case", name)
				}
			}
			if *accept {
				write(t, g.name+".ours", listed)
			}
		})
	}
	t.Logf("%d answers compared, %d equal to Kafka's", count, equal)
	if *record == "" && flag.Lookup("test.run").Value.String() == "" {
		stale(t, used)
	}
}

// stale reports what is listed although there is no such difference.
func stale(t *testing.T, used map[string]bool) {
	for _, d := range differences {
		for _, pattern := range d.cases {
			if !used[pattern] {
				t.Errorf("%s: listed as different (%s), but is not", pattern, d.reason)
			}
		}
	}
	for _, pattern := range wordings {
		if !used[pattern] {
			t.Errorf("%s: listed as worded differently, but is not", pattern)
		}
	}
}

var messageLine = regexp.MustCompile(`(?m)^ *(BatchIndex)?ErrorMessage: .*\n`)

// judge decides on an answer that is not Kafka's.
func judge(t *testing.T, name, answer, kafka, ours string, used map[string]bool, keep func()) {
	t.Helper()
	listed := ""
	for _, d := range differences {
		listed = first(listed, match(d.cases, name))
	}
	if messageLine.ReplaceAllString(answer, "") == messageLine.ReplaceAllString(kafka, "") {
		listed = first(listed, match(wordings, name))
	}
	if listed == "" {
		t.Errorf("%s differs from Kafka:\n%s", name, diff(kafka, answer))
		return
	}
	used[listed] = true
	keep()
	if !*accept && answer != ours {
		t.Errorf("%s: listed as different, but in another way:\n%s", name, diff(ours, answer))
	}
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

func match(patterns []string, name string) string {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err != nil {
			panic(err)
		} else if ok {
			return p
		}
	}
	return ""
}

// answers runs all cases of the group, each in its lowest and highest versions.
func (g *group) answers(t *testing.T, target *target) map[string]string {
	out := map[string]string{}
	for _, c := range g.cases {
		for _, l := range []level{lowest, highest} {
			t.Run(c.name+"/"+l.String(), func(t *testing.T) {
				e := newEnv(t, target, g.name, c, l)
				c.run(e)
				key := c.name + "/" + l.String()
				if _, twice := out[key]; twice {
					t.Fatal("two cases of that name")
				}
				out[key] = e.out.String()
			})
		}
	}
	return out
}

// learn asks who the broker is.
func (g *target) learn(t *testing.T) {
	e := newEnv(t, g, "learn", testcase{name: "target"}, highest)
	asked := func(b message.MetadataResponseBroker) bool { return fmt.Sprintf("%s:%d", b.Host, b.Port) == g.address }
	a := until(e, &message.MetadataRequest{Topics: []message.MetadataRequestTopic{}}, 9, func(a *message.MetadataResponse) bool { return slices.ContainsFunc(a.Brokers, asked) })
	g.broker, g.cluster = a.Brokers[slices.IndexFunc(a.Brokers, asked)].NodeID, *a.ClusterID
	e.group("g") // creates the topic of the offsets
	quietProducerID(e)
}

func quietProducerID(e *env) {
	until(e, &message.InitProducerIDRequest{TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1}, 4,
		func(a *message.InitProducerIDResponse) bool { return a.ErrorCode == wire.ErrNone })
}

// read returns the answers of a file, by case; a file that is not there has none.
func read(t *testing.T, name string) map[string]string {
	out := map[string]string{}
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for _, part := range strings.Split("\n"+string(b), "\n=== ")[1:] {
		head, body, _ := strings.Cut(part, "\n")
		if body = strings.TrimRight(body, "\n"); body != "" {
			body += "\n"
		}
		out[head] = body
	}
	return out
}

func write(t *testing.T, name string, answers map[string]string) {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(answers)) {
		fmt.Fprintf(&b, "=== %s\n%s", k, answers[k])
	}
	file := filepath.Join("testdata", name)
	if len(answers) == 0 {
		if err := os.Remove(file); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return
	}
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// diff shows the lines that only one of two texts has, by their longest common subsequence.
func diff(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	common := make([][]int, len(x)+1)
	for i := range common {
		common[i] = make([]int, len(y)+1)
	}
	for i := len(x) - 1; i >= 0; i-- {
		for j := len(y) - 1; j >= 0; j-- {
			if x[i] == y[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var out strings.Builder
	i, j := 0, 0
	for i < len(x) || j < len(y) {
		switch {
		case i < len(x) && j < len(y) && x[i] == y[j]:
			i, j = i+1, j+1
		case j == len(y) || i < len(x) && common[i+1][j] >= common[i][j+1]:
			out.WriteString("-" + x[i] + "\n")
			i++
		default:
			out.WriteString("+" + y[j] + "\n")
			j++
		}
	}
	return out.String()
}
