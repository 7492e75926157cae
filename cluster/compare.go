package cluster

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// state returns the hash of this broker's newest metadata.
func (n *Node) state() lifecycle.StateHash {
	image := n.replica.Image()
	return lifecycle.StateHash{Index: image.Index(), Hash: image.Hash()}
}

// differs is told that commands of another broker led to another state here than there. If that is the controller, this node
// stops; any other may be the one that is wrong, and the controller judges both by their next heartbeats.
func (n *Node) differs(from feed.Source, d *feed.Difference) {
	n.log.Error("another broker has other metadata than we at the same index", "from", from.String(), "index", d.Index, "hash", d.Ours, "theirs", d.Theirs)
	agent := n.agent.Load()
	s, ok := from.(source)
	c, known := n.peers.controller()
	switch {
	case !ok || !known || s.target.Directory != c.Directory:
		if agent != nil {
			agent.Poke()
		}
	case agent != nil:
		agent.Differs(lifecycle.StateHash{Index: d.Index, Hash: d.Ours}, lifecycle.StateHash{Index: d.Index, Hash: d.Theirs})
	default:
		n.fail(fmt.Errorf("the metadata of this node is not that of the controller: %w", d))
	}
}

// metadataReport is what /debug/metadata tells.
type metadataReport struct {
	Index wire.Index `json:"index"`
	Term  wire.Term  `json:"term,omitempty"`
	Hash  string     `json:"hash"`
	// What the controller has compared: heartbeats that told of the same state as its own, and of another.
	Same  int64 `json:"same"`
	Other int64 `json:"other"`
}

// watchMetadata tells of the state's hash on the admin listener.
func (n *Node) watchMetadata() {
	n.metrics.WatchHash(n.replica.Image, n.leader.Compared)
	n.admin.Debug("/debug/metadata", func(r *http.Request) (any, error) {
		image := n.replica.Image()
		out := metadataReport{Index: image.Index(), Term: image.Term(), Hash: image.Hash().String()}
		if v := r.FormValue("index"); v != "" {
			index, err := strconv.ParseInt(v, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("index %q is not a number", v)
			}
			hash, ok := n.replica.HashAt(wire.Index(index))
			if !ok {
				return nil, fmt.Errorf("the hash at index %d is not known here; the newest index is %d", index, image.Index())
			}
			out = metadataReport{Index: wire.Index(index), Hash: hash.String()}
		}
		out.Same, out.Other = n.leader.Compared()
		return out, nil
	})
}
