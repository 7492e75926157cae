package differential

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

func metadataOf(names ...string) *message.MetadataRequest {
	m := &message.MetadataRequest{Topics: []message.MetadataRequestTopic{}}
	for _, n := range names {
		m.Topics = append(m.Topics, message.MetadataRequestTopic{Name: &n})
	}
	return m
}

// everyVersion is a case that asks in every version there is: by the highest level, since that is one run.
func everyVersion(name string, f func(e *env) *message.MetadataRequest) testcase {
	return testcase{"metadata-" + name, func(e *env) {
		m := f(e)
		low, high := int16(0), int16(6)
		if e.level == highest {
			low, high = 7, 13
		}
		for v := low; v <= high; v++ {
			if v >= 1 || len(m.Topics) > 0 {
				e.at(m, v)
			}
		}
	}}
}

// paged is a case of DescribeTopicPartitions over three topics of 2, 3 and 1 partitions.
func paged(name string, f func(e *env, m *message.DescribeTopicPartitionsRequest)) testcase {
	return testcase{"partitions-" + name, func(e *env) {
		m := &message.DescribeTopicPartitionsRequest{ResponsePartitionLimit: 2000}
		for i, n := range []int32{2, 3, 1} {
			m.Topics = append(m.Topics, message.DescribeTopicPartitionsRequestTopic{Name: e.topic(fmt.Sprintf("t%d", i), n).name})
		}
		f(e, m)
		e.do(m)
	}}
}

func cursor(name string, p wire.Partition) *message.DescribeTopicPartitionsRequestCursor {
	return &message.DescribeTopicPartitionsRequestCursor{TopicName: name, PartitionIndex: p}
}

type pageRequest = message.DescribeTopicPartitionsRequest

var metadataCases = group{"metadata", []testcase{
	everyVersion("one", func(e *env) *message.MetadataRequest { return metadataOf(e.topic("t", 2).name) }),
	everyVersion("missing", func(e *env) *message.MetadataRequest { return metadataOf(e.unique("no")) }),
	everyVersion("bad-name", func(*env) *message.MetadataRequest { return metadataOf("a b") }),
	everyVersion("empty-name", func(*env) *message.MetadataRequest { return metadataOf("") }),
	everyVersion("none", func(*env) *message.MetadataRequest { return metadataOf() }),
	everyVersion("bad-name-create", func(*env) *message.MetadataRequest {
		m := metadataOf("a b", "..")
		m.AllowAutoTopicCreation = true
		return m
	}),
	everyVersion("authorized-operations", func(e *env) *message.MetadataRequest {
		m := metadataOf(e.topic("t", 1).name)
		m.IncludeClusterAuthorizedOperations, m.IncludeTopicAuthorizedOperations = true, true
		return m
	}),
	everyVersion("twice", func(e *env) *message.MetadataRequest { n := e.topic("t", 1).name; return metadataOf(n, n) }),
	{"metadata-all", func(e *env) {
		e.topic("t", 1)
		e.do(&message.MetadataRequest{})
	}},
	{"metadata-create", func(e *env) {
		m := metadataOf(e.unique("new"))
		m.AllowAutoTopicCreation = true
		e.do(m)
		r := until(e, m, 12, func(a *message.MetadataResponse) bool { return a.Topics[0].ErrorCode == wire.ErrNone })
		e.ids[r.Topics[0].TopicID] = "new"
		e.ready(*m.Topics[0].Name, len(r.Topics[0].Partitions))
		e.do(m)
	}},
	{"metadata-create-collides", func(e *env) {
		e.topic("a.b", 1)
		m := metadataOf(e.unique("a_b"))
		m.AllowAutoTopicCreation = true
		e.do(m)
	}},
	{"metadata-by-id", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id}}}, 12)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id}}}, 13)
	}},
	{"metadata-by-id-v10", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id}}}, 10)
	}},
	{"metadata-by-id-and-name-v11", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id, Name: &t.name}}}, 11)
	}},
	{"metadata-by-id-and-name", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id, Name: &t.name}}}, 12)
	}},
	{"metadata-by-id-and-by-name", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: t.id}, {Name: &t.name}}}, 12)
	}},
	{"metadata-by-unknown-id", func(e *env) {
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{TopicID: unknownID}}}, 12)
	}},
	{"metadata-by-nothing", func(e *env) {
		e.at(&message.MetadataRequest{Topics: []message.MetadataRequestTopic{{}}}, 12)
	}},
	{"metadata-internal", func(e *env) { e.do(metadataOf("__consumer_offsets")) }},
	paged("all", func(*env, *pageRequest) {}),
	paged("limit-2", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = 2 }),
	paged("limit-3", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = 3 }),
	paged("limit-5", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = 5 }),
	paged("limit-0", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = 0 }),
	paged("limit-negative", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = -1 }),
	paged("limit-1", func(_ *env, m *pageRequest) { m.ResponsePartitionLimit = 1 }),
	paged("cursor", func(_ *env, m *pageRequest) { m.Cursor = cursor(m.Topics[1].Name, 1) }),
	paged("cursor-past-partitions", func(_ *env, m *pageRequest) { m.Cursor = cursor(m.Topics[1].Name, 3) }),
	paged("cursor-negative", func(_ *env, m *pageRequest) { m.Cursor = cursor(m.Topics[1].Name, -1) }),
	paged("cursor-unknown-topic", func(e *env, m *pageRequest) { m.Cursor = cursor(e.unique("t05"), 1) }),
	paged("cursor-after-all", func(e *env, m *pageRequest) { m.Cursor = cursor(e.unique("z"), 0) }),
	paged("cursor-and-limit", func(_ *env, m *pageRequest) { m.Cursor, m.ResponsePartitionLimit = cursor(m.Topics[1].Name, 1), 2 }),
	paged("unknown", func(e *env, m *pageRequest) { m.Topics[1].Name = e.unique("no") }),
	paged("bad-name", func(_ *env, m *pageRequest) { m.Topics[1].Name = "a b" }),
	paged("empty-name", func(_ *env, m *pageRequest) { m.Topics[1].Name = "" }),
	paged("twice", func(_ *env, m *pageRequest) { m.Topics[1] = m.Topics[0] }),
}}
