package differential

import (
	"strings"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// commit is of one partition, by nobody: a simple consumer.
func commit(group string, t topic, p wire.Partition, offset wire.Offset, metadata string) *message.OffsetCommitRequest {
	return &message.OffsetCommitRequest{GroupID: group, GenerationIDOrMemberEpoch: -1, RetentionTimeMs: -1, Topics: []message.OffsetCommitRequestTopic{{
		Name: t.name, TopicID: t.id, Partitions: []message.OffsetCommitRequestPartition{{
			PartitionIndex: p, CommittedOffset: offset, CommittedLeaderEpoch: -1, CommitTimestamp: -1, CommittedMetadata: &metadata}}}}}
}

func offsetsOf(group string, t topic, partitions ...wire.Partition) *message.OffsetFetchRequest {
	m := &message.OffsetFetchRequest{GroupID: group, Groups: []message.OffsetFetchRequestGroup{{GroupID: group, MemberEpoch: -1}}}
	m.Topics = []message.OffsetFetchRequestTopic{{Name: t.name, PartitionIndexes: partitions}}
	m.Groups[0].Topics = []message.OffsetFetchRequestGroupTopic{{Name: t.name, TopicID: t.id, PartitionIndexes: partitions}}
	return m
}

// allOffsetsOf names no topics: before version 2 that is none.
func allOffsetsOf(group string) *message.OffsetFetchRequest {
	return &message.OffsetFetchRequest{GroupID: group, Groups: []message.OffsetFetchRequestGroup{{GroupID: group, MemberEpoch: -1}}}
}

func deleteOffsets(group string, t topic, partitions ...wire.Partition) *message.OffsetDeleteRequest {
	m := &message.OffsetDeleteRequest{GroupID: group, Topics: []message.OffsetDeleteRequestTopic{{Name: t.name}}}
	for _, p := range partitions {
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, message.OffsetDeleteRequestPartition{PartitionIndex: p})
	}
	return m
}

// committed is a case of one commit in a group that was not, and of what is then found.
func committed(name string, f func(e *env, m *message.OffsetCommitRequest, p *message.OffsetCommitRequestPartition)) testcase {
	return testcase{"commit-" + name, func(e *env) {
		t := e.topic("t", 2)
		g := e.group("g")
		m := commit(g, t, 0, 42, "note")
		f(e, m, &m.Topics[0].Partitions[0])
		e.do(m)
		e.do(offsetsOf(g, t, 0, 1))
	}}
}

// ofMember is a case of a commit by the member of a stable group.
func ofMember(name string, f func(m *message.OffsetCommitRequest)) testcase {
	return testcase{"commit-member-" + name, func(e *env) {
		g, member := e.alone("g", nil)
		m := commit(g, e.topic("t", 1), 0, 42, "")
		m.MemberID, m.GenerationIDOrMemberEpoch = member, 1
		f(m)
		e.do(m)
	}}
}

// kept returns a group that has committed offset 5 of partition 0 of a topic of two partitions.
func kept(e *env) (string, topic) {
	t := e.topic("t", 2)
	g := e.group("g")
	quiet[*message.OffsetCommitResponse](e, commit(g, t, 0, 5, "kept"), 8)
	return g, t
}

type (
	commitRequest   = message.OffsetCommitRequest
	commitPartition = message.OffsetCommitRequestPartition
)

