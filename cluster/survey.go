package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// This file has what the controller asks of brokers.

// replicasQuestion asks one incarnation of a broker for the state of replicas.
type replicasQuestion struct {
	Epoch      wire.BrokerEpoch
	Partitions []wire.TopicIDPartition
}

// reachedBound is the longest that a broker waits for metadata on the controller's account.
const reachedBound = 5 * time.Second

// call asks a broker, which may be this one.
func (p *peers) call(ctx context.Context, b *metadata.BrokerInfo, m internal.Method, q, a any) error {
	body, err := json.Marshal(q)
	if err != nil {
		return err
	}
	var answer []byte
	if b.Directory == p.node.directory {
		answer, err = p.serve(ctx, m, body)
	} else {
		var c *internal.Client
		if c, err = p.client(target{b.Directory, b.Internal}); err != nil {
			return err
		}
		answer, err = c.Call(ctx, m, body)
	}
	if err != nil {
		return fmt.Errorf("broker %d at %s: %w", b.Broker, b.Internal, err)
	}
	if err := json.Unmarshal(answer, a); err != nil {
		return fmt.Errorf("broker %d's answer: %w", b.Broker, err)
	}
	return nil
}

func (p *peers) askReplicas(ctx context.Context, b *metadata.BrokerInfo, list []wire.TopicIDPartition) (a []control.ReplicaState, err error) {
	return a, p.call(ctx, b, callReplicas, replicasQuestion{b.Epoch, list}, &a)
}

func (p *peers) reached(ctx context.Context, b *metadata.BrokerInfo, index wire.Index) error {
	var now wire.Index
	return p.call(ctx, b, callReached, index, &now)
}

// serveReplicas tells the state of this broker's replicas. Nobody leads them, or the answer would not count.
func (p *peers) serveReplicas(_ context.Context, q replicasQuestion) ([]control.ReplicaState, error) {
	n := p.node
	b, a := n.apiBroker.Load(), n.agent.Load()
	if b == nil || a == nil || a.Epoch() != q.Epoch {
		return nil, fmt.Errorf("this broker does not serve with epoch %d", q.Epoch)
	}
	out := make([]control.ReplicaState, len(q.Partitions))
	for i, id := range q.Partitions {
		log := b.Disk.Log(id)
		if log == nil || log.Err() != nil || b.Disk.Err() != nil {
			out[i] = control.ReplicaState{LastEpoch: wire.NoLeaderEpoch, Suspect: true}
			continue
		}
		out[i] = control.ReplicaState{LastEpoch: wire.NoLeaderEpoch, End: log.Intact(), Suspect: log.Suspect() != ""}
		if end := log.Intact(); end > log.Start() {
			out[i].LastEpoch = log.EpochAt(end - 1)
		}
	}
	return out, nil
}

// serveReached answers when the metadata up to an index has taken effect here.
func (p *peers) serveReached(ctx context.Context, index wire.Index) (wire.Index, error) {
	ctx, cancel := context.WithTimeout(ctx, reachedBound)
	defer cancel()
	err := p.node.replica.WaitPublished(ctx, index)
	return p.node.replica.Published(), err
}

// acquit takes a replica here that was suspect for the truth, when it is chosen to lead: nobody has a better one, or an operator
// said so, since a suspect replica is neither in sync nor eligible.
func (c *changes) acquit(topic wire.TopicID, p wire.Partition, leader wire.BrokerID) {
	if leader != c.node.identity.Broker {
		return
	}
	log := c.node.disk.Log(wire.TopicIDPartition{Topic: topic, Partition: p})
	if log == nil || log.Suspect() == "" {
		return
	}
	why, end := log.Suspect(), log.End()
	if err := log.Accept(); err != nil {
		c.node.log.Error("a damaged replica that was elected cannot be repaired", "directory", log.Dir(), "error", err)
		return
	}
	c.node.log.Warn("a damaged replica was elected, and leads with what is left", "directory", log.Dir(), "damage", why, "end", log.End(), "cut", end-log.End())
}
