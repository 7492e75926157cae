package wire

import "unsafe"

// Arrays, nullable structures and tagged fields: what the generated decoders of wire/message and wire/record stand on.

// firstStep is how many elements of an array are allocated before any of them was read.
const firstStep = 1024

// smallestAllocation is what a slice is charged at least.
const smallestAllocation = 16

// ArrayLength reads the count of an array, -1 for null, which is an error unless nullable. A count that the remaining
// bytes cannot hold, at minElement (>= 1) bytes each, is an error; so the caller may loop to it, growing with [Grow].
func (r *Reader) ArrayLength(compact, nullable bool, minElement int) int {
	var n int64
	if compact {
		n = int64(r.Uvarint()) - 1
	} else {
		n = int64(r.Int32())
	}
	switch {
	case r.err != nil || n == -1 && nullable:
		return -1
	case n == -1:
		r.Fail("null where an array must be")
		return -1
	case n < -1 || n > int64(r.Remaining()/max(minElement, 1)):
		r.Fail("array of %d elements of at least %d bytes, %d left", n, minElement, r.Remaining())
		return -1
	}
	return int(n)
}

// MinSize returns flexible or classic: the least that an element takes in the one encoding and in the other.
func MinSize(compact bool, classic, flexible int) int {
	if compact {
		return flexible
	}
	return classic
}

// Grow returns s with room for more of its n elements: for at most 1024 at first, and for all of them once those were
// read. It returns s as it is when the Reader has failed, or fails now because its allowance is spent.
func Grow[T any](r *Reader, s []T, n int) []T {
	if r.err != nil || len(s) >= n {
		return s
	}
	if len(s) == 0 {
		n = min(n, firstStep)
	}
	var element T
	if !r.Charge(max(n*int(unsafe.Sizeof(element)), smallestAllocation)) {
		return s
	}
	grown := make([]T, n)
	copy(grown, s)
	return grown
}

// New returns a new T, paid from the allowance of r.
func New[T any](r *Reader) *T {
	v := new(T)
	r.Charge(int(unsafe.Sizeof(*v)))
	return v
}

// Present reads the mark before a nullable structure outside of tagged fields: negative for null.
func (r *Reader) Present() bool { return r.Int8() >= 0 && r.err == nil }

// fixed reads an array whose elements take size bytes each: the count (-1: null) and the bytes. They were counted
// against what remains, so that at most eight bytes are allocated for one of them.
func (r *Reader) fixed(compact, nullable bool, size int) (int, Reader) {
	n := r.ArrayLength(compact, nullable, size)
	if n <= 0 {
		return n, Reader{}
	}
	return n, Reader{buf: r.take(n * size)}
}

// slice allocates the elements of an array: nil for null, and for an empty one that cannot be null.
func slice[T any](r *Reader, n int, nullable bool) []T {
	var element T
	if n < 0 || n == 0 && !nullable || !r.Charge(max(n*int(unsafe.Sizeof(element)), smallestAllocation)) {
		return nil
	}
	return make([]T, n)
}

// ReadInt8s reads an array of bytes.
func ReadInt8s[T ~int8](r *Reader, compact, nullable bool) []T {
	n, data := r.fixed(compact, nullable, 1)
	s := slice[T](r, n, nullable)
	for i := range s {
		s[i] = T(data.Int8())
	}
	return s
}

// ReadInt16s reads an array of numbers of two bytes.
func ReadInt16s[T ~int16](r *Reader, compact, nullable bool) []T {
	n, data := r.fixed(compact, nullable, 2)
	s := slice[T](r, n, nullable)
	for i := range s {
		s[i] = T(data.Int16())
	}
	return s
}

// ReadInt32s reads an array of numbers of four bytes.
func ReadInt32s[T ~int32](r *Reader, compact, nullable bool) []T {
	n, data := r.fixed(compact, nullable, 4)
	s := slice[T](r, n, nullable)
	for i := range s {
		s[i] = T(data.Int32())
	}
	return s
}

// ReadInt64s reads an array of numbers of eight bytes.
func ReadInt64s[T ~int64](r *Reader, compact, nullable bool) []T {
	n, data := r.fixed(compact, nullable, 8)
	s := slice[T](r, n, nullable)
	for i := range s {
		s[i] = T(data.Int64())
	}
	return s
}

// ReadUUIDs reads an array of UUIDs.
func ReadUUIDs(r *Reader, compact, nullable bool) []UUID {
	n, data := r.fixed(compact, nullable, len(UUID{}))
	s := slice[UUID](r, n, nullable)
	for i := range s {
		s[i] = data.UUID()
	}
	return s
}

// ReadStrings reads an array of strings.
func ReadStrings(r *Reader, compact, nullable bool) []string {
	n := r.ArrayLength(compact, nullable, MinSize(compact, 2, 1))
	if n == 0 && nullable {
		return []string{}
	}
	s := Grow[string](r, nil, n)
	for i := 0; i < len(s) && r.err == nil; i++ {
		s[i] = r.String(compact)
		if i == len(s)-1 {
			s = Grow(r, s, n)
		}
	}
	return s
}

