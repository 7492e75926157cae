package cluster

import (
	"context"
	"errors"
	"fmt"

	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// This file keeps nodes apart whose metadata is of different histories: after a recovery (see [OpenRecovery]) there are nodes that
// have what was before.

// holdsHistory reports whether this node has metadata of the history that it is of. One that was told to follow a recovery has none
// before it has met a node of it.
func (n *Node) holdsHistory() bool {
	image := n.replica.Image()
	return image.ClusterID() != "" && image.Recovery().String() == n.identity.Recovery
}

// otherHistory tells what is to be done about a node whose metadata is of another history than ours, of which we have metadata, or not
// yet. Its text reaches both sides. If theirs is the later one, this node has no part in the cluster any more, and stops: to go on would
// fork the cluster. But not because of a node that only has the name of a recovery, which may be mistyped.
func (n *Node) otherHistory(peer internal.Identity, holds bool) error {
	ours, err1 := metadata.ParseRecovery(n.identity.Recovery)
	theirs, err2 := metadata.ParseRecovery(peer.Recovery)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	if theirs.Generation == ours.Generation {
		return fmt.Errorf("the metadata was recovered twice, from the directories of two nodes (recoveries %s and %s): stop the nodes of one of them, and run 'kraftgo cluster recover --data DIR --follow RECOVERY' there with the other", ours, theirs)
	}
	newer, ahead, behind := ours, n.directory, peer.Directory
	if theirs.Generation > ours.Generation {
		newer, ahead, behind, holds = theirs, peer.Directory, n.directory, peer.Holds
	}
	if !holds {
		return fmt.Errorf("the node of directory %s was told to follow recovery %s, and has nothing of it yet; that of directory %s is not of that recovery. Start a node that is. If there is none, the name was wrong: stop the first node, and 'kraftgo cluster recover --data DIR --undo' with its directory puts its metadata back", ahead, newer, behind)
	}
	err := fmt.Errorf("the cluster's metadata was recovered when its quorum was lost (recovery %s), and the node of directory %s has what was before. Stop that node, and run 'kraftgo cluster recover --data DIR --follow %s' with its directory: its metadata is given up, its partitions stay", newer, behind, newer)
	if newer == theirs {
		n.fail(err)
		if n.starting.Load() {
			n.cancel()
		}
	}
	return err
}

// tellFollower says what a broker waits for that was told to follow a recovery.
func (n *Node) tellFollower() {
	if n.identity.Recovery != "" && n.identity.Broker >= 0 && !n.holdsHistory() {
		n.log.Warn("this node was told to follow a recovery, and waits for a node that has its metadata; if the name was wrong, stop this node, and 'kraftgo cluster recover --data DIR --undo' puts back what it had",
			"recovery", n.identity.Recovery, "data directory", n.config.Data)
	}
}

// startFailed returns why a start failed: the reason for which it was called off, if it was.
func (n *Node) startFailed(err error) error {
	if !errors.Is(err, context.Canceled) {
		return err
	}
	select {
	case why := <-n.failed:
		return why
	default:
		return err
	}
}

// checkHistory finds a recovery of this directory that was cut short.
func (n *Node) checkHistory() error {
	image := n.replica.Image()
	if image.ClusterID() == "" || image.Recovery().String() == n.identity.Recovery {
		return nil
	}
	return fmt.Errorf("data directory %s says recovery %q in meta.json and %q in its metadata: 'kraftgo cluster recover' was cut short in it, or the two do not belong together. Run it again with --data %s", n.config.Data, n.identity.Recovery, image.Recovery(), n.config.Data)
}

// setAside keeps a replica that the recovered metadata does not know: of a topic that was made, or moved here, in what was lost.
func (n *Node) setAside(key wire.TopicIDPartition) error {
	n.log.Warn("a replica that the recovered metadata does not know is set aside", "topic id", key.Topic, "partition", key.Partition, "log directory", n.disk.Dir())
	return n.disk.SetAside(key)
}

// settledIn notes that this node has started in its history.
func (n *Node) settledIn() error {
	if !n.identity.SetAside {
		return nil
	}
	n.identity.SetAside = false
	return n.identity.write(n.config.Data)
}
