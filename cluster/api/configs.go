package api

import (
	"slices"
	"strconv"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// valueText is the value that clients are told: none for secrets.
func valueText(k *config.Key, v control.Value) *string {
	if v.Null || k.Sensitive() {
		return nil
	}
	s := v.Value
	return &s
}

var describeConfigsHandler = handle(message.KeyDescribeConfigs, func(b *Broker, r *listen.Request, m *message.DescribeConfigsRequest) message.Response {
	image := b.Controller.Image()
	response := &message.DescribeConfigsResponse{}
	for _, q := range m.Resources {
		a := message.DescribeConfigsResponseResult{ErrorMessage: new(string), ResourceType: q.ResourceType, ResourceName: q.ResourceName}
		configs, refusal := b.describeResource(image, q, m.IncludeSynonyms, m.IncludeDocumentation)
		if refusal != nil {
			a.ErrorCode, a.ErrorMessage = refusal.Code, text(refusal.Message)
		}
		a.Configs = configs
		response.Results = append(response.Results, a)
	}
	return response
})

func (b *Broker) describeResource(image *metadata.Image, q message.DescribeConfigsRequestResource, synonyms, docs bool) ([]message.DescribeConfigsResponseConfig, *control.Refusal) {
	refuse := func(code wire.ErrorCode, why string) ([]message.DescribeConfigsResponseConfig, *control.Refusal) {
		return nil, &control.Refusal{Code: code, Message: why}
	}
	wanted := func(name string) bool {
		return q.ConfigurationKeys == nil || slices.Contains(q.ConfigurationKeys, name)
	}
	var out []message.DescribeConfigsResponseConfig
	switch metadata.ResourceType(q.ResourceType) {
	case metadata.ResourceTopic:
		if why := control.CheckTopicName(q.ResourceName); why != "" {
			return refuse(wire.ErrInvalidTopicException, "Topic name is invalid: "+why)
		}
		if image.Topic(q.ResourceName) == nil {
			return refuse(wire.ErrUnknownTopicOrPartition, "")
		}
		for _, k := range config.All(config.Topic) {
			if wanted(k.Name) {
				out = append(out, describedConfig(k, b.Settings.TopicValue(image, q.ResourceName, k), false, synonyms, docs))
			}
		}
		return out, nil
	case metadata.ResourceBroker:
		return b.describeBroker(image, q.ResourceName, wanted, synonyms, docs)
	}
	return refuse(wire.ErrInvalidRequest, "Unsupported resource type: "+strconv.Itoa(int(q.ResourceType)))
}

func (b *Broker) describeBroker(image *metadata.Image, name string, wanted func(string) bool, synonyms, docs bool) ([]message.DescribeConfigsResponseConfig, *control.Refusal) {
	var out []message.DescribeConfigsResponseConfig
	if name == "" {
		// What was set on all brokers; nothing else.
		set := image.Config(metadata.Resource{Type: metadata.ResourceBroker})
		for _, k := range config.All(config.Broker) {
			if v, ok := set[k.Name]; ok && wanted(k.Name) {
				values := []control.Value{{Name: k.Name, Value: v, Source: control.SourceBrokerDefault}}
				out = append(out, describedConfig(k, values, false, synonyms, docs))
			}
		}
		return out, nil
	}
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return nil, &control.Refusal{Code: wire.ErrInvalidRequest, Message: "Broker id must be an integer, but it is: " + name}
	}
	if wire.BrokerID(id) != b.ID {
		return nil, &control.Refusal{Code: wire.ErrInvalidRequest, Message: "Unexpected broker id, expected " + strconv.Itoa(int(b.ID)) + " or empty string, but received " + name}
	}
	for _, k := range config.All(config.Broker) {
		if wanted(k.Name) {
			out = append(out, describedConfig(k, b.Settings.BrokerValue(image, k), k.Dynamic == config.ReadOnly, synonyms, docs))
		}
	}
	return out, nil
}

func describedConfig(k *config.Key, values []control.Value, readOnly, synonyms, docs bool) message.DescribeConfigsResponseConfig {
	c := message.DescribeConfigsResponseConfig{
		Name: k.Name, Value: valueText(k, values[0]), ReadOnly: readOnly, IsDefault: values[0].Source == control.SourceDefault,
		ConfigSource: int8(values[0].Source), IsSensitive: k.Sensitive(), ConfigType: int8(k.Type),
	}
	if docs {
		c.Documentation = text(k.Doc)
	}
	if synonyms {
		for _, v := range values {
			// A default is told of the setting itself or of its first synonym; those behind are only where a default may
			// also be written, as retention in hours.
			if v.Null || v.Source == control.SourceDefault && len(k.Synonyms) > 0 && v.Name != k.Synonyms[0].Name && v.Name != k.Name {
				continue
			}
			c.Synonyms = append(c.Synonyms, message.DescribeConfigsResponseSynonym{Name: v.Name, Value: valueText(k, v), Source: int8(v.Source)})
		}
	}
	return c
}

// alteration is one resource of a request, with the plan for it.
type alteration struct {
	resource metadata.Resource
	plan     func(*metadata.Image) ([]metadata.Record, *control.Refusal)
	refusal  *control.Refusal
}

