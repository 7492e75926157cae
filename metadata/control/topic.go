package control

import (
	"fmt"
	"slices"
	"sort"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// Defaults is what a topic gets where its creator did not say, and the bounds of what he may say.
type Defaults struct {
	Partitions    int32 // num.partitions
	Replicas      int16 // default.replication.factor
	MaxPartitions int   // of all topics of one request
}

// NewTopic asks for a topic. ID and Seed are random numbers that the caller drew.
type NewTopic struct {
	Name        string
	Partitions  int32             // -1: the default, or as Assignment says
	Replicas    int16             // -1: the default, or as Assignment says
	Assignment  []ManualPartition // nil: the brokers are chosen here
	Configs     []Setting
	ID          wire.TopicID
	Seed        uint64
	UpToReplica bool // lower the replicas to the live brokers there are, for topics made by the broker itself; internal ones grow later
}

// ManualPartition is one partition of a manual assignment.
type ManualPartition struct {
	Partition wire.Partition
	Brokers   []wire.BrokerID
}

// Setting is a setting's name and value; nil removes it.
type Setting struct {
	Name  string
	Value *string
}

// TopicAnswer is what became of one topic of a request.
type TopicAnswer struct {
	Name       string
	ID         wire.TopicID
	Refusal    *Refusal // nil: done
	Partitions int32
	Replicas   int16
	Configs    map[string]string // what was set on it
}

// CreateTopics plans new topics. Each is accepted or refused by itself.
func CreateTopics(m *metadata.Image, d Defaults, topics []NewTopic) ([]metadata.Record, []TopicAnswer) {
	var records []metadata.Record
	answers := make([]TopicAnswer, len(topics))
	seen := map[string]int{}
	for _, t := range topics {
		seen[t.Name]++
	}
	live := usable(m)
	left := d.MaxPartitions
	collisions := map[string]string{} // names accepted in this request
	for i, t := range topics {
		a := &answers[i]
		a.Name = t.Name
		if seen[t.Name] > 1 {
			a.Refusal = refuse(wire.ErrInvalidRequest, "Duplicate topic name.")
			continue
		}
		r, refusal := createTopic(m, d, t, live, collisions, a)
		if refusal == nil && int(a.Partitions) > left {
			refusal = refuse(wire.ErrPolicyViolation, "Excessively large number of partitions per request.")
		}
		if refusal != nil {
			a.Refusal = refusal
			continue
		}
		left -= int(a.Partitions)
		a.ID = t.ID
		collisions[collisionKey(t.Name)] = t.Name
		records = append(records, r...)
	}
	return records, answers
}

func createTopic(m *metadata.Image, d Defaults, t NewTopic, live []*metadata.BrokerInfo, collisions map[string]string, a *TopicAnswer) ([]metadata.Record, *Refusal) {
	if t.Name == metadataTopic {
		return nil, refuse(wire.ErrInvalidRequest, "Creation of internal topic %s is prohibited.", t.Name)
	}
	if why := CheckTopicName(t.Name); why != "" {
		return nil, refuse(wire.ErrInvalidTopicException, "Topic name is invalid: %s", why)
	}
	if m.Topic(t.Name) != nil {
		return nil, refuse(wire.ErrTopicAlreadyExists, "Topic '%s' already exists.", t.Name)
	}
	if other := collidingTopic(m, t.Name, collisions); other != "" {
		return nil, refuse(wire.ErrInvalidTopicException, "Topic '%s' collides with existing topic: %s", t.Name, other)
	}
	configs, refusal := newTopicConfigs(t.Configs)
	if refusal != nil {
		return nil, refusal
	}
	assignment, refusal := assignmentOf(m, d, t, live)
	if refusal != nil {
		return nil, refusal
	}
	topic := &metadata.TopicRecord{Name: t.Name, ID: t.ID}
	if t.UpToReplica && InternalTopic(t.Name) && len(assignment[0]) < int(t.Replicas) {
		topic.Wanted = t.Replicas
	}
	records := []metadata.Record{topic}
	for p, replicas := range assignment {
		records = append(records, newPartition(m, t.ID, wire.Partition(p), replicas))
	}
	a.Configs = map[string]string{}
	for _, c := range configs {
		records = append(records, &metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceTopic, Name: t.Name}, Name: c.Name, Value: c.Value})
		a.Configs[c.Name] = *c.Value
	}
	a.Partitions, a.Replicas = int32(len(assignment)), int16(len(assignment[0]))
	return records, nil
}

// newPartition registers a partition: the live replicas are in sync, the first of them leads.
func newPartition(m *metadata.Image, topic wire.TopicID, p wire.Partition, replicas []wire.BrokerID) *metadata.PartitionRecord {
	r := &metadata.PartitionRecord{Topic: topic, Partition: p, Replicas: replicas, Leader: wire.NoBroker}
	for _, id := range replicas {
		if b := m.Broker(id); b != nil && b.Live() {
			r.ISR = append(r.ISR, id)
		}
	}
	if len(r.ISR) > 0 {
		r.Leader = r.ISR[0]
	}
	return r
}

