package sim

import (
	"bytes"
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// held is a replica that a process holds.
type held struct {
	process   *process
	part      *part
	partition *replica.Partition
	log       *storage.Log

	following
	leading

	isTouched bool
	checked   wire.Offset      // below it, what is below the watermark was found to be right
	reign     wire.LeaderEpoch // in which it was last seen to lead
	high      wire.Offset      // the watermark then
}

// ordered returns the replicas in an order that is the same in every run.
func (p *process) ordered() []*held {
	out := make([]*held, 0, len(p.held))
	for _, h := range p.held {
		out = append(out, h)
	}
	slices.SortFunc(out, func(a, b *held) int {
		return cmp.Or(cmp.Compare(a.part.name.Topic, b.part.name.Topic), cmp.Compare(a.part.name.Partition, b.part.name.Partition), bytes.Compare(a.part.id.Topic[:], b.part.id.Topic[:]))
	})
	return out
}

func (p *process) of(partition *replica.Partition) *held { return p.held[partition.ID] }

// settings are a topic's, as the process knows them.
func (p *process) settings(topic string) replica.TopicSettings {
	s := replica.TopicSettings{
		Log:     storage.Options{SegmentBytes: 2048, IndexInterval: 256, RetentionAge: storage.Unlimited},
		Request: replica.Settings{MinInSync: 1, MaxMessageBytes: 1 << 20, Codec: replica.CodecProducer, Delete: true},
	}
	for name, v := range p.image.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: topic}) {
		switch {
		case name == "min.insync.replicas":
			s.Request.MinInSync, _ = strconv.Atoi(v)
		case name == "durability" && v == "replicated":
			s.Request.Durability, s.Log.Replicated = replication.Replicated, true
		}
	}
	return s
}

// learn applies commands that come after index from, as far as they follow on what is known.
func (p *process) learn(from int, list []committed) {
	for i, c := range list {
		if from+i != p.applied {
			continue
		}
		p.applied++
		p.image = c.image
		if p.begun {
			p.apply(c)
			p.broker.world.check() // the next one may end what this one made happen
		}
		if !p.begun && p.caughtUp() {
			p.begin()
		}
		for len(p.awaiting) > 0 && p.awaiting[0].index <= p.applied {
			act := p.awaiting[0].act
			p.awaiting = p.awaiting[1:]
			act()
		}
	}
	if !p.begun && p.caughtUp() {
		p.begin()
	}
}

// caughtUp reports whether the metadata is as new as the registration of this process.
func (p *process) caughtUp() bool {
	return p.epoch != 0 && (p.applied >= int(p.epoch) || mutant.DeleteOrphans)
}

// await has something done once the metadata up to an index is known here.
func (p *process) await(index int, act func()) {
	if p.applied >= index {
		act()
		return
	}
	at, _ := slices.BinarySearchFunc(p.awaiting, index+1, func(a awaiting, index int) int { return a.index - index })
	p.awaiting = slices.Insert(p.awaiting, at, awaiting{index, act})
}

// begin takes the metadata as a whole, as cluster's changes.begin does.
func (p *process) begin() {
	p.begun = true
	for _, r := range p.disk.Replicas() {
		t := p.image.TopicByID(r.TopicID)
		if t == nil || int(r.Partition) >= len(t.Partitions) || !slices.Contains(t.Partitions[r.Partition].Replicas, p.broker.id) {
			p.broker.world.log("b%d deletes %s", p.broker.id, r.DirName())
			if err := p.disk.Delete(r.Key()); err != nil {
				return // the disk has failed, and the process ends
			}
		}
	}
	p.image.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p.assign(t, wire.Partition(i))
		}
		return true
	})
}

// apply does what one command asks for, as cluster's changes.apply does.
func (p *process) apply(c committed) {
	brokers := false
	for _, r := range c.records {
		switch r := r.(type) {
		case *metadata.PartitionRecord:
			p.assign(c.image.TopicByID(r.Topic), r.Partition)
		case *metadata.PartitionChange:
			p.acquit(r)
			t := c.image.TopicByID(r.Topic)
			p.assign(t, r.Partition)
			if h := p.held[logKey{Topic: r.Topic, Partition: r.Partition}]; h != nil && !slices.Contains(t.Partitions[r.Partition].Replicas, p.broker.id) {
				p.remove(h)
			}
		case *metadata.RegisterBroker, *metadata.BrokerState:
			brokers = true
		case *metadata.RemoveTopic:
			for _, h := range p.ordered() {
				if h.part.id.Topic == r.Topic {
					p.remove(h)
				}
			}
		}
	}
	if brokers {
		p.reconsider()
	}
	for _, r := range c.records {
		if r, ok := r.(*metadata.ConfigRecord); ok && r.Resource.Type == metadata.ResourceTopic {
			p.configure(r.Resource.Name)
		}
	}
}

