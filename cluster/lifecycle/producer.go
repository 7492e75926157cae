package lifecycle

import (
	"context"
	"fmt"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// ProducerIDs hands out producer ids, each once in the cluster's life, from blocks that the controller gives. What is
// left of a block at a stop is never used.
type ProducerIDs struct {
	fetch func(context.Context) (first wire.ProducerID, err error)

	// turn holds a token while somebody has next and end, and fetches a block: all callers wait for the same one, each as long as it may.
	turn      chan struct{}
	next, end wire.ProducerID
}

// NewProducerIDs returns a source for one broker, whose blocks come from fetch.
func NewProducerIDs(fetch func(context.Context) (wire.ProducerID, error)) *ProducerIDs {
	return &ProducerIDs{fetch: fetch, turn: make(chan struct{}, 1)}
}

// AllocateProducerIDs gives a broker a block of producer ids, and returns its first. The controller does it.
func (c *Controller) AllocateProducerIDs(ctx context.Context, broker wire.BrokerID) (first wire.ProducerID, err error) {
	err = c.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
		var epoch wire.BrokerEpoch = -1
		if b := m.Broker(broker); b != nil {
			epoch = b.Epoch
		}
		records, first = control.AllocateProducerIDs(m, broker, epoch)
		return records
	})
	return first, err
}

// Next returns a new producer id.
func (p *ProducerIDs) Next(ctx context.Context) (wire.ProducerID, error) {
	select {
	case p.turn <- struct{}{}:
	case <-ctx.Done():
		return wire.NoProducerID, fmt.Errorf("wait for a block of producer ids: %w", ctx.Err())
	}
	defer func() { <-p.turn }()
	if p.next == p.end {
		first, err := p.fetch(ctx)
		if err != nil {
			return wire.NoProducerID, err
		}
		p.next, p.end = first, first+control.ProducerIDBlock
	}
	id := p.next
	p.next++
	return id, nil
}
