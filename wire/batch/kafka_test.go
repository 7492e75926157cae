package batch

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// What testdata/KafkaBatches.java.txt writes.
const kafkaTime wire.Timestamp = 1_600_000_000_000

func kafkaRecords(magic int, codec Codec, base wire.Offset) []plainRecord {
	size := 140000
	if codec == CodecNone {
		size = 300
	}
	big := make([]byte, size)
	for i := range big {
		big[i] = byte(i*7 + i>>8)
	}
	records := []plainRecord{
		{0, kafkaTime, []byte("key-0"), []byte("value-0"), []RecordHeader{{[]byte("h"), []byte("x")}, {[]byte("n"), nil}}},
		{1, kafkaTime - 10, nil, []byte{}, nil},
		{2, kafkaTime + 5, []byte{}, nil, nil},
		{3, kafkaTime + 1, []byte("key-3"), big, nil},
	}
	for i := range records {
		records[i].Offset += base
		if magic < 2 {
			records[i].Headers = nil
		}
		if magic == 0 {
			records[i].Timestamp = wire.NoTimestamp
		}
	}
	return records
}

func golden(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// legacyRecords reads a message set with true offsets.
func legacyRecords(t testing.TB, set []byte) []plainRecord {
	t.Helper()
	var out []plainRecord
	for rest := set; len(rest) > 0; {
		entry, after, err := splitEntry(rest)
		if err != nil {
			t.Fatal(err)
		}
		rest = after
		m, err := parseMessage(entry)
		if err != nil {
			t.Fatal(err)
		}
		if err := m.checkCRC(); err != nil {
			t.Fatal(err)
		}
		err = visitMessages(&m, plainLimit, func(r *Record) error {
			// Of a compressed message the bytes are gone when visitMessages returns.
			out = append(out, plainRecord{r.Offset, r.Timestamp, bytes.Clone(r.Key), bytes.Clone(r.Value), nil})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestReadsBatchesWrittenByKafka(t *testing.T) {
	for _, codec := range everyCodec {
		h, rest, err := Next(golden(t, fmt.Sprintf("v2-%s.bin", codec)))
		if err != nil || len(rest) > 0 {
			t.Fatal(codec, err, len(rest))
		}
		if err := h.CheckCRC(); err != nil {
			t.Error(codec, err)
		}
		if err := same(kafkaRecords(2, codec, 100), unpack(t, h), true); err != nil {
			t.Errorf("%s: %v", codec, err)
		}
		if h.Codec() != codec || h.MaxTimestamp() != kafkaTime+5 {
			t.Errorf("%s: codec %s, max timestamp %d", codec, h.Codec(), h.MaxTimestamp())
		}
	}
	stamped := Header(golden(t, "v2-stamped.bin"))
	for _, r := range unpack(t, stamped) {
		if r.Timestamp != kafkaTime+77 {
			t.Errorf("record %d of a stamped batch has time %d", r.Offset, r.Timestamp)
		}
	}
}

func TestReadsMessageSetsWrittenByKafka(t *testing.T) {
	for magic := range 2 {
		for _, codec := range everyCodec[:4] {
			set := golden(t, fmt.Sprintf("v%d-%s.bin", magic, codec))
			want := kafkaRecords(magic, codec, 100)
			if err := same(want, legacyRecords(t, set), true); err != nil {
				t.Errorf("format %d, %s: %v", magic, codec, err)
			}
			var b Builder
			h, err := FromLegacy(&b, set, plainLimit)
			if err != nil {
				t.Fatalf("format %d, %s: %v", magic, codec, err)
			}
			if err := h.CheckCRC(); err != nil || h.Codec() != codec || h.BaseOffset() != 0 || h.Count() != 4 {
				t.Errorf("format %d, %s: converted to %v, codec %s, %d records", magic, codec, err, h.Codec(), h.Count())
			}
			if err := same(kafkaRecords(magic, codec, 0), unpack(t, h), true); err != nil {
				t.Errorf("format %d, %s, converted: %v", magic, codec, err)
			}
		}
	}
	var b Builder
	h, err := FromLegacy(&b, golden(t, "v1-stamped.bin"), plainLimit)
	if err != nil || h.TimestampType() != LogAppendTime || h.MaxTimestamp() != kafkaTime+77 {
		t.Errorf("stamped: %v", err)
	}
}

// Without a codec there is one way to write a batch: Kafka's bytes and ours must be equal.
func TestWritesWhatKafkaWrites(t *testing.T) {
	ours := build(t, Template{BaseOffset: 100, LeaderEpoch: -1}, kafkaRecords(2, CodecNone, 100))
	if theirs := golden(t, "v2-none.bin"); !bytes.Equal(ours, theirs) {
		t.Errorf("got  % x\nwant % x", ours, theirs)
	}
	ours = build(t, Template{Idempotent: true, ProducerID: 4711, ProducerEpoch: 3, BaseSequence: 40, Transactional: true},
		kafkaRecords(2, CodecNone, 0))
	if theirs := golden(t, "v2-producer.bin"); !bytes.Equal(ours, theirs) {
		t.Errorf("with a producer: got  % x\nwant % x", ours, theirs)
	}
	for magic := range int8(2) {
		for _, codec := range everyCodec[:4] {
			theirs := golden(t, fmt.Sprintf("v%d-%s.bin", magic, codec))
			ours, err := ToLegacy(nil, golden(t, fmt.Sprintf("v2-%s.bin", codec)), magic, 0, plainLimit)
			if err != nil {
				t.Fatal(err)
			}
			if codec == CodecNone && !bytes.Equal(ours, theirs) {
				t.Errorf("format %d: got  % x\nwant % x", magic, ours, theirs)
			}
			if err := same(kafkaRecords(int(magic), codec, 100), legacyRecords(t, ours), true); err != nil {
				t.Errorf("format %d, %s: %v", magic, codec, err)
			}
			// All that precedes the compressed bytes: offset, attributes, time, the null key.
			head := messageTimestampAt + 8*int(magic) + 4
			if codec != CodecNone && !bytes.Equal(ours[messageMagicAt:head], theirs[messageMagicAt:head]) {
				t.Errorf("format %d, %s: wrapper got % x want % x", magic, codec, ours[:head], theirs[:head])
			}
		}
	}
}

func TestMarkersAreKafkas(t *testing.T) {
	for name, commit := range map[string]bool{"marker-commit.bin": true, "marker-abort.bin": false} {
		want := Marker{Commit: commit, ProducerID: 4711, ProducerEpoch: 3, CoordinatorEpoch: 12}
		theirs := golden(t, name)
		var b Builder
		ours, err := BuildMarker(&b, want, kafkaTime, 6)
		if err != nil || !bytes.Equal(ours, theirs) {
			t.Errorf("%s: %v\ngot  % x\nwant % x", name, err, ours, theirs)
		}
		if got, err := ParseMarker(Header(theirs)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := ParseMarker(Header(golden(t, "v2-none.bin"))); err == nil {
		t.Error("a batch of data was taken for a marker")
	}
}

// verdicts.txt has what Kafka's LogValidator answered for the batches beside it.
func TestVerdictsAreKafkas(t *testing.T) {
	for line := range strings.Lines(string(golden(t, "verdicts.txt"))) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(f) != 9 {
			t.Fatalf("verdict with %d fields: %q", len(f), line)
		}
		t.Run(f[0], func(t *testing.T) {
			o := client()
			o.Now, o.DeepCompressed = kafkaTime, true
			version, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			o.ProduceVersion, o.Compacted = int16(version), f[2] == "true"
			if f[3] == "true" {
				o.TimestampType = LogAppendTime
			}
			if o.TimestampBeforeMax, err = strconv.ParseInt(f[4], 10, 64); err != nil {
				t.Fatal(err)
			}
			if o.TimestampAfterMax, err = strconv.ParseInt(f[5], 10, 64); err != nil {
				t.Fatal(err)
			}
			got, refusal := Validate(golden(t, "verdict-"+f[0]+".bin"), &o)
			compareVerdict(t, f, got, refusal)
		})
	}
}

// notKafkasWords are cases in which the code must be Kafka's but the words differ: malformed records have one message of
// ours, and Kafka counts the uncompressed messages of an old set each from 0 and stops at the first.
var notKafkasWords = []string{
	"count-and-records-differ", "more-counted", "header-count",
	"format-0-none-null-key", "format-1-none-null-key", "format-1-none-late",
}

func compareVerdict(t *testing.T, f []string, got Result, refusal *Refusal) {
	code, message, at := f[6], f[7], f[8]
	if refusal == nil {
		if code != "NONE" {
			t.Fatalf("passed; Kafka answers %s: %s", code, message)
		}
		if err := got.Batch.CheckCRC(); err != nil || got.Batch.Count() != 4 {
			t.Errorf("appended batch: %v, %d records", err, got.Batch.Count())
		}
		return
	}
	if refusal.Code.String() != code {
		t.Fatalf("refused with %s (%s); Kafka answers %s: %s", refusal.Code, refusal.Message, code, message)
	}
	var ours []string
	for _, r := range refusal.Records {
		ours = append(ours, fmt.Sprintf("%d=%s", r.Index, r.Message))
	}
	if slices.Contains(notKafkasWords, f[0]) {
		return
	}
	if refusal.Message != message {
		t.Errorf("message %q\nKafka's  %q", refusal.Message, message)
	}
	if joined := strings.Join(ours, "|"); joined != at {
		t.Errorf("records %q\nKafka's  %q", joined, at)
	}
}
