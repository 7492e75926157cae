package cluster

import (
	"bytes"
	"context"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// TestSnapshotIsTakenWhole: a broker that was so far behind that it gets a snapshot does all that the commands would have had it do
// which it has not seen. It did nothing of it: in a simulated cluster of five nodes, one that had been cut off led and followed for good
// what others led.
func TestSnapshotIsTakenWhole(t *testing.T) {
	n := startNodes(t, 1)[0]
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	kept, moved, gone, came := wire.UUID{1}, wire.UUID{2}, wire.UUID{3}, wire.UUID{4}
	here := func(name string, id wire.UUID) control.NewTopic {
		return control.NewTopic{Name: name, Partitions: -1, Replicas: -1, ID: id, Assignment: []control.ManualPartition{{Brokers: []wire.BrokerID{1}}}}
	}
	create(t, ctx, n, here("kept", kept))
	create(t, ctx, n, here("moved", moved))
	create(t, ctx, n, here("again", gone))
	before := n.replica.Image()
	if err := n.replica.WaitPublished(ctx, before.Index()); err != nil {
		t.Fatal(err)
	}

	var snapshot bytes.Buffer
	if _, err := n.replica.Snapshot().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	ahead, err := metadata.ReadSnapshot(&snapshot)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(records ...metadata.Record) {
		t.Helper()
		m := ahead.Image()
		if done, err := ahead.Apply(m.Index()+1, m.Term(), metadata.Command{Term: m.Term(), Records: records}); !done || err != nil {
			t.Fatal(done, err)
		}
	}
	bytesMax := "12345"
	apply(
		&metadata.RemoveTopic{Topic: gone},
		&metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceTopic, Name: "kept"}, Name: "max.message.bytes", Value: &bytesMax},
		&metadata.PartitionChange{Topic: kept, ISR: []wire.BrokerID{1}, Leader: 1, BumpLeaderEpoch: true},
		&metadata.PartitionChange{Topic: moved, ISR: []wire.BrokerID{7}, Leader: 7, BumpLeaderEpoch: true, Replicas: []wire.BrokerID{7}},
	)
	records, answers := control.CreateTopics(ahead.Image(), control.Defaults{MaxPartitions: 100}, []control.NewTopic{here("again", came)})
	if answers[0].Refusal != nil {
		t.Fatal(answers[0].Refusal)
	}
	apply(records...)
	if _, err := ahead.Snapshot().WriteTo(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := n.replica.Restore(&snapshot); err != nil {
		t.Fatal(err)
	}
	if err := n.replica.WaitPublished(ctx, ahead.Image().Index()); err != nil {
		t.Fatal(err)
	}

	for _, id := range []wire.UUID{moved, gone} {
		key := wire.TopicIDPartition{Topic: id}
		if n.partitions.Partition(key) != nil || n.disk.Log(key) != nil {
			t.Errorf("the replica of %s is still here", id)
		}
	}
	for name, id := range map[string]wire.UUID{"kept": kept, "again": came} {
		p := n.partitions.PartitionByName(name, 0)
		if p == nil || p.ID.Topic != id {
			t.Errorf("%s is not the topic that it should be: %v", name, p)
			continue
		}
		want := ahead.Image().TopicByID(id).Partitions[0].LeaderEpoch
		if d := p.Describe(); d.Role != "leader" || d.LeaderEpoch != want {
			t.Errorf("%s has role %s in epoch %d, the metadata has epoch %d", name, d.Role, d.LeaderEpoch, want)
		}
		if n.disk.Log(p.ID) == nil {
			t.Errorf("the disk does not know %s", name)
		}
	}
	if p := n.partitions.PartitionByName("kept", 0); p != nil && p.Settings().MaxMessageBytes != 12345 {
		t.Errorf("max.message.bytes is %d", p.Settings().MaxMessageBytes)
	}
}
