package wire

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
)

// TestPrimitives: what the Append functions write, Reader reads, and the Size functions know how long it is.
func TestPrimitives(t *testing.T) {
	b := AppendInt8(nil, -3)
	b = AppendBool(AppendBool(b, true), false)
	b = AppendInt16(b, math.MinInt16)
	b = AppendUint16(b, math.MaxUint16)
	b = AppendInt32(b, math.MinInt32)
	b = AppendUint32(b, math.MaxUint32)
	b = AppendInt64(b, math.MinInt64)
	b = AppendFloat64(b, -0.5)
	b = AppendUUID(b, UUID{1, 15: 2})
	r := NewReader(b)
	have := []any{r.Int8(), r.Bool(), r.Bool(), r.Int16(), r.Uint16(), r.Int32(), r.Uint32(), r.Int64(), r.Float64(), r.UUID()}
	want := []any{int8(-3), true, false, int16(math.MinInt16), uint16(math.MaxUint16), int32(math.MinInt32),
		uint32(math.MaxUint32), int64(math.MinInt64), -0.5, UUID{1, 15: 2}}
	if !reflect.DeepEqual(have, want) || r.Finish("all", 0) != nil || r.Offset() != len(b) {
		t.Errorf("have %v, want %v, %v", have, want, r.Err())
	}
}

func TestVarints(t *testing.T) {
	for _, v := range []int64{0, 1, -1, 63, 64, -64, -65, 8191, 8192, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64} {
		b := AppendVarlong(nil, v)
		r := NewReader(b)
		if have := r.Varlong(); have != v || r.Finish("varlong", 0) != nil || SizeVarlong(v) != len(b) {
			t.Errorf("varlong %d became %d in %x of size %d", v, have, b, SizeVarlong(v))
		}
		if int64(int32(v)) != v {
			continue
		}
		b = AppendVarint(nil, int32(v))
		r = NewReader(b)
		if have := r.Varint(); have != int32(v) || r.Finish("varint", 0) != nil || SizeVarint(int32(v)) != len(b) {
			t.Errorf("varint %d became %d in %x of size %d", v, have, b, SizeVarint(int32(v)))
		}
		b = AppendUvarint(nil, uint32(v))
		r = NewReader(b)
		if have := r.Uvarint(); have != uint32(v) || r.Finish("uvarint", 0) != nil || SizeUvarint(uint32(v)) != len(b) {
			t.Errorf("uvarint %d became %d in %x of size %d", uint32(v), have, b, SizeUvarint(uint32(v)))
		}
	}
}

func TestVarintRefusals(t *testing.T) {
	for text, read := range map[string]func(*Reader){
		"":                     func(r *Reader) { r.Uvarint() },
		"\x80":                 func(r *Reader) { r.Uvarint() },
		"\x80\x80\x80\x80\x80": func(r *Reader) { r.Uvarint() },
		"\xff\xff\xff\xff\x10": func(r *Reader) { r.Uvarint() },
		"\x80\x80":             func(r *Reader) { r.Uvarlong() },
		"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02": func(r *Reader) { r.Uvarlong() },
		"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80": func(r *Reader) { r.Varlong() },
	} {
		r := NewReader([]byte(text))
		if read(&r); !errors.Is(r.Err(), ErrMalformed) {
			t.Errorf("%x: %v", text, r.Err())
		}
	}
}

