package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
)

// This file is how a node stops: in good order, or because its disk hangs.

// retire hands over what this node does for the cluster: the leaderships of its partitions, and the quorum's. The partitions go
// first, while everybody follows the controller there is: a new one has to be found by all before they learn from it who leads. Unless
// this node's disk hangs, on which its quorum could agree on nothing.
func (n *Node) retire(ctx context.Context, hung bool) {
	agent := n.agent.Load()
	if agent == nil || n.broker == nil {
		return
	}
	bounded, cancel := context.WithTimeout(ctx, n.milliseconds("controlled.shutdown.timeout.ms"))
	defer cancel()
	if hung {
		n.transferQuorum()
	}
	if err := agent.Shutdown(bounded); err != nil {
		n.log.Info("stopping without the controller's leave", "error", err)
	}
	if !hung {
		n.transferQuorum()
	}
}

// transferQuorum hands the leadership of the quorum to another voter, if this node has it.
func (n *Node) transferQuorum() {
	if status, err := n.quorum.Status(); err == nil && status.SelfLeads && len(status.Members) > 1 {
		if err := n.quorum.Transfer(); err != nil {
			n.log.Info("leadership of the quorum not handed over", "error", err)
		}
	}
}

// closeCluster ends this node's part in the cluster.
func (n *Node) closeCluster(ctx context.Context) error {
	var faults []error
	note := func(err error) { faults = append(faults, err) }
	if a := n.agent.Load(); a != nil {
		a.Close()
	}
	if g := n.gossip.Load(); g != nil {
		note(g.Leave(ctx))
		note(g.Close())
	} else {
		for _, c := range []io.Closer{n.gossipTCP, n.gossipUDP} {
			if c != nil && !reflect.ValueOf(c).IsNil() {
				note(c.Close())
			}
		}
	}
	if n.puller != nil {
		note(n.puller.Close())
	}
	if n.quorum != nil {
		note(n.quorum.Close())
	}
	if n.peers != nil {
		note(n.peers.close())
	}
	switch {
	case n.internal != nil:
		note(n.internal.Close())
	case n.internalSocket != nil:
		note(n.internalSocket.Close())
	}
	if n.replica != nil {
		n.replica.Close()
	}
	return errors.Join(faults...)
}

// diskHangs gives up what this node does, since nothing of it will come to its end: others take over its leaderships at once, as
// when it is stopped, and clients are sent away. The process cannot be ended, by nobody, before its writes have ended.
func (n *Node) diskHangs(waited time.Duration) {
	n.log.Error("the disk of the logs hangs: giving up all leaderships, and stopping", "waited", waited)
	ctx, cancel := context.WithTimeout(context.Background(), n.milliseconds("broker.session.timeout.ms"))
	defer cancel()
	n.retire(ctx, true)
	for _, l := range n.listeners {
		if err := l.Abort(); err != nil {
			n.log.Warn("listener not closed", "error", err)
		}
	}
	n.fail(fmt.Errorf("the disk of the logs has not answered for %s", waited))
}

// mayRestartOthers returns why a rolling restart must not go on: this node does not serve with all its replicas yet, or what it
// leads has too few copies.
func (n *Node) mayRestartOthers() error {
	if err := n.disk.Err(); err != nil {
		return err
	}
	image, self := n.replica.Image(), n.identity.Broker
	if b := image.Broker(self); b == nil || b.Fenced || !n.agent.Load().Alive() {
		return fmt.Errorf("broker %d is fenced", self)
	}
	behind, short := 0, 0
	image.Topics(func(t *metadata.Topic) bool {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			switch {
			case slices.Contains(p.Replicas, self) && !slices.Contains(p.ISR, self):
				behind++
			case p.Leader == self && len(p.ISR) < len(p.Replicas):
				short++
			}
		}
		return true
	})
	if behind+short > 0 {
		return fmt.Errorf("%d replicas of broker %d are not in sync, %d of the partitions that it leads lack others", behind, self, short)
	}
	return nil
}

// Stop stops the node in good order: what was accepted is answered, as long as ctx lasts, and everything is synced.
func (n *Node) Stop(ctx context.Context) error {
	if n.admin != nil {
		n.admin.Unready()
	}
	n.cancel()
	n.retire(ctx, false)
	return n.close(ctx)
}

// close ends all that runs. What was accepted is answered, as long as ctx lasts.
func (n *Node) close(ctx context.Context) error {
	var faults []error
	note := func(err error) { faults = append(faults, err) }
	for _, l := range n.listeners {
		note(l.StopAccepting())
	}
	if n.broker != nil && n.partitions != nil {
		n.broker.StopWaiting()
	}
	if n.groups != nil {
		n.groups.Close() // joins and syncs that wait are answered, so that their connections can close
	}
	for _, l := range n.listeners {
		note(l.Close(ctx))
	}
	for _, s := range n.sockets {
		note(s.Close())
	}
	if n.partitions != nil {
		n.partitions.Close()
	}
	note(n.closeCluster(ctx))
	if n.offsets != nil {
		note(n.offsets.Close())
	}
	if n.ended != nil {
		close(n.ended)
	}
	if n.changes != nil {
		n.changes.end()
	}
	if n.disk != nil {
		note(n.disk.Close())
	}
	if n.admin != nil {
		note(n.admin.Close(ctx))
	}
	if n.lock != nil {
		note(n.lock.Close())
	}
	return errors.Join(faults...)
}
