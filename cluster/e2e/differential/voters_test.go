package differential

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// The answers of this group were recorded from a broker whose quorum was formatted with --standalone: only such a one changes
// its voters (KIP-853).

func addVoter(e *env, id wire.BrokerID, directory wire.UUID, change ...func(*message.AddRaftVoterRequest)) *message.AddRaftVoterRequest {
	m := &message.AddRaftVoterRequest{ClusterID: ptr(e.target.cluster), TimeoutMs: 2000, VoterID: id, VoterDirectoryID: directory, AckWhenCommitted: true,
		Listeners: []message.AddRaftVoterRequestListener{{Name: "CONTROLLER", Host: "127.0.0.1", Port: 1}}}
	for _, f := range change {
		f(m)
	}
	return m
}

func removeVoter(e *env, id wire.BrokerID, directory wire.UUID, change ...func(*message.RemoveRaftVoterRequest)) *message.RemoveRaftVoterRequest {
	m := &message.RemoveRaftVoterRequest{ClusterID: ptr(e.target.cluster), VoterID: id, VoterDirectoryID: directory}
	for _, f := range change {
		f(m)
	}
	return m
}

// directory is the directory of the broker's own vote; from here on the transcript knows it.
func (e *env) directory() wire.UUID {
	m := &message.DescribeQuorumRequest{Topics: []message.DescribeQuorumRequestTopic{{TopicName: "__cluster_metadata", Partitions: []message.DescribeQuorumRequestPartition{{}}}}}
	id := quiet[*message.DescribeQuorumResponse](e, m, 2).Topics[0].Partitions[0].CurrentVoters[0].ReplicaDirectoryID
	e.ids[id] = "own"
	return id
}

var voterCases = group{"voters", []testcase{
	{"add-itself", func(e *env) { e.do(addVoter(e, e.target.broker, e.directory())) }},
	{"add-itself-elsewhere", func(e *env) { e.directory(); e.do(addVoter(e, e.target.broker, unknownID)) }},
	{"add-unknown", func(e *env) { e.do(addVoter(e, 77, unknownID)) }},
	{"add-negative", func(e *env) { e.do(addVoter(e, -5, unknownID)) }},
	{"add-zero-directory", func(e *env) { e.do(addVoter(e, 77, wire.UUID{})) }},
	{"add-no-listeners", func(e *env) {
		e.do(addVoter(e, 77, unknownID, func(m *message.AddRaftVoterRequest) { m.Listeners = nil }))
	}},
	{"add-wrong-cluster", func(e *env) {
		e.do(addVoter(e, 77, unknownID, func(m *message.AddRaftVoterRequest) { m.ClusterID = ptr("elsewhere") }))
	}},
	{"add-no-cluster", func(e *env) {
		e.do(addVoter(e, e.target.broker, e.directory(), func(m *message.AddRaftVoterRequest) { m.ClusterID = nil }))
	}},
	{"remove-itself", func(e *env) { e.do(removeVoter(e, e.target.broker, e.directory())) }},
	{"remove-itself-elsewhere", func(e *env) { e.directory(); e.do(removeVoter(e, e.target.broker, unknownID)) }},
	{"remove-unknown", func(e *env) { e.directory(); e.do(removeVoter(e, 77, unknownID)) }},
	{"remove-negative", func(e *env) { e.do(removeVoter(e, -5, unknownID)) }},
	{"remove-zero-directory", func(e *env) { e.do(removeVoter(e, 77, wire.UUID{})) }},
	{"remove-wrong-cluster", func(e *env) {
		e.do(removeVoter(e, 77, unknownID, func(m *message.RemoveRaftVoterRequest) { m.ClusterID = ptr("elsewhere") }))
	}},
	{"remove-no-cluster", func(e *env) {
		e.directory()
		e.do(removeVoter(e, 77, unknownID, func(m *message.RemoveRaftVoterRequest) { m.ClusterID = nil }))
	}},
}}
