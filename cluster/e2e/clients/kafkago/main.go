// Kafkago runs segmentio/kafka-go against a broker whose num.partitions is 3.
//
// Arguments: BOOTSTRAP RECORDS. Every check prints one line of JSON; the exit code is 1 if one failed.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/segmentio/kafka-go"
)

var (
	bootstrap string
	failed    bool
)

func main() {
	bootstrap = os.Args[1]
	records, err := strconv.Atoi(os.Args[2])
	if err != nil {
		panic(err)
	}
	check("create, describe, delete topics", topics)
	for name, codec := range map[string]kafka.Compression{"none": 0, "gzip": kafka.Gzip, "snappy": kafka.Snappy, "lz4": kafka.Lz4, "zstd": kafka.Zstd} {
		for acksName, acks := range map[string]kafka.RequiredAcks{"0": kafka.RequireNone, "1": kafka.RequireOne, "all": kafka.RequireAll} {
			check("produce "+name+" acks="+acksName+", partition readers", func(ctx context.Context) error {
				return produced(ctx, name+"-"+acksName, codec, acks, 2000)
			})
		}
	}
	check("group: two members, one leaves, one joins", func(ctx context.Context) error { return group(ctx, records) })
	check("seek", seek)
	check("commit and restart", commits)
	if failed {
		os.Exit(1)
	}
}

func check(name string, f func(context.Context) error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	start := time.Now()
	err := f(ctx)
	detail := ""
	if err != nil {
		failed, detail = true, err.Error()
	}
	line, _ := json.Marshal(map[string]any{"check": name, "ok": err == nil, "ms": time.Since(start).Milliseconds(), "detail": detail})
	fmt.Println(string(line))
}

func message(topic string, i int) kafka.Message {
	return kafka.Message{
		Key: fmt.Appendf(nil, "k%d", i), Value: append(fmt.Appendf(nil, "%s-%d-", topic, i), bytes.Repeat([]byte("x"), i%97)...),
		Headers: []kafka.Header{{Key: "n", Value: fmt.Appendf(nil, "k%d", i)}},
	}
}

func create(topic string, partitions int) error {
	c, err := kafka.Dial("tcp", bootstrap)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.CreateTopics(kafka.TopicConfig{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1, ConfigEntries: []kafka.ConfigEntry{{ConfigName: "retention.ms", ConfigValue: "-1"}}})
}

func topics(ctx context.Context) error {
	if err := create("made", 5); err != nil {
		return err
	}
	c, err := kafka.DialContext(ctx, "tcp", bootstrap)
	if err != nil {
		return err
	}
	defer c.Close()
	partitions, err := c.ReadPartitions("made")
	if err != nil {
		return err
	}
	if len(partitions) != 5 || partitions[0].Leader.Port == 0 {
		return fmt.Errorf("partitions %v", partitions)
	}
	client := &kafka.Client{Addr: kafka.TCP(bootstrap)}
	d, err := client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: "made", ConfigNames: []string{"retention.ms"}}}})
	if err != nil {
		return err
	}
	if len(d.Resources) != 1 || d.Resources[0].ConfigEntries[0].ConfigValue != "-1" {
		return fmt.Errorf("configs %+v", d)
	}
	if err := c.DeleteTopics("made"); err != nil {
		return err
	}
	// Asking for the topic by its name would make it.
	partitions, err = c.ReadPartitions()
	for _, p := range partitions {
		if p.Topic == "made" {
			return errors.New("the topic that was deleted is there")
		}
	}
	return err
}

func send(ctx context.Context, topic string, codec kafka.Compression, acks kafka.RequiredAcks, from, to int) error {
	w := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: topic, Compression: codec, RequiredAcks: acks, BatchTimeout: 5 * time.Millisecond, BatchSize: 500, Balancer: &kafka.Hash{}, AllowAutoTopicCreation: true}
	var list []kafka.Message
	for i := from; i < to; i++ {
		list = append(list, message(topic, i))
	}
	return errors.Join(w.WriteMessages(ctx, list...), w.Close())
}

// seen checks what is consumed: once, in order, as it was sent.
type seen struct {
	mu    sync.Mutex
	topic string
	times map[int]bool
	last  map[int]int
	loose bool // the order is not checked
}

func newSeen(topic string) *seen {
	return &seen{topic: topic, times: map[int]bool{}, last: map[int]int{}}
}

func (s *seen) add(m kafka.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := strconv.Atoi(string(m.Key[1:]))
	if err != nil {
		return err
	}
	want := message(s.topic, i)
	before, ok := s.last[m.Partition]
	switch {
	case !bytes.Equal(m.Value, want.Value) || len(m.Headers) != 1 || m.Headers[0].Key != "n" || !bytes.Equal(m.Headers[0].Value, want.Key):
		return fmt.Errorf("record %d is %q, %v", i, m.Value, m.Headers)
	case s.times[i]:
		return fmt.Errorf("record %d again at %d/%d", i, m.Partition, m.Offset)
	case ok && before >= i && !s.loose:
		return fmt.Errorf("record %d after %d in partition %d", i, before, m.Partition)
	}
	s.times[i], s.last[m.Partition] = true, i
	return nil
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.times)
}

