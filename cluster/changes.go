package cluster

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
)

var emptyImage = metadata.NewState().Image()

// changes brings this broker's partitions in line with every new image of the metadata, in order.
type changes struct {
	node *Node

	mu      sync.Mutex // held over the changes' file work: they come one after the other
	current atomic.Pointer[replica.Manager]
	last    *metadata.Image // before the changes that come
	opening bool            // openLater waits
	ended   bool

	// elections that were seen since begin, and those among them whose leader was neither in sync nor eligible.
	elections, unclean atomic.Int64
}

// elected returns how many leaders were elected, and how many of them uncleanly, since this broker began to follow the changes.
func (c *changes) elected() (all, unclean int64) { return c.elections.Load(), c.unclean.Load() }

// countElection looks whether a change of a partition elects a leader. As in Kafka (KIP-966), one that was neither in the in-sync
// nor in the eligible replicas before is an unclean one; but not one that comes into sync with this change, which ends the reassignment
// that added it.
func (c *changes) countElection(r *metadata.PartitionChange) {
	if c.last == nil || r.Leader == wire.NoBroker {
		return
	}
	t := c.last.TopicByID(r.Topic)
	if t == nil || int(r.Partition) >= len(t.Partitions) {
		return
	}
	before := &t.Partitions[r.Partition]
	if before.Leader == r.Leader {
		return
	}
	c.elections.Add(1)
	joins := slices.Contains(before.Adding, r.Leader) && !slices.Contains(r.Adding, r.Leader)
	if !slices.Contains(before.ISR, r.Leader) && !slices.Contains(before.ELR, r.Leader) && !joins {
		c.unclean.Add(1)
	}
}

func (c *changes) manager() *replica.Manager { return c.current.Load() }

// begin takes the image of now as a whole, and follows the changes from here on.
func (c *changes) begin(m *replica.Manager) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.current.Store(m)
	image := c.node.replica.Image()
	c.last = image
	// A replica whose topic is not in the metadata, or that is not assigned to this broker, was deleted or moved away while we
	// were down: that is committed, and we have all that was committed before this broker registered, after which nothing of
	// ours can have been added. In a history that was recovered from what one node knew, nothing of this is certain.
	var gone []wire.TopicIDPartition
	for _, r := range c.node.disk.Replicas() {
		if t := image.TopicByID(r.TopicID); t == nil || int(r.Partition) >= len(t.Partitions) || !slices.Contains(t.Partitions[r.Partition].Replicas, c.node.identity.Broker) {
			gone = append(gone, r.Key())
		}
	}
	if err := c.discard(gone); err != nil {
		return err
	}
	if err := c.node.settledIn(); err != nil {
		return err
	}
	c.throttle(m, image)
	return m.Assign(c.assignments(image), c.settings(image))
}

// assignments lists all replicas that this broker is to hold.
func (c *changes) assignments(image *metadata.Image) (all []replica.Assignment) {
	image.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			all = c.assignment(all, image, t, wire.Partition(i))
		}
		return true
	})
	return all
}

// discard takes replicas away that were not of this broker any more when it started, as far as that is certain.
func (c *changes) discard(gone []wire.TopicIDPartition) error {
	if !c.node.identity.SetAside {
		return c.node.disk.Delete(gone...)
	}
	for _, key := range gone {
		if err := c.node.setAside(key); err != nil {
			return err
		}
	}
	return nil
}

// throttle puts the rates of throttled replicas in force.
func (c *changes) throttle(m *replica.Manager, image *metadata.Image) {
	rate := func(name string) int64 { return c.node.settings.Int(image, name) }
	m.SetRates(replica.Rates{
		Sending: rate("leader.replication.throttled.rate"), Fetching: rate("follower.replication.throttled.rate"), Rebuilding: rate("cluster.replica.rebuild.rate"),
	})
}

func (c *changes) settings(image *metadata.Image) func(string) replica.TopicSettings {
	return func(topic string) replica.TopicSettings { return topicSettings(c.node.settings, image, topic) }
}

// assignment appends the partition to list if this broker holds a replica of it.
func (c *changes) assignment(list []replica.Assignment, image *metadata.Image, t *metadata.Topic, i wire.Partition) []replica.Assignment {
	p := &t.Partitions[i]
	self := c.node.identity.Broker
	if !slices.Contains(p.Replicas, self) {
		return list
	}
	return append(list, replica.Assignment{
		Replica: disk.Replica{TopicID: t.ID, Topic: t.Name, Partition: i}, Leader: p.Leader,
		Assignment: replication.Assignment{Epoch: p.LeaderEpoch, PartitionEpoch: p.Epoch, Replicas: p.Replicas, Adding: p.Adding, InSync: p.ISR},
		Lost:       len(p.Replicas) > 1 && slices.Contains(p.LastKnownELR, self),
		Rebuilt:    slices.Contains(p.Adding, self) && control.Replaces(image, p),
	})
}

