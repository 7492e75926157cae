package api

import (
	"context"
	"fmt"

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
	var list []wire.TopicPartition
	if m.TopicPartitions != nil {
		list = []wire.TopicPartition{}
	}
	for _, t := range m.TopicPartitions {
		for _, p := range t.Partitions {
			list = append(list, wire.TopicPartition{Topic: t.Topic, Partition: p})
		}
	}
	var answers []control.Elected
	var fault *control.Refusal
	if m.ElectionType != electPreferred && m.ElectionType != electUnclean {
		fault = &control.Refusal{Code: wire.ErrInvalidRequest, Message: fmt.Sprintf("Unknown election type %d", m.ElectionType)}
	} else {
		r.MayBlock()
		ctx, cancel := context.WithTimeout(r.Context(), timeout(m.TimeoutMs))
		defer cancel()
		var err error
		answers, err = b.Leader.ElectLeaders(ctx, m.ElectionType == electUnclean, list)
		fault = refusalOf(err)
	}
	response := &message.ElectLeadersResponse{}
	if fault != nil {
		response.ErrorCode = fault.Code
		answers = nil
		for _, q := range list { // version 0 has room for it here alone
			answers = append(answers, control.Elected{Topic: q.Topic, Partition: q.Partition, Refusal: fault})
		}
	}
	if m.TopicPartitions == nil {
		for _, a := range answers {
			if n := len(m.TopicPartitions); n == 0 || m.TopicPartitions[n-1].Topic != a.Topic {
				m.TopicPartitions = append(m.TopicPartitions, message.ElectLeadersRequestTopicPartition{Topic: a.Topic})
			}
			t := &m.TopicPartitions[len(m.TopicPartitions)-1]
			t.Partitions = append(t.Partitions, a.Partition)
		}
	}
	for _, t := range m.TopicPartitions {
		out := message.ElectLeadersResponseReplicaElectionResult{Topic: t.Topic}
		for range t.Partitions {
			a := message.ElectLeadersResponsePartitionResult{PartitionID: answers[0].Partition}
			if refusal := answers[0].Refusal; refusal != nil {
				a.ErrorCode, a.ErrorMessage = refusal.Code, text(refusal.Message)
			}
			out.PartitionResult = append(out.PartitionResult, a)
			answers = answers[1:]
		}
		response.ReplicaElectionResults = append(response.ReplicaElectionResults, out)
	}
	return response
})
