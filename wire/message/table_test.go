package message

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// TestVersionsAreKafkas: the table has the versions of Kafka 4.4, and older ones below.
func TestVersionsAreKafkas(t *testing.T) {
	file, err := os.Open("testdata/kafka-4.4-versions.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	seen := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "#") {
			continue
		}
		var want Info
		if _, err := fmt.Sscan(lines.Text(), &want.Key, &want.Name, &want.MinVersion, &want.MaxVersion,
			&want.FlexibleFrom, &want.LatestStable); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		seen++
		have, ok := Lookup(want.Key)
		if !ok || have.MinVersion > want.MinVersion {
			t.Errorf("%s begins at %d, Kafka's at %d", want.Name, have.MinVersion, want.MinVersion)
		}
		have.MinVersion = want.MinVersion
		if have != want {
			t.Errorf("have %+v, Kafka has %+v", have, want)
		}
		if Name(want.Key) != want.Name || NewRequest(want.Key).APIKey() != want.Key ||
			NewRequest(want.Key).NewResponse().APIKey() != want.Key {
			t.Errorf("%s is not what key %d makes", want.Name, want.Key)
		}
	}
	if n := len(All()); n != seen || n == 0 {
		t.Errorf("we have %d keys, the table has %d", n, seen)
	}
}

// TestAbsentKeys: keys between brokers and controllers, and those beyond, are not here, and nothing falls over them.
func TestAbsentKeys(t *testing.T) {
	for _, key := range []wire.APIKey{-32768, -1, 4, 5, 6, 7, 52, 56, 58, 67, 93, 95, 32767} {
		if info, ok := Lookup(key); ok || NewRequest(key) != nil || Name(key) != "" {
			t.Errorf("key %d is %+v", key, info)
		}
	}
}

func TestVersionOutOfRange(t *testing.T) {
	for _, info := range All() {
		for _, version := range []int16{info.MinVersion - 1, info.MaxVersion + 1, -32768, 32767} {
			m := NewRequest(info.Key)
			if err := m.Decode(nil, version); !errors.Is(err, wire.ErrVersion) {
				t.Errorf("%s version %d: %v", info.Name, version, err)
			}
			if err := m.NewResponse().Decode(nil, version); !errors.Is(err, wire.ErrVersion) {
				t.Errorf("response of %s version %d: %v", info.Name, version, err)
			}
		}
	}
}

// TestDefaults: a message starts with Kafka's defaults, and has them after decoding a version without the field.
func TestDefaults(t *testing.T) {
	fetch := NewRequest(KeyFetch).(*FetchRequest)
	if fetch.ReplicaID != -1 || fetch.ReplicaState.ReplicaID != -1 || fetch.MaxBytes != 0x7fffffff || fetch.SessionEpoch != -1 {
		t.Errorf("new FetchRequest: %+v", fetch)
	}
	*fetch = FetchRequest{ReplicaID: 7, MaxBytes: 9, SessionEpoch: 5, Topics: []FetchRequestTopic{{
		Topic: "a", Partitions: []FetchRequestPartition{{Partition: 3, FetchOffset: 4, LastFetchedEpoch: 8}},
	}}}
	var old FetchRequest
	if err := old.Decode(fetch.AppendTo(nil, 0), 0); err != nil {
		t.Fatal(err)
	}
	p := old.Topics[0].Partitions[0]
	if old.ReplicaID != 7 || old.MaxBytes != 0x7fffffff || old.SessionEpoch != -1 || old.ReplicaState.ReplicaEpoch != -1 ||
		p.CurrentLeaderEpoch != -1 || p.LastFetchedEpoch != -1 || p.LogStartOffset != -1 || p.HighWatermark != 1<<63-1 || p.FetchOffset != 4 {
		t.Errorf("version 0: %+v", old)
	}
	if err := old.Decode(fetch.AppendTo(nil, 18), 18); err != nil {
		t.Fatal(err)
	}
	if old.ReplicaID != -1 || old.ReplicaState != (FetchRequestReplicaState{}) || old.Topics[0].Partitions[0].HighWatermark != 0 {
		t.Errorf("version 18: %+v", old)
	}
}

// TestNullAndEmpty: Metadata asks for all topics with null, and for none with an empty array, but for version 0.
func TestNullAndEmpty(t *testing.T) {
	for version := int16(0); version <= 13; version++ {
		for _, topics := range [][]MetadataRequestTopic{nil, {}} {
			var have MetadataRequest
			if err := have.Decode((&MetadataRequest{Topics: topics}).AppendTo(nil, version), version); err != nil {
				t.Fatal(err)
			}
			if len(have.Topics) != 0 || version > 0 && (have.Topics == nil) != (topics == nil) {
				t.Errorf("version %d: %#v became %#v", version, topics, have.Topics)
			}
		}
	}
}
