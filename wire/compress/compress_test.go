package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/snappy"
	"github.com/pierrec/lz4/v4"
)

var everyCodec = []Codec{None, Gzip, Snappy, LZ4, Zstd}

// samples are of the lengths at which blocks begin and end, compressible and not.
func samples() map[string][]byte {
	random := rand.New(rand.NewPCG(1, 2))
	out := map[string][]byte{"empty": {}}
	for name, n := range map[string]int{
		"1": 1, "32K-1": 32<<10 - 1, "32K": 32 << 10, "32K+1": 32<<10 + 1, "64K": 64 << 10, "64K+1": 64<<10 + 1, "1M": 1 << 20,
	} {
		noise := make([]byte, n)
		for i := range noise {
			noise[i] = byte(random.Uint32())
		}
		out["noise "+name] = noise
		out["text "+name] = []byte(strings.Repeat("a line of text, ", n/16+1))[:n]
	}
	return out
}

func TestRoundTrip(t *testing.T) {
	for name, want := range samples() {
		for _, codec := range everyCodec {
			packed, err := Compress([]byte("before"), want, codec, DefaultLevel)
			if err != nil || !bytes.HasPrefix(packed, []byte("before")) {
				t.Fatalf("%s, %s: %v", codec, name, err)
			}
			got, err := Decompress([]byte("too"), packed[6:], codec, len(want))
			if err != nil || string(got[:3]) != "too" || !bytes.Equal(got[3:], want) {
				t.Errorf("%s, %s: %v, %d bytes", codec, name, err, len(got))
			}
			if len(want) > 0 {
				got, err = Decompress(nil, packed[6:], codec, len(want)-1)
				if !errors.Is(err, ErrTooLarge) || len(got) != 0 {
					t.Errorf("%s, %s: one byte too many: %v", codec, name, err)
				}
			}
		}
	}
}

func TestLevels(t *testing.T) {
	want := samples()["text 64K+1"]
	for codec, levels := range map[Codec][]int{
		Gzip: {-1, 1, 5, 9}, LZ4: {1, 8, 9, 10, 17}, Zstd: {-131072, -1, 0, 1, 3, 9, 19, 22},
	} {
		for _, level := range levels {
			packed, err := Compress(nil, want, codec, level)
			if err != nil {
				t.Fatal(codec, level, err)
			}
			if got, err := Decompress(nil, packed, codec, len(want)); err != nil || !bytes.Equal(got, want) {
				t.Error(codec, level, err)
			}
		}
	}
	for codec, levels := range map[Codec][]int{Gzip: {-2, 0, 10}, LZ4: {0, 18, -1}, Zstd: {-131073, 23}} {
		for _, level := range levels {
			if _, err := Compress(nil, want, codec, level); !errors.Is(err, ErrLevel) {
				t.Error(codec, level, err)
			}
		}
	}
	if _, err := Compress(nil, want, 5, 1); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
	if _, err := Decompress(nil, want, 7, 1); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, codec := range everyCodec {
		if got, ok := ParseCodec(codec.String()); !ok || got != codec {
			t.Error(codec)
		}
	}
	if _, ok := ParseCodec("producer"); ok {
		t.Error("producer is no codec")
	}
}

// Frames of the library's own writer have block and content checksums, and larger blocks.
func TestReadsOthersLZ4(t *testing.T) {
	for name, want := range samples() {
		for _, size := range []lz4.BlockSize{lz4.Block64Kb, lz4.Block256Kb, lz4.Block4Mb} {
			var out bytes.Buffer
			w := lz4.NewWriter(&out)
			if err := w.Apply(lz4.BlockSizeOption(size), lz4.BlockChecksumOption(true), lz4.SizeOption(uint64(len(want)))); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write(want); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			got, err := Decompress(nil, out.Bytes(), LZ4, len(want))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s, %v: %v", name, size, err)
			}
			if len(want) == 0 {
				continue
			}
			for _, at := range []int{6, out.Len() / 2, out.Len() - 1} {
				broken := bytes.Clone(out.Bytes())
				broken[at] ^= 1
				if _, err := Decompress(nil, broken, LZ4, 8<<20); err == nil {
					t.Errorf("%s: damage at %d not seen", name, at)
				}
			}
		}
	}
}

// Others read what we write: the library, which checks what Kafka's reader does.
func TestOthersReadOurLZ4(t *testing.T) {
	for name, want := range samples() {
		packed, err := Compress(nil, want, LZ4, DefaultLevel)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if _, err := got.ReadFrom(lz4.NewReader(bytes.NewReader(packed))); err != nil || !bytes.Equal(got.Bytes(), want) {
			t.Errorf("%s: %v", name, err)
		}
		wrong, err := CompressLegacyLZ4(nil, want, DefaultLevel)
		if err != nil || bytes.Equal(wrong, packed) || !bytes.Equal(wrong[7:], packed[7:]) {
			t.Errorf("%s: the legacy form differs in more than its checksum, or not in that: %v", name, err)
		}
		if got, err := Decompress(nil, wrong, LZ4, len(want)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: legacy form: %v", name, err)
		}
	}
}

