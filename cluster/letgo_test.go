package cluster

import (
	"context"
	"testing"
	"time"
)

// A broker that stops goes on serving until the others have heard who leads in its place, so that no partition is led by nobody who knows
// it; but not for those that do not hear it in time.
func TestABrokerThatStopsServesUntilTheOthersKnow(t *testing.T) {
	nodes := startNodes(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	leaves := nodes[1].identity.Broker
	// fenced waits for a state of the broker that leaves.
	fenced := func(what string, done func(stopping, fenced bool) bool) {
		t.Helper()
		for {
			index := nodes[0].replica.Published()
			if b := nodes[0].replica.Image().Broker(leaves); b != nil && done(b.ShuttingDown, b.Fenced) {
				return
			}
			if err := nodes[0].replica.WaitPublished(ctx, index+1); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	nodes[2].changes.mu.Lock() // it hears of nothing
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		stop(t, nodes, 1)
	}()
	fenced("it begins to stop", func(stopping, _ bool) bool { return stopping })
	short, end := context.WithTimeout(ctx, successorsShort)
	defer end()
	for short.Err() == nil {
		index := nodes[0].replica.Published()
		if nodes[0].replica.Image().Broker(leaves).Fenced {
			t.Error("it is fenced before the others know who leads")
			break
		}
		_ = nodes[0].replica.WaitPublished(short, index+1) // or until the time is up
	}
	nodes[2].changes.mu.Unlock()
	fenced("it is let go", func(_, fenced bool) bool { return fenced })
	<-stopped
}

// successorsShort is well below the time for which a broker that stops waits for the others.
const successorsShort = 200 * time.Millisecond
