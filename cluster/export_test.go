package cluster

import (
	"context"

	"github.com/kraftgo/kraftgo/wire"
)

// Relay sends a client's request to the controller as a broker does, by an id.
func (n *Node) Relay(ctx context.Context, id wire.UUID, frame []byte) ([]byte, error) {
	return n.peers.Relay(ctx, id, "PLAINTEXT", "127.0.0.1:1", frame)
}
