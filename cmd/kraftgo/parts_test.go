package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"pgregory.net/rapid"
)

func TestParsePosition(t *testing.T) {
	now := time.UnixMilli(1_700_000_000_000)
	for _, c := range []struct {
		text string
		want position
	}{
		{"start", position{kind: atStart}},
		{"earliest", position{kind: atStart}},
		{"end", position{kind: atEnd}},
		{"offset:0", position{atOffset, 0}},
		{"offset:12", position{atOffset, 12}},
		{"1700000000123", position{atTime, 1700000000123}},
		{"timestamp:5", position{atTime, 5}},
		{"2023-11-14T22:13:20Z", position{atTime, 1_700_000_000_000}},
		{"2023-11-14T23:13:20.5+01:00", position{atTime, 1_700_000_000_500}},
		{"-10m", position{atTime, 1_700_000_000_000 - 600_000}},
		{"-2d", position{atTime, 1_700_000_000_000 - 2*86_400_000}},
	} {
		got, err := parsePosition(c.text, now)
		if err != nil || got != c.want {
			t.Errorf("%s: %+v, %v; want %+v", c.text, got, err, c.want)
		}
	}
	for _, text := range []string{"", "offset:", "offset:-1", "offset:x", "-5", "10m", "--10m", "yesterday", "2023-11-14"} {
		if got, err := parsePosition(text, now); err == nil {
			t.Errorf("%q is taken for %+v", text, got)
		}
	}
}

func TestRecordFormats(t *testing.T) {
	r := &kgo.Record{
		Topic: "t", Partition: 3, Offset: 7, Timestamp: time.UnixMilli(1234), Key: []byte("k"), Value: []byte("v"),
		Headers: []kgo.RecordHeader{{Key: "a", Value: []byte("1")}, {Key: "b"}},
	}
	for _, c := range []struct{ format, want string }{
		{"raw", "v\n"},
		{`%t-%p@%o %T %k=%v [%h]\n`, "t-3@7 1234 k=v [a=1,b=]\n"},
		{`100%%\t%v\\\r\0`, "100%\tv\\\r\x00"},
		{"json", `{"topic":"t","partition":3,"offset":7,"timestamp":1234,"key":"k","value":"v","headers":[{"key":"a","value":"1"},{"key":"b","value":null}]}` + "\n"},
	} {
		format, err := parseRecordFormat(c.format)
		if err != nil {
			t.Errorf("%s: %v", c.format, err)
		} else if got := string(format(nil, r)); got != c.want {
			t.Errorf("%s:\ngot  %q\nwant %q", c.format, got, c.want)
		}
	}
	for _, text := range []string{"", "plain", "%", "%v\\", "%x", `\q`} {
		if _, err := parseRecordFormat(text); err == nil {
			t.Errorf("%q is taken for a format", text)
		}
	}
}

// What consume prints as JSON, produce reads back: text, null, empty and bytes that are no text.
func TestJSONLinesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.Custom(func(t *rapid.T) []byte {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				return nil
			case 1:
				return []byte(rapid.String().Draw(t, "text"))
			}
			return append([]byte{}, rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")...)
		})
		in := &kgo.Record{
			Topic: "t", Partition: rapid.Int32Range(0, 9).Draw(t, "partition"), Offset: 5, Timestamp: time.UnixMilli(rapid.Int64Range(0, 1<<42).Draw(t, "ms")),
			Key: content.Draw(t, "key"), Value: content.Draw(t, "value"),
		}
		for range rapid.IntRange(0, 3).Draw(t, "headers") {
			in.Headers = append(in.Headers, kgo.RecordHeader{Key: rapid.StringMatching(`[a-z"<]*`).Draw(t, "name"), Value: content.Draw(t, "content")})
		}
		line := appendJSON(nil, in)
		if bytes.Count(line, []byte("\n")) != 1 {
			t.Fatalf("not one line: %q", line)
		}
		r := newRecordReader(bytes.NewReader(line), 1<<20)
		r.json = true
		out, err := r.next()
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		if !reflect.DeepEqual(in.Key, out.Key) || !reflect.DeepEqual(in.Value, out.Value) || len(in.Headers) != len(out.Headers) ||
			in.Partition != out.Partition || !in.Timestamp.Equal(out.Timestamp) {
			t.Fatalf("%s\nread back as %+v", line, out)
		}
		for i, h := range in.Headers {
			if h.Key != out.Headers[i].Key || !reflect.DeepEqual(h.Value, out.Headers[i].Value) {
				t.Fatalf("header %d of %s read back as %+v", i, line, out.Headers[i])
			}
		}
	})
}

