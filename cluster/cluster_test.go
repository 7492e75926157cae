package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

func client(t *testing.T, n *kraftgotest.Node, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.Client())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func createTopic(t *testing.T, n *kraftgotest.Node, name string, partitions int32, configs map[string]*string) {
	t.Helper()
	if _, err := kadm.NewClient(client(t, n)).CreateTopic(limited(t), partitions, 1, configs, name); err != nil {
		t.Fatal(err)
	}
}

// fill produces n records, numbered from first, over all partitions of a topic.
func fill(t *testing.T, c *kgo.Client, topic string, first, n int) {
	t.Helper()
	ctx := limited(t)
	var failed error
	for i := range n {
		r := &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "k%d", i%97), Value: fmt.Appendf(nil, "v%d", first+i), Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}}}
		c.Produce(ctx, r, func(_ *kgo.Record, err error) { failed = errors.Join(failed, err) })
	}
	if err := c.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if failed != nil {
		t.Fatal(failed)
	}
}

// drain consumes exactly n records from the start, and fails on one that comes twice or out of order.
func drain(t *testing.T, c *kgo.Client, n int) map[string]bool {
	t.Helper()
	ctx := limited(t)
	got := map[string]bool{}
	next := map[int32]int64{}
	for len(got) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(got), n, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			if r.Offset != next[r.Partition] {
				t.Fatalf("partition %d: offset %d, want %d", r.Partition, r.Offset, next[r.Partition])
			}
			next[r.Partition]++
			if got[string(r.Value)] {
				t.Fatalf("%s came twice", r.Value)
			}
			got[string(r.Value)] = true
		})
	}
	return got
}

// What was produced is consumed once, in order, equal, with every codec and acknowledgement, before and after a restart.
func TestProducedIsConsumedAcrossARestart(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	total := 0
	for i, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		for _, acks := range []kgo.Acks{kgo.AllISRAcks(), kgo.LeaderAck(), kgo.NoAck()} {
			opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.RequiredAcks(acks)}
			if acks != kgo.AllISRAcks() {
				opts = append(opts, kgo.DisableIdempotentWrite())
			}
			topic := fmt.Sprintf("t%d", i)
			if total == 0 || total%(3*2000) == 0 {
				createTopic(t, n, topic, 3, nil)
			}
			fill(t, client(t, n, opts...), topic, total, 2000)
			total += 2000
		}
	}
	consume := func() {
		for i := range 5 {
			drain(t, client(t, n, kgo.ConsumeTopics(fmt.Sprintf("t%d", i))), 6000)
		}
	}
	consume()
	n.Restart()
	consume()
}

// Two members share a group, one leaves, offsets survive a restart: every record is consumed once.
func TestGroupsShareLeaveAndResume(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	createTopic(t, n, "t", 6, nil)
	producer := client(t, n)
	fill(t, producer, "t", 0, 3000)
	got := map[string]bool{}
	member := func() *kgo.Client {
		return client(t, n, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	}
	consume := func(want int, members ...*kgo.Client) {
		t.Helper()
		ctx := limited(t)
		for len(got) < want {
			for _, m := range members {
				short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
				fetches := m.PollFetches(short)
				cancel()
				if ctx.Err() != nil {
					t.Fatalf("%d of %d records", len(got), want)
				}
				fetches.EachRecord(func(r *kgo.Record) {
					if got[string(r.Value)] {
						t.Fatalf("%s came twice", r.Value)
					}
					got[string(r.Value)] = true
				})
				if err := m.CommitUncommittedOffsets(ctx); err != nil {
					t.Fatal(err)
				}
				m.AllowRebalance()
			}
		}
	}
	a, b := member(), member()
	consume(3000, a, b)
	fill(t, producer, "t", 3000, 1000)
	consume(4000, a, b)
	b.CloseAllowingRebalance()
	fill(t, producer, "t", 4000, 1000)
	consume(5000, a)
	a.CloseAllowingRebalance()
	n.Restart()
	fill(t, producer, "t", 5000, 1000)
	consume(6000, member())
	lags, err := kadm.NewClient(client(t, n)).Lag(limited(t), "g")
	lag := lags["g"]
	if err != nil || lag.Error() != nil || lag.Lag.Total() != 0 {
		t.Fatalf("lag %v, %v %v", lag.Lag.Total(), err, lag.Error())
	}
}
