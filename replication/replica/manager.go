package replica

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
)

// Assignment is a replica that this broker holds, and what the metadata says of its partition.
type Assignment struct {
	disk.Replica
	Leader wire.BrokerID // or NoBroker
	replication.Assignment
	// Lost says that the metadata has the replica among the last that were in sync: if the disk does not know it, its records were
	// lost, and it is not the truth as long as others may have more.
	Lost bool
	// Rebuilt says that nobody asked for this replica: it takes the place of one on a broker that stays away. What it copies has a
	// budget of its own.
	Rebuilt bool
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

// Options are what a Manager works with.
type Options struct {
	Env  Env // Propose and Synced are the Manager's own
	Disk *disk.Disk
	// Links reaches leaders; Alter asks the controller for ISRs. nil: there are no other brokers.
	Links Links
	Alter func(context.Context, []Alteration) ([]Altered, error)
	Fetch FetchOptions
	Log   *slog.Logger
	// Observer is told of leadership. nil: nobody.
	Observer Observer
}

// Manager holds the partitions of this broker and does to them what the metadata says. Changes come from one goroutine;
// look-ups from any.
type Manager struct {
	env      *Env
	disk     *disk.Disk
	log      *slog.Logger
	observer Observer
	fetchers *fetchers
	alterer  *alterer
	stop     context.CancelFunc
	running  sync.WaitGroup

	mu         sync.RWMutex // a leaf
	partitions map[wire.TopicIDPartition]*Partition
	topics     map[string]wire.TopicID
	offline    bool
}

// NewManager returns a manager without partitions.
func NewManager(o Options) *Manager {
	m := &Manager{
		env: &o.Env, disk: o.Disk, log: o.Log, observer: o.Observer,
		partitions: map[wire.TopicIDPartition]*Partition{}, topics: map[string]wire.TopicID{},
	}
	var ctx context.Context
	ctx, m.stop = context.WithCancel(context.Background())
	m.env.prepare()
	m.fetchers = newFetchers(ctx, m.env, o.Links, o.Fetch, o.Log)
	m.alterer = newAlterer(o.Alter, o.Log)
	m.env.Propose, m.env.Synced = m.alterer.propose, m.fetchers.synced
	m.running.Go(func() { m.alterer.run(ctx) })
	m.running.Go(func() { m.watch(ctx) })
	return m
}

// Close ends the fetches from leaders and the questions to the controller. Partitions go on serving.
func (m *Manager) Close() {
	m.stop()
	m.fetchers.close()
	m.running.Wait()
}

// watch looks now and then for followers that lag, as often as Kafka does.
func (m *Manager) watch(ctx context.Context) {
	tick := time.NewTicker(max(m.env.LagMax/2, 10*time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			m.Reconsider()
		case <-ctx.Done():
			return
		}
	}
}

// Reconsider has every partition look again at who is in sync, as when brokers have come or gone.
func (m *Manager) Reconsider() {
	for _, p := range m.All() {
		p.Reconsider()
	}
}

// Summary is how the replicas of this broker are, all together.
type Summary struct {
	Leading, Following          int
	UnderReplicated             int         // led here, with fewer in sync than there are replicas, or were before a reassignment added some
	UnderMinInSync, AtMinInSync int         // led here
	LargestLag                  wire.Offset // records that the slowest follower of a partition led here lacks
	Shrinks, Expands            int64       // of ISRs of partitions led here, since the start
}

// LargestLagBytes is about how many bytes the follower lacks that lacks most of a partition led here. It is no part of the Summary,
// since it looks into the indexes.
func (m *Manager) LargestLagBytes() (n int64) {
	for _, p := range m.All() {
		status, _ := p.LeaderStatus()
		for _, f := range status.Followers {
			if f.Marks.End < p.log.End() {
				n = max(n, p.log.BytesFrom(f.Marks.End))
			}
		}
	}
	return n
}

// Summary looks at all partitions.
func (m *Manager) Summary() (s Summary) {
	for _, p := range m.All() {
		status, leads := p.LeaderStatus()
		if !leads {
			if leader, _ := p.Leader(); leader != wire.NoBroker {
				s.Following++
			}
			continue
		}
		s.Leading++
		if status.InSync < status.Wanted {
			s.UnderReplicated++
		}
		switch {
		case status.InSync < status.MinInSync:
			s.UnderMinInSync++
		case status.InSync == status.MinInSync:
			s.AtMinInSync++
		}
		for _, f := range status.Followers {
			s.LargestLag = max(s.LargestLag, p.log.End()-f.Marks.End)
		}
	}
	s.Shrinks, s.Expands = m.env.shrinks.Load(), m.env.expands.Load()
	return s
}

// Restarted has the followed partitions tell their leaders everything anew: this broker has another epoch, or theirs have.
func (m *Manager) Restarted() { m.fetchers.restart() }

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
		for _, set := range []map[*FetchWait]struct{}{p.mu.fetches, p.mu.copies} {
			for f := range set {
				woken.fetches = append(woken.fetches, f)
			}
		}
		p.mu.Unlock()
		woken.run()
	}
}

