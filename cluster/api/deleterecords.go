package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// highWatermarkOffset stands for the high watermark in DeleteRecords.
const highWatermarkOffset = -1

var deleteRecordsHandler = handle(message.KeyDeleteRecords, func(b *Broker, r *listen.Request, m *message.DeleteRecordsRequest) message.Response {
	r.MayBlock()
	response := &message.DeleteRecordsResponse{}
	for _, t := range m.Topics {
		out := message.DeleteRecordsResponseTopic{Name: t.Name}
		for _, q := range t.Partitions {
			low, code := b.deleteRecords(t.Name, q.PartitionIndex, q.Offset)
			out.Partitions = append(out.Partitions, message.DeleteRecordsResponsePartition{PartitionIndex: q.PartitionIndex, LowWatermark: low, ErrorCode: code})
		}
		response.Topics = append(response.Topics, out)
	}
	return response
})

func (b *Broker) deleteRecords(topic string, n wire.Partition, upTo wire.Offset) (wire.Offset, wire.ErrorCode) {
	if internalTopicName(topic) {
		return -1, wire.ErrInvalidTopicException
	}
	p, code := b.find(topic, wire.TopicID{}, false, n)
	if code == wire.ErrNone {
		code = p.Serving(wire.NoLeaderEpoch)
	}
	if code != wire.ErrNone {
		return -1, code
	}
	if !p.Settings().Delete {
		return -1, wire.ErrPolicyViolation
	}
	if upTo == highWatermarkOffset {
		upTo = p.HighWatermark()
	}
	if upTo < 0 || upTo > p.HighWatermark() {
		return -1, wire.ErrOffsetOutOfRange
	}
	if code, err := p.Log().SetLogStart(upTo); err != nil || code != wire.ErrNone {
		b.Log.Error("records not deleted", "partition", p.Name, "offset", upTo, "code", code, "error", err)
		if code == wire.ErrNone {
			code = wire.ErrKafkaStorageError
		}
		return -1, code
	}
	return p.Log().Start(), wire.ErrNone
}
