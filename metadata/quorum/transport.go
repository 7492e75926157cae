package quorum

import (
	"github.com/hashicorp/raft"
)

// transport is raft's transport of a quorum of one: it reaches nobody, and can tell raft to stand for election now.
//
// It is raft's in-memory transport with a second one connected to it, from which the TimeoutNow of a leadership
// transfer is sent: the receiver campaigns at once, as section 3.10 of the Raft thesis has it. A sole voter
// needs no other's vote, so nothing is gained by sitting out the election timeout.
type transport struct {
	*raft.InmemTransport
	caller *raft.InmemTransport
}

func newTransport(address raft.ServerAddress) *transport {
	_, own := raft.NewInmemTransport(address)
	_, caller := raft.NewInmemTransport("")
	caller.Connect(address, own)
	return &transport{own, caller}
}

// campaign makes raft stand for election now. It must run already.
func (t *transport) campaign(id raft.ServerID) {
	var answer raft.TimeoutNowResponse
	request := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: []byte(t.LocalAddr())}}
	// An error leaves raft to its election timeout: slower, nothing else.
	_ = t.caller.TimeoutNow(id, t.LocalAddr(), &request, &answer)
}
