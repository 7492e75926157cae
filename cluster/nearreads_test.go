package cluster_test

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// fetchedFrom counts the bytes of records that a client got, by broker.
type fetchedFrom struct {
	mu    sync.Mutex
	bytes map[int32]int
}

func (f *fetchedFrom) OnFetchBatchRead(b kgo.BrokerMetadata, _ string, _ int32, m kgo.FetchBatchMetrics) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes == nil {
		f.bytes = map[int32]int{}
	}
	f.bytes[b.NodeID] += m.UncompressedBytes
}

// taken returns the bytes since the last call.
func (f *fetchedFrom) taken() map[int32]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.bytes
	f.bytes = nil
	return out
}

// A consumer with a rack reads from the follower in it, up to what is committed and as soon as it is, and from the leader while that
// follower is down; all of it once and in order. One without a rack, or in a rack without a broker, reads from the leader.
func TestConsumersReadNearby(t *testing.T) {
	settings := func(rack string) map[string]string {
		return map[string]string{
			"broker.rack": rack, "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
			"min.insync.replicas": "2", "replica.fetch.wait.max.ms": "20000", // so that nothing is seen only because a wait ended
		}
	}
	a := kraftgotest.Start(t, settings("r1"))
	nodes := []*kraftgotest.Node{a, a.Join(settings("r2")), a.Join(settings("r3"))}
	createReplicated(t, a, "t", 1, nil)
	writer := client(t, a)
	leads := partitions(t, writer, "t")[0].Leader
	near := nodes[leads%3] // the next one
	racks := []string{fmt.Sprint("r", leads%3+1), "", "r9"}
	seen := make([]*fetchedFrom, len(racks))
	readers := make([]*kgo.Client, len(racks))
	for i, rack := range racks {
		seen[i] = &fetchedFrom{}
		// franz-go stays with a follower that died for as long as it is set to; Java's client goes back to the leader at once.
		readers[i] = client(t, nodes[leads-1], kgo.ConsumeTopics("t"), kgo.Rack(rack), kgo.WithHooks(seen[i]), kgo.RecheckPreferredReplicaInterval(time.Second), kgo.MetadataMinAge(100*time.Millisecond))
	}
	next := 0
	read := func(what string, from ...int32) {
		t.Helper()
		fill(t, writer, "t", next, 100)
		next += 100
		for i, c := range readers {
			got := 0
			for got < 100 {
				fetches := c.PollFetches(limited(t))
				if err := fetches.Err(); err != nil {
					t.Fatalf("%s: reader %d has %d of 100: %v (%v)", what, i, got, err, seen[i].taken())
				}
				fetches.EachRecord(func(r *kgo.Record) {
					if want := fmt.Sprint("v", next-100+got); string(r.Value) != want {
						t.Fatalf("%s: reader %d got %s, want %s", what, i, r.Value, want)
					}
					got++
				})
			}
			if by := seen[i].taken(); len(by) != 1 || by[from[i]] == 0 {
				t.Errorf("%s: reader %d, of rack %q, read from %v, want from %d", what, i, racks[i], by, from[i])
			}
		}
	}
	eventually(t, "the follower is known to be in sync", func() bool { return len(partitions(t, writer, "t")[0].ISR) == 3 })
	read("all are up", near.Broker(), leads, leads)
	read("still", near.Broker(), leads, leads)
	near.Stop()
	read("the follower is down", leads, leads, leads)
	near.Restart()
	eventually(t, "it is in sync again", func() bool { return slices.Contains(partitions(t, writer, "t")[0].ISR, near.Broker()) })
}
