package metadata

import (
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// Two states have the same hash only if they are the same: every single change shows, and taking it back restores it.
func TestHashTellsStatesApart(t *testing.T) {
	s := NewState()
	index := wire.Index(0)
	seen := map[Hash]int{s.Image().Hash(): -1}
	apply := func(r Record) Hash {
		index++
		if _, err := s.Apply(index, 1, Command{Term: 1, Records: []Record{r}}); err != nil {
			t.Fatal(err)
		}
		return s.Image().Hash()
	}
	one, two := "1", "2"
	topic := wire.UUID{1}
	resource := Resource{ResourceTopic, "t"}
	for i, r := range []Record{
		&Cluster{ID: "c"}, &RegisterBroker{Broker: 1}, &BrokerState{Broker: 1}, &BrokerState{Broker: 1, ShuttingDown: true}, &TopicRecord{Name: "t", ID: topic},
		&PartitionRecord{Topic: topic, Replicas: []wire.BrokerID{1, 2}}, &PartitionChange{Topic: topic, ISR: []wire.BrokerID{1}},
		&ConfigRecord{resource, "a", &one}, &ConfigRecord{resource, "a", &two}, &ConfigRecord{resource, "b", &two}, &ProducerIDs{Next: 9},
		&BrokerIDs{Next: 9}, &Feature{Name: "f", Level: 1}, &Feature{Name: "f", Level: 2}, &RemoveTopic{Topic: topic}, &UnregisterBroker{Broker: 1},
		&RemovedDirectory{Directory: topic, Broker: 1}, &RemovedDirectory{Directory: wire.UUID{2}, Broker: 2},
	} {
		h := apply(r)
		if other, same := seen[h]; same {
			t.Errorf("record %d (%T) leads to the hash that record %d led to", i, r, other)
		}
		seen[h] = i
	}
	before := s.Image().Hash()
	apply(&RemovedDirectory{Directory: wire.UUID{3}, Broker: 3})
	if got := apply(&RemovedDirectory{Directory: wire.UUID{3}, Back: true}); got != before {
		t.Errorf("a directory removed and let in again leads to %s, before it was %s", got, before)
	}
	apply(&ConfigRecord{resource, "a", &one})
	if got := apply(&ConfigRecord{resource, "a", nil}); got != before {
		t.Errorf("a setting and its removal lead to %s, before it was %s", got, before)
	}
}

func TestHashesAsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := Hash{rapid.Uint64().Draw(t, "high"), rapid.Uint64().Draw(t, "low")}
		o := Hash{rapid.Uint64().Draw(t, "other high"), rapid.Uint64().Draw(t, "other low")}
		if h.plus(o).minus(o) != h || h.minus(o).plus(o) != h || h.plus(o) != o.plus(h) {
			t.Fatal("sums do not add up")
		}
		text, err := h.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Hash
		if err := back.UnmarshalText(text); err != nil || back != h {
			t.Fatalf("%s became %s: %v", h, back, err)
		}
		if back.UnmarshalText(text[1:]) == nil {
			t.Fatal("31 digits were taken")
		}
	})
}

func BenchmarkApplyPartitions(b *testing.B) {
	const n = 10_000
	topic := wire.UUID{1}
	c := Command{Term: 1, Records: []Record{&TopicRecord{Name: "t", ID: topic}}}
	for i := range n {
		c.Records = append(c.Records, &PartitionRecord{Topic: topic, Partition: wire.Partition(i), Replicas: []wire.BrokerID{1, 2, 3}, ISR: []wire.BrokerID{1, 2, 3}, Leader: 1})
	}
	for b.Loop() {
		if _, err := NewState().Apply(1, 1, c); err != nil {
			b.Fatal(err)
		}
	}
}
