package differential

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// fetch is a full fetch, without a session, of one partition of a consumer.
func fetch(t topic, p wire.Partition, offset wire.Offset) *message.FetchRequest {
	m := &message.FetchRequest{}
	m.SetDefaults()
	m.MaxWaitMs, m.MinBytes, m.MaxBytes, m.ReplicaID = 1, 0, 1<<20, wire.NoBroker
	m.SessionID, m.SessionEpoch = 0, -1
	m.ReplicaState.ReplicaID, m.ReplicaState.ReplicaEpoch = wire.NoBroker, -1
	m.Topics = []message.FetchRequestTopic{{Topic: t.name, TopicID: t.id, Partitions: []message.FetchRequestPartition{{
		Partition: p, CurrentLeaderEpoch: -1, FetchOffset: offset, LastFetchedEpoch: -1, LogStartOffset: -1, PartitionMaxBytes: 1 << 20, HighWatermark: 1<<63 - 1}}}}
	return m
}

// filled returns a topic of one partition with n batches of one record.
func filled(e *env, n int, settings ...string) topic {
	t := e.topic("t", 1, settings...)
	for range n {
		quiet[*message.ProduceResponse](e, produce(t, 0, plain("value")), 9)
	}
	return t
}

// fetched is a case that fetches from a topic of three records, after f has changed the request.
func fetched(name string, f func(m *message.FetchRequest, p *message.FetchRequestPartition)) testcase {
	return testcase{name, func(e *env) {
		m := fetch(filled(e, 3), 0, 0)
		f(m, &m.Topics[0].Partitions[0])
		e.do(m)
	}}
}

type (
	fetchRequest   = message.FetchRequest
	fetchPartition = message.FetchRequestPartition
)