func collidingTopic(m *metadata.Image, name string, accepted map[string]string) string {
	if !mayCollide(name) {
		return ""
	}
	key := collisionKey(name)
	if other, ok := accepted[key]; ok {
		return other
	}
	found := ""
	m.Topics(func(t *metadata.Topic) bool {
		if mayCollide(t.Name) && collisionKey(t.Name) == key {
			found = t.Name
		}
		return found == ""
	})
	return found
}

func newTopicConfigs(settings []Setting) ([]Setting, *Refusal) {
	last := map[string]int{} // the last of a repeated name stands, as in Kafka's map
	for i, s := range settings {
		last[s.Name] = i
	}
	var out []Setting
	for i, s := range settings {
		if last[s.Name] != i {
			continue
		}
		if s.Value == nil {
			return nil, refuse(wire.ErrInvalidConfig, "Null value not supported for topic configs: %s", s.Name)
		}
		if refusal := checkTopicSetting(s.Name, *s.Value); refusal != nil {
			return nil, refusal
		}
		out = append(out, s)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	all := map[string]string{}
	for _, s := range out {
		all[s.Name] = *s.Value
	}
	return out, checkTogether(all)
}

func checkTopicSetting(name, value string) *Refusal {
	k := config.Lookup(config.Topic, name)
	if k == nil {
		if near := config.Nearest(config.Topic, name); near != "" {
			return refuse(wire.ErrInvalidConfig, "Unknown topic config name: %s (did you mean %s?)", name, near)
		}
		return refuse(wire.ErrInvalidConfig, "Unknown topic config name: %s", name)
	}
	if err := k.Check(value); err != nil {
		return refuse(wire.ErrInvalidConfig, "%v", err)
	}
	return nil
}

func assignmentOf(m *metadata.Image, d Defaults, t NewTopic, live []*metadata.BrokerInfo) ([][]wire.BrokerID, *Refusal) {
	if len(t.Assignment) > 0 {
		return manualAssignment(m, t)
	}
	switch {
	case t.Partitions < -1 || t.Partitions == 0:
		return nil, refuse(wire.ErrInvalidPartitions, "Number of partitions was set to an invalid non-positive value.")
	case t.Replicas < -1 || t.Replicas == 0:
		return nil, refuse(wire.ErrInvalidReplicationFactor, "Replication factor was set to an invalid non-positive value.")
	}
	partitions, replicas := int(t.Partitions), int(t.Replicas)
	if partitions < 0 {
		partitions = int(d.Partitions)
	}
	if partitions > d.MaxPartitions {
		return nil, refuse(wire.ErrPolicyViolation, "Excessively large number of partitions per request.")
	}
	if replicas < 0 {
		replicas = int(d.Replicas)
	}
	if t.UpToReplica {
		replicas = min(replicas, max(len(live), 1))
	}
	if refusal := enoughBrokers(m, live, replicas); refusal != nil {
		refusal.Message = fmt.Sprintf("Unable to replicate the partition %d time(s): %s", replicas, refusal.Message)
		return nil, refusal
	}
	return place(live, t.Seed, nil, partitions, replicas), nil
}

func enoughBrokers(m *metadata.Image, live []*metadata.BrokerInfo, replicas int) *Refusal {
	registered := 0
	m.Brokers(func(*metadata.BrokerInfo) bool { registered++; return true })
	switch {
	case len(live) == 0:
		return refuse(wire.ErrInvalidReplicationFactor, "All brokers are currently fenced, or have all their log directories cordoned.")
	case replicas > registered:
		return refuse(wire.ErrInvalidReplicationFactor, "The target replication factor of %d cannot be reached because only %d broker(s) are registered.", replicas, registered)
	case replicas > len(live):
		return refuse(wire.ErrInvalidReplicationFactor, "The target replication factor of %d cannot be reached because only %d broker(s) are live and not cordoned.", replicas, len(live))
	}
	return nil
}

func manualAssignment(m *metadata.Image, t NewTopic) ([][]wire.BrokerID, *Refusal) {
	if t.Replicas != -1 {
		return nil, refuse(wire.ErrInvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1.")
	}
	if t.Partitions != -1 {
		return nil, refuse(wire.ErrInvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1.")
	}
	out := make([][]wire.BrokerID, len(t.Assignment))
	replicas := 0
	for _, p := range t.Assignment {
		if p.Partition >= 0 && int(p.Partition) < len(out) && out[p.Partition] != nil {
			return nil, refuse(wire.ErrInvalidReplicaAssignment, "Found multiple manual partition assignments for partition %d", p.Partition)
		}
		if refusal := checkManual(m, p.Brokers, replicas); refusal != nil {
			return nil, refusal
		}
		replicas = len(p.Brokers)
		if p.Partition < 0 || int(p.Partition) >= len(out) {
			return nil, refuse(wire.ErrInvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence")
		}
		out[p.Partition] = p.Brokers
	}
	return out, checkLive(m, 0, out)
}

// checkLive refuses manual assignments of new partitions, numbered from first on, that nobody could lead.
func checkLive(m *metadata.Image, first wire.Partition, assignment [][]wire.BrokerID) *Refusal {
	for i, brokers := range assignment {
		if !slices.ContainsFunc(brokers, func(id wire.BrokerID) bool { b := m.Broker(id); return b != nil && b.Live() }) {
			return refuse(wire.ErrInvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition %d are fenced or in controlled shutdown.", first+wire.Partition(i))
		}
	}
	return nil
}

// checkManual checks one partition's manual replicas; want is how many its neighbours have, 0 for the first.
func checkManual(m *metadata.Image, brokers []wire.BrokerID, want int) *Refusal {
	if len(brokers) == 0 {
		return refuse(wire.ErrInvalidReplicaAssignment, "The manual partition assignment includes an empty replica list.")
	}
	sorted := append([]wire.BrokerID(nil), brokers...)
	sort.Slice(sorted, func(i, j int) bool { return sorted[i] < sorted[j] })
	for i, id := range sorted {
		b := m.Broker(id)
		if b == nil {
			return refuse(wire.ErrInvalidReplicaAssignment, "The manual partition assignment includes broker %d, but no such broker is registered.", id)
		}
		if Cordoned(m, b) {
			return refuse(wire.ErrInvalidReplicaAssignment, "The manual partition assignment includes broker %d, but all its log directories are cordoned.", id)
		}
		if i > 0 && sorted[i-1] == id {
			return refuse(wire.ErrInvalidReplicaAssignment, "The manual partition assignment includes the broker %d more than once.", id)
		}
	}
	if want != 0 && len(brokers) != want {
		return refuse(wire.ErrInvalidReplicaAssignment, "The manual partition assignment includes a partition with %d replica(s), but this is not consistent with previous partitions, which have %d replica(s).", len(brokers), want)
	}
	return nil
}

// DeleteTopics plans the removal of topics by id. The caller has looked the names up.
func DeleteTopics(m *metadata.Image, ids []wire.TopicID) ([]metadata.Record, []*Refusal) {
	var records []metadata.Record
	refusals := make([]*Refusal, len(ids))
	done := map[wire.TopicID]bool{}
	for i, id := range ids {
		if m.TopicByID(id) == nil || done[id] {
			refusals[i] = refuse(wire.ErrUnknownTopicID, "This server does not host this topic ID.")
			continue
		}
		done[id] = true
		records = append(records, &metadata.RemoveTopic{Topic: id})
	}
	return records, refusals
}

// MorePartitions asks for a topic to have Count partitions in all.
type MorePartitions struct {
	Name       string
	Count      int32
	Assignment [][]wire.BrokerID // of the new partitions; nil: chosen here
	Seed       uint64
}

// CreatePartitions plans more partitions for one topic. The new ones continue the spread of the old.
func CreatePartitions(m *metadata.Image, d Defaults, q MorePartitions) ([]metadata.Record, *Refusal) {
	t := m.Topic(q.Name)
	if t == nil {
		return nil, refuse(wire.ErrUnknownTopicOrPartition, "This server does not host this topic-partition.")
	}
	have := len(t.Partitions)
	switch {
	case int(q.Count) == have:
		return nil, refuse(wire.ErrInvalidPartitions, "Topic already has %d partition(s).", have)
	case int(q.Count) < have:
		return nil, refuse(wire.ErrInvalidPartitions, "The topic %s currently has %d partition(s); %d would not be an increase.", q.Name, have, q.Count)
	}
	more := int(q.Count) - have
	if more > d.MaxPartitions {
		return nil, refuse(wire.ErrPolicyViolation, "Excessively large number of partitions per request.")
	}
	replicas := len(without(t.Partitions[0].Replicas, t.Partitions[0].Removing))
	assignment := q.Assignment
	if assignment == nil {
		live := usable(m)
		if refusal := enoughBrokers(m, live, replicas); refusal != nil {
			return nil, refusal
		}
		existing := make([][]wire.BrokerID, have)
		for i := range existing {
			existing[i] = t.Partitions[i].Replicas
		}
		assignment = place(live, q.Seed, existing, more, replicas)
	} else {
		if len(assignment) != more {
			return nil, refuse(wire.ErrInvalidReplicaAssignment, "Attempted to add %d additional partition(s), but only %d assignment(s) were specified.", more, len(assignment))
		}
		for _, brokers := range assignment {
			if refusal := checkManual(m, brokers, replicas); refusal != nil {
				return nil, refusal
			}
		}
		if refusal := checkLive(m, wire.Partition(have), assignment); refusal != nil {
			return nil, refusal
		}
	}
	records := make([]metadata.Record, more)
	for i, brokers := range assignment {
		records[i] = newPartition(m, t.ID, wire.Partition(have+i), brokers)
	}
	return records, nil
}