// Assign makes this broker hold the replicas and take its part in each; settings gives those of a topic. The disk's
// manifest is written once for all of them, if all can be opened. Replicas that cannot be opened are left out, and told by the error.
func (m *Manager) Assign(list []Assignment, settings func(topic string) TopicSettings) error {
	var replicas, lost []disk.Replica
	for _, a := range list {
		if a.Lost {
			lost = append(lost, a.Replica)
		} else {
			replicas = append(replicas, a.Replica)
		}
	}
	var faults []error
	together := errors.Join(m.disk.Add(replicas...), m.disk.AddLost(lost...))
	for _, a := range list {
		if together != nil { // one that cannot be opened must not keep the others from it
			add := m.disk.Add
			if a.Lost {
				add = m.disk.AddLost
			}
			if err := add(a.Replica); err != nil {
				faults = append(faults, err)
				continue
			}
		}
		faults = append(faults, m.assign(a, settings))
	}
	return errors.Join(faults...)
}

func (m *Manager) assign(a Assignment, settings func(topic string) TopicSettings) error {
	p := m.Partition(a.Key())
	if p == nil {
		var err error
		if p, err = m.open(a.Replica, settings); err != nil {
			return err
		}
	}
	p.rebuilt.Store(a.Rebuilt)
	if a.Leader == m.env.Broker {
		m.fetchers.drop(p)
		p.Lead(a.Assignment)
		if m.observer != nil {
			m.observer.Leads(p, a.Epoch)
		}
		return nil
	}
	if a.Leader == wire.NoBroker {
		m.fetchers.drop(p)
		p.Resign()
	} else {
		p.Follow(a.Leader, a.Epoch, slices.Contains(a.InSync, m.env.Broker))
		m.fetchers.put(p)
	}
	if m.observer != nil {
		m.observer.Resigned(p)
	}
	return nil
}

// open makes the partition of a replica that the disk holds.
func (m *Manager) open(r disk.Replica, settings func(topic string) TopicSettings) (*Partition, error) {
	log := m.disk.Log(r.Key())
	if log == nil {
		return nil, errors.New("no log for " + r.DirName())
	}
	s := settings(r.Topic)
	if err := log.SetOptions(s.Log); err != nil {
		return nil, err
	}
	name := wire.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	p := NewPartition(name, r.Key(), m.env, log, s.Request, m.disk.Watermark(r.Key()))
	m.mu.Lock()
	m.partitions[r.Key()] = p
	m.topics[r.Topic] = r.TopicID
	offline := m.offline
	m.mu.Unlock()
	if offline {
		p.Retire(wire.ErrKafkaStorageError)
	}
	return p, nil
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
	m.fetchers.signal() // some may be held back no more
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
	return m.remove(gone)
}

// Remove removes replicas, which committed records have moved away.
func (m *Manager) Remove(keys ...wire.TopicIDPartition) error {
	var gone []*Partition
	m.mu.Lock()
	for _, key := range keys {
		if p := m.partitions[key]; p != nil {
			gone = append(gone, p)
			delete(m.partitions, key)
		}
	}
	m.mu.Unlock()
	return m.remove(gone)
}

func (m *Manager) remove(gone []*Partition) error {
	if len(gone) == 0 {
		return nil // as with most of what is committed: the disk need not be asked
	}
	keys := make([]wire.TopicIDPartition, 0, len(gone))
	for _, p := range gone {
		m.fetchers.drop(p)
		p.Retire(wire.ErrUnknownTopicOrPartition)
		if m.observer != nil {
			m.observer.Resigned(p)
		}
		keys = append(keys, p.ID)
	}
	return m.disk.Delete(keys...)
}

// Acked takes a follower's reports of what it has synced. It returns how many came early and must be told again.
func (m *Manager) Acked(follower wire.BrokerID, epoch wire.BrokerEpoch, reports []Report) (early int) {
	for _, r := range reports {
		if p := m.Partition(r.Partition); p != nil && p.Acked(follower, epoch, r.LeaderEpoch, r.Durable) {
			early++
		}
	}
	return early
}