var fetchCases = group{"fetch", []testcase{
	fetched("all", func(*fetchRequest, *fetchPartition) {}),
	fetched("from-1", func(_ *fetchRequest, p *fetchPartition) { p.FetchOffset = 1 }),
	fetched("at-end", func(_ *fetchRequest, p *fetchPartition) { p.FetchOffset = 3 }),
	fetched("past-end", func(_ *fetchRequest, p *fetchPartition) { p.FetchOffset = 4 }),
	fetched("negative", func(_ *fetchRequest, p *fetchPartition) { p.FetchOffset = -1 }),
	fetched("very-negative", func(_ *fetchRequest, p *fetchPartition) { p.FetchOffset = -1 << 63 }),
	fetched("read-committed", func(m *fetchRequest, _ *fetchPartition) { m.IsolationLevel = 1 }),
	fetched("isolation-2", func(m *fetchRequest, _ *fetchPartition) { m.IsolationLevel = 2 }),
	fetched("isolation-negative", func(m *fetchRequest, _ *fetchPartition) { m.IsolationLevel = -1 }),
	fetched("partition-max-1", func(_ *fetchRequest, p *fetchPartition) { p.PartitionMaxBytes = 1 }),
	fetched("partition-max-0", func(_ *fetchRequest, p *fetchPartition) { p.PartitionMaxBytes = 0 }),
	fetched("partition-max-negative", func(_ *fetchRequest, p *fetchPartition) { p.PartitionMaxBytes = -1 }),
	fetched("partition-max-100", func(_ *fetchRequest, p *fetchPartition) { p.PartitionMaxBytes = 100 }),
	fetched("max-bytes-1", func(m *fetchRequest, _ *fetchPartition) { m.MaxBytes = 1 }),
	fetched("max-bytes-0", func(m *fetchRequest, _ *fetchPartition) { m.MaxBytes = 0 }),
	fetched("max-bytes-negative", func(m *fetchRequest, _ *fetchPartition) { m.MaxBytes = -1 }),
	fetched("min-bytes-not-reached", func(m *fetchRequest, _ *fetchPartition) { m.MinBytes, m.MaxWaitMs = 1<<20, 50 }),
	fetched("wait-negative", func(m *fetchRequest, p *fetchPartition) { m.MaxWaitMs, m.MinBytes, p.FetchOffset = -1, 1, 3 }),
	fetched("epoch-current", func(_ *fetchRequest, p *fetchPartition) { p.CurrentLeaderEpoch = 0 }),
	fetched("epoch-unknown", func(_ *fetchRequest, p *fetchPartition) { p.CurrentLeaderEpoch = 9 }),
	fetched("epoch-very-negative", func(_ *fetchRequest, p *fetchPartition) { p.CurrentLeaderEpoch = -9 }),
	fetched("last-fetched-epoch", func(_ *fetchRequest, p *fetchPartition) { p.LastFetchedEpoch, p.FetchOffset = 0, 3 }),
	fetched("last-fetched-epoch-diverged", func(_ *fetchRequest, p *fetchPartition) { p.LastFetchedEpoch, p.FetchOffset = 0, 9 }),
	fetched("last-fetched-epoch-unknown", func(_ *fetchRequest, p *fetchPartition) { p.LastFetchedEpoch, p.FetchOffset = 5, 1 }),
	fetched("unknown-partition", func(_ *fetchRequest, p *fetchPartition) { p.Partition = 7 }),
	fetched("negative-partition", func(_ *fetchRequest, p *fetchPartition) { p.Partition = -1 }),
	fetched("session-unknown", func(m *fetchRequest, _ *fetchPartition) { m.SessionID, m.SessionEpoch = 12345, 1 }),
	fetched("session-unknown-closed", func(m *fetchRequest, _ *fetchPartition) { m.SessionID, m.SessionEpoch = 12345, -1 }),
	fetched("session-0-epoch-5", func(m *fetchRequest, _ *fetchPartition) { m.SessionID, m.SessionEpoch = 0, 5 }),
	fetched("session-negative", func(m *fetchRequest, _ *fetchPartition) { m.SessionID, m.SessionEpoch = -5, 1 }),
	fetched("no-topics", func(m *fetchRequest, _ *fetchPartition) { m.Topics = nil }),
	fetched("partition-twice", func(m *fetchRequest, p *fetchPartition) {
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, *p)
	}),
	fetched("client-rack", func(m *fetchRequest, _ *fetchPartition) { m.RackID = "elsewhere" }),
	fetched("wrong-cluster", func(m *fetchRequest, _ *fetchPartition) { m.ClusterID = ptr("elsewhere") }),
	{"unknown-topic", func(e *env) { e.do(fetch(topic{e.unique("no"), unknownID}, 0, 0)) }},
	{"bad-topic-name", func(e *env) { e.do(fetch(topic{name: "a b", id: unknownID}, 0, 0)) }},
	{"zero-id", func(e *env) { e.do(fetch(topic{}, 0, 0)) }},
	{"empty-partition", func(e *env) { e.do(fetch(e.topic("t", 1), 0, 0)) }},
	{"below-start", func(e *env) {
		t := filled(e, 3)
		e.do(deleteRecords(t, 0, 2))
		e.do(fetch(t, 0, 1))
		e.do(fetch(t, 0, 2))
	}},
	{"session", func(e *env) {
		t := filled(e, 2)
		m := fetch(t, 0, 0)
		m.SessionEpoch = 0
		a := e.at(m, 12).(*message.FetchResponse)
		id := a.SessionID
		m.SessionID, m.SessionEpoch = id, 1
		e.at(m, 12)
		m.SessionEpoch, m.Topics = 2, nil // from where the session was, which has moved nowhere
		e.at(m, 12)
		m.SessionEpoch = 2 // once more
		e.at(m, 12)
		m.SessionEpoch = 9
		e.at(m, 12)
		m.SessionEpoch = 3
		m.ForgottenTopics = []message.FetchRequestForgottenTopic{{Topic: t.name, TopicID: t.id, Partitions: []wire.Partition{0}}}
		e.at(m, 12)
		m.SessionEpoch, m.ForgottenTopics = -1, nil
		e.at(m, 12)
		m.SessionEpoch = 4
		e.at(m, 12)
	}},
	{"session-at-end-sends-nothing", func(e *env) {
		m := fetch(filled(e, 2), 0, 2)
		m.SessionEpoch = 0
		a := e.do(m).(*message.FetchResponse)
		if e.level == lowest {
			return
		}
		m.SessionID, m.SessionEpoch, m.Topics = a.SessionID, 1, nil
		e.do(m)
	}},
	{"session-of-names-asked-by-ids", func(e *env) {
		t := filled(e, 1)
		m := fetch(t, 0, 0)
		m.SessionEpoch = 0
		a := e.at(m, 12).(*message.FetchResponse)
		m.SessionID, m.SessionEpoch = a.SessionID, 1
		e.at(m, 13)
	}},
	{"session-topic-deleted", func(e *env) {
		t := filled(e, 1)
		m := fetch(t, 0, 0)
		m.SessionEpoch = 0
		a := e.at(m, 13).(*message.FetchResponse)
		e.at(&message.DeleteTopicsRequest{Topics: []message.DeleteTopicsRequestTopic{{Name: &t.name}}, TopicNames: []string{t.name}, TimeoutMs: 5000}, 6)
		until(e, fetch(t, 0, 0), 13, func(a *message.FetchResponse) bool { return a.Topics[0].Partitions[0].ErrorCode != wire.ErrNone })
		m.SessionID, m.SessionEpoch, m.Topics = a.SessionID, 1, nil
		e.at(m, 13)
	}},
	{"two-partitions-first-fills", func(e *env) {
		t := e.topic("t", 2)
		quiet[*message.ProduceResponse](e, produce(t, 0, plain("value")), 9)
		quiet[*message.ProduceResponse](e, produce(t, 1, plain("value")), 9)
		m := fetch(t, 0, 0)
		m.MaxBytes = 10
		second := m.Topics[0].Partitions[0]
		second.Partition = 1
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, second)
		e.do(m)
	}},
}}
