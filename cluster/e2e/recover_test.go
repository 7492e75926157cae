package e2e

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kraftgo runs a command of the client half, or an offline one.
func kraftgo(t *testing.T, words ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	c := exec.Command(binary(t), words...)
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.String(), err
}

// Three nodes are killed, and two directories are gone. What was acknowledged, topics and records, is served by the third after a
// recovery, as the README tells it; a new node takes part.
func TestTwoOfThreeMachinesAreLost(t *testing.T) {
	f := form(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	c, err := kgo.NewClient(kgo.SeedBrokers(clients(f.nodes)...), kgo.DefaultProduceTopic("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for i := range 20 {
		if _, err := kadm.NewClient(c).CreateTopic(ctx, 2, 3, nil, fmt.Sprintf("old%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := kadm.NewClient(c).CreateTopic(ctx, 6, 3, nil, "orders"); err != nil {
		t.Fatal(err)
	}
	allInSync(t, kadm.NewClient(c), "orders")
	const records = 3000
	for i := range records {
		if err := c.ProduceSync(ctx, &kgo.Record{Value: fmt.Append(nil, i)}).FirstErr(); i%500 == 0 && err != nil {
			t.Fatal(err)
		}
	}
	left := f.others(f.controller())[0]
	for _, p := range f.nodes {
		p.kill()
	}
	for _, p := range f.others(left) {
		if err := os.RemoveAll(p.dir); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := kraftgo(t, "cluster", "recover", "--data", left.dir); err == nil || !strings.Contains(out, "does not answer") || !strings.Contains(out, "--yes") {
		t.Fatalf("%v: %s", err, out)
	}
	out, err := kraftgo(t, "cluster", "recover", "--data", left.dir, "--yes")
	if err != nil || !strings.Contains(out, "recovered 1-") {
		t.Fatalf("%v: %s", err, out)
	}
	left.restart()
	for _, p := range f.others(left) {
		if out, err := kraftgo(t, "node", "remove", fmt.Sprint(p.broker), "--force", "-b", left.client); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	r, err := kgo.NewClient(kgo.SeedBrokers(left.client), kgo.ConsumeTopics("orders"))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	seen := map[string]bool{}
	for len(seen) < records {
		fetches := r.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(seen), records, err)
		}
		fetches.EachRecord(func(r *kgo.Record) { seen[string(r.Value)] = true })
	}
	list, err := kadm.NewClient(r).ListTopics(ctx)
	if err != nil || len(list.Names()) < 21 {
		t.Fatalf("%v, %v", list.Names(), err)
	}
	f.nodes = []*process{left, joined(t, left), joined(t, left)}
	f.settled()
	if err := f.create(f.nodes[2]); err != nil {
		t.Fatal(err)
	}
}
