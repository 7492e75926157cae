package batch

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// sample is a batch whose fields all differ: offsets 100 to 104 of producer 3, whose sequence goes round within it.
func sample(t testing.TB) []byte {
	t.Helper()
	record := []byte{0x16, 0, 0, 0, 1, 10, 'h', 'e', 'l', 'l', 'o', 0}
	b := make([]byte, HeaderSize, HeaderSize+len(record))
	binary.BigEndian.PutUint64(b[0:], 100)
	binary.BigEndian.PutUint32(b[8:], uint32(HeaderSize-Overhead+len(record)))
	binary.BigEndian.PutUint32(b[12:], 9)
	b[16] = 2
	binary.BigEndian.PutUint16(b[21:], 0x0018|uint16(CodecZstd))
	binary.BigEndian.PutUint32(b[23:], 4)
	binary.BigEndian.PutUint64(b[27:], 1000)
	binary.BigEndian.PutUint64(b[35:], 2000)
	binary.BigEndian.PutUint64(b[43:], 3)
	binary.BigEndian.PutUint16(b[51:], 1)
	binary.BigEndian.PutUint32(b[53:], 0x7ffffffe)
	binary.BigEndian.PutUint32(b[57:], 5)
	b = append(b, record...)
	Header(b).SetCRC()
	return b
}

func TestHeaderFields(t *testing.T) {
	b := sample(t)
	h, rest, err := Next(append(b, 0xff))
	if err != nil || len(rest) != 1 || h.Size() != len(b) {
		t.Fatal(err, len(rest))
	}
	if h.BaseOffset() != 100 || h.LastOffset() != 104 || h.NextOffset() != 105 || h.LeaderEpoch() != 9 || h.Magic() != 2 {
		t.Errorf("offsets %d %d, epoch %d", h.BaseOffset(), h.LastOffset(), h.LeaderEpoch())
	}
	if h.Codec() != CodecZstd || h.TimestampType() != LogAppendTime || !h.Transactional() || h.Control() || h.HasDeleteHorizon() {
		t.Errorf("attributes %x", h.Attributes())
	}
	if h.BaseTimestamp() != 1000 || h.MaxTimestamp() != 2000 || h.ProducerID() != 3 || h.ProducerEpoch() != 1 || h.Count() != 5 {
		t.Errorf("times %d %d, producer %d %d, count %d", h.BaseTimestamp(), h.MaxTimestamp(), h.ProducerID(), h.ProducerEpoch(), h.Count())
	}
	if h.BaseSequence() != 0x7ffffffe || h.LastSequence() != 2 {
		t.Errorf("sequences %d to %d", h.BaseSequence(), h.LastSequence())
	}
	if len(h.Records()) != len(b)-HeaderSize {
		t.Errorf("%d bytes of records", len(h.Records()))
	}
}

func TestPatchesLeaveTheChecksumRight(t *testing.T) {
	h := Header(sample(t))
	h.SetBaseOffset(1 << 40)
	h.SetLeaderEpoch(77)
	if err := h.CheckCRC(); err != nil || h.BaseOffset() != 1<<40 || h.LeaderEpoch() != 77 {
		t.Fatalf("%v, offset %d, epoch %d", err, h.BaseOffset(), h.LeaderEpoch())
	}
	h.SetLogAppendTime(5)
	if err := h.CheckCRC(); !errors.Is(err, ErrCRC) {
		t.Fatalf("changed attributes: %v", err)
	}
	h.SetCRC()
	if err := h.CheckCRC(); err != nil || h.MaxTimestamp() != 5 {
		t.Fatal(err)
	}
}

// TestChecksumIsCastagnoli pins the polynomial: "123456789" has a known checksum.
func TestChecksumIsCastagnoli(t *testing.T) {
	b := append(make([]byte, crcCoversFromByte), "123456789"...)
	Header(b).SetCRC()
	if got := hex.EncodeToString(b[crcAt : crcAt+4]); got != "e3069283" {
		t.Fatalf("checksum %s", got)
	}
}

func TestEveryFlippedBitIsSeen(t *testing.T) {
	good := sample(t)
	for bit := range 8 * len(good) {
		if bit/8 < lengthAt || bit/8 >= leaderEpochAt && bit/8 < magicAt {
			continue // base offset and epoch are not covered
		}
		b := append([]byte(nil), good...)
		b[bit/8] ^= 1 << (bit % 8)
		h, err := Parse(b)
		if err == nil && len(h) == len(b) {
			err = h.CheckCRC()
		} else if err == nil {
			continue // shorter length: the checksum of what remains is not this one
		}
		if err == nil {
			t.Errorf("bit %d", bit)
		}
	}
}

func TestWhatIsNoBatch(t *testing.T) {
	b := sample(t)
	for n := range len(b) {
		if _, err := Parse(b[:n]); !errors.Is(err, ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	old := append([]byte(nil), b...)
	old[magicAt] = 1
	if _, err := Parse(old); !errors.Is(err, ErrMagic) {
		t.Errorf("format 1: %v", err)
	}
	for _, n := range []uint32{0, minLength - 1, 0xffffffff, 0x80000000} {
		bad := append([]byte(nil), b...)
		binary.BigEndian.PutUint32(bad[lengthAt:], n)
		if _, err := Parse(bad); !errors.Is(err, ErrLength) {
			t.Errorf("length %d: %v", int32(n), err)
		}
	}
}

func TestSequencesGoRound(t *testing.T) {
	for _, c := range []struct {
		from wire.Sequence
		add  int32
		want wire.Sequence
	}{{0, 0, 0}, {5, 3, 8}, {1<<31 - 1, 1, 0}, {1<<31 - 2, 3, 1}, {1<<31 - 1, 1<<31 - 1, 1<<31 - 2}} {
		if got := AddSequence(c.from, c.add); got != c.want {
			t.Errorf("%d + %d = %d, want %d", c.from, c.add, got, c.want)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	buf := sample(b)
	b.ReportAllocs()
	for b.Loop() {
		h, _, err := Next(buf)
		if err != nil {
			b.Fatal(err)
		}
		h.SetBaseOffset(h.BaseOffset() + 1)
	}
}
