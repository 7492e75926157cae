package main

import (
	"fmt"
	"strconv"
	"strings"
)

// parser reads one schema, line by line.
type parser struct {
	lines []string
	at    int // index of the line to be read next
	s     *schema
	m     *message
}

func parseSchema(text string) (*schema, error) {
	p := &parser{lines: strings.Split(text, "\n"), s: &schema{unstable: never}}
	if err := p.parse(); err != nil {
		return nil, fmt.Errorf("line %d: %w", p.at, err)
	}
	return p.s, nil
}

// next returns the indent and the words of the next line that has any, without its comment. No words: the end.
func (p *parser) next() (indent int, words []string, comment string) {
	for p.at < len(p.lines) {
		line := p.lines[p.at]
		p.at++
		line, comment, _ = strings.Cut(line, "#")
		if words = strings.Fields(line); len(words) > 0 {
			return len(line) - len(strings.TrimLeft(line, " ")), words, strings.TrimSpace(comment)
		}
	}
	return 0, nil, ""
}

func (p *parser) parse() error {
	for p.at < len(p.lines) && strings.HasPrefix(p.lines[p.at], "#") {
		p.s.doc = append(p.s.doc, strings.TrimPrefix(strings.TrimPrefix(p.lines[p.at], "#"), " "))
		p.at++
	}
	_, head, _ := p.next()
	all, flexible, err := p.head(head)
	if err != nil {
		return err
	}
	for {
		indent, words, _ := p.next()
		if len(words) == 0 {
			break
		}
		if indent != 0 {
			return fmt.Errorf("%q stands outside of a section", words[0])
		}
		if err := p.section(words, all, flexible); err != nil {
			return err
		}
	}
	want := map[string]string{"api": "request response", "record": "key value", "data": "fields"}[p.s.kind]
	var have []string
	for _, m := range p.s.messages {
		have = append(have, m.kind)
	}
	if strings.Join(have, " ") != want {
		return fmt.Errorf("sections are %v, not %s", have, want)
	}
	return nil
}

// head reads the line that says what the schema is.
func (p *parser) head(words []string) (all, flexible versions, err error) {
	bad := fmt.Errorf("want api KEY NAME VERSIONS, record SPACE TYPE NAME or data NAME VERSIONS, not %q", strings.Join(words, " "))
	if len(words) < 3 {
		return never, never, bad
	}
	p.s.kind = words[0]
	switch {
	case p.s.kind == "api" && len(words) >= 4:
		p.s.name = words[2]
		if p.s.number, err = strconv.Atoi(words[1]); err != nil {
			return never, never, err
		}
		return p.ranges(words[3:])
	case p.s.kind == "record" && len(words) == 4:
		p.s.space, p.s.name = words[1], words[3]
		p.s.number, err = strconv.Atoi(words[2])
		return never, never, err
	case p.s.kind == "data":
		p.s.name = words[1]
		return p.ranges(words[2:])
	}
	return never, never, bad
}

// ranges reads VERSIONS [flexible N+] [unstable N+].
func (p *parser) ranges(words []string) (all, flexible versions, err error) {
	flexible = never
	if all, err = parseVersions(words[0]); err != nil {
		return never, never, err
	}
	for words = words[1:]; len(words) >= 2; words = words[2:] {
		v, err := parseVersions(words[1])
		switch {
		case err != nil:
			return never, never, err
		case words[0] == "flexible":
			flexible = v.intersect(all)
		case words[0] == "unstable":
			p.s.unstable = v.intersect(all)
		default:
			return never, never, fmt.Errorf("unknown word %q", words[0])
		}
	}
	if len(words) > 0 {
		return never, never, fmt.Errorf("%q lacks its versions", words[0])
	}
	return all, flexible, nil
}

// section reads a message: the structs at its end first become known when they are used, and get their fields last.
func (p *parser) section(words []string, all, flexible versions) (err error) {
	if len(words) > 1 {
		if all, flexible, err = p.ranges(words[1:]); err != nil {
			return err
		}
	}
	if all.empty() {
		return fmt.Errorf("%s lacks its versions", words[0])
	}
	suffix := map[string]string{"request": "Request", "response": "Response", "key": "Key", "value": "Value", "fields": ""}
	end, ok := suffix[words[0]]
	if !ok {
		return fmt.Errorf("unknown section %q", words[0])
	}
	p.m = &message{name: goName(p.s.name) + end, kind: words[0], versions: all, flexible: flexible}
	p.m.root = &structure{goName: p.m.name, versions: all, used: true}
	p.m.structs = append(p.m.structs, p.m.root)
	if err := p.fields(p.m.root, 2); err != nil {
		return err
	}
	for {
		at := p.at
		indent, words, _ := p.next()
		if indent != 2 || len(words) != 2 || words[0] != "struct" {
			p.at = at
			break
		}
		s := p.structure(words[1])
		if len(s.fields) > 0 {
			return fmt.Errorf("struct %s has fields already", s.name)
		}
		if err := p.fields(s, 4); err != nil {
			return err
		}
	}
	p.s.messages = append(p.s.messages, p.m)
	return finishMessage(p.m)
}

// structure returns the struct of that name, made when it is new.
func (p *parser) structure(name string) *structure {
	for _, s := range p.m.structs {
		if s.name == name {
			return s
		}
	}
	s := &structure{name: name, goName: p.m.name + goName(name), versions: never}
	p.m.structs = append(p.m.structs, s)
	return s
}

