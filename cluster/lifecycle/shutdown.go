package lifecycle

import (
	"context"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// successors bounds how long a broker that stops waits until the others know that they lead in its place. Within a heartbeat, so
// that the answer still reaches who asked.
const successors = 700 * time.Millisecond

// letGo serves a broker's wish to stop: others get what it leads; when all that live know of it, or time is up, it is fenced. Until
// then it goes on serving, and tells clients who leads now, so that at no time a partition is led by nobody who knows it.
func (l *Leader) letGo(ctx context.Context, id wire.BrokerID, epoch wire.BrokerEpoch) error {
	same := func(m *metadata.Image) bool {
		b := m.Broker(id)
		return b != nil && b.Epoch == epoch
	}
	err := l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		if !same(m) {
			return nil
		}
		return control.Retire(m, id)
	})
	if err != nil {
		return err
	}
	l.reached(ctx, id)
	return l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		if !same(m) {
			return nil
		}
		return control.Fence(m, id, true)
	})
}

// reached waits until the brokers that live, but for one, have the newest metadata, or for as long as a stop may take.
func (l *Leader) reached(ctx context.Context, but wire.BrokerID) {
	ctx, cancel := context.WithTimeout(ctx, successors)
	defer cancel()
	m := l.opts.Quorum.Image()
	var asked sync.WaitGroup
	for _, b := range m.Unfenced() {
		if b.Broker == but {
			continue
		}
		asked.Go(func() {
			if err := l.opts.Reached(ctx, b, m.Index()); err != nil {
				l.opts.Log.Info("a broker is not waited for any longer to learn who leads", "broker", b.Broker, "error", err)
			}
		})
	}
	asked.Wait()
}
