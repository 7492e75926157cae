package cluster_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// controller returns which of the nodes is the controller, as one of them tells.
func controllerOf(t *testing.T, nodes []*kraftgotest.Node, teller *kraftgotest.Node) *kraftgotest.Node {
	t.Helper()
	var found *kraftgotest.Node
	eventually(t, "a controller", func() bool {
		m, err := kadm.NewClient(client(t, teller)).BrokerMetadata(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(nodes, func(n *kraftgotest.Node) bool { return n.Running() && n.Broker() == m.Controller })
		if i >= 0 {
			found = nodes[i]
		}
		return i >= 0
	})
	return found
}

func requestFrame(m message.Request, version int16) []byte {
	id := "test"
	h := message.RequestHeader{Key: m.APIKey(), Version: version, CorrelationID: 5, ClientID: &id}
	return m.AppendTo(h.AppendTo(nil), version)
}

// A request that a broker asks again, of the controller that made the change and of the one that came after it, gets the answer
// that it got first, and is done once.
func TestTheNextControllerAnswersAsTheFirst(t *testing.T) {
	nodes := three(t)
	eventually(t, "three voters", func() bool { return len(voters(t, nodes[0])) == 3 })
	broker := nodes[2]
	name := func(s string) *string { return &s }
	createTopic(t, broker, "old", 1, nil)
	requests := []message.Request{
		&message.CreateTopicsRequest{TimeoutMs: 10_000, Topics: []message.CreateTopicsRequestTopic{
			{Name: "new", NumPartitions: 2, ReplicationFactor: 3}, {Name: "old", NumPartitions: 1, ReplicationFactor: 1}, {Name: "bad name", NumPartitions: 1, ReplicationFactor: 1},
		}},
		&message.CreatePartitionsRequest{TimeoutMs: 10_000, Topics: []message.CreatePartitionsRequestTopic{{Name: "new", Count: 4}, {Name: "none", Count: 4}}},
		&message.AlterUserScramCredentialsRequest{Upsertions: []message.AlterUserScramCredentialsRequestUpsertion{
			{Name: "alice", Mechanism: 1, Iterations: 4096, Salt: []byte("s"), SaltedPassword: []byte("p")}, {Name: "bob", Mechanism: 1, Iterations: 1},
		}},
		&message.AlterUserScramCredentialsRequest{Deletions: []message.AlterUserScramCredentialsRequestDeletion{{Name: "alice", Mechanism: 1}}},
		&message.DeleteTopicsRequest{TimeoutMs: 10_000, Topics: []message.DeleteTopicsRequestTopic{{Name: name("old")}, {Name: name("none")}}},
	}
	ctx := limited(t)
	var first [][]byte
	ask := func(i int) []byte {
		info, _ := message.Lookup(requests[i].APIKey())
		answer, err := broker.Node().Relay(ctx, wire.UUID{1, byte(i)}, requestFrame(requests[i], info.LatestStable))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	for i := range requests {
		first = append(first, ask(i))
	}
	same := func(when string) {
		t.Helper()
		for i := range requests {
			if again := ask(i); !bytes.Equal(again, first[i]) {
				t.Errorf("%s, %T is answered otherwise:\n%x\n%x", when, requests[i], first[i], again)
			}
		}
	}
	same("at once")
	old := controllerOf(t, nodes, broker)
	if old == broker {
		t.Fatal("the broker that is asked is the controller itself")
	}
	old.Stop()
	same("by the next controller")
	m, err := kadm.NewClient(client(t, broker)).Metadata(limited(t))
	if err != nil || len(m.Topics["new"].Partitions) != 4 || m.Topics.Has("old") {
		t.Fatalf("%+v, %v", m.Topics, err)
	}
}

// While one controller after the other stops, every request gets its answer, whichever broker takes it, and no request finds
// its own change made by somebody else.
func TestNoRequestFailsWhileControllersChange(t *testing.T) {
	nodes := three(t)
	eventually(t, "three voters", func() bool { return len(voters(t, nodes[0])) == 3 })
	ctx, cancel := context.WithCancel(t.Context())
	made := make(chan []string)
	for k, n := range nodes { // through a broker each, which may stop: then the client asks another
		c := client(t, n)
		var seeds []string
		for _, other := range nodes {
			seeds = append(seeds, other.Client())
		}
		if err := c.UpdateSeedBrokers(seeds...); err != nil {
			t.Fatal(err)
		}
		go func() {
			var names []string
			for i := 0; ctx.Err() == nil; i++ {
				names = append(names, fmt.Sprintf("t-%d-%d", k, i))
				r := kmsg.NewPtrCreateTopicsRequest()
				r.TimeoutMillis = 15_000
				topic := kmsg.NewCreateTopicsRequestTopic()
				topic.Topic, topic.NumPartitions, topic.ReplicationFactor = names[i], 1, 1
				r.Topics = append(r.Topics, topic)
				bounded, end := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
				answer, err := r.RequestWith(bounded, c)
				end()
				if err == nil {
					err = kerr.ErrorForCode(answer.Topics[0].ErrorCode)
				}
				if err != nil {
					t.Errorf("create %s: %v", names[i], err)
					break
				}
			}
			made <- names
		}()
	}
	for range 4 {
		n := controllerOf(t, nodes, nodes[0])
		n.Restart()
	}
	cancel()
	total := 0
	for range nodes {
		names := <-made
		total += len(names)
		eventually(t, "all are seen by a broker that may be behind", func() bool {
			m, err := kadm.NewClient(client(t, nodes[1])).Metadata(limited(t), names...)
			return err == nil && m.Topics.Error() == nil
		})
	}
	t.Logf("%d topics created while four controllers stopped", total)
	if total < 20 {
		t.Errorf("%d topics were created: the stream never ran", total)
	}
}

// A copy of a request that comes late, as from a connection that was given up, does not do what its sender was told is refused.
func TestALateCopyOfARefusedRequestDoesNothing(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	request := &message.CreateTopicsRequest{TimeoutMs: 10_000, Topics: []message.CreateTopicsRequestTopic{{Name: "t", NumPartitions: 1, ReplicationFactor: 3}}}
	info, _ := message.Lookup(request.APIKey())
	ask := func() []byte {
		answer, err := b.Node().Relay(limited(t), wire.UUID{7}, requestFrame(request, info.LatestStable))
		if err != nil {
			t.Fatal(err)
		}
		return answer
	}
	refused := ask()
	if !bytes.Contains(refused, []byte("replication factor of 3")) {
		t.Fatalf("%q", refused)
	}
	a.Join(nil) // now it could be done
	if late := ask(); !bytes.Equal(late, refused) {
		t.Errorf("%q, and first %q", late, refused)
	}
	createReplicated(t, a, "t", 1, nil) // which fails if it is there
}
