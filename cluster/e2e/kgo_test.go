package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kgoMatrix tries franz-go, in this process.
type kgoMatrix struct {
	*testing.T
	seed  string
	admin *kadm.Client
}

func TestClientKgo(t *testing.T) {
	chosen(t, "kgo")
	p := matrix(t)
	c, err := kgo.NewClient(kgo.SeedBrokers(p.client))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	m := &kgoMatrix{seed: p.client, admin: kadm.NewClient(c)}
	for _, test := range []struct {
		name string
		run  func(*kgoMatrix)
	}{
		{"Topics", (*kgoMatrix).topics},
		{"Produce", (*kgoMatrix).produce},
		{"Group", (*kgoMatrix).group},
		{"Regex", (*kgoMatrix).regex},
		{"Seek", (*kgoMatrix).seek},
		{"Pause", (*kgoMatrix).pause},
		{"Commit", (*kgoMatrix).commit},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := *m
			m.T = t
			test.run(&m)
		})
	}
}

func (m *kgoMatrix) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

func (m *kgoMatrix) want(ok bool, format string, args ...any) {
	m.Helper()
	if !ok {
		m.Fatalf(format, args...)
	}
}

// within is the time that one step may take.
func (m *kgoMatrix) within() context.Context {
	ctx, cancel := context.WithTimeout(m.Context(), 40*time.Second)
	m.Cleanup(cancel)
	return ctx
}

func (m *kgoMatrix) client(opts ...kgo.Opt) *kgo.Client {
	m.Helper()
	opts = append([]kgo.Opt{kgo.SeedBrokers(m.seed), kgo.FetchMaxWait(50 * time.Millisecond), kgo.MetadataMaxAge(500 * time.Millisecond), kgo.MetadataMinAge(50 * time.Millisecond), kgo.HeartbeatInterval(100 * time.Millisecond), kgo.AllowAutoTopicCreation()}, opts...)
	c, err := kgo.NewClient(opts...)
	m.must(err)
	m.Cleanup(c.Close)
	return c
}

func kgoRecord(topic string, i int) *kgo.Record {
	return &kgo.Record{
		Topic: topic, Key: fmt.Appendf(nil, "k%d", i),
		Value:   append(fmt.Appendf(nil, "%s-%d-", topic, i), bytes.Repeat([]byte("x"), i%97)...),
		Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Appendf(nil, "k%d", i)}, {Key: "null"}},
	}
}

// send produces records from (with) to (without), and waits for all answers.
func (m *kgoMatrix) send(c *kgo.Client, topic string, from, to int) {
	m.Helper()
	var mu sync.Mutex
	var failed []error
	for i := from; i < to; i++ {
		c.Produce(m.Context(), kgoRecord(topic, i), func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = append(failed, err)
				mu.Unlock()
			}
		})
	}
	m.must(c.Flush(m.within()))
	m.must(errors.Join(failed...))
}

// received checks what is consumed: once, in order, as it was sent.
type received struct {
	topic string
	mu    sync.Mutex
	times map[int]int
	last  map[int32]int
	err   error
	count int
	more  chan struct{} // a word for whoever waits that the count has grown
}

func receiving(topic string) *received {
	return &received{topic: topic, times: map[int]int{}, last: map[int32]int{}, more: make(chan struct{}, 1)}
}

func (r *received) add(rec *kgo.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := -1
	_, err := fmt.Sscanf(string(rec.Key), "k%d", &i)
	want := kgoRecord(r.topic, i)
	fail := func(format string, args ...any) { r.err = errors.Join(r.err, fmt.Errorf(format, args...)) }
	if err != nil || !bytes.Equal(rec.Key, want.Key) || !bytes.Equal(rec.Value, want.Value) {
		fail("record %q = %q at %d/%d", rec.Key, rec.Value, rec.Partition, rec.Offset)
	}
	if len(rec.Headers) != 2 || rec.Headers[0].Key != "n" || !bytes.Equal(rec.Headers[0].Value, want.Key) || rec.Headers[1].Key != "null" || rec.Headers[1].Value != nil {
		fail("headers of record %d: %v", i, rec.Headers)
	}
	if r.times[i]++; r.times[i] > 1 {
		fail("record %d again, at %d/%d", i, rec.Partition, rec.Offset)
	}
	if last, ok := r.last[rec.Partition]; ok && last >= i {
		fail("record %d after %d in partition %d", i, last, rec.Partition)
	}
	r.last[rec.Partition] = i
	r.count++
	select {
	case r.more <- struct{}{}:
	default:
	}
}

