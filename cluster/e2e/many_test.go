package e2e

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	metadata "github.com/kraftgo/kraftgo/metadata/quorum"
)

// Thousands of partitions with three replicas each: created in one request, seen by every broker, described at once; then
// how long until a new topic is seen by all. PARTITIONS says how many, the figures are printed.
func TestManyPartitions(t *testing.T) {
	partitions := 1000
	if s := os.Getenv("PARTITIONS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		partitions = n
	}
	f := form(t, 3)
	var clients []*kgo.Client
	for _, p := range f.nodes {
		c, err := kgo.NewClient(kgo.SeedBrokers(p.client))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		clients = append(clients, c)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	// describe asks one broker, by its id, for everything or for one topic.
	describe := func(node int, topic string) *kmsg.MetadataResponse {
		t.Helper()
		r := kmsg.NewPtrMetadataRequest()
		if topic != "" {
			r.Topics = append(r.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr(topic)})
		}
		a, err := clients[node].Broker(int(f.nodes[node].broker)).RetriableRequest(ctx, r)
		if err != nil {
			t.Fatal(err)
		}
		return a.(*kmsg.MetadataResponse)
	}
	sees := func(node int, topic string, count int) bool {
		a := describe(node, topic)
		return len(a.Topics) == 1 && a.Topics[0].ErrorCode == 0 && len(a.Topics[0].Partitions) == count
	}
	// At no time does a broker show a part of them.
	var watching sync.WaitGroup
	done, looks := make(chan struct{}), atomic.Int64{}
	for node := range f.nodes {
		r := kmsg.NewPtrMetadataRequest()
		r.Topics = append(r.Topics, kmsg.MetadataRequestTopic{Topic: kmsg.StringPtr("many")})
		watching.Go(func() {
			for {
				a, err := clients[node].Broker(int(f.nodes[node].broker)).RetriableRequest(ctx, r)
				if err != nil {
					t.Error(err)
					return
				}
				if n := len(a.(*kmsg.MetadataResponse).Topics[0].Partitions); n != 0 && n != partitions {
					t.Errorf("broker %d shows %d partitions of %d", f.nodes[node].broker, n, partitions)
					return
				}
				looks.Add(1)
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	start := time.Now()
	if _, err := kadm.NewClient(clients[0]).CreateTopic(ctx, int32(partitions), 3, nil, "many"); err != nil {
		t.Fatal(err)
	}
	created := time.Since(start)
	for node := range f.nodes {
		f.until("every broker sees all partitions", func() bool { return sees(node, "many", partitions) })
	}
	seen := time.Since(start)
	close(done)
	watching.Wait()
	if looks.Load() < 10 {
		t.Errorf("the brokers were looked at %d times: this test sees nothing", looks.Load())
	}
	var answers []time.Duration
	for i := range 50 {
		start := time.Now()
		describe(i%3, "")
		answers = append(answers, time.Since(start))
	}
	var spread []time.Duration
	for i := range 20 {
		name := fmt.Sprintf("t%d", i)
		if _, err := kadm.NewClient(clients[i%3]).CreateTopic(ctx, 1, 1, nil, name); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for node := range f.nodes {
			f.until("every broker sees a new topic", func() bool { return sees(node, name, 1) })
		}
		spread = append(spread, time.Since(start))
	}
	slices.Sort(answers)
	slices.Sort(spread)
	log, err := os.Stat(filepath.Join(f.nodes[0].dir, "metadata", "raft.db"))
	if err != nil {
		t.Fatal(err)
	}
	start = time.Now()
	late := joined(t, f.nodes[0])
	joins := time.Since(start)
	late.stop()
	remains, err := metadata.ReadRemains(filepath.Join(late.dir, "metadata"))
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := remains.State.Snapshot().WriteTo(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d partitions with 3 replicas: created in %s, seen by all in %s; a Metadata answer for all takes %s (median), %s (worst of %d); a new topic is seen by all %s (median), %s (worst of %d) after its creation was answered; metadata log %d KiB; a snapshot of it %d KiB; a new node has all of it and serves after %s; resident %d KiB",
		partitions, created.Round(time.Millisecond), seen.Round(time.Millisecond), answers[25].Round(time.Microsecond), answers[49].Round(time.Microsecond), len(answers),
		spread[10].Round(time.Microsecond), spread[19].Round(time.Microsecond), len(spread), log.Size()>>10, snapshot>>10, joins.Round(time.Millisecond), residentKiB(t, f.nodes[0].cmd.Process.Pid))
}
