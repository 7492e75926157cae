package replica

import (
	"slices"
	"strings"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// Description is one replica as it is on this broker, for people and for checks from outside.
type Description struct {
	Topic         string            `json:"topic"`
	Partition     wire.Partition    `json:"partition"`
	Role          string            `json:"role"` // leader, follower or none
	Leader        wire.BrokerID     `json:"leader"`
	LeaderEpoch   wire.LeaderEpoch  `json:"leader_epoch"`
	Start         wire.Offset       `json:"start"`
	HighWatermark wire.Offset       `json:"high_watermark"`
	Durable       wire.Offset       `json:"durable"`
	End           wire.Offset       `json:"end"`
	EpochStart    wire.Offset       `json:"epoch_start"`         // of a leader
	Validated     bool              `json:"validated"`           // of a follower
	InSync        []wire.BrokerID   `json:"in_sync,omitempty"`   // of a leader, as the next two
	Asked         []wire.BrokerID   `json:"asked,omitempty"`     // an ISR that may be in force
	Followers     []FollowerDetails `json:"followers,omitempty"` // by id
	Suspect       string            `json:"suspect,omitempty"`
	Gone          wire.ErrorCode    `json:"gone,omitempty"`
	Waiting       int               `json:"waiting"` // produce requests
}

// FollowerDetails is what a leader knows of a follower.
type FollowerDetails struct {
	Broker  wire.BrokerID `json:"broker"`
	End     wire.Offset   `json:"end"`
	Durable wire.Offset   `json:"durable"`
	Fetched bool          `json:"fetched"`
	BehindS float64       `json:"behind_s"` // since it last had everything
}

// Describe lists all replicas by topic and partition.
func (m *Manager) Describe() []Description {
	all := m.All()
	out := make([]Description, 0, len(all))
	for _, p := range all {
		out = append(out, p.Describe())
	}
	slices.SortFunc(out, func(a, b Description) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition) - int(b.Partition)
	})
	return out
}

// Describe tells how the replica is.
func (p *Partition) Describe() Description {
	d := Description{
		Topic: p.Name.Topic, Partition: p.Name.Partition, Role: "none", Leader: wire.NoBroker, LeaderEpoch: p.log.LatestEpoch(),
		Start: p.log.Start(), HighWatermark: p.HighWatermark(), Durable: p.log.Durable(), End: p.log.End(), Suspect: p.log.Suspect(),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	d.Gone, d.Waiting = p.mu.gone, len(p.mu.produces)
	switch {
	case p.mu.leader != nil:
		l := p.mu.leader
		d.Role, d.Leader, d.LeaderEpoch, d.EpochStart = "leader", p.env.Broker, l.Epoch(), l.EpochStart()
		d.InSync, d.Asked = l.Assigned().InSync, l.Asked()
		for _, f := range l.Followers() {
			d.Followers = append(d.Followers, details(f, p))
		}
	case p.mu.follower != nil:
		d.Role, d.Leader, d.LeaderEpoch, d.Validated = "follower", p.mu.leaderID, p.mu.follower.Epoch(), p.mu.follower.Validated()
	}
	return d
}

func details(f replication.FollowerStatus, p *Partition) FollowerDetails {
	return FollowerDetails{Broker: f.Broker, End: f.Marks.End, Durable: f.Marks.Durable, Fetched: f.Fetched, BehindS: (p.env.Now() - f.CaughtUp).Seconds()}
}
