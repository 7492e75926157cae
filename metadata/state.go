package metadata

import (
	"errors"
	"fmt"
	"maps"

	"github.com/kraftgo/kraftgo/wire"
)

// ErrStaleTerm is the result of a command that was decided in another term than it was committed in.
var ErrStaleTerm = errors.New("the controller changed while the change was being decided")

// State is the metadata state machine. Its state after a run of commands is a function of these commands alone.
// One goroutine owns it.
type State struct {
	image Image

	requests requests
	pending  pending
	effect   []Record // of the last command

	// fresh are the topics whose partitions were copied for the present command, and which no image has yet: its further
	// changes are made in place. Without it, a change of all partitions of a topic would take quadratic time.
	fresh map[wire.TopicID]struct{}

	hasher hasher
}

// NewState returns the state before the first command.
func NewState() *State {
	s := &State{image: emptyImage(), requests: newRequests(), fresh: map[wire.TopicID]struct{}{}}
	s.image.hash = s.Snapshot().recompute()
	return s
}

// Hash returns the hash of the present state.
func (s *State) Hash() Hash { return s.image.hash }

// Image returns the present state as an image that never changes.
func (s *State) Image() *Image { return s.image.clone() }

// Apply executes a committed command. Indexes must rise from call to call. It returns whether records took effect
// ([State.Effect]): not so for a stale command ([ErrStaleTerm]), for one that was applied before and for a part that others
// follow (false, nil), and for a part whose predecessors were dropped ([ErrIncomplete]).
func (s *State) Apply(index wire.Index, term wire.Term, c Command) (applied bool, err error) {
	if index <= s.image.index {
		panic(fmt.Sprintf("metadata: index %d applied after %d", index, s.image.index))
	}
	s.image.index, s.image.term, s.effect = index, term, nil
	if s.pending.parts > 0 && !s.pending.continues(term, &c) {
		s.dropPending()
	}
	if c.Term != term {
		return false, fmt.Errorf("%w: decided in term %d, committed in %d", ErrStaleTerm, c.Term, term)
	}
	records := c.Records
	if !c.Part.Change.IsZero() {
		if records, err = s.addPart(term, &c); err != nil || c.Part.More {
			return false, err
		}
	}
	if !c.Request.IsZero() && !s.remember(&c) {
		return false, nil
	}
	clear(s.fresh)
	for _, r := range records {
		s.change(index, r)
	}
	s.effect = records
	return true, nil
}

// Effect returns the records that the last command brought into effect.
func (s *State) Effect() []Record { return s.effect }

// change applies a record, and keeps the hash up.
func (s *State) change(index wire.Index, r Record) {
	before := s.hasher.touched(&s.image, r)
	s.apply(index, r)
	s.image.hash = s.image.hash.minus(before).plus(s.hasher.touched(&s.image, r))
}

func (s *State) apply(index wire.Index, r Record) {
	m := &s.image
	switch r := r.(type) {
	case *Cluster:
		m.clusterID = r.ID
	case *RegisterBroker:
		m.brokers.ReplaceOrInsert(&BrokerInfo{RegisterBroker: *r, Epoch: wire.BrokerEpoch(index), Fenced: true})
		m.nextBrokerID = max(m.nextBrokerID, r.Broker+1)
	case *BrokerState:
		b := *s.mustBroker(r.Broker)
		b.Fenced, b.ShuttingDown = r.Fenced, r.ShuttingDown
		m.brokers.ReplaceOrInsert(&b)
	case *UnregisterBroker:
		m.brokers.Delete(s.mustBroker(r.Broker))
	case *RemovedDirectory:
		if r.Back {
			m.removed.Delete(r)
		} else {
			m.removed.ReplaceOrInsert(r)
		}
	case *TopicRecord:
		s.putTopic(&Topic{Name: r.Name, ID: r.ID, Wanted: r.Wanted})
		s.fresh[r.ID] = struct{}{}
	case *TopicWish:
		s.ownTopic(s.mustTopic(r.Topic), 0).Wanted = r.Wanted
	case *PartitionRecord:
		s.applyPartition(r)
	case *PartitionChange:
		s.applyPartitionChange(r)
	case *RemoveTopic:
		t := s.mustTopic(r.Topic)
		m.byName.Delete(t)
		m.byID.Delete(t)
		m.partitions -= len(t.Partitions)
		m.configs.Delete(&resourceConfig{resource: Resource{ResourceTopic, t.Name}})
	case *ConfigRecord:
		s.applyConfig(r)
	case *ProducerIDs:
		m.nextProducerID = r.Next
	case *BrokerIDs:
		m.nextBrokerID = r.Next
	case *Feature:
		m.features = maps.Clone(m.features)
		release := r.Release
		if r.Level == 0 {
			delete(m.features, r.Name)
			release = ""
		} else {
			m.features[r.Name] = r.Level
		}
		if r.Name == FeatureName {
			m.release = release
		}
	case *ACL:
		m.acls.ReplaceOrInsert(r)
	case *RemoveACL:
		m.acls.Delete(&r.ACL)
	case *Credential:
		m.credentials.ReplaceOrInsert(r)
	case *RemoveCredential:
		m.credentials.Delete(&Credential{User: r.User, Mechanism: r.Mechanism})
	case *Quota:
		s.applyQuota(r)
	default:
		panic(fmt.Sprintf("metadata: no rule for record %T", r))
	}
}

