package control

import (
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// BalanceLeaders plans that preferred replicas that are in sync and live lead again, of brokers that do not lead more than a share
// of the partitions that prefer them, in percent; at most limit partitions at once. more says that there are others left.
func BalanceLeaders(m *metadata.Image, percent int, limit int) (records []metadata.Record, more bool) {
	e := newElectorate(m)
	prefer, without := map[wire.BrokerID]int{}, map[wire.BrokerID]int{}
	returns := func(p *metadata.PartitionInfo) bool {
		return p.Leader != p.Replicas[0] && slices.Contains(p.ISR, p.Replicas[0]) && e.live(p.Replicas[0])
	}
	m.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			prefer[p.Replicas[0]]++
			if returns(p) {
				without[p.Replicas[0]]++
			}
		}
		return true
	})
	if len(without) == 0 {
		return nil, false
	}
	planned := 0
	records = e.sweep(func(_ *metadata.Topic, _ wire.Partition, p *metadata.PartitionInfo) (target, bool) {
		first := p.Replicas[0]
		if !returns(p) || 100*without[first] <= percent*prefer[first] {
			return target{}, false
		}
		if planned == limit {
			more = true
			return target{}, false
		}
		planned++
		want := asIs(p)
		want.preferred = true
		return want, true
	})
	return records, more
}
