package wire

import (
	"encoding/binary"
	"math"
	"math/bits"
)

// The Append functions write what [Reader] reads; each returns b, longer.

// AppendInt8 appends one byte.
func AppendInt8(b []byte, v int8) []byte { return append(b, byte(v)) }

// AppendBool appends 1 or 0.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendInt16 appends two bytes.
func AppendInt16(b []byte, v int16) []byte { return binary.BigEndian.AppendUint16(b, uint16(v)) }

// AppendUint16 appends two bytes.
func AppendUint16(b []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(b, v) }

// AppendInt32 appends four bytes.
func AppendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }

// AppendUint32 appends four bytes.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendInt64 appends eight bytes.
func AppendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

// AppendFloat64 appends eight bytes.
func AppendFloat64(b []byte, v float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(v))
}

// AppendUUID appends sixteen bytes.
func AppendUUID(b []byte, v UUID) []byte { return append(b, v[:]...) }

// AppendUvarint appends one to five bytes.
func AppendUvarint(b []byte, v uint32) []byte { return binary.AppendUvarint(b, uint64(v)) }

// AppendVarint appends a zig-zag number of one to five bytes.
func AppendVarint(b []byte, v int32) []byte {
	return binary.AppendUvarint(b, uint64(uint32(v<<1)^uint32(v>>31)))
}

// AppendVarlong appends a zig-zag number of one to ten bytes.
func AppendVarlong(b []byte, v int64) []byte { return binary.AppendVarint(b, v) }

// appendStringLength appends the length of a string (two bytes, or a varint when compact).
func appendStringLength(b []byte, n int, compact bool) []byte {
	if compact {
		return AppendUvarint(b, uint32(n+1))
	}
	return AppendInt16(b, int16(n))
}

// AppendArrayLength appends the count of an array, or the length of a byte field; -1 is null.
func AppendArrayLength(b []byte, n int, compact bool) []byte {
	if compact {
		return AppendUvarint(b, uint32(n+1))
	}
	return AppendInt32(b, int32(n))
}

// AppendString appends a string. Outside flexible versions it must be shorter than 32768 bytes; a longer one is cut.
func AppendString(b []byte, s string, compact bool) []byte {
	if !compact && len(s) > math.MaxInt16 {
		s = s[:math.MaxInt16]
	}
	return append(appendStringLength(b, len(s), compact), s...)
}

// AppendNullableString appends a string or null.
func AppendNullableString(b []byte, s *string, compact bool) []byte {
	if s == nil {
		return appendStringLength(b, -1, compact)
	}
	return AppendString(b, *s, compact)
}

// AppendStringPointer appends a string or null; null is written as "" unless it is nullable.
func AppendStringPointer(b []byte, s *string, compact, nullable bool) []byte {
	if s == nil && !nullable {
		return AppendString(b, "", compact)
	}
	return AppendNullableString(b, s, compact)
}

// AppendBytes appends bytes; nil is written as empty.
func AppendBytes(b, v []byte, compact bool) []byte {
	return append(AppendArrayLength(b, len(v), compact), v...)
}

// AppendNullableBytes appends bytes; nil is written as null.
func AppendNullableBytes(b, v []byte, compact bool) []byte {
	if v == nil {
		return AppendArrayLength(b, -1, compact)
	}
	return AppendBytes(b, v, compact)
}

// SizeUvarint returns how many bytes AppendUvarint appends.
func SizeUvarint(v uint32) int { return (bits.Len32(v|1) + 6) / 7 }

// SizeVarint returns how many bytes AppendVarint appends.
func SizeVarint(v int32) int { return SizeUvarint(uint32(v<<1) ^ uint32(v>>31)) }

// SizeVarlong returns how many bytes AppendVarlong appends.
func SizeVarlong(v int64) int { return (bits.Len64(uint64(v<<1)^uint64(v>>63)|1) + 6) / 7 }

// SizeArrayLength returns how many bytes AppendArrayLength appends.
func SizeArrayLength(n int, compact bool) int {
	if compact {
		return SizeUvarint(uint32(n + 1))
	}
	return 4
}

// SizeString returns how many bytes AppendString appends.
func SizeString(s string, compact bool) int {
	if compact {
		return SizeUvarint(uint32(len(s)+1)) + len(s)
	}
	return 2 + min(len(s), math.MaxInt16)
}

// SizeNullableString returns how many bytes AppendNullableString appends.
func SizeNullableString(s *string, compact bool) int {
	if s != nil {
		return SizeString(*s, compact)
	}
	if compact {
		return 1
	}
	return 2
}

// SizeStringPointer returns how many bytes AppendStringPointer appends.
func SizeStringPointer(s *string, compact, nullable bool) int {
	if s == nil && !nullable {
		return SizeString("", compact)
	}
	return SizeNullableString(s, compact)
}

// SizeBytes returns how many bytes AppendBytes and, for non-nil v, AppendNullableBytes append.
func SizeBytes(v []byte, compact bool) int { return SizeArrayLength(len(v), compact) + len(v) }

// SizeNullableBytes returns how many bytes AppendNullableBytes appends.
func SizeNullableBytes(v []byte, compact bool) int {
	if v == nil {
		return SizeArrayLength(-1, compact)
	}
	return SizeBytes(v, compact)
}
