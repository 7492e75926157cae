package compress

import (
	"encoding/binary"

	"github.com/klauspost/compress/snappy"
)

const (
	// xerialMagic opens what snappy-java's stream writes. Two numbers follow: version and oldest compatible version.
	xerialMagic      = "\x82SNAPPY\x00"
	xerialHeaderSize = len(xerialMagic) + 8
	xerialVersion    = 1
	// xerialBlock is how much the Java client puts into one block.
	xerialBlock = 32 << 10
	// snappyRatio bounds what one byte of snappy can become: a copy of three bytes makes at most 64.
	snappyRatio = 64
)

func appendSnappy(dst, src []byte) []byte {
	dst = append(dst, xerialMagic...)
	dst = binary.BigEndian.AppendUint32(dst, xerialVersion)
	dst = binary.BigEndian.AppendUint32(dst, xerialVersion)
	for len(src) > 0 {
		block := src[:min(len(src), xerialBlock)]
		src = src[len(block):]
		worst := snappy.MaxEncodedLen(len(block))
		at := len(dst)
		dst = grow(dst, 4+worst, 4+worst+len(src))
		packed := snappy.Encode(dst[at+4:at+4+worst], block)
		binary.BigEndian.PutUint32(dst[at:at+4], uint32(len(packed)))
		dst = dst[:at+4+len(packed)]
	}
	return dst
}

func readSnappy(dst, src []byte, limit int) ([]byte, error) {
	if len(src) < xerialHeaderSize || string(src[:len(xerialMagic)]) != xerialMagic {
		return readSnappyBlock(dst, src, limit)
	}
	if compatible := binary.BigEndian.Uint32(src[len(xerialMagic)+4:]); compatible > xerialVersion {
		return dst, corrupt("framing of version %d", compatible)
	}
	src = src[xerialHeaderSize:]
	start := len(dst)
	for len(src) > 0 {
		if len(src) < 4 {
			return dst, corrupt("%d bytes where a block's length must be", len(src))
		}
		size := binary.BigEndian.Uint32(src)
		src = src[4:]
		if size == xerialMagicLength && len(src) >= xerialHeaderSize-4 && string(src[:4]) == xerialMagic[4:] {
			src = src[xerialHeaderSize-4:] // a second stream joined on, which snappy-java reads too
			continue
		}
		if uint64(size) > uint64(len(src)) {
			return dst, corrupt("block of %d bytes, %d left", size, len(src))
		}
		var err error
		if dst, err = readSnappyBlock(dst, src[:size], limit-(len(dst)-start)); err != nil {
			return dst, err
		}
		src = src[size:]
	}
	return dst, nil
}

// xerialMagicLength is the first half of the magic, read as a block's length: larger than any.
const xerialMagicLength = 0x82534e41

// readSnappyBlock appends one raw block. Its claimed length is compared with the limit and with what its bytes could
// become before anything is allocated.
func readSnappyBlock(dst, block []byte, room int) ([]byte, error) {
	n, err := snappy.DecodedLen(block)
	if err != nil {
		return dst, corrupt("%v", err)
	}
	if n > room {
		return dst, tooLarge(room)
	}
	if n > snappyRatio*len(block) {
		return dst, corrupt("block of %d bytes claims to hold %d", len(block), n)
	}
	dst = grow(dst, n, room)
	out, err := snappy.Decode(dst[len(dst):len(dst)+n:len(dst)+n], block)
	if err != nil {
		return dst, corrupt("%v", err)
	}
	return dst[:len(dst)+len(out)], nil
}