func reader(topic string, partition int) *kafka.Reader {
	return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, Topic: topic, Partition: partition, MaxWait: 50 * time.Millisecond})
}

// arrived waits until a topic has n records, of which acks=0 tells nothing, and returns the ends of its partitions.
func arrived(ctx context.Context, topic string, n int) ([]int64, error) {
	client := &kafka.Client{Addr: kafka.TCP(bootstrap)}
	for start := time.Now(); ; {
		asked := map[string][]kafka.OffsetRequest{topic: {kafka.LastOffsetOf(0), kafka.LastOffsetOf(1), kafka.LastOffsetOf(2)}}
		r, err := client.ListOffsets(ctx, &kafka.ListOffsetsRequest{Topics: asked})
		if err != nil {
			return nil, err
		}
		ends, sum := make([]int64, 3), int64(0)
		for _, p := range r.Topics[topic] {
			ends[p.Partition] = p.LastOffset
			sum += p.LastOffset
		}
		if sum >= int64(n) {
			return ends, nil
		}
		if time.Since(start) > 5*time.Second {
			return nil, fmt.Errorf("ends %v after 5 s, want a sum of %d", ends, n)
		}
	}
}

func produced(ctx context.Context, topic string, codec kafka.Compression, acks kafka.RequiredAcks, n int) error {
	if err := create(topic, 3); err != nil {
		return err
	}
	if err := send(ctx, topic, codec, acks, 0, n); err != nil {
		return err
	}
	ends, err := arrived(ctx, topic, n)
	if err != nil {
		return err
	}
	s := newSeen(topic)
	// With acks=0 this client may send a writer's batches by several connections at once. Against Kafka too, a
	// later one sometimes comes first.
	s.loose = acks == kafka.RequireNone
	for p, end := range ends {
		r := reader(topic, p)
		for at := int64(0); at < end; at++ {
			m, err := r.ReadMessage(ctx)
			if err != nil {
				return err
			}
			if m.Offset != at {
				return fmt.Errorf("offset %d, want %d", m.Offset, at)
			}
			if err := s.add(m); err != nil {
				return err
			}
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	if s.count() != n {
		return fmt.Errorf("%d of %d records", s.count(), n)
	}
	return nil
}

// member is a reader of a group, which commits each record that it has worked on.
type member struct {
	reader *kafka.Reader
	stop   context.CancelFunc
	done   chan error
	mu     sync.Mutex
	from   map[int]bool // partitions it has had records of
}

func join(ctx context.Context, id string, s *seen) *member {
	ctx, stop := context.WithCancel(ctx)
	m := &member{stop: stop, done: make(chan error, 1), from: map[int]bool{}}
	m.reader = kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{bootstrap}, GroupID: id, Topic: s.topic, StartOffset: kafka.FirstOffset, MaxWait: 50 * time.Millisecond,
		HeartbeatInterval: 100 * time.Millisecond, JoinGroupBackoff: 100 * time.Millisecond, SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second,
	})
	go func() {
		for {
			r, err := m.reader.FetchMessage(ctx)
			if ctx.Err() != nil || errors.Is(err, io.EOF) {
				m.done <- m.reader.Close()
				return
			}
			if err == nil {
				err = s.add(r)
			}
			if err == nil && (r.Offset%100 == 99 || s.count()%100 == 0 || r.Offset == r.HighWaterMark-1) {
				err = m.reader.CommitMessages(context.WithoutCancel(ctx), r)
			}
			if err != nil {
				m.done <- err
				return
			}
			m.mu.Lock()
			m.from[r.Partition] = true
			m.mu.Unlock()
		}
	}()
	return m
}

func (m *member) leave() error {
	m.stop()
	return <-m.done
}