var commitCases = group{"commits", []testcase{
	committed("good", func(*env, *commitRequest, *commitPartition) {}),
	committed("null-metadata", func(_ *env, _ *commitRequest, p *commitPartition) { p.CommittedMetadata = nil }),
	committed("metadata-4096", func(_ *env, _ *commitRequest, p *commitPartition) {
		p.CommittedMetadata = ptr(strings.Repeat("x", 4096))
	}),
	committed("metadata-4097", func(_ *env, _ *commitRequest, p *commitPartition) {
		p.CommittedMetadata = ptr(strings.Repeat("x", 4097))
	}),
	committed("negative-offset", func(_ *env, _ *commitRequest, p *commitPartition) { p.CommittedOffset = -1 }),
	committed("very-negative-offset", func(_ *env, _ *commitRequest, p *commitPartition) { p.CommittedOffset = -7 }),
	committed("leader-epoch", func(_ *env, _ *commitRequest, p *commitPartition) { p.CommittedLeaderEpoch = 3 }),
	committed("retention", func(_ *env, m *commitRequest, _ *commitPartition) { m.RetentionTimeMs = 1000 }),
	committed("unknown-partition", func(_ *env, _ *commitRequest, p *commitPartition) { p.PartitionIndex = 9 }),
	committed("negative-partition", func(_ *env, _ *commitRequest, p *commitPartition) { p.PartitionIndex = -1 }),
	committed("unknown-topic", func(e *env, m *commitRequest, _ *commitPartition) {
		m.Topics[0].Name, m.Topics[0].TopicID = e.unique("no"), unknownID
	}),
	committed("bad-topic", func(_ *env, m *commitRequest, _ *commitPartition) {
		m.Topics[0].Name, m.Topics[0].TopicID = "a b", unknownID
	}),
	committed("zero-id", func(_ *env, m *commitRequest, _ *commitPartition) { m.Topics[0].TopicID = wire.TopicID{} }),
	committed("empty-group", func(_ *env, m *commitRequest, _ *commitPartition) { m.GroupID = "" }),
	committed("generation-without-member", func(_ *env, m *commitRequest, _ *commitPartition) { m.GenerationIDOrMemberEpoch = 1 }),
	committed("member-without-generation", func(_ *env, m *commitRequest, _ *commitPartition) { m.MemberID = "nobody" }),
	committed("unknown-member", func(_ *env, m *commitRequest, _ *commitPartition) {
		m.MemberID, m.GenerationIDOrMemberEpoch = "nobody", 1
	}),
	committed("very-negative-generation", func(_ *env, m *commitRequest, _ *commitPartition) { m.GenerationIDOrMemberEpoch = -7 }),
	committed("no-topics", func(_ *env, m *commitRequest, _ *commitPartition) { m.Topics = nil }),
	committed("twice", func(_ *env, m *commitRequest, p *commitPartition) {
		q := *p
		q.CommittedOffset = 43
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, q)
	}),
	committed("good-and-bad", func(_ *env, m *commitRequest, p *commitPartition) {
		q := *p
		q.PartitionIndex, q.CommittedMetadata = 1, ptr(strings.Repeat("x", 5000))
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, q)
	}),
	ofMember("good", func(*commitRequest) {}),
	ofMember("illegal-generation", func(m *commitRequest) { m.GenerationIDOrMemberEpoch = 2 }),
	ofMember("negative-generation", func(m *commitRequest) { m.GenerationIDOrMemberEpoch = -1 }),
	ofMember("unknown", func(m *commitRequest) { m.MemberID = "nobody" }),
	ofMember("nobody", func(m *commitRequest) { m.MemberID = "" }),
	ofMember("simple", func(m *commitRequest) { m.MemberID, m.GenerationIDOrMemberEpoch = "", -1 }),
	{"commit-internal", func(e *env) {
		e.at(commit(e.group("g"), topic{name: "__consumer_offsets"}, 0, 1, ""), 8)
	}},
	{"commit-in-rebalance", func(e *env) {
		g, member := e.alone("g", nil)
		t := e.topic("t", 1)
		quiet[*message.JoinGroupResponse](e, join(g, member), 5)
		m := commit(g, t, 0, 1, "")
		m.MemberID, m.GenerationIDOrMemberEpoch = member, 2
		e.do(m)
		m.GenerationIDOrMemberEpoch = 1
		e.do(m)
	}},
	{"fetch-unknown-group", func(e *env) { e.do(offsetsOf(e.group("g"), e.topic("t", 1), 0)) }},
	{"fetch-empty-group", func(e *env) { e.do(offsetsOf("", e.topic("t", 1), 0)) }},
	{"fetch-unknown-topic", func(e *env) { g, _ := kept(e); e.do(offsetsOf(g, topic{e.unique("no"), unknownID}, 0)) }},
	{"fetch-unknown-partition", func(e *env) { g, t := kept(e); e.do(offsetsOf(g, t, 0, 7, -1)) }},
	{"fetch-all", func(e *env) { g, _ := kept(e); e.do(allOffsetsOf(g)) }},
	{"fetch-all-v2", func(e *env) { g, _ := kept(e); e.at(allOffsetsOf(g), 2) }},
	{"fetch-all-unknown-group", func(e *env) { e.do(allOffsetsOf(e.group("g"))) }},
	{"fetch-none", func(e *env) {
		g, _ := kept(e)
		m := allOffsetsOf(g)
		m.Topics, m.Groups[0].Topics = []message.OffsetFetchRequestTopic{}, []message.OffsetFetchRequestGroupTopic{}
		e.do(m)
	}},
	{"fetch-stable", func(e *env) { g, t := kept(e); m := offsetsOf(g, t, 0); m.RequireStable = true; e.do(m) }},
	{"fetch-two-groups", func(e *env) {
		g, t := kept(e)
		m := offsetsOf(g, t, 0)
		m.Groups = append(m.Groups, message.OffsetFetchRequestGroup{GroupID: e.group("h"), MemberEpoch: -1, Topics: m.Groups[0].Topics})
		e.at(m, 8)
	}},
	{"fetch-same-group-twice", func(e *env) {
		g, t := kept(e)
		m := offsetsOf(g, t, 0)
		m.Groups = append(m.Groups, m.Groups[0])
		e.at(m, 8)
	}},
	{"fetch-no-groups", func(e *env) { e.at(&message.OffsetFetchRequest{}, 8) }},
	{"fetch-member-epoch", func(e *env) {
		g, t := kept(e)
		m := offsetsOf(g, t, 0)
		m.Groups[0].MemberID, m.Groups[0].MemberEpoch = ptr("nobody"), 3
		e.at(m, 9)
	}},
	{"fetch-every-version", func(e *env) {
		g, t := kept(e)
		for v := int16(1); v <= 10; v++ {
			e.at(offsetsOf(g, t, 0, 1), v)
		}
	}},
	{"fetch-after-topic-deleted", func(e *env) {
		g, t := kept(e)
		quiet[*message.DeleteTopicsResponse](e, deleteTopics(t.name), 5)
		until(e, metadataOf(t.name), 9, func(a *message.MetadataResponse) bool { return a.Topics[0].ErrorCode != wire.ErrNone })
		until(e, offsetsOf(g, t, 0), 8, func(a *message.OffsetFetchResponse) bool {
			return a.Groups[0].Topics[0].Partitions[0].CommittedOffset < 0
		})
		e.do(offsetsOf(g, t, 0))
	}},
	{"delete", func(e *env) { g, t := kept(e); e.do(deleteOffsets(g, t, 0)); e.do(offsetsOf(g, t, 0)) }},
	{"delete-not-committed", func(e *env) { g, t := kept(e); e.do(deleteOffsets(g, t, 1)) }},
	{"delete-unknown-partition", func(e *env) { g, t := kept(e); e.do(deleteOffsets(g, t, 7)) }},
	{"delete-unknown-topic", func(e *env) { g, _ := kept(e); e.do(deleteOffsets(g, topic{name: e.unique("no")}, 0)) }},
	{"delete-unknown-group", func(e *env) { e.do(deleteOffsets(e.group("g"), e.topic("t", 1), 0)) }},
	{"delete-empty-group", func(e *env) { e.do(deleteOffsets("", e.topic("t", 1), 0)) }},
	{"delete-nothing", func(e *env) { g, _ := kept(e); e.do(&message.OffsetDeleteRequest{GroupID: g}) }},
	{"delete-no-partitions", func(e *env) { g, t := kept(e); e.do(deleteOffsets(g, t)) }},
	{"delete-of-stable-group", func(e *env) { g, _ := e.alone("g", nil); e.do(deleteOffsets(g, e.topic("t", 1), 0)) }},
	{"delete-group-with-offsets", func(e *env) {
		g, t := kept(e)
		e.do(&message.DeleteGroupsRequest{GroupsNames: []string{g}})
		e.do(offsetsOf(g, t, 0))
	}},
	{"describe-group-with-offsets", func(e *env) {
		g, _ := kept(e)
		e.do(&message.DescribeGroupsRequest{Groups: []string{g}})
		e.do(&message.ListGroupsRequest{})
	}},
}}
