package differential

import (
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// cordon sets cordoned.log.dirs of a broker; nil removes it.
func cordon(broker string, value *string) *message.IncrementalAlterConfigsRequest {
	c := message.IncrementalAlterConfigsRequestConfig{Name: "cordoned.log.dirs", Value: value}
	if value == nil {
		c.ConfigOperation = 1
	}
	return &message.IncrementalAlterConfigsRequest{Resources: []message.IncrementalAlterConfigsRequestResource{{
		ResourceType: 4, ResourceName: broker, Configs: []message.IncrementalAlterConfigsRequestConfig{c}}}}
}

// cordoned waits until the broker's directory is as wanted.
func (e *env) cordoned(want bool) {
	e.Helper()
	until(e, &message.DescribeLogDirsRequest{}, 5, func(a *message.DescribeLogDirsResponse) bool { return a.Results[0].IsCordoned == want })
}

func (e *env) logDir() string {
	e.Helper()
	return quiet[*message.DescribeLogDirsResponse](e, &message.DescribeLogDirsRequest{}, 5).Results[0].LogDir
}

func oneTopic(e *env, s string, assignment ...wire.BrokerID) *message.CreateTopicsRequest {
	t := message.CreateTopicsRequestTopic{Name: e.unique(s), NumPartitions: 1, ReplicationFactor: 1}
	if len(assignment) > 0 {
		t.NumPartitions, t.ReplicationFactor = -1, -1
		t.Assignments = []message.CreateTopicsRequestAssignment{{BrokerIDs: assignment}}
	}
	return &message.CreateTopicsRequest{TimeoutMs: 10_000, Topics: []message.CreateTopicsRequestTopic{t}}
}

// moveTo asks for partitions of one topic to be in a directory.
func moveTo(dir, topic string, partitions ...wire.Partition) *message.AlterReplicaLogDirsRequest {
	return &message.AlterReplicaLogDirsRequest{Dirs: []message.AlterReplicaLogDirsRequestDir{{
		Path: dir, Topics: []message.AlterReplicaLogDirsRequestTopic{{Name: topic, Partitions: partitions}}}}}
}

var cordonCases = group{"cordon", []testcase{
	{"alter-log-dirs", func(e *env) {
		t := e.topic("t", 2)
		dir := e.logDir()
		for _, p := range []wire.Partition{0, 1, 7} {
			e.do(moveTo(dir, t.name, p))
		}
		e.do(moveTo(dir, e.unique("no"), 0))
		e.do(moveTo("/no/such/directory", t.name, 0))
		e.do(&message.AlterReplicaLogDirsRequest{})
	}},
	{"all", func(e *env) {
		t := e.topic("t", 1)
		e.do(cordon(e.brokerName(), ptr("*")))
		e.cordoned(true)
		e.do(oneTopic(e, "refused"))
		e.do(oneTopic(e, "by-hand", e.target.broker))
		e.do(&message.CreatePartitionsRequest{TimeoutMs: 10_000, Topics: []message.CreatePartitionsRequestTopic{{Name: t.name, Count: 2}}})
		e.do(&message.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []message.DescribeConfigsRequestResource{{ResourceType: 4, ResourceName: e.brokerName(), ConfigurationKeys: []string{"cordoned.log.dirs"}}}})
		e.do(&message.DescribeClusterRequest{EndpointType: 1})
		e.do(cordon(e.brokerName(), nil))
		e.cordoned(false)
		quiet[*message.CreateTopicsResponse](e, oneTopic(e, "taken"), 7)
		e.ready(e.unique("taken"), 1)
	}},
	{"reassign", func(e *env) {
		t := e.topic("t", 1)
		e.do(cordon(e.brokerName(), ptr("*")))
		e.cordoned(true)
		e.do(&message.AlterPartitionReassignmentsRequest{TimeoutMs: 10_000, AllowReplicationFactorChange: true, Topics: []message.AlterPartitionReassignmentsRequestTopic{{
			Name: t.name, Partitions: []message.AlterPartitionReassignmentsRequestPartition{{Replicas: []wire.BrokerID{e.target.broker}}}}}})
		e.do(cordon(e.brokerName(), nil))
		e.cordoned(false)
	}},
	{"by-name", func(e *env) {
		e.do(cordon(e.brokerName(), ptr(e.logDir())))
		e.cordoned(true)
		e.do(cordon(e.brokerName(), ptr("")))
		e.cordoned(false)
		e.do(cordon(e.brokerName(), nil))
	}},
	{"unknown-directory", func(e *env) { e.do(cordon(e.brokerName(), ptr("/no/such/dir"))) }},
	{"all-and-one", func(e *env) { e.do(cordon(e.brokerName(), ptr("*,"+e.logDir()))) }},
	{"one-twice", func(e *env) {
		e.do(cordon(e.brokerName(), ptr(e.logDir()+","+e.logDir())))
		e.do(cordon(e.brokerName(), nil))
	}},
	{"blanks", func(e *env) { e.do(cordon(e.brokerName(), ptr(" * "))); e.do(cordon(e.brokerName(), nil)) }},
	{"comma", func(e *env) { e.do(cordon(e.brokerName(), ptr(","))); e.do(cordon(e.brokerName(), nil)) }},
	{"default", func(e *env) { e.do(cordon("", ptr("*"))); e.do(cordon("", nil)) }},
	{"described", func(e *env) {
		e.do(&message.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []message.DescribeConfigsRequestResource{{ResourceType: 4, ResourceName: e.brokerName(), ConfigurationKeys: []string{"cordoned.log.dirs"}}}})
	}},
	{"append", func(e *env) {
		m := cordon("1", ptr(e.logDir()))
		m.Resources[0].Configs[0].ConfigOperation = 2
		e.do(m)
		e.cordoned(true)
		m.Resources[0].Configs[0].ConfigOperation = 3
		e.do(m)
		e.cordoned(false)
		e.do(cordon(e.brokerName(), nil))
	}},
}}
