package control

import (
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

func image(t *testing.T, records ...metadata.Record) *metadata.Image {
	t.Helper()
	s := metadata.NewState()
	for i, r := range records {
		if ok, err := s.Apply(wire.Index(i+1), 1, metadata.Command{Term: 1, Records: []metadata.Record{r}}); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	return s.Image()
}

func aBroker(id wire.BrokerID) []metadata.Record {
	return []metadata.Record{&metadata.RegisterBroker{Broker: id}, &metadata.BrokerState{Broker: id}}
}

var someDefaults = Defaults{Partitions: 3, Replicas: 1, MaxPartitions: 100}

func TestTopicsAreRefusedWithKafkasCodes(t *testing.T) {
	records := append(aBroker(1), &metadata.TopicRecord{Name: "a.b", ID: wire.UUID{1}})
	m := image(t, records...)
	value := func(s string) *string { return &s }
	for name, tc := range map[string]struct {
		topic NewTopic
		want  wire.ErrorCode
	}{
		"exists":               {NewTopic{Name: "a.b", Partitions: 1, Replicas: 1}, wire.ErrTopicAlreadyExists},
		"collides":             {NewTopic{Name: "a_b", Partitions: 1, Replicas: 1}, wire.ErrInvalidTopicException},
		"bad name":             {NewTopic{Name: "a/b", Partitions: 1, Replicas: 1}, wire.ErrInvalidTopicException},
		"no partitions":        {NewTopic{Name: "x", Partitions: 0, Replicas: 1}, wire.ErrInvalidPartitions},
		"too many partitions":  {NewTopic{Name: "x", Partitions: 101, Replicas: 1}, wire.ErrPolicyViolation},
		"no replicas":          {NewTopic{Name: "x", Partitions: 1, Replicas: 0}, wire.ErrInvalidReplicationFactor},
		"too many replicas":    {NewTopic{Name: "x", Partitions: 1, Replicas: 2}, wire.ErrInvalidReplicationFactor},
		"unknown setting":      {NewTopic{Name: "x", Partitions: 1, Replicas: 1, Configs: []Setting{{"retention", value("1")}}}, wire.ErrInvalidConfig},
		"bad setting":          {NewTopic{Name: "x", Partitions: 1, Replicas: 1, Configs: []Setting{{"retention.ms", value("-2")}}}, wire.ErrInvalidConfig},
		"null setting":         {NewTopic{Name: "x", Partitions: 1, Replicas: 1, Configs: []Setting{{"retention.ms", nil}}}, wire.ErrInvalidConfig},
		"both kinds":           {NewTopic{Name: "x", Partitions: 2, Replicas: -1, Assignment: []ManualPartition{{0, []wire.BrokerID{1}}}}, wire.ErrInvalidRequest},
		"unknown broker":       {NewTopic{Name: "x", Partitions: -1, Replicas: -1, Assignment: []ManualPartition{{0, []wire.BrokerID{9}}}}, wire.ErrInvalidReplicaAssignment},
		"gap in the partition": {NewTopic{Name: "x", Partitions: -1, Replicas: -1, Assignment: []ManualPartition{{1, []wire.BrokerID{1}}}}, wire.ErrInvalidReplicaAssignment},
		"fine":                 {NewTopic{Name: "x", Partitions: -1, Replicas: -1}, wire.ErrNone},
	} {
		records, answers := CreateTopics(m, someDefaults, []NewTopic{tc.topic})
		got := wire.ErrNone
		if answers[0].Refusal != nil {
			got = answers[0].Refusal.Code
		}
		if got != tc.want || (got == wire.ErrNone) != (len(records) > 0) {
			t.Errorf("%s: %s (%v) with %d records, want %s", name, got, answers[0].Refusal, len(records), tc.want)
		}
	}
}

// A broker that starts anew loses its leaderships in one command and gets them back in the next, under a higher epoch;
// meanwhile it is eligible, as the last that was in sync.
func TestARestartedBrokerLeadsUnderANewEpoch(t *testing.T) {
	m := image(t, append(aBroker(1), &metadata.TopicRecord{Name: "t", ID: wire.UUID{1}},
		&metadata.PartitionRecord{Topic: wire.UUID{1}, Replicas: []wire.BrokerID{1}, ISR: []wire.BrokerID{1}, Leader: 1})...)
	s := metadata.NewState()
	if _, err := s.Apply(1, 1, metadata.Command{Term: 1, Records: append(aBroker(1), m.Records()[1:]...)}); err != nil {
		t.Fatal(err)
	}
	register, _, refusal := Register(s.Image(), metadata.RegisterBroker{Broker: 1, Generation: 2}, Damage{})
	if refusal != nil {
		t.Fatal(refusal)
	}
	if _, err := s.Apply(2, 1, metadata.Command{Term: 1, Records: register}); err != nil {
		t.Fatal(err)
	}
	p := s.Image().Topic("t").Partitions[0]
	if p.Leader != wire.NoBroker || len(p.ISR) != 0 || len(p.ELR) != 1 {
		t.Fatalf("%+v", p)
	}
	if _, err := s.Apply(3, 1, metadata.Command{Term: 1, Records: Unfence(s.Image(), 1)}); err != nil {
		t.Fatal(err)
	}
	if q := s.Image().Topic("t").Partitions[0]; q.Leader != 1 || q.LeaderEpoch <= p.LeaderEpoch || len(q.ISR) != 1 || len(q.ELR) != 0 {
		t.Fatalf("%+v after %+v", q, p)
	}
	if _, _, refusal := Register(s.Image(), metadata.RegisterBroker{Broker: 1, Generation: 1}, Damage{}); refusal == nil || refusal.Code != wire.ErrDuplicateBrokerRegistration {
		t.Fatalf("an older copy of the directory: %v", refusal)
	}
}
