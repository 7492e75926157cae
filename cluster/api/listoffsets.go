package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// The timestamps that stand for places (ListOffsetsRequest of Kafka).
const (
	latestTimestamp      = -1
	earliestTimestamp    = -2
	maxTimestamp         = -3
	earliestLocal        = -4
	latestTiered         = -5
	earliestPendingLocal = -6
)

var listOffsetsHandler = handle(message.KeyListOffsets, func(b *Broker, r *listen.Request, m *message.ListOffsetsRequest) message.Response {
	seen := map[wire.TopicPartition]int{}
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			seen[wire.TopicPartition{Topic: t.Name, Partition: p.PartitionIndex}]++
		}
	}
	const answered = -1 // one that was named more than once is refused once
	response := &message.ListOffsetsResponse{}
	for _, t := range m.Topics {
		out := message.ListOffsetsResponseTopic{Name: t.Name}
		for _, q := range t.Partitions {
			a := message.ListOffsetsResponsePartition{PartitionIndex: q.PartitionIndex, Timestamp: -1, Offset: -1, LeaderEpoch: wire.NoLeaderEpoch}
			name := wire.TopicPartition{Topic: t.Name, Partition: q.PartitionIndex}
			switch n := seen[name]; {
			case n == answered:
				continue
			case n > 1:
				a.ErrorCode = wire.ErrInvalidRequest
				seen[name] = answered
			default:
				b.listOffset(r.Header.Version, m.IsolationLevel == 1, t.Name, q, &a)
			}
			out.Partitions = append(out.Partitions, a)
		}
		response.Topics = append(response.Topics, out)
	}
	return response
})

// leading returns a partition that this broker leads in an epoch that the client believes in (NoLeaderEpoch: any), and may answer for.
func (b *Broker) leading(topic string, partition wire.Partition, epoch wire.LeaderEpoch) (*replica.Partition, wire.ErrorCode) {
	p, code := b.find(topic, wire.TopicID{}, false, partition)
	if code == wire.ErrNone {
		code = p.Serving(epoch)
	}
	if code == wire.ErrNone && !b.Current() {
		code = wire.ErrNotLeaderOrFollower
	}
	return p, code
}

func (b *Broker) listOffset(version int16, committed bool, topic string, q message.ListOffsetsRequestPartition, a *message.ListOffsetsResponsePartition) {
	p, code := b.leading(topic, q.PartitionIndex, q.CurrentLeaderEpoch)
	if code != wire.ErrNone {
		a.ErrorCode = code
		return
	}
	if q.Timestamp != earliestTimestamp && q.Timestamp != earliestLocal && !p.Settled() {
		// The watermark may be lower than what clients were told before this broker led (KIP-207).
		a.ErrorCode = wire.ErrOffsetNotAvailable
		if version < 5 {
			a.ErrorCode = wire.ErrLeaderNotAvailable
		}
		return
	}
	if version == 0 {
		b.oldStyleOffsets(p, q, a)
		return
	}
	limit := p.HighWatermark()
	if committed {
		limit = p.LastStableOffset()
	}
	log := p.Log()
	epoch := func(o wire.Offset) wire.LeaderEpoch { return log.EpochAt(o) }
	switch q.Timestamp {
	case latestTimestamp:
		a.Offset, a.LeaderEpoch = limit, log.LatestEpoch()
	case earliestTimestamp, earliestLocal:
		if q.Timestamp == earliestLocal && version < 8 {
			a.ErrorCode = wire.ErrUnsupportedVersion
			return
		}
		a.Offset = log.Start()
		a.LeaderEpoch = epoch(a.Offset)
	case latestTiered, earliestPendingLocal:
		// Nothing is tiered: there is no such offset.
		if q.Timestamp == latestTiered && version < 9 || q.Timestamp == earliestPendingLocal && version < 11 {
			a.ErrorCode = wire.ErrUnsupportedVersion
		}
	case maxTimestamp:
		if version < 7 {
			a.ErrorCode = wire.ErrUnsupportedVersion
			return
		}
		b.timestampOffset(p, limit, a, log.BatchOfMaxTimestamp, batch.MaxTimestampRecord)
	default:
		if q.Timestamp < 0 {
			a.ErrorCode = wire.ErrUnsupportedVersion
			return
		}
		ts := wire.Timestamp(q.Timestamp)
		b.timestampOffset(p, limit, a,
			func() (storage.Slice, error) { return log.BatchAtTimestamp(ts) },
			func(h batch.Header, limit int) (wire.Offset, wire.Timestamp, bool, error) {
				return batch.FirstAtOrAfter(h, ts, log.Start(), limit)
			})
	}
}