// fields reads the lines at indent as fields of s, and deeper ones as fields of the struct of the field before them.
func (p *parser) fields(s *structure, indent int) error {
	for {
		at := p.at
		found, words, comment := p.next()
		if len(words) == 0 || found < indent || words[0] == "struct" {
			p.at = at
			return nil
		}
		if found > indent {
			last := s.fields[max(len(s.fields)-1, 0):]
			if found != indent+2 || len(last) == 0 || last[0].structure == nil || len(last[0].structure.fields) > 0 {
				return fmt.Errorf("%s is indented by %d, not %d", words[0], found, indent)
			}
			p.at = at
			if err := p.fields(last[0].structure, found); err != nil {
				return err
			}
			continue
		}
		f, err := p.field(words)
		if err != nil {
			return err
		}
		f.comment = comment
		s.fields = append(s.fields, f)
	}
}

func (p *parser) field(words []string) (*field, error) {
	if len(words) < 2 {
		return nil, fmt.Errorf("field %s lacks its type", words[0])
	}
	f := &field{name: words[0], goName: goName(words[0]), line: p.at, versions: p.m.versions, nullable: never, tag: -1}
	name, isArray := strings.CutPrefix(words[1], "[]")
	name, isNullable := strings.CutSuffix(name, "?")
	f.array = isArray
	if t, ok := scalars[name]; ok {
		f.scalar = &t
	} else if name != "" && name[0] >= 'A' && name[0] <= 'Z' {
		f.structure = p.structure(name)
		f.structure.used = true
	} else {
		return nil, fmt.Errorf("field %s: unknown type %q", f.name, name)
	}
	words = words[2:]
	if len(words) > 0 && words[0][0] >= '0' && words[0][0] <= '9' {
		v, err := parseVersions(words[0])
		if err != nil {
			return nil, err
		}
		f.versions, words = v.intersect(p.m.versions), words[1:]
	}
	if isNullable {
		f.nullable = f.versions
	}
	for ; len(words) >= 2; words = words[2:] {
		if err := f.attribute(words[0], words[1]); err != nil {
			return nil, fmt.Errorf("field %s: %w", f.name, err)
		}
	}
	if len(words) > 0 {
		return nil, fmt.Errorf("field %s: %q lacks its value", f.name, words[0])
	}
	return f, checkField(f, p.m)
}

func (f *field) attribute(name, value string) (err error) {
	switch name {
	case "null":
		v, err := parseVersions(value)
		f.nullable = v.intersect(f.versions)
		return err
	case "tag":
		f.tag, err = strconv.Atoi(value)
		return err
	case "=":
		f.def = value
		return nil
	}
	return fmt.Errorf("unknown word %q", name)
}

// checkField refuses what the generator cannot write.
func checkField(f *field, m *message) error {
	number := f.scalar != nil && !f.array && f.scalar.size > 0 && f.scalar.base != "UUID"
	bytes := f.scalar != nil && f.scalar.base == "bytes"
	switch {
	case f.versions.empty():
		return fmt.Errorf("field %s is in no version of %s", f.name, m.name)
	case f.def == "empty" && (f.tag < 0 || f.nullable != f.versions || !f.array && f.structure == nil):
		return fmt.Errorf("field %s: only a tagged nullable array or structure has the default empty", f.name)
	case f.def != "" && f.def != "empty" && !number:
		return fmt.Errorf("field %s: only a number or boolean has a default", f.name)
	case !f.nullable.empty() && number:
		return fmt.Errorf("field %s: a number is not null", f.name)
	case f.array && bytes:
		return fmt.Errorf("field %s: no arrays of bytes", f.name)
	case f.nullable != f.versions && !f.nullable.empty() && !f.array && (bytes || f.structure != nil || f.tag >= 0):
		return fmt.Errorf("field %s: bytes, structures and tagged fields are nullable everywhere or nowhere", f.name)
	case f.tag >= 0 && f.versions.intersect(m.flexible) != f.versions:
		return fmt.Errorf("field %s: tagged in versions that are not flexible", f.name)
	case f.array && f.scalar != nil && (f.scalar.base == "bool" || f.scalar.base == "float64" || f.scalar.base[0] == 'u'):
		return fmt.Errorf("field %s: no arrays of %s", f.name, f.scalar.base)
	}
	return nil
}

// finishMessage refuses cycles and empty structs, and narrows every struct to the versions that can hold it.
func finishMessage(m *message) error {
	seen := map[string]bool{}
	for _, s := range m.structs {
		if len(s.fields) == 0 && s != m.root {
			return fmt.Errorf("struct %s has no fields", s.name)
		}
		if seen[s.goName] {
			return fmt.Errorf("two structs are named %s", s.goName)
		}
		if !s.used {
			return fmt.Errorf("struct %s is not used", s.name)
		}
		seen[s.goName] = true
		for i, f := range s.taggedFields() {
			if f.tag != i {
				return fmt.Errorf("struct %s: tag %d is missing or taken twice", s.name, i)
			}
		}
		tagged := 0
		for _, f := range s.fields {
			if f.tag >= 0 {
				tagged++
			}
		}
		if tagged != len(s.taggedFields()) {
			return fmt.Errorf("struct %s: tags are not numbered from 0", s.name)
		}
	}
	return narrow(m, m.root, m.versions, 0)
}

func narrow(m *message, s *structure, v versions, depth int) error {
	if depth > len(m.structs) {
		return fmt.Errorf("struct %s contains itself", s.name)
	}
	s.versions = s.versions.cover(v)
	for _, f := range s.fields {
		if f.structure == nil {
			continue
		}
		if (f.tag >= 0 || s.tagged) && !f.array {
			f.structure.tagged = true
		}
		if within := f.versions.intersect(v); !within.empty() {
			if err := narrow(m, f.structure, within, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}
