package differential

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

func listOffsets(t topic, p wire.Partition, timestamp int64) *message.ListOffsetsRequest {
	return &message.ListOffsetsRequest{ReplicaID: wire.NoBroker, TimeoutMs: 1000, Topics: []message.ListOffsetsRequestTopic{{
		Name: t.name, Partitions: []message.ListOffsetsRequestPartition{{PartitionIndex: p, CurrentLeaderEpoch: -1, Timestamp: timestamp, MaxNumOffsets: 1}}}}}
}

func deleteRecords(t topic, p wire.Partition, before wire.Offset) *message.DeleteRecordsRequest {
	return &message.DeleteRecordsRequest{TimeoutMs: 5000, Topics: []message.DeleteRecordsRequestTopic{{Name: t.name,
		Partitions: []message.DeleteRecordsRequestPartition{{PartitionIndex: p, Offset: before}}}}}
}

func epochEnd(t topic, p wire.Partition, current, epoch wire.LeaderEpoch) *message.OffsetForLeaderEpochRequest {
	return &message.OffsetForLeaderEpochRequest{ReplicaID: wire.NoBroker, Topics: []message.OffsetForLeaderEpochRequestTopic{{Topic: t.name,
		Partitions: []message.OffsetForLeaderEpochRequestPartition{{Partition: p, CurrentLeaderEpoch: current, LeaderEpoch: epoch}}}}}
}

// timed returns a topic of one partition with records at times 1000, 3000 and 2000.
func timed(e *env) topic {
	t := e.topic("t", 1, "retention.ms=-1")
	for _, at := range []wire.Timestamp{1000, 3000, 2000} {
		quiet[*message.ProduceResponse](e, produce(t, 0, built(batch.Template{}, at, "v")), 9)
	}
	return t
}

// special asks for one timestamp in every version.
func special(timestamp int64) testcase {
	return testcase{fmt.Sprintf("list-%d", timestamp), func(e *env) {
		t := timed(e)
		if e.level == lowest {
			t = e.topic("empty", 1)
		}
		for v := int16(1); v <= 11; v++ {
			e.at(listOffsets(t, 0, timestamp), v)
		}
	}}
}

// listed is a case of ListOffsets for a topic of three records, after f has changed the request.
func listed(name string, f func(m *message.ListOffsetsRequest, p *message.ListOffsetsRequestPartition)) testcase {
	return testcase{name, func(e *env) {
		m := listOffsets(timed(e), 0, -1)
		f(m, &m.Topics[0].Partitions[0])
		e.do(m)
	}}
}

func deleted(name string, p wire.Partition, before wire.Offset) testcase {
	return testcase{name, func(e *env) {
		t := filled(e, 3)
		e.do(deleteRecords(t, p, before))
		e.do(listOffsets(t, 0, -2))
	}}
}

func epochs(name string, p wire.Partition, current, epoch wire.LeaderEpoch) testcase {
	return testcase{name, func(e *env) { e.do(epochEnd(filled(e, 3), p, current, epoch)) }}
}

type (
	listRequest   = message.ListOffsetsRequest
	listPartition = message.ListOffsetsRequestPartition
)

var offsetsCases = group{"offsets", []testcase{
	special(-1), special(-2), special(-3), special(-4), special(-5), special(-6), special(-7), special(-100),
	special(0), special(1000), special(1500), special(2500), special(3000), special(3001), special(1 << 62),
	listed("epoch-current", func(_ *listRequest, p *listPartition) { p.CurrentLeaderEpoch = 0 }),
	listed("epoch-unknown", func(_ *listRequest, p *listPartition) { p.CurrentLeaderEpoch = 5 }),
	listed("unknown-partition", func(_ *listRequest, p *listPartition) { p.PartitionIndex = 5 }),
	listed("negative-partition", func(_ *listRequest, p *listPartition) { p.PartitionIndex = -5 }),
	listed("unknown-topic", func(m *listRequest, _ *listPartition) { m.Topics[0].Name = "no-such-topic" }),
	listed("bad-topic", func(m *listRequest, _ *listPartition) { m.Topics[0].Name = "a b" }),
	listed("empty-topic", func(m *listRequest, _ *listPartition) { m.Topics[0].Name = "" }),
	listed("twice", func(m *listRequest, p *listPartition) {
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, *p)
	}),
	listed("twice-other-time", func(m *listRequest, p *listPartition) {
		q := *p
		q.Timestamp = -2
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, q)
	}),
	listed("read-committed", func(m *listRequest, _ *listPartition) { m.IsolationLevel = 1 }),
	listed("isolation-3", func(m *listRequest, _ *listPartition) { m.IsolationLevel = 3 }),
	listed("debugging-replica", func(m *listRequest, _ *listPartition) { m.ReplicaID = -2 }),
	listed("no-topics", func(m *listRequest, _ *listPartition) { m.Topics = nil }),
	deleted("delete-first", 0, 1),
	deleted("delete-all", 0, 3),
	deleted("delete-to-watermark", 0, -1),
	deleted("delete-past-end", 0, 4),
	deleted("delete-nothing", 0, 0),
	deleted("delete-very-negative", 0, -2),
	deleted("delete-unknown-partition", 5, 1),
	deleted("delete-negative-partition", -1, 1),
	{"delete-unknown-topic", func(e *env) { e.do(deleteRecords(topic{name: e.unique("no")}, 0, 1)) }},
	{"delete-bad-topic", func(e *env) { e.do(deleteRecords(topic{name: "a b"}, 0, 1)) }},
	{"delete-compacted", func(e *env) { e.do(deleteRecords(e.topic("t", 1, "cleanup.policy=compact"), 0, 0)) }},
	{"delete-compacted-deleted", func(e *env) { e.do(deleteRecords(e.topic("t", 1, "cleanup.policy=compact,delete"), 0, 0)) }},
	{"delete-internal", func(e *env) { e.do(deleteRecords(topic{name: "__consumer_offsets"}, 0, 0)) }},
	{"delete-below-start", func(e *env) {
		t := filled(e, 3)
		e.do(deleteRecords(t, 0, 2))
		e.do(deleteRecords(t, 0, 1))
	}},
	epochs("epoch-0", 0, -1, 0),
	epochs("epoch-0-current-0", 0, 0, 0),
	epochs("epoch-5", 0, -1, 5),
	epochs("epoch-negative", 0, -1, -1),
	epochs("epoch-very-negative", 0, -1, -7),
	epochs("epoch-current-unknown", 0, 5, 0),
	epochs("epoch-unknown-partition", 5, -1, 0),
	{"epoch-unknown-topic", func(e *env) { e.do(epochEnd(topic{name: e.unique("no")}, 0, -1, 0)) }},
	{"epoch-empty", func(e *env) { e.do(epochEnd(e.topic("t", 1), 0, -1, 0)) }},
	{"epoch-debugging-replica", func(e *env) {
		m := epochEnd(filled(e, 1), 0, -1, 0)
		m.ReplicaID = -2
		e.do(m)
	}},
}}
