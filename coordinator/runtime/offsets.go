package runtime

import (
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/coordinator/group"
	"github.com/kraftgo/kraftgo/coordinator/offset"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
	"github.com/kraftgo/kraftgo/wire/record"
)

// CommitOffsets answers an OffsetCommit, once its records are committed. Topics go by name.
func (c *Coordinator) CommitOffsets(caller Caller, m *message.OffsetCommitRequest, reply func(*message.OffsetCommitResponse)) {
	answer := func(code wire.ErrorCode) {
		reply(commitAnswer(m, func(*message.OffsetCommitRequestPartition) wire.ErrorCode { return code }))
	}
	generation := m.GenerationIDOrMemberEpoch
	if caller.Version == 0 {
		generation = -1
	}
	c.with(m.GroupID, func(s *shard) {
		now := s.now()
		g := s.groups[m.GroupID]
		if g == nil {
			if generation >= 0 {
				code := wire.ErrIllegalGeneration
				if caller.Version >= 9 {
					code = wire.ErrGroupIDNotFound
				}
				answer(code)
				return
			}
			g = group.New(m.GroupID, s.groupConfig())
			s.groups[m.GroupID] = g
		}
		if code := g.CheckCommit(now, m.MemberID, m.GroupInstanceID, generation); code != wire.ErrNone {
			answer(code)
			return
		}
		most := c.opts.Config.MaxMetadataBytes
		fits := func(p *message.OffsetCommitRequestPartition) bool {
			return p.CommittedMetadata == nil || len(*p.CommittedMetadata) <= most
		}
		effects := commitEffects(m, now.Wall, fits)
		answerFor := func(code wire.ErrorCode) {
			reply(commitAnswer(m, func(p *message.OffsetCommitRequestPartition) wire.ErrorCode {
				if !fits(p) {
					return wire.ErrOffsetMetadataTooLarge
				}
				return code
			}))
		}
		if len(effects) == 0 {
			answerFor(wire.ErrNone)
			return
		}
		s.committed[m.GroupID] = true
		s.write(effects, func(code wire.ErrorCode) {
			if code != wire.ErrNone {
				code = group.RefusalOf(code)
			}
			answerFor(code)
		})
	}, answer)
}

// commitEffects returns the records of a commit.
func commitEffects(m *message.OffsetCommitRequest, now wire.Timestamp, fits func(*message.OffsetCommitRequestPartition) bool) []effect {
	var out []effect
	for i := range m.Topics {
		t := &m.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if !fits(p) {
				continue
			}
			v := record.OffsetCommitValue{Offset: p.CommittedOffset, LeaderEpoch: p.CommittedLeaderEpoch, CommitTimestamp: int64(now), ExpireTimestamp: -1}
			if p.CommittedMetadata != nil {
				v.Metadata = *p.CommittedMetadata
			}
			if p.CommitTimestamp >= 0 {
				v.CommitTimestamp = p.CommitTimestamp
			}
			if m.RetentionTimeMs >= 0 {
				v.ExpireTimestamp = v.CommitTimestamp + m.RetentionTimeMs
			}
			out = append(out, effect{
				&record.OffsetCommitKey{Group: m.GroupID, Topic: t.Name, Partition: p.PartitionIndex},
				record.Append(nil, &v, offset.Version(&v)),
			})
		}
	}
	return out
}

func commitAnswer(m *message.OffsetCommitRequest, code func(*message.OffsetCommitRequestPartition) wire.ErrorCode) *message.OffsetCommitResponse {
	a := &message.OffsetCommitResponse{Topics: make([]message.OffsetCommitResponseTopic, len(m.Topics))}
	for i := range m.Topics {
		t := &m.Topics[i]
		out := &a.Topics[i]
		out.Name, out.TopicID = t.Name, t.TopicID
		out.Partitions = make([]message.OffsetCommitResponsePartition, len(t.Partitions))
		for j := range t.Partitions {
			out.Partitions[j] = message.OffsetCommitResponsePartition{PartitionIndex: t.Partitions[j].PartitionIndex, ErrorCode: code(&t.Partitions[j])}
		}
	}
	return a
}

