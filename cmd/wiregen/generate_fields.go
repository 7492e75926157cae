package main

import (
	"fmt"
	"strings"
)

// condition returns the Go condition under which version is within v, given that it is within known: "true", "false"
// or a comparison.
func condition(v, known versions) string {
	in := v.intersect(known)
	switch {
	case in.empty():
		return "false"
	case in == known:
		return "true"
	case in.low == in.high:
		return fmt.Sprintf("version == %d", in.low)
	case in.low == known.low:
		return fmt.Sprintf("version <= %d", in.high)
	case in.high == known.high:
		return fmt.Sprintf("version >= %d", in.low)
	}
	return fmt.Sprintf("version >= %d && version <= %d", in.low, in.high)
}

// function writes a method whose body may use flex, which tells whether the version is flexible.
func (e *emitter) function(s *structure, signature string, body func()) {
	start := e.Len()
	body()
	text := string(e.Bytes()[start:])
	e.Truncate(start)
	e.p("func (m *%s) %s {", s.goName, signature)
	if strings.Contains(text, "flex") {
		if c := condition(e.m.flexible, s.versions); c != "true" && c != "false" {
			e.p("flex := %s", c)
		} else {
			text = strings.ReplaceAll(text, "flex", c)
		}
	}
	e.WriteString(text)
	e.p("}\n")
}

// flexible writes the statements that are for flexible versions alone, and what stands for them in the others.
func (e *emitter) flexible(s *structure, body func(), otherwise string) {
	switch condition(e.m.flexible, s.versions) {
	case "true":
		body()
	case "false":
		e.WriteString(otherwise)
	default:
		e.p("if flex {")
		body()
		if otherwise != "" {
			e.p("} else {\n%s", otherwise)
		}
		e.p("}")
	}
}

// grouped calls write for the runs of fields that share a condition, within that condition.
func (e *emitter) grouped(s *structure, write func(f *field), otherwise func(f *field) string) {
	fields := s.plain()
	for len(fields) > 0 {
		c := condition(fields[0].versions, s.versions)
		n := 1
		for n < len(fields) && condition(fields[n].versions, s.versions) == c {
			n++
		}
		if c == "false" {
			fields = fields[n:]
			continue
		}
		if c != "true" {
			e.p("if %s {", c)
		}
		rest := ""
		for _, f := range fields[:n] {
			write(f)
			if otherwise != nil {
				rest += otherwise(f)
			}
		}
		if c != "true" && rest != "" {
			e.p("} else {\n%s", rest)
		}
		if c != "true" {
			e.p("}")
		}
		fields = fields[n:]
	}
}

// within returns the condition for null, given that the field is there.
func (e *emitter) null(s *structure, f *field) string {
	return condition(f.nullable, f.versions.intersect(s.versions))
}

// flexIn returns "true" in tagged fields, which only flexible versions have, and else "flex".
func flexIn(f *field) string {
	if f.tag >= 0 {
		return "true"
	}
	return "flex"
}

// setDefault returns the statement that gives a field of a zero struct its default, or nothing.
func setDefault(f *field) string {
	switch {
	case f.def == "empty" && f.array:
		return fmt.Sprintf("m.%s = %s{}\n", f.goName, f.goType())
	case f.def == "empty":
		return fmt.Sprintf("m.%s = new(%s)\nm.%s.SetDefaults()\n", f.goName, f.structure.goName, f.goName)
	case f.def != "":
		return fmt.Sprintf("m.%s = %s\n", f.goName, f.def)
	case f.structure != nil && !f.array && !f.pointer() && hasDefaults(f.structure):
		return fmt.Sprintf("m.%s.SetDefaults()\n", f.goName)
	}
	return ""
}

func hasDefaults(s *structure) bool {
	for _, f := range s.fields {
		if setDefault(f) != "" {
			return true
		}
	}
	return false
}

func (e *emitter) defaults(s *structure) {
	e.p("// SetDefaults makes m what Kafka takes for fields that were not sent.")
	e.p("func (m *%s) SetDefaults() {\n*m = %s{}", s.goName, s.goName)
	for _, f := range s.fields {
		e.WriteString(setDefault(f))
	}
	e.p("}\n")
}

func (e *emitter) isDefault(s *structure) {
	var terms []string
	for _, f := range s.fields {
		terms = append(terms, "!("+e.differs(f)+")")
	}
	e.p("func (m *%s) isDefault() bool {\nreturn %s\n}\n", s.goName, strings.Join(terms, " &&\n"))
}

// differs returns the condition under which a field is not its default.
func (e *emitter) differs(f *field) string {
	name := "m." + f.goName
	switch {
	case f.def == "empty" && f.array:
		return name + " == nil || len(" + name + ") > 0"
	case f.def == "empty":
		return name + " == nil || !" + name + ".isDefault()"
	case f.pointer():
		return name + " != nil"
	case f.array || f.scalar != nil && f.scalar.base == "bytes":
		if !f.nullable.empty() {
			return name + " != nil"
		}
		return "len(" + name + ") > 0"
	case f.structure != nil:
		return "!" + name + ".isDefault()"
	case f.scalar.goType == "string":
		return name + ` != ""`
	case f.scalar.base == "UUID":
		return "!" + name + ".IsZero()"
	case f.scalar.base == "bool" && f.def == "true":
		return "!" + name
	case f.scalar.base == "bool":
		return name
	case f.def != "":
		return name + " != " + f.def
	}
	return name + " != 0"
}

// plural is the suffix of the wire functions for an array.
func plural(t *scalar) string {
	if t.base == "UUID" {
		return "UUIDs"
	}
	return strings.ToUpper(t.base[:1]) + t.base[1:] + "s"
}

func method(t *scalar) string { return strings.ToUpper(t.base[:1]) + t.base[1:] }

// minSize returns the fewest bytes that a struct takes in any of its versions, flexible ones or the others.
func (e *emitter) minSize(s *structure, flexible bool) int {
	least := -1
	for v := s.versions.low; v <= s.versions.high; v++ {
		if e.m.flexible.contains(v) != flexible {
			continue
		}
		n := 0
		for _, f := range s.plain() {
			if f.versions.contains(v) {
				n += e.minField(f, v, flexible)
			}
		}
		if flexible {
			n++ // the count of tagged fields
		}
		if least < 0 || n < least {
			least = n
		}
	}
	return max(least, 1)
}

func (e *emitter) minField(f *field, version int, flexible bool) int {
	switch {
	case f.array && flexible:
		return 1
	case f.array:
		return 4
	case f.structure != nil && f.nullable.contains(version):
		return 1
	case f.structure != nil:
		return e.minSize(f.structure, flexible)
	case f.scalar.size > 0:
		return f.scalar.size
	case flexible:
		return 1
	case f.scalar.base == "string":
		return 2
	}
	return 4
}
