package metadata

import (
	"errors"
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// ErrUnknownRecord marks a record that a newer kraftgo wrote: this one cannot apply it, and must stop.
var ErrUnknownRecord = errors.New("metadata record of a newer version")

// recordVersion is the version that every record is written in today. A field is added by raising it for the records that have
// something in it, and written only above the level that knows it (level.go); a record without it is written as before, so
// that programs of both versions write, and hash, the same.
const recordVersion = 0

func newRecord(t RecordType) Record {
	switch t {
	case TypeCluster:
		return new(Cluster)
	case TypeRegisterBroker:
		return new(RegisterBroker)
	case TypeBrokerState:
		return new(BrokerState)
	case TypeUnregisterBroker:
		return new(UnregisterBroker)
	case TypeTopic:
		return new(TopicRecord)
	case TypePartition:
		return new(PartitionRecord)
	case TypePartitionChange:
		return new(PartitionChange)
	case TypeRemoveTopic:
		return new(RemoveTopic)
	case TypeConfig:
		return new(ConfigRecord)
	case TypeProducerIDs:
		return new(ProducerIDs)
	case TypeFeature:
		return new(Feature)
	case TypeBrokerIDs:
		return new(BrokerIDs)
	case TypeTopicWish:
		return new(TopicWish)
	case TypeACL:
		return new(ACL)
	case TypeRemoveACL:
		return new(RemoveACL)
	case TypeCredential:
		return new(Credential)
	case TypeRemoveCredential:
		return new(RemoveCredential)
	case TypeQuota:
		return new(Quota)
	case TypeRemovedDirectory:
		return new(RemovedDirectory)
	}
	return nil
}

// AppendRecord appends r as type, version, length and body.
func AppendRecord(b []byte, r Record) []byte {
	b = wire.AppendUint16(b, uint16(r.Type()))
	b = wire.AppendUvarint(b, recordVersion)
	body := r.appendTo(nil)
	return wire.AppendBytes(b, body, true)
}

// ReadRecord is the inverse of AppendRecord.
func ReadRecord(r *wire.Reader) (Record, error) {
	t := RecordType(r.Uint16())
	version := r.Uvarint()
	body := r.Bytes(true)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("metadata record: %w", err)
	}
	rec := newRecord(t)
	if rec == nil || version > recordVersion {
		return nil, fmt.Errorf("%w: type %d version %d, this kraftgo knows types up to %d at version %d",
			ErrUnknownRecord, t, version, lastType, recordVersion)
	}
	br := wire.NewReader(body)
	rec.decode(&br)
	if br.Err() == nil && br.Remaining() > 0 {
		br.Fail("%d bytes left over", br.Remaining())
	}
	if err := br.Err(); err != nil {
		return nil, fmt.Errorf("metadata record of type %d: %w", t, err)
	}
	if f, ok := rec.(*Feature); ok && f.Name == FeatureName {
		return rec, checkFinalized(f.Level, f.Release)
	}
	return rec, nil
}

func appendBrokers(b []byte, ids []wire.BrokerID) []byte {
	b = wire.AppendArrayLength(b, len(ids), true)
	for _, id := range ids {
		b = wire.AppendInt32(b, int32(id))
	}
	return b
}

func readBrokers(r *wire.Reader) []wire.BrokerID {
	n := r.ArrayLength(true, false, 4)
	if n <= 0 {
		return nil
	}
	ids := make([]wire.BrokerID, n)
	for i := range ids {
		ids[i] = wire.BrokerID(r.Int32())
	}
	return ids
}

// Type implements [Record], as do its like below.
func (*Cluster) Type() RecordType { return TypeCluster }

func (c *Cluster) appendTo(b []byte) []byte { return wire.AppendString(b, c.ID, true) }
func (c *Cluster) decode(r *wire.Reader)    { c.ID = r.String(true) }

// Type implements [Record].
func (*RegisterBroker) Type() RecordType { return TypeRegisterBroker }

