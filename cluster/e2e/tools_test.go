package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// tools runs Kafka's own command line tools against a node.
type tools struct {
	*testing.T
	peer   string
	server string
}

func kafkaTools(t *testing.T, server string) *tools {
	t.Helper()
	installed(t, "tools", "java", "bash")
	peer, err := filepath.Abs("peer")
	if err != nil {
		t.Fatal(err)
	}
	return &tools{T: t, peer: peer, server: server}
}

// try runs a tool, and returns what it wrote.
func (k *tools) try(input, class string, args ...string) (string, error) {
	k.Helper()
	if !strings.HasPrefix(class, "kafka.") {
		class = "org.apache.kafka.tools." + class
	}
	args = append([]string{"PEER_HOME=" + filepath.Join(clientsHome(k), "peer"), k.peer, "tool", class}, args...)
	stdout, stderr, err := run(k.T, time.Minute, input, "env", args...)
	text := string(stdout) + string(stderr)
	if err == nil && strings.Contains(text, "Exception") {
		err = errors.New("it tells of an exception")
	}
	return text, err
}

// run runs a tool that must succeed and write all of want.
func (k *tools) run(input, class string, args, want []string) string {
	k.Helper()
	start := time.Now()
	text, err := k.try(input, class, args...)
	if err != nil {
		k.Fatalf("%s %s: %v\n%s", class, strings.Join(args, " "), err, text)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(text) {
			k.Errorf("%s %s: no %q in\n%s", class, strings.Join(args, " "), w, text)
		}
	}
	k.Logf("ok     %s %s (%d ms)", class, strings.Join(args, " "), time.Since(start).Milliseconds())
	return text
}

