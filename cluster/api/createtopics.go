package api

import (
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

var createTopicsHandler = handle(message.KeyCreateTopics, func(b *Broker, r *listen.Request, m *message.CreateTopicsRequest) message.Response {
	topics := make([]control.NewTopic, len(m.Topics))
	for i, t := range m.Topics {
		topics[i] = newTopicOf(t)
	}
	var answers []control.TopicAnswer
	decide := func(image *metadata.Image) (records []metadata.Record) {
		records, answers = control.CreateTopics(image, b.defaults(image), topics)
		if m.ValidateOnly {
			return nil
		}
		return records
	}
	answer := func(fault *control.Refusal) message.Response {
		image := b.Controller.Image()
		response := &message.CreateTopicsResponse{}
		told := map[string]bool{}
		for i, t := range topics {
			if told[t.Name] {
				continue // named more than once: refused once
			}
			told[t.Name] = true
			a := control.TopicAnswer{Name: t.Name, Refusal: fault}
			if answers != nil && (fault == nil || answers[i].Refusal != nil) {
				a = answers[i]
			}
			response.Topics = append(response.Topics, b.createdTopic(image, a, m.ValidateOnly))
		}
		return response
	}
	if m.ValidateOnly {
		decide(b.Controller.Image())
		return answer(nil)
	}
	return b.once(r, m.TimeoutMs, decide, answer)
})

func newTopicOf(t message.CreateTopicsRequestTopic) control.NewTopic {
	n := control.NewTopic{Name: t.Name, Partitions: t.NumPartitions, Replicas: t.ReplicationFactor, ID: newUUID(), Seed: rand.Uint64()}
	for _, p := range t.Assignments {
		n.Assignment = append(n.Assignment, control.ManualPartition{Partition: p.PartitionIndex, Brokers: p.BrokerIDs})
	}
	for _, c := range t.Configs {
		n.Configs = append(n.Configs, control.Setting{Name: c.Name, Value: c.Value})
	}
	return n
}

func (b *Broker) createdTopic(image *metadata.Image, a control.TopicAnswer, validateOnly bool) message.CreateTopicsResponseTopic {
	t := message.CreateTopicsResponseTopic{Name: a.Name, NumPartitions: -1, ReplicationFactor: -1}
	if a.Refusal != nil {
		t.ErrorCode, t.ErrorMessage = a.Refusal.Code, text(a.Refusal.Message)
		return t
	}
	t.TopicID, t.NumPartitions, t.ReplicationFactor = a.ID, a.Partitions, a.Replicas
	if validateOnly {
		t.TopicID = wire.TopicID{}
	}
	for _, k := range config.All(config.Topic) {
		v := b.Settings.TopicValue(image, "", k)[0]
		if set, ok := a.Configs[k.Name]; ok {
			v = control.Value{Value: set, Source: control.SourceTopic}
		}
		t.Configs = append(t.Configs, message.CreateTopicsResponseConfig{
			Name: k.Name, Value: valueText(k, v), ConfigSource: int8(v.Source), IsSensitive: k.Sensitive(),
		})
	}
	return t
}

var deleteTopicsHandler = handle(message.KeyDeleteTopics, func(b *Broker, r *listen.Request, m *message.DeleteTopicsRequest) message.Response {
	v := r.Header.Version
	topics := m.Topics
	for _, name := range m.TopicNames {
		topics = append(topics, message.DeleteTopicsRequestTopic{Name: &name})
	}
	topics, twice := onceEach(topics)
	response := &message.DeleteTopicsResponse{Topics: make([]message.DeleteTopicsResponseTopic, len(topics))}
	refuse := func(i int, code wire.ErrorCode, why string) {
		response.Topics[i].ErrorCode, response.Topics[i].ErrorMessage = code, text(why)
	}
	again := make([]bool, len(topics)) // another name of a topic that is answered already
	enabled := b.Settings.Bool(b.Controller.Image(), "delete.topic.enable")
	return b.once(r, m.TimeoutMs, func(image *metadata.Image) []metadata.Record {
		var ids []wire.TopicID
		var at []int
		seen := map[wire.TopicID]int{}
		clear(again)
		for i, q := range topics {
			a := &response.Topics[i]
			*a = message.DeleteTopicsResponseTopic{Name: q.Name, TopicID: q.TopicID}
			if twice[i] != "" {
				refuse(i, wire.ErrInvalidRequest, twice[i])
				continue
			}
			t := lookupForDelete(image, q, enabled, v, func(code wire.ErrorCode, why string) { refuse(i, code, why) })
			if t == nil {
				continue
			}
			if first, twice := seen[t.ID]; twice {
				refuse(first, wire.ErrInvalidRequest, "The provided topic name maps to an ID that was already supplied.")
				*a = response.Topics[first]
				again[i] = true
				continue
			}
			seen[t.ID] = i
			a.Name, a.TopicID = &t.Name, t.ID
		}
		for i := range topics {
			if response.Topics[i].ErrorCode == wire.ErrNone {
				ids, at = append(ids, response.Topics[i].TopicID), append(at, i)
			}
		}
		records, refusals := control.DeleteTopics(image, ids)
		for k, refusal := range refusals {
			if refusal != nil {
				refuse(at[k], refusal.Code, refusal.Message)
			}
		}
		return records
	}, func(fault *control.Refusal) message.Response {
		out := &message.DeleteTopicsResponse{}
		for i, t := range response.Topics {
			if fault != nil {
				t = message.DeleteTopicsResponseTopic{Name: topics[i].Name, TopicID: topics[i].TopicID, ErrorCode: fault.Code, ErrorMessage: text(fault.Message)}
			}
			if fault != nil || !again[i] {
				out.Topics = append(out.Topics, t)
			}
		}
		return out
	})
})

// onceEach leaves out what names a topic again, and returns the reason to refuse those of which it left something out.
func onceEach(topics []message.DeleteTopicsRequestTopic) ([]message.DeleteTopicsRequestTopic, map[int]string) {
	type key struct {
		name string
		id   wire.TopicID
	}
	var kept []message.DeleteTopicsRequestTopic
	first, twice := map[key]int{}, map[int]string{}
	for _, t := range topics {
		k := key{id: t.TopicID}
		if t.Name != nil {
			k.name = *t.Name
		}
		at, again := first[k]
		switch {
		case !again:
			first[k] = len(kept)
			kept = append(kept, t)
		case t.Name != nil:
			twice[at] = "Duplicate topic name."
		default:
			twice[at] = "Duplicate topic id."
		}
	}
	return kept, twice
}

func lookupForDelete(image *metadata.Image, q message.DeleteTopicsRequestTopic, enabled bool, version int16, refuse func(wire.ErrorCode, string)) *metadata.Topic {
	switch {
	case !enabled && version < 3:
		refuse(wire.ErrInvalidRequest, "Topic deletion is disabled.")
		return nil
	case !enabled:
		refuse(wire.ErrTopicDeletionDisabled, "Topic deletion is disabled.")
		return nil
	case q.Name != nil && !q.TopicID.IsZero():
		refuse(wire.ErrInvalidRequest, "You may not specify both topic name and topic id.")
		return nil
	case q.Name != nil:
		t := image.Topic(*q.Name)
		if t == nil {
			refuse(wire.ErrUnknownTopicOrPartition, "This server does not host this topic-partition.")
		}
		return t
	case q.TopicID.IsZero():
		refuse(wire.ErrInvalidRequest, "Neither topic name nor id were specified.")
		return nil
	}
	t := image.TopicByID(q.TopicID)
	if t == nil {
		refuse(wire.ErrUnknownTopicID, "This server does not host this topic ID.")
	}
	return t
}

var createPartitionsHandler = handle(message.KeyCreatePartitions, func(b *Broker, r *listen.Request, m *message.CreatePartitionsRequest) message.Response {
	response := &message.CreatePartitionsResponse{Results: make([]message.CreatePartitionsResponseResult, len(m.Topics))}
	seen := map[string]int{}
	for _, t := range m.Topics {
		seen[t.Name]++
	}
	decide := func(image *metadata.Image) []metadata.Record {
		var all []metadata.Record
		for i, t := range m.Topics {
			out := &response.Results[i]
			*out = message.CreatePartitionsResponseResult{Name: t.Name}
			if seen[t.Name] > 1 {
				out.ErrorCode, out.ErrorMessage = wire.ErrInvalidRequest, text("Duplicate topic name.")
				continue
			}
			q := control.MorePartitions{Name: t.Name, Count: t.Count, Seed: rand.Uint64()}
			if t.Assignments != nil {
				q.Assignment = [][]wire.BrokerID{}
			}
			for _, a := range t.Assignments {
				q.Assignment = append(q.Assignment, a.BrokerIDs)
			}
			records, refusal := control.CreatePartitions(image, b.defaults(image), q)
			if refusal != nil {
				out.ErrorCode, out.ErrorMessage = refusal.Code, text(refusal.Message)
				continue
			}
			all = append(all, records...)
		}
		if m.ValidateOnly {
			return nil
		}
		return all
	}
	return b.once(r, m.TimeoutMs, decide, func(fault *control.Refusal) message.Response {
		if fault != nil {
			for i, t := range m.Topics {
				response.Results[i] = message.CreatePartitionsResponseResult{Name: t.Name, ErrorCode: fault.Code, ErrorMessage: text(fault.Message)}
			}
		}
		out := &message.CreatePartitionsResponse{Results: slices.Clone(response.Results)}
		slices.SortStableFunc(out.Results, func(x, y message.CreatePartitionsResponseResult) int { return strings.Compare(x.Name, y.Name) })
		out.Results = slices.CompactFunc(out.Results, func(x, y message.CreatePartitionsResponseResult) bool { return x.Name == y.Name })
		return out
	})
})