// FetchOffsets answers an OffsetFetch. Topics go by name.
func (c *Coordinator) FetchOffsets(caller Caller, m *message.OffsetFetchRequest, reply func(*message.OffsetFetchResponse)) {
	if caller.Version >= 8 {
		a := &message.OffsetFetchResponse{Groups: make([]message.OffsetFetchResponseGroup, len(m.Groups))}
		done := gather(len(m.Groups), func() { reply(a) })
		for i := range m.Groups {
			q := &m.Groups[i]
			c.fetchGroup(q, func(out message.OffsetFetchResponseGroup) {
				a.Groups[i] = out
				done()
			})
		}
		return
	}
	q := &message.OffsetFetchRequestGroup{GroupID: m.GroupID}
	if m.Topics != nil || caller.Version < 2 {
		q.Topics = []message.OffsetFetchRequestGroupTopic{}
	}
	for _, t := range m.Topics {
		q.Topics = append(q.Topics, message.OffsetFetchRequestGroupTopic{Name: t.Name, PartitionIndexes: t.PartitionIndexes})
	}
	c.fetchGroup(q, func(g message.OffsetFetchResponseGroup) { reply(oldFetchAnswer(caller, m, g)) })
}

// oldFetchAnswer puts the answer for one group into the form before version 8. Before version 2 an error of the group is
// told of each partition.
func oldFetchAnswer(caller Caller, m *message.OffsetFetchRequest, g message.OffsetFetchResponseGroup) *message.OffsetFetchResponse {
	a := &message.OffsetFetchResponse{ErrorCode: g.ErrorCode}
	if g.ErrorCode != wire.ErrNone && caller.Version < 2 {
		for _, t := range m.Topics {
			out := message.OffsetFetchResponseTopic{Name: t.Name}
			for _, p := range t.PartitionIndexes {
				out.Partitions = append(out.Partitions, message.OffsetFetchResponsePartition{PartitionIndex: p, CommittedOffset: -1, CommittedLeaderEpoch: wire.NoLeaderEpoch, Metadata: new(string), ErrorCode: g.ErrorCode})
			}
			a.Topics = append(a.Topics, out)
		}
		return a
	}
	for _, t := range g.Topics {
		out := message.OffsetFetchResponseTopic{Name: t.Name}
		for _, p := range t.Partitions {
			out.Partitions = append(out.Partitions, message.OffsetFetchResponsePartition(p))
		}
		a.Topics = append(a.Topics, out)
	}
	return a
}

func (c *Coordinator) fetchGroup(q *message.OffsetFetchRequestGroup, done func(message.OffsetFetchResponseGroup)) {
	refuse := func(code wire.ErrorCode) { done(message.OffsetFetchResponseGroup{GroupID: q.GroupID, ErrorCode: code}) }
	c.with(q.GroupID, func(s *shard) {
		if !s.current() {
			refuse(wire.ErrCoordinatorNotAvailable)
			return
		}
		a := message.OffsetFetchResponseGroup{GroupID: q.GroupID}
		if err := s.readOffsets(q, &a); err != nil {
			c.opts.Log.Error("offset store failed", "group", q.GroupID, "error", err)
			refuse(wire.ErrCoordinatorNotAvailable)
			return
		}
		done(a)
	}, refuse)
}

// readOffsets reads the offsets that were asked for, or all of the group.
func (s *shard) readOffsets(q *message.OffsetFetchRequestGroup, a *message.OffsetFetchResponseGroup) error {
	if q.Topics == nil {
		return s.c.opts.Store.Offsets(s.p, q.GroupID, func(topic string, partition wire.Partition, value []byte) error {
			p, err := fetchedOffset(partition, value)
			if err != nil {
				return err
			}
			if n := len(a.Topics); n == 0 || a.Topics[n-1].Name != topic {
				a.Topics = append(a.Topics, message.OffsetFetchResponseGroupTopic{Name: topic})
			}
			t := &a.Topics[len(a.Topics)-1]
			t.Partitions = append(t.Partitions, p)
			return nil
		})
	}
	for _, t := range q.Topics {
		out := message.OffsetFetchResponseGroupTopic{Name: t.Name, TopicID: t.TopicID}
		for _, partition := range t.PartitionIndexes {
			value, err := s.c.opts.Store.Offset(s.p, q.GroupID, t.Name, partition)
			if err != nil {
				return err
			}
			p, err := fetchedOffset(partition, value)
			if err != nil {
				return err
			}
			out.Partitions = append(out.Partitions, p)
		}
		a.Topics = append(a.Topics, out)
	}
	return nil
}

func fetchedOffset(partition wire.Partition, value []byte) (message.OffsetFetchResponseGroupTopicPartition, error) {
	p := message.OffsetFetchResponseGroupTopicPartition{PartitionIndex: partition, CommittedOffset: -1, CommittedLeaderEpoch: wire.NoLeaderEpoch, Metadata: new(string)}
	if value == nil {
		return p, nil
	}
	var v record.OffsetCommitValue
	if _, err := record.Decode(&v, value); err != nil {
		return p, err
	}
	p.CommittedOffset, p.CommittedLeaderEpoch, p.Metadata = v.Offset, v.LeaderEpoch, &v.Metadata
	return p, nil
}

