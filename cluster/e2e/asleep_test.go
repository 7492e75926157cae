package e2e

import (
	"context"
	bigendian "encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/wire/batch"
)

// line is a client's connection, for requests that may lie in the socket for long before anybody reads them.
type line struct {
	t    *testing.T
	conn net.Conn
	sent int32
}

func dialled(t *testing.T, p *process) *line {
	t.Helper()
	conn, err := net.DialTimeout("tcp", p.client, 5*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l := &line{t: t, conn: conn}
	l.send(kmsg.NewPtrApiVersionsRequest()) // it is open, and served, before the broker is stopped
	l.receive(kmsg.NewPtrApiVersionsResponse(), false)
	return l
}

func (l *line) send(r kmsg.Request) {
	l.t.Helper()
	l.sent++
	if _, err := l.conn.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("asleep")).AppendRequest(nil, r, l.sent)); err != nil {
		l.t.Fatal(err)
	}
}

// receive reads the answer to a request of flexible versions into r.
func (l *line) receive(r kmsg.Response, tags bool) {
	l.t.Helper()
	if err := l.conn.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		l.t.Fatal(err)
	}
	size := make([]byte, 4)
	if _, err := io.ReadFull(l.conn, size); err != nil {
		l.t.Fatal(err)
	}
	b := make([]byte, bigendian.BigEndian.Uint32(size))
	if _, err := io.ReadFull(l.conn, b); err != nil {
		l.t.Fatal(err)
	}
	header := 4
	if tags {
		header++ // none
	}
	if err := r.ReadFrom(b[header:]); err != nil {
		l.t.Fatal(err)
	}
}

// question is a request whose answer tells how old the state is that it comes from.
type question struct {
	name  string
	line  *line
	ask   func() kmsg.Request
	reply func() kmsg.Response
	// stale returns what is wrong with the answer; "": nothing.
	stale func(kmsg.Response) string
}

// read receives the answer to what was sent.
func (q *question) read() {
	q.line.t.Helper()
	a := q.reply()
	q.line.receive(a, true)
	if why := q.stale(a); why != "" {
		q.line.t.Errorf("%s: %s", q.name, why)
	}
}

const (
	asleepTopic = "t"
	newEnd      = 2 // of the topic, after the others went on
	newCommit   = 200
)

// questions are those that a broker gets that led the topic's partition, and coordinated the group.
func questions(t *testing.T, p *process, topic [16]byte, group string) []*question {
	list := func() kmsg.Request {
		r := kmsg.NewPtrListOffsetsRequest()
		r.Version, r.ReplicaID = 8, -1
		q := kmsg.NewListOffsetsRequestTopicPartition()
		q.Timestamp = -1
		r.Topics = []kmsg.ListOffsetsRequestTopic{{Topic: asleepTopic, Partitions: []kmsg.ListOffsetsRequestTopicPartition{q}}}
		return r
	}
	fetch := func() kmsg.Request {
		r := kmsg.NewPtrFetchRequest()
		r.Version, r.MaxBytes, r.SessionID, r.SessionEpoch = 13, 1<<20, 0, -1
		q := kmsg.NewFetchRequestTopicPartition()
		q.PartitionMaxBytes = 1 << 20
		r.Topics = []kmsg.FetchRequestTopic{{TopicID: topic, Partitions: []kmsg.FetchRequestTopicPartition{q}}}
		return r
	}
	offsets := func() kmsg.Request {
		r := kmsg.NewPtrOffsetFetchRequest()
		r.Version = 8
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: asleepTopic, Partitions: []int32{0}}}
		r.Groups = []kmsg.OffsetFetchRequestGroup{g}
		return r
	}
	produce := func() kmsg.Request {
		var b batch.Builder
		b.Reset(batch.Template{})
		if err := b.Append(1, nil, []byte("lost"), nil); err != nil {
			t.Fatal(err)
		}
		records, err := b.Finish()
		if err != nil {
			t.Fatal(err)
		}
		r := kmsg.NewPtrProduceRequest()
		r.Version, r.Acks, r.TimeoutMillis = 9, 1, 5000
		r.Topics = []kmsg.ProduceRequestTopic{{Topic: asleepTopic, Partitions: []kmsg.ProduceRequestTopicPartition{{Records: records}}}}
		return r
	}
	responded := func(r func() kmsg.Request) func() kmsg.Response {
		return func() kmsg.Response {
			q := r()
			a := q.ResponseKind()
			a.SetVersion(q.GetVersion())
			return a
		}
	}
	return []*question{
		{"ListOffsets", dialled(t, p), list, responded(list), func(r kmsg.Response) string {
			a := r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0]
			if a.ErrorCode == 0 && a.Offset < newEnd {
				return fmt.Sprintf("the end is %d", a.Offset)
			}
			return ""
		}},
		{"Fetch", dialled(t, p), fetch, responded(fetch), func(r kmsg.Response) string {
			a := r.(*kmsg.FetchResponse).Topics[0].Partitions[0]
			if a.ErrorCode == 0 && a.HighWatermark < newEnd {
				return fmt.Sprintf("the watermark is %d", a.HighWatermark)
			}
			return ""
		}},
		{"OffsetFetch", dialled(t, p), offsets, responded(offsets), func(r kmsg.Response) string {
			a := r.(*kmsg.OffsetFetchResponse).Groups[0]
			if a.ErrorCode == 0 && a.Topics[0].Partitions[0].Offset != newCommit {
				return fmt.Sprintf("the committed offset is %d", a.Topics[0].Partitions[0].Offset)
			}
			return ""
		}},
		{"Produce", dialled(t, p), produce, responded(produce), func(r kmsg.Response) string {
			if a := r.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; a.ErrorCode == 0 {
				return fmt.Sprintf("acknowledged at %d", a.BaseOffset)
			}
			return ""
		}},
	}
}

