package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// A broker has one log directory: whatever is to be there stays, or comes there when it is made, and nothing can be moved elsewhere.
// Kafka's kafka-reassign-partitions asks for it when it goes back to where replicas were, and asks again for one that is not there yet.
var alterReplicaLogDirsHandler = handle(message.KeyAlterReplicaLogDirs, func(b *Broker, _ *listen.Request, m *message.AlterReplicaLogDirsRequest) message.Response {
	response := &message.AlterReplicaLogDirsResponse{}
	at := map[string]int{} // where a topic is in the answer
	for _, d := range m.Dirs {
		for _, t := range d.Topics {
			i, ok := at[t.Name]
			if !ok {
				i = len(response.Results)
				at[t.Name] = i
				response.Results = append(response.Results, message.AlterReplicaLogDirsResponseResult{TopicName: t.Name})
			}
			for _, p := range t.Partitions {
				response.Results[i].Partitions = append(response.Results[i].Partitions, message.AlterReplicaLogDirsResponsePartition{
					PartitionIndex: p, ErrorCode: b.alterLogDir(d.Path, t.Name, p),
				})
			}
		}
	}
	return response
})

// alterLogDir is Kafka's ReplicaManager.alterReplicaLogDirs for one replica.
func (b *Broker) alterLogDir(dir, topic string, p wire.Partition) wire.ErrorCode {
	if dir != b.Disk.Dir() {
		return wire.ErrLogDirNotFound
	}
	if b.Disk.Err() != nil {
		return wire.ErrKafkaStorageError
	}
	_, code := b.find(topic, wire.TopicID{}, false, p)
	if code == wire.ErrNotLeaderOrFollower {
		code = wire.ErrReplicaNotAvailable
	}
	return code
}