func TestReadsRawAndJoinedSnappy(t *testing.T) {
	want := samples()["text 64K+1"]
	got, err := Decompress(nil, snappy.Encode(nil, want), Snappy, len(want))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("raw: %v", err)
	}
	framed := appendSnappy(appendSnappy(nil, want), want)
	got, err = Decompress(nil, framed, Snappy, 2*len(want))
	if err != nil || !bytes.Equal(got, append(bytes.Clone(want), want...)) {
		t.Errorf("joined: %v", err)
	}
}

func TestCutInputIsCorrupt(t *testing.T) {
	want := samples()["text 64K+1"]
	for _, codec := range everyCodec[1:] {
		packed, err := Compress(nil, want, codec, DefaultLevel)
		if err != nil {
			t.Fatal(err)
		}
		for n := range len(packed) {
			got, err := Decompress(nil, packed[:n], codec, len(want))
			// The snappy framing has no end mark: a cut between blocks cannot be seen.
			if err == nil && (codec != Snappy || len(got) == len(want)) {
				t.Errorf("%s: %d of %d bytes pass", codec, n, len(packed))
			}
		}
	}
}

// What a few bytes may cost at the worst: what the limit says, and the buffers outgrown on the way there. 40 KB of zstd hold
// 1.3 GB here.
func TestBombsStopAtTheLimit(t *testing.T) {
	const limit = 1 << 20
	zeros := make([]byte, 32<<20)
	bombs := map[string][]byte{}
	for _, codec := range everyCodec[1:] {
		packed, err := Compress(nil, zeros, codec, DefaultLevel)
		if err != nil {
			t.Fatal(err)
		}
		bombs[codec.String()] = packed
	}
	zeros = nil
	claim := binary.AppendUvarint(nil, 2<<30)
	bombs["snappy claims 2 GiB"] = append(claim, 0)
	bombs["snappy claims 1 MiB"] = append(binary.AppendUvarint(nil, limit), 0)
	framed := append([]byte(xerialMagic), 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, byte(len(claim)))
	bombs["snappy framed claims 2 GiB"] = append(framed, claim...)
	bombs["zstd claims 2 GiB"] = []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0, 0x80, 1, 0, 0}
	bombs["zstd claims 1 MiB"] = []byte{0x28, 0xb5, 0x2f, 0xfd, 0xa0, 0, 0, 0x10, 0, 1, 0, 0}
	bombs["zstd window of 128 MiB"] = append([]byte{0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3},
		bytes.Repeat([]byte{0x02, 0, 0x10, 'a'}, 10000)...)
	bombs["lz4 block length"] = []byte{4, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 0xff, 0xff, 0xff, 0x7f}
	for name, bomb := range bombs {
		name, _, _ := strings.Cut(name, " ")
		codec, _ := ParseCodec(name)
		if _, err := Decompress(nil, bomb, codec, limit); err == nil {
			t.Errorf("%s: passed", name)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		got, err := Decompress(nil, bomb, codec, limit)
		runtime.ReadMemStats(&after)
		if err == nil || len(got) > 0 {
			t.Errorf("%s: passed", name)
		}
		if spent := after.TotalAlloc - before.TotalAlloc; spent > 6*limit {
			t.Errorf("%s: a bomb of %d bytes cost %d bytes", name, len(bomb), spent)
		}
	}
	if _, err := Decompress(nil, bombs["gzip"], Gzip, limit); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := Decompress(nil, bombs["zstd"], Zstd, limit); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := Decompress(nil, bombs["zstd window of 128 MiB"], Zstd, limit); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := Decompress(nil, bombs["lz4"], LZ4, limit); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if _, err := Decompress(nil, bombs["snappy"], Snappy, limit); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
}

func TestManyAtOnce(t *testing.T) {
	all := samples()
	var wait sync.WaitGroup
	for range 8 {
		wait.Go(func() {
			for name, want := range all {
				for _, codec := range everyCodec {
					packed, err := Compress(nil, want, codec, DefaultLevel)
					if err != nil {
						t.Error(codec, name, err)
						return
					}
					if got, err := Decompress(nil, packed, codec, len(want)); err != nil || !bytes.Equal(got, want) {
						t.Error(codec, name, err)
					}
				}
			}
		})
	}
	wait.Wait()
}

func FuzzDecompress(f *testing.F) {
	for _, codec := range everyCodec {
		for _, text := range []string{"", "a", strings.Repeat("a line of text, ", 20)} {
			packed, err := Compress(nil, []byte(text), codec, DefaultLevel)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(byte(codec), packed)
		}
	}
	f.Fuzz(func(t *testing.T, number byte, src []byte) {
		const limit = 256 << 10
		codec := Codec(number % 6)
		got, err := Decompress(nil, src, codec, limit)
		if err != nil {
			if len(got) > 0 {
				t.Errorf("%s: %d bytes beside an error", codec, len(got))
			}
			return
		}
		if len(got) > limit || cap(got) > 4*limit {
			t.Errorf("%s: %d bytes, capacity %d", codec, len(got), cap(got))
		}
		again, err := Decompress(make([]byte, 0, len(got)), src, codec, len(got))
		if err != nil || !bytes.Equal(again, got) {
			t.Errorf("%s: with its own length for a limit: %v", codec, err)
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	text := samples()["text 64K"]
	for _, codec := range everyCodec[1:] {
		packed, err := Compress(nil, text, codec, DefaultLevel)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(codec.String(), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			dst := make([]byte, 0, len(text))
			for b.Loop() {
				if _, err := Decompress(dst, packed, codec, len(text)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
