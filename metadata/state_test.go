package metadata

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// world draws commands that fit the state they are applied to.
type world struct {
	topics  map[wire.TopicID]int // partitions
	brokers map[wire.BrokerID]bool
	nextID  uint16
}

func (w *world) draw(t *rapid.T) Record {
	id := func() wire.UUID {
		w.nextID++
		return wire.UUID{byte(w.nextID >> 8), byte(w.nextID)}
	}
	broker := wire.BrokerID(rapid.Int32Range(0, 4).Draw(t, "broker"))
	var topic wire.TopicID
	if len(w.topics) > 0 {
		ids := make([]wire.TopicID, 0, len(w.topics))
		for n := uint16(1); n <= w.nextID; n++ {
			if u := (wire.UUID{byte(n >> 8), byte(n)}); w.topics[u] > -1 {
				if _, ok := w.topics[u]; ok {
					ids = append(ids, u)
				}
			}
		}
		topic = rapid.SampledFrom(ids).Draw(t, "topic")
	}
	brokers := func(name string) []wire.BrokerID {
		if list := rapid.SliceOfNDistinct(rapid.Map(rapid.Int32Range(0, 4), func(n int32) wire.BrokerID { return wire.BrokerID(n) }), 0, 3, rapid.ID).Draw(t, name); len(list) > 0 {
			return list
		}
		return nil
	}
	value := rapid.SampledFrom([]*string{nil, new(string)}).Draw(t, "value")
	switch k := rapid.IntRange(0, 14).Draw(t, "kind"); {
	case k == 0:
		rack := "r"
		w.brokers[broker] = true
		return &RegisterBroker{Broker: broker, Directory: id(), Generation: 3, Nonce: 1 << 63, Internal: "h:1", Gossip: "h:2", Rack: &rack, Endpoints: []Endpoint{{"PLAINTEXT", "h", 9092, 0}}, LogDirs: []wire.UUID{id()}, LogPaths: []string{"/d"}, Cordoned: "*", Features: []FeatureRange{{"f", 0, 2}}, MinInSync: 2, Replicated: rapid.Bool().Draw(t, "replicated")}
	case k == 1 && w.brokers[broker]:
		return &BrokerState{Broker: broker, Epoch: 1, Fenced: rapid.Bool().Draw(t, "fenced")}
	case k == 2 && w.brokers[broker]:
		delete(w.brokers, broker)
		return &UnregisterBroker{Broker: broker}
	case k == 3 && !topic.IsZero():
		w.topics[topic]++
		return &PartitionRecord{Topic: topic, Partition: wire.Partition(w.topics[topic] - 1), Replicas: []wire.BrokerID{broker}, ISR: []wire.BrokerID{broker}, Leader: broker,
			Adding: brokers("adding"), Removing: brokers("removing"), ELR: brokers("elr"), LastKnownELR: brokers("last known")}
	case k == 4 && !topic.IsZero() && w.topics[topic] > 0:
		p := rapid.IntRange(0, w.topics[topic]-1).Draw(t, "partition")
		return &PartitionChange{Topic: topic, Partition: wire.Partition(p), ISR: brokers("isr"), Leader: wire.NoBroker, BumpLeaderEpoch: rapid.Bool().Draw(t, "bump"),
			Replicas: brokers("replicas"), Adding: brokers("adding"), Removing: brokers("removing"), ELR: brokers("elr"), LastKnownELR: brokers("last known")}
	case k == 5 && !topic.IsZero():
		delete(w.topics, topic)
		return &RemoveTopic{Topic: topic}
	case k == 6:
		return &ConfigRecord{Resource: Resource{ResourceBroker, fmt.Sprint(broker)}, Name: "log.retention.ms", Value: value}
	case k == 7:
		return &ProducerIDs{Broker: broker, Next: wire.ProducerID(w.nextID) * 1000}
	case k == 8:
		level := rapid.Int16Range(0, 1).Draw(t, "level")
		return rapid.SampledFrom([]*Feature{{Name: "group.version", Level: level}, {Name: FeatureName, Level: level, Release: "1"}}).Draw(t, "feature")
	case k == 9 && !topic.IsZero():
		return &TopicWish{Topic: topic, Wanted: rapid.Int16Range(0, 3).Draw(t, "wanted")}
	}
	if rapid.IntRange(0, 9).Draw(t, "removed directory") == 0 {
		return &RemovedDirectory{Directory: wire.UUID{rapid.SampledFrom([]byte{1, 2, 3}).Draw(t, "directory")}, Broker: broker, Back: rapid.Bool().Draw(t, "back")}
	}
	few := rapid.SampledFrom([]string{"", "a", "b"})
	switch k := rapid.IntRange(0, 5).Draw(t, "access"); k {
	case 0, 1:
		a := ACL{int8(k), few.Draw(t, "name"), 3, few.Draw(t, "principal"), "*", 2, 3}
		return rapid.SampledFrom([]Record{&a, &RemoveACL{a}}).Draw(t, "acl")
	case 2:
		secret := rapid.SliceOfN(rapid.Byte(), 1, 4)
		return &Credential{few.Draw(t, "user"), ScramSHA256, 4096, secret.Draw(t, "salt"), secret.Draw(t, "stored"), secret.Draw(t, "server")}
	case 3:
		return &RemoveCredential{few.Draw(t, "user"), ScramSHA256}
	case 4:
		names := rapid.SampledFrom([]QuotaName{{}, {Set: true, Default: true}, {Set: true, Name: "a"}})
		return &Quota{QuotaEntity{names.Draw(t, "user"), names.Draw(t, "client"), names.Draw(t, "ip")}, few.Draw(t, "key"), rapid.Float64().Draw(t, "value"), rapid.Bool().Draw(t, "remove")}
	}
	topic = id()
	w.topics[topic] = 0
	return &TopicRecord{Name: fmt.Sprintf("t%d", w.nextID), ID: topic, Wanted: rapid.Int16Range(0, 3).Draw(t, "wanted")}
}