func (g *RegisterBroker) appendTo(b []byte) []byte {
	b = wire.AppendInt32(b, int32(g.Broker))
	b = wire.AppendUUID(b, g.Directory)
	b = wire.AppendInt64(b, int64(g.Generation))
	b = wire.AppendInt64(b, int64(g.Nonce))
	b = wire.AppendNullableString(b, g.Rack, true)
	b = wire.AppendArrayLength(b, len(g.Endpoints), true)
	for _, e := range g.Endpoints {
		b = wire.AppendString(b, e.Listener, true)
		b = wire.AppendString(b, e.Host, true)
		b = wire.AppendUint16(b, e.Port)
		b = wire.AppendInt16(b, e.Security)
	}
	b = wire.AppendArrayLength(b, len(g.LogDirs), true)
	for _, d := range g.LogDirs {
		b = wire.AppendUUID(b, d)
	}
	b = wire.AppendArrayLength(b, len(g.LogPaths), true)
	for _, p := range g.LogPaths {
		b = wire.AppendString(b, p, true)
	}
	b = appendFeatures(b, g.Features)
	b = wire.AppendString(b, g.Cordoned, true)
	b = wire.AppendString(wire.AppendString(b, g.Internal, true), g.Gossip, true)
	return wire.AppendBool(wire.AppendInt32(b, g.MinInSync), g.Replicated)
}

func (g *RegisterBroker) decode(r *wire.Reader) {
	g.Broker = wire.BrokerID(r.Int32())
	g.Directory = r.UUID()
	g.Generation, g.Nonce = uint64(r.Int64()), uint64(r.Int64())
	g.Rack = r.NullableString(true)
	for n := r.ArrayLength(true, false, 6); n > 0 && r.Err() == nil; n-- {
		g.Endpoints = append(g.Endpoints, Endpoint{
			Listener: r.String(true), Host: r.String(true), Port: r.Uint16(), Security: r.Int16(),
		})
	}
	for n := r.ArrayLength(true, false, 16); n > 0 && r.Err() == nil; n-- {
		g.LogDirs = append(g.LogDirs, r.UUID())
	}
	for n := r.ArrayLength(true, false, 1); n > 0 && r.Err() == nil; n-- {
		g.LogPaths = append(g.LogPaths, r.String(true))
	}
	g.Features = readFeatures(r)
	g.Cordoned = r.String(true)
	g.Internal, g.Gossip = r.String(true), r.String(true)
	g.MinInSync, g.Replicated = r.Int32(), r.Bool()
}

// Type implements [Record].
func (*BrokerState) Type() RecordType { return TypeBrokerState }

func (s *BrokerState) appendTo(b []byte) []byte {
	b = wire.AppendInt32(b, int32(s.Broker))
	b = wire.AppendInt64(b, int64(s.Epoch))
	b = wire.AppendBool(b, s.Fenced)
	return wire.AppendBool(b, s.ShuttingDown)
}

func (s *BrokerState) decode(r *wire.Reader) {
	s.Broker, s.Epoch = wire.BrokerID(r.Int32()), wire.BrokerEpoch(r.Int64())
	s.Fenced, s.ShuttingDown = r.Bool(), r.Bool()
}

// Type implements [Record].
func (*UnregisterBroker) Type() RecordType { return TypeUnregisterBroker }

func (u *UnregisterBroker) appendTo(b []byte) []byte {
	return wire.AppendInt64(wire.AppendInt32(b, int32(u.Broker)), int64(u.Epoch))
}

func (u *UnregisterBroker) decode(r *wire.Reader) {
	u.Broker, u.Epoch = wire.BrokerID(r.Int32()), wire.BrokerEpoch(r.Int64())
}

// Type implements [Record].
func (*RemovedDirectory) Type() RecordType { return TypeRemovedDirectory }

func (d *RemovedDirectory) appendTo(b []byte) []byte {
	return wire.AppendBool(wire.AppendInt32(wire.AppendUUID(b, d.Directory), int32(d.Broker)), d.Back)
}

func (d *RemovedDirectory) decode(r *wire.Reader) {
	d.Directory, d.Broker, d.Back = r.UUID(), wire.BrokerID(r.Int32()), r.Bool()
}

// Type implements [Record].
func (*TopicRecord) Type() RecordType { return TypeTopic }

func (t *TopicRecord) appendTo(b []byte) []byte {
	return wire.AppendInt16(wire.AppendUUID(wire.AppendString(b, t.Name, true), t.ID), t.Wanted)
}
func (t *TopicRecord) decode(r *wire.Reader) {
	t.Name, t.ID, t.Wanted = r.String(true), r.UUID(), r.Int16()
}

// Type implements [Record].
func (*TopicWish) Type() RecordType { return TypeTopicWish }

func (t *TopicWish) appendTo(b []byte) []byte {
	return wire.AppendInt16(wire.AppendUUID(b, t.Topic), t.Wanted)
}
func (t *TopicWish) decode(r *wire.Reader) { t.Topic, t.Wanted = r.UUID(), r.Int16() }

// Type implements [Record].
func (*PartitionRecord) Type() RecordType { return TypePartition }

