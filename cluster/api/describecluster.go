package api

import (
	"slices"
	"strconv"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

const endpointBrokers, endpointControllers = 1, 2

var describeClusterHandler = handle(message.KeyDescribeCluster, func(b *Broker, r *listen.Request, m *message.DescribeClusterRequest) message.Response {
	image := b.Controller.Image()
	a := &message.DescribeClusterResponse{EndpointType: endpointBrokers, ControllerID: wire.NoBroker, ClusterAuthorizedOperations: unasked}
	switch {
	case m.EndpointType == endpointControllers:
		a.ErrorCode, a.ErrorMessage = wire.ErrMismatchedEndpointType, text("The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER")
		return a
	case m.EndpointType != endpointBrokers:
		a.ErrorCode, a.ErrorMessage = wire.ErrUnsupportedEndpointType, text("Unsupported endpoint type "+strconv.Itoa(int(m.EndpointType)))
		return a
	}
	a.ClusterID, a.ControllerID = image.ClusterID(), b.controllerID(image)
	if m.IncludeClusterAuthorizedOperations {
		a.ClusterAuthorizedOperations = clusterOperations
	}
	image.Brokers(func(i *metadata.BrokerInfo) bool {
		e, ok := listenerEndpoint(i, r.Listener())
		if ok && (!i.Fenced || m.IncludeFencedBrokers) {
			a.Brokers = append(a.Brokers, message.DescribeClusterResponseBroker{BrokerID: i.Broker, Host: e.Host, Port: int32(e.Port), Rack: i.Rack, IsFenced: i.Fenced})
		}
		return true
	})
	return a
})

var describeTopicPartitionsHandler = handle(message.KeyDescribeTopicPartitions, func(b *Broker, r *listen.Request, m *message.DescribeTopicPartitionsRequest) message.Response {
	asked := func(t message.DescribeTopicPartitionsRequestTopic) bool { return t.Name == m.Cursor.TopicName }
	if m.Cursor != nil && (m.Cursor.PartitionIndex < 0 || len(m.Topics) > 0 && !slices.ContainsFunc(m.Topics, asked)) {
		return invalidCursor(m)
	}
	image := b.Controller.Image()
	w := topicPages{image: image, d: describe{image: image, listener: r.Listener(), operations: true}}
	w.left = max(1, min(maxPartitionsPerPage, int(m.ResponsePartitionLimit)))
	return w.fill(m)
})

// invalidCursor refuses all topics that were asked for: the answer has no other place for an error.
func invalidCursor(m *message.DescribeTopicPartitionsRequest) *message.DescribeTopicPartitionsResponse {
	a := &message.DescribeTopicPartitionsResponse{}
	for _, t := range m.Topics {
		a.Topics = append(a.Topics, message.DescribeTopicPartitionsResponseTopic{
			ErrorCode: wire.ErrInvalidRequest, Name: &t.Name, TopicAuthorizedOperations: unasked,
		})
	}
	return a
}

// maxPartitionsPerPage is Kafka's max.request.partition.size.limit.
const maxPartitionsPerPage = 2000

// topicPages fills one page of a DescribeTopicPartitions answer.
type topicPages struct {
	image *metadata.Image
	d     describe
	left  int // partitions that still fit
	a     message.DescribeTopicPartitionsResponse
}

func (w *topicPages) fill(m *message.DescribeTopicPartitionsRequest) *message.DescribeTopicPartitionsResponse {
	names := sortedNames(m)
	first, from := "", wire.Partition(0)
	if m.Cursor != nil {
		first, from = m.Cursor.TopicName, m.Cursor.PartitionIndex
	}
	if len(names) == 0 {
		w.image.TopicsFrom(first, func(t *metadata.Topic) bool {
			start := wire.Partition(0)
			if t.Name == first {
				start = from
			}
			return w.add(t, t.Name, start)
		})
		return &w.a
	}
	for _, name := range names {
		if name < first {
			continue
		}
		start := wire.Partition(0)
		if name == first {
			start = from
		}
		if !w.add(w.image.Topic(name), name, start) {
			break
		}
	}
	return &w.a
}

// add adds a topic's partitions from start on, and returns false when the page is full.
func (w *topicPages) add(t *metadata.Topic, name string, start wire.Partition) bool {
	if w.left == 0 {
		w.a.NextCursor = &message.DescribeTopicPartitionsResponseNextCursor{TopicName: name, PartitionIndex: start}
		return false
	}
	if t == nil {
		w.a.Topics = append(w.a.Topics, message.DescribeTopicPartitionsResponseTopic{ErrorCode: unknownTopicCode(name), Name: &name, TopicAuthorizedOperations: topicOperations})
		return true
	}
	described := w.d.topic(t)
	out := message.DescribeTopicPartitionsResponseTopic{Name: &t.Name, TopicID: t.ID, IsInternal: described.IsInternal, TopicAuthorizedOperations: described.TopicAuthorizedOperations}
	for i := min(int(start), len(described.Partitions)); i < len(described.Partitions); i++ {
		p := &described.Partitions[i]
		if w.left == 0 {
			w.a.NextCursor = &message.DescribeTopicPartitionsResponseNextCursor{TopicName: name, PartitionIndex: p.PartitionIndex}
			break
		}
		w.left--
		out.Partitions = append(out.Partitions, message.DescribeTopicPartitionsResponsePartition{
			ErrorCode: p.ErrorCode, PartitionIndex: p.PartitionIndex, LeaderID: p.LeaderID, LeaderEpoch: p.LeaderEpoch,
			ReplicaNodes: p.ReplicaNodes, ISRNodes: p.ISRNodes, EligibleLeaderReplicas: notNull(t.Partitions[i].ELR), LastKnownELR: notNull(t.Partitions[i].LastKnownELR), OfflineReplicas: p.OfflineReplicas,
		})
	}
	w.a.Topics = append(w.a.Topics, out)
	return w.a.NextCursor == nil
}

// sortedNames returns the topics that were asked for, each once, by name.
func sortedNames(m *message.DescribeTopicPartitionsRequest) []string {
	var names []string
	for _, t := range m.Topics {
		names = append(names, t.Name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func unknownTopicCode(name string) wire.ErrorCode {
	if control.CheckTopicName(name) != "" {
		return wire.ErrInvalidTopicException
	}
	return wire.ErrUnknownTopicOrPartition
}

// notNull makes an empty list of nothing, where clients do not expect null.
func notNull(list []wire.BrokerID) []wire.BrokerID { return append([]wire.BrokerID{}, list...) }
