package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// removeVoter asks a node to take a broker's vote.
func removeVoter(t *testing.T, n *kraftgotest.Node, id int32) error {
	t.Helper()
	describe := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic, topic.Partitions = "__cluster_metadata", append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	describe.Topics = append(describe.Topics, topic)
	a, err := describe.RequestWith(limited(t), client(t, n))
	if err != nil {
		t.Fatal(err)
	}
	r := kmsg.NewPtrRemoveRaftVoterRequest()
	r.VoterID = id
	for _, v := range a.Topics[0].Partitions[0].CurrentVoters {
		if v.ReplicaID == id {
			r.VoterDirectoryID = v.ReplicaDirectoryID
		}
	}
	answer, err := r.RequestWith(limited(t), client(t, n))
	if err != nil {
		t.Fatal(err)
	}
	return kerr.ErrorForCode(answer.ErrorCode)
}

// The only voter is not sent away: the cluster could decide nothing any more. What does not vote is.
func TestTheOnlyVoterStays(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	ask := func(id int32) *kmsg.UnregisterBrokerResponse {
		q := kmsg.NewPtrUnregisterBrokerRequest()
		q.BrokerID = id
		answer, err := q.RequestWith(limited(t), client(t, b))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	if r := ask(1); kerr.ErrorForCode(r.ErrorCode) != kerr.InvalidRequest || r.ErrorMessage == nil || !strings.Contains(*r.ErrorMessage, "votes in the metadata quorum") {
		t.Fatalf("%+v", r)
	}
	createTopic(t, b, "after", 1, nil)
	if r := ask(2); r.ErrorCode != 0 {
		t.Fatalf("%+v", r)
	}
	createTopic(t, a, "alone", 1, nil)
}

// A vote moves by request: off a broker that is cordoned, to one that had none.
func TestAVoteMovesByRequest(t *testing.T) {
	nodes := three(t)
	eventually(t, "three voters", func() bool { return slices.Equal(voters(t, nodes[0]), []int32{1, 2, 3}) })
	last := nodes[0].Join(nil)
	if err := removeVoter(t, last, 2); err != kerr.InvalidRequest {
		t.Fatalf("a broker that is well loses its vote: %v", err)
	}
	all := "*"
	altered, err := kadm.NewClient(client(t, last)).AlterBrokerConfigs(limited(t), []kadm.AlterConfig{{Name: "cordoned.log.dirs", Value: &all}}, 2)
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	eventually(t, "the vote of broker 2 is taken", func() bool { return removeVoter(t, last, 2) == nil })
	eventually(t, "broker 4 has it", func() bool { return slices.Equal(voters(t, nodes[0]), []int32{1, 3, 4}) })
	createTopic(t, nodes[1], "after", 1, nil)
}

// The controller's own vote moves by request too: it hands the quorum over first.
func TestTheControllersVoteMovesByRequest(t *testing.T) {
	nodes := three(t)
	eventually(t, "three voters", func() bool { return slices.Equal(voters(t, nodes[0]), []int32{1, 2, 3}) })
	last := nodes[0].Join(nil)
	if err := removeVoter(t, last, 1); err != kerr.InvalidRequest {
		t.Fatalf("a controller that is well loses its vote: %v", err)
	}
	all := "*"
	altered, err := kadm.NewClient(client(t, last)).AlterBrokerConfigs(limited(t), []kadm.AlterConfig{{Name: "cordoned.log.dirs", Value: &all}}, 1)
	if err != nil || altered[0].Err != nil {
		t.Fatal(err, altered)
	}
	if err := removeVoter(t, last, 1); err != nil {
		t.Fatal(err)
	}
	eventually(t, "broker 4 has it", func() bool { return slices.Equal(voters(t, nodes[0]), []int32{2, 3, 4}) })
	createTopic(t, nodes[0], "after", 1, nil)
}

// New voters tell where their logs end at once, not with their next regular heartbeat.
func TestNewVotersTellOfTheirLogs(t *testing.T) {
	a := kraftgotest.Start(t, map[string]string{"broker.heartbeat.interval.ms": "300000", "broker.session.timeout.ms": "900000"})
	for range 2 {
		a.Join(nil)
	}
	eventually(t, "three logs", func() bool {
		ends := voterEnds(t, a)
		return len(ends) == 3 && ends[2] > 0 && ends[3] > 0
	})
}

// The controller of three is taken out: the others go on, with the vote that is wanted of two.
func TestTheControllerIsTakenOut(t *testing.T) {
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	q := kmsg.NewPtrUnregisterBrokerRequest()
	q.BrokerID = nodes[0].Broker()
	if a, err := q.RequestWith(limited(t), client(t, nodes[1])); err != nil || a.ErrorCode != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	select {
	case err := <-nodes[0].Failed():
		told(t, err, "was removed from the cluster")
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	nodes[0].Stop()
	eventually(t, "one of the two votes", func() bool {
		left := voters(t, nodes[1])
		return len(left) == 1 && left[0] != 1
	})
	createTopic(t, nodes[2], "after", 2, nil)
}

// A broker that cannot find a controller stops nevertheless, and answers the client whose request waits for one: it would wait for
// longer than Stop is given here.
func TestStopWithoutAController(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil) // does not vote
	c := client(t, b)
	a.Stop()
	request := kmsg.NewPtrCreateTopicsRequest()
	request.TimeoutMillis = 60_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "during", 1, 1
	request.Topics = append(request.Topics, topic)
	answered := make(chan error, 1)
	go func() {
		answer, err := c.Broker(int(b.Broker())).Request(limited(t), request)
		if err == nil {
			err = kerr.ErrorForCode(answer.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
		}
		answered <- err
	}()
	eventually(t, "the request arrives", func() bool {
		metrics, _ := get(t, b, "/metrics")
		return strings.Contains(metrics, `kraftgo_requests_total{request="CreateTopics"}`)
	})
	b.Stop()
	if err := <-answered; err != kerr.NotController {
		t.Errorf("the client was told %v", err)
	}
}