func TestClientTools(t *testing.T) {
	p := matrix(t)
	k := kafkaTools(t, p.client)
	const topic, config, consume, group = "TopicCommand", "kafka.admin.ConfigCommand", "consumer.ConsoleConsumer", "consumer.group.ConsumerGroupCommand"
	b := func(args ...string) []string { return append([]string{"--bootstrap-server", p.client}, args...) }

	k.run("", topic, b("--create", "--topic", "orders", "--partitions", "2", "--replication-factor", "1", "--config", "retention.ms=3600000"), []string{"Created topic orders"})
	k.run("", topic, b("--describe", "--topic", "orders"), []string{`PartitionCount: 2`, `ReplicationFactor: 1`, `retention.ms=3600000`, `Partition: 1\s+Leader: \d+\s+Replicas: \d+\s+Isr: \d+`})
	k.run("", topic, b("--alter", "--topic", "orders", "--partitions", "3"), nil)
	k.run("", topic, b("--create", "--topic", "gone"), nil)
	k.run("", topic, b("--list"), []string{`(?m)^gone$`, `(?m)^orders$`})
	k.run("", topic, b("--delete", "--topic", "gone"), nil)
	if text, err := k.try("", topic, b("--describe", "--topic", "gone")...); err == nil || !strings.Contains(text, "does not exist") {
		t.Errorf("describe of a topic that is gone: %v, %s", err, text)
	}

	k.run("", config, b("--alter", "--entity-type", "topics", "--entity-name", "orders", "--add-config", "max.message.bytes=70000,cleanup.policy=[compact,delete]"), []string{"Completed"})
	k.run("", config, b("--describe", "--entity-type", "topics", "--entity-name", "orders"), []string{"max.message.bytes=70000", "cleanup.policy=compact,delete", "retention.ms=3600000"})
	k.run("", config, b("--alter", "--entity-type", "topics", "--entity-name", "orders", "--delete-config", "cleanup.policy"), []string{"Completed"})
	k.run("", config, b("--describe", "--entity-type", "brokers", "--entity-name", "1", "--all"), []string{"num.partitions=3"})

	var lines strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&lines, "h:%d\tkey%d\tvalue%d\n", i, i, i)
	}
	k.run(lines.String(), "ConsoleProducer", b("--topic", "orders", "--reader-property", "parse.key=true", "--reader-property", "parse.headers=true", "--compression-codec", "zstd"), nil)
	text := k.run("", consume, b("--topic", "orders", "--from-beginning", "--max-messages", "1000", "--group", "console", "--timeout-ms", "20000",
		"--formatter-property", "print.key=true", "--formatter-property", "print.headers=true", "--formatter-property", "print.offset=true"), []string{"Processed a total of 1000 messages"})
	for i := range 1000 {
		if n := strings.Count(text, fmt.Sprintf("h:%d\tkey%d\tvalue%d\n", i, i, i)); n != 1 {
			t.Fatalf("record %d is there %d times", i, n)
		}
	}

	k.run("", "GetOffsetShell", b("--topic", "orders"), []string{`(?m)^orders:0:\d+$`, `(?m)^orders:2:\d+$`})
	k.run("", group, b("--list", "--state"), []string{`console\s+Empty`})
	k.run("", group, b("--describe", "--group", "console"), []string{`console\s+orders\s+0\s+(\d+)\s+\d+\s+0\s`})
	k.run("", group, b("--group", "console", "--reset-offsets", "--to-earliest", "--topic", "orders", "--execute"), []string{`console\s+orders\s+1\s+0`})
	k.run("", group, b("--describe", "--group", "console", "--offsets"), []string{`console\s+orders\s+1\s+0\s+(\d+)\s+(\d+)`})
	k.run("", group, b("--group", "console", "--delete-offsets", "--topic", "orders"), []string{`orders\s+0\s+Successful`})
	k.run("", group, b("--group", "console", "--delete"), []string{"Deletion of requested consumer groups .*'console'.* was successful"})

	cut := filepath.Join(t.TempDir(), "cut.json")
	if err := os.WriteFile(cut, []byte(`{"version": 1, "partitions": [{"topic": "orders", "partition": 0, "offset": 10}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	k.run("", "DeleteRecordsCommand", b("--offset-json-file", cut), []string{`partition: orders-0\s+low_watermark: 10`})
	k.run("", "GetOffsetShell", b("--topic-partitions", "orders:0", "--time", "-2"), []string{`(?m)^orders:0:10$`})

	k.run("", "VerifiableProducer", b("--topic", "verified", "--max-messages", "20000", "--acks", "-1"), []string{`"name":"shutdown_complete"`, `"sent":20000,"acked":20000`})
	text = k.run("", "VerifiableConsumer", b("--topic", "verified", "--group-id", "verifying", "--max-messages", "20000", "--reset-policy", "earliest"), []string{`"name":"offsets_committed"`, `"name":"shutdown_complete"`})
	if n := consumed(t, text); n != 20000 {
		t.Errorf("VerifiableConsumer got %d records", n)
	}
	k.run("", "ProducerPerformance", []string{"--topic", "perf", "--num-records", "100000", "--record-size", "200", "--throughput", "-1", "--bootstrap-server", p.client, "--command-property", "acks=all", "compression.type=lz4"}, []string{`(?m)^100000 records sent`})
	k.run("", "ConsumerPerformance", b("--topic", "perf", "--num-records", "100000", "--group", "perf"), []string{`(?m), 100\d\d\d, `})
	k.run("", "LogDirsCommand", b("--describe", "--topic-list", "perf"), []string{`"partition":"perf-0"`})
	k.run("", "ClusterTool", []string{"cluster-id", "--bootstrap-server", p.client}, []string{`Cluster ID: \S{22}`})
	k.run("", "MetadataQuorumCommand", b("describe", "--status"), []string{`LeaderId:\s+\d+`})
	for _, setting := range []string{"SCRAM-SHA-512=[iterations=8192,password=secret]", "producer_byte_rate=2048"} {
		k.run("", config, b("--alter", "--entity-type", "users", "--entity-name", "alice", "--add-config", setting), []string{"Completed"})
	}
	k.run("", config, b("--describe", "--entity-type", "users", "--entity-name", "alice"), []string{`producer_byte_rate=2048`, `SCRAM-SHA-512=iterations=8192`})
	k.run("", config, b("--alter", "--entity-type", "users", "--entity-name", "alice", "--delete-config", "SCRAM-SHA-512"), []string{"Completed"})
	if text, err := k.try("", "AclCommand", b("--add", "--allow-principal", "User:alice", "--operation", "read", "--topic", "orders")...); err == nil || !strings.Contains(text, "No Authorizer is configured") {
		t.Errorf("an ACL where nothing enforces it: %v, %s", err, text)
	}
	k.run("", "FeatureCommand", b("describe"), []string{`kraftgo.version\s+SupportedMinVersion: 1\s+SupportedMaxVersion: \d+\s+FinalizedVersionLevel: \d+`, `metadata.version`})
	k.run("", "FeatureCommand", b("upgrade", "--feature", "kraftgo.version=1"), []string{"kraftgo.version was upgraded to 1"})
	if text, err := k.try("", "FeatureCommand", b("upgrade", "--feature", "kraftgo.version=999")...); err == nil || !strings.Contains(text, "only supports versions") {
		t.Errorf("upgrade to a level that is not known: %v, %s", err, text)
	}
}

// consumed adds up what a VerifiableConsumer says that it consumed.
func consumed(t *testing.T, text string) (n int) {
	t.Helper()
	for line := range strings.Lines(text) {
		var event struct {
			Name  string
			Count int
		}
		if strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &event) == nil && event.Name == "records_consumed" {
			n += event.Count
		}
	}
	return n
}

// versionRange is what a broker says about one key.
type versionRange struct {
	name     string
	low, top int
}

var versionLine = regexp.MustCompile(`(?m)^\s+(\w+)\((\d+)\): (\d+)(?: to (\d+))?(?: \[usable: \d+\])?,?$`)

// Kafka's own tools move partitions of a cluster of ours, and have their leaders elected.
func TestClientToolsMovePartitions(t *testing.T) {
	installed(t, "tools", "java", "bash")
	f := form(t, 3, "--set", "auto.leader.rebalance.enable=false")
	server := f.nodes[1].client
	k := kafkaTools(t, server)
	const move, elect = "reassign.ReassignPartitionsCommand", "LeaderElectionCommand"
	b := func(args ...string) []string { return append([]string{"--bootstrap-server", server}, args...) }
	k.run("", "TopicCommand", b("--create", "--topic", "t", "--replica-assignment", "1:2,2:3"), nil)
	k.run(strings.Repeat("a line\n", 1000), "ConsoleProducer", b("--topic", "t"), nil)
	file := filepath.Join(t.TempDir(), "moves.json")
	moves := func(text string) string {
		if err := os.WriteFile(file, []byte(`{"version":1,"partitions":[`+text+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	k.run("", move, b("--execute", "--reassignment-json-file", moves(`{"topic":"t","partition":0,"replicas":[3,2]},{"topic":"t","partition":1,"replicas":[2,3,1]}`)), []string{"Successfully started partition reassignments for t-0,t-1"})
	f.until("the tool finds that all is done", func() bool {
		text, err := k.try("", move, b("--verify", "--reassignment-json-file", file)...)
		return err == nil && strings.Contains(text, "t-0 is completed") && strings.Contains(text, "t-1 is completed")
	})
	k.run("", move, b("--list"), []string{"No partition reassignments found"})
	k.run("", "TopicCommand", b("--describe", "--topic", "t"), []string{`Partition: 0\s+Leader: [23]\s+Replicas: 3,2`, `Partition: 1\s+Leader: 2\s+Replicas: 2,3,1`})
	// What the tool says to save for a rollback names the directories where the replicas were.
	said := k.run("", move, b("--execute", "--reassignment-json-file", moves(`{"topic":"t","partition":0,"replicas":[1,2]}`)), nil)
	back := regexp.MustCompile(`(?m)^\{.*"log_dirs":\["/.*\}$`).FindString(said)
	if err := os.WriteFile(file, []byte(back), 0o600); err != nil || back == "" {
		t.Fatalf("%v: %s", err, said)
	}
	f.until("the tool finds that all is done", func() bool {
		text, err := k.try("", move, b("--list")...)
		return err == nil && strings.Contains(text, "No partition reassignments found")
	})
	k.run("", move, b("--execute", "--reassignment-json-file", file), []string{"Successfully started partition reassignment for t-0"})
	f.until("the tool finds that all is as it was", func() bool {
		text, err := k.try("", move, b("--verify", "--reassignment-json-file", file)...)
		return err == nil && strings.Contains(text, "t-0 is completed") && strings.Contains(text, "t-0-3 completed")
	})
	if text, err := k.try("", move, b("--execute", "--reassignment-json-file", moves(`{"topic":"t","partition":0,"replicas":[2]}`), "--disallow-replication-factor-change")...); err == nil || !strings.Contains(text, "replication factor is changed from 2 to 1") {
		t.Errorf("%v: %s", err, text)
	}

	k.run("", "TopicCommand", b("--create", "--topic", "u", "--replica-assignment", "1"), nil)
	signal := func(s syscall.Signal) {
		if err := f.nodes[2].cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP) // so that the move waits
	k.run("", move, b("--execute", "--reassignment-json-file", moves(`{"topic":"u","partition":0,"replicas":[3]}`)), nil)
	k.run("", move, b("--list"), []string{`u-0: replicas: 3,1. adding: 3. removing: 1.`})
	k.run("", move, b("--cancel", "--preserve-throttles", "--reassignment-json-file", file), []string{"Successfully cancelled partition reassignments? for: u-0"})
	signal(syscall.SIGCONT)
	k.run("", move, b("--list"), []string{"No partition reassignments found"})

	f.nodes[2].stop()
	text, err := k.try("", elect, b("--election-type", "preferred", "--topic", "t", "--partition", "0")...)
	if err == nil && !strings.Contains(text, "could not be elected") && !strings.Contains(text, "PreferredLeaderNotAvailable") {
		t.Errorf("an election of a broker that is away: %s", text)
	}
	f.nodes[2].restart()
	f.until("the tool has the preferred leader elected", func() bool {
		text, err := k.try("", elect, b("--election-type", "preferred", "--all-topic-partitions")...)
		return err == nil && !strings.Contains(text, "could not be elected")
	})
	k.run("", "TopicCommand", b("--describe", "--topic", "t"), []string{`Partition: 0\s+Leader: 3`})
}

// Kafka's own tool moves partitions at a rate, changes it meanwhile, and takes it away at the end.
func TestClientToolsMovePartitionsAtARate(t *testing.T) {
	installed(t, "tools", "java", "bash")
	f := form(t, 3)
	server := f.nodes[1].client
	k := kafkaTools(t, server)
	const move, config = "reassign.ReassignPartitionsCommand", "kafka.admin.ConfigCommand"
	b := func(args ...string) []string { return append([]string{"--bootstrap-server", server}, args...) }
	k.run("", "TopicCommand", b("--create", "--topic", "t", "--replica-assignment", "1:2,2:1"), nil)
	k.run("", "ProducerPerformance", []string{"--topic", "t", "--num-records", "6000", "--record-size", "1000", "--throughput", "-1", "--bootstrap-server", server}, []string{`(?m)^6000 records sent`})
	file := filepath.Join(t.TempDir(), "moves.json")
	if err := os.WriteFile(file, []byte(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[3,2]},{"topic":"t","partition":1,"replicas":[2,1]}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	// So slow that the move is under way until the rate is raised.
	k.run("", move, b("--execute", "--reassignment-json-file", file, "--throttle", "1000"), []string{"The inter-broker throttle limit was set to 1000 B/s", "Successfully started"})
	k.run("", config, b("--describe", "--entity-type", "topics", "--entity-name", "t"), []string{`leader.replication.throttled.replicas=0:1,0:2,1:1,1:2`, `follower.replication.throttled.replicas=0:3`})
	k.run("", config, b("--describe", "--entity-type", "brokers", "--entity-name", "3"), []string{`leader.replication.throttled.rate=1000`, `follower.replication.throttled.rate=1000`})
	k.run("", move, b("--verify", "--reassignment-json-file", file), []string{"t-0 is still in progress"})
	k.run("", move, b("--execute", "--additional", "--reassignment-json-file", file, "--throttle", "100000000"), []string{"The inter-broker throttle limit was set to 100000000 B/s"})
	text := ""
	f.until("the tool finds that all is done", func() bool {
		var err error
		text, err = k.try("", move, b("--verify", "--reassignment-json-file", file)...)
		return err == nil && strings.Contains(text, "t-0 is completed")
	})
	for _, w := range []string{"Clearing broker-level throttles on brokers 1,2,3", "Clearing topic-level throttles on topic t"} {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in\n%s", w, text)
		}
	}
	for _, entity := range [][]string{{"topics", "t"}, {"brokers", "1"}, {"brokers", "3"}} {
		if text := k.run("", config, b("--describe", "--entity-type", entity[0], "--entity-name", entity[1]), nil); strings.Contains(text, "throttled") {
			t.Errorf("left behind: %s", text)
		}
	}
}

// versionRanges reads what BrokerApiVersionsCommand prints.
func versionRanges(t *testing.T, text string) map[int]versionRange {
	t.Helper()
	out := map[int]versionRange{}
	for _, m := range versionLine.FindAllStringSubmatch(text, -1) {
		var n [3]int
		for i, s := range m[2:] {
			if s == "" {
				n[i] = n[i-1]
				continue
			}
			v, err := strconv.Atoi(s)
			if err != nil {
				t.Fatal(err)
			}
			n[i] = v
		}
		out[n[0]] = versionRange{m[1], n[1], n[2]}
	}
	return out
}

// notServed are the keys of Kafka 4.4 that kraftgo has not yet, or never will have on a client's port.
var notServed = map[int]string{
	17: "authentication", 36: "authentication",
	24: "transactions", 25: "transactions", 26: "transactions", 27: "transactions", 28: "transactions", 65: "transactions", 66: "transactions",
	29: "access control", 30: "access control", 31: "access control", 50: "access control", 51: "access control",
	38: "delegation tokens", 39: "delegation tokens", 40: "delegation tokens", 41: "delegation tokens",
	34: "several log directories",
	48: "quotas", 49: "quotas",
	68: "the new consumer groups", 69: "the new consumer groups",
	71: "telemetry, which Kafka offers with a receiver only", 72: "telemetry, which Kafka offers with a receiver only",
	76: "share groups", 77: "share groups", 78: "share groups", 79: "share groups", 90: "share groups", 91: "share groups", 92: "share groups",
	83: "between Kafka's brokers", 84: "between Kafka's brokers", 85: "between Kafka's brokers", 86: "between Kafka's brokers", 87: "between Kafka's brokers",
	88: "streams groups", 89: "streams groups", 93: "streams groups", 94: "several brokers",
}

// Every key that Kafka 4.4 has is served with Kafka's versions or older ones too, or is in notServed; and nothing is
// served that Kafka has not. testdata/kafka-4.4-versions.txt is what the tool printed of a broker of 4.4.0.
func TestClientToolsVersions(t *testing.T) {
	p := matrix(t)
	k := kafkaTools(t, p.client)
	golden, err := os.ReadFile("testdata/kafka-4.4-versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	kafka := versionRanges(t, string(golden))
	ours := versionRanges(t, k.run("", "BrokerApiVersionsCommand", []string{"--bootstrap-server", p.client}, nil))
	if len(kafka) < 60 || len(ours) < 20 {
		t.Fatalf("%d keys of Kafka, %d of ours", len(kafka), len(ours))
	}
	for _, key := range slices.Sorted(maps.Keys(kafka)) {
		theirs := kafka[key]
		have, ok := ours[key]
		why, excused := notServed[key]
		switch {
		case !ok && excused:
			t.Logf("%s(%d): not served: %s", theirs.name, key, why)
		case !ok:
			t.Errorf("%s(%d): Kafka has %d to %d, we have none", theirs.name, key, theirs.low, theirs.top)
		case excused:
			t.Errorf("%s(%d) is served; take it out of notServed", theirs.name, key)
		case have.top != theirs.top || have.low > theirs.low:
			t.Errorf("%s(%d): Kafka has %d to %d, we have %d to %d", theirs.name, key, theirs.low, theirs.top, have.low, have.top)
		case have.low < theirs.low:
			t.Logf("%s(%d): from %d, Kafka's from %d", theirs.name, key, have.low, theirs.low)
		}
	}
	for key, have := range ours {
		if _, ok := kafka[key]; !ok {
			t.Errorf("%s(%d): we have %d to %d, Kafka has none", have.name, key, have.low, have.top)
		}
	}
}

// Kafka's own tool reads what we wrote: records of all codecs, and the offsets and groups in __consumer_offsets.
func TestClientToolsDumpLog(t *testing.T) {
	p := matrix(t)
	k := kafkaTools(t, p.client)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		k.run(strings.Repeat("a line\n", 1000), "ConsoleProducer", []string{"--bootstrap-server", p.client, "--topic", "dumped", "--compression-codec", codec}, nil)
	}
	k.run("", "consumer.ConsoleConsumer", []string{"--bootstrap-server", p.client, "--topic", "dumped", "--group", "dumping", "--from-beginning", "--max-messages", "5000", "--timeout-ms", "20000"}, []string{"Processed a total of 5000"})
	p.stop()
	logs := func(pattern string) string {
		list, err := filepath.Glob(filepath.Join(p.dir, "logs", pattern))
		if err != nil || len(list) == 0 {
			t.Fatalf("no %s: %v", pattern, err)
		}
		return strings.Join(list, ",")
	}
	text := k.run("", "DumpLogSegments", []string{"--deep-iteration", "--files", logs("dumped-*/*.log")}, []string{"compresscodec: zstd", "compresscodec: lz4", "compresscodec: snappy", "compresscodec: gzip", "compresscodec: none", "isvalid: true"})
	if n := strings.Count(text, "| offset:"); n != 5000 || strings.Contains(text, "isvalid: false") {
		t.Errorf("%d records dumped; invalid: %v", n, strings.Contains(text, "isvalid: false"))
	}
	k.run("", "DumpLogSegments", []string{"--deep-iteration", "--offsets-decoder", "--files", logs("__consumer_offsets-*/*.log")}, []string{`"group":"dumping"`, `"topic":"dumped"`, `"protocolType":"consumer"`})
	for _, kind := range []string{"index", "timeindex"} {
		text, err := k.try("", "DumpLogSegments", "--index-sanity-check", "--files", logs("dumped-*/*."+kind))
		if err != nil || strings.Contains(text, "Found") {
			t.Errorf("%s: %v\n%s", kind, err, text)
		}
	}
}
