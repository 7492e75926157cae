package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// broker runs a node, and makes it the one that commands talk to.
func broker(t *testing.T, settings map[string]string) *kraftgotest.Node {
	t.Helper()
	node := kraftgotest.Start(t, settings)
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", node.Client())
	return node
}

// sorted is text with its lines in order: records of several partitions come in any.
func sorted(text string) string {
	lines := strings.SplitAfter(text, "\n")
	sort.Strings(lines)
	return strings.Join(lines, "")
}

func parse[T any](t *testing.T, text string) T {
	t.Helper()
	var out T
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return out
}

func TestTopicCommands(t *testing.T) {
	broker(t, nil)
	if got := must(t, "", "topic", "create", "orders", "--partitions", "6", "--config", "cleanup.policy=compact,delete"); got != "created topic orders\n" {
		t.Errorf("%q", got)
	}
	must(t, "", "topic", "create", "b", "c", "--replicas", "1")
	if got := must(t, "", "topic", "create", "orders", "--if-not-exists"); got != "topic orders exists\n" {
		t.Errorf("%q", got)
	}
	fails(t, 2, "TOPIC_ALREADY_EXISTS", "topic", "create", "orders")
	fails(t, 2, "create topic bad name", "topic", "create", "bad name")
	fails(t, 2, "nothing.such", "topic", "create", "d", "--config", "nothing.such=1")
	fails(t, 2, "create topic d", "topic", "create", "d", "--replicas", "3")
	want := "TOPIC   PARTITIONS  REPLICAS\nb       1           1\nc       1           1\norders  6           1\n"
	if got := must(t, "", "topic", "list"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	rows := parse[[]topicRow](t, must(t, "", "topic", "ls", "--format", "json"))
	if len(rows) != 3 || rows[2] != (topicRow{"orders", 6, 1, false}) {
		t.Errorf("%+v", rows)
	}

	must(t, "", "topic", "alter", "orders", "--partitions", "8", "--config", "retention.ms=5000", "--delete-config", "cleanup.policy")
	fails(t, 2, "add partitions", "topic", "alter", "orders", "--partitions", "2")
	fails(t, 2, "alter topic orders", "topic", "alter", "orders", "--config", "retention.ms=long")
	fails(t, 2, "topic none does not exist", "topic", "alter", "none", "--partitions", "2")
	detail := parse[[]topicDetail](t, must(t, "", "topic", "describe", "orders", "--format", "json"))[0]
	if detail.Topic != "orders" || len(detail.ID) != 22 || len(detail.Partitions) != 8 || !reflect.DeepEqual(detail.Configs, map[string]string{"retention.ms": "5000"}) {
		t.Errorf("%+v", detail)
	}
	for i, p := range detail.Partitions {
		if p.Partition != int32(i) || p.Leader != p.Replicas[0] || !reflect.DeepEqual(p.Replicas, p.ISR) || len(p.Offline) != 0 {
			t.Errorf("partition %d: %+v", i, p)
		}
	}
	table := regexp.MustCompile(`(?m)^topic +b\nid +\S{22}\n\nPARTITION +LEADER +EPOCH +REPLICAS +ISR +OFFLINE\n0 +1 +\d+ +1 +1 +-\n$`)
	if got := must(t, "", "topic", "describe", "b"); !table.MatchString(got) {
		t.Errorf("%s", got)
	}
	fails(t, 2, "topic none does not exist", "topic", "describe", "none")

	if got := must(t, "", "__complete", "--", "topic", "describe", "o"); got != "orders\n" {
		t.Errorf("completed to %q", got)
	}
	if got := must(t, "", "topic", "delete", "b", "c"); got != "deleted topic b\ndeleted topic c\n" {
		t.Errorf("%q", got)
	}
	fails(t, 2, "delete topic b: it does not exist", "topic", "delete", "b")
	must(t, "", "topic", "delete", "b", "--if-exists")
}

func TestProduceAndConsume(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t", "--partitions", "3")
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"all", "1", "0"} {
			out, errors, code := command("a:"+codec+"\nb:"+acks+"\n", "produce", "t", "--key-separator", ":", "--compression", codec, "--acks", acks, "--header", "h=1,2")
			if code != 0 || out != "" || !strings.Contains(errors, "2 records read, 2 ") {
				t.Fatalf("%s, acks %s: exit %d, %q, %q", codec, acks, code, out, errors)
			}
		}
	}
	// acks=0 has no answer, so the last of them may still be on its way: wait for all thirty.
	all := must(t, "", "consume", "t", "--from", "start", "--count", "30", "--format", `%k=%v %h\n`)
	if strings.Count(all, "a=gzip h=1,2\n") != 3 || strings.Count(all, "b=0 h=1,2\n") != 5 {
		t.Errorf("%s", all)
	}
	if got := must(t, "", "consume", "t", "--until", "end", "--format", `%k=%v %h\n`); sorted(got) != sorted(all) {
		t.Errorf("--until end printed\n%s", got)
	}
	if got := must(t, "", "consume", "t", "--from", "end", "--until", "end"); got != "" {
		t.Errorf("from end to end there is %q", got)
	}
	if got := must(t, "", "consume", "t", "--from", "-1h", "--until", "end", "--isolation", "read_committed"); strings.Count(got, "\n") != 30 {
		t.Errorf("%q", got)
	}
	fails(t, 2, "topic none does not exist", "consume", "none")
	fails(t, 2, "topic none does not exist", "produce", "none")
	fails(t, 2, "no partition 3", "consume", "t", "--partition", "3")
	fails(t, 2, "no partition 3", "produce", "t", "--partition", "3")
	if got := must(t, "", "topic", "list", "--internal"); strings.Contains(got, "none") {
		t.Error("asking for a topic made it")
	}
}