func (r *received) state() (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count, r.err
}

// wait waits until n records were received.
func (r *received) wait(m *kgoMatrix, n int) {
	m.Helper()
	ctx := m.within()
	for {
		count, err := r.state()
		m.must(err)
		if count >= n {
			m.want(count == n, "%d records, want %d", count, n)
			return
		}
		select {
		case <-r.more:
		case <-ctx.Done():
			m.Fatalf("%d of %d records within 40 s", count, n)
		}
	}
}

// read consumes n records of a topic, and looks for more.
func (m *kgoMatrix) read(c *kgo.Client, topic string, n int) {
	m.Helper()
	r := receiving(topic)
	ctx := m.within()
	for {
		count, err := r.state()
		m.must(err)
		if count >= n {
			m.want(count == n, "%d records, want %d", count, n)
			break
		}
		f := c.PollFetches(ctx)
		m.must(f.Err())
		f.EachRecord(r.add)
	}
	brief, cancel := context.WithTimeout(ctx, 60*time.Millisecond)
	defer cancel()
	c.PollFetches(brief).EachRecord(func(rec *kgo.Record) { m.Fatalf("one more record, at %d/%d", rec.Partition, rec.Offset) })
}

// first polls until a record comes.
func (m *kgoMatrix) first(c *kgo.Client) *kgo.Record {
	m.Helper()
	f := c.PollRecords(m.within(), 1)
	m.must(f.Err())
	return f.Records()[0]
}

func (m *kgoMatrix) topics() {
	ctx := m.within()
	week := "604800000"
	made, err := m.admin.CreateTopic(ctx, 5, 1, map[string]*string{"retention.ms": &week}, "made")
	m.must(err)
	m.want(made.NumPartitions == 5 && made.ID != kadm.TopicID{}, "created %+v", made)
	_, err = m.admin.CreateTopic(ctx, 5, 1, nil, "made")
	m.want(errors.Is(err, kerr.TopicAlreadyExists), "created twice: %v", err)
	bad := "soon"
	_, err = m.admin.CreateTopic(ctx, 5, 1, map[string]*string{"retention.ms": &bad}, "bad")
	m.want(errors.Is(err, kerr.InvalidConfig), "retention.ms=soon: %v", err)
	details, err := m.admin.ListTopics(ctx, "made")
	m.must(err)
	m.want(len(details["made"].Partitions) == 5 && details["made"].ID == made.ID, "listed %+v", details)
	size := "5000"
	altered, err := m.admin.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "max.message.bytes", Value: &size}}, "made")
	m.must(err)
	m.must(altered[0].Err)
	configs, err := m.admin.DescribeTopicConfigs(ctx, "made")
	m.must(err)
	found := map[string]string{}
	for _, c := range configs[0].Configs {
		found[c.Key] = c.MaybeValue()
	}
	m.want(found["retention.ms"] == week && found["max.message.bytes"] == size, "configs %v", found)
	grown, err := m.admin.UpdatePartitions(ctx, 8, "made")
	m.must(err)
	m.must(grown["made"].Err)
	cluster, err := m.admin.BrokerMetadata(ctx)
	m.must(err)
	m.want(len(cluster.Brokers) == 1 && cluster.Controller == cluster.Brokers[0].NodeID, "cluster %+v", cluster)
	deleted, err := m.admin.DeleteTopics(ctx, "made", "never")
	m.must(err)
	m.must(deleted["made"].Err)
	m.want(errors.Is(deleted["never"].Err, kerr.UnknownTopicOrPartition), "deleted never: %v", deleted["never"].Err)
}

func (m *kgoMatrix) produce() {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	acks := map[string][]kgo.Opt{
		"0":          {kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite()},
		"1":          {kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite()},
		"all":        {kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite()},
		"idempotent": {kgo.RequiredAcks(kgo.AllISRAcks())},
	}
	for codec, compression := range codecs {
		for name, opts := range acks {
			topic := codec + "-" + name
			c := m.client(append(opts, kgo.ProducerBatchCompression(compression))...)
			_, err := m.admin.CreateTopic(m.within(), 3, 1, nil, topic)
			m.must(err)
			m.send(c, topic, 0, 5000)
			from := map[int32]kgo.Offset{0: kgo.NewOffset().AtStart(), 1: kgo.NewOffset().AtStart(), 2: kgo.NewOffset().AtStart()}
			m.read(m.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from})), topic, 5000)
		}
	}
}