// apply is the quorum's listener.
func (c *changes) apply(image *metadata.Image, records []metadata.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.node.world.applied != nil {
		c.node.world.applied(image)
	}
	m := c.manager()
	if m == nil {
		return // begin takes the image as a whole
	}
	if image.Index() <= c.last.Index() {
		return // begin has taken a later one: the part that a replica has in it must not go back
	}
	defer func() { c.last = image }()
	if records == nil {
		c.applyWhole(m, image)
		return
	}
	var list []replica.Assignment
	var away []wire.TopicIDPartition // replicas that are not of this broker any more
	var names []string               // of topics with new settings
	everything, brokers := false, false
	for _, r := range records {
		switch r := r.(type) {
		case *metadata.PartitionRecord:
			if t := image.TopicByID(r.Topic); t != nil {
				list = c.assignment(list, image, t, r.Partition)
			}
		case *metadata.PartitionChange:
			if r.BumpLeaderEpoch {
				c.acquit(r.Topic, r.Partition, r.Leader)
			}
			c.countElection(r)
			if t := image.TopicByID(r.Topic); t != nil {
				list = c.assignment(list, image, t, r.Partition)
				away = c.movedAway(away, t, r.Partition)
			}
		case *metadata.RegisterBroker, *metadata.BrokerState, *metadata.UnregisterBroker:
			brokers = true
		case *metadata.RemoveTopic:
			c.delete(m, r.Topic)
			c.node.groups.TopicsDeleted(image)
		case *metadata.ConfigRecord:
			if r.Resource.Type == metadata.ResourceTopic {
				names = append(names, r.Resource.Name)
			} else {
				everything = true
			}
		}
	}
	c.remove(m, away)
	c.assign(m, image, list)
	if brokers { // who is alive decides who may be in sync
		m.Reconsider()
	}
	if everything {
		c.throttle(m, image)
		names = m.Topics()
	}
	c.configure(m, image, names)
}

// applyWhole goes by an image of which it is not known what led to it, since it came as a snapshot: this broker was too far behind.
func (c *changes) applyWhole(m *replica.Manager, image *metadata.Image) {
	deleted := map[wire.TopicID]bool{}
	var away []wire.TopicIDPartition
	for _, p := range m.All() {
		if t := image.TopicByID(p.ID.Topic); t == nil {
			deleted[p.ID.Topic] = true
		} else {
			away = c.movedAway(away, t, p.ID.Partition)
		}
	}
	c.remove(m, away)
	for id := range deleted {
		c.delete(m, id)
	}
	c.node.groups.TopicsDeleted(image)
	list := c.assignments(image)
	for _, a := range list {
		t := c.last.TopicByID(a.TopicID)
		if t == nil || int(a.Partition) >= len(t.Partitions) || t.Partitions[a.Partition].LeaderEpoch < a.Epoch {
			c.acquit(a.TopicID, a.Partition, a.Leader)
		}
	}
	c.assign(m, image, list)
	m.Reconsider()
	c.throttle(m, image)
	c.configure(m, image, m.Topics())
}

func (c *changes) delete(m *replica.Manager, topic wire.TopicID) {
	if err := m.Delete(topic); err != nil {
		c.node.log.Error("topic not removed from disk", "topic", topic, "error", err)
	}
}

func (c *changes) assign(m *replica.Manager, image *metadata.Image, list []replica.Assignment) {
	if len(list) == 0 {
		return
	}
	if err := m.Assign(list, c.settings(image)); err != nil {
		c.node.log.Error("partitions not opened; trying again", "error", err)
		c.openLater()
	}
}

// configure puts the settings of topics in force.
func (c *changes) configure(m *replica.Manager, image *metadata.Image, names []string) {
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := m.Configure(name, topicSettings(c.node.settings, image, name)); err != nil {
			c.node.log.Error("settings not applied", "topic", name, "error", err)
		}
	}
}

// openPause lies before another try to open replicas.
const openPause = time.Second

// openLater tries again, a little later, to open the replicas that could not be opened, as for want of room on the disk: the metadata
// may not speak of them again for long.
func (c *changes) openLater() {
	if c.opening {
		return
	}
	c.opening = true
	time.AfterFunc(openPause, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.opening = false
		if c.ended || c.node.disk.Err() != nil {
			return
		}
		var missing []replica.Assignment
		c.last.Topics(func(t *metadata.Topic) bool {
			for i := range t.Partitions {
				if c.manager().Partition(wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)}) == nil {
					missing = c.assignment(missing, c.last, t, wire.Partition(i))
				}
			}
			return true
		})
		if err := c.manager().Assign(missing, c.settings(c.last)); err != nil {
			c.node.log.Warn("partitions still not opened; trying again", "error", err)
			c.openLater()
		}
	})
}

// end has no more replicas opened.
func (c *changes) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
}

// movedAway appends the partition to list if it is not assigned to this broker any more.
func (c *changes) movedAway(list []wire.TopicIDPartition, t *metadata.Topic, i wire.Partition) []wire.TopicIDPartition {
	if slices.Contains(t.Partitions[i].Replicas, c.node.identity.Broker) {
		return list
	}
	return append(list, wire.TopicIDPartition{Topic: t.ID, Partition: i})
}

// remove removes the replicas that moved away, all together.
func (c *changes) remove(m *replica.Manager, away []wire.TopicIDPartition) {
	if err := m.Remove(away...); err != nil {
		c.node.log.Error("replicas that moved away not removed from disk", "error", err)
	}
}

// observer tells the coordinator which partitions of its topic this broker leads.
type observer Node

// Leads implements [replica.Observer].
func (o *observer) Leads(p *replica.Partition, epoch wire.LeaderEpoch) {
	if p.Name.Topic == control.OffsetsTopic {
		o.groups.Leads(p.Name.Partition, epoch)
	}
}

// Resigned implements [replica.Observer].
func (o *observer) Resigned(p *replica.Partition) {
	if p.Name.Topic == control.OffsetsTopic {
		o.groups.Resigned(p.Name.Partition)
	}
}