func (p *process) reconsider() {
	for _, h := range p.ordered() {
		h.touch()
		h.partition.Reconsider()
	}
}

func (p *process) configure(topic string) {
	for _, h := range p.ordered() {
		if t := p.image.Topic(topic); t != nil && t.ID == h.part.id.Topic {
			s := p.settings(topic)
			if err := h.log.SetOptions(s.Log); err != nil {
				p.broker.world.fail("settings: %v", err)
			}
			h.touch()
			h.partition.Configure(s.Request)
		}
	}
}

// acquit takes a suspect replica for the truth when it is chosen to lead.
func (p *process) acquit(c *metadata.PartitionChange) {
	log := p.disk.Log(logKey{Topic: c.Topic, Partition: c.Partition})
	if c.Leader == p.broker.id && c.BumpLeaderEpoch && log != nil && log.Suspect() != "" {
		p.broker.world.log("b%d accepts what is left of its replica", p.broker.id)
		_ = log.Accept()
	}
}

// assign brings the replica here of a partition in line with the metadata, as replica.Manager does.
func (p *process) assign(t *metadata.Topic, i wire.Partition) {
	info := &t.Partitions[i]
	self := p.broker.id
	if !slices.Contains(info.Replicas, self) {
		return
	}
	r := disk.Replica{TopicID: t.ID, Topic: t.Name, Partition: i}
	add := p.disk.Add
	if len(info.Replicas) > 1 && slices.Contains(info.LastKnownELR, self) {
		add = p.disk.AddLost
	}
	if err := add(r); err != nil {
		p.broker.world.log("b%d does not hold %s: %v", self, r.DirName(), err)
		p.openLater()
		return
	}
	h := p.held[r.Key()]
	if h == nil {
		h = p.open(r)
	}
	h.touch()
	h.followed++
	switch {
	case info.Leader == self:
		h.partition.Lead(replication.Assignment{Epoch: info.LeaderEpoch, PartitionEpoch: info.Epoch, Replicas: info.Replicas, InSync: info.ISR})
	case info.Leader == wire.NoBroker:
		h.partition.Resign()
	default:
		h.partition.Follow(info.Leader, info.LeaderEpoch, slices.Contains(info.ISR, self))
		h.fetch()
	}
	h.unpark()
}

// openLater tries again, a little later, to open the replicas that could not be opened.
func (p *process) openLater() {
	if p.opening {
		return
	}
	p.opening = true
	p.after(time.Second, func() {
		p.opening = false
		p.image.Topics(func(t *metadata.Topic) bool {
			for i := range t.Partitions {
				if p.held[logKey{Topic: t.ID, Partition: wire.Partition(i)}] == nil {
					p.assign(t, wire.Partition(i))
				}
			}
			return true
		})
	})
}

func (p *process) open(r disk.Replica) *held {
	s := p.settings(r.Topic)
	log := p.disk.Log(r.Key())
	if err := log.SetOptions(s.Log); err != nil {
		p.broker.world.fail("settings: %v", err)
	}
	h := &held{process: p, part: p.broker.world.part(r), log: log, reign: wire.NoLeaderEpoch}
	name := wire.TopicPartition{Topic: r.Topic, Partition: r.Partition}
	h.partition = replica.NewPartition(name, r.Key(), p.env, log, s.Request, p.disk.Watermark(r.Key()))
	p.held[r.Key()] = h
	return h
}

// remove removes a replica that was deleted or moved away.
func (p *process) remove(h *held) {
	delete(p.held, h.part.id)
	h.partition.Retire(wire.ErrUnknownTopicOrPartition)
	h.unpark()
	_ = p.disk.Delete(h.part.id) // an error has taken the disk offline
}
