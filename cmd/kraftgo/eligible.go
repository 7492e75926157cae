package main

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// eligibles are the replicas that may lead a partition though they are not in sync (KIP-966), and those that were last known to: who has to
// come back, where nobody leads.
type eligibles struct{ eligible, lastKnown []int32 }

// eligible returns what is known of a topic's partitions; nothing where the cluster does not tell.
func (s *session) eligible(topic string) map[int32]eligibles {
	out := map[int32]eligibles{}
	request := kmsg.NewPtrDescribeTopicPartitionsRequest()
	t := kmsg.NewDescribeTopicPartitionsRequestTopic()
	t.Topic = topic
	request.Topics = append(request.Topics, t)
	for {
		response, err := request.RequestWith(s.ctx, s.client)
		if err != nil || len(response.Topics) != 1 || kerr.ErrorForCode(response.Topics[0].ErrorCode) != nil {
			return out // of an older cluster: the rest is worth telling
		}
		for _, p := range response.Topics[0].Partitions {
			out[p.Partition] = eligibles{p.EligibleLeaderReplicas, p.LastKnownELR}
		}
		next := response.NextCursor
		if next == nil || next.Topic != topic || request.Cursor != nil && next.Partition <= request.Cursor.Partition {
			return out
		}
		cursor := kmsg.NewDescribeTopicPartitionsRequestCursor()
		cursor.Topic, cursor.Partition = next.Topic, next.Partition
		request.Cursor = &cursor
	}
}

// addEligible notes who may lead though it is not in sync, where some replica is missing.
func (s *session) addEligible(d *topicDetail) {
	if !slices.ContainsFunc(d.Partitions, func(p partitionDetail) bool { return len(p.ISR) < len(p.Replicas) }) {
		return
	}
	known := s.eligible(d.Topic)
	for i := range d.Partitions {
		p := &d.Partitions[i]
		p.Eligible, p.LastKnown = append([]int32{}, known[p.Partition].eligible...), append([]int32{}, known[p.Partition].lastKnown...)
	}
}
