package lifecycle

import (
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// RegisterRequest begins a broker's incarnation. Brokers send it to the controller.
type RegisterRequest struct {
	Cluster      string
	Registration metadata.RegisterBroker // Broker -1: the controller chooses
}

// RegisterAnswer gives the broker its id and its epoch.
type RegisterAnswer struct {
	Broker wire.BrokerID
	Epoch  wire.BrokerEpoch
}

// HeartbeatRequest keeps a broker's session alive.
type HeartbeatRequest struct {
	Broker       wire.BrokerID
	Epoch        wire.BrokerEpoch
	Applied      wire.Index // the metadata that has taken effect there
	LogEnd       wire.Index // the end of its raft log
	WantUnfence  bool       // it is ready to serve once its metadata is new enough
	WantShutdown bool
}

// HeartbeatAnswer tells the broker what it is.
type HeartbeatAnswer struct {
	Fenced         bool
	ShouldShutdown bool
	Applied        wire.Index // of the controller
	Soon           bool       // the next heartbeat is wanted soon: the end of the raft log decides something
}
