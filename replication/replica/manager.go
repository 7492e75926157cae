package replica

import (
	"errors"
	"log/slog"
	"slices"
	"sync"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
)

// Assignment is a replica that this broker holds, and its part in it.
type Assignment struct {
	disk.Replica
	Leading  bool
	Epoch    wire.LeaderEpoch
	InSync   []wire.BrokerID
	Replicas int // how many the partition has
}

// TopicSettings are what a topic's settings mean for its logs and for its requests.
type TopicSettings struct {
	Log     storage.Options
	Request Settings
}

// Observer is told of leadership, in order for each partition, on the goroutine that changes it.
type Observer interface {
	Leads(p *Partition, epoch wire.LeaderEpoch)
	Resigned(p *Partition)
}

// Manager holds the partitions of this broker and does to them what the metadata says. Changes come from one goroutine;
// look-ups from any.
type Manager struct {
	broker   wire.BrokerID
	disk     *disk.Disk
	log      *slog.Logger
	observer Observer

	mu         sync.RWMutex // a leaf
	partitions map[wire.TopicIDPartition]*Partition
	topics     map[string]wire.TopicID
	offline    bool
}

// NewManager returns a manager without partitions. observer may be nil.
func NewManager(broker wire.BrokerID, d *disk.Disk, log *slog.Logger, observer Observer) *Manager {
	return &Manager{
		broker: broker, disk: d, log: log, observer: observer,
		partitions: map[wire.TopicIDPartition]*Partition{}, topics: map[string]wire.TopicID{},
	}
}

// Partition returns a partition that this broker holds, or nil.
func (m *Manager) Partition(id wire.TopicIDPartition) *Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.partitions[id]
}

// PartitionByName is Partition by the topic's name.
func (m *Manager) PartitionByName(topic string, p wire.Partition) *Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	id, ok := m.topics[topic]
	if !ok {
		return nil
	}
	return m.partitions[wire.TopicIDPartition{Topic: id, Partition: p}]
}

// All returns the partitions, in no order.
func (m *Manager) All() []*Partition {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]*Partition, 0, len(m.partitions))
	for _, p := range m.partitions {
		out = append(out, p)
	}
	return out
}

// Durable is the disk's callback: a log was synced.
func (m *Manager) Durable(id wire.TopicIDPartition, offset wire.Offset) {
	if p := m.Partition(id); p != nil {
		p.Durable(offset)
	}
}

// Offline is the disk's callback: it failed. Every partition refuses from now on.
func (m *Manager) Offline(err error) {
	m.log.Error("log directory failed", "error", err)
	m.mu.Lock()
	m.offline = true
	m.mu.Unlock()
	for _, p := range m.All() {
		p.Retire(wire.ErrKafkaStorageError)
	}
}

// WakeFetches ends the waits of all fetches, as if time were up.
func (m *Manager) WakeFetches() {
	for _, p := range m.All() {
		p.mu.Lock()
		woken := wake{partition: p}
		for f := range p.mu.fetches {
			woken.fetches = append(woken.fetches, f)
		}
		p.mu.Unlock()
		woken.run()
	}
}

// Assign makes this broker hold the replicas and take its part in each; settings gives those of a topic. The disk's
// manifest is written once for all of them. Replicas that cannot be opened are left out, and told by the error.
func (m *Manager) Assign(list []Assignment, settings func(topic string) TopicSettings) error {
	replicas := make([]disk.Replica, len(list))
	for i, a := range list {
		replicas[i] = a.Replica
	}
	if err := m.disk.Add(replicas...); err != nil {
		return err
	}
	var faults []error
	for _, a := range list {
		faults = append(faults, m.assign(a, settings))
	}
	return errors.Join(faults...)
}

func (m *Manager) assign(a Assignment, settings func(topic string) TopicSettings) error {
	p := m.Partition(a.Key())
	if p == nil {
		log := m.disk.Log(a.Key())
		if log == nil {
			return errors.New("no log for " + a.DirName())
		}
		s := settings(a.Topic)
		if err := log.SetOptions(s.Log); err != nil {
			return err
		}
		name := wire.TopicPartition{Topic: a.Topic, Partition: a.Partition}
		p = NewPartition(name, a.Key(), m.broker, log, s.Request)
		m.mu.Lock()
		m.partitions[a.Key()] = p
		m.topics[a.Topic] = a.TopicID
		offline := m.offline
		m.mu.Unlock()
		if offline || log.Suspect() != "" && a.Leading && len(a.InSync) > 1 {
			p.Retire(wire.ErrKafkaStorageError)
			return nil
		}
	}
	if !a.Leading {
		p.Resign()
		if m.observer != nil {
			m.observer.Resigned(p)
		}
		return nil
	}
	p.Lead(a.Epoch, a.InSync, a.Replicas)
	if m.observer != nil {
		m.observer.Leads(p, a.Epoch)
	}
	return nil
}

// Configure puts new settings of a topic in force.
func (m *Manager) Configure(topic string, s TopicSettings) error {
	m.mu.RLock()
	id := m.topics[topic]
	var list []*Partition
	for key, p := range m.partitions {
		if key.Topic == id {
			list = append(list, p)
		}
	}
	m.mu.RUnlock()
	var faults []error
	for _, p := range list {
		faults = append(faults, p.log.SetOptions(s.Log))
		p.Configure(s.Request)
	}
	return errors.Join(faults...)
}

// Topics returns the names of the topics of which partitions are here, sorted.
func (m *Manager) Topics() []string {
	m.mu.RLock()
	defer m.mu.RUnlock()
	out := make([]string, 0, len(m.topics))
	for name := range m.topics {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// Delete removes the replicas of a topic, which a committed record has deleted. Whoever waits on them is told.
func (m *Manager) Delete(topic wire.TopicID) error {
	m.mu.Lock()
	var gone []*Partition
	for key, p := range m.partitions {
		if key.Topic == topic {
			gone = append(gone, p)
			delete(m.partitions, key)
			if m.topics[p.Name.Topic] == topic {
				delete(m.topics, p.Name.Topic)
			}
		}
	}
	m.mu.Unlock()
	var faults []error
	for _, p := range gone {
		p.Retire(wire.ErrUnknownTopicOrPartition)
		if m.observer != nil {
			m.observer.Resigned(p)
		}
		faults = append(faults, m.disk.Delete(p.ID))
	}
	return errors.Join(faults...)
}
