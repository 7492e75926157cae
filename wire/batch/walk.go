package batch

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/kraftgo/kraftgo/wire"
)

// summary is what a walk through the records of a batch found.
type summary struct {
	// earliest and latest are of the records that have a time; earliest > latest if none has.
	earliest, latest wire.Timestamp
	// inOrder means that the offset deltas are 0, 1, 2 and so on.
	inOrder bool
	// nullKey means that a record has no key.
	nullKey bool
}

// walk checks plain, the uncompressed records of a batch, as strictly as an [Iterator] does, and sums them up. It is
// what every append of uncompressed records costs, so it works on indexes, and numbers of one byte, as most are, take
// the short way.
func walk(plain []byte, count int32, base wire.Timestamp) (s summary, err error) {
	s = summary{earliest: math.MaxInt64, latest: math.MinInt64, inOrder: true}
	at := 0
	for i := range count {
		var size, offsetDelta, keyLen, valueLen, headers int32
		var timeDelta int64
		// The first number of a record, and with it most, are shorter than three bytes: that case is spelled out.
		if at+1 < len(plain) && plain[at]&plain[at+1] < 0x80 {
			size, at = short(plain[at], plain[at+1], at)
		} else {
			size, at = varintAt(plain, at)
		}
		if at < 0 || size < shortestRecord || int(size) > len(plain)-at {
			return s, fmt.Errorf("%w: record %d is too short, or longer than what is left", ErrRecords, i)
		}
		body := plain[at : at+int(size) : at+int(size)]
		at += int(size)
		p := 2
		if u := body[1]; u < 0x80 {
			timeDelta = int64(u>>1) ^ -int64(u&1)
		} else {
			timeDelta, p = varlongAt(body, 1)
		}
		if p >= 0 && p+1 < len(body) && body[p]&body[p+1] < 0x80 {
			offsetDelta, p = short(body[p], body[p+1], p)
		} else {
			offsetDelta, p = varintAt(body, p)
		}
		if keyLen, p = varintAt(body, p); p >= 0 && keyLen > 0 {
			p = skip(body, p, keyLen)
		}
		if p >= 0 && p+1 < len(body) && body[p]&body[p+1] < 0x80 {
			valueLen, p = short(body[p], body[p+1], p)
		} else {
			valueLen, p = varintAt(body, p)
		}
		if p >= 0 && valueLen > 0 {
			p = skip(body, p, valueLen)
		}
		// The common end: no headers, and nothing behind.
		if plainEnd := p == len(body)-1 && body[p] == 0; !plainEnd {
			if headers, p = varintAt(body, p); !headersFit(body, p, headers) {
				return s, fmt.Errorf("%w: record %d does not parse", ErrRecords, i)
			}
		}
		s.inOrder = s.inOrder && offsetDelta == i
		s.nullKey = s.nullKey || keyLen < 0
		if t := base + wire.Timestamp(timeDelta); t != wire.NoTimestamp {
			s.earliest, s.latest = min(s.earliest, t), max(s.latest, t)
		}
	}
	if at != len(plain) {
		return s, fmt.Errorf("%w: %d bytes after the last record", ErrRecords, len(plain)-at)
	}
	return s, nil
}

// shortestRecord has one byte each of attributes, time, offset, null key, null value and header count.
const shortestRecord = 6

// short reads a number of one or two bytes, a and, if need be, b: not both may say that more follow. It returns where the
// number, which starts at, ends.
func short(a, b byte, at int) (int32, int) {
	u, n := uint32(a), 1
	if a >= 0x80 {
		u, n = uint32(a&0x7f)|uint32(b)<<7, 2
	}
	return int32(u>>1) ^ -int32(u&1), at + n
}

// headersFit is the uncommon end of a record: headers, or something wrong.
func headersFit(body []byte, p int, headers int32) bool {
	if p < 0 || headers < 0 || int(headers) > len(body)-p {
		return false
	}
	c := cursor{b: body[p:]}
	return c.skipHeaders(headers) && len(c.b) == 0
}

// skip returns at+n, or -1 if that is beyond b.
func skip(b []byte, at int, n int32) int {
	if int(n) > len(b)-at {
		return -1
	}
	return at + int(n)
}

// varintAt reads a number at, which may be -1 from an earlier failure, and returns where it ends, or -1.
func varintAt(b []byte, at int) (int32, int) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 {
		u := uint32(b[at])
		return int32(u>>1) ^ -int32(u&1), at + 1
	}
	return longVarintAt(b, at)
}

func longVarintAt(b []byte, at int) (int32, int) {
	if at < 0 || at >= len(b) {
		return 0, -1
	}
	if b = b[at:]; len(b) > 1 && b[1] < 0x80 {
		u := uint32(b[0]&0x7f) | uint32(b[1])<<7
		return int32(u>>1) ^ -int32(u&1), at + 2
	}
	c := cursor{b: b}
	v := c.varint()
	if c.bad {
		return 0, -1
	}
	return v, at + len(b) - len(c.b)
}

func varlongAt(b []byte, at int) (int64, int) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 {
		u := uint64(b[at])
		return int64(u>>1) ^ -int64(u&1), at + 1
	}
	if at < 0 || at > len(b) {
		return 0, -1
	}
	v, n := binary.Varint(b[at:])
	if n <= 0 {
		return 0, -1
	}
	return v, at + n
}
