package api

import (
	"context"
	"slices"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/coordinator/runtime"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Groups is the group coordinator. Every method answers exactly once, now or later, from any goroutine; what it keeps of
// a request it has copied.
type Groups interface {
	Join(c runtime.Caller, m *message.JoinGroupRequest, reply func(*message.JoinGroupResponse))
	Sync(c runtime.Caller, m *message.SyncGroupRequest, reply func(*message.SyncGroupResponse))
	Heartbeat(c runtime.Caller, m *message.HeartbeatRequest, reply func(*message.HeartbeatResponse))
	Leave(c runtime.Caller, m *message.LeaveGroupRequest, reply func(*message.LeaveGroupResponse))
	CommitOffsets(c runtime.Caller, m *message.OffsetCommitRequest, reply func(*message.OffsetCommitResponse))
	FetchOffsets(c runtime.Caller, m *message.OffsetFetchRequest, reply func(*message.OffsetFetchResponse))
	DeleteOffsets(c runtime.Caller, m *message.OffsetDeleteRequest, reply func(*message.OffsetDeleteResponse))
	Describe(c runtime.Caller, m *message.DescribeGroupsRequest, reply func(*message.DescribeGroupsResponse))
	List(c runtime.Caller, m *message.ListGroupsRequest, reply func(*message.ListGroupsResponse))
	Delete(c runtime.Caller, m *message.DeleteGroupsRequest, reply func(*message.DeleteGroupsResponse))
}

// caller tells the coordinator who asks.
func caller(r *listen.Request) runtime.Caller {
	c := runtime.Caller{Version: r.Header.Version, ClientHost: "/" + r.RemoteIP()}
	if r.Header.ClientID != nil {
		c.ClientID = *r.Header.ClientID
	}
	return c
}

// grouped makes a handler of a method of the coordinator.
func grouped[Req message.Request, Resp message.Response](key wire.APIKey, f func(g Groups, c runtime.Caller, m Req, reply func(Resp))) *handler {
	return handleLater(key, func(b *Broker, r *listen.Request, m Req) {
		f(b.Groups, caller(r), m, func(answer Resp) { r.Reply(answer) })
	})
}

var (
	joinGroupHandler      = grouped(message.KeyJoinGroup, Groups.Join)
	syncGroupHandler      = grouped(message.KeySyncGroup, Groups.Sync)
	heartbeatHandler      = grouped(message.KeyHeartbeat, Groups.Heartbeat)
	leaveGroupHandler     = grouped(message.KeyLeaveGroup, Groups.Leave)
	describeGroupsHandler = grouped(message.KeyDescribeGroups, Groups.Describe)
	listGroupsHandler     = grouped(message.KeyListGroups, Groups.List)
	deleteGroupsHandler   = grouped(message.KeyDeleteGroups, Groups.Delete)
)

// offsetCommitHandler resolves topic ids, and refuses topics that are not there, before the coordinator is asked.
var offsetCommitHandler = handleLater(message.KeyOffsetCommit, func(b *Broker, r *listen.Request, m *message.OffsetCommitRequest) {
	byID := r.Header.Version >= 10
	image := b.Controller.Image()
	asked := m.Topics
	codes := make([]wire.ErrorCode, len(asked)) // ErrNone: the coordinator is asked about some of its partitions
	known := func(t *metadata.Topic, p wire.Partition) bool { return p >= 0 && int(p) < len(t.Partitions) }
	m.Topics = nil
	for i, t := range asked {
		topic := image.Topic(t.Name)
		codes[i] = wire.ErrUnknownTopicOrPartition
		if byID {
			topic = image.TopicByID(t.TopicID)
			codes[i] = wire.ErrUnknownTopicID
		}
		if topic == nil {
			continue
		}
		codes[i] = wire.ErrNone
		q := message.OffsetCommitRequestTopic{Name: topic.Name, TopicID: topic.ID}
		for _, p := range t.Partitions {
			if known(topic, p.PartitionIndex) {
				q.Partitions = append(q.Partitions, p)
			}
		}
		if len(q.Partitions) > 0 {
			m.Topics = append(m.Topics, q)
		}
	}
	b.Groups.CommitOffsets(caller(r), m, func(answer *message.OffsetCommitResponse) {
		answers := map[string]map[wire.Partition]wire.ErrorCode{}
		for _, t := range answer.Topics {
			answers[t.Name] = map[wire.Partition]wire.ErrorCode{}
			for _, p := range t.Partitions {
				answers[t.Name][p.PartitionIndex] = p.ErrorCode
			}
		}
		answer.Topics = nil
		for i, t := range asked {
			out := message.OffsetCommitResponseTopic{Name: t.Name, TopicID: t.TopicID}
			name := t.Name
			if topic := image.TopicByID(t.TopicID); byID && topic != nil {
				name = topic.Name
			}
			for _, p := range t.Partitions {
				code := codes[i]
				if code == wire.ErrNone {
					var ok bool
					if code, ok = answers[name][p.PartitionIndex]; !ok {
						code = wire.ErrUnknownTopicOrPartition
					}
				}
				out.Partitions = append(out.Partitions, message.OffsetCommitResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: code})
			}
			answer.Topics = append(answer.Topics, out)
		}
		r.Reply(answer)
	})
})