// timestampOffset answers with the record that find picks out of the batch that get gives, if consumers may see it.
func (b *Broker) timestampOffset(p *replica.Partition, limit wire.Offset, a *message.ListOffsetsResponsePartition, get func() (storage.Slice, error), find func(batch.Header, int) (wire.Offset, wire.Timestamp, bool, error)) {
	slice, err := get()
	if err != nil {
		b.Log.Error("look-up by timestamp failed", "partition", p.Name, "error", err)
		a.ErrorCode = wire.ErrKafkaStorageError
		return
	}
	if slice.Len() == 0 {
		return
	}
	defer slice.Release()
	raw := make([]byte, slice.Len())
	if _, err := slice.ReadInto(raw); err != nil {
		b.Log.Error("look-up by timestamp failed", "partition", p.Name, "error", err)
		a.ErrorCode = wire.ErrKafkaStorageError
		return
	}
	h, err := batch.Parse(raw)
	if err != nil {
		b.Log.Error("look-up by timestamp failed", "partition", p.Name, "error", err)
		a.ErrorCode = wire.ErrKafkaStorageError
		return
	}
	offset, ts, found, err := find(h, maxPlainBytes(p.Settings().MaxMessageBytes))
	if err != nil {
		b.Log.Error("look-up by timestamp failed", "partition", p.Name, "error", err)
		a.ErrorCode = wire.ErrCorruptMessage
		return
	}
	if found && offset < limit {
		a.Offset, a.Timestamp, a.LeaderEpoch = offset, int64(ts), h.LeaderEpoch()
	}
}

// oldStyleOffsets answers version 0: the starts of the segments that are not younger than the timestamp, newest first.
func (b *Broker) oldStyleOffsets(p *replica.Partition, q message.ListOffsetsRequestPartition, a *message.ListOffsetsResponsePartition) {
	for _, o := range p.Log().OffsetsBefore(q.Timestamp, int(q.MaxNumOffsets)) {
		if high := p.HighWatermark(); o > high {
			o = high
		}
		a.OldStyleOffsets = append(a.OldStyleOffsets, o)
	}
}

var offsetForLeaderEpochHandler = handle(message.KeyOffsetForLeaderEpoch, func(b *Broker, r *listen.Request, m *message.OffsetForLeaderEpochRequest) message.Response {
	response := &message.OffsetForLeaderEpochResponse{}
	for _, t := range m.Topics {
		out := message.OffsetForLeaderEpochResponseTopic{Topic: t.Topic}
		for _, q := range t.Partitions {
			a := message.OffsetForLeaderEpochResponsePartition{Partition: q.Partition, LeaderEpoch: wire.NoLeaderEpoch, EndOffset: -1}
			p, code := b.leading(t.Topic, q.Partition, q.CurrentLeaderEpoch)
			if a.ErrorCode = code; code == wire.ErrNone {
				a.LeaderEpoch, a.EndOffset = p.Log().EpochEndOffset(q.LeaderEpoch)
			}
			out.Partitions = append(out.Partitions, a)
		}
		response.Topics = append(response.Topics, out)
	}
	return response
})