func TestPartitionsTombstonesAndPositions(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t", "--partitions", "2")
	must(t, "x\nNULL\n\n", "produce", "t", "--partition", "1", "--key", "k", "--null-value", "NULL")
	lines := strings.Split(must(t, "", "consume", "t", "--until", "end", "--format", "json"), "\n")
	for i, want := range []string{`"value":"x"`, `"value":null`, `"value":""`} {
		if !strings.Contains(lines[i], want) || !strings.Contains(lines[i], fmt.Sprintf(`"partition":1,"offset":%d`, i)) {
			t.Errorf("%s is not %s", lines[i], want)
		}
	}
	if got := must(t, "", "consume", "t", "--from", "offset:2", "--until", "end", "--partition", "1", "--format", "%p@%o"); got != "1@2" {
		t.Errorf("%q", got)
	}
	must(t, "", "topic", "create", "copy", "--partitions", "2")
	must(t, strings.Join(lines, "\n"), "produce", "copy", "--input", "json")
	if got := must(t, "", "consume", "copy", "--until", "end", "--format", "json"); strings.ReplaceAll(got, `"copy"`, `"t"`) != strings.Join(lines, "\n") {
		t.Errorf("the copy differs:\n%s", got)
	}
	if got := must(t, "", "consume", "[ct].*", "--regex", "--until", "end", "--format", "%t "); sorted(strings.ReplaceAll(got, " ", "\n")) != "copy\ncopy\ncopy\nt\nt\nt\n" {
		t.Errorf("%q", got)
	}
	must(t, `{"value":"old","timestamp":1000}`+"\n"+`{"value":"new","timestamp":5000}`, "produce", "t", "--input", "json", "--partition", "0")
	if got := must(t, "", "consume", "t", "--partition", "0", "--from", "1970-01-01T00:00:02Z", "--until", "end"); got != "new\n" {
		t.Errorf("%q", got)
	}
}

