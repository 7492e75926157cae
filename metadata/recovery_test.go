package metadata

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// What a recovered state gives out is newer than all that the lost history can have given out, and nothing of it counts that others
// may have changed: it is a whole state, which a snapshot carries, and goes on as any other.
func TestARecoveredStateIsNewerThanAllBefore(t *testing.T) {
	s := NewState()
	topic := wire.TopicID{5}
	records := []Record{
		&Cluster{ID: "c"}, &RegisterBroker{Broker: 1, Directory: wire.UUID{1}}, &RegisterBroker{Broker: 2, Directory: wire.UUID{2}}, &BrokerState{Broker: 1},
		&TopicRecord{Name: "t", ID: topic},
		&PartitionRecord{Topic: topic, Replicas: []wire.BrokerID{2, 1}, ISR: []wire.BrokerID{2}, Leader: 2, LeaderEpoch: 7, Epoch: 9, ELR: []wire.BrokerID{1}},
		&ProducerIDs{Broker: 1, Next: 3000},
	}
	if _, err := s.Apply(41, 3, Command{Term: 3, Request: RequestID{1}, Records: records}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(42, 3, Command{Term: 3, Part: Part{Change: wire.UUID{9}, More: true}, Records: records[:1]}); err != nil {
		t.Fatal(err)
	}
	before := s.Image()
	r := Recovery{Generation: 1, ID: wire.UUID{4}}
	term := s.Recover(r, 17)
	m := s.Image()
	if m.Recovery() != r || term != m.Term() || term <= 17 || m.Index() <= before.Index()+1<<31 || m.NextProducerID() <= before.NextProducerID()+1<<39 {
		t.Fatalf("recovery %v, term %d, index %d, next producer id %d", m.Recovery(), m.Term(), m.Index(), m.NextProducerID())
	}
	p := m.Topic("t").Partitions[0]
	if p.Leader != wire.NoBroker || len(p.ISR)+len(p.ELR) != 0 || len(p.LastKnownELR) != 2 || p.LeaderEpoch < 1<<16 || p.Epoch < 1<<16 || len(m.Unfenced()) != 0 {
		t.Fatalf("%+v, %d brokers unfenced", p, len(m.Unfenced()))
	}
	if old := before.Topic("t").Partitions[0]; old.Leader != 2 || len(before.Unfenced()) != 1 || before.Recovery() != (Recovery{}) {
		t.Fatalf("an image that was taken before has changed: %+v", old)
	}

	var b bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	again, err := ReadSnapshot(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []*State{s, again} {
		if _, err := x.Apply(m.Index()+5, term+1, Command{Term: term + 1, Records: []Record{&BrokerState{Broker: 2}, &Cluster{ID: "c"}}}); err != nil {
			t.Fatal(err)
		}
		if got := x.Snapshot().recompute(); got != x.Hash() || got != s.Hash() || x.Image().Recovery() != r {
			t.Fatalf("hash %s, recomputed %s, recovery %v", x.Hash(), got, x.Image().Recovery())
		}
	}
	if term := again.Recover(Recovery{2, wire.UUID{8}}, 0); term <= m.Term() || again.Image().Index() <= m.Index()+1<<31 {
		t.Fatalf("the second recovery has term %d and index %d, the first had %d and %d", term, again.Image().Index(), m.Term(), m.Index())
	}
}

func TestRecoveriesAsText(t *testing.T) {
	for _, r := range []Recovery{{}, {1, wire.UUID{1, 2}}, {2000, wire.UUID{0xff, 0xfb}}} {
		if got, err := ParseRecovery(r.String()); err != nil || got != r {
			t.Errorf("%q: %v, %v", r, got, err)
		}
	}
	for _, s := range []string{"1", "0-" + wire.UUID{1}.String(), "x-" + wire.UUID{1}.String(), "1-abc", "-"} {
		if _, err := ParseRecovery(s); err == nil || !strings.Contains(err.Error(), "recovery") {
			t.Errorf("%q: %v", s, err)
		}
	}
}
