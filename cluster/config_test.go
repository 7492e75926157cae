package cluster

import (
	"strings"
	"testing"
)

func TestSettingsAreCheckedByName(t *testing.T) {
	for _, tc := range []struct{ name, value, want string }{
		{"log.retention.huors", "1", `did you mean "log.retention.hours"`},
		{"num.partitions", "many", "Not a number of type INT"},
		{"num.partitions", "0", "at least 1"},
		{"log.cleanup.policy", "compress", "String must be one of: compact, delete"},
		{"auto.create.topics.enable", "yes", "true or false"},
	} {
		_, err := CheckSettings(map[string]string{tc.name: tc.value})
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s=%s: %v, want %q", tc.name, tc.value, err, tc.want)
		}
	}
	notes, err := CheckSettings(map[string]string{"num.io.threads": "8", "log.retention.hours": "2"})
	if err != nil || len(notes) != 1 || !strings.Contains(notes[0], "num.io.threads") {
		t.Errorf("%v %v", notes, err)
	}
}

func TestPropertiesAreRead(t *testing.T) {
	got, err := ReadProperties(strings.NewReader("# c\n! d\n\n a = 1 \nb=x,\\\n  y\nc=\n"), "f")
	if err != nil || got["a"] != "1" || got["b"] != "x,y" || got["c"] != "" || len(got) != 3 {
		t.Fatalf("%v %v", got, err)
	}
	for text, want := range map[string]string{"a=1\nb\n": "f line 2", "a=1\na=2": "set twice"} {
		if _, err := ReadProperties(strings.NewReader(text), "f"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestTheEnvironmentNamesSettings(t *testing.T) {
	got, err := Environment([]string{"PATH=/x", "KRAFTGO_LOG_RETENTION_HOURS=3", "KRAFTGO_BOOTSTRAP_SERVER=h:1"}, "KRAFTGO_BOOTSTRAP_SERVER")
	if err != nil || len(got) != 1 || got["log.retention.hours"] != "3" {
		t.Fatalf("%v %v", got, err)
	}
	if _, err := Environment([]string{"KRAFTGO_LOG_RETENTION_HUORS=3"}); err == nil || !strings.Contains(err.Error(), "log.retention.hours") {
		t.Fatal(err)
	}
}

func TestListenersAreRead(t *testing.T) {
	for _, tc := range []struct {
		settings, remembered map[string]string
		want                 string // name bind advertise given, or part of an error
	}{
		{nil, nil, "PLAINTEXT 127.0.0.1:9092  false"},
		{map[string]string{"listeners": "localhost:0"}, nil, "PLAINTEXT localhost:0  true"},
		{map[string]string{"listeners": "A://127.0.0.1:1", "listener.security.protocol.map": "A:PLAINTEXT", "advertised.listeners": "A://h:2"}, nil, "A 127.0.0.1:1 h:2 true"},
		{nil, map[string]string{"client.PLAINTEXT": "127.0.0.1:9102", "advertise.PLAINTEXT": "h:7"}, "PLAINTEXT 127.0.0.1:9102 h:7 true"},
		{map[string]string{"listeners": "127.0.0.1:3"}, map[string]string{"client.PLAINTEXT": "127.0.0.1:9102", "advertise.PLAINTEXT": "h:7"}, "PLAINTEXT 127.0.0.1:3  true"},
		{map[string]string{"listeners": "0.0.0.0:9092"}, nil, "clients cannot be told"},
		{map[string]string{"listeners": "A://127.0.0.1:1"}, nil, "has no protocol"},
		{map[string]string{"listeners": "A://127.0.0.1:1", "listener.security.protocol.map": "A:SSL"}, nil, "serves PLAINTEXT only"},
		{map[string]string{"listeners": "127.0.0.1:1,127.0.0.1:2"}, nil, "there twice"},
		{map[string]string{"listeners": "127.0.0.1"}, nil, "not of the form"},
		{map[string]string{"listeners": "127.0.0.1:99999"}, nil, "no valid port"},
		{map[string]string{"advertised.listeners": "B://h:1"}, nil, "there is no listener B"},
	} {
		list, err := endpoints(tc.settings, tc.remembered)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			e := list[0]
			got = e.name + " " + e.bind + " " + e.advertise + " " + map[bool]string{true: "true", false: "false"}[e.given]
		}
		if err == nil && got != tc.want || err != nil && !strings.Contains(got, tc.want) {
			t.Errorf("%v %v: %q, want %q", tc.settings, tc.remembered, got, tc.want)
		}
	}
}
