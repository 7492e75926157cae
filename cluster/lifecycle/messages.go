package lifecycle

import (
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// RegisterRequest begins a broker's incarnation. Brokers send it to the controller.
type RegisterRequest struct {
	Cluster      string
	Registration metadata.RegisterBroker // Broker -1: the controller chooses
	Lossy        bool                    // what was on no disk when the machine went down is gone
	Suspects     []wire.TopicIDPartition // replicas that are damaged, or missing
	Readmit      bool                    // an operator lets the directory of a removed broker in again
	Replace      bool                    // an operator has the directory take the place of another that is down
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
	State        StateHash  // of the newest metadata there
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
	Differs        *StateHash // what the controller's metadata is at the index that the broker named, if it is another: the broker must stop
}

// StateHash is the hash of the metadata at an index.
type StateHash struct {
	Index wire.Index
	Hash  metadata.Hash
}

// AlterPartitionRequest asks for other ISRs of partitions that the broker leads. Leaders send it to the controller.
type AlterPartitionRequest struct {
	Broker     wire.BrokerID
	Epoch      wire.BrokerEpoch
	Partitions []AlterPartition
}

// AlterPartition and ISRMember are the wish for one partition; AlteredPartition is what became of it.
type (
	AlterPartition   = control.AlterISR
	ISRMember        = control.ISRMember
	AlteredPartition = control.AlteredISR
)

// AlterPartitionAnswer tells for each partition, in the order of the request, what became of it. A request of an incarnation that
// is not the present one gets a [*control.Refusal] with STALE_BROKER_EPOCH instead.
type AlterPartitionAnswer struct {
	Partitions []AlteredPartition
	Applied    wire.Index // the metadata that has the changes
}
