package control

import (
	"strconv"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// Source says where a value comes from. The numbers are those of DescribeConfigs (KIP-226).
type Source int8

// The sources, the strongest first.
const (
	SourceTopic         Source = 1
	SourceBroker        Source = 2 // set on this broker while running
	SourceBrokerDefault Source = 3 // set on all brokers while running
	SourceStatic        Source = 4 // given at start
	SourceDefault       Source = 5
)

// Value is a setting's value and where it comes from. Null means that it has none.
type Value struct {
	Name   string
	Value  string
	Null   bool
	Source Source
}

// Settings resolves settings for one broker: what was set while running lies over what was given at start, and that
// over the defaults.
type Settings struct {
	Broker wire.BrokerID
	Static map[string]string // given at start; never written
}

// ownResource is what settings of one broker are set on.
func ownResource(id wire.BrokerID) metadata.Resource {
	return metadata.Resource{Type: metadata.ResourceBroker, Name: strconv.Itoa(int(id))}
}

// BrokerValue returns the synonyms of a broker setting, the one in force first; there is always one.
func (s Settings) BrokerValue(m *metadata.Image, k *config.Key) []Value {
	var out []Value
	if v, ok := m.Config(ownResource(s.Broker))[k.Name]; ok {
		out = append(out, Value{Name: k.Name, Value: k.Canonical(v), Source: SourceBroker})
	}
	if v, ok := m.Config(metadata.Resource{Type: metadata.ResourceBroker})[k.Name]; ok {
		out = append(out, Value{Name: k.Name, Value: k.Canonical(v), Source: SourceBrokerDefault})
	}
	if v, ok := s.Static[k.Name]; ok {
		out = append(out, Value{Name: k.Name, Value: k.Canonical(v), Source: SourceStatic})
	}
	if !k.Null || len(out) == 0 {
		out = append(out, Value{Name: k.Name, Value: k.Default, Null: k.Null, Source: SourceDefault})
	}
	return out
}

// TopicValue returns the synonyms of a topic setting, the one in force first; there is always one. The value in force
// is in the topic setting's unit.
func (s Settings) TopicValue(m *metadata.Image, topic string, k *config.Key) []Value {
	var out []Value
	if v, ok := m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: topic})[k.Name]; ok {
		out = append(out, Value{Name: k.Name, Value: k.Canonical(v), Source: SourceTopic})
	}
	for _, synonym := range k.Synonyms {
		bk := config.Lookup(config.Broker, synonym.Name)
		for _, v := range s.BrokerValue(m, bk) {
			if v.Null {
				continue
			}
			if len(out) == 0 {
				v.Value = multiply(v.Value, synonym.Multiply)
			}
			out = append(out, v)
		}
	}
	if len(out) == 0 {
		out = append(out, Value{Name: k.Name, Value: k.Default, Null: k.Null, Source: SourceDefault})
	}
	return out
}

func multiply(v string, by int64) string {
	if by == 1 {
		return v
	}
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic("control: a checked number does not parse: " + v)
	}
	if n >= 0 {
		n *= by
	}
	return strconv.FormatInt(n, 10)
}

// Topic returns the value in force of a topic setting, which must be in the table.
func (s Settings) Topic(m *metadata.Image, topic, name string) string {
	return s.TopicValue(m, topic, config.Lookup(config.Topic, name))[0].Value
}

// TopicInt is Topic for numbers.
func (s Settings) TopicInt(m *metadata.Image, topic, name string) int64 {
	return mustInt(s.Topic(m, topic, name))
}

// Text returns the value in force of a broker setting, which must be in the table; "" for none.
func (s Settings) Text(m *metadata.Image, name string) string {
	return s.BrokerValue(m, config.Lookup(config.Broker, name))[0].Value
}

// StaticText returns a broker setting as it was given at start, or its default.
func (s Settings) StaticText(name string) string {
	k := config.Lookup(config.Broker, name)
	if v, ok := s.Static[name]; ok {
		return k.Canonical(v)
	}
	return k.Default
}

// StaticInt is StaticText for numbers.
func (s Settings) StaticInt(name string) int64 { return mustInt(s.StaticText(name)) }

// Int is Text for numbers.
func (s Settings) Int(m *metadata.Image, name string) int64 { return mustInt(s.Text(m, name)) }

// Bool is Text for booleans.
func (s Settings) Bool(m *metadata.Image, name string) bool {
	b, err := strconv.ParseBool(s.Text(m, name))
	if err != nil {
		panic("control: a checked boolean does not parse: " + name)
	}
	return b
}

func mustInt(v string) int64 {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		panic("control: a checked number does not parse: " + v)
	}
	return n
}

// Current is the [Current] of alterations: the value in force.
func (s Settings) Current(m *metadata.Image) Current {
	return func(r metadata.Resource, name string) string {
		switch {
		case r.Type == metadata.ResourceTopic:
			return s.Topic(m, r.Name, name)
		case r.Type == metadata.ResourceBroker && r != ownResource(s.Broker):
			return another(m, r).Text(m, name)
		}
		return s.Text(m, name)
	}
}

// another is what is known of the settings of another broker, or of the default of all: of what its file says, only what it told when
// it registered.
func another(m *metadata.Image, r metadata.Resource) Settings {
	id, err := strconv.ParseInt(r.Name, 10, 32)
	if err != nil {
		return Settings{Broker: wire.NoBroker}
	}
	s := Settings{Broker: wire.BrokerID(id)}
	if b := m.Broker(s.Broker); b != nil && b.Cordoned != "" {
		s.Static = map[string]string{config.CordonedLogDirs: b.Cordoned}
	}
	return s
}