func (s *State) mustBroker(id wire.BrokerID) *BrokerInfo {
	b := s.image.Broker(id)
	if b == nil {
		panic(fmt.Sprintf("metadata: record about broker %d, which is not registered", id))
	}
	return b
}

func (s *State) mustTopic(id wire.TopicID) *Topic {
	t := s.image.TopicByID(id)
	if t == nil {
		panic(fmt.Sprintf("metadata: record about topic id %s, which does not exist", id))
	}
	return t
}

func (s *State) putTopic(t *Topic) {
	s.image.byName.ReplaceOrInsert(t)
	s.image.byID.ReplaceOrInsert(t)
}

func (s *State) applyPartition(r *PartitionRecord) {
	old := s.mustTopic(r.Topic)
	if int(r.Partition) != len(old.Partitions) {
		panic(fmt.Sprintf("metadata: partition %d of %s after %d partitions", r.Partition, old.Name, len(old.Partitions)))
	}
	t := s.ownTopic(old, 1)
	t.Partitions = append(t.Partitions, PartitionInfo{
		Replicas: r.Replicas, ISR: r.ISR, Leader: r.Leader, LeaderEpoch: r.LeaderEpoch, Epoch: r.Epoch,
		Adding: r.Adding, Removing: r.Removing, ELR: r.ELR, LastKnownELR: r.LastKnownELR,
	})
	s.image.partitions++
}

// ownTopic returns the topic for writing; more is how many partitions are about to be added.
func (s *State) ownTopic(t *Topic, more int) *Topic {
	if _, mine := s.fresh[t.ID]; mine {
		return t
	}
	s.fresh[t.ID] = struct{}{}
	own := *t
	own.Partitions = append(make([]PartitionInfo, 0, len(t.Partitions)+more), t.Partitions...)
	s.putTopic(&own)
	return &own
}

func (s *State) applyPartitionChange(r *PartitionChange) {
	old := s.mustTopic(r.Topic)
	if r.Partition < 0 || int(r.Partition) >= len(old.Partitions) {
		panic(fmt.Sprintf("metadata: change of partition %d of %s, which has %d", r.Partition, old.Name, len(old.Partitions)))
	}
	t := s.ownTopic(old, 0)
	p := &t.Partitions[r.Partition]
	if r.Replicas != nil {
		p.Replicas = r.Replicas
	}
	p.ISR, p.Leader, p.Adding, p.Removing, p.ELR, p.LastKnownELR = r.ISR, r.Leader, r.Adding, r.Removing, r.ELR, r.LastKnownELR
	p.Epoch++
	if r.BumpLeaderEpoch {
		p.LeaderEpoch++
	}
}

func (s *State) applyConfig(r *ConfigRecord) {
	old := s.image.Config(r.Resource)
	values := make(map[string]string, len(old)+1)
	maps.Copy(values, old)
	if r.Value == nil {
		delete(values, r.Name)
	} else {
		values[r.Name] = *r.Value
	}
	next := &resourceConfig{resource: r.Resource, values: values}
	if len(values) == 0 {
		s.image.configs.Delete(next)
		return
	}
	s.image.configs.ReplaceOrInsert(next)
}