func snapshotBytes(t interface{ Fatal(...any) }, s *State) []byte {
	var b bytes.Buffer
	if _, err := s.Snapshot().WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Every command, encoded and decoded, leads a second state to the same bytes; so does a snapshot at any point plus the
// commands after it; and an image taken before a command is not changed by it.
func TestReplayAndSnapshotEqualLive(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := world{topics: map[wire.TopicID]int{}, brokers: map[wire.BrokerID]bool{}}
		live, replayed, restored := NewState(), NewState(), NewState()
		n := rapid.IntRange(1, 60).Draw(t, "commands")
		snapshotAt := rapid.IntRange(1, n).Draw(t, "snapshot")
		var imagined []byte
		for i := 1; i <= n; i++ {
			c := Command{Term: 1, Request: wire.UUID{0xff, byte(i)}}
			if rapid.Bool().Draw(t, "reply") {
				c.Reply = []byte{byte(i)}
			}
			for range rapid.IntRange(1, 3).Draw(t, "records") {
				c.Records = append(c.Records, w.draw(t))
			}
			before := live.Image()
			beforeRecords := encodeAll(before.Records())
			decoded, err := DecodeCommand(c.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(decoded, c) {
				t.Fatalf("decoded %+v, want %+v", decoded, c)
			}
			if with := before.With(decoded.Records...); with.Index() != before.Index() {
				t.Fatalf("an image to plan with has index %d", with.Index())
			} else {
				imagined = encodeAll(with.Records())
			}
			for _, s := range []*State{live, replayed, restored} {
				if ok, err := s.Apply(wire.Index(i), 1, decoded); !ok || err != nil {
					t.Fatalf("command %d: %v %v", i, ok, err)
				}
			}
			if !bytes.Equal(imagined, encodeAll(live.Image().Records())) {
				t.Fatalf("command %d made another image than the one that it was planned with", i)
			}
			if !bytes.Equal(beforeRecords, encodeAll(before.Records())) {
				t.Fatalf("command %d changed an image taken before it", i)
			}
			for _, s := range []*State{live, restored} {
				if got, want := s.Image().Hash(), s.Snapshot().recompute(); got != want {
					t.Fatalf("after command %d the hash is %s, and should be %s", i, got, want)
				}
			}
			if i == snapshotAt {
				s, err := ReadSnapshot(bytes.NewReader(snapshotBytes(t, live)))
				if err != nil {
					t.Fatal(err)
				}
				restored = s
			}
		}
		want := snapshotBytes(t, live)
		if !bytes.Equal(want, snapshotBytes(t, replayed)) || !bytes.Equal(want, snapshotBytes(t, restored)) {
			t.Fatal("replay or snapshot differs from the live state")
		}
	})
}

func encodeAll(records []Record) []byte {
	var b []byte
	for _, r := range records {
		b = AppendRecord(b, r)
	}
	return b
}

