package message

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// TestKafkaVectors holds what kmsg lacks against bytes that the classes of Kafka 4.4 read and wrote as they are.
func TestKafkaVectors(t *testing.T) {
	for _, v := range []struct {
		m       Message
		version int16
		hex     string
	}{
		{new(InitProducerIDRequest), 6, "00adb01e5a41ce7d57769d98b09a5b000100"},
		{new(InitProducerIDRequest), 6, "057a71796c6680a73655cc41e912edfafaf8e1000000"},
		{new(InitProducerIDRequest), 6, "0b7077756c73717579627770d0d5a616846e5309bcfe7af0f7000100"},
		{new(InitProducerIDResponse), 6, "c83bd6ab1e5a41ce7d57769d98b09a5bef42b317d8a37959f3f200"},
		{new(InitProducerIDResponse), 6, "92b5e66272087a696087a1be1729d2f4a4749b010dccced1b33000"},
	} {
		want, err := hex.DecodeString(v.hex)
		if err != nil {
			t.Fatal(err)
		}
		if err := v.m.Decode(want, v.version); err != nil {
			t.Errorf("%T version %d: %v", v.m, v.version, err)
		} else if have := v.m.AppendTo(nil, v.version); !bytes.Equal(have, want) {
			t.Errorf("%T version %d: %x became %x", v.m, v.version, want, have)
		}
	}
}

// What librdkafka 2.16 sends for the metadata of all topics has its array's length in four bytes where one is right, so
// that three are left over (its issue 5049). Kafka answers it.
func TestMetadataOfLibrdkafka(t *testing.T) {
	for version := int16(9); version <= 13; version++ {
		body := make([]byte, 7)
		if version <= 10 {
			body = append(body, 0)
		}
		m := new(MetadataRequest)
		if err := m.Decode(body, version); err != nil || m.Topics != nil || m.AllowAutoTopicCreation {
			t.Errorf("version %d: %v, %+v", version, err, m)
		}
	}
}
