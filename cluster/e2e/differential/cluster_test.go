package differential

import (
	"fmt"
	"strings"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// versions is a case of ApiVersions whose keys and features are left out: which keys are served is compared elsewhere.
func versions(name string, version int16, f func(e *env, m *message.APIVersionsRequest)) testcase {
	return testcase{"versions-" + name, func(e *env) {
		m := &message.APIVersionsRequest{ClientSoftwareName: "differ", ClientSoftwareVersion: "1.0", NodeID: wire.NoBroker}
		f(e, m)
		e.send(m, version)
		body, ok := e.answer(message.KeyAPIVersions, version)
		if !ok {
			e.note("closed")
			return
		}
		var a message.APIVersionsResponse
		if err := a.Decode(body, version); err != nil {
			a.SetDefaults()
			if err := a.Decode(body, 0); err != nil {
				e.Fatal(err)
			}
			e.note("answered in version 0")
		}
		e.note("%v, keys: %t, features: %t", a.ErrorCode, len(a.APIKeys) > 0, len(a.SupportedFeatures) > 0)
		if len(a.APIKeys) == 1 {
			e.note("%+v", a.APIKeys)
		}
		e.do(metadataOf())
	}}
}

type versionsRequest = message.APIVersionsRequest

// describeCluster leaves out the controller's listeners, which ours has not.
func describeCluster(name string, f func(m *message.DescribeClusterRequest)) testcase {
	return testcase{"cluster-" + name, func(e *env) {
		m := &message.DescribeClusterRequest{EndpointType: 1}
		f(m)
		e.do(m)
	}}
}

type clusterRequest = message.DescribeClusterRequest

// raw is a case that sends bytes, and then sees whether the connection lives.
func raw(name string, frame func() []byte) testcase {
	return testcase{"raw-" + name, func(e *env) {
		e.frame(append(make([]byte, 4), frame()...))
		e.send(metadataOf(), 1)
		_, first := e.frameBack()
		second := first
		if first {
			_, second = e.frameBack()
		}
		e.note("answered: %t, and the next: %t", first, second)
	}}
}

var clusterCases = group{"cluster", []testcase{
	versions("v0", 0, func(*env, *versionsRequest) {}),
	versions("v2", 2, func(*env, *versionsRequest) {}),
	versions("v3", 3, func(*env, *versionsRequest) {}),
	versions("v4", 4, func(*env, *versionsRequest) {}),
	versions("v5", 5, func(*env, *versionsRequest) {}),
	versions("name-empty", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "" }),
	versions("name-space", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "a b" }),
	versions("name-dash-first", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "-a" }),
	versions("name-dot-last", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "a." }),
	versions("name-underscore", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "a_b" }),
	versions("name-one-letter", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "a" }),
	versions("name-newline", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = "a\n" }),
	versions("name-long", 3, func(_ *env, m *versionsRequest) { m.ClientSoftwareName = strings.Repeat("a", 5000) }),
	versions("version-empty", 4, func(_ *env, m *versionsRequest) { m.ClientSoftwareVersion = "" }),
	versions("version-plus", 4, func(_ *env, m *versionsRequest) { m.ClientSoftwareVersion = "1.0+x" }),
	versions("wrong-cluster", 5, func(_ *env, m *versionsRequest) { m.ClusterID = ptr("elsewhere") }),
	versions("right-cluster", 5, func(e *env, m *versionsRequest) { m.ClusterID = ptr(e.target.cluster) }),
	versions("right-both", 5, func(e *env, m *versionsRequest) { m.ClusterID, m.NodeID = ptr(e.target.cluster), e.target.broker }),
	versions("right-cluster-wrong-node", 5, func(e *env, m *versionsRequest) { m.ClusterID, m.NodeID = ptr(e.target.cluster), 99 }),
	versions("wrong-node", 5, func(_ *env, m *versionsRequest) { m.NodeID = 99 }),
	versions("negative-node", 5, func(_ *env, m *versionsRequest) { m.NodeID = -7 }),
	versions("empty-cluster", 5, func(_ *env, m *versionsRequest) { m.ClusterID = ptr("") }),
	raw("versions-99", func() []byte { return []byte{0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff} }),
	raw("versions-negative", func() []byte { return []byte{0, 18, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff} }),
	raw("unknown-key", func() []byte { return []byte{3, 0xe7, 0, 0, 0, 0, 0, 1, 0xff, 0xff} }),
	raw("metadata-99", func() []byte { return []byte{0, 3, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0} }),
	raw("produce-2", func() []byte { return []byte{0, 0, 0, 2, 0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0} }),
	raw("fetch-3", func() []byte { return []byte{0, 1, 0, 3, 0, 0, 0, 1, 0xff, 0xff} }),
	raw("cut-body", func() []byte { return []byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0} }),
	raw("cut-header", func() []byte { return []byte{0, 3, 0, 1, 0} }),
	raw("empty", func() []byte { return nil }),
	raw("array-too-long", func() []byte { return []byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff} }),
	raw("bytes-left", func() []byte { return []byte{0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xff, 0, 0, 0, 0, 1, 2, 3} }),
	describeCluster("brokers", func(*clusterRequest) {}),
	describeCluster("operations", func(m *clusterRequest) { m.IncludeClusterAuthorizedOperations = true }),
	describeCluster("fenced", func(m *clusterRequest) { m.IncludeFencedBrokers = true }),
	describeCluster("endpoint-0", func(m *clusterRequest) { m.EndpointType = 0 }),
	describeCluster("endpoint-controllers", func(m *clusterRequest) { m.EndpointType = 2 }),
	describeCluster("endpoint-3", func(m *clusterRequest) { m.EndpointType = 3 }),
	{"log-dirs", func(e *env) {
		t := e.topic("t", 2)
		e.do(&message.DescribeLogDirsRequest{Topics: []message.DescribeLogDirsRequestTopic{{Topic: t.name, Partitions: []wire.Partition{0, 1}}}})
	}},
	{"log-dirs-filled", func(e *env) {
		t := filled(e, 3)
		e.do(&message.DescribeLogDirsRequest{Topics: []message.DescribeLogDirsRequestTopic{{Topic: t.name, Partitions: []wire.Partition{0}}}})
	}},
	{"log-dirs-unknown", func(e *env) {
		t := e.topic("t", 1)
		e.do(&message.DescribeLogDirsRequest{Topics: []message.DescribeLogDirsRequestTopic{{Topic: t.name, Partitions: []wire.Partition{5}}, {Topic: e.unique("no"), Partitions: []wire.Partition{0}}}})
	}},
	{"log-dirs-all", func(e *env) { e.topic("t", 1); e.do(&message.DescribeLogDirsRequest{}) }},
	{"log-dirs-none", func(e *env) {
		e.do(&message.DescribeLogDirsRequest{Topics: []message.DescribeLogDirsRequestTopic{}})
	}},
	{"quorum-unknown-topic", func(e *env) {
		e.do(&message.DescribeQuorumRequest{Topics: []message.DescribeQuorumRequestTopic{{TopicName: e.unique("no"), Partitions: []message.DescribeQuorumRequestPartition{{}}}}})
	}},
	{"quorum-unknown-partition", func(e *env) {
		e.do(&message.DescribeQuorumRequest{Topics: []message.DescribeQuorumRequestTopic{{TopicName: "__cluster_metadata", Partitions: []message.DescribeQuorumRequestPartition{{PartitionIndex: 1}}}}})
	}},
	{"quorum-nothing", func(e *env) { e.do(&message.DescribeQuorumRequest{}) }},
	{"quorum", func(e *env) {
		m := &message.DescribeQuorumRequest{Topics: []message.DescribeQuorumRequestTopic{{TopicName: "__cluster_metadata", Partitions: []message.DescribeQuorumRequestPartition{{}}}}}
		for v := range e.version(message.KeyDescribeQuorum) + 1 {
			a := quiet[*message.DescribeQuorumResponse](e, m, v)
			p := &a.Topics[0].Partitions[0]
			e.note("v%d: %v %v, leader: %t, epoch: %t, watermark: %t, voters %d, observers %d", v, a.ErrorCode, p.ErrorCode, p.LeaderID == e.target.broker,
				p.LeaderEpoch > 0, p.HighWatermark > 0, len(p.CurrentVoters), len(p.Observers))
			for _, s := range p.CurrentVoters {
				e.note("voter: end %t, fetch %t, caught up %t, directory %t", s.LogEndOffset > 0, s.LastFetchTimestamp > 0, s.LastCaughtUpTimestamp > 0, !s.ReplicaDirectoryID.IsZero())
			}
			e.note("nodes %s", fmt.Sprint(len(a.Nodes)))
		}
	}},
}}
