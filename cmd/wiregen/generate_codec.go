package main

import "fmt"

// Methods of the root are exported, those of the structs within it are not.
func (e *emitter) methodName(s *structure, exported, internal string) string {
	if s == e.m.root {
		return exported
	}
	return internal
}

func (e *emitter) decode(s *structure) {
	e.function(s, "decode(r *wire.Reader, version int16)", func() {
		e.grouped(s, func(f *field) { e.read(s, f) }, setDefault)
		rest := ""
		for _, f := range s.taggedFields() {
			rest += setDefault(f)
		}
		e.flexible(s, func() {
			if len(s.taggedFields()) == 0 {
				e.p("r.SkipTags()")
			} else {
				e.p("m.decodeTags(r, version)")
			}
		}, rest)
	})
	if len(s.taggedFields()) > 0 {
		e.decodeTags(s)
	}
}

func (e *emitter) decodeTags(s *structure) {
	e.p("func (m *%s) decodeTags(r *wire.Reader, version int16) {", s.goName)
	for _, f := range s.taggedFields() {
		e.WriteString(setDefault(f))
	}
	known := e.m.flexible.intersect(s.versions)
	e.p("for t := r.BeginTags(); r.NextTag(&t); {\nswitch {")
	for _, f := range s.taggedFields() {
		if c := condition(f.versions, known); c == "true" {
			e.p("case t.Tag == %d:", f.tag)
		} else {
			e.p("case t.Tag == %d && %s:", f.tag, c)
		}
		e.read(s, f)
	}
	e.p("default:\nr.SkipTag()\n}\n}\n}\n")
}

// read writes the statements that read the value of a field.
func (e *emitter) read(s *structure, f *field) {
	name, flex, null := "m."+f.goName, flexIn(f), e.null(s, f)
	switch {
	case f.array && f.structure != nil:
		e.readStructs(f, name, flex, null)
	case f.array && (f.scalar.goType == "string" || f.scalar.base == "UUID"):
		e.p("%s = wire.Read%s(r, %s, %s)", name, plural(f.scalar), flex, null)
	case f.array:
		e.p("%s = wire.Read%s[%s](r, %s, %s)", name, plural(f.scalar), f.scalar.goType, flex, null)
	case f.pointer() && f.structure != nil:
		present := "r.Present()"
		if f.tag >= 0 {
			present = "r.Uvarint() != 0" // so Kafka writes null within a tagged field
		}
		e.p("if %s {\n%s = wire.New[%s](r)\n%s.decode(r, version)", present, name, f.structure.goName, name)
		if f.def == "empty" {
			e.p("} else {\n%s = nil", name)
		}
		e.p("}")
	case f.structure != nil:
		e.p("%s.decode(r, version)", name)
	case f.pointer() && null != "true":
		e.p("%s = r.StringPointer(%s, %s)", name, flex, null)
	case f.pointer():
		e.p("%s = r.NullableString(%s)", name, flex)
	case f.scalar.size == 0 && null == "true":
		e.p("%s = r.NullableBytes(%s)", name, flex)
	case f.scalar.size == 0:
		e.p("%s = r.%s(%s)", name, method(f.scalar), flex)
	case f.scalar.base == "UUID" || f.scalar.goType == f.scalar.base:
		e.p("%s = r.%s()", name, method(f.scalar))
	default:
		e.p("%s = %s(r.%s())", name, f.scalar.goType, method(f.scalar))
	}
}

func (e *emitter) readStructs(f *field, name, flex, null string) {
	t := f.structure
	least := fmt.Sprintf("wire.MinSize(%s, %d, %d)", flex, e.minSize(t, false), e.minSize(t, true))
	if flex == "true" || e.m.flexible.intersect(t.versions) == t.versions {
		least = fmt.Sprint(e.minSize(t, true))
	} else if e.m.flexible.intersect(t.versions).empty() {
		least = fmt.Sprint(e.minSize(t, false))
	}
	e.p("if n := r.ArrayLength(%s, %s, %s); n > 0 {", flex, null, least)
	e.p("s := wire.Grow[%s](r, nil, n)", t.goName)
	e.p("for i := 0; i < len(s) && r.Err() == nil; i++ {\ns[i].decode(r, version)")
	e.p("if i == len(s)-1 {\ns = wire.Grow(r, s, n)\n}\n}\n%s = s", name)
	if null != "false" {
		e.p("} else if n == 0 {\n%s = []%s{}", name, t.goName)
	}
	e.p("}")
}

// tagCondition is the condition under which a tagged field is written.
func (e *emitter) tagCondition(s *structure, f *field) string {
	c := e.differs(f)
	if in := condition(f.versions, e.m.flexible.intersect(s.versions)); in != "true" {
		return in + " && (" + c + ")"
	}
	return c
}

func (e *emitter) size(s *structure) {
	if s == e.m.root {
		e.p("// Size returns how many bytes AppendTo appends, exactly.")
	}
	fixed := 0 // bytes of fields of fixed size that are there in all versions
	for _, f := range s.plain() {
		if !f.array && f.scalar != nil && f.scalar.size > 0 && condition(f.versions, s.versions) == "true" {
			fixed += f.scalar.size
		}
	}
	e.function(s, e.methodName(s, "Size", "size")+"(version int16) int", func() {
		e.p("n := %d", fixed)
		e.grouped(s, func(f *field) {
			if f.array || f.scalar == nil || f.scalar.size == 0 || condition(f.versions, s.versions) != "true" {
				e.sizeOf(s, f, "n")
			}
		}, nil)
		e.flexible(s, func() { e.sizeTags(s) }, "")
		e.p("return n")
	})
}

