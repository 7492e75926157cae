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
	recovery  Recovery

	brokers *btree.BTreeG[*BrokerInfo]
	removed *btree.BTreeG[*RemovedDirectory]
	byName  *btree.BTreeG[*Topic]
	byID    *btree.BTreeG[*Topic]
	configs *btree.BTreeG[*resourceConfig]

	acls        *btree.BTreeG[*ACL]
	credentials *btree.BTreeG[*Credential]
	quotas      *btree.BTreeG[*Quotas]

	features map[string]int16 // replaced, never written
	release  string           // that brought the finalised level of FeatureName

	nextProducerID wire.ProducerID
	nextBrokerID   wire.BrokerID
	partitions     int // over all topics
	hash           Hash
}

// BrokerInfo is a registered broker. It never changes; a new one replaces it.
type BrokerInfo struct {
	RegisterBroker
	Epoch        wire.BrokerEpoch
	Fenced       bool
	ShuttingDown bool // it asked to be let go: it leads nothing that another can lead, and is given nothing new
}

// Live reports whether the broker may be given something to lead or to hold.
func (b *BrokerInfo) Live() bool { return !b.Fenced && !b.ShuttingDown }

// Topic is a topic with its partitions, which are numbered from 0 without gaps. It never changes; a new one replaces it.
type Topic struct {
	Name       string
	ID         wire.TopicID
	Partitions []PartitionInfo // by number
	// Wanted is how many replicas its partitions are to get as soon as there are brokers for them; 0: none beside those they have.
	Wanted int16
}

func (t *Topic) record() *TopicRecord {
	return &TopicRecord{Name: t.Name, ID: t.ID, Wanted: t.Wanted}
}

// PartitionInfo is a partition's registration. At all times ISR, ELR and LastKnownELR have no broker in common and are part
// of Replicas, as are Adding and Removing, which have none in common either; a leader is in the ISR.
type PartitionInfo struct {
	Replicas    []wire.BrokerID // the first is the preferred leader; those being added and removed are among them
	ISR         []wire.BrokerID // empty: no leader, and the next comes from ELR
	Leader      wire.BrokerID   // or NoBroker
	LeaderEpoch wire.LeaderEpoch
	Epoch       wire.PartitionEpoch

	// Adding and Removing are a reassignment under way: it is over when those have joined the ISR, and these are gone then.
	Adding, Removing []wire.BrokerID
	// ELR are the eligible leader replicas of KIP-966: out of the ISR, yet known to hold all that was committed, since the
	// watermark stands still while the ISR is smaller than min.insync.replicas.
	ELR []wire.BrokerID
	// LastKnownELR are those that were in one of the two and lost data, or may have. When both are empty, the best of these
	// is looked for.
	LastKnownELR []wire.BrokerID
}

// Reassigning reports whether a reassignment is under way.
func (p *PartitionInfo) Reassigning() bool { return len(p.Adding)+len(p.Removing) > 0 }

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
		removed:  btree.NewG(treeDegree, func(a, b *RemovedDirectory) bool { return lessUUID(a.Directory, b.Directory) }),
		byName:   btree.NewG(treeDegree, func(a, b *Topic) bool { return a.Name < b.Name }),
		byID:     btree.NewG(treeDegree, func(a, b *Topic) bool { return lessUUID(a.ID, b.ID) }),
		configs:  btree.NewG(treeDegree, lessResource),
		features: map[string]int16{},

		acls:        btree.NewG(treeDegree, func(a, b *ACL) bool { return compareACL(a, b) < 0 }),
		credentials: btree.NewG(treeDegree, func(a, b *Credential) bool { return compareCredential(a, b) < 0 }),
		quotas:      btree.NewG(treeDegree, func(a, b *Quotas) bool { return compareEntity(a.Entity, b.Entity) < 0 }),
	}
}

// clone returns an image that shares everything with m until either is written.
func (m *Image) clone() *Image {
	c := *m
	c.brokers, c.byName, c.byID, c.configs = m.brokers.Clone(), m.byName.Clone(), m.byID.Clone(), m.configs.Clone()
	c.removed = m.removed.Clone()
	c.acls, c.credentials, c.quotas = m.acls.Clone(), m.credentials.Clone(), m.quotas.Clone()
	return &c
}

// With returns the image that a command of these records would leave, for decisions on what follows from it. A broker that
// they register has the epoch of the next index there, whatever it becomes.
func (m *Image) With(records ...Record) *Image {
	s := State{image: *m, fresh: map[wire.TopicID]struct{}{}}
	s.image.brokers, s.image.byName, s.image.byID, s.image.configs = copyOf(m.brokers), copyOf(m.byName), copyOf(m.byID), copyOf(m.configs)
	s.image.removed = copyOf(m.removed)
	s.image.acls, s.image.credentials, s.image.quotas = copyOf(m.acls), copyOf(m.credentials), copyOf(m.quotas)
	for _, r := range records {
		s.apply(m.index+1, r)
	}
	return &s.image
}

// copyOf returns a copy of a tree that others may be reading and copying: Clone notes in its receiver that the nodes are shared,
// which must not be written here, nor need be, since an image's trees never change.
func copyOf[T any](t *btree.BTreeG[T]) *btree.BTreeG[T] {
	own := *t
	return own.Clone()
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

// RemovedDirectory returns what is noted of a directory whose broker was removed from the cluster, or nil.
func (m *Image) RemovedDirectory(id wire.UUID) *RemovedDirectory {
	d, _ := m.removed.Get(&RemovedDirectory{Directory: id})
	return d
}

// Unfenced returns the brokers that are not fenced, by id; Live returns those of them that are not about to stop.
func (m *Image) Unfenced() []*BrokerInfo {
	return m.brokersThat(func(b *BrokerInfo) bool { return !b.Fenced })
}

// Live returns the brokers that may be given something to lead or to hold, by id.
func (m *Image) Live() []*BrokerInfo { return m.brokersThat((*BrokerInfo).Live) }

func (m *Image) brokersThat(are func(*BrokerInfo) bool) []*BrokerInfo {
	var out []*BrokerInfo
	m.brokers.Ascend(func(b *BrokerInfo) bool {
		if are(b) {
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
		out = append(out, featureRecord(m, name))
	}
	m.byName.Ascend(func(t *Topic) bool {
		out = append(out, t.record())
		for i := range t.Partitions {
			out = append(out, partitionRecord(t, i))
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
	m.removed.Ascend(func(d *RemovedDirectory) bool { out = append(out, d); return true })
	out = append(out, m.accessRecords()...)
	return append(out, producerIDs(m), &BrokerIDs{Next: m.nextBrokerID})
}

// partitionRecord returns the record that makes a partition as it is.
func partitionRecord(t *Topic, i int) *PartitionRecord {
	p := &t.Partitions[i]
	return &PartitionRecord{
		Topic: t.ID, Partition: wire.Partition(i), Replicas: p.Replicas, ISR: p.ISR,
		Leader: p.Leader, LeaderEpoch: p.LeaderEpoch, Epoch: p.Epoch,
		Adding: p.Adding, Removing: p.Removing, ELR: p.ELR, LastKnownELR: p.LastKnownELR,
	}
}

// producerIDs returns the record of the producer ids that were given out; to whom is not kept.
func producerIDs(m *Image) *ProducerIDs {
	return &ProducerIDs{Broker: wire.NoBroker, Epoch: -1, Next: m.nextProducerID}
}
