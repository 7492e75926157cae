package metadata

import (
	"sort"

	"github.com/google/btree"

	"github.com/kraftgo/kraftgo/wire"
)

// Image is the cluster's metadata as it was after one command. It never changes.
//
// The trees are copy-on-write: an image costs a few words, and a change copies the nodes on its path.
type Image struct {
	index     wire.Index
	term      wire.Term
	clusterID string

	brokers  *btree.BTreeG[*BrokerInfo]
	byName   *btree.BTreeG[*Topic]
	byID     *btree.BTreeG[*Topic]
	configs  *btree.BTreeG[*resourceConfig]
	features map[string]int16 // replaced, never written

	nextProducerID wire.ProducerID
	nextBrokerID   wire.BrokerID
	partitions     int // over all topics
}

// BrokerInfo is a registered broker. It never changes; a new one replaces it.
type BrokerInfo struct {
	RegisterBroker
	Epoch        wire.BrokerEpoch
	Fenced       bool
	ShuttingDown bool
}

// Topic is a topic with its partitions, which are numbered from 0 without gaps. It never changes; a new one replaces it.
type Topic struct {
	Name       string
	ID         wire.TopicID
	Partitions []PartitionInfo // by number
}

// PartitionInfo is a partition's registration.
type PartitionInfo struct {
	Replicas    []wire.BrokerID // the first is the preferred leader
	ISR         []wire.BrokerID
	Leader      wire.BrokerID // or NoBroker
	LeaderEpoch wire.LeaderEpoch
	Epoch       wire.PartitionEpoch
}

type resourceConfig struct {
	resource Resource
	values   map[string]string // replaced, never written
}

func lessResource(a, b *resourceConfig) bool {
	if a.resource.Type != b.resource.Type {
		return a.resource.Type < b.resource.Type
	}
	return a.resource.Name < b.resource.Name
}

func lessUUID(a, b wire.UUID) bool { return string(a[:]) < string(b[:]) }

// treeDegree was not tuned; 16 keeps a node within a few cache lines.
const treeDegree = 16

func emptyImage() Image {
	return Image{
		brokers:  btree.NewG(treeDegree, func(a, b *BrokerInfo) bool { return a.Broker < b.Broker }),
		byName:   btree.NewG(treeDegree, func(a, b *Topic) bool { return a.Name < b.Name }),
		byID:     btree.NewG(treeDegree, func(a, b *Topic) bool { return lessUUID(a.ID, b.ID) }),
		configs:  btree.NewG(treeDegree, lessResource),
		features: map[string]int16{},
	}
}

// clone returns an image that shares everything with m until either is written.
func (m *Image) clone() *Image {
	c := *m
	c.brokers, c.byName, c.byID, c.configs = m.brokers.Clone(), m.byName.Clone(), m.byID.Clone(), m.configs.Clone()
	return &c
}

// Index returns the index of the last command in the image; 0 for none.
func (m *Image) Index() wire.Index { return m.index }

// Term returns the term of the last command in the image. Kafka calls it the controller epoch.
func (m *Image) Term() wire.Term { return m.term }

// ClusterID returns the cluster's id, "" before it was founded.
func (m *Image) ClusterID() string { return m.clusterID }

// Topic returns the topic of that name, or nil.
func (m *Image) Topic(name string) *Topic {
	t, _ := m.byName.Get(&Topic{Name: name})
	return t
}

// TopicByID returns the topic of that id, or nil.
func (m *Image) TopicByID(id wire.TopicID) *Topic {
	t, _ := m.byID.Get(&Topic{ID: id})
	return t
}

// Topics calls f for every topic by name until it returns false.
func (m *Image) Topics(f func(*Topic) bool) { m.byName.Ascend(f) }

// TopicsFrom is Topics from a name on, that name included.
func (m *Image) TopicsFrom(name string, f func(*Topic) bool) {
	m.byName.AscendGreaterOrEqual(&Topic{Name: name}, f)
}

// TopicCount returns how many topics there are, and PartitionCount how many partitions in all.
func (m *Image) TopicCount() int { return m.byName.Len() }

// PartitionCount returns how many partitions all topics have together.
func (m *Image) PartitionCount() int { return m.partitions }

// Broker returns a registered broker, or nil.
func (m *Image) Broker(id wire.BrokerID) *BrokerInfo {
	b, _ := m.brokers.Get(&BrokerInfo{RegisterBroker: RegisterBroker{Broker: id}})
	return b
}

// Brokers calls f for every registered broker by id until it returns false.
func (m *Image) Brokers(f func(*BrokerInfo) bool) { m.brokers.Ascend(f) }

// Live returns the brokers that are not fenced, by id.
func (m *Image) Live() []*BrokerInfo {
	var out []*BrokerInfo
	m.brokers.Ascend(func(b *BrokerInfo) bool {
		if !b.Fenced {
			out = append(out, b)
		}
		return true
	})
	return out
}

// Config returns what was set on a resource. The map must not be written; nil means nothing was set.
func (m *Image) Config(r Resource) map[string]string {
	if c, ok := m.configs.Get(&resourceConfig{resource: r}); ok {
		return c.values
	}
	return nil
}

// ConfigResources returns the names of the resources of a type that have settings, sorted.
func (m *Image) ConfigResources(t ResourceType) []string {
	var out []string
	m.configs.AscendGreaterOrEqual(&resourceConfig{resource: Resource{Type: t}}, func(c *resourceConfig) bool {
		if c.resource.Type != t {
			return false
		}
		out = append(out, c.resource.Name)
		return true
	})
	return out
}

// Features returns the finalised features. The map must not be written.
func (m *Image) Features() map[string]int16 { return m.features }

// NextProducerID returns the first producer id that no broker was given.
func (m *Image) NextProducerID() wire.ProducerID { return m.nextProducerID }

// NextBrokerID returns the lowest broker id above all that were ever registered, at least 1.
func (m *Image) NextBrokerID() wire.BrokerID { return max(m.nextBrokerID, 1) }

// BrokerByDirectory returns the broker that registered from a data directory, or nil.
func (m *Image) BrokerByDirectory(directory wire.UUID) *BrokerInfo {
	var found *BrokerInfo
	m.brokers.Ascend(func(b *BrokerInfo) bool {
		if b.Directory == directory {
			found = b
		}
		return found == nil
	})
	return found
}

// Records returns the records that make this image from nothing, in an order that depends on the image alone.
func (m *Image) Records() []Record {
	out := []Record{&Cluster{ID: m.clusterID}}
	names := make([]string, 0, len(m.features))
	for name := range m.features {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		out = append(out, &Feature{Name: name, Level: m.features[name]})
	}
	m.byName.Ascend(func(t *Topic) bool {
		out = append(out, &TopicRecord{Name: t.Name, ID: t.ID})
		for i, p := range t.Partitions {
			out = append(out, &PartitionRecord{
				Topic: t.ID, Partition: wire.Partition(i), Replicas: p.Replicas, ISR: p.ISR,
				Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch,
			})
		}
		return true
	})
	m.configs.Ascend(func(c *resourceConfig) bool {
		keys := make([]string, 0, len(c.values))
		for k := range c.values {
			keys = append(keys, k)
		}
		sort.Strings(keys)
		for _, k := range keys {
			v := c.values[k]
			out = append(out, &ConfigRecord{Resource: c.resource, Name: k, Value: &v})
		}
		return true
	})
	return append(out, &ProducerIDs{Broker: wire.NoBroker, Epoch: -1, Next: m.nextProducerID}, &BrokerIDs{Next: m.nextBrokerID})
}
