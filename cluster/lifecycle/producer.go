package lifecycle

import (
	"context"
	"sync"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// ProducerIDs hands out producer ids, each once in the cluster's life, from blocks that the controller gives. What is
// left of a block at a stop is never used.
type ProducerIDs struct {
	controller *Controller
	broker     wire.BrokerID

	mu        sync.Mutex // held while a block is fetched: all callers wait for the same one
	next, end wire.ProducerID
}

// NewProducerIDs returns a source for one broker.
func NewProducerIDs(c *Controller, broker wire.BrokerID) *ProducerIDs {
	return &ProducerIDs{controller: c, broker: broker}
}

// Next returns a new producer id.
func (p *ProducerIDs) Next(ctx context.Context) (wire.ProducerID, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next == p.end {
		var first wire.ProducerID
		err := p.controller.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
			var epoch wire.BrokerEpoch = -1
			if b := m.Broker(p.broker); b != nil {
				epoch = b.Epoch
			}
			records, first = control.AllocateProducerIDs(m, p.broker, epoch)
			return records
		})
		if err != nil {
			return wire.NoProducerID, err
		}
		p.next, p.end = first, first+control.ProducerIDBlock
	}
	id := p.next
	p.next++
	return id, nil
}
