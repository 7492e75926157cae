package api

import (
	"context"
	"crypto/rand"
	"math"
	mrand "math/rand/v2"
	"slices"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

const unasked = math.MinInt32 // authorized operations that were not asked for

var metadataHandler = handle(message.KeyMetadata, func(b *Broker, r *listen.Request, m *message.MetadataRequest) message.Response {
	v := r.Header.Version
	all := m.Topics == nil || v == 0 && len(m.Topics) == 0
	if v <= 11 && slices.ContainsFunc(m.Topics, byID) {
		return topicIDsRefused(m)
	}
	if !all {
		b.autoCreate(r, m)
	}
	image := b.Controller.Image()
	a := &message.MetadataResponse{ClusterID: text(image.ClusterID()), ControllerID: b.controllerID(image), ClusterAuthorizedOperations: unasked}
	if m.IncludeClusterAuthorizedOperations {
		a.ClusterAuthorizedOperations = clusterOperations
	}
	for _, i := range image.Unfenced() {
		if e, ok := listenerEndpoint(i, r.Listener()); ok {
			a.Brokers = append(a.Brokers, message.MetadataResponseBroker{NodeID: i.Broker, Host: e.Host, Port: int32(e.Port), Rack: i.Rack})
		}
	}
	d := describe{image: image, listener: r.Listener(), version: v, operations: m.IncludeTopicAuthorizedOperations}
	if all {
		a.Topics = make([]message.MetadataResponseTopic, 0, image.TopicCount())
		image.Topics(func(t *metadata.Topic) bool {
			a.Topics = append(a.Topics, d.topic(t))
			return true
		})
		return a
	}
	told := map[wire.TopicID]bool{}
	missing := map[string]bool{}
	for _, q := range m.Topics {
		t := d.asked(q)
		if t.ErrorCode == wire.ErrNone {
			if told[t.TopicID] {
				continue
			}
			told[t.TopicID] = true
		} else if t.Name != nil && t.TopicID.IsZero() {
			if missing[*t.Name] {
				continue
			}
			missing[*t.Name] = true
		}
		a.Topics = append(a.Topics, t)
	}
	return a
})

// byID reports whether a topic is asked for by its id, which clients may from version 12 on: before, Kafka had a bug there.
func byID(q message.MetadataRequestTopic) bool { return q.Name == nil || !q.TopicID.IsZero() }

// topicIDsRefused is the answer to a request that asks by id too early; it holds nothing else, as Kafka's.
func topicIDsRefused(m *message.MetadataRequest) *message.MetadataResponse {
	a := &message.MetadataResponse{ControllerID: wire.NoBroker, ClusterAuthorizedOperations: unasked}
	for _, q := range m.Topics {
		name := q.Name
		if name == nil {
			name = text("")
		}
		a.Topics = append(a.Topics, message.MetadataResponseTopic{ErrorCode: wire.ErrInvalidRequest, Name: name, TopicID: q.TopicID, TopicAuthorizedOperations: unasked})
	}
	return a
}

// controllerID is the broker that clients send admin requests to: the controller, or this one while none is known, since any
// broker takes them.
func (b *Broker) controllerID(image *metadata.Image) wire.BrokerID {
	if id := b.Cluster.ControllerID(); id != wire.NoBroker {
		if i := image.Broker(id); i != nil && !i.Fenced {
			return id
		}
	}
	return b.ID
}

// describe turns metadata into answers.
type describe struct {
	image      *metadata.Image
	listener   string
	version    int16
	operations bool
}

func (d describe) asked(q message.MetadataRequestTopic) message.MetadataResponseTopic {
	fail := func(code wire.ErrorCode, name *string, id wire.TopicID) message.MetadataResponseTopic {
		return message.MetadataResponseTopic{ErrorCode: code, Name: name, TopicID: id, TopicAuthorizedOperations: unasked}
	}
	if byID(q) {
		t := d.image.TopicByID(q.TopicID)
		if t == nil {
			return fail(wire.ErrUnknownTopicID, nil, q.TopicID)
		}
		return d.topic(t)
	}
	name := *q.Name
	t := d.image.Topic(name)
	switch {
	case t != nil:
		return d.topic(t)
	case control.CheckTopicName(name) != "":
		return fail(wire.ErrInvalidTopicException, q.Name, wire.TopicID{})
	}
	return fail(wire.ErrUnknownTopicOrPartition, q.Name, wire.TopicID{})
}

func (d describe) topic(t *metadata.Topic) message.MetadataResponseTopic {
	a := message.MetadataResponseTopic{Name: &t.Name, TopicID: t.ID, IsInternal: control.InternalTopic(t.Name), TopicAuthorizedOperations: unasked}
	if d.operations {
		a.TopicAuthorizedOperations = topicOperations
	}
	a.Partitions = make([]message.MetadataResponsePartition, len(t.Partitions))
	for i := range t.Partitions {
		p := &t.Partitions[i]
		out := message.MetadataResponsePartition{
			PartitionIndex: wire.Partition(i), LeaderID: p.Leader, LeaderEpoch: p.LeaderEpoch,
			ReplicaNodes: p.Replicas, ISRNodes: p.ISR, OfflineReplicas: d.offline(p),
		}
		if !d.reachable(p.Leader) {
			out.ErrorCode, out.LeaderID = wire.ErrLeaderNotAvailable, wire.NoBroker
		}
		a.Partitions[i] = out
	}
	return a
}

func (d describe) reachable(id wire.BrokerID) bool {
	i := d.image.Broker(id)
	if i == nil || i.Fenced {
		return false
	}
	_, ok := listenerEndpoint(i, d.listener)
	return ok
}

func (d describe) offline(p *metadata.PartitionInfo) []wire.BrokerID {
	var out []wire.BrokerID
	for _, id := range p.Replicas {
		if i := d.image.Broker(id); i == nil || i.Fenced {
			out = append(out, id)
		}
	}
	return out
}

// autoCreate creates the missing topics of a request that allows it. What cannot be created is told by the answer.
func (b *Broker) autoCreate(r *listen.Request, m *message.MetadataRequest) {
	image := b.Controller.Image()
	if !m.AllowAutoTopicCreation || !b.Settings.Bool(image, "auto.create.topics.enable") {
		return
	}
	var missing []string
	for _, q := range m.Topics {
		if q.Name != nil && q.TopicID.IsZero() && image.Topic(*q.Name) == nil && control.CheckTopicName(*q.Name) == "" {
			missing = append(missing, *q.Name)
		}
	}
	if len(missing) == 0 {
		return
	}
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(30_000))
	defer cancel()
	if err := b.Cluster.CreateTopics(ctx, missing...); err != nil {
		b.Log.Warn("topic not created", "topics", missing, "error", err)
	}
}