// A command decided in an earlier reign changes nothing, nor does one that comes twice.
func TestStaleAndRepeatedCommandsChangeNothing(t *testing.T) {
	s := NewState()
	c := Command{Term: 2, Request: wire.UUID{1}, Records: []Record{&Cluster{ID: "a"}}}
	if ok, err := s.Apply(1, 3, c); ok || !errors.Is(err, ErrStaleTerm) {
		t.Fatalf("stale: %v %v", ok, err)
	}
	if s.Image().ClusterID() != "" {
		t.Fatal("a stale command took effect")
	}
	c.Term = 3
	if ok, err := s.Apply(2, 3, c); !ok || err != nil {
		t.Fatalf("first: %v %v", ok, err)
	}
	c.Records = []Record{&Cluster{ID: "b"}}
	if ok, err := s.Apply(3, 3, c); ok || err != nil || s.Image().ClusterID() != "a" {
		t.Fatalf("repeated: %v %v, cluster %q", ok, err, s.Image().ClusterID())
	}
	if s.Image().Index() != 3 {
		t.Fatalf("index %d", s.Image().Index())
	}
}

// A damaged snapshot gives an error, whichever byte it is.
func TestEveryFlippedByteOfASnapshotIsFound(t *testing.T) {
	s := NewState()
	if _, err := s.Apply(1, 1, Command{Term: 1, Records: []Record{&Cluster{ID: "x"}, &TopicRecord{Name: "t", ID: wire.UUID{1}}}}); err != nil {
		t.Fatal(err)
	}
	good := snapshotBytes(t, s)
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := ReadSnapshot(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d flipped: no error", i)
		}
	}
	for n := range good {
		if _, err := ReadSnapshot(bytes.NewReader(good[:n])); err == nil {
			t.Errorf("cut to %d bytes: no error", n)
		}
	}
}

// A command that changes every partition of a topic copies it once.
func TestOneCommandCopiesATopicOnce(t *testing.T) {
	const n = 2000
	topic := wire.UUID{1}
	c := Command{Term: 1, Records: []Record{&TopicRecord{Name: "t", ID: topic}}}
	for i := range n {
		c.Records = append(c.Records, &PartitionRecord{Topic: topic, Partition: wire.Partition(i), Replicas: []wire.BrokerID{1}, Leader: 1})
	}
	s := NewState()
	apply := func(index wire.Index) {
		if _, err := s.Apply(index, 1, c); err != nil {
			t.Fatal(err)
		}
	}
	apply(1)
	before := s.Image()
	c.Records = nil
	for i := range n {
		c.Records = append(c.Records, &PartitionChange{Topic: topic, Partition: wire.Partition(i), Leader: 2, BumpLeaderEpoch: true})
	}
	var start, end runtime.MemStats
	runtime.ReadMemStats(&start)
	apply(2)
	runtime.ReadMemStats(&end)
	if bytes := end.TotalAlloc - start.TotalAlloc; bytes > 10<<20 { // a copy has half a megabyte
		t.Errorf("%d bytes allocated for a command of %d changes", bytes, n)
	}
	for i := range n {
		if old, now := before.Topic("t").Partitions[i], s.Image().Topic("t").Partitions[i]; old.Leader != 1 || old.Epoch != 0 || now.Leader != 2 || now.Epoch != 1 {
			t.Fatalf("partition %d was %+v, is %+v", i, old, now)
		}
	}
}

func TestUnknownRecordsStopTheNode(t *testing.T) {
	body := wire.AppendUint16(nil, 999)
	body = append(body, 0, 1)
	c := append([]byte{commandVersion}, make([]byte, 24)...)
	c = append(append(c, 1, 0, 2), body...) // no reply, no part, one record
	if _, err := DecodeCommand(c); !errors.Is(err, ErrUnknownRecord) {
		t.Fatalf("got %v", err)
	}
}

func FuzzDecodeCommand(f *testing.F) {
	c := Command{Term: 1, Records: []Record{&Cluster{ID: "x"}, &PartitionRecord{Replicas: []wire.BrokerID{1}}}}
	f.Add(c.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCommand(b)
		if err != nil {
			return
		}
		again, err := DecodeCommand(c.AppendTo(nil))
		if err != nil || !reflect.DeepEqual(c, again) {
			t.Fatalf("%v: %+v became %+v", err, c, again)
		}
	})
}