// A run that failed is gone on with: what was acknowledged in order is passed over.
func TestProgressFileResumes(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t")
	dir := t.TempDir()
	input, progress := filepath.Join(dir, "in"), filepath.Join(dir, "progress")
	args := []string{"produce", "t", "--input", "json", "--file", input, "--progress-file", progress}
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(input, []byte(strings.Join(lines, "\n")+"\n"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	noted := func(want string) {
		t.Helper()
		if text, err := os.ReadFile(progress); err != nil || string(text) != want {
			t.Fatalf("progress is %q, %v; want %q", text, err, want)
		}
	}
	write(`{"value":"a"}`, `{"value":"b"}`, `{"value":"c","partition":7}`, `{"value":"d"}`)
	if _, errors, code := command("", args...); code != 2 || !strings.Contains(errors, "acknowledged") {
		t.Fatalf("exit %d: %s", code, errors)
	}
	noted("2\n")
	write(`{"value":"a"}`, `{"value":"b"}`, `{"value":"c"}`)
	must(t, "", args...)
	noted("3\n")
	write(`{"value":"a"}`, `{"value":"b"}`, `{"value":"c"}`, `{"value":"e"}`, `not JSON`)
	if _, errors, code := command("", args...); code != 1 || !strings.Contains(errors, "line 5") || !strings.Contains(errors, "1 records read, 1 acknowledged") {
		t.Fatalf("exit %d: %s", code, errors)
	}
	noted("4\n")
	write(`{"value":"a"}`)
	if _, errors, code := command("", args...); code != 1 || !strings.Contains(errors, "ends after 1 records") {
		t.Fatalf("exit %d: %s", code, errors)
	}
	got := must(t, "", "consume", "t", "--until", "end", "--format", "%v ")
	if withoutD := strings.Replace(got, "d ", "", 1); withoutD != "a b c e " {
		t.Errorf("the topic holds %q", got)
	}
}

func TestOversizedLines(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "small", "--config", "max.message.bytes=2000")
	must(t, "", "topic", "create", "large", "--config", "max.message.bytes=4000000")
	line := strings.Repeat("x", 1<<20)
	must(t, line, "produce", "large")
	if _, errors, code := command(line+"x", "produce", "large"); code != 1 || !strings.Contains(errors, "line 1 is longer than 1048576 bytes") {
		t.Errorf("exit %d: %s", code, errors)
	}
	must(t, line+"x", "produce", "large", "--max-line-bytes", "2000000")
	if _, errors, code := command(line, "produce", "small"); code != 2 || !strings.Contains(errors, "MESSAGE_TOO_LARGE") || !strings.Contains(errors, "0 acknowledged") {
		t.Errorf("exit %d: %s", code, errors)
	}
}

// running is a command in a process of its own, which goes on until it is told.
type running struct {
	process *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Reader
	errs    lockedBuffer
}

func start(t *testing.T, args ...string) *running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	r := &running{process: exec.Command(self, args...)}
	r.process.Env = append(os.Environ(), asCommand+"=1")
	r.process.Stderr = &r.errs
	out, err := r.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if r.in, err = r.process.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := r.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if r.process.ProcessState == nil {
			r.process.Process.Kill() //nolint:errcheck // the test has failed already
			r.process.Wait()         //nolint:errcheck // likewise
		}
	})
	r.out = bufio.NewReader(out)
	return r
}

// expect reads the next line of the command's output.
func (r *running) expect(t *testing.T, want string) {
	t.Helper()
	if line, err := r.out.ReadString('\n'); err != nil || line != want {
		t.Fatalf("%q, %v; want %q; %s", line, err, want, r.errs.String())
	}
}

// send writes to the command's input.
func (r *running) send(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(r.in, text); err != nil {
		t.Fatal(err)
	}
}

// signal tells the command; one that has printed listens.
func (r *running) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := r.process.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// ends waits for the command, which has to end with the code.
func (r *running) ends(t *testing.T, code int) {
	t.Helper()
	io.Copy(io.Discard, r.out) //nolint:errcheck // Wait tells
	r.process.Wait()           //nolint:errcheck // the state tells
	if got := r.process.ProcessState.ExitCode(); got != code {
		t.Errorf("exit %d, want %d: %s", got, code, r.errs.String())
	}
}

