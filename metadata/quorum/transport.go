package quorum

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/kraftgo/kraftgo/wire"
)

// Streams are the connections to other members, both sides of which have proved who they are.
type Streams interface {
	// Accepted is where the connections of other members arrive.
	Accepted() net.Listener
	// Dial connects to a member at host:port, and fails if somebody else answers there: an empty directory on an old
	// address would grant any vote.
	Dial(ctx context.Context, address string, expect wire.UUID) (net.Conn, error)
}

// memberAddress is a member's address in raft's configuration: who is expected there goes with it.
func memberAddress(id wire.UUID, address string) raft.ServerAddress {
	return raft.ServerAddress(id.String() + "@" + address)
}

func splitMember(a raft.ServerAddress) (wire.UUID, string, error) {
	id, address, ok := strings.Cut(string(a), "@")
	if !ok {
		return wire.UUID{}, "", fmt.Errorf("raft server address %q is not of the form uuid@host:port", a)
	}
	u, err := wire.ParseUUID(id)
	if err != nil {
		return wire.UUID{}, "", fmt.Errorf("raft server address %q: %w", a, err)
	}
	return u, address, nil
}

// transport is raft's network transport over our streams; beside it, raft can be told to stand for election now.
type transport struct {
	*raft.NetworkTransport
	incoming chan raft.RPC
	done     chan struct{}
	once     sync.Once
	ended    sync.WaitGroup
}

// poolSize is how many idle connections raft keeps to each member.
const poolSize = 3

// callTimeout bounds each exchange with a member; a snapshot has more, by its size.
const callTimeout = 5 * time.Second

func newTransport(o Options, address raft.ServerAddress, log hclog.Logger) *transport {
	config := &raft.NetworkTransportConfig{
		Stream: &streamLayer{o.Streams, address}, Logger: log, MaxPool: poolSize, Timeout: callTimeout,
		MaxRPCsInFlight: 1, // pipelining wedges a follower for good after one failed store
	}
	if o.Resolve != nil {
		config.ServerAddressProvider = resolver(o.Resolve)
	}
	t := &transport{NetworkTransport: raft.NewNetworkTransportWithConfig(config), incoming: make(chan raft.RPC), done: make(chan struct{})}
	t.ended.Add(1)
	go t.forward()
	return t
}

// forward passes on what comes from the network: campaign adds to the same channel.
func (t *transport) forward() {
	defer t.ended.Done()
	for {
		select {
		case r := <-t.NetworkTransport.Consumer():
			select {
			case t.incoming <- r:
			case <-t.done:
				return
			}
		case <-t.done:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.incoming }

// Close implements raft.WithClose.
func (t *transport) Close() error {
	t.once.Do(func() { close(t.done) })
	t.ended.Wait()
	return t.NetworkTransport.Close()
}

// campaign makes raft stand for election now, as the TimeoutNow of a leadership transfer does (section 3.10 of the Raft
// thesis). raft must run already. A sole voter needs no other's vote, so nothing is gained by sitting out the election
// timeout.
func (t *transport) campaign(id raft.ServerID) {
	answer := make(chan raft.RPCResponse, 1)
	request := &raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr())}}
	select {
	case t.incoming <- raft.RPC{Command: request, RespChan: answer}:
	case <-t.done:
	}
}

// resolver finds members that have moved.
type resolver func(wire.UUID) (string, bool)

// ServerAddr implements raft.ServerAddressProvider. An error makes raft use the address of its configuration.
func (r resolver) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	u, err := wire.ParseUUID(string(id))
	if err != nil {
		return "", fmt.Errorf("raft server id: %w", err)
	}
	address, ok := r(u)
	if !ok {
		return "", fmt.Errorf("no address is known of %s", id)
	}
	return memberAddress(u, address), nil
}

// streamLayer implements raft.StreamLayer.
type streamLayer struct {
	streams Streams
	address raft.ServerAddress
}

func (s *streamLayer) Accept() (net.Conn, error) { return s.streams.Accepted().Accept() }
func (s *streamLayer) Close() error              { return s.streams.Accepted().Close() }
func (s *streamLayer) Addr() net.Addr            { return memberAddr(s.address) }

func (s *streamLayer) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	id, host, err := splitMember(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return s.streams.Dial(ctx, host, id)
}

// memberAddr is a member's address as a net.Addr.
type memberAddr raft.ServerAddress

func (a memberAddr) Network() string { return "tcp" }
func (a memberAddr) String() string  { return string(a) }
