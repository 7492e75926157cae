package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// moved waits until nothing is being moved.
func moved(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); must(t, "", "reassign", "status") != "nothing is being moved\n"; {
		if time.Now().After(end) {
			t.Fatalf("still moved:\n%s", must(t, "", "reassign", "status"))
		}
	}
}

// known waits until brokers tell of a topic, whichever of them a command asks: each learns of it a moment after it was made.
func known(t *testing.T, topic string) {
	t.Helper()
	for end, times := time.Now().Add(20*time.Second), 0; times < 10; {
		if _, _, code := command("", "topic", "describe", topic); code == 0 {
			times++
		} else if times = 0; time.Now().After(end) {
			t.Fatalf("topic %s is not known", topic)
		}
	}
}

// holders returns the brokers that hold a topic's partitions, each once.
func holders(t *testing.T, topic string) []int32 {
	t.Helper()
	var out []int32
	for _, p := range parse[[]topicDetail](t, must(t, "", "topic", "describe", topic, "--format", "json"))[0].Partitions {
		out = append(out, p.Replicas...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func nodesOf(t *testing.T) []nodeLine {
	t.Helper()
	return parse[[]nodeLine](t, must(t, "", "node", "list", "--format", "json"))
}

// A plan is shown, written, applied and watched to its end; it can be begun without waiting, and taken back; a new broker gets its
// share, and a drained one is left with nothing.
func TestReassignCommands(t *testing.T) {
	one := broker(t, map[string]string{"broker.rack": "a"})
	one.Join(map[string]string{"broker.rack": "b"})
	must(t, "", "topic", "create", "t", "--partitions", "6", "--replicas", "2")
	known(t, "t")
	must(t, strings.Repeat("some text\n", 5000), "produce", "t")
	one.Join(map[string]string{"broker.rack": "b"})

	fails(t, 1, "what for?", "reassign", "plan")
	fails(t, 1, "--rate", "reassign", "plan", "--spread", "--rate", "fast")
	fails(t, 2, "broker 9 is not registered", "reassign", "plan", "--drain", "9")
	fails(t, 2, "topic none does not exist", "reassign", "plan", "--spread", "--topic", "none")
	file := filepath.Join(t.TempDir(), "plan.json")
	shown, said, code := command("", "reassign", "plan", "--spread", "--out", file)
	if code != 0 || !strings.Contains(shown, "spread: ") || !strings.Contains(said, "are copied, about 0s at 50 MB/s") {
		t.Fatalf("exit %d\n%s%s", code, shown, said)
	}
	if slices.Contains(holders(t, "t"), 3) {
		t.Fatal("a plan has changed something")
	}
	_, said, code = command("", "reassign", "apply", file, "--watch", "--at-a-time", "2")
	if code != 0 || !strings.Contains(said, " partitions moved") {
		t.Fatalf("exit %d: %s", code, said)
	}
	if n := nodesOf(t); n[0].Holds != 6 || n[1].Holds != 3 || n[2].Holds != 3 { // one replica of each in rack a
		t.Errorf("%+v", n)
	}
	if again := parse[planReport](t, must(t, "", "reassign", "plan", "--spread", "--racks", "--format", "json")); len(again.Moves) != 0 {
		t.Errorf("there is more: %+v", again)
	}

	_, said, code = command("", "node", "drain", "3", "--watch")
	if code != 0 || !strings.Contains(said, "broker 3 holds nothing\n") || slices.Contains(holders(t, "t"), 3) {
		t.Fatalf("exit %d: %s", code, said)
	}
	if n := nodesOf(t)[2]; n.Holds != 0 || !n.Cordoned {
		t.Errorf("%+v", n)
	}
	// With broker 3 cordoned, two are left for two replicas.
	fails(t, 2, "cannot be emptied", "node", "drain", "2")
	must(t, "", "node", "uncordon", "2")
	must(t, "", "node", "uncordon", "3")

	must(t, "{\"version\":1,\"partitions\":[{\"topic\":\"t\",\"partition\":0,\"replicas\":[3,1]}]}", "reassign", "apply", "-")
	moved(t)
	if got := holders(t, "t"); !slices.Equal(got, []int32{1, 2, 3}) {
		t.Errorf("%v", got)
	}
	if got := must(t, "", "reassign", "cancel", "--all"); got != "cancelled 0\n" {
		t.Errorf("%q", got)
	}
	if got := must(t, "", "reassign", "status", "--format", "json"); got != "[]\n" {
		t.Errorf("%q", got)
	}
	fails(t, 2, "no such broker is registered", "reassign", "apply", write(t, `{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[9]}]}`))
	fails(t, 2, "t:0", "reassign", "apply", "--watch", write(t, `{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[9]}]}`))
	fails(t, 1, "twice", "reassign", "apply", write(t, `{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1]},{"topic":"t","partition":0,"replicas":[2]}]}`))
	fails(t, 1, "version 2", "reassign", "apply", write(t, `{"version":2}`))
	fails(t, 1, "Either topics, or --all", "reassign", "cancel")
	fails(t, 1, "want TOPIC or TOPIC:PARTITION", "reassign", "cancel", "t:x")
}

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "moves.json")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// A plan is carried out at a rate, which is taken away at the end, or by a command; what is throttled is told in Kafka's form.
func TestReassignAtARate(t *testing.T) {
	one := broker(t, nil)
	one.Join(nil)
	one.Join(nil)
	must(t, "", "topic", "create", "t", "--partitions", "1", "--replicas", "1")
	known(t, "t")
	must(t, strings.Repeat("some text\n", 500_000), "produce", "t", "--compression", "none")
	first := holders(t, "t")[0]
	second, third := first%3+1, (first+1)%3+1
	to := func(id int32) string {
		return write(t, fmt.Sprintf(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[%d]}]}`, id))
	}
	configs := func() string {
		return must(t, "", "topic", "describe", "t", "--format", "json")
	}
	fails(t, 1, "--throttle", "reassign", "apply", to(second), "--throttle", "slowly")

	_, said, code := command("", "reassign", "apply", to(second), "--throttle", "1")
	if code != 0 || !strings.Contains(said, "at most 1 B/s are copied") || !strings.Contains(said, "'kraftgo reassign unthrottle'") {
		t.Fatalf("exit %d: %s", code, said)
	}
	if now := configs(); !strings.Contains(now, fmt.Sprintf(`"0:%d"`, first)) || !strings.Contains(now, fmt.Sprintf(`"0:%d"`, second)) {
		t.Errorf("%s", now)
	}
	if lines := parse[[]statusLine](t, must(t, "", "reassign", "status", "--format", "json")); len(lines) != 1 || lines[0].Copied > lines[0].Bytes/2 {
		t.Errorf("%+v", lines)
	}
	if got := must(t, "", "reassign", "unthrottle"); got != "took the throttle from 2 brokers and 1 topics\n" {
		t.Errorf("%q", got)
	}
	moved(t)

	_, said, code = command("", "reassign", "apply", to(third), "--watch", "--throttle", "100MB")
	if code != 0 || !strings.Contains(said, "1 of 1 partitions moved") || strings.Contains(said, "stays") {
		t.Fatalf("exit %d: %s", code, said)
	}
	if now := configs(); strings.Contains(now, "throttled") {
		t.Errorf("left behind: %s", now)
	}
	if got := holders(t, "t"); !slices.Equal(got, []int32{third}) {
		t.Errorf("%v", got)
	}
	if got := must(t, "", "reassign", "unthrottle"); got != "nothing is throttled\n" {
		t.Errorf("%q", got)
	}
}

// What Kafka's tool would throttle: the replicas that a partition has, and those that it gets, also when it is being moved already.
func TestNewThrottle(t *testing.T) {
	at := func(p int32) place { return place{"t", p} }
	partitions := map[place]kmsg.MetadataResponseTopicPartition{at(0): {Replicas: []int32{2, 1}}, at(1): {Replicas: []int32{1, 2}}, at(10): {Replicas: []int32{1, 3, 4}}}
	under := map[place]copying{at(10): {Replicas: []int32{1, 3, 4}, Adding: []int32{3, 4}}}
	got := newThrottle([]movesLine{{"t", 10, []int32{4, 5}}, {"t", 0, []int32{3, 2}}, {"t", 1, []int32{2, 1}}}, partitions, under)
	topic := got.topics["t"]
	if strings.Join(topic.leaders, ",") != "0:1,0:2,10:1" || strings.Join(topic.followers, ",") != "0:3,10:4,10:5" || !slices.Equal(got.brokers, []int32{1, 2, 3, 4, 5}) {
		t.Errorf("%+v %+v", got, topic)
	}
}

// What waits for a broker that is away can be seen and taken back.
func TestReassignCancel(t *testing.T) {
	one := broker(t, nil)
	two := one.Join(nil)
	must(t, "", "topic", "create", "t", "--partitions", "2")
	known(t, "t")
	two.Stop()
	p := parse[[]topicDetail](t, must(t, "", "topic", "describe", "t", "--format", "json"))[0].Partitions
	i := slices.IndexFunc(p, func(d partitionDetail) bool { return d.Replicas[0] == 1 })
	if i < 0 {
		t.Fatalf("%+v", p)
	}
	at := "t:" + string(rune('0'+p[i].Partition))
	must(t, strings.ReplaceAll(`{"version":1,"partitions":[{"topic":"t","partition":P,"replicas":[2]}]}`, "P", at[2:]), "reassign", "apply", "-")
	lines := parse[[]statusLine](t, must(t, "", "reassign", "status", "--format", "json"))
	if len(lines) != 1 || !slices.Equal(lines[0].Adding, []int32{2}) || !slices.Equal(lines[0].Removing, []int32{1}) {
		t.Fatalf("%+v", lines)
	}
	if got := must(t, "", "reassign", "cancel", at); got != "cancelled 1\n" {
		t.Fatalf("%q", got)
	}
	if got := must(t, "", "reassign", "status"); got != "nothing is being moved\n" {
		t.Fatalf("%q", got)
	}
}

// A broker is taken out in one command: what it holds moves, and then it is out of the cluster, the quorum included.
func TestDecommission(t *testing.T) {
	one := broker(t, nil)
	for range 3 {
		one.Join(nil)
	}
	must(t, "", "topic", "create", "t", "--partitions", "8", "--replicas", "3")
	known(t, "t")
	must(t, strings.Repeat("some text\n", 5000), "produce", "t")
	_, said, code := command("", "node", "decommission", "2", "--watch", "--at-a-time", "3")
	if code != 0 || !strings.Contains(said, "is out of the cluster") {
		t.Fatalf("exit %d: %s", code, said)
	}
	if got := holders(t, "t"); !slices.Equal(got, []int32{1, 3, 4}) {
		t.Errorf("held by %v", got)
	}
	for _, n := range nodesOf(t) {
		if n.Broker == 2 {
			t.Errorf("%+v", n)
		}
	}
	if got := must(t, "", "consume", "t", "--from", "start", "--until", "end"); strings.Count(got, "\n") != 5000 {
		t.Errorf("%d records", strings.Count(got, "\n"))
	}
	fails(t, 2, "broker 2 is not registered", "node", "decommission", "2")
}

func TestTopicElect(t *testing.T) {
	one := broker(t, map[string]string{"auto.leader.rebalance.enable": "false"})
	two := one.Join(nil)
	must(t, "", "topic", "create", "t", "--partitions", "4", "--replicas", "2")
	known(t, "t")
	if got := must(t, "", "topic", "elect", "t"); got != "0 elected, 4 need no election\n" {
		t.Errorf("%q", got)
	}
	two.Stop()
	fails(t, 2, "preferred leader was not available", "topic", "elect", "t")
	two.Move()
	for end := time.Now().Add(30 * time.Second); ; {
		p := parse[[]topicDetail](t, must(t, "", "topic", "describe", "t", "--format", "json"))[0].Partitions
		if !slices.ContainsFunc(p, func(d partitionDetail) bool { return len(d.ISR) != 2 }) {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("%+v", p)
		}
	}
	if got := must(t, "", "topic", "elect", "--all"); got != "2 elected, 0 need no election\n" {
		t.Errorf("%q", got)
	}
	if got := must(t, "", "topic", "elect", "t:0", "t:1", "--unclean"); got != "0 elected, 2 need no election\n" {
		t.Errorf("%q", got)
	}
	fails(t, 1, "Either names, or --all", "topic", "elect")
	fails(t, 2, "topic none does not exist", "topic", "elect", "none")
	fails(t, 2, "t:9", "topic", "elect", "t:9")
}
