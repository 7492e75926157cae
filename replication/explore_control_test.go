//go:build explore

package replication

import (
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// toyBrokers is the number of brokers, all of which hold the one partition.
const toyBrokers = 3

// toyControl is the metadata, as a small value. Sets are bit masks by broker; broker i has id i+1.
type toyControl struct {
	epochs         [toyBrokers]wire.BrokerEpoch
	fenced         [toyBrokers]bool
	leader         int8 // -1: nobody
	leaderEpoch    wire.LeaderEpoch
	partitionEpoch wire.PartitionEpoch
	isr, elr, last uint8
}

func brokerID(i int) wire.BrokerID { return wire.BrokerID(i + 1) }

func maskOf(ids []wire.BrokerID) (mask uint8) {
	for _, id := range ids {
		mask |= 1 << (id - 1)
	}
	return mask
}

func idsOf(mask uint8) (ids []wire.BrokerID) {
	for i := range toyBrokers {
		if mask&(1<<i) != 0 {
			ids = append(ids, brokerID(i))
		}
	}
	return ids
}

var toyTopic = wire.UUID{0xa}

// toyController decides as the real one, on images that it makes of the small values.
type toyController struct {
	durability Durability
	minInSync  int
	images     map[toyControl]*metadata.Image
}

func newToyController(d Durability, minInSync int) *toyController {
	return &toyController{d, minInSync, map[toyControl]*metadata.Image{}}
}

func (c *toyController) first() toyControl {
	t := toyControl{isr: 1<<toyBrokers - 1, partitionEpoch: 0}
	for i := range toyBrokers {
		t.epochs[i] = wire.BrokerEpoch(i + 1)
	}
	return t
}

func (c *toyController) image(t toyControl) *metadata.Image {
	if m := c.images[t]; m != nil {
		return m
	}
	order := []int{0, 1, 2}
	slices.SortFunc(order, func(a, b int) int { return int(t.epochs[a] - t.epochs[b]) })
	s := metadata.NewState()
	for _, i := range order {
		must(s, wire.Index(t.epochs[i]), &metadata.RegisterBroker{Broker: brokerID(i), Directory: wire.UUID{byte(i + 1)}, Generation: 1}, &metadata.BrokerState{Broker: brokerID(i), Epoch: t.epochs[i], Fenced: t.fenced[i]})
	}
	leader := wire.NoBroker
	if t.leader >= 0 {
		leader = brokerID(int(t.leader))
	}
	durability, least := "fsync", fmt.Sprint(c.minInSync)
	if c.durability == Replicated {
		durability = "replicated"
	}
	topic := metadata.Resource{Type: metadata.ResourceTopic, Name: "t"}
	must(s, wire.Index(t.epochs[order[2]])+1, &metadata.TopicRecord{Name: "t", ID: toyTopic}, &metadata.PartitionRecord{
		Topic: toyTopic, Replicas: idsOf(1<<toyBrokers - 1), ISR: idsOf(t.isr), Leader: leader, LeaderEpoch: t.leaderEpoch, Epoch: t.partitionEpoch,
		ELR: idsOf(t.elr), LastKnownELR: idsOf(t.last),
	}, &metadata.ConfigRecord{Resource: topic, Name: "min.insync.replicas", Value: &least}, &metadata.ConfigRecord{Resource: topic, Name: "durability", Value: &durability})
	m := s.Image()
	c.images[t] = m
	return m
}

func must(s *metadata.State, index wire.Index, records ...metadata.Record) {
	if _, err := s.Apply(index, 1, metadata.Command{Term: 1, Records: records}); err != nil {
		panic(err)
	}
}

// commit applies a plan.
func (t toyControl) commit(records []metadata.Record) toyControl {
	for _, r := range records {
		switch r := r.(type) {
		case *metadata.RegisterBroker:
			t.epochs[r.Broker-1] = slices.Max(t.epochs[:]) + 1
			t.fenced[r.Broker-1] = true
		case *metadata.BrokerState:
			t.fenced[r.Broker-1] = r.Fenced
		case *metadata.PartitionChange:
			t.isr, t.elr, t.last = maskOf(r.ISR), maskOf(r.ELR), maskOf(r.LastKnownELR)
			t.leader = -1
			if r.Leader != wire.NoBroker {
				t.leader = int8(r.Leader - 1)
			}
			t.partitionEpoch++
			if r.BumpLeaderEpoch {
				t.leaderEpoch++
			}
		default:
			panic(fmt.Sprintf("a plan with %T", r))
		}
	}
	return t
}

func (c *toyController) fence(t toyControl, i int) toyControl {
	return t.commit(control.Fence(c.image(t), brokerID(i), false))
}

func (c *toyController) unfence(t toyControl, i int) toyControl {
	return t.commit(control.Unfence(c.image(t), brokerID(i)))
}

func (c *toyController) register(t toyControl, i int, lossy bool) toyControl {
	records, _, refusal := control.Register(c.image(t), metadata.RegisterBroker{Broker: brokerID(i), Directory: wire.UUID{byte(i + 1)}, Generation: 1}, control.Damage{Lossy: lossy})
	if refusal != nil {
		panic(refusal)
	}
	return t.commit(records)
}

func (c *toyController) balance(t toyControl) toyControl {
	records, _ := control.BalanceLeaders(c.image(t), 0, 1)
	return t.commit(records)
}

// alter serves a leader's wish.
func (c *toyController) alter(t toyControl, from int, epoch wire.BrokerEpoch, p Proposal) (toyControl, control.AlteredISR) {
	q := control.AlterISR{Topic: toyTopic, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
	for _, m := range p.ISR {
		q.ISR = append(q.ISR, control.ISRMember{Broker: m.Broker, Epoch: m.Epoch})
	}
	records, answers, refusal := control.AlterPartition(c.image(t), brokerID(from), epoch, []control.AlterISR{q})
	if refusal != nil {
		return t, control.AlteredISR{Code: refusal.Code}
	}
	return t.commit(records), answers[0]
}

// assignment is what the metadata says of the partition.
func (t toyControl) assignment() Assignment {
	return Assignment{Epoch: t.leaderEpoch, PartitionEpoch: t.partitionEpoch, Replicas: idsOf(1<<toyBrokers - 1), InSync: idsOf(t.isr)}
}