// alterAll plans and commits the alterations of a request. Each resource stands by itself; answer tells what became of it.
func (b *Broker) alterAll(r *listen.Request, validateOnly bool, list []alteration, answer func() message.Response) message.Response {
	seen := map[metadata.Resource]int{}
	for _, a := range list {
		seen[a.resource]++
	}
	decide := func(image *metadata.Image) []metadata.Record {
		var all []metadata.Record
		for i := range list {
			a := &list[i]
			var records []metadata.Record
			if a.refusal = nil; seen[a.resource] > 1 {
				a.refusal = &control.Refusal{Code: wire.ErrInvalidRequest, Message: "Each resource must appear at most once."}
			} else if records, a.refusal = a.plan(image); a.refusal == nil {
				all = append(all, records...)
			}
		}
		if validateOnly {
			return nil
		}
		return append(all, control.FollowSettings(image, all)...)
	}
	return b.once(r, 30_000, decide, func(fault *control.Refusal) message.Response {
		if fault != nil {
			for i := range list {
				list[i].refusal = fault
			}
		}
		return answer()
	})
}

var incrementalAlterConfigsHandler = handle(message.KeyIncrementalAlterConfigs, func(b *Broker, r *listen.Request, m *message.IncrementalAlterConfigsRequest) message.Response {
	list := make([]alteration, len(m.Resources))
	for i, q := range m.Resources {
		resource := metadata.Resource{Type: metadata.ResourceType(q.ResourceType), Name: q.ResourceName}
		var ops []control.Alteration
		for _, c := range q.Configs {
			ops = append(ops, control.Alteration{Name: c.Name, Op: control.Op(c.ConfigOperation), Value: c.Value})
		}
		list[i] = alteration{resource: resource, plan: func(image *metadata.Image) ([]metadata.Record, *control.Refusal) {
			return control.AlterConfigs(image, resource, ops, b.Settings.Current(image))
		}}
	}
	return b.alterAll(r, m.ValidateOnly, list, func() message.Response {
		response := &message.IncrementalAlterConfigsResponse{}
		for i, q := range m.Resources {
			a := message.IncrementalAlterConfigsResponseResource{ResourceType: q.ResourceType, ResourceName: q.ResourceName}
			if refusal := list[i].refusal; refusal != nil {
				a.ErrorCode, a.ErrorMessage = refusal.Code, text(refusal.Message)
			}
			response.Resources = append(response.Resources, a)
		}
		return response
	})
})

var alterConfigsHandler = handle(message.KeyAlterConfigs, func(b *Broker, r *listen.Request, m *message.AlterConfigsRequest) message.Response {
	list := make([]alteration, len(m.Resources))
	for i, q := range m.Resources {
		resource := metadata.Resource{Type: metadata.ResourceType(q.ResourceType), Name: q.ResourceName}
		var settings []control.Setting
		for _, c := range q.Configs {
			settings = append(settings, control.Setting{Name: c.Name, Value: c.Value})
		}
		list[i] = alteration{resource: resource, plan: func(image *metadata.Image) ([]metadata.Record, *control.Refusal) {
			return control.ReplaceConfigs(image, resource, settings)
		}}
	}
	return b.alterAll(r, m.ValidateOnly, list, func() message.Response {
		response := &message.AlterConfigsResponse{}
		for i, q := range m.Resources {
			a := message.AlterConfigsResponseResource{ResourceType: q.ResourceType, ResourceName: q.ResourceName}
			if refusal := list[i].refusal; refusal != nil {
				a.ErrorCode, a.ErrorMessage = refusal.Code, text(refusal.Message)
			}
			response.Resources = append(response.Resources, a)
		}
		return response
	})
})

var listConfigResourcesHandler = handle(message.KeyListConfigResources, func(b *Broker, r *listen.Request, m *message.ListConfigResourcesRequest) message.Response {
	image := b.Controller.Image()
	types := m.ResourceTypes
	if r.Header.Version == 0 {
		types = []int8{int8(metadata.ResourceClientMetrics)}
	} else if len(types) == 0 {
		types = []int8{int8(metadata.ResourceTopic), int8(metadata.ResourceBroker), 8, int8(metadata.ResourceClientMetrics), int8(metadata.ResourceGroup)}
	}
	slices.Sort(types)
	types = slices.Compact(types)
	response := &message.ListConfigResourcesResponse{}
	add := func(t int8, name string) {
		response.ConfigResources = append(response.ConfigResources, message.ListConfigResourcesResponseConfigResource{ResourceType: t, ResourceName: name})
	}
	for _, t := range types {
		switch metadata.ResourceType(t) {
		case metadata.ResourceTopic:
			image.Topics(func(topic *metadata.Topic) bool { add(t, topic.Name); return true })
		case metadata.ResourceBroker, 8: // 8: the brokers' loggers
			image.Brokers(func(i *metadata.BrokerInfo) bool { add(t, strconv.Itoa(int(i.Broker))); return true })
		case metadata.ResourceClientMetrics, metadata.ResourceGroup:
			for _, name := range image.ConfigResources(metadata.ResourceType(t)) {
				add(t, name)
			}
		default:
			return &message.ListConfigResourcesResponse{ErrorCode: wire.ErrUnsupportedVersion}
		}
	}
	return response
})
