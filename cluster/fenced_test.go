package cluster_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// produceAt has a broker append a record to partition 0 of a topic, and returns what it answers. franz-go writes the client's own acks
// into the request.
func produceAt(t *testing.T, c *kgo.Client, broker int32, topic string, id [16]byte) kmsg.ProduceResponseTopicPartition {
	t.Helper()
	var b batch.Builder
	b.Reset(batch.Template{})
	if err := b.Append(1, nil, []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	records, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	q := kmsg.NewPtrProduceRequest()
	q.TimeoutMillis = 10_000
	qt := kmsg.NewProduceRequestTopic()
	qt.Topic, qt.TopicID = topic, id
	qp := kmsg.NewProduceRequestTopicPartition()
	qp.Records = records
	qt.Partitions = append(qt.Partitions, qp)
	q.Topics = append(q.Topics, qt)
	answer, err := c.Broker(int(broker)).RetriableRequest(limited(t), q)
	if err != nil {
		t.Fatal(err)
	}
	return answer.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
}

// fetchAt asks a broker for records of partition 0 of a topic as a consumer does, and returns the error code.
func fetchAt(t *testing.T, c *kgo.Client, broker int32, id [16]byte, offset int64) int16 {
	t.Helper()
	q := kmsg.NewPtrFetchRequest()
	q.Version, q.MaxBytes, q.SessionEpoch = 13, 1<<20, -1
	p := kmsg.NewFetchRequestTopicPartition()
	p.FetchOffset, p.PartitionMaxBytes = offset, 1<<20
	q.Topics = []kmsg.FetchRequestTopic{{TopicID: id, Partitions: []kmsg.FetchRequestTopicPartition{p}}}
	answer, err := c.Broker(int(broker)).RetriableRequest(limited(t), q)
	if err != nil {
		t.Fatal(err)
	}
	return answer.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode
}

// A leader whose session has run out may have been fenced, and another may lead: it does not say that it has what only it has, and names
// who leads, as far as it knows (KIP-951). What all have that are in sync, it may say: so the cluster outlives its controller.
func TestALeaderThatMayBeFencedSpeaksForTheISRAlone(t *testing.T) {
	settings := map[string]string{"broker.session.timeout.ms": "1000", "broker.heartbeat.interval.ms": "200"}
	nodes := []*kraftgotest.Node{kraftgotest.Start(t, settings)}
	nodes = append(nodes, nodes[0].Join(settings), nodes[0].Join(settings))
	own := nodes[2]
	one := client(t, own, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	all := client(t, own, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.DisableIdempotentWrite())
	q := kmsg.NewPtrCreateTopicsRequest()
	qt := kmsg.NewCreateTopicsRequestTopic()
	qt.Topic, qt.NumPartitions, qt.ReplicationFactor = "t", -1, -1
	qt.ReplicaAssignment = []kmsg.CreateTopicsRequestTopicReplicaAssignment{{Partition: 0, Replicas: []int32{own.Broker()}}}
	q.Topics = append(q.Topics, qt)
	made, err := q.RequestWith(limited(t), one)
	if err != nil || made.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v, %v", made, err)
	}
	id := made.Topics[0].TopicID
	for _, c := range []*kgo.Client{one, all} {
		eventually(t, "it takes records", func() bool { return produceAt(t, c, own.Broker(), "t", id).ErrorCode == 0 })
	}
	if code := fetchAt(t, all, own.Broker(), id, 1<<40); code != kerr.OffsetOutOfRange.Code {
		t.Errorf("fetch past the end: %d", code)
	}
	// Without a majority nobody can tell this broker that it is not fenced.
	nodes[0].Stop()
	nodes[1].Stop()
	var p kmsg.ProduceResponseTopicPartition
	eventually(t, "it refuses", func() bool { p = produceAt(t, one, own.Broker(), "t", id); return p.ErrorCode != 0 })
	if p.ErrorCode != kerr.NotLeaderForPartition.Code || p.CurrentLeader.LeaderID != own.Broker() || p.CurrentLeader.LeaderEpoch != 0 {
		t.Errorf("%+v", p)
	}
	if p := produceAt(t, all, own.Broker(), "t", id); p.ErrorCode != 0 {
		t.Errorf("acks=all: %+v", p)
	}
	// A consumer that has read more from the new leader must not begin anew for what the old one says. (Level 2 of the simulation, seed
	// 200408: it began at 0.)
	if code := fetchAt(t, all, own.Broker(), id, 1<<40); code != kerr.NotLeaderForPartition.Code {
		t.Errorf("fetch past the end of what may be the old leader's log: %d", code)
	}
	if code := fetchAt(t, all, own.Broker(), id, 0); code != 0 {
		t.Errorf("fetch of what it has: %d", code)
	}
}