func (p *PartitionRecord) appendTo(b []byte) []byte {
	b = wire.AppendUUID(b, p.Topic)
	b = wire.AppendInt32(b, int32(p.Partition))
	b = appendBrokers(b, p.Replicas)
	b = appendBrokers(b, p.ISR)
	b = wire.AppendInt32(b, int32(p.Leader))
	b = wire.AppendInt32(b, int32(p.LeaderEpoch))
	b = wire.AppendInt32(b, int32(p.Epoch))
	return appendBrokers(appendBrokers(appendBrokers(appendBrokers(b, p.Adding), p.Removing), p.ELR), p.LastKnownELR)
}

func (p *PartitionRecord) decode(r *wire.Reader) {
	p.Topic, p.Partition = r.UUID(), wire.Partition(r.Int32())
	p.Replicas, p.ISR = readBrokers(r), readBrokers(r)
	p.Leader = wire.BrokerID(r.Int32())
	p.LeaderEpoch, p.Epoch = wire.LeaderEpoch(r.Int32()), wire.PartitionEpoch(r.Int32())
	p.Adding, p.Removing, p.ELR, p.LastKnownELR = readBrokers(r), readBrokers(r), readBrokers(r), readBrokers(r)
}

// Type implements [Record].
func (*PartitionChange) Type() RecordType { return TypePartitionChange }

func (p *PartitionChange) appendTo(b []byte) []byte {
	b = wire.AppendUUID(b, p.Topic)
	b = wire.AppendInt32(b, int32(p.Partition))
	b = appendBrokers(b, p.ISR)
	b = wire.AppendInt32(b, int32(p.Leader))
	b = appendBrokers(wire.AppendBool(b, p.BumpLeaderEpoch), p.Replicas)
	return appendBrokers(appendBrokers(appendBrokers(appendBrokers(b, p.Adding), p.Removing), p.ELR), p.LastKnownELR)
}

func (p *PartitionChange) decode(r *wire.Reader) {
	p.Topic, p.Partition = r.UUID(), wire.Partition(r.Int32())
	p.ISR, p.Leader, p.BumpLeaderEpoch = readBrokers(r), wire.BrokerID(r.Int32()), r.Bool()
	p.Replicas = readBrokers(r)
	p.Adding, p.Removing, p.ELR, p.LastKnownELR = readBrokers(r), readBrokers(r), readBrokers(r), readBrokers(r)
}

// Type implements [Record].
func (*RemoveTopic) Type() RecordType { return TypeRemoveTopic }

func (t *RemoveTopic) appendTo(b []byte) []byte { return wire.AppendUUID(b, t.Topic) }
func (t *RemoveTopic) decode(r *wire.Reader)    { t.Topic = r.UUID() }

// Type implements [Record].
func (*ConfigRecord) Type() RecordType { return TypeConfig }

func (c *ConfigRecord) appendTo(b []byte) []byte {
	b = wire.AppendInt8(b, int8(c.Resource.Type))
	b = wire.AppendString(b, c.Resource.Name, true)
	b = wire.AppendString(b, c.Name, true)
	return wire.AppendNullableString(b, c.Value, true)
}

func (c *ConfigRecord) decode(r *wire.Reader) {
	c.Resource = Resource{ResourceType(r.Int8()), r.String(true)}
	c.Name, c.Value = r.String(true), r.NullableString(true)
}

// Type implements [Record].
func (*ProducerIDs) Type() RecordType { return TypeProducerIDs }

func (p *ProducerIDs) appendTo(b []byte) []byte {
	b = wire.AppendInt32(b, int32(p.Broker))
	b = wire.AppendInt64(b, int64(p.Epoch))
	return wire.AppendInt64(b, int64(p.Next))
}

func (p *ProducerIDs) decode(r *wire.Reader) {
	p.Broker, p.Epoch = wire.BrokerID(r.Int32()), wire.BrokerEpoch(r.Int64())
	p.Next = wire.ProducerID(r.Int64())
}

// Type implements [Record].
func (*Feature) Type() RecordType { return TypeFeature }

func (f *Feature) appendTo(b []byte) []byte {
	return wire.AppendString(wire.AppendInt16(wire.AppendString(b, f.Name, true), f.Level), f.Release, true)
}

func (f *Feature) decode(r *wire.Reader) {
	f.Name, f.Level, f.Release = r.String(true), r.Int16(), r.String(true)
}

// Type implements [Record].
func (*BrokerIDs) Type() RecordType { return TypeBrokerIDs }

func (i *BrokerIDs) appendTo(b []byte) []byte { return wire.AppendInt32(b, int32(i.Next)) }
func (i *BrokerIDs) decode(r *wire.Reader)    { i.Next = wire.BrokerID(r.Int32()) }