// TestStringsAndBytes: in both encodings, null, empty and more come back, and take what the Size functions say.
func TestStringsAndBytes(t *testing.T) {
	long := strings.Repeat("x", 300)
	for _, compact := range []bool{false, true} {
		for _, s := range []string{"", "a", long} {
			b := AppendString(nil, s, compact)
			r := NewReader(b)
			if have := r.String(compact); have != s || r.Finish("string", 0) != nil || SizeString(s, compact) != len(b) {
				t.Errorf("string %q became %q", s, have)
			}
			b = AppendNullableString(nil, &s, compact)
			r = NewReader(b)
			if p := r.NullableString(compact); p == nil || *p != s || SizeNullableString(p, compact) != len(b) {
				t.Errorf("nullable string %q became %v", s, p)
			}
			b = AppendBytes(nil, []byte(s), compact)
			r = NewReader(b)
			if have := r.Bytes(compact); have == nil || string(have) != s || SizeBytes(have, compact) != len(b) {
				t.Errorf("bytes %q became %q", s, have)
			}
			r = NewReader(AppendNullableBytes(nil, []byte(s), compact))
			if have := r.NullableBytes(compact); have == nil || string(have) != s || SizeNullableBytes(have, compact) != len(b) {
				t.Errorf("nullable bytes %q became %q", s, have)
			}
		}
		null := AppendNullableString(nil, nil, compact)
		r := NewReader(null)
		if p := r.NullableString(compact); p != nil || r.Err() != nil || SizeNullableString(nil, compact) != len(null) {
			t.Errorf("null became %v, %v", p, r.Err())
		}
		r = NewReader(null)
		if r.String(compact); !errors.Is(r.Err(), ErrMalformed) {
			t.Errorf("null string: %v", r.Err())
		}
		r = NewReader(null)
		if p := r.StringPointer(compact, false); p != nil || !errors.Is(r.Err(), ErrMalformed) {
			t.Errorf("null string pointer: %v", r.Err())
		}
		b := AppendStringPointer(nil, nil, compact, false)
		r = NewReader(b)
		if p := r.StringPointer(compact, true); p == nil || *p != "" || SizeStringPointer(nil, compact, false) != len(b) {
			t.Errorf("null, where none may be, was written as %x", b)
		}
		null = AppendNullableBytes(nil, nil, compact)
		r = NewReader(null)
		if have := r.NullableBytes(compact); have != nil || r.Err() != nil || SizeNullableBytes(nil, compact) != len(null) {
			t.Errorf("null became %v, %v", have, r.Err())
		}
		r = NewReader(null)
		if r.Bytes(compact); !errors.Is(r.Err(), ErrMalformed) {
			t.Errorf("null bytes: %v", r.Err())
		}
	}
	tooLong := strings.Repeat("x", 40000)
	if b := AppendString(nil, tooLong, false); len(b) != SizeString(tooLong, false) || len(b) != 2+math.MaxInt16 {
		t.Errorf("a string too long for its encoding takes %d bytes", len(b))
	}
}

// TestLengthRefusals: negative and too long lengths.
func TestLengthRefusals(t *testing.T) {
	for text, read := range map[string]func(*Reader){
		"\xff\xfe":                     func(r *Reader) { r.NullableString(false) },
		"\x00\x02x":                    func(r *Reader) { r.String(false) },
		"\x03x":                        func(r *Reader) { r.String(true) },
		"\xff\xff\xff\xff\x0fx":        func(r *Reader) { r.NullableBytes(true) },
		"\x80\x00\x00\x00":             func(r *Reader) { r.NullableBytes(false) },
		"\x7f\xff\xff\xffx":            func(r *Reader) { r.Bytes(false) },
		"\x80\x00\x00\x01x":            func(r *Reader) { r.ArrayLength(false, true, 1) },
		"\x00\x00\x00\x03xxxxx":        func(r *Reader) { r.ArrayLength(false, true, 2) },
		"\xff\xff\xff\xff":             func(r *Reader) { r.ArrayLength(false, false, 1) },
		"\x00":                         func(r *Reader) { r.ArrayLength(true, false, 1) },
		"\x00\x00\x00\x02xxxxxxx":      func(r *Reader) { ReadInt32s[Partition](r, false, false) },
		"\x00\x00\x00\x01\x00\x09abcd": func(r *Reader) { ReadStrings(r, false, false) },
		"abc":                          func(r *Reader) { r.Raw(-1) },
		"abcd":                         func(r *Reader) { r.Raw(5) },
	} {
		r := NewReader([]byte(text))
		if read(&r); !errors.Is(r.Err(), ErrMalformed) {
			t.Errorf("%x: %v", text, r.Err())
		}
	}
}