// CreateInternally creates topics that are made by use rather than by request. The controller does it.
func (b *Broker) CreateInternally(ctx context.Context, names ...string) error {
	return b.Controller.Change(ctx, func(image *metadata.Image) []metadata.Record {
		var topics []control.NewTopic
		for _, name := range names {
			if image.Topic(name) == nil {
				topics = append(topics, b.internalTopic(image, name))
			}
		}
		records, answers := control.CreateTopics(image, b.defaults(image), topics)
		for _, a := range answers {
			if a.Refusal != nil {
				b.Log.Warn("topic not created", "topic", a.Name, "error", a.Refusal)
			}
		}
		return records
	})
}

// internalTopic returns what a topic that is made by use looks like.
func (b *Broker) internalTopic(image *metadata.Image, name string) control.NewTopic {
	t := control.NewTopic{Name: name, Partitions: -1, Replicas: -1, ID: newUUID(), Seed: mrand.Uint64(), UpToReplica: true}
	if name == control.OffsetsTopic {
		t.Partitions = int32(b.Settings.Int(image, "offsets.topic.num.partitions"))
		t.Replicas = int16(b.Settings.Int(image, "offsets.topic.replication.factor"))
		segment, compact, codec := b.Settings.Text(image, "offsets.topic.segment.bytes"), "compact", "producer"
		t.Configs = []control.Setting{{Name: "cleanup.policy", Value: &compact}, {Name: "compression.type", Value: &codec}, {Name: "segment.bytes", Value: &segment}}
	}
	return t
}

// newUUID returns a random id that is not zero, and does not begin with "-", which command lines take for an option.
func newUUID() wire.UUID {
	for {
		var u wire.UUID
		if _, err := rand.Read(u[:]); err != nil {
			panic("api: no randomness: " + err.Error())
		}
		if !u.IsZero() && u.String()[0] != '-' {
			return u
		}
	}
}
