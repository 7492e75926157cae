package e2e

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// kcat of Debian, over an older librdkafka than the one of Python.
func TestClientKcat(t *testing.T) {
	installed(t, "kcat", "kcat")
	p := matrix(t)
	kcat := func(input string, args ...string) string {
		t.Helper()
		start := time.Now()
		stdout, stderr, err := run(t, time.Minute, input, "kcat", append([]string{"-b", p.client, "-X", "fetch.wait.max.ms=50"}, args...)...)
		if err != nil || strings.Contains(string(stderr), "ERROR") {
			t.Fatalf("kcat %s: %v\n%s", strings.Join(args, " "), err, stderr)
		}
		t.Logf("ok     kcat %s (%d ms)", strings.Join(args, " "), time.Since(start).Milliseconds())
		return string(stdout)
	}
	const n = 5000
	var lines []string
	for i := range n {
		lines = append(lines, fmt.Sprintf("k%d\tvalue-%d-%s", i, i, strings.Repeat("x", i%97)))
	}
	input := strings.Join(lines, "\n") + "\n"
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"0", "1", "all", "idempotent"} {
			topic := codec + "-" + acks
			option := "acks=" + acks
			if acks == "idempotent" {
				option = "enable.idempotence=true"
			}
			kcat(input, "-P", "-t", topic, "-K", `\t`, "-z", codec, "-H", "one=1", "-X", option)
			var text string
			// With acks=0, kcat ends before all is written: read again until it is.
			for start := time.Now(); strings.Count(text, "\n") < n && time.Since(start) < 5*time.Second; {
				text = kcat("", "-C", "-q", "-t", topic, "-o", "beginning", "-e", "-f", `%p %o %h %k\t%s\n`)
				if acks != "0" {
					break
				}
			}
			checkKcat(t, topic, text, lines)
		}
	}
	text := kcat("", "-C", "-q", "-t", "none-1", "-p", "0", "-o", "-3", "-e", "-f", `%o\n`)
	if len(strings.Fields(text)) != 3 {
		t.Errorf("three records from the end: %q", text)
	}
	text = kcat("", "-L", "-t", "none-1")
	if !strings.Contains(text, `topic "none-1" with 3 partitions`) {
		t.Errorf("topics: %s", text)
	}
	text = kcat("", "-L")
	if !strings.Contains(text, "1 brokers") || strings.Count(text, `topic "`) < 20 {
		t.Errorf("all topics: %s", text)
	}
	text = kcat("", "-Q", "-t", "none-1:0:-1", "-t", "none-1:1:-2")
	if !regexp.MustCompile(`none-1 \[0\] offset [1-9]\d*`).MatchString(text) || !strings.Contains(text, "none-1 [1] offset 0") {
		t.Errorf("offsets by time: %s", text)
	}
	// As a group: all, then nothing, since what was read was committed.
	group := []string{"-q", "-X", "auto.offset.reset=earliest", "-X", "heartbeat.interval.ms=100", "-e", "-f", `%p %o %h %k\t%s\n`, "-G", "kcat", "lz4-all"}
	checkKcat(t, "a group", kcat("", group...), lines)
	if text := kcat("", group...); text != "" {
		t.Errorf("read again by the group: %.300s", text)
	}
}

var kcatLine = regexp.MustCompile(`^(\d+) (\d+) one=1 (k(\d+)\t.*)$`)

// checkKcat checks that kcat read all lines once, in order and as they were sent.
func checkKcat(t *testing.T, name, text string, want []string) {
	t.Helper()
	last := map[string]int{}
	var have []string
	for line := range strings.Lines(text) {
		m := kcatLine.FindStringSubmatch(strings.TrimSuffix(line, "\n"))
		if m == nil {
			t.Fatalf("%s: %q", name, line)
		}
		var i int
		if _, err := fmt.Sscan(m[4], &i); err != nil {
			t.Fatal(err)
		}
		if before, ok := last[m[1]]; ok && before >= i {
			t.Fatalf("%s: record %d after %d in partition %s", name, i, before, m[1])
		}
		last[m[1]] = i
		have = append(have, m[3])
	}
	slices.Sort(have)
	sorted := slices.Sorted(slices.Values(want))
	if !slices.Equal(have, sorted) {
		t.Fatalf("%s: %d lines, want %d", name, len(have), len(want))
	}
}