// offsetFetchHandler resolves topic ids both ways; topics that are not there are answered here.
var offsetFetchHandler = handleLater(message.KeyOffsetFetch, func(b *Broker, r *listen.Request, m *message.OffsetFetchRequest) {
	if r.Header.Version < 10 {
		b.Groups.FetchOffsets(caller(r), m, func(answer *message.OffsetFetchResponse) { r.Reply(answer) })
		return
	}
	image := b.Controller.Image()
	unknown := map[string][]message.OffsetFetchResponseGroupTopic{}
	for i := range m.Groups {
		g := &m.Groups[i]
		if g.Topics == nil {
			continue
		}
		kept := []message.OffsetFetchRequestGroupTopic{}
		for _, t := range g.Topics {
			if topic := image.TopicByID(t.TopicID); topic != nil {
				t.Name = topic.Name
				kept = append(kept, t)
				continue
			}
			out := message.OffsetFetchResponseGroupTopic{TopicID: t.TopicID}
			for _, p := range t.PartitionIndexes {
				out.Partitions = append(out.Partitions, message.OffsetFetchResponseGroupTopicPartition{PartitionIndex: p, CommittedOffset: -1, CommittedLeaderEpoch: wire.NoLeaderEpoch, Metadata: new(string), ErrorCode: wire.ErrUnknownTopicID})
			}
			unknown[g.GroupID] = append(unknown[g.GroupID], out)
		}
		g.Topics = kept
	}
	b.Groups.FetchOffsets(caller(r), m, func(answer *message.OffsetFetchResponse) {
		for i := range answer.Groups {
			g := &answer.Groups[i]
			g.Topics = slices.DeleteFunc(g.Topics, func(t message.OffsetFetchResponseGroupTopic) bool { return image.Topic(t.Name) == nil })
			for j := range g.Topics {
				g.Topics[j].TopicID = image.Topic(g.Topics[j].Name).ID
			}
			if g.ErrorCode == wire.ErrNone {
				g.Topics = append(g.Topics, unknown[g.GroupID]...)
			}
		}
		r.Reply(answer)
	})
})

var offsetDeleteHandler = handleLater(message.KeyOffsetDelete, func(b *Broker, r *listen.Request, m *message.OffsetDeleteRequest) {
	image := b.Controller.Image()
	b.Groups.DeleteOffsets(caller(r), m, func(answer *message.OffsetDeleteResponse) {
		for i := range answer.Topics {
			t := &answer.Topics[i]
			topic := image.Topic(t.Name)
			for j := range t.Partitions {
				if p := &t.Partitions[j]; topic == nil || p.PartitionIndex < 0 || int(p.PartitionIndex) >= len(topic.Partitions) {
					p.ErrorCode = wire.ErrUnknownTopicOrPartition
				}
			}
		}
		r.Reply(answer)
	})
})

// The kinds of coordinator.
const (
	coordinatorGroup       = 0
	coordinatorTransaction = 1
	coordinatorShare       = 2
)

var findCoordinatorHandler = handle(message.KeyFindCoordinator, func(b *Broker, r *listen.Request, m *message.FindCoordinatorRequest) message.Response {
	if r.Header.Version < 4 {
		c := b.findCoordinator(r, m.KeyType, m.Key)
		return &message.FindCoordinatorResponse{ErrorCode: c.ErrorCode, ErrorMessage: c.ErrorMessage, NodeID: c.NodeID, Host: c.Host, Port: c.Port}
	}
	a := &message.FindCoordinatorResponse{}
	for _, key := range m.CoordinatorKeys {
		a.Coordinators = append(a.Coordinators, b.findCoordinator(r, m.KeyType, key))
	}
	return a
})

func (b *Broker) findCoordinator(r *listen.Request, kind int8, key string) message.FindCoordinatorResponseCoordinator {
	c := message.FindCoordinatorResponseCoordinator{Key: key, NodeID: wire.NoBroker, Port: -1}
	refuse := func(code wire.ErrorCode, why string) message.FindCoordinatorResponseCoordinator {
		c.ErrorCode, c.ErrorMessage = code, &why
		return c
	}
	switch {
	case kind == coordinatorTransaction || kind == coordinatorShare:
		return refuse(wire.ErrInvalidRequest, "This kraftgo has no coordinator of transactions and share groups yet.")
	case kind != coordinatorGroup:
		return refuse(wire.ErrInvalidRequest, "Unknown coordinator type.")
	}
	image := b.Controller.Image()
	t := image.Topic(control.OffsetsTopic)
	if t == nil {
		r.MayBlock()
		ctx, cancel := context.WithTimeout(r.Context(), timeout(30_000))
		defer cancel()
		if err := b.Cluster.CreateTopics(ctx, control.OffsetsTopic); err != nil {
			b.Log.Warn("offsets topic not created", "error", err)
		}
		image = b.Controller.Image()
		if t = image.Topic(control.OffsetsTopic); t == nil {
			return refuse(wire.ErrCoordinatorNotAvailable, "The coordinator is not available.")
		}
	}
	p := t.Partitions[runtime.PartitionOf(key, len(t.Partitions))]
	if i := image.Broker(p.Leader); i != nil && !i.Fenced {
		if e, ok := listenerEndpoint(i, r.Listener()); ok {
			c.NodeID, c.Host, c.Port = i.Broker, e.Host, int32(e.Port)
			c.ErrorMessage = new(string)
			return c
		}
	}
	return refuse(wire.ErrCoordinatorNotAvailable, "The coordinator is not available.")
}
