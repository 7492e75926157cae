package compress

import (
	"encoding/binary"
	"sync"

	"github.com/pierrec/lz4/v4"
)

// The LZ4 frame format: magic, descriptor, blocks with their lengths, a zero length at the end. Numbers are little endian.
const (
	lz4Magic = 0x184D2204
	// lz4WriteFlags: version 1, blocks that do not depend on each other, no checksums and no content size. Kafka's client
	// reads no frame whose blocks depend on each other.
	lz4WriteFlags = 0x60
	lz4WriteSize  = 4 // blocks of at most 64 KiB
	lz4BlockSize  = 64 << 10
	lz4Stored     = 1 << 31 // in a block's length: the block is not compressed

	lz4FlagDictionary      = 0x01
	lz4FlagReserved        = 0x02
	lz4FlagContentChecksum = 0x04
	lz4FlagContentSize     = 0x08
	lz4FlagBlockChecksum   = 0x10
	lz4FlagIndependent     = 0x20

	// lz4KafkaDefault is Kafka's default level, which stands for the fast compressor.
	lz4KafkaDefault = 9
)

var (
	lz4Fast = sync.Pool{New: func() any { return new(lz4.Compressor) }}
	lz4High = sync.Pool{New: func() any { return new(lz4.CompressorHC) }}
)

// lz4Level turns a level into the library's. It has nine of them; what is above is the ninth.
func lz4Level(level int) lz4.CompressionLevel {
	levels := [...]lz4.CompressionLevel{
		lz4.Level1, lz4.Level2, lz4.Level3, lz4.Level4, lz4.Level5, lz4.Level6, lz4.Level7, lz4.Level8, lz4.Level9,
	}
	return levels[min(level, len(levels))-1]
}

// CompressLegacyLZ4 is [Compress] with [LZ4] for messages of format 0: the header checksum covers the frame's magic
// too, which is wrong, and what readers of that format expect.
func CompressLegacyLZ4(dst, src []byte, level int) ([]byte, error) {
	if err := CheckLevel(LZ4, level); err != nil {
		return dst, err
	}
	return appendLZ4(dst, src, level, true)
}

func appendLZ4(dst, src []byte, level int, wrongChecksum bool) ([]byte, error) {
	header := len(dst)
	dst = binary.LittleEndian.AppendUint32(dst, lz4Magic)
	dst = append(dst, lz4WriteFlags, lz4WriteSize<<4)
	from := header + 4
	if wrongChecksum {
		from = header
	}
	dst = append(dst, byte(xxHash32(dst[from:])>>8))
	pack := packFast
	if level != DefaultLevel && level != lz4KafkaDefault {
		c := lz4High.Get().(*lz4.CompressorHC)
		defer lz4High.Put(c)
		c.Level = lz4Level(level)
		pack = c.CompressBlock
	}
	for len(src) > 0 {
		block := src[:min(len(src), lz4BlockSize)]
		src = src[len(block):]
		// Room for less than the block: when that does not suffice the library says so, and the block is stored.
		dst = grow(dst, 4+len(block)+4, 4+len(block)+4+len(src))
		at := len(dst)
		n, err := pack(block, dst[at+4:at+4+len(block)])
		if err != nil || n == 0 || n >= len(block) {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(len(block))|lz4Stored)
			dst = append(dst, block...)
			continue
		}
		binary.LittleEndian.PutUint32(dst[at:at+4], uint32(n))
		dst = dst[:at+4+n]
	}
	return binary.LittleEndian.AppendUint32(dst, 0), nil
}

func packFast(src, dst []byte) (int, error) {
	c := lz4Fast.Get().(*lz4.Compressor)
	defer lz4Fast.Put(c)
	return c.CompressBlock(src, dst)
}

// lz4Header is what the descriptor says.
type lz4Header struct {
	blockSize       int
	blockChecksum   bool
	contentChecksum bool
	size            int // of magic, descriptor and checksum
}

// parseLZ4Header takes a right checksum, and the wrong one of message format 0, which nobody else would write.
func parseLZ4Header(src []byte) (h lz4Header, err error) {
	if len(src) < 7 || binary.LittleEndian.Uint32(src) != lz4Magic {
		return h, corrupt("no frame header")
	}
	flags, size := src[4], src[5]
	switch {
	case flags>>6 != 1:
		return h, corrupt("frame version %d", flags>>6)
	case flags&(lz4FlagReserved|lz4FlagDictionary) != 0:
		return h, corrupt("frame flags %#02x", flags)
	case flags&lz4FlagIndependent == 0:
		return h, corrupt("blocks depend on each other")
	case size&0x8f != 0 || size>>4 < 4:
		return h, corrupt("block size %#02x", size)
	}
	h.size = 7
	if flags&lz4FlagContentSize != 0 {
		h.size += 8
	}
	if len(src) < h.size {
		return h, corrupt("frame header cut short")
	}
	got := src[h.size-1]
	if got != byte(xxHash32(src[4:h.size-1])>>8) && got != byte(xxHash32(src[:h.size-1])>>8) {
		return h, corrupt("frame header checksum %#02x", got)
	}
	h.blockSize = 1 << (8 + 2*int(size>>4))
	h.blockChecksum = flags&lz4FlagBlockChecksum != 0
	h.contentChecksum = flags&lz4FlagContentChecksum != 0
	return h, nil
}

// readLZ4 reads one frame. What follows it is not looked at, as in Kafka's client.
func readLZ4(dst, src []byte, limit int) ([]byte, error) {
	h, err := parseLZ4Header(src)
	if err != nil {
		return dst, err
	}
	src = src[h.size:]
	start := len(dst)
	for {
		if len(src) < 4 {
			return dst, corrupt("frame without an end mark")
		}
		length := binary.LittleEndian.Uint32(src)
		src = src[4:]
		if length == 0 {
			break
		}
		size, after := int(length&^lz4Stored), 0
		if h.blockChecksum {
			after = 4
		}
		if size > h.blockSize || size+after > len(src) {
			return dst, corrupt("block of %d bytes, %d left", size, len(src))
		}
		block := src[:size]
		if h.blockChecksum && binary.LittleEndian.Uint32(src[size:]) != xxHash32(block) {
			return dst, corrupt("block checksum mismatch")
		}
		src = src[size+after:]
		room := limit - (len(dst) - start)
		if length&lz4Stored != 0 {
			if size > room {
				return dst, tooLarge(limit)
			}
			dst = append(grow(dst, size, room), block...)
		} else if dst, err = readLZ4Block(dst, block, h.blockSize, room, limit); err != nil {
			return dst, err
		}
	}
	if h.contentChecksum && len(src) < 4 {
		return dst, corrupt("content checksum cut short")
	}
	if h.contentChecksum && binary.LittleEndian.Uint32(src) != xxHash32(dst[start:]) {
		return dst, corrupt("content checksum mismatch")
	}
	return dst, nil
}

// lz4Ratio bounds what one byte of LZ4 can become: a length byte of 255 makes 255.
const lz4Ratio = 255

func readLZ4Block(dst, block []byte, blockSize, room, limit int) ([]byte, error) {
	most := min(blockSize, lz4Ratio*len(block)+64)
	take := min(most, room)
	dst = grow(dst, take, room)
	n, err := lz4.UncompressBlock(block, dst[len(dst):len(dst)+take:len(dst)+take])
	if err != nil {
		if take < most {
			return dst, tooLarge(limit) // or damaged: both end here
		}
		return dst, corrupt("%v", err)
	}
	return dst[:len(dst)+n], nil
}
