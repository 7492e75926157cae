package api

import (
	"context"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Kafka's election types (KIP-460).
const (
	electPreferred = 0
	electUnclean   = 1
)

// The election is over when the request is answered; there is nothing that its timeout would have to wait for.
var electLeadersHandler = handle(message.KeyElectLeaders, func(b *Broker, r *listen.Request, m *message.ElectLeadersRequest) message.Response {
	if m.ElectionType != electPreferred && m.ElectionType != electUnclean {
		return &message.ElectLeadersResponse{ErrorCode: wire.ErrInvalidRequest}
	}
	var list []wire.TopicPartition
	if m.TopicPartitions != nil {
		list = []wire.TopicPartition{}
	}
	for _, t := range m.TopicPartitions {
		for _, p := range t.Partitions {
			list = append(list, wire.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), timeout(m.TimeoutMs))
	defer cancel()
	answers, err := b.Leader.ElectLeaders(ctx, m.ElectionType == electUnclean, list)
	response := &message.ElectLeadersResponse{}
	if fault := refusalOf(err); fault != nil {
		response.ErrorCode = fault.Code
		if r.Header.Version == 0 { // which has no room for it
			for _, q := range list {
				answers = append(answers, control.Elected{Topic: q.Topic, Partition: q.Partition, Refusal: fault})
			}
		}
	}
	for _, a := range answers {
		if n := len(response.ReplicaElectionResults); n == 0 || response.ReplicaElectionResults[n-1].Topic != a.Topic {
			response.ReplicaElectionResults = append(response.ReplicaElectionResults, message.ElectLeadersResponseReplicaElectionResult{Topic: a.Topic})
		}
		out := message.ElectLeadersResponsePartitionResult{PartitionID: a.Partition}
		if a.Refusal != nil {
			out.ErrorCode, out.ErrorMessage = a.Refusal.Code, text(a.Refusal.Message)
		}
		t := &response.ReplicaElectionResults[len(response.ReplicaElectionResults)-1]
		t.PartitionResult = append(t.PartitionResult, out)
	}
	return response
})
