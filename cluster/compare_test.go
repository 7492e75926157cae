package cluster_test

import (
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
)

// get returns what the node's admin listener answers.
func get(t *testing.T, n *kraftgotest.Node, path string) (string, int) {
	t.Helper()
	r, err := http.Get("http://" + n.Admin() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b), r.StatusCode
}

type hashReport struct {
	Index       int64
	Hash        string
	Same, Other int64
}

func hashOf(t *testing.T, n *kraftgotest.Node, query string) (r hashReport) {
	t.Helper()
	text, code := get(t, n, "/debug/metadata"+query)
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// All brokers have the same hash at the same index, and the controller has compared them.
func TestBrokersCompareTheirMetadata(t *testing.T) {
	nodes := three(t)
	createTopic(t, nodes[1], "t", 6, nil)
	eventually(t, "equal hashes, compared by the controller", func() bool {
		a := hashOf(t, nodes[0], "")
		for _, n := range nodes[1:] {
			if b := hashOf(t, n, ""); b.Index != a.Index || b.Hash != a.Hash {
				return false
			}
		}
		return a.Same >= 6 && a.Other == 0
	})
	a := hashOf(t, nodes[0], "")
	if _, code := get(t, nodes[1], "/debug/metadata?index=999999"); code != http.StatusNotFound {
		t.Errorf("a hash of the future: %d", code)
	}
	metrics, _ := get(t, nodes[0], "/metrics")
	for _, name := range []string{"kraftgo_metadata_hash ", "kraftgo_metadata_compared_total ", "kraftgo_metadata_differences_total 0"} {
		if !strings.Contains(metrics, "\n"+name) {
			t.Errorf("no metric %q", name)
		}
	}
	if a.Index == 0 || len(a.Hash) != 32 {
		t.Errorf("%+v", a)
	}
}

// A node whose copy of the metadata is another than the controller's at the same index stops, and says so.
func TestANodeWithOtherMetadataStops(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil) // of two, one votes: this one pulls what the other commits
	createTopic(t, a, "t", 1, nil)
	eventually(t, "both as far", func() bool { return hashOf(t, a, "").Index == hashOf(t, b, "").Index })
	b.Stop()
	tamper(t, filepath.Join(b.Dir(), "metadata"))
	err := b.Resume()
	if err == nil {
		err = <-b.Failed()
	}
	for _, want := range []string{"is not that of the controller", "it has hash", "join it anew with an empty directory"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("it says %q, not %q", err, want)
		}
	}
	createTopic(t, a, "after", 1, nil) // the other goes on
}

// tamper puts a snapshot of another state at the same index in place of what a node has pulled, sound as far as it can tell.
func tamper(t *testing.T, dir string) {
	t.Helper()
	r := feed.NewReplica(feed.Options{})
	defer r.Close()
	store, why, err := feed.OpenStore(dir, r)
	if err != nil || why != nil {
		t.Fatal(err, why)
	}
	defer store.Close()
	image, value := r.Image(), "1234567"
	c := metadata.Command{Term: image.Term()}
	image.Brokers(func(b *metadata.BrokerInfo) bool {
		c.Records = append(c.Records, &b.RegisterBroker, &metadata.BrokerState{Broker: b.Broker, Fenced: b.Fenced})
		return true
	})
	c.Records = append(c.Records, image.Records()...)
	c.Records = append(c.Records, &metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceBroker}, Name: "log.retention.ms", Value: &value})
	other := feed.NewReplica(feed.Options{})
	defer other.Close()
	if err := other.Apply(feed.Entry{Index: image.Index(), Term: image.Term(), Data: c.AppendTo(nil)}); err != nil {
		t.Fatal(err)
	}
	if err := store.Reset(other); err != nil {
		t.Fatal(err)
	}
}
