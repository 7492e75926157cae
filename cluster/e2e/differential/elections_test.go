package differential

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

type electedPartitions = message.ElectLeadersRequestTopicPartition

// elected is a case of ElectLeaders about a topic of two partitions.
func elected(name string, f func(t topic, m *message.ElectLeadersRequest)) testcase {
	return testcase{"elect-" + name, func(e *env) {
		t := e.topic("t", 2)
		m := &message.ElectLeadersRequest{TimeoutMs: 10_000, TopicPartitions: []electedPartitions{{Topic: t.name, Partitions: []wire.Partition{0, 1}}}}
		f(t, m)
		e.do(m)
	}}
}

type reassigned = message.AlterPartitionReassignmentsRequestPartition

// reassignment is a case of AlterPartitionReassignments about a topic of two partitions on one broker, and of what is listed then.
func reassignment(name string, f func(e *env, m *message.AlterPartitionReassignmentsRequest)) testcase {
	return testcase{"reassign-" + name, func(e *env) {
		t := e.topic("t", 2)
		m := &message.AlterPartitionReassignmentsRequest{TimeoutMs: 10_000, AllowReplicationFactorChange: true}
		m.Topics = []message.AlterPartitionReassignmentsRequestTopic{{Name: t.name, Partitions: []reassigned{{PartitionIndex: 0, Replicas: brokers{e.target.broker}}}}}
		f(e, m)
		e.do(m)
		e.do(&message.ListPartitionReassignmentsRequest{TimeoutMs: 10_000, Topics: []message.ListPartitionReassignmentsRequestTopic{{Name: t.name, PartitionIndexes: []wire.Partition{0, 1}}}})
	}}
}

type reassignments = message.AlterPartitionReassignmentsRequest

var electionCases = group{"elections", []testcase{
	elected("not-needed", func(topic, *message.ElectLeadersRequest) {}),
	elected("unclean", func(_ topic, m *message.ElectLeadersRequest) { m.ElectionType = 1 }),
	elected("type-2", func(_ topic, m *message.ElectLeadersRequest) { m.ElectionType = 2 }),
	elected("all", func(_ topic, m *message.ElectLeadersRequest) { m.TopicPartitions = nil }),
	elected("none", func(_ topic, m *message.ElectLeadersRequest) { m.TopicPartitions = []electedPartitions{} }),
	elected("unknown-partition", func(t topic, m *message.ElectLeadersRequest) {
		m.TopicPartitions[0].Partitions = []wire.Partition{2, -1, 0}
	}),
	elected("unknown-topic", func(t topic, m *message.ElectLeadersRequest) {
		m.TopicPartitions = []electedPartitions{{Topic: t.name + "x", Partitions: []wire.Partition{0}}, m.TopicPartitions[0]}
	}),
	elected("no-partitions", func(t topic, m *message.ElectLeadersRequest) { m.TopicPartitions[0].Partitions = nil }),
	elected("twice", func(t topic, m *message.ElectLeadersRequest) {
		m.TopicPartitions[0].Partitions = []wire.Partition{0, 0}
	}),
	reassignment("as-it-is", func(*env, *reassignments) {}),
	reassignment("keep-factor", func(_ *env, m *reassignments) { m.AllowReplicationFactorChange = false }),
	reassignment("cancel-nothing", func(_ *env, m *reassignments) { m.Topics[0].Partitions[0].Replicas = nil }),
	reassignment("to-nobody", func(_ *env, m *reassignments) { m.Topics[0].Partitions[0].Replicas = brokers{} }),
	reassignment("twice-the-same", func(e *env, m *reassignments) {
		m.Topics[0].Partitions[0].Replicas = brokers{e.target.broker, e.target.broker}
	}),
	reassignment("unregistered", func(e *env, m *reassignments) { m.Topics[0].Partitions[0].Replicas = brokers{e.target.broker, 77} }),
	reassignment("other-factor", func(e *env, m *reassignments) {
		m.AllowReplicationFactorChange = false
		m.Topics[0].Partitions[0].Replicas = brokers{e.target.broker, 77}
	}),
	reassignment("negative-broker", func(_ *env, m *reassignments) { m.Topics[0].Partitions[0].Replicas = brokers{-1} }),
	reassignment("unknown-partition", func(_ *env, m *reassignments) { m.Topics[0].Partitions[0].PartitionIndex = 2 }),
	reassignment("unknown-topic", func(e *env, m *reassignments) { m.Topics[0].Name = e.unique("no") }),
	reassignment("cancel-unknown-topic", func(e *env, m *reassignments) {
		m.Topics[0].Name, m.Topics[0].Partitions[0].Replicas = e.unique("no"), nil
	}),
	reassignment("nothing", func(_ *env, m *reassignments) { m.Topics = nil }),
	reassignment("no-partitions", func(_ *env, m *reassignments) { m.Topics[0].Partitions = nil }),
	{"list-unknown-topic", func(e *env) {
		e.do(&message.ListPartitionReassignmentsRequest{TimeoutMs: 10_000, Topics: []message.ListPartitionReassignmentsRequestTopic{{Name: e.unique("no"), PartitionIndexes: []wire.Partition{0}}}})
	}},
	{"list-all", func(e *env) { e.do(&message.ListPartitionReassignmentsRequest{TimeoutMs: 10_000}) }},
	created("assigned-to-unregistered", func(e *env, t *newTopic) {
		t.NumPartitions, t.ReplicationFactor, t.Assignments = -1, -1, assignments(0, brokers{77})
	}),
}}
