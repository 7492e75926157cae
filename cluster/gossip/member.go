package gossip

import (
	"errors"
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// Member is what a node tells the others of itself.
type Member struct {
	Cluster   string
	Recovery  string // names the history that its metadata is of; "" for a cluster's first
	Directory wire.UUID
	Broker    wire.BrokerID // NoBroker: not registered yet
	Nonce     uint64        // of this start
	Internal  string        // host:port of its internal listener
	Gossip    string        // host:port of its gossip
	Rack      string
	Leading   bool // it thinks that it leads the metadata quorum
	Voter     bool // it thinks that it is in touch with the quorum
}

const (
	memberVersion = 1
	// maxMeta is what memberlist carries of a member. It panics above.
	maxMeta = 512
)

var errMeta = errors.New("not a kraftgo member")

// name is unlike that of any other incarnation, of this node or another.
func (m *Member) name() string { return fmt.Sprintf("%s.%016x", m.Directory, m.Nonce) }

func (m *Member) appendTo(b []byte) []byte {
	b = wire.AppendInt8(b, memberVersion)
	b = wire.AppendString(b, m.Cluster, true)
	b = wire.AppendString(b, m.Recovery, true)
	b = wire.AppendUUID(b, m.Directory)
	b = wire.AppendInt32(b, int32(m.Broker))
	b = wire.AppendInt64(b, int64(m.Nonce))
	b = wire.AppendString(b, m.Internal, true)
	b = wire.AppendString(b, m.Gossip, true)
	b = wire.AppendString(b, m.Rack, true)
	b = wire.AppendBool(b, m.Leading)
	return wire.AppendBool(b, m.Voter)
}

func readMember(r *wire.Reader) (m Member) {
	if v := r.Int8(); r.Err() == nil && v != memberVersion {
		r.Fail("a member of version %d, this kraftgo knows %d", v, memberVersion)
	}
	m.Cluster, m.Recovery, m.Directory = r.String(true), r.String(true), r.UUID()
	m.Broker, m.Nonce = wire.BrokerID(r.Int32()), uint64(r.Int64())
	m.Internal, m.Gossip, m.Rack = r.String(true), r.String(true), r.String(true)
	m.Leading, m.Voter = r.Bool(), r.Bool()
	return m
}

func decodeMember(b []byte) (Member, error) {
	r := wire.NewReader(b)
	m := readMember(&r)
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return Member{}, fmt.Errorf("%w: %w", errMeta, err)
	}
	return m, nil
}
