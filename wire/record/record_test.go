package record

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// allData returns an empty one of every type, by name.
func allData() map[string]Data {
	all := map[string]Data{}
	add := func(d Data) { all[reflect.TypeOf(d).Elem().Name()] = d }
	for recordType := range int16(100) {
		for _, records := range []func(int16) (Key, Data){NewGroupRecord, NewTransactionRecord} {
			if key, value := records(recordType); key != nil {
				add(key)
				add(value)
			}
		}
	}
	for _, d := range []Data{new(ConsumerProtocolSubscription), new(ConsumerProtocolAssignment), new(EndTxnMarker),
		new(LeaderChangeMessage), new(AbortedTxn), new(ControlRecordTypeSchema)} {
		add(d)
	}
	return all
}

// fill sets every field of v to a random value.
func fill(rng *rand.Rand, v reflect.Value) {
	switch v.Kind() {
	case reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(int64(rng.Uint64()))
	case reflect.Uint8, reflect.Uint16:
		v.SetUint(rng.Uint64())
	case reflect.String:
		v.SetString(strings.Repeat("x", rng.IntN(130)))
	case reflect.Array:
		for i := range v.Len() {
			fill(rng, v.Index(i))
		}
	case reflect.Pointer:
		if v.SetZero(); rng.IntN(3) > 0 {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rng, v.Elem())
		}
	case reflect.Slice:
		if v.SetZero(); rng.IntN(5) > 0 {
			n := rng.IntN(4)
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(rng, v.Index(i))
			}
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rng, v.Field(i))
		}
	default:
		panic(fmt.Sprintf("field of kind %s", v.Kind()))
	}
}

// TestRoundTrip: whatever is encoded is read back, is as long as Size says, and cut or lengthened is malformed.
func TestRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for name, d := range allData() {
		low, high := d.Versions()
		for version := low; version <= high; version++ {
			for range 30 {
				fill(rng, reflect.ValueOf(d).Elem())
				b := Append(nil, d, version)
				if len(b) != Size(d, version) {
					t.Fatalf("%s version %d: Size is %d, not %d", name, version, Size(d, version), len(b))
				}
				again := reflect.New(reflect.TypeOf(d).Elem()).Interface().(Data)
				if v, err := Decode(again, b); err != nil || v != version || !bytes.Equal(Append(nil, again, v), b) {
					t.Fatalf("%s version %d: %x became %+v, %v", name, version, b, again, err)
				}
				for n := range b {
					if _, err := Decode(again, b[:n:n]); !errors.Is(err, wire.ErrMalformed) {
						t.Fatalf("%s version %d: %d of %d bytes: %v", name, version, n, len(b), err)
					}
				}
				if _, err := Decode(again, append(b, 0)); !errors.Is(err, wire.ErrMalformed) {
					t.Fatalf("%s version %d: a byte more: %v", name, version, err)
				}
			}
		}
		if _, err := Decode(d, wire.AppendInt16(nil, high+1)); !errors.Is(err, wire.ErrVersion) {
			t.Errorf("%s version %d: %v", name, high+1, err)
		}
	}
}

// TestKafkaVectors: bytes that the classes of Kafka 4.4 wrote are read, and written again as they are. A line of the
// file has the type, the version and the bytes without the two in front.
func TestKafkaVectors(t *testing.T) {
	file, err := os.Open("testdata/kafka-4.4-vectors.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	all, seen := allData(), map[string]bool{}
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var name, text string
		var version int16
		if _, err := fmt.Sscan(lines.Text(), &name, &version, &text); err != nil {
			t.Fatalf("%q: %v", lines.Text(), err)
		}
		want, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		d := all[name]
		seen[fmt.Sprint(name, " ", version)] = true
		if err := d.Decode(want, version); err != nil {
			t.Errorf("%s version %d: %v", name, version, err)
		} else if have := d.AppendTo(nil, version); !bytes.Equal(have, want) {
			t.Errorf("%s version %d: %x became %x", name, version, want, have)
		}
	}
	for name, d := range all {
		low, high := d.Versions()
		for version := low; version <= high; version++ {
			if !seen[fmt.Sprint(name, " ", version)] {
				t.Errorf("no vector of %s version %d", name, version)
			}
		}
	}
}