// TestFirstErrorStays: after an error nothing is read, nothing is allocated, and the error is the first one.
func TestFirstErrorStays(t *testing.T) {
	r := NewReader([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	r.Fail("the first")
	first := r.Err()
	r.Fail("the second")
	if r.Int8() != 0 || r.Int64() != 0 || r.Uvarint() != 0 || r.Varlong() != 0 || r.String(true) != "" || r.NullableString(true) != nil ||
		r.UUID() != (UUID{}) || r.ArrayLength(true, false, 1) != -1 || ReadInt8s[int8](&r, true, true) != nil ||
		Grow[int64](&r, nil, 9) != nil || r.Present() || r.Remaining() != 0 {
		t.Error("a failed Reader reads")
	}
	if t1 := r.BeginTags(); r.NextTag(&t1) {
		t.Error("a failed Reader has tags")
	}
	if r.Err() != first || r.Finish("x", 3) == nil || !strings.Contains(first.Error(), "the first") {
		t.Errorf("%v became %v", first, r.Err())
	}
}

// TestArrays: all kinds of arrays, in both encodings, null, empty and filled.
func TestArrays(t *testing.T) {
	for _, compact := range []bool{false, true} {
		for n := -1; n < 3; n++ {
			for _, nullable := range []bool{false, true} {
				checkArrays(t, compact, nullable, n)
			}
		}
	}
}

func checkArrays(t *testing.T, compact, nullable bool, n int) {
	t.Helper()
	var (
		i8  []int8
		i2  []int16
		i4  []Partition
		i64 []Offset
		us  []UUID
		ss  []string
	)
	if n >= 0 && (nullable || n > 0) { // what cannot be null comes back as nil when empty
		i8, i2, i4, i64, us, ss = make([]int8, n), make([]int16, n), make([]Partition, n), make([]Offset, n), make([]UUID, n), make([]string, n)
	}
	for i := range n {
		i8[i], i2[i], i4[i], i64[i], us[i][3], ss[i] = int8(-i), int16(-i), Partition(-i), Offset(-i), byte(i), fmt.Sprint(i)
	}
	b := AppendInt8s(nil, i8, compact, nullable)
	b = AppendInt16s(b, i2, compact, nullable)
	b = AppendInt32s(b, i4, compact, nullable)
	b = AppendInt64s(b, i64, compact, nullable)
	b = AppendUUIDs(b, us, compact, nullable)
	b = AppendStrings(b, ss, compact, nullable)
	size := SizeFixed(i8, 1, compact, nullable) + SizeFixed(i2, 2, compact, nullable) + SizeFixed(i4, 4, compact, nullable) +
		SizeFixed(i64, 8, compact, nullable) + SizeFixed(us, 16, compact, nullable) + SizeStrings(ss, compact, nullable)
	r := NewReader(b)
	have := []any{ReadInt8s[int8](&r, compact, nullable), ReadInt16s[int16](&r, compact, nullable), ReadInt32s[Partition](&r, compact, nullable),
		ReadInt64s[Offset](&r, compact, nullable), ReadUUIDs(&r, compact, nullable), ReadStrings(&r, compact, nullable)}
	if want := []any{i8, i2, i4, i64, us, ss}; !reflect.DeepEqual(have, want) || r.Finish("arrays", 0) != nil || size != len(b) {
		t.Errorf("compact %v, nullable %v, %d: have %#v, want %#v, size %d of %d, %v", compact, nullable, n, have, want, size, len(b), r.Err())
	}
}

// TestLongStrings: an array of more strings than the first step.
func TestLongStrings(t *testing.T) {
	ss := make([]string, 3*firstStep+1)
	for i := range ss {
		ss[i] = fmt.Sprint(i)
	}
	r := NewReader(AppendStrings(nil, ss, true, false))
	if have := ReadStrings(&r, true, false); !reflect.DeepEqual(have, ss) || r.Finish("strings", 0) != nil {
		t.Errorf("%d strings became %d, %v", len(ss), len(have), r.Err())
	}
}

// TestAllowance: what is read is paid for, also a structure, and when nothing is left reading ends.
func TestAllowance(t *testing.T) {
	r := NewReader(nil)
	if !r.Charge(allocBase) || r.Charge(1) || !errors.Is(r.Err(), ErrMalformed) {
		t.Errorf("allowance of an empty buffer: %v", r.Err())
	}
	r = NewReader(nil)
	if r.Charge(-1) {
		t.Error("the allowance can be raised")
	}
	r = NewReader(nil)
	for range allocBase/8 + 1 {
		New[int64](&r)
	}
	if !errors.Is(r.Err(), ErrMalformed) {
		t.Error("structures are free")
	}
	// 256 KiB + 4x allow a megabyte of structs for 200,000 bytes of array, but not two.
	for size, want := range map[int]bool{1: true, 8: false} {
		r = NewReader(make([]byte, 200_000))
		if size == 1 {
			s := Grow[[4]byte](&r, nil, 200_000)
			s = Grow(&r, s, 200_000)
			if (len(s) == 200_000) != want {
				t.Errorf("%d elements of 4 bytes, %v", len(s), r.Err())
			}
			continue
		}
		s := Grow[[8]byte](&r, nil, 200_000)
		s = Grow(&r, s, 200_000)
		if len(s) != firstStep || r.Err() == nil {
			t.Errorf("%d elements of 8 bytes, %v", len(s), r.Err())
		}
	}
}

// TestTags: the example of the type, and what may go wrong in it.
func TestTags(t *testing.T) {
	read := func(b []byte) (values map[uint32]int16, rest int8, err error) {
		r := NewReader(b)
		values = map[uint32]int16{}
		for tags := r.BeginTags(); r.NextTag(&tags); {
			switch tags.Tag {
			case 1, 200:
				values[tags.Tag] = r.Int16()
			default:
				r.SkipTag()
			}
		}
		rest = r.Int8()
		return values, rest, r.Finish("tags", 0)
	}
	good := AppendUvarint(nil, 3)
	good = AppendInt16(AppendTag(good, 1, 2), 11)
	good = append(AppendTag(good, 5, 3), "???"...)
	good = AppendInt16(AppendTag(good, 200, 2), 22)
	good = append(good, 9)
	values, rest, err := read(good)
	if err != nil || rest != 9 || !reflect.DeepEqual(values, map[uint32]int16{1: 11, 200: 22}) {
		t.Errorf("%v, then %d, %v", values, rest, err)
	}
	for name, bad := range map[string]string{
		"more tags than bytes":   "\x03\x01\x00\x02\x00",
		"a huge count":           "\xff\xff\xff\xff\x0f\x00",
		"a field that is cut":    "\x01\x05\x04abc",
		"a value that is short":  "\x01\x01\x01ab",
		"a value that is long":   "\x01\x01\x03abcd",
		"a tag twice":            "\x02\x05\x00\x05\x00x",
		"tags that descend":      "\x02\x05\x00\x04\x00x",
		"nothing":                "",
		"a count and no byte on": "\x01",
	} {
		if _, _, err := read([]byte(bad)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := SizeTag(200, 300); n != 2+2+300 {
		t.Errorf("a tagged field takes %d bytes", n)
	}
	r := NewReader(good)
	if r.SkipTags(); r.Int8() != 9 || r.Err() != nil {
		t.Errorf("skipping: %v", r.Err())
	}
}

func TestCheckVersion(t *testing.T) {
	for version, want := range map[int16]bool{-1: false, 0: false, 1: true, 3: true, 4: false} {
		if err := CheckVersion("x", version, 1, 3); (err == nil) != want || err != nil && !errors.Is(err, ErrVersion) {
			t.Errorf("version %d: %v", version, err)
		}
	}
}

// FuzzReader interprets script as calls on a Reader of data: none panics, reads beyond, or works after an error.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, bytes.Repeat([]byte{2}, 200))
	f.Add([]byte{14, 14, 9, 9}, []byte{1, 5, 4, 1, 1, 1, 1, 3, 'a', 'b'})
	calls := []func(*Reader){
		func(r *Reader) { r.Int8() }, func(r *Reader) { r.Int16() }, func(r *Reader) { r.Int32() }, func(r *Reader) { r.Int64() },
		func(r *Reader) { r.UUID() }, func(r *Reader) { r.Uvarint() }, func(r *Reader) { r.Varint() }, func(r *Reader) { r.Varlong() },
		func(r *Reader) { _ = r.String(false) }, func(r *Reader) { r.NullableString(true) },
		func(r *Reader) { r.Bytes(true) }, func(r *Reader) { r.NullableBytes(false) },
		func(r *Reader) { ReadStrings(r, true, true) }, func(r *Reader) { ReadInt64s[Offset](r, false, true) },
		func(r *Reader) { r.SkipTags() }, func(r *Reader) { r.Raw(3) }, func(r *Reader) { New[[100]byte](r) },
	}
	f.Fuzz(func(t *testing.T, script, data []byte) {
		r := NewReader(data)
		for _, c := range script {
			before, failed := r.Offset(), r.Err()
			calls[int(c)%len(calls)](&r)
			if r.Err() == nil && (r.Offset() < before || r.Offset() > len(data)) || r.Remaining() < 0 || r.allowance < 0 {
				t.Fatalf("at %d of %d after %d, allowance %d", r.Offset(), len(data), before, r.allowance)
			}
			if failed != nil && r.Err() != failed {
				t.Fatalf("%v became %v", failed, r.Err())
			}
		}
	})
}