// member is one consumer of a group. It commits what it was given before it asks for more.
type member struct {
	client   *kgo.Client
	assigned chan int // how many partitions it has, after each change
	done     chan error
	stop     context.CancelFunc
}

func (m *kgoMatrix) join(group string, r *received, balancer kgo.GroupBalancer) *member {
	ctx, stop := context.WithCancel(m.Context())
	b := &member{assigned: make(chan int, 1000), done: make(chan error, 3), stop: stop}
	held := 0
	change := func(sign int) func(context.Context, *kgo.Client, map[string][]int32) {
		return func(_ context.Context, _ *kgo.Client, list map[string][]int32) {
			held += sign * len(list[r.topic])
			b.assigned <- held
		}
	}
	revoked := func(ctx context.Context, client *kgo.Client, list map[string][]int32) {
		if err := commit(ctx, client); err != nil {
			b.done <- err
		}
		change(-1)(ctx, client, list)
	}
	b.client = m.client(
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(r.topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.Balancers(balancer),
		kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsAssigned(change(1)), kgo.OnPartitionsRevoked(revoked), kgo.OnPartitionsLost(change(-1)),
	)
	go func() {
		for ctx.Err() == nil {
			f := b.client.PollFetches(ctx)
			f.EachRecord(r.add)
			if err := commit(m.Context(), b.client); err != nil {
				b.done <- err
				return
			}
			b.client.AllowRebalance()
		}
		b.client.CloseAllowingRebalance()
		b.done <- nil
	}()
	return b
}

// commit commits what the client has consumed. While the coordinator waits for the assignment of a rebalance it takes no commits
// (neither does Kafka's), and a cooperative member goes on consuming then: what is left is committed with the next records, or
// when the partition is given up.
func commit(ctx context.Context, client *kgo.Client) error {
	err := client.CommitUncommittedOffsets(ctx)
	if err != nil && !errors.Is(err, kerr.RebalanceInProgress) {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// holds waits until the members have so many partitions.
func (m *kgoMatrix) holds(members map[*member]int) {
	m.Helper()
	ctx := m.within()
	for b, want := range members {
		for have := -1; have != want; {
			select {
			case have = <-b.assigned:
			case err := <-b.done:
				m.Fatalf("a member ended: %v", err)
			case <-ctx.Done():
				m.Fatalf("a member has %d partitions, want %d", have, want)
			}
		}
	}
}

func (m *kgoMatrix) leave(members ...*member) {
	m.Helper()
	for _, b := range members {
		b.stop()
		m.must(<-b.done)
	}
}

func (m *kgoMatrix) group() {
	for name, balancer := range map[string]kgo.GroupBalancer{"eager": kgo.RangeBalancer(), "cooperative": kgo.CooperativeStickyBalancer()} {
		topic := "group-" + name
		_, err := m.admin.CreateTopic(m.within(), 4, 1, nil, topic)
		m.must(err)
		p := m.client(kgo.ProducerBatchCompression(kgo.ZstdCompression()))
		r := receiving(topic)
		a, b := m.join(name, r, balancer), m.join(name, r, balancer)
		m.holds(map[*member]int{a: 2, b: 2})
		m.send(p, topic, 0, 30_000)
		r.wait(m, 30_000)
		m.leave(b)
		m.holds(map[*member]int{a: 4})
		m.send(p, topic, 30_000, 60_000)
		c := m.join(name, r, balancer)
		m.send(p, topic, 60_000, 100_000)
		m.holds(map[*member]int{a: 2, c: 2})
		r.wait(m, 100_000)
		described, err := m.admin.DescribeGroups(m.within(), name)
		m.must(err)
		m.want(described[name].State == "Stable" && len(described[name].Members) == 2, "group %+v", described[name])
		m.leave(a, c)
		offsets, err := m.admin.FetchOffsets(m.within(), name)
		m.must(err)
		sum := int64(0)
		offsets.Each(func(o kadm.OffsetResponse) { sum += o.At })
		m.want(sum == 100_000, "committed %d", sum)
		lag, err := m.admin.Lag(m.within(), name)
		m.must(err)
		behind := lag[name]
		m.must(behind.Error())
		m.want(behind.Lag.Total() == 0, "lag %d", behind.Lag.Total())
		_, err = m.admin.DeleteGroups(m.within(), name)
		m.must(err)
		groups, err := m.admin.ListGroups(m.within())
		m.must(err)
		m.want(len(groups.Groups()) == 0, "groups %v", groups.Groups())
	}
}

func (m *kgoMatrix) regex() {
	p := m.client()
	m.send(p, "re-1", 0, 10)
	m.send(p, "other-re", 0, 10)
	c := m.client(kgo.ConsumeRegex(), kgo.ConsumeTopics("^re-.*"), kgo.ConsumerGroup("regex"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	m.read(c, "re-1", 10)
	m.must(c.CommitUncommittedOffsets(m.within()))
	m.send(p, "re-2", 0, 10)
	m.read(c, "re-2", 10)
	c.CloseAllowingRebalance()
}

func (m *kgoMatrix) seek() {
	const topic = "seek"
	_, err := m.admin.CreateTopic(m.within(), 1, 1, nil, topic)
	m.must(err)
	p := m.client(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	start := time.UnixMilli(1_600_000_000_000)
	for i := range 1000 {
		r := kgoRecord(topic, i)
		r.Timestamp = start.Add(time.Duration(i) * time.Second)
		p.Produce(m.Context(), r, nil)
		if i%50 == 49 {
			m.must(p.Flush(m.within()))
		}
	}
	at := func(o kgo.Offset) *kgo.Client {
		return m.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: o}}))
	}
	for want, o := range map[int64]kgo.Offset{
		0: kgo.NewOffset().AtStart(), 517: kgo.NewOffset().At(517), 990: kgo.NewOffset().AtEnd().Relative(-10),
		333: kgo.NewOffset().AfterMilli(start.UnixMilli() + 333_000), 334: kgo.NewOffset().AfterMilli(start.UnixMilli() + 333_001),
	} {
		r := m.first(at(o))
		m.want(r.Offset == want, "offset %d, want %d", r.Offset, want)
		m.want(r.Timestamp.Equal(start.Add(time.Duration(want)*time.Second)), "timestamp %v of offset %d", r.Timestamp, want)
	}
	c := at(kgo.NewOffset().AtStart())
	m.first(c)
	c.SetOffsets(map[string]map[int32]kgo.EpochOffset{topic: {0: {Epoch: -1, Offset: 700}}})
	r := m.first(c)
	m.want(r.Offset == 700, "offset %d after a seek to 700", r.Offset)
	after, err := m.admin.ListOffsetsAfterMilli(m.within(), start.UnixMilli()+10_000_000, topic)
	m.must(err)
	o, _ := after.Lookup(topic, 0)
	m.want(o.Offset == 1000, "after all: %+v", o)
	cut, err := m.admin.DeleteRecords(m.within(), kadm.Offsets{topic: {0: {Topic: topic, Partition: 0, At: 100}}})
	m.must(err)
	m.want(cut[topic][0].LowWatermark == 100, "cut to %+v", cut[topic][0])
	r = m.first(at(kgo.NewOffset().AtStart()))
	m.want(r.Offset == 100, "start %d after a cut", r.Offset)
}

func (m *kgoMatrix) pause() {
	const topic = "pause"
	p := m.client()
	m.send(p, topic, 0, 300)
	c := m.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	c.PauseFetchTopics(topic)
	ctx, cancel := context.WithTimeout(m.Context(), 200*time.Millisecond)
	defer cancel()
	m.want(c.PollFetches(ctx).NumRecords() == 0, "records while paused")
	c.ResumeFetchTopics(topic)
	m.read(c, topic, 300)
}

func (m *kgoMatrix) commit() {
	const topic = "commits"
	_, err := m.admin.CreateTopic(m.within(), 1, 1, nil, topic)
	m.must(err)
	m.send(m.client(), topic, 0, 100)
	in := func(opts ...kgo.Opt) *kgo.Client {
		return m.client(append(opts, kgo.ConsumerGroup("commits"), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	}
	c := in(kgo.DisableAutoCommit())
	r := m.first(c)
	m.must(c.CommitRecords(m.within(), r))
	c.Close()
	c = in(kgo.DisableAutoCommit())
	r = m.first(c)
	m.want(r.Offset == 1, "restart at %d after a commit of 1", r.Offset)
	c.Close()
	c = in(kgo.AutoCommitInterval(100 * time.Millisecond))
	// A record is committed after the poll that follows its own.
	for ctx, at := m.within(), int64(0); at != 100; {
		brief, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		c.PollFetches(brief)
		cancel()
		offsets, err := m.admin.FetchOffsets(ctx, "commits")
		m.must(err)
		o, _ := offsets.Lookup(topic, 0)
		at = o.At
	}
	c.Close()
}