// TestOffsetCommitIsKmsgs holds a record of __consumer_offsets against kmsg, fields and all.
func TestOffsetCommitIsKmsgs(t *testing.T) {
	key := kmsg.OffsetCommitKey{Version: 1, Group: "g", Topic: "t", Partition: 7}
	value := kmsg.OffsetCommitValue{Version: 3, Offset: 1 << 40, LeaderEpoch: 5, Metadata: "m", CommitTimestamp: 9}
	k, v, err := DecodeGroupKey(key.AppendTo(nil))
	if err != nil || *k.(*OffsetCommitKey) != (OffsetCommitKey{Group: "g", Topic: "t", Partition: 7}) {
		t.Fatalf("key %+v, %v", k, err)
	}
	if b := AppendKey(nil, k); !bytes.Equal(b, key.AppendTo(nil)) || KeySize(k) != len(b) {
		t.Errorf("key became %x", b)
	}
	version, err := Decode(v, value.AppendTo(nil))
	want := OffsetCommitValue{Offset: 1 << 40, LeaderEpoch: 5, Metadata: "m", CommitTimestamp: 9, ExpireTimestamp: -1}
	if err != nil || version != 3 || *v.(*OffsetCommitValue) != want {
		t.Errorf("value %+v of version %d, %v", v, version, err)
	}
}

func TestKeyRefusals(t *testing.T) {
	for name, want := range map[string]error{"": wire.ErrMalformed, "\x00": wire.ErrMalformed,
		"\x00\x63": wire.ErrVersion, "\xff\xff": wire.ErrVersion, "\x00\x01\x00": wire.ErrMalformed} {
		if _, _, err := DecodeGroupKey([]byte(name)); !errors.Is(err, want) {
			t.Errorf("group key %x: %v", name, err)
		}
	}
	if _, _, err := DecodeTransactionKey([]byte{0, 1, 0, 0}); !errors.Is(err, wire.ErrVersion) {
		t.Errorf("transaction key of type 1: %v", err)
	}
	key, value, err := DecodeTransactionKey([]byte{0, 0, 0, 1, 'x'})
	if err != nil || key.(*TransactionLogKey).TransactionalID != "x" || value.(*TransactionLogValue) == nil {
		t.Errorf("transaction key: %+v, %v", key, err)
	}
}

// TestEmbeddedProtocol: a subscription of the future is read as far as we know it.
func TestEmbeddedProtocol(t *testing.T) {
	rack := "r"
	s := ConsumerProtocolSubscription{Topics: []string{"t"}, GenerationID: 4, RackID: &rack}
	b := append(s.AppendTo([]byte{0, 9}, 3), "what version 9 appends"...)
	have, version, err := DecodeSubscription(b)
	if err != nil || version != 9 || have.GenerationID != 4 || *have.RackID != "r" || have.Topics[0] != "t" {
		t.Errorf("%+v of version %d, %v", have, version, err)
	}
	a := ConsumerProtocolAssignment{AssignedPartitions: []ConsumerProtocolAssignmentAssignedPartition{{"t", []wire.Partition{1}}}}
	assignment, version, err := DecodeAssignment(Append(nil, &a, 0))
	if err != nil || version != 0 || assignment.AssignedPartitions[0].Partitions[0] != 1 {
		t.Errorf("%+v of version %d, %v", assignment, version, err)
	}
	for _, bad := range []string{"", "\x00", "\xff\xff", "\x00\x00\x7f\xff\xff\xff"} {
		if _, _, err := DecodeSubscription([]byte(bad)); err == nil {
			t.Errorf("%x is a subscription", bad)
		}
	}
}

func FuzzDecodeKeyAndValue(f *testing.F) {
	f.Add([]byte{0, 1, 0, 1, 'g', 0, 1, 't', 0, 0, 0, 0}, []byte{0, 3}, true)
	f.Add([]byte{0, 0, 0, 1, 'x'}, []byte{0, 1}, false)
	f.Fuzz(func(t *testing.T, k, v []byte, group bool) {
		decode := DecodeTransactionKey
		if group {
			decode = DecodeGroupKey
		}
		key, value, err := decode(k)
		if err != nil {
			return
		}
		if b := AppendKey(nil, key); !bytes.Equal(b, k) {
			t.Fatalf("key %x became %x", k, b)
		}
		version, err := Decode(value, v)
		if err == nil && len(Append(nil, value, version)) != Size(value, version) {
			t.Fatalf("value %x has another size", v)
		}
	})
}