func TestRawLines(t *testing.T) {
	r := newRecordReader(strings.NewReader("a:1\n:\nb:NULL\r\n\nlong"), 8)
	r.separator, r.null, r.headers = []byte(":"), []byte("NULL\r"), []kgo.RecordHeader{{Key: "h"}}
	for i, want := range []struct{ key, value string }{{"a", "1"}, {"", ""}, {"b", "<nil>"}} {
		got, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		value := string(got.Value)
		if got.Value == nil {
			value = "<nil>"
		}
		if string(got.Key) != want.key || value != want.value || len(got.Headers) != 1 {
			t.Errorf("line %d: %q %q, want %q", i+1, got.Key, value, want)
		}
	}
	if _, err := r.next(); err == nil || !strings.Contains(err.Error(), "line 4: no key separator") {
		t.Errorf("an empty line has no key: %v", err)
	}
	r.separator = nil
	if got, err := r.next(); err != nil || string(got.Value) != "long" {
		t.Errorf("the last line needs no line feed: %v, %v", got, err)
	}
	if _, err := r.next(); !errors.Is(err, io.EOF) {
		t.Errorf("at the end: %v", err)
	}
}

func TestLineLimit(t *testing.T) {
	for _, limit := range []int{3, 40, 5000} {
		fits := strings.Repeat("x", limit)
		for _, tail := range []string{"", "\n", "\nmore\n"} {
			r := newRecordReader(strings.NewReader(fits+tail), limit)
			if got, err := r.next(); err != nil || len(got.Value) != limit {
				t.Errorf("limit %d, tail %q: %v", limit, tail, err)
			}
			r = newRecordReader(strings.NewReader(fits+"x"+tail), limit)
			if _, err := r.next(); err == nil || !strings.Contains(err.Error(), "line 1 is longer") {
				t.Errorf("limit %d, tail %q, one byte more: %v", limit, tail, err)
			}
		}
	}
}

func TestJSONInput(t *testing.T) {
	read := func(line string) (*kgo.Record, error) {
		r := newRecordReader(strings.NewReader(line), 1<<20)
		r.json, r.key = true, []byte("default")
		return r.next()
	}
	got, err := read("\n  \n" + `{"value":{"a": [1]},"timestamp":"1970-01-01T00:00:01Z"}`)
	if err != nil || string(got.Value) != `{"a": [1]}` || string(got.Key) != "default" || got.Timestamp.UnixMilli() != 1000 || got.Partition != anyPartition {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err = read(`{"key":null}`); err != nil || got.Key != nil || got.Value != nil {
		t.Errorf("%+v, %v", got, err)
	}
	for _, line := range []string{`{`, `[]`, `{"valu":1}`, `{} {}`, `{"value":"a","valueBase64":"YQ=="}`, `{"valueBase64":"*"}`, `{"partition":-2}`, `{"timestamp":"soon"}`} {
		if got, err := read(line); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s is taken for %+v, %v", line, got, err)
		}
	}
}

func TestAcknowledgedCountsThePrefix(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		order := rapid.Permutation(numbersTo(n)).Draw(t, "order")
		var a acknowledged
		done := map[int64]bool{}
		for _, number := range order {
			got := a.add(number)
			done[number] = true
			want := int64(0)
			for done[want] {
				want++
			}
			if prefix, total := a.counts(); got != want || prefix != want || total != int64(len(done)) {
				t.Fatalf("after %d: %d, %d of %d; want %d", number, got, prefix, total, want)
			}
		}
		if len(a.later) != 0 {
			t.Fatalf("%d are left", len(a.later))
		}
	})
}

func numbersTo(n int) []int64 {
	out := make([]int64, n)
	for i := range out {
		out[i] = int64(i)
	}
	return out
}

func TestProgressFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "progress")
	p, noted, err := openProgress(name)
	if err != nil || noted != 0 {
		t.Fatal(noted, err)
	}
	for _, n := range []int64{1, 5, 3, 40} {
		p.note(n)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(name); err != nil || string(text) != "40\n" {
		t.Fatalf("%q, %v", text, err)
	}
	p, noted, err = openProgress(name)
	if err != nil || noted != 40 {
		t.Fatal(noted, err)
	}
	if err := p.close(); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"", "many", "-1", "4 5"} {
		if err := os.WriteFile(name, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
		if _, _, err := openProgress(name); err == nil {
			t.Errorf("%q is taken for progress", text)
		}
	}
	if _, _, err := openProgress(filepath.Join(name, "below", "a", "file")); err == nil {
		t.Error("a place that cannot be written is taken")
	}
}

func TestPortsOfSeveralBrokers(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1:9092": "127.0.0.1:9112", "127.0.0.1:0": "127.0.0.1:0", "A://h:1,B://[::1]:2": "A://h:21,B://[::1]:22", "": "", "h": "h",
	} {
		if got := portsUp(given, 20); got != want {
			t.Errorf("%q: %q, want %q", given, got, want)
		}
	}
}