// DeleteOffsets answers an OffsetDelete (KIP-496).
func (c *Coordinator) DeleteOffsets(_ Caller, m *message.OffsetDeleteRequest, reply func(*message.OffsetDeleteResponse)) {
	refuse := func(code wire.ErrorCode) { reply(&message.OffsetDeleteResponse{ErrorCode: code}) }
	if m.GroupID == "" {
		refuse(wire.ErrInvalidGroupID)
		return
	}
	c.with(m.GroupID, func(s *shard) {
		g := s.groups[m.GroupID]
		switch {
		case g == nil:
			refuse(wire.ErrGroupIDNotFound)
			return
		case g.State() != group.Empty && g.ProtocolType() != consumerProtocol:
			refuse(wire.ErrNonEmptyGroup)
			return
		}
		var effects []effect
		a := &message.OffsetDeleteResponse{}
		for _, t := range m.Topics {
			subscribed := g.State() != group.Empty && g.Subscribed(t.Name, subscription)
			out := message.OffsetDeleteResponseTopic{Name: t.Name}
			for _, p := range t.Partitions {
				code := wire.ErrNone
				if subscribed {
					code = wire.ErrGroupSubscribedToTopic
				} else {
					effects = append(effects, effect{key: &record.OffsetCommitKey{Group: m.GroupID, Topic: t.Name, Partition: p.PartitionIndex}})
				}
				out.Partitions = append(out.Partitions, message.OffsetDeleteResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: code})
			}
			a.Topics = append(a.Topics, out)
		}
		if len(effects) == 0 {
			reply(a)
			return
		}
		s.write(effects, func(code wire.ErrorCode) {
			if code != wire.ErrNone {
				refuse(group.RefusalOf(code))
				return
			}
			reply(a)
		})
	}, refuse)
}

const consumerProtocol = "consumer"

// subscription reads the topics out of a consumer's metadata.
func subscription(metadata []byte) ([]string, bool) {
	s, _, err := record.DecodeSubscription(metadata)
	if err != nil {
		return nil, false
	}
	return s.Topics, true
}

// clean deletes expired offsets, and groups that have neither members nor offsets left.
func (s *shard) clean(now group.Clock) {
	if !s.current() {
		return
	}
	for id, g := range s.groups {
		if g.State() == group.PreparingRebalance || g.State() == group.CompletingRebalance {
			continue
		}
		kept := 0
		owner := offset.Owner{Joined: g.ProtocolType() != "", Empty: g.State() == group.Empty, Changed: g.Changed()}
		if owner.Changed == 0 {
			owner.Changed = wire.NoTimestamp
		}
		gone, err := s.offsetsOf(id, func(topic string, _ wire.Partition, v *record.OffsetCommitValue) bool {
			o := owner
			o.Subscribes = g.Subscribed(topic, subscription) || g.ProtocolType() != consumerProtocol && !o.Empty
			if offset.Expired(v, o, now.Wall, s.c.opts.Config.OffsetsRetention) {
				return true
			}
			kept++
			return false
		})
		if err != nil {
			s.c.opts.Log.Error("offset store failed", "partition", s.p, "error", err)
			return
		}
		idle := time.Duration(int64(now.Wall)-int64(owner.Changed)) * time.Millisecond
		if owner.Empty && kept == 0 && (len(gone) > 0 || idle >= s.c.opts.Config.OffsetsRetention) && !s.writes(id) {
			s.do(g, g.Stop(wire.ErrGroupIDNotFound))
			delete(s.groups, id)
			gone = append(gone, effect{key: &record.GroupMetadataKey{Group: id}})
		}
		if len(gone) > 0 {
			s.c.opts.Log.Info("expired offsets deleted", "group", id, "offsets", len(gone))
			s.writeAll(gone)
		}
	}
}

// writes reports whether records of a group are on their way.
func (s *shard) writes(id string) bool {
	of := func(e effect) bool {
		k, ok := e.key.(*record.OffsetCommitKey)
		return ok && k.Group == id
	}
	for _, b := range s.inFlight {
		if slices.ContainsFunc(b.effects, of) {
			return true
		}
	}
	return s.open != nil && slices.ContainsFunc(s.open.effects, of)
}
