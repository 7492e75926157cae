package metadata

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/bits"

	"github.com/kraftgo/kraftgo/wire"
)

// Hash is the hash of a state: the sum, modulo 2^128, of the hashes of its entries. It does not depend on their order, so
// that a command changes it by what the command changes, and equal states have equal hashes whichever way they came about.
//
// It finds differences that happen, not those that somebody makes: entries with a wanted sum can be found with effort.
type Hash struct{ high, low uint64 }

func (h Hash) plus(o Hash) Hash {
	low, carry := bits.Add64(h.low, o.low, 0)
	high, _ := bits.Add64(h.high, o.high, carry)
	return Hash{high, low}
}

func (h Hash) minus(o Hash) Hash {
	low, borrow := bits.Sub64(h.low, o.low, 0)
	high, _ := bits.Sub64(h.high, o.high, borrow)
	return Hash{high, low}
}

// IsZero reports whether there is no hash: no state has this one, but by a chance that need not be thought of.
func (h Hash) IsZero() bool { return h == Hash{} }

// Low returns 52 bits of it, which a float64 holds: enough to see in a graph that two differ.
func (h Hash) Low() uint64 { return h.low & (1<<52 - 1) }

// AppendHash appends the 16 bytes of a hash.
func AppendHash(b []byte, h Hash) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(b, h.high), h.low)
}

// ReadHash is the inverse of AppendHash.
func ReadHash(r *wire.Reader) Hash { return Hash{uint64(r.Int64()), uint64(r.Int64())} }

// String returns 32 hexadecimal digits.
func (h Hash) String() string { return hex.EncodeToString(AppendHash(nil, h)) }

// MarshalText makes it travel as a string.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText is the inverse of MarshalText.
func (h *Hash) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != 16 {
		return fmt.Errorf("metadata hash %q: want 32 hexadecimal digits", text)
	}
	r := wire.NewReader(b)
	*h = ReadHash(&r)
	return nil
}

// What an entry is, so that equal bytes of different kinds have different hashes.
const (
	hashRecord        = 'r'
	hashBroker        = 'b'
	hashRequest       = 'q'
	hashPending       = 'p'
	hashPendingRecord = 'n'
	hashRecovery      = 'g'
)

// hasher makes hashes of entries. Its buffer is used again from one to the next.
type hasher struct{ b []byte }

func (x *hasher) sum() Hash {
	s := sha256.Sum256(x.b)
	return Hash{binary.BigEndian.Uint64(s[:]), binary.BigEndian.Uint64(s[8:])}
}

func (x *hasher) record(r Record) Hash {
	x.b = AppendRecord(append(x.b[:0], hashRecord), r)
	return x.sum()
}

func (x *hasher) broker(i *BrokerInfo) Hash {
	x.b = appendBroker(append(x.b[:0], hashBroker), i)
	return x.sum()
}

func (x *hasher) request(r request) Hash {
	x.b = append(wire.AppendUUID(append(x.b[:0], hashRequest), r.id), r.reply...)
	return x.sum()
}

// Hash returns the hash of the state that the image was taken of.
func (m *Image) Hash() Hash { return m.hash }

// touched returns the hash of the entries that a record may change, as they are now. What the hash of the whole becomes
// follows from it before and after the change.
func (x *hasher) touched(m *Image, r Record) Hash {
	switch r := r.(type) {
	case *Cluster:
		return x.record(&Cluster{ID: m.clusterID})
	case *RegisterBroker:
		// The lowest free broker id rises with it.
		return x.brokerOf(m, r.Broker).plus(x.record(&BrokerIDs{Next: m.nextBrokerID}))
	case *BrokerState:
		return x.brokerOf(m, r.Broker)
	case *UnregisterBroker:
		return x.brokerOf(m, r.Broker)
	case *RemovedDirectory:
		if d := m.RemovedDirectory(r.Directory); d != nil {
			return x.record(d)
		}
		return Hash{}
	case *TopicRecord:
		t := m.TopicByID(r.ID)
		if t == nil {
			return Hash{}
		}
		return x.record(t.record())
	case *TopicWish:
		t := m.TopicByID(r.Topic)
		if t == nil {
			return Hash{}
		}
		return x.record(t.record())
	case *PartitionRecord:
		return x.partitionOf(m, r.Topic, r.Partition)
	case *PartitionChange:
		return x.partitionOf(m, r.Topic, r.Partition)
	case *RemoveTopic:
		return x.topicOf(m, r.Topic)
	case *ConfigRecord:
		value, ok := m.Config(r.Resource)[r.Name]
		if !ok {
			return Hash{}
		}
		return x.record(&ConfigRecord{Resource: r.Resource, Name: r.Name, Value: &value})
	case *ProducerIDs:
		return x.record(producerIDs(m))
	case *BrokerIDs:
		return x.record(&BrokerIDs{Next: m.nextBrokerID})
	case *Feature:
		if _, ok := m.features[r.Name]; !ok {
			return Hash{}
		}
		return x.record(featureRecord(m, r.Name))
	}
	if h, ok := x.touchedAccess(m, r); ok {
		return h
	}
	panic(fmt.Sprintf("metadata: no hash for record %T", r))
}

func (x *hasher) brokerOf(m *Image, id wire.BrokerID) Hash {
	if b := m.Broker(id); b != nil {
		return x.broker(b)
	}
	return Hash{}
}

func (x *hasher) partitionOf(m *Image, topic wire.TopicID, p wire.Partition) Hash {
	t := m.TopicByID(topic)
	if t == nil || p < 0 || int(p) >= len(t.Partitions) {
		return Hash{}
	}
	return x.record(partitionRecord(t, int(p)))
}

// topicOf covers the topic with its partitions and its settings, which go with it.
func (x *hasher) topicOf(m *Image, id wire.TopicID) Hash {
	t := m.TopicByID(id)
	if t == nil {
		return Hash{}
	}
	h := x.record(t.record())
	for i := range t.Partitions {
		h = h.plus(x.record(partitionRecord(t, i)))
	}
	resource := Resource{ResourceTopic, t.Name}
	for name, value := range m.Config(resource) { // a sum: the order does not show
		h = h.plus(x.record(&ConfigRecord{Resource: resource, Name: name, Value: &value}))
	}
	return h
}

// recompute returns what the hash must be, from everything there is.
func (p *Snapshot) recompute() Hash {
	var x hasher
	var h Hash
	h = h.plus(x.pending(&p.pending)).plus(x.recovery(p.image.recovery))
	for _, r := range p.requests {
		h = h.plus(x.request(r))
	}
	p.image.brokers.Ascend(func(i *BrokerInfo) bool { h = h.plus(x.broker(i)); return true })
	for _, r := range p.image.Records() {
		h = h.plus(x.record(r))
	}
	return h
}