func TestGroupCommands(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t", "--partitions", "2")
	must(t, "1\n2\n3\n", "produce", "t", "--partition", "0")
	r := start(t, "consume", "t", "--group", "billing")
	for _, want := range []string{"1\n", "2\n", "3\n"} {
		r.expect(t, want)
	}
	live := parse[[]groupDetail](t, must(t, "", "group", "describe", "billing", "--format", "json"))[0]
	if len(live.Members) != 1 || !reflect.DeepEqual(live.Members[0].Assignment, map[string][]int32{"t": {0, 1}}) || live.Members[0].Host != "/127.0.0.1" {
		t.Errorf("%+v", live)
	}
	if len(live.Offsets) != 2 || live.Offsets[1].Owner != live.Members[0].Member || *live.Offsets[0].End != 3 {
		t.Errorf("%+v", live.Offsets)
	}
	fails(t, 2, "has members", "group", "delete", "billing")
	fails(t, 2, "has members", "group", "reset", "billing", "--topic", "t", "--to", "start", "--execute")
	r.signal(t, os.Interrupt)
	r.ends(t, 0)

	must(t, "4\n", "produce", "t", "--partition", "0")
	want := "GROUP    TYPE     STATE  MEMBERS\nbilling  classic  Empty  0\n"
	if got := must(t, "", "group", "list"); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	table := must(t, "", "group", "describe", "billing")
	if !strings.Contains(table, "\nTOPIC  PARTITION  COMMITTED  END  LAG  OWNER\nt      0          3          4    1    -\n") {
		t.Errorf("%s", table)
	}
	if got := must(t, "", "consume", "t", "--group", "billing", "--until", "end"); got != "4\n" {
		t.Errorf("the group goes on with %q", got)
	}

	dry := must(t, "", "group", "reset", "billing", "--topic", "t", "--to", "offset:1", "--partition", "0")
	if want := "TOPIC  PARTITION  COMMITTED  NEW\nt      0          4          1\n"; dry != want {
		t.Errorf("got\n%swant\n%s", dry, want)
	}
	if got := must(t, "", "consume", "t", "--group", "billing", "--until", "end"); got != "" {
		t.Errorf("without --execute the group moved: %q", got)
	}
	must(t, "", "group", "reset", "billing", "--topic", "t", "--to", "offset:1", "--execute")
	if got := must(t, "", "consume", "t", "--group", "billing", "--count", "2"); got != "2\n3\n" {
		t.Errorf("after the reset: %q", got)
	}
	if got := must(t, "", "consume", "t", "--group", "billing", "--until", "end"); got != "4\n" {
		t.Errorf("--count commits what it printed, and no more: %q", got)
	}
	if got := must(t, "", "__complete", "--", "group", "describe", ""); got != "billing\n" {
		t.Errorf("completed to %q", got)
	}
	must(t, "", "group", "delete", "billing")
	fails(t, 2, "does not exist", "group", "delete", "billing")
	fails(t, 2, "group billing does not exist", "group", "describe", "billing")
	if got := must(t, "", "group", "list", "--format", "json"); got != "[]\n" {
		t.Errorf("%q", got)
	}
}

// Ctrl-C sends what was read, waits for its acknowledgement and succeeds.
func TestProduceInterrupted(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t")
	consumer := start(t, "consume", "t", "--from", "start")
	producer := start(t, "produce", "t")
	producer.send(t, "one\n")
	consumer.expect(t, "one\n")
	producer.signal(t, syscall.SIGTERM)
	producer.ends(t, 0)
	if text := producer.errs.String(); !strings.HasPrefix(text, "interrupted: 1 records read, 1 acknowledged") {
		t.Errorf("%q", text)
	}
	consumer.signal(t, os.Interrupt)
	consumer.ends(t, 0)
}

func TestProduceKeepsToItsRate(t *testing.T) {
	broker(t, nil)
	must(t, "", "topic", "create", "t")
	begin := time.Now()
	must(t, strings.Repeat("x\n", 21), "produce", "t", "--rate", "100")
	if took := time.Since(begin); took < 200*time.Millisecond {
		t.Errorf("21 records at 100 a second took %s", took)
	}
	if got := must(t, "", "consume", "t", "--until", "end"); got != strings.Repeat("x\n", 21) {
		t.Errorf("%q", got)
	}
}

// A broker that goes away under a producer ends it with exit code 2, and the progress file says what it had.
func TestBrokerLostWhileProducing(t *testing.T) {
	node := broker(t, nil)
	must(t, "", "topic", "create", "t")
	progress := filepath.Join(t.TempDir(), "progress")
	consumer := start(t, "consume", "t", "--from", "start", "--count", "1")
	producer := start(t, "produce", "t", "--progress-file", progress, "--timeout", "1s")
	producer.send(t, "one\n")
	consumer.expect(t, "one\n")
	consumer.ends(t, 0)
	node.Stop()
	producer.send(t, "two\n")
	producer.ends(t, 2)
	if text := producer.errs.String(); !strings.Contains(text, "2 records read, 1 acknowledged") {
		t.Errorf("%q", text)
	}
	if text, err := os.ReadFile(progress); err != nil || string(text) != "1\n" {
		t.Errorf("progress is %q, %v", text, err)
	}
}