func waitFor(ctx context.Context, what string, members []*member, holds func() bool) error {
	for tick := time.NewTicker(5 * time.Millisecond); !holds(); {
		for _, m := range members {
			select {
			case err := <-m.done:
				return fmt.Errorf("%s: a member ended: %w", what, err)
			default:
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
	return nil
}

// held asks the group how many partitions each of its members has.
func held(ctx context.Context, id string) []int {
	client := &kafka.Client{Addr: kafka.TCP(bootstrap)}
	r, err := client.DescribeGroups(ctx, &kafka.DescribeGroupsRequest{GroupIDs: []string{id}})
	if err != nil || r.Groups[0].GroupState != "Stable" {
		return nil
	}
	var out []int
	for _, m := range r.Groups[0].Members {
		n := 0
		for _, t := range m.MemberAssignments.Topics {
			n += len(t.Partitions)
		}
		out = append(out, n)
	}
	return out
}

func group(ctx context.Context, n int) error {
	const id = "g"
	if err := create("big", 4); err != nil {
		return err
	}
	s := newSeen("big")
	a, b := join(ctx, id, s), join(ctx, id, s)
	two := func() bool { h := held(ctx, id); return len(h) == 2 && h[0] == 2 && h[1] == 2 }
	if err := waitFor(ctx, "two members", []*member{a, b}, two); err != nil {
		return err
	}
	if err := send(ctx, "big", kafka.Lz4, kafka.RequireAll, 0, n/2); err != nil {
		return err
	}
	if err := waitFor(ctx, "the first half", []*member{a, b}, func() bool { return s.count() >= n/2 }); err != nil {
		return err
	}
	if err := b.leave(); err != nil {
		return err
	}
	if err := waitFor(ctx, "one member", []*member{a}, func() bool { h := held(ctx, id); return len(h) == 1 && h[0] == 4 }); err != nil {
		return err
	}
	if err := send(ctx, "big", kafka.Lz4, kafka.RequireAll, n/2, n*3/4); err != nil {
		return err
	}
	if err := waitFor(ctx, "three quarters", []*member{a}, func() bool { return s.count() >= n*3/4 }); err != nil {
		return err
	}
	c := join(ctx, id, s)
	if err := waitFor(ctx, "a new member", []*member{a, c}, two); err != nil {
		return err
	}
	if err := send(ctx, "big", kafka.Lz4, kafka.RequireAll, n*3/4, n); err != nil {
		return err
	}
	if err := waitFor(ctx, "all", []*member{a, c}, func() bool { return s.count() >= n }); err != nil {
		return err
	}
	return errors.Join(a.leave(), c.leave())
}

func seek(ctx context.Context) error {
	if err := create("seek", 1); err != nil {
		return err
	}
	start := time.UnixMilli(1_600_000_000_000)
	w := &kafka.Writer{Addr: kafka.TCP(bootstrap), Topic: "seek", RequiredAcks: kafka.RequireAll, BatchSize: 50, BatchTimeout: 5 * time.Millisecond, AllowAutoTopicCreation: true}
	var list []kafka.Message
	for i := range 1000 {
		m := message("seek", i)
		m.Time = start.Add(time.Duration(i) * time.Second)
		list = append(list, m)
	}
	if err := errors.Join(w.WriteMessages(ctx, list...), w.Close()); err != nil {
		return err
	}
	r := reader("seek", 0)
	defer r.Close()
	for _, step := range []struct {
		set  func() error
		want int64
	}{
		{func() error { return r.SetOffset(517) }, 517},
		{func() error { return r.SetOffset(kafka.FirstOffset) }, 0},
		{func() error { return r.SetOffsetAt(ctx, start.Add(333*time.Second)) }, 333},
		{func() error { return r.SetOffsetAt(ctx, start.Add(333*time.Second+time.Millisecond)) }, 334},
	} {
		if err := step.set(); err != nil {
			return err
		}
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return err
		}
		if m.Offset != step.want || !m.Time.Equal(start.Add(time.Duration(step.want)*time.Second)) {
			return fmt.Errorf("offset %d of %v, want %d", m.Offset, m.Time, step.want)
		}
	}
	return nil
}

func commits(ctx context.Context) error {
	if err := create("commits", 1); err != nil {
		return err
	}
	if err := send(ctx, "commits", kafka.Snappy, kafka.RequireAll, 0, 100); err != nil {
		return err
	}
	open := func(interval time.Duration) *kafka.Reader {
		return kafka.NewReader(kafka.ReaderConfig{Brokers: []string{bootstrap}, GroupID: "commits", Topic: "commits", StartOffset: kafka.FirstOffset, MaxWait: 50 * time.Millisecond, HeartbeatInterval: 100 * time.Millisecond, CommitInterval: interval})
	}
	read := func(r *kafka.Reader, from, to int64, commit bool) error {
		for at := from; at < to; at++ {
			m, err := r.FetchMessage(ctx)
			if err != nil {
				return err
			}
			if m.Offset != at {
				return fmt.Errorf("offset %d, want %d", m.Offset, at)
			}
			if commit {
				if err := r.CommitMessages(ctx, m); err != nil {
					return err
				}
			}
		}
		return r.Close()
	}
	return errors.Join(
		read(open(0), 0, 10, true),                    // each by itself
		read(open(50*time.Millisecond), 10, 60, true), // by intervals
		read(open(0), 60, 100, false),                 // none
		read(open(0), 60, 100, true),
	)
}
