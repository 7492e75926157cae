package differential

import (
	"strings"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

type newTopic = message.CreateTopicsRequestTopic

// assignments are those of a topic: one list of brokers a partition.
func assignments(first wire.Partition, lists ...[]wire.BrokerID) []message.CreateTopicsRequestAssignment {
	var out []message.CreateTopicsRequestAssignment
	for i, list := range lists {
		out = append(out, message.CreateTopicsRequestAssignment{PartitionIndex: first + wire.Partition(i), BrokerIDs: list})
	}
	return out
}

func createTopics(topics ...newTopic) *message.CreateTopicsRequest {
	return &message.CreateTopicsRequest{Topics: topics, TimeoutMs: 10_000}
}

// created is a case that creates one topic, and tries the same without doing it first.
func created(name string, f func(e *env, t *newTopic)) testcase {
	return testcase{name, func(e *env) {
		t := newTopic{Name: e.unique("t"), NumPartitions: 1, ReplicationFactor: 1}
		f(e, &t)
		m := createTopics(t)
		m.ValidateOnly = true
		e.created(m)
		m.ValidateOnly = false
		e.created(m)
	}}
}

// created asks, and leaves out of the answer the configs that are not the topic's own: they are compared once, in
// create/configs.
func (e *env) created(m *message.CreateTopicsRequest) {
	v := e.version(m.APIKey())
	e.at(m, min(v, 4))
	if v > 4 {
		a := quiet[*message.CreateTopicsResponse](e, m, v)
		for i := range a.Topics {
			a.Topics[i].TopicID, a.Topics[i].Configs = wire.TopicID{}, nil
		}
		e.note("v%d\n%s", v, e.render(a))
	}
}

// configured is a case that creates a topic with one setting.
func configured(name, key string, value *string) testcase {
	return created("config-"+name, func(_ *env, t *newTopic) {
		t.Configs = []message.CreateTopicsRequestConfig{{Name: key, Value: value}}
	})
}

type morePartitions = message.CreatePartitionsRequestTopic

// grown is a case that adds partitions to a topic of two.
func grown(name string, f func(e *env, t *morePartitions)) testcase {
	return testcase{"grow-" + name, func(e *env) {
		q := morePartitions{Name: e.topic("t", 2).name, Count: 3}
		f(e, &q)
		m := &message.CreatePartitionsRequest{Topics: []morePartitions{q}, TimeoutMs: 10_000, ValidateOnly: true}
		e.do(m)
		m.ValidateOnly = false
		e.do(m)
	}}
}

type brokers = []wire.BrokerID

var topicCases = group{"topics", []testcase{
	created("good", func(*env, *newTopic) {}),
	created("defaults", func(_ *env, t *newTopic) { t.NumPartitions, t.ReplicationFactor = -1, -1 }),
	created("partitions-0", func(_ *env, t *newTopic) { t.NumPartitions = 0 }),
	created("partitions-minus-2", func(_ *env, t *newTopic) { t.NumPartitions = -2 }),
	created("partitions-far-too-many", func(_ *env, t *newTopic) { t.NumPartitions = 1 << 30 }),
	created("replicas-0", func(_ *env, t *newTopic) { t.ReplicationFactor = 0 }),
	created("replicas-minus-2", func(_ *env, t *newTopic) { t.ReplicationFactor = -2 }),
	created("replicas-2", func(_ *env, t *newTopic) { t.ReplicationFactor = 2 }),
	created("replicas-32767", func(_ *env, t *newTopic) { t.ReplicationFactor = 32767 }),
	created("name-empty", func(_ *env, t *newTopic) { t.Name = "" }),
	created("name-dot", func(_ *env, t *newTopic) { t.Name = "." }),
	created("name-dots", func(_ *env, t *newTopic) { t.Name = ".." }),
	created("name-space", func(_ *env, t *newTopic) { t.Name = "a b" }),
	created("name-slash", func(_ *env, t *newTopic) { t.Name = "a/b" }),
	created("name-unicode", func(_ *env, t *newTopic) { t.Name = "caf\u00e9" }),
	created("name-249", func(e *env, t *newTopic) { t.Name = e.unique("t" + strings.Repeat("x", 249-len(t.Name))) }),
	created("name-250", func(e *env, t *newTopic) { t.Name = strings.Repeat("x", 250) }),
	created("name-internal", func(_ *env, t *newTopic) { t.Name = "__consumer_offsets" }),
	created("name-cluster-metadata", func(_ *env, t *newTopic) { t.Name = "__cluster_metadata" }),
	created("assigned", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{e.target.broker}, brokers{e.target.broker})
	}),
	created("assigned-and-counted", func(e *env, t *newTopic) {
		t.Assignments = assignments(0, brokers{e.target.broker})
	}),
	created("assigned-and-replicas", func(e *env, t *newTopic) {
		t.NumPartitions = -1
		t.Assignments = assignments(0, brokers{e.target.broker})
	}),
	created("assigned-unknown-broker", func(_ *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{99})
	}),
	created("assigned-negative-broker", func(_ *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{-1})
	}),
	created("assigned-broker-twice", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{e.target.broker, e.target.broker})
	}),
	created("assigned-nobody", func(_ *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{})
	}),
	created("assigned-with-gap", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = append(assignments(0, brokers{e.target.broker}), assignments(2, brokers{e.target.broker})...)
	}),
	created("assigned-from-1", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(1, brokers{e.target.broker})
	}),
	created("assigned-negative-partition", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(-1, brokers{e.target.broker})
	}),
	created("assigned-partition-twice", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = append(assignments(0, brokers{e.target.broker}), assignments(0, brokers{e.target.broker})...)
	}),
	created("assigned-unequal", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = assignments(0, brokers{e.target.broker}, brokers{e.target.broker, 99})
	}),
	configured("good", "retention.ms", ptr("1000")),
	configured("unknown", "no.such.config", ptr("1")),
	configured("empty-name", "", ptr("1")),
	configured("null", "retention.ms", nil),
	configured("not-a-number", "retention.ms", ptr("soon")),
	configured("empty-number", "retention.ms", ptr("")),
	configured("out-of-range", "retention.ms", ptr("-2")),
	configured("int-overflow", "max.message.bytes", ptr("2147483648")),
	configured("spaces", "retention.ms", ptr(" 1000 ")),
	configured("not-boolean", "preallocate", ptr("maybe")),
	configured("boolean-capitals", "preallocate", ptr("TRUE")),
	configured("bad-list", "cleanup.policy", ptr("delete,shred")),
	configured("empty-list", "cleanup.policy", ptr("")),
	configured("bad-enum", "compression.type", ptr("brotli")),
	configured("enum-capitals", "compression.type", ptr("ZSTD")),
	configured("timestamp-type", "message.timestamp.type", ptr("SomeTime")),
	configured("min-isr-0", "min.insync.replicas", ptr("0")),
	configured("ratio-2", "min.cleanable.dirty.ratio", ptr("2")),
	configured("ratio-text", "min.cleanable.dirty.ratio", ptr("half")),
	configured("segment-bytes-small", "segment.bytes", ptr("1")),
	configured("gzip-level-10", "compression.gzip.level", ptr("10")),
	configured("remote", "remote.storage.enable", ptr("true")),
	configured("throttled", "leader.replication.throttled.replicas", ptr("x")),
	configured("message-format", "message.format.version", ptr("2.0")),
	configured("local-retention", "local.retention.ms", ptr("999999999999")),
	created("config-twice", func(_ *env, t *newTopic) {
		t.Configs = []message.CreateTopicsRequestConfig{{Name: "retention.ms", Value: ptr("1")}, {Name: "retention.ms", Value: ptr("2")}}
	}),
	created("config-lag-relation", func(_ *env, t *newTopic) {
		t.Configs = []message.CreateTopicsRequestConfig{{Name: "min.compaction.lag.ms", Value: ptr("10")}, {Name: "max.compaction.lag.ms", Value: ptr("5")}}
	}),
	{"configs", func(e *env) {
		e.do(createTopics(newTopic{Name: e.unique("t"), NumPartitions: 2, ReplicationFactor: 1,
			Configs: []message.CreateTopicsRequestConfig{{Name: "retention.ms", Value: ptr("1000")}, {Name: "cleanup.policy", Value: ptr("compact,delete")}}}))
	}},
	{"exists", func(e *env) {
		t := e.topic("t", 1)
		e.do(createTopics(newTopic{Name: t.name, NumPartitions: 1, ReplicationFactor: 1}))
		e.do(createTopics(newTopic{Name: t.name, NumPartitions: 0, ReplicationFactor: 9, Configs: []message.CreateTopicsRequestConfig{{Name: "x"}}}))
	}},
	{"collides", func(e *env) {
		t := e.topic("a.b", 1)
		e.do(createTopics(newTopic{Name: strings.ReplaceAll(t.name, "a.b", "a_b"), NumPartitions: 1, ReplicationFactor: 1}))
	}},
	{"collides-in-request", func(e *env) {
		m := createTopics(newTopic{Name: e.unique("a.b"), NumPartitions: 1, ReplicationFactor: 1}, newTopic{Name: e.unique("a_b"), NumPartitions: 1, ReplicationFactor: 1})
		m.ValidateOnly = true
		e.at(m, 4)
	}},
	{"twice-in-request", func(e *env) {
		t := newTopic{Name: e.unique("t"), NumPartitions: 1, ReplicationFactor: 1}
		other := t
		other.Name = e.unique("other")
		e.at(createTopics(t, t, other), 4)
	}},
	{"no-topics", func(e *env) { e.do(createTopics()) }},
	{"one-good-one-bad", func(e *env) {
		e.at(createTopics(newTopic{Name: e.unique("t"), NumPartitions: 1, ReplicationFactor: 1}, newTopic{Name: e.unique("u"), NumPartitions: 0, ReplicationFactor: 1}), 4)
	}},
	{"delete", func(e *env) { e.do(deleteTopics(e.topic("t", 1).name)) }},
	{"delete-unknown", func(e *env) { e.do(deleteTopics(e.unique("no"))) }},
	{"delete-bad-name", func(e *env) { e.do(deleteTopics("a b")) }},
	{"delete-empty-name", func(e *env) { e.do(deleteTopics("")) }},
	{"delete-twice", func(e *env) { n := e.topic("t", 1).name; e.do(deleteTopics(n, n)) }},
	{"delete-unknown-twice", func(e *env) { n := e.unique("t"); e.do(deleteTopics(n, n)) }},
	{"delete-nothing", func(e *env) { e.do(deleteTopics()) }},
	{"delete-by-id", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{TopicID: t.id}}, TimeoutMs: 5000}, 6)
	}},
	{"delete-by-unknown-id", func(e *env) {
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{TopicID: unknownID}}, TimeoutMs: 5000}, 6)
	}},
	{"delete-by-both", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{TopicID: t.id, Name: &t.name}}, TimeoutMs: 5000}, 6)
	}},
	{"delete-by-neither", func(e *env) {
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{}}, TimeoutMs: 5000}, 6)
	}},
	{"delete-by-id-and-name", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{TopicID: t.id}, {Name: &t.name}}, TimeoutMs: 5000}, 6)
	}},
	{"delete-id-twice", func(e *env) {
		t := e.topic("t", 1)
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{TopicID: t.id}, {TopicID: t.id}}, TimeoutMs: 5000}, 6)
	}},
	grown("good", func(*env, *morePartitions) {}),
	grown("same", func(_ *env, t *morePartitions) { t.Count = 2 }),
	grown("fewer", func(_ *env, t *morePartitions) { t.Count = 1 }),
	grown("to-0", func(_ *env, t *morePartitions) { t.Count = 0 }),
	grown("to-minus-1", func(_ *env, t *morePartitions) { t.Count = -1 }),
	grown("far-too-many", func(_ *env, t *morePartitions) { t.Count = 1 << 30 }),
	grown("unknown", func(e *env, t *morePartitions) { t.Name = e.unique("no") }),
	grown("bad-name", func(_ *env, t *morePartitions) { t.Name = "a b" }),
	grown("assigned", func(e *env, t *morePartitions) {
		t.Assignments = []message.CreatePartitionsRequestAssignment{{BrokerIDs: brokers{e.target.broker}}}
	}),
	grown("assigned-too-many", func(e *env, t *morePartitions) {
		t.Assignments = []message.CreatePartitionsRequestAssignment{{BrokerIDs: brokers{e.target.broker}}, {BrokerIDs: brokers{e.target.broker}}}
	}),
	grown("assigned-none", func(e *env, t *morePartitions) { t.Assignments = []message.CreatePartitionsRequestAssignment{} }),
	grown("assigned-unknown-broker", func(e *env, t *morePartitions) {
		t.Assignments = []message.CreatePartitionsRequestAssignment{{BrokerIDs: brokers{99}}}
	}),
	grown("assigned-wrong-factor", func(e *env, t *morePartitions) {
		t.Assignments = []message.CreatePartitionsRequestAssignment{{BrokerIDs: brokers{e.target.broker, 99}}}
	}),
	grown("assigned-nobody", func(e *env, t *morePartitions) {
		t.Assignments = []message.CreatePartitionsRequestAssignment{{BrokerIDs: brokers{}}}
	}),
	{"grow-twice-in-request", func(e *env) {
		q := morePartitions{Name: e.topic("t", 1).name, Count: 3}
		e.do(&message.CreatePartitionsRequest{Topics: []morePartitions{q, q}, TimeoutMs: 5000})
	}},
	{"grow-nothing", func(e *env) { e.do(&message.CreatePartitionsRequest{TimeoutMs: 5000}) }},
}}

// deleteTopics names topics in the way of old versions and new.
func deleteTopics(names ...string) *message.DeleteTopicsRequest {
	m := &message.DeleteTopicsRequest{TopicNames: names, TimeoutMs: 5000}
	for _, n := range names {
		m.Topics = append(m.Topics, message.DeleteTopicsRequestTopic{Name: &n})
	}
	return m
}
