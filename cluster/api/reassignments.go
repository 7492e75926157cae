package api

import (
	"slices"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// A reassignment is under way when the request is answered (KIP-455); version 1 may refuse another number of replicas (KIP-860).
var alterReassignmentsHandler = handle(message.KeyAlterPartitionReassignments, func(b *Broker, r *listen.Request, m *message.AlterPartitionReassignmentsRequest) message.Response {
	var list []control.Reassignment
	for _, t := range m.Topics {
		for _, p := range t.Partitions {
			list = append(list, control.Reassignment{Topic: t.Name, Partition: p.PartitionIndex, Replicas: p.Replicas})
		}
	}
	var refusals []*control.Refusal
	return b.once(r, m.TimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		unclean := func(topic string) bool {
			return b.Settings.Topic(image, topic, "unclean.leader.election.enable") == "true"
		}
		records, refusals = control.Reassign(image, list, !m.AllowReplicationFactorChange, unclean)
		return records
	}, func(fault *control.Refusal) message.Response { return reassigned(m, fault, refusals) })
})

func reassigned(m *message.AlterPartitionReassignmentsRequest, fault *control.Refusal, refusals []*control.Refusal) message.Response {
	response := &message.AlterPartitionReassignmentsResponse{AllowReplicationFactorChange: m.AllowReplicationFactorChange}
	if fault != nil {
		response.ErrorCode, response.ErrorMessage = fault.Code, text(fault.Message)
		return response
	}
	for _, t := range m.Topics {
		out := message.AlterPartitionReassignmentsResponseTopic{Name: t.Name}
		for _, p := range t.Partitions {
			a := message.AlterPartitionReassignmentsResponsePartition{PartitionIndex: p.PartitionIndex}
			if refusals[0] != nil {
				a.ErrorCode, a.ErrorMessage = refusals[0].Code, text(refusals[0].Message)
			}
			refusals = refusals[1:]
			out.Partitions = append(out.Partitions, a)
		}
		response.Topics = append(response.Topics, out)
	}
	return response
}

// Partitions that are not being reassigned are left out, unknown ones too.
var listReassignmentsHandler = handle(message.KeyListPartitionReassignments, func(b *Broker, _ *listen.Request, m *message.ListPartitionReassignmentsRequest) message.Response {
	response := &message.ListPartitionReassignmentsResponse{}
	add := func(t *metadata.Topic, wanted func(wire.Partition) bool) {
		out := message.ListPartitionReassignmentsResponseTopic{Name: t.Name}
		for i := range t.Partitions {
			if p := &t.Partitions[i]; p.Reassigning() && wanted(wire.Partition(i)) {
				out.Partitions = append(out.Partitions, message.ListPartitionReassignmentsResponsePartition{
					PartitionIndex: wire.Partition(i), Replicas: p.Replicas, AddingReplicas: p.Adding, RemovingReplicas: p.Removing,
				})
			}
		}
		if len(out.Partitions) > 0 {
			response.Topics = append(response.Topics, out)
		}
	}
	image := b.Controller.Image()
	if m.Topics == nil {
		image.Topics(func(t *metadata.Topic) bool { add(t, func(wire.Partition) bool { return true }); return true })
		return response
	}
	for _, q := range m.Topics {
		if t := image.Topic(q.Name); t != nil {
			add(t, func(p wire.Partition) bool { return slices.Contains(q.PartitionIndexes, p) })
		}
	}
	return response
})