func (e *emitter) sizeTags(s *structure) {
	tagged := s.taggedFields()
	if len(tagged) == 0 {
		e.p("n++")
		return
	}
	e.p("n++ // fewer than 128 tagged fields")
	for _, f := range tagged {
		e.p("if %s {\nsize := 0", e.tagCondition(s, f))
		e.sizeOf(s, f, "size")
		e.p("n += wire.SizeTag(%d, size)\n}", f.tag)
	}
}

// sizeOf writes the statements that add the size of a field's value to the variable n.
func (e *emitter) sizeOf(s *structure, f *field, n string) {
	name, flex, null := "m."+f.goName, flexIn(f), e.null(s, f)
	switch {
	case f.array && f.structure != nil:
		e.p("%s += wire.SizeCount(%s, %s, %s)", n, name, flex, null)
		e.p("for i := range %s {\n%s += %s[i].size(version)\n}", name, n, name)
	case f.array && f.scalar.goType == "string":
		e.p("%s += wire.SizeStrings(%s, %s, %s)", n, name, flex, null)
	case f.array:
		e.p("%s += wire.SizeFixed(%s, %d, %s, %s)", n, name, f.scalar.size, flex, null)
	case f.pointer() && f.structure != nil:
		e.p("%s++\nif %s != nil {\n%s += %s.size(version)\n}", n, name, n, name)
	case f.structure != nil:
		e.p("%s += %s.size(version)", n, name)
	case f.pointer() && null != "true":
		e.p("%s += wire.SizeStringPointer(%s, %s, %s)", n, name, flex, null)
	case f.pointer():
		e.p("%s += wire.SizeNullableString(%s, %s)", n, name, flex)
	case f.scalar.size == 0 && null == "true":
		e.p("%s += wire.SizeNullableBytes(%s, %s)", n, name, flex)
	case f.scalar.size == 0:
		e.p("%s += wire.Size%s(%s, %s)", n, method(f.scalar), name, flex)
	default:
		e.p("%s += %d", n, f.scalar.size)
	}
}

func (e *emitter) append(s *structure) {
	if s == e.m.root {
		e.p("// AppendTo appends m in that version to b. Fields that the version lacks are dropped.")
	}
	e.function(s, e.methodName(s, "AppendTo", "appendTo")+"(b []byte, version int16) []byte", func() {
		e.grouped(s, func(f *field) { e.write(s, f) }, nil)
		e.flexible(s, func() {
			if len(s.taggedFields()) == 0 {
				e.p("b = append(b, 0)")
			} else {
				e.p("b = m.appendTags(b, version)")
			}
		}, "")
		e.p("return b")
	})
	if len(s.taggedFields()) > 0 {
		e.appendTags(s)
	}
}

func (e *emitter) appendTags(s *structure) {
	e.p("func (m *%s) appendTags(b []byte, version int16) []byte {", s.goName)
	e.p("tags := uint32(0)")
	for _, f := range s.taggedFields() {
		e.p("if %s {\ntags++\n}", e.tagCondition(s, f))
	}
	e.p("b = wire.AppendUvarint(b, tags)")
	for _, f := range s.taggedFields() {
		e.p("if %s {\nsize := 0", e.tagCondition(s, f))
		e.sizeOf(s, f, "size")
		e.p("b = wire.AppendTag(b, %d, size)", f.tag)
		e.write(s, f)
		e.p("}")
	}
	e.p("return b\n}\n")
}

// write writes the statements that append the value of a field to b.
func (e *emitter) write(s *structure, f *field) {
	name, flex, null := "m."+f.goName, flexIn(f), e.null(s, f)
	switch {
	case f.array && f.structure != nil:
		e.p("b = wire.AppendCount(b, %s, %s, %s)", name, flex, null)
		e.p("for i := range %s {\nb = %s[i].appendTo(b, version)\n}", name, name)
	case f.array:
		e.p("b = wire.Append%s(b, %s, %s, %s)", plural(f.scalar), name, flex, null)
	case f.pointer() && f.structure != nil && f.tag >= 0:
		e.p("if %s == nil {\nb = append(b, 0)\n} else {\nb = append(b, 1)\nb = %s.appendTo(b, version)\n}", name, name)
	case f.pointer() && f.structure != nil:
		e.p("if %s == nil {\nb = wire.AppendInt8(b, -1)\n} else {\nb = append(b, 1)\nb = %s.appendTo(b, version)\n}", name, name)
	case f.structure != nil:
		e.p("b = %s.appendTo(b, version)", name)
	case f.pointer() && null != "true":
		e.p("b = wire.AppendStringPointer(b, %s, %s, %s)", name, flex, null)
	case f.pointer():
		e.p("b = wire.AppendNullableString(b, %s, %s)", name, flex)
	case f.scalar.size == 0 && null == "true":
		e.p("b = wire.AppendNullableBytes(b, %s, %s)", name, flex)
	case f.scalar.size == 0:
		e.p("b = wire.Append%s(b, %s, %s)", method(f.scalar), name, flex)
	case f.scalar.base == "UUID" || f.scalar.goType == f.scalar.base:
		e.p("b = wire.Append%s(b, %s)", method(f.scalar), name)
	default:
		e.p("b = wire.Append%s(b, %s(%s))", method(f.scalar), f.scalar.base, name)
	}
}
