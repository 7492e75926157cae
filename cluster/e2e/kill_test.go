package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// acknowledged is what a producer was told.
type acknowledged struct {
	mu      sync.Mutex
	offsets map[string]string // value to partition and offset
	sent    map[string]bool
}

// The node is killed again and again while producers write, with acks=1 and acks=all. Everything that was acknowledged is
// there at its offset, once, and nothing is there that was never sent.
func TestKilledWhileProducing(t *testing.T) {
	p := founded(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	admin, err := kgo.NewClient(kgo.SeedBrokers(p.client))
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close()
	if _, err := kadm.NewClient(admin).CreateTopic(ctx, 3, 1, nil, "t"); err != nil {
		t.Fatal(err)
	}
	a := &acknowledged{offsets: map[string]string{}, sent: map[string]bool{}}
	stop := make(chan struct{})
	var producers sync.WaitGroup
	for i, opts := range [][]kgo.Opt{
		{kgo.RequiredAcks(kgo.AllISRAcks())},
		{kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(1)},
	} {
		producers.Add(1)
		go func() {
			defer producers.Done()
			a.produce(ctx, t, p.client, fmt.Sprintf("p%d", i), stop, opts...)
		}()
	}
	for range 6 {
		a.waitForMore(ctx, t, 200)
		// Kill at any moment: in the middle of a sync, an append, a roll.
		timer := time.NewTimer(time.Duration(rand.IntN(30_000)) * time.Microsecond)
		<-timer.C
		p.kill()
		p.restart()
	}
	close(stop)
	producers.Wait()
	a.check(ctx, t, p.client)
}

func (a *acknowledged) produce(ctx context.Context, t *testing.T, seed, name string, stop chan struct{}, opts ...kgo.Opt) {
	c, err := kgo.NewClient(append(opts, kgo.SeedBrokers(seed), kgo.DefaultProduceTopic("t"), kgo.ProducerLinger(0), kgo.RetryTimeout(30*time.Second), kgo.MaxBufferedRecords(500))...)
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for i := 0; ; i++ {
		select {
		case <-stop:
			if err := c.Flush(ctx); err != nil {
				t.Error(err)
			}
			return
		default:
		}
		v := fmt.Sprintf("%s-%d", name, i)
		a.mu.Lock()
		a.sent[v] = true
		a.mu.Unlock()
		c.Produce(ctx, &kgo.Record{Value: []byte(v)}, func(r *kgo.Record, err error) {
			if err == nil {
				a.mu.Lock()
				a.offsets[v] = fmt.Sprintf("%d/%d", r.Partition, r.Offset)
				a.mu.Unlock()
			}
		})
	}
}

func (a *acknowledged) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.offsets)
}

func (a *acknowledged) waitForMore(ctx context.Context, t *testing.T, n int) {
	t.Helper()
	want := a.count() + n
	for a.count() < want {
		if ctx.Err() != nil {
			t.Fatalf("%d records acknowledged, waiting for %d", a.count(), want)
		}
		timer := time.NewTimer(time.Millisecond)
		<-timer.C
	}
}

// check reads everything and compares.
func (a *acknowledged) check(ctx context.Context, t *testing.T, seed string) {
	t.Helper()
	c, err := kgo.NewClient(kgo.SeedBrokers(seed), kgo.ConsumeTopics("t"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, "t")
	if err != nil {
		t.Fatal(err)
	}
	left := int64(0)
	ends.Each(func(o kadm.ListedOffset) { left += o.Offset })
	places := map[string][]string{}
	for left > 0 {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("%d records left: %v", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			left--
			v := string(r.Value)
			places[v] = append(places[v], fmt.Sprintf("%d/%d", r.Partition, r.Offset))
		})
	}
	for v, list := range places {
		if !a.sent[v] {
			t.Errorf("%s at %v was never sent", v, list)
		}
		if len(list) > 1 && v[:2] == "p0" {
			t.Errorf("%s of an idempotent producer is there %d times: %v", v, len(list), list)
		}
	}
	lost := 0
	for v, place := range a.offsets {
		found := false
		for _, p := range places[v] {
			found = found || p == place
		}
		if !found {
			lost++
			if lost < 10 {
				t.Errorf("%s was acknowledged at %s, and is at %v", v, place, places[v])
			}
		}
	}
	t.Logf("%d sent, %d acknowledged, %d lost", len(a.sent), len(a.offsets), lost)
}
