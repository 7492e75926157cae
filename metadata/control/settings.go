package control

import (
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// Op is what IncrementalAlterConfigs does with a setting (KIP-339).
type Op int8

// The operations.
const (
	OpSet Op = iota
	OpDelete
	OpAppend
	OpSubtract
)

// Alteration is one operation on one setting.
type Alteration struct {
	Name  string
	Op    Op
	Value *string
}

// Current gives the value in force of a setting of a resource, for append and subtract to start from.
type Current func(r metadata.Resource, name string) string

// AlterConfigs plans operations on one resource: all of them or, with a refusal, none.
func AlterConfigs(m *metadata.Image, r metadata.Resource, ops []Alteration, current Current) ([]metadata.Record, *Refusal) {
	if refusal := checkResource(m, r); refusal != nil {
		return nil, refusal
	}
	seen := map[string]bool{}
	var records []metadata.Record
	for _, op := range ops {
		if seen[op.Name] {
			return nil, refuse(wire.ErrInvalidRequest, "Error due to duplicate config keys")
		}
		seen[op.Name] = true
		if op.Op != OpDelete && op.Value == nil {
			return nil, refuse(wire.ErrInvalidRequest, "Null value not supported for : %s", op.Name)
		}
		value, refusal := alter(r, op, current)
		if refusal != nil {
			return nil, refusal
		}
		if value != nil {
			if refusal := checkSetting(m, r, op.Name, *value); refusal != nil {
				return nil, refusal
			}
		}
		old, had := m.Config(r)[op.Name]
		if value == nil && had || value != nil && (!had || old != *value) {
			records = append(records, &metadata.ConfigRecord{Resource: r, Name: op.Name, Value: value})
		}
	}
	if refusal := together(m, r, records); refusal != nil {
		return nil, refusal
	}
	return records, nil
}

// alter returns the value that a setting has after op; nil: it is removed.
func alter(r metadata.Resource, op Alteration, current Current) (*string, *Refusal) {
	if op.Op == OpSet {
		return op.Value, nil
	}
	if op.Op == OpDelete {
		return nil, checkName(r, op.Name)
	}
	if op.Op != OpAppend && op.Op != OpSubtract {
		return nil, refuse(wire.ErrInvalidRequest, "Unknown operation type %d", op.Op)
	}
	k := config.Lookup(scopeOf(r.Type), op.Name)
	if k == nil || k.Type != config.List {
		return nil, refuse(wire.ErrInvalidConfig, "Config value append is not allowed for config key: %s", op.Name)
	}
	list := config.SplitList(current(r, op.Name))
	for _, v := range config.SplitList(*op.Value) {
		at := slices.Index(list, v)
		switch {
		case op.Op == OpAppend && at < 0:
			list = append(list, v)
		case op.Op == OpSubtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	value := strings.Join(list, ",")
	return &value, nil
}

// ReplaceConfigs plans the older AlterConfigs: what is not named is removed.
func ReplaceConfigs(m *metadata.Image, r metadata.Resource, settings []Setting) ([]metadata.Record, *Refusal) {
	if refusal := checkResource(m, r); refusal != nil {
		return nil, refusal
	}
	old := m.Config(r)
	named := map[string]bool{}
	var records []metadata.Record
	for _, s := range settings {
		if named[s.Name] {
			return nil, refuse(wire.ErrInvalidRequest, "Error due to duplicate config keys")
		}
		named[s.Name] = true
		if s.Value == nil {
			return nil, refuse(wire.ErrInvalidRequest, "Null value not supported for : %s", s.Name)
		}
		if refusal := checkSetting(m, r, s.Name, *s.Value); refusal != nil {
			return nil, refusal
		}
		if have, ok := old[s.Name]; !ok || have != *s.Value {
			records = append(records, &metadata.ConfigRecord{Resource: r, Name: s.Name, Value: s.Value})
		}
	}
	var gone []string
	for name := range old {
		if !named[name] {
			gone = append(gone, name)
		}
	}
	sort.Strings(gone)
	for _, name := range gone {
		records = append(records, &metadata.ConfigRecord{Resource: r, Name: name})
	}
	if refusal := together(m, r, records); refusal != nil {
		return nil, refusal
	}
	return records, nil
}

func scopeOf(t metadata.ResourceType) config.Scope {
	switch t {
	case metadata.ResourceTopic:
		return config.Topic
	case metadata.ResourceGroup:
		return config.Group
	}
	return config.Broker
}

func checkResource(m *metadata.Image, r metadata.Resource) *Refusal {
	switch r.Type {
	case metadata.ResourceTopic:
		if r.Name == "" {
			return refuse(wire.ErrInvalidRequest, "Default topic resources are not allowed.")
		}
		if why := CheckTopicName(r.Name); why != "" {
			return refuse(wire.ErrInvalidTopicException, "Topic name is invalid: %s", why)
		}
		if m.Topic(r.Name) == nil {
			return refuse(wire.ErrUnknownTopicOrPartition, "The topic '%s' does not exist.", r.Name)
		}
	case metadata.ResourceBroker:
		if r.Name == "" {
			return nil
		}
		id, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil || id < 0 {
			return refuse(wire.ErrInvalidRequest, "Broker id must be an integer, but it is: %s", r.Name)
		}
		if m.Broker(wire.BrokerID(id)) == nil {
			return refuse(wire.ErrInvalidRequest, "No broker with id %d is registered.", id)
		}
	default:
		return refuse(wire.ErrInvalidRequest, "Unsupported config resource type %d.", r.Type)
	}
	return nil
}

func checkName(r metadata.Resource, name string) *Refusal {
	if config.Lookup(scopeOf(r.Type), name) == nil {
		if r.Type == metadata.ResourceTopic {
			return refuse(wire.ErrInvalidConfig, "Unknown topic config name: %s", name)
		}
		return refuse(wire.ErrInvalidConfig, "Unknown %s config name: %s", scopeOf(r.Type), name)
	}
	return nil
}

func checkSetting(m *metadata.Image, r metadata.Resource, name, value string) *Refusal {
	if r.Type == metadata.ResourceTopic {
		return checkTopicSetting(name, value)
	}
	k := config.Lookup(scopeOf(r.Type), name)
	if k == nil {
		return checkName(r, name)
	}
	if k.Dynamic == config.ReadOnly {
		return refuse(wire.ErrInvalidRequest, "Cannot update these configs dynamically: Set(%s)", name)
	}
	if k.Dynamic == config.OneBroker && r.Name == "" {
		return refuse(wire.ErrInvalidRequest, "Cannot update these configs at default cluster level, broker id must be specified: [%s]", name)
	}
	if err := k.Check(value); err != nil {
		return refuse(wire.ErrInvalidRequest, "%v", err) // INVALID_CONFIG is for topics; of brokers, Kafka says this
	}
	if name == config.CordonedLogDirs {
		return checkCordoned(m, r.Name, value)
	}
	return nil
}

// checkTogether refuses settings of a topic that contradict each other. Those that are not set have their defaults, which
// contradict nothing.
func checkTogether(settings map[string]string) *Refusal {
	const least, most = "min.compaction.lag.ms", "max.compaction.lag.ms"
	low, err1 := strconv.ParseInt(strings.TrimSpace(settings[least]), 10, 64)
	high, err2 := strconv.ParseInt(strings.TrimSpace(settings[most]), 10, 64)
	if err1 == nil && err2 == nil && low > high {
		return refuse(wire.ErrInvalidConfig, "conflict topic config setting %s (%d) > %s (%d)", least, low, most, high)
	}
	return nil
}

// together is checkTogether for what a topic's settings will be after records.
func together(m *metadata.Image, r metadata.Resource, records []metadata.Record) *Refusal {
	if r.Type != metadata.ResourceTopic {
		return nil
	}
	after := maps.Clone(m.Config(r))
	if after == nil {
		after = map[string]string{}
	}
	for _, record := range records {
		if c := record.(*metadata.ConfigRecord); c.Value != nil {
			after[c.Name] = *c.Value
		} else {
			delete(after, c.Name)
		}
	}
	return checkTogether(after)
}
