package metadata

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/wire"
)

// Recovery names the history that the metadata is of. A cluster begins with the zero value; each time its quorum was lost for good
// and an operator made it anew from what one node had, another history begins, with the next generation and an id of its own: two
// nodes from which it was done have the same generation and different ids.
type Recovery struct {
	Generation int32
	ID         wire.UUID
}

// String returns it as ParseRecovery takes it; "" for none.
func (r Recovery) String() string {
	if r == (Recovery{}) {
		return ""
	}
	return fmt.Sprintf("%d-%s", r.Generation, r.ID)
}

// ParseRecovery is the inverse of [Recovery.String].
func ParseRecovery(s string) (Recovery, error) {
	if s == "" {
		return Recovery{}, nil
	}
	number, id, _ := strings.Cut(s, "-")
	generation, err := strconv.ParseInt(number, 10, 32)
	if err != nil || generation < 1 {
		return Recovery{}, fmt.Errorf("recovery %q: want a number from 1 on, '-' and an id", s)
	}
	u, err := wire.ParseUUID(id)
	if err != nil {
		return Recovery{}, fmt.Errorf("recovery %q: %w", s, err)
	}
	return Recovery{int32(generation), u}, nil
}

// What a recovery adds to everything that only ever rises, so that nothing of the history that was lost can look newer than what
// the new one gives out. Indexes and terms go on from the next multiple.
const (
	recoveryIndexes     = 1 << 32
	recoveryTerms       = 1 << 20 // Kafka's controller epoch is an int32: there is room for two thousand recoveries
	recoveryEpochs      = 1 << 16 // of leaders and partitions
	recoveryProducerIDs = 1 << 40
)

// Recover begins another history from this state: seen is the highest term that is known of the one that was lost. What is here may be
// behind what others knew, so nothing is taken for granted that they may have changed: all brokers are fenced, nobody leads, and of each
// partition all replicas may be the one with most records (see [PartitionInfo.LastKnownELR]). It returns the term.
func (s *State) Recover(to Recovery, seen wire.Term) wire.Term {
	m := &s.image
	m.recovery = to
	m.index = (m.index/recoveryIndexes + 1) * recoveryIndexes
	m.term = (max(seen, m.term)/recoveryTerms + 1) * recoveryTerms
	s.pending, s.effect = pending{}, nil
	for _, b := range m.brokersThat(func(*BrokerInfo) bool { return true }) {
		own := *b
		own.Fenced, own.ShuttingDown = true, false
		m.brokers.ReplaceOrInsert(&own)
	}
	var topics []*Topic
	m.Topics(func(t *Topic) bool {
		topics = append(topics, t)
		return true
	})
	for _, t := range topics {
		own := *t
		own.Partitions = append([]PartitionInfo(nil), t.Partitions...)
		for i := range own.Partitions {
			p := &own.Partitions[i]
			p.Leader, p.ISR, p.ELR, p.LastKnownELR = wire.NoBroker, nil, nil, p.Replicas
			p.LeaderEpoch += recoveryEpochs
			p.Epoch += recoveryEpochs
		}
		s.putTopic(&own)
	}
	clear(s.fresh)
	m.nextProducerID += recoveryProducerIDs
	m.hash = s.Snapshot().recompute()
	return m.term
}

// Recovery names the history that the image is of.
func (m *Image) Recovery() Recovery { return m.recovery }

// recovery is the hash of the history's name: nothing of a cluster's first.
func (x *hasher) recovery(r Recovery) Hash {
	if r == (Recovery{}) {
		return Hash{}
	}
	x.b = wire.AppendUUID(wire.AppendInt32(append(x.b[:0], hashRecovery), r.Generation), r.ID)
	return x.sum()
}