// Tags is the state of a loop over the tagged fields at the end of a flexible structure:
//
//	for t := r.BeginTags(); r.NextTag(&t); {
//		switch t.Tag {
//		case 0:
//			m.ClusterID = r.NullableString(true)
//		default:
//			r.SkipTag()
//		}
//	}
//
// Within the loop the Reader ends where the field's value ends, and a value that is not read to its end is an error.
type Tags struct {
	Tag   uint32
	left  uint32
	last  int64
	outer []byte // the buffer outside the field's value; nil before the first
}

// BeginTags reads the count of tagged fields, each of which takes two bytes at least.
func (r *Reader) BeginTags() Tags {
	n := r.Uvarint()
	if int64(n) > int64(r.Remaining()/2) {
		r.Fail("%d tagged fields, %d bytes left", n, r.Remaining())
		return Tags{}
	}
	return Tags{left: n, last: -1}
}

// NextTag ends the field before and begins the next, if there is one. Tags ascend.
func (r *Reader) NextTag(t *Tags) bool {
	if r.err != nil {
		return false
	}
	if t.outer != nil {
		if r.Remaining() > 0 {
			r.Fail("tag %d: %d bytes left over", t.Tag, r.Remaining())
			return false
		}
		r.buf, t.outer = t.outer, nil
	}
	if t.left == 0 {
		return false
	}
	t.left--
	t.Tag = r.Uvarint()
	size, _ := r.length(int64(r.Uvarint()), "tagged field")
	if r.err != nil {
		return false
	}
	if int64(t.Tag) <= t.last {
		r.Fail("tag %d follows tag %d", t.Tag, t.last)
		return false
	}
	t.last = int64(t.Tag)
	t.outer, r.buf = r.buf, r.buf[:r.off+size]
	return true
}

// SkipTag skips what is left of the value of a tagged field.
func (r *Reader) SkipTag() { r.off = len(r.buf) }

// SkipTags reads past tagged fields of which none is known.
func (r *Reader) SkipTags() {
	for t := r.BeginTags(); r.NextTag(&t); {
		r.SkipTag()
	}
}

// Count returns what stands for the length of s in an encoding: -1 for a nil slice that may be null.
func Count[T any](s []T, nullable bool) int {
	if s == nil && nullable {
		return -1
	}
	return len(s)
}

// SizeCount returns how many bytes the count of s takes.
func SizeCount[T any](s []T, compact, nullable bool) int {
	return SizeArrayLength(Count(s, nullable), compact)
}

// AppendCount appends the count of s.
func AppendCount[T any](b []byte, s []T, compact, nullable bool) []byte {
	return AppendArrayLength(b, Count(s, nullable), compact)
}

// SizeFixed returns how many bytes an array of numbers or UUIDs of size bytes each takes.
func SizeFixed[T any](s []T, size int, compact, nullable bool) int {
	return SizeCount(s, compact, nullable) + len(s)*size
}

// AppendInt8s appends what ReadInt8s reads.
func AppendInt8s[T ~int8](b []byte, s []T, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = append(b, byte(v))
	}
	return b
}

// AppendInt16s appends what ReadInt16s reads.
func AppendInt16s[T ~int16](b []byte, s []T, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = AppendInt16(b, int16(v))
	}
	return b
}

// AppendInt32s appends what ReadInt32s reads.
func AppendInt32s[T ~int32](b []byte, s []T, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = AppendInt32(b, int32(v))
	}
	return b
}

// AppendInt64s appends what ReadInt64s reads.
func AppendInt64s[T ~int64](b []byte, s []T, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = AppendInt64(b, int64(v))
	}
	return b
}

// AppendUUIDs appends what ReadUUIDs reads.
func AppendUUIDs(b []byte, s []UUID, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = append(b, v[:]...)
	}
	return b
}

// AppendStrings appends what ReadStrings reads.
func AppendStrings(b []byte, s []string, compact, nullable bool) []byte {
	b = AppendCount(b, s, compact, nullable)
	for _, v := range s {
		b = AppendString(b, v, compact)
	}
	return b
}

// SizeStrings returns how many bytes AppendStrings appends.
func SizeStrings(s []string, compact, nullable bool) int {
	n := SizeCount(s, compact, nullable)
	for _, v := range s {
		n += SizeString(v, compact)
	}
	return n
}

// SizeTag returns how many bytes a tagged field takes whose value takes size bytes.
func SizeTag(tag uint32, size int) int { return SizeUvarint(tag) + SizeUvarint(uint32(size)) + size }

// AppendTag appends what stands before the size bytes of a tagged field's value.
func AppendTag(b []byte, tag uint32, size int) []byte {
	return AppendUvarint(AppendUvarint(b, tag), uint32(size))
}