func TestClusterCommands(t *testing.T) {
	node := broker(t, map[string]string{"broker.rack": "r1"})
	must(t, "", "topic", "create", "t", "--partitions", "4")
	info := parse[clusterSummary](t, must(t, "", "cluster", "info", "--format", "json"))
	if len(info.Cluster) != 22 || info.Topics != 1 || info.Partitions != 4 || len(info.Brokers) != 1 {
		t.Fatalf("%+v", info)
	}
	b := info.Brokers[0]
	if b.Rack != "r1" || fmt.Sprintf("%s:%d", b.Host, b.Port) != node.Client() || info.Controller != b.Broker {
		t.Errorf("%+v", info)
	}
	table := regexp.MustCompile(`^cluster +` + info.Cluster + `\ncontroller +1\ntopics +1\npartitions +4\n\nBROKER +ADDRESS +RACK\n1 +` + node.Client() + ` +r1\n$`)
	if got := must(t, "", "cluster", "info"); !table.MatchString(got) {
		t.Errorf("%s", got)
	}
	quorum := parse[quorumSummary](t, must(t, "", "cluster", "quorum", "--format", "json"))
	if quorum.Leader != b.Broker || len(quorum.Replicas) != 1 || quorum.Replicas[0].Role != "leader" {
		t.Errorf("%+v", quorum)
	}
	fails(t, 2, "The broker stays cordoned: 'kraftgo node uncordon 1' ends that", "node", "decommission", "1", "--watch")
	report := parse[healthReport](t, must(t, "", "cluster", "health", "--format", "json"))
	if !report.Healthy || !slices.ContainsFunc(report.Notes, func(n string) bool { return strings.Contains(n, "broker 1 is cordoned") }) {
		t.Errorf("%+v", report)
	}
	// A broker that is gone, and that nobody has fenced yet.
	report = health([]*nodeLine{{Broker: 1, State: stateAlive}, {Broker: 2, State: stateAlive, silent: true}}, kadm.Metadata{}, quorumState{quorumSummary: quorum}, nil)
	if report.Healthy || !slices.ContainsFunc(report.Problems, func(p string) bool { return strings.Contains(p, "broker 2") && strings.Contains(p, "does not answer") }) {
		t.Errorf("%+v", report)
	}
	// A replica that a reassignment adds is not missing; one that left is.
	one := kadm.PartitionDetail{Topic: "t", Leader: 1, Replicas: []int32{1, 2, 3}, ISR: []int32{1, 2}}
	topics := kadm.Metadata{Topics: kadm.TopicDetails{"t": {Topic: "t", Partitions: kadm.PartitionDetails{0: one}}}}
	moves := map[place]copying{{"t", 0}: {Replicas: one.Replicas, Adding: []int32{3}}}
	alive := []*nodeLine{{Broker: 1, State: stateAlive}, {Broker: 2, State: stateAlive}}
	if report = health(alive, topics, quorumState{quorumSummary: quorum}, moves); !report.Healthy || !strings.Contains(fmt.Sprint(report.Notes), "1 partitions are being moved") {
		t.Errorf("%+v", report)
	}
	one.ISR = []int32{1}
	topics.Topics["t"].Partitions[0] = one
	if report = health(alive, topics, quorumState{quorumSummary: quorum}, moves); report.Healthy {
		t.Errorf("%+v", report)
	}
}

func TestCommandConfig(t *testing.T) {
	node := kraftgotest.Start(t, nil)
	name := filepath.Join(t.TempDir(), "client.properties")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("KRAFTGO_COMMAND_CONFIG", name)
	write("bootstrap.servers=" + node.Client() + "\nrequest.timeout.ms=1000\n")
	must(t, "", "topic", "list")
	write("nothing.such=1\n")
	fails(t, 1, "nothing.such is not a property", "topic", "list")
	// The port is plain text: the client that speaks TLS to it hears so.
	write("security.protocol=SSL\nbootstrap.servers=" + node.Client() + "\n")
	fails(t, 2, "no broker answers at "+node.Client(), "topic", "list")
}

