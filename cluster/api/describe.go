package api

import (
	"cmp"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

var describeLogDirsHandler = handle(message.KeyDescribeLogDirs, func(b *Broker, r *listen.Request, m *message.DescribeLogDirsRequest) message.Response {
	var wanted map[wire.TopicPartition]bool
	if m.Topics != nil {
		wanted = map[wire.TopicPartition]bool{}
		for _, t := range m.Topics {
			for _, p := range t.Partitions {
				wanted[wire.TopicPartition{Topic: t.Topic, Partition: p}] = true
			}
		}
	}
	dir := message.DescribeLogDirsResponseResult{LogDir: b.Disk.Dir(), TotalBytes: -1, UsableBytes: -1}
	image := b.Controller.Image()
	if self := image.Broker(b.ID); self != nil {
		dir.IsCordoned = control.Cordoned(image, self)
	}
	if b.Disk.Err() != nil {
		dir.ErrorCode = wire.ErrKafkaStorageError
		return &message.DescribeLogDirsResponse{Results: []message.DescribeLogDirsResponseResult{dir}}
	}
	if total, usable, err := space(b.Disk.Dir()); err == nil {
		dir.TotalBytes, dir.UsableBytes = total, usable
	}
	all := b.Partitions.All()
	slices.SortFunc(all, func(x, y *replica.Partition) int {
		return cmp.Or(cmp.Compare(x.Name.Topic, y.Name.Topic), cmp.Compare(x.Name.Partition, y.Name.Partition))
	})
	for _, p := range all {
		if wanted != nil && !wanted[p.Name] {
			continue
		}
		if n := len(dir.Topics); n == 0 || dir.Topics[n-1].Name != p.Name.Topic {
			dir.Topics = append(dir.Topics, message.DescribeLogDirsResponseTopic{Name: p.Name.Topic})
		}
		t := &dir.Topics[len(dir.Topics)-1]
		t.Partitions = append(t.Partitions, message.DescribeLogDirsResponsePartition{
			PartitionIndex: p.Name.Partition, PartitionSize: p.Log().Size(), OffsetLag: int64(max(0, p.HighWatermark()-p.Log().End())),
		})
	}
	return &message.DescribeLogDirsResponse{Results: []message.DescribeLogDirsResponseResult{dir}}
})

var describeProducersHandler = handle(message.KeyDescribeProducers, func(b *Broker, r *listen.Request, m *message.DescribeProducersRequest) message.Response {
	response := &message.DescribeProducersResponse{}
	for _, t := range m.Topics {
		out := message.DescribeProducersResponseTopic{Name: t.Name}
		for _, index := range t.PartitionIndexes {
			out.Partitions = append(out.Partitions, b.describeProducers(t.Name, index))
		}
		response.Topics = append(response.Topics, out)
	}
	return response
})

func (b *Broker) describeProducers(topic string, index wire.Partition) message.DescribeProducersResponsePartition {
	a := message.DescribeProducersResponsePartition{PartitionIndex: index}
	if why := control.CheckTopicName(topic); why != "" {
		a.ErrorCode, a.ErrorMessage = wire.ErrInvalidTopicException, text("Topic name is invalid: "+why)
		return a
	}
	p, code := b.leading(topic, index, wire.NoLeaderEpoch)
	if code != wire.ErrNone {
		a.ErrorCode = code
		if b.Controller.Image().Topic(topic) == nil {
			a.ErrorMessage = text("This server does not host this topic-partition.")
		}
		return a
	}
	for _, q := range p.Log().ActiveProducers() {
		a.ActiveProducers = append(a.ActiveProducers, message.DescribeProducersResponseActiveProducer{
			ProducerID: q.ID, ProducerEpoch: int32(q.Epoch), LastSequence: q.LastSequence, LastTimestamp: int64(q.LastTimestamp),
			CoordinatorEpoch: q.CoordinatorEpoch, CurrentTxnStartOffset: q.TransactionStart,
		})
	}
	return a
}

// quorumTopic is the name under which Kafka's tools ask for the quorum.
const quorumTopic = "__cluster_metadata"

var describeQuorumHandler = handle(message.KeyDescribeQuorum, func(b *Broker, r *listen.Request, m *message.DescribeQuorumRequest) message.Response {
	if len(m.Topics) != 1 || m.Topics[0].TopicName != quorumTopic || len(m.Topics[0].Partitions) != 1 || m.Topics[0].Partitions[0].PartitionIndex != 0 {
		response := &message.DescribeQuorumResponse{}
		for _, t := range m.Topics {
			out := message.DescribeQuorumResponseTopic{TopicName: t.TopicName}
			for _, p := range t.Partitions {
				out.Partitions = append(out.Partitions, message.DescribeQuorumResponsePartition{PartitionIndex: p.PartitionIndex, ErrorCode: wire.ErrUnknownTopicOrPartition})
			}
			response.Topics = append(response.Topics, out)
		}
		return response
	}
	status, err := b.Controller.Quorum()
	if err != nil {
		return &message.DescribeQuorumResponse{ErrorCode: wire.ErrUnknownServerError, ErrorMessage: text(err.Error())}
	}
	image := b.Controller.Image()
	now := b.Now().UnixMilli()
	ends := b.Cluster.LogEnds()
	p := message.DescribeQuorumResponsePartition{LeaderID: wire.NoBroker, LeaderEpoch: wire.LeaderEpoch(status.Term), HighWatermark: wire.Offset(status.Committed)}
	response := &message.DescribeQuorumResponse{}
	for _, v := range status.Members {
		broker := brokerByDirectory(image, v.ID)
		if broker == nil {
			continue // it has not registered yet: there is no id to tell it by
		}
		state := message.DescribeQuorumResponseReplicaState{ReplicaID: broker.Broker, ReplicaDirectoryID: v.ID, LogEndOffset: -1, LastFetchTimestamp: -1, LastCaughtUpTimestamp: -1}
		if broker.Broker == b.ID {
			state.LogEndOffset = wire.Offset(status.LastIndex)
			state.LastFetchTimestamp, state.LastCaughtUpTimestamp = now, now
			if !status.SelfLeads {
				state.LastFetchTimestamp -= int64(status.LastContact / time.Millisecond)
			}
		} else if end, ok := ends[broker.Broker]; ok {
			state.LogEndOffset, state.LastFetchTimestamp = wire.Offset(end.Index), end.At.UnixMilli()
			if end.Index >= status.Committed {
				state.LastCaughtUpTimestamp = state.LastFetchTimestamp
			}
		}
		if v.ID == status.Leader {
			p.LeaderID = broker.Broker
		}
		if v.Votes {
			p.CurrentVoters = append(p.CurrentVoters, state)
		} else {
			p.Observers = append(p.Observers, state)
		}
		node := message.DescribeQuorumResponseNode{NodeID: broker.Broker}
		for _, e := range broker.Endpoints {
			node.Listeners = append(node.Listeners, message.DescribeQuorumResponseListener{Name: e.Listener, Host: e.Host, Port: e.Port})
		}
		response.Nodes = append(response.Nodes, node)
	}
	response.Topics = []message.DescribeQuorumResponseTopic{{TopicName: quorumTopic, Partitions: []message.DescribeQuorumResponsePartition{p}}}
	return response
})

func brokerByDirectory(image *metadata.Image, id wire.UUID) *metadata.BrokerInfo {
	var found *metadata.BrokerInfo
	image.Brokers(func(i *metadata.BrokerInfo) bool {
		if i.Directory == id {
			found = i
		}
		return found == nil
	})
	return found
}

// space returns how many bytes the file system of a directory has, and how many are free for us.
func space(dir string) (total, usable int64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	return int64(s.Blocks) * s.Bsize, int64(s.Bavail) * s.Bsize, nil
}
