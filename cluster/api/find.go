package api

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
)

// find returns a partition that this broker holds, by the topic's id or name, or the code that says why it cannot.
func (b *Broker) find(name string, id wire.TopicID, byID bool, p wire.Partition) (*replica.Partition, wire.ErrorCode) {
	var found *replica.Partition
	if byID {
		found = b.Partitions.Partition(wire.TopicIDPartition{Topic: id, Partition: p})
	} else {
		found = b.Partitions.PartitionByName(name, p)
	}
	if found != nil {
		return found, wire.ErrNone
	}
	image := b.Controller.Image()
	var t *metadata.Topic
	if byID {
		if t = image.TopicByID(id); t == nil {
			return nil, wire.ErrUnknownTopicID
		}
	} else {
		t = image.Topic(name)
	}
	if t == nil || p < 0 || int(p) >= len(t.Partitions) {
		return nil, wire.ErrUnknownTopicOrPartition
	}
	if slices.Contains(t.Partitions[p].Replicas, b.ID) && b.Disk.Err() != nil {
		return nil, wire.ErrKafkaStorageError // ours by the metadata, but its log did not open
	}
	return nil, wire.ErrNotLeaderOrFollower
}

// nodeEndpoint has the fields that the answers to Produce and Fetch share.
type nodeEndpoint struct {
	NodeID wire.BrokerID
	Host   string
	Port   int32
	Rack   *string
}

// nodeEndpoints returns where clients of a listener reach the brokers, each once.
func nodeEndpoints(image *metadata.Image, listener string, ids []wire.BrokerID) []nodeEndpoint {
	var out []nodeEndpoint
	ids = slices.Clone(ids)
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		if i := image.Broker(id); i != nil {
			if e, ok := listenerEndpoint(i, listener); ok {
				out = append(out, nodeEndpoint{i.Broker, e.Host, int32(e.Port), i.Rack})
			}
		}
	}
	return out
}