// A cordoned broker gets nothing new until it is let again; lists show it.
func TestNodeCordon(t *testing.T) {
	node := broker(t, nil)
	other := node.Join(nil)
	id := fmt.Sprint(other.Broker())
	// Any broker may answer the list, also one that is a little behind.
	shows := func(what string, done func(one, two *nodeLine) bool) {
		t.Helper()
		for end := time.Now().Add(20 * time.Second); ; {
			nodes := parse[[]*nodeLine](t, must(t, "", "node", "list", "--format", "json"))
			if len(nodes) == 2 && done(nodes[0], nodes[1]) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("never %s: %+v", what, nodes)
			}
		}
	}
	must(t, "", "node", "cordon", id)
	must(t, "", "topic", "create", "t", "--partitions", "4")
	shows("all on one", func(one, two *nodeLine) bool {
		return !one.Cordoned && two.Cordoned && one.Holds == 4 && two.Holds == 0
	})
	fails(t, 2, "only 1 broker(s) are live and not cordoned", "topic", "create", "two", "--replicas", "2")
	if got := must(t, "", "node", "list"); !strings.Contains(got, "alive, cordoned") {
		t.Errorf("%s", got)
	}
	must(t, "", "node", "uncordon", id)
	must(t, "", "topic", "create", "u", "--partitions", "4")
	shows("shared", func(one, two *nodeLine) bool { return !two.Cordoned && one.Holds == 6 && two.Holds == 2 })
	fails(t, 2, "broker 9 is not registered", "node", "cordon", "9")
	if got := parse[cordonResult](t, must(t, "", "node", "uncordon", id, "--format", "json")); got.Cordoned || fmt.Sprint(got.Broker) != id {
		t.Errorf("%+v", got)
	}
	other.Stop()
	must(t, "", "node", "cordon", id) // also while it is down
	if got := parse[removeResult](t, must(t, "", "node", "remove", id, "--force", "--format", "json")); !got.Removed || fmt.Sprint(got.Broker) != id {
		t.Errorf("%+v", got)
	}
}

func TestClusterUpgrade(t *testing.T) {
	node := broker(t, nil)
	report := parse[upgradeReport](t, must(t, "", "cluster", "upgrade", "status", "--format", "json"))
	f := report.line(levelFeature)
	if f == nil || f.Finalized < 1 || f.Finalized != f.Max || f.Pending || len(report.Silent)+len(report.Behind) > 0 {
		t.Fatalf("%+v of %+v", f, report)
	}
	if got := must(t, "", "cluster", "upgrade", "status"); !regexp.MustCompile(`kraftgo.version +1 +1-1\n`).MatchString(got) {
		t.Errorf("%s", got)
	}
	_, said, code := command("", "cluster", "upgrade", "finalize", "--dry-run")
	if code != 0 || !strings.Contains(said, "the highest level that all brokers support") {
		t.Errorf("%d: %s", code, said)
	}
	if got := parse[finalizeResult](t, must(t, "", "cluster", "upgrade", "finalize", "--dry-run", "--format", "json")); got.Level != f.Finalized || !got.DryRun {
		t.Errorf("%+v", got)
	}
	fails(t, 1, "see 'kraftgo cluster upgrade --help'", "cluster", "upgrade", "bogus")
	fails(t, 1, "HOST:PORT", "cluster", "token", "--data", node.Dir(), "--seed", "nonsense")
	other := node.Join(nil)
	other.Stop()
	report = parse[upgradeReport](t, must(t, "", "cluster", "upgrade", "status", "--format", "json"))
	if !reflect.DeepEqual(report.Silent, []int32{2}) {
		t.Errorf("%+v", report)
	}
}

// Of brokers of two versions, the lower one counts.
func TestUpgradeReport(t *testing.T) {
	answer := func(high, finalized int16) *kmsg.ApiVersionsResponse {
		a := kmsg.NewPtrApiVersionsResponse()
		a.SupportedFeatures = []kmsg.ApiVersionsResponseSupportedFeature{{Name: levelFeature, MinVersion: 1, MaxVersion: high}}
		a.FinalizedFeatures = []kmsg.ApiVersionsResponseFinalizedFeature{{Name: levelFeature, MinVersionLevel: finalized, MaxVersionLevel: finalized}}
		return a
	}
	var mixed, ready upgradeReport
	mixed.collect(map[int32]*kmsg.ApiVersionsResponse{1: answer(2, 1), 2: answer(1, 1), 3: answer(2, 1)})
	if f := mixed.line(levelFeature); f.Max != 1 || f.Pending || !reflect.DeepEqual(mixed.Behind, []int32{2}) {
		t.Errorf("%+v, behind %v", f, mixed.Behind)
	}
	ready.collect(map[int32]*kmsg.ApiVersionsResponse{1: answer(2, 1), 2: answer(2, 1)})
	if f := ready.line(levelFeature); f.Max != 2 || !f.Pending || len(ready.Behind) != 0 {
		t.Errorf("%+v, behind %v", f, ready.Behind)
	}
}
