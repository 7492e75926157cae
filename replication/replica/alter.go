package replica

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
)

// Alteration is an ISR that the leader of a partition asks the controller for.
type Alteration struct {
	Partition wire.TopicIDPartition
	replication.Proposal
}

// Altered is the controller's answer to one Alteration: what is in force, or why it is refused.
type Altered struct {
	Code           wire.ErrorCode
	LeaderEpoch    wire.LeaderEpoch
	PartitionEpoch wire.PartitionEpoch
	ISR            []wire.BrokerID
}

// alterer asks the controller for the ISRs that partitions propose: one question at a time, with all that came meanwhile.
// A proposal is asked for until it is answered or outdated, since it may have come into force unheard.
type alterer struct {
	alter func(context.Context, []Alteration) ([]Altered, error)
	log   *slog.Logger
	wake  chan struct{}

	mu      sync.Mutex // taken before Partition.mu
	waiting map[*Partition]replication.Proposal
}

func newAlterer(alter func(context.Context, []Alteration) ([]Altered, error), log *slog.Logger) *alterer {
	return &alterer{alter: alter, log: log, wake: make(chan struct{}, 1), waiting: map[*Partition]replication.Proposal{}}
}

// propose is [Env.Propose].
func (a *alterer) propose(p *Partition, proposal replication.Proposal) {
	a.mu.Lock()
	a.waiting[p] = proposal
	a.mu.Unlock()
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// alterBatch bounds a question.
const alterBatch = 2000

// take returns the next proposals to ask for.
func (a *alterer) take() (partitions []*Partition, list []Alteration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for p, proposal := range a.waiting {
		delete(a.waiting, p)
		if p.Outdated(proposal) {
			continue
		}
		partitions = append(partitions, p)
		list = append(list, Alteration{p.ID, proposal})
		if len(list) == alterBatch {
			break
		}
	}
	return partitions, list
}

func (a *alterer) run(ctx context.Context) {
	pause := time.Duration(0)
	for {
		partitions, list := a.take()
		if len(list) == 0 {
			select {
			case <-a.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		answers, err := a.alter(ctx, list)
		if err == nil && len(answers) == len(list) {
			if partitions, list = a.settleAll(partitions, list, answers); len(list) == 0 {
				pause = 0
				continue
			}
		}
		if ctx.Err() != nil {
			return
		}
		pause = min(max(2*pause, 20*time.Millisecond), time.Second)
		a.log.Info("in-sync replicas not changed yet", "partitions", len(list), "error", err)
		a.again(partitions, list)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// settleAll takes the answers, and returns what must be asked again. A controller that knows less than this leader is not the
// controller any more: that it refuses says nothing of what became of an earlier question, whose answer got lost.
func (a *alterer) settleAll(partitions []*Partition, list []Alteration, answers []Altered) (again []*Partition, asked []Alteration) {
	for i, p := range partitions {
		switch answers[i].Code {
		case wire.ErrNotController, wire.ErrUnknownTopicID, wire.ErrUnknownTopicOrPartition:
			again, asked = append(again, p), append(asked, list[i])
		default:
			a.settle(p, list[i], answers[i])
		}
	}
	return again, asked
}

// again puts back what was not answered, unless the partition has proposed something newer.
func (a *alterer) again(partitions []*Partition, list []Alteration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i, p := range partitions {
		if _, newer := a.waiting[p]; !newer {
			a.waiting[p] = list[i].Proposal
		}
	}
}

func (a *alterer) settle(p *Partition, asked Alteration, answer Altered) {
	// NEW_LEADER_ELECTED: it came into force, and ended a reassignment that gave the partition to another leader.
	if answer.Code != wire.ErrNone && answer.Code != wire.ErrNewLeaderElected {
		a.log.Info("in-sync replicas not changed", "partition", p.Name, "code", answer.Code.String(), "asked", asked.ISR)
		p.Altered(asked.Proposal, true, 0, 0, nil)
		return
	}
	a.log.Debug("in-sync replicas changed", "partition", p.Name, "isr", answer.ISR, "epoch", answer.PartitionEpoch)
	p.Altered(asked.Proposal, false, answer.LeaderEpoch, answer.PartitionEpoch, answer.ISR)
}