func TestServerList(t *testing.T) {
	for list, want := range map[string]string{
		"a:1": "a:1", "a": "a:9092", "a:1, b:2 ,": "a:1 b:2", "::1": "[::1]:9092", "[::1]:5": "[::1]:5", "[::1]": "[::1]:9092",
	} {
		if got, err := serverList(list); err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: %q, %v; want %s", list, got, err, want)
		}
	}
	for _, list := range []string{"", ",", "a:b:c", "http://a:1/"} {
		if got, err := serverList(list); err == nil {
			t.Errorf("%q is taken for %q", list, got)
		}
	}
}

func TestClientProperties(t *testing.T) {
	key, certificate := selfSigned(t)
	store := filepath.Join(t.TempDir(), "store.pem")
	if err := os.WriteFile(store, append(append([]byte{}, key...), certificate...), 0o600); err != nil {
		t.Fatal(err)
	}
	const login = `org.apache.kafka.common.security.plain.PlainLoginModule required username="a" password="b";`
	for _, good := range []map[string]string{
		{},
		{"security.protocol": "plaintext", "request.timeout.ms": "5", "client.id": "x", "client.rack": "r"},
		{"security.protocol": "SSL", "ssl.truststore.location": store, "ssl.truststore.type": "PEM", "ssl.keystore.location": store},
		{"security.protocol": "SSL", "ssl.enabled.protocols": "TLSv1.3", "ssl.endpoint.identification.algorithm": ""},
		{"security.protocol": "SSL", "ssl.keystore.key": string(key), "ssl.keystore.certificate.chain": strings.ReplaceAll(string(certificate), "\n", `\n`)},
		{"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.jaas.config": login},
		{"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512", "sasl.jaas.config": strings.ReplaceAll(strings.ReplaceAll(login, "plain.Plain", "scram.Scram"), `"`, `'`)},
	} {
		options, err := propertyOptions(good)
		if err == nil {
			var client *kgo.Client
			if client, err = kgo.NewClient(options...); err == nil {
				client.Close()
			}
		}
		if err != nil {
			t.Errorf("%v: %v", good, err)
		}
	}
	for _, c := range []struct{ properties, want string }{
		{"nothing.such=1", "nothing.such"},
		{"acks=all", "--acks"},
		{"security.protocol=TLS", "security.protocol=TLS"},
		{"security.protocol=SSL|ssl.truststore.type=JKS", "only PEM"},
		{"security.protocol=SSL|ssl.truststore.location=/nothing/such", "/nothing/such"},
		{"security.protocol=SSL|ssl.truststore.certificates=x", "no PEM certificate"},
		{"security.protocol=SSL|ssl.keystore.certificate.chain=x", "ssl.keystore.key is missing"},
		{"security.protocol=SSL|ssl.enabled.protocols=SSLv3", "SSLv3"},
		{"security.protocol=SSL|ssl.endpoint.identification.algorithm=ldaps", "ldaps"},
		{"security.protocol=SASL_SSL", "sasl.mechanism is missing"},
		{"security.protocol=SASL_SSL|sasl.mechanism=GSSAPI", "GSSAPI"},
		{"security.protocol=SASL_SSL|sasl.mechanism=PLAIN", "sasl.jaas.config"},
		{"security.protocol=SASL_SSL|sasl.mechanism=SCRAM-SHA-256|sasl.jaas.config=" + login, "does not go with"},
		{"security.protocol=SASL_SSL|sasl.mechanism=PLAIN|sasl.jaas.config=a.PlainLoginModule required username=\"a\";", "password is missing"},
		{"security.protocol=SASL_SSL|sasl.mechanism=PLAIN|sasl.jaas.config=a.PlainLoginModule required username=\"a\" password=\"secret", "closing quote"},
		{"security.protocol=SASL_SSL|sasl.mechanism=PLAIN|sasl.jaas.config=a.PlainLoginModule required username=a password=secret", "semicolon"},
	} {
		properties := map[string]string{}
		for _, line := range strings.Split(c.properties, "|") {
			name, value, _ := strings.Cut(line, "=")
			properties[name] = value
		}
		_, err := propertyOptions(properties)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v, want %s", c.properties, err, c.want)
		}
	}
}

func TestJAASQuotes(t *testing.T) {
	got, err := parseJAAS(`  a.B   Required  user = "x y" password="q\"u\\;'=" third='t"' bare=1 ;`)
	want := map[string]string{"user": "x y", "password": `q"u\;'=`, "third": `t"`, "bare": "1"}
	if err != nil || got.module != "a.B" || !reflect.DeepEqual(got.options, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func selfSigned(t *testing.T) (key, certificate []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	coded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: coded}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
