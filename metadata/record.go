package metadata

import (
	"github.com/kraftgo/kraftgo/wire"
)

// RecordType numbers the records. A number is never used again for something else.
type RecordType uint16

// The record types.
const (
	TypeCluster RecordType = iota + 1
	TypeRegisterBroker
	TypeBrokerState
	TypeUnregisterBroker
	TypeTopic
	TypePartition
	TypePartitionChange
	TypeRemoveTopic
	TypeConfig
	TypeProducerIDs
	TypeFeature
	TypeBrokerIDs
	TypeTopicWish
	TypeACL
	TypeRemoveACL
	TypeCredential
	TypeRemoveCredential
	TypeQuota
	TypeRemovedDirectory

	lastType = TypeRemovedDirectory
)

// Record is one change of the metadata. Records are values: they hold no pointer into live state.
type Record interface {
	Type() RecordType
	appendTo(b []byte) []byte
	decode(r *wire.Reader)
}

// Cluster is the first record: it founds the cluster.
type Cluster struct {
	ID string // 22 characters, as [wire.UUID] is written
}

// Endpoint is an address that clients of one listener are told.
type Endpoint struct {
	Listener string // the listener's name, as PLAINTEXT
	Host     string
	Port     uint16
	Security int16 // Kafka's SecurityProtocol id: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL
}

// RegisterBroker begins an incarnation of a broker, fenced. The index of its command is the broker's epoch.
type RegisterBroker struct {
	Broker     wire.BrokerID
	Directory  wire.UUID // of the metadata directory
	Generation uint64    // rises with every start
	Nonce      uint64    // of this start: tells two copies of one directory apart
	Rack       *string
	Endpoints  []Endpoint // of the client listeners
	LogDirs    []wire.UUID
	LogPaths   []string // of LogDirs, in their order
	Internal   string   // host:port where other brokers reach it
	Gossip     string   // host:port of its gossip

	Features []FeatureRange // that its program supports

	Cordoned string // cordoned.log.dirs of its configuration file

	// What its configuration file says of settings on which elections depend; the controller must know what the leaders go
	// by, and each goes by its own file.
	MinInSync  int32 // min.insync.replicas; 0 stands for 1
	Replicated bool  // log.durability=replicated
}

// BrokerState fences or unfences a broker, or notes that it is shutting down.
type BrokerState struct {
	Broker       wire.BrokerID
	Epoch        wire.BrokerEpoch
	Fenced       bool
	ShuttingDown bool
}

// BrokerIDs notes that ids below Next were given to brokers: one that was unregistered is not given again.
type BrokerIDs struct {
	Next wire.BrokerID
}

// UnregisterBroker removes a broker from the cluster.
type UnregisterBroker struct {
	Broker wire.BrokerID
	Epoch  wire.BrokerEpoch
}

// RemovedDirectory notes that the broker of a directory was removed from the cluster, so that a supervisor that starts it again does
// not undo what an operator did; or, with Back, that an operator lets it in again.
type RemovedDirectory struct {
	Directory wire.UUID
	Broker    wire.BrokerID // that it was
	Back      bool
}

// TopicRecord creates a topic without partitions; its [PartitionRecord]s follow in the same command.
type TopicRecord struct {
	Name   string
	ID     wire.TopicID
	Wanted int16 // see [Topic]
}

// TopicWish changes how many replicas a topic is to get when there are brokers for them.
type TopicWish struct {
	Topic  wire.TopicID
	Wanted int16
}

// PartitionRecord creates a partition.
type PartitionRecord struct {
	Topic       wire.TopicID
	Partition   wire.Partition
	Replicas    []wire.BrokerID
	ISR         []wire.BrokerID
	Leader      wire.BrokerID
	LeaderEpoch wire.LeaderEpoch
	Epoch       wire.PartitionEpoch

	Adding, Removing  []wire.BrokerID // see [PartitionInfo], as for the next two
	ELR, LastKnownELR []wire.BrokerID
}

// PartitionChange is what a partition's registration becomes; all fields but Replicas replace what was. The partition
// epoch rises by one; the leader epoch rises by one if BumpLeaderEpoch says so.
type PartitionChange struct {
	Topic           wire.TopicID
	Partition       wire.Partition
	ISR             []wire.BrokerID
	Leader          wire.BrokerID
	BumpLeaderEpoch bool

	Replicas          []wire.BrokerID // nil: as they are
	Adding, Removing  []wire.BrokerID
	ELR, LastKnownELR []wire.BrokerID
}

// RemoveTopic deletes a topic and its settings. Its id is never used again.
type RemoveTopic struct {
	Topic wire.TopicID
}

// ResourceType is Kafka's ConfigResource type.
type ResourceType int8

// The resource types that settings are kept for.
const (
	ResourceTopic         ResourceType = 2
	ResourceBroker        ResourceType = 4
	ResourceClientMetrics ResourceType = 16
	ResourceGroup         ResourceType = 32
)

// Resource is what a setting is set on. The broker resource with an empty name is every broker's default.
type Resource struct {
	Type ResourceType
	Name string
}

// ConfigRecord sets one setting of a resource, or removes it (Value nil).
type ConfigRecord struct {
	Resource Resource
	Name     string
	Value    *string
}

// ProducerIDs hands a block of producer ids to a broker: ids below Next are taken.
type ProducerIDs struct {
	Broker wire.BrokerID
	Epoch  wire.BrokerEpoch
	Next   wire.ProducerID
}

// Feature finalises a feature at a level; 0 removes it.
type Feature struct {
	Name    string
	Level   int16
	Release string // of [FeatureName]: the release that brought the level
}