// A broker is stopped for longer than its session, and others lead and coordinate in its place. What lay in its sockets meanwhile, and what
// comes just after it woke, it does not answer from what it knew before (A29).
func TestAPausedLeaderAnswersNothingItMayNoLongerKnow(t *testing.T) {
	for _, name := range []string{"a broker", "the controller"} {
		t.Run(name, func(t *testing.T) {
			f := form(t, 3, "--set", "broker.session.timeout.ms=2000", "--set", "broker.heartbeat.interval.ms=300", "--set", "offsets.topic.num.partitions=12", "--set", "auto.leader.rebalance.enable=false")
			paused := f.controller()
			if name != "the controller" {
				paused = f.others(paused)[0]
			}
			other := f.others(paused)[0]
			topic := asleepLeads(t, f, paused)
			group := asleepCoordinates(t, f, paused)
			asked := questions(t, paused, topic, group)
			paused.suspend()
			defer func() { _ = paused.cmd.Process.Signal(syscall.SIGCONT) }() // so that it can be ended
			for _, q := range asked {
				q.line.send(q.ask())
			}
			f.until("others go on", func() bool {
				_, err := ask(other, func(ctx context.Context, c *kgo.Client) (struct{}, error) {
					return struct{}{}, asleepWrites(ctx, c, group, newCommit)
				})
				return err == nil
			})
			if err := paused.cmd.Process.Signal(syscall.SIGCONT); err != nil {
				t.Fatal(err)
			}
			for _, q := range asked {
				q.read()
			}
			for end := time.Now().Add(2 * time.Second); time.Now().Before(end) && !t.Failed(); {
				for _, q := range asked {
					q.line.send(q.ask())
					q.read()
				}
			}
			f.settled() // it is one of the cluster again
		})
	}
}

// asleepWrites writes a record to the topic, unless there are as many as there should be, and commits an offset.
func asleepWrites(ctx context.Context, c *kgo.Client, group string, at int64) error {
	admin := kadm.NewClient(c)
	ends, err := admin.ListEndOffsets(ctx, asleepTopic)
	if err != nil {
		return err
	}
	end, ok := ends.Lookup(asleepTopic, 0)
	if !ok || end.Err != nil {
		return fmt.Errorf("the end of the topic: %w", end.Err)
	}
	if at != newCommit || end.Offset < newEnd {
		if err := c.ProduceSync(ctx, &kgo.Record{Topic: asleepTopic, Value: []byte("v")}).FirstErr(); err != nil {
			return err
		}
	}
	var offsets kadm.Offsets
	offsets.AddOffset(asleepTopic, 0, at, -1)
	committed, err := admin.CommitOffsets(ctx, group, offsets)
	if err != nil {
		return err
	}
	return committed.Error()
}

// asleepLeads makes a topic that a broker leads, and returns its id.
func asleepLeads(t *testing.T, f *formation, p *process) [16]byte {
	t.Helper()
	r := kmsg.NewPtrCreateTopicsRequest()
	q := kmsg.NewCreateTopicsRequestTopic()
	q.Topic, q.NumPartitions, q.ReplicationFactor = asleepTopic, -1, -1
	replicas := []int32{p.broker}
	for _, n := range f.nodes {
		if !slices.Contains(replicas, n.broker) {
			replicas = append(replicas, n.broker)
		}
	}
	q.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: replicas}}
	r.Topics = append(r.Topics, q)
	a, err := ask(p, func(ctx context.Context, c *kgo.Client) (*kmsg.CreateTopicsResponse, error) {
		return r.RequestWith(ctx, c)
	})
	if err != nil || a.Topics[0].ErrorCode != 0 {
		t.Fatalf("create the topic: %+v, %v", a, err)
	}
	return a.Topics[0].TopicID
}

// asleepCoordinates returns a group that a broker coordinates, and that has committed an offset; the topic has a record then.
func asleepCoordinates(t *testing.T, f *formation, p *process) string {
	t.Helper()
	for i := range 200 {
		group := fmt.Sprintf("g%d", i)
		r := kmsg.NewPtrFindCoordinatorRequest()
		r.CoordinatorKeys = []string{group}
		var at int32
		f.until("the group has a coordinator", func() bool {
			a, err := ask(p, func(ctx context.Context, c *kgo.Client) (*kmsg.FindCoordinatorResponse, error) {
				return r.RequestWith(ctx, c)
			})
			if err != nil || a.Coordinators[0].ErrorCode != 0 {
				return false
			}
			at = a.Coordinators[0].NodeID
			return true
		})
		if at != p.broker {
			continue
		}
		if _, err := ask(p, func(ctx context.Context, c *kgo.Client) (struct{}, error) {
			return struct{}{}, asleepWrites(ctx, c, group, 100)
		}); err != nil {
			t.Fatal(err)
		}
		return group
	}
	t.Fatalf("broker %d coordinates nothing", p.broker)
	return ""
}
