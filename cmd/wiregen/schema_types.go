package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// versions is an inclusive range of message versions.
type versions struct{ low, high int }

// never is the range without a version.
var never = versions{0, -1}

func (v versions) empty() bool { return v.low > v.high }

func (v versions) contains(version int) bool { return v.low <= version && version <= v.high }

func (v versions) intersect(o versions) versions {
	r := versions{max(v.low, o.low), min(v.high, o.high)}
	if r.empty() {
		return never
	}
	return r
}

// cover returns the smallest range that contains both.
func (v versions) cover(o versions) versions {
	switch {
	case v.empty():
		return o
	case o.empty():
		return v
	}
	return versions{min(v.low, o.low), max(v.high, o.high)}
}

func (v versions) String() string {
	switch {
	case v.high == math.MaxInt16:
		return fmt.Sprintf("%d+", v.low)
	case v.low == v.high:
		return strconv.Itoa(v.low)
	}
	return fmt.Sprintf("%d-%d", v.low, v.high)
}

// parseVersions reads "3", "3+" or "3-7".
func parseVersions(s string) (versions, error) {
	low, high, dash := strings.Cut(s, "-")
	open := strings.HasSuffix(low, "+") && !dash
	a, err := strconv.ParseUint(strings.TrimSuffix(low, "+"), 10, 15)
	if err != nil {
		return never, fmt.Errorf("versions %q: want 3, 3+ or 3-7", s)
	}
	v := versions{int(a), int(a)}
	if open {
		v.high = math.MaxInt16
	}
	if dash {
		b, err := strconv.ParseUint(high, 10, 15)
		if err != nil || b < a {
			return never, fmt.Errorf("versions %q: want 3, 3+ or 3-7", s)
		}
		v.high = int(b)
	}
	return v, nil
}

// A scalar is a type of one value. Numbers have a size; base is the Go type that Reader and Append functions know.
type scalar struct {
	goType string
	base   string
	size   int // 0: string or bytes
}

var scalars = map[string]scalar{
	"bool":           {"bool", "bool", 1},
	"int8":           {"int8", "int8", 1},
	"int16":          {"int16", "int16", 2},
	"uint16":         {"uint16", "uint16", 2},
	"int32":          {"int32", "int32", 4},
	"uint32":         {"uint32", "uint32", 4},
	"int64":          {"int64", "int64", 8},
	"float64":        {"float64", "float64", 8},
	"uuid":           {"wire.UUID", "UUID", 16},
	"string":         {"string", "string", 0},
	"bytes":          {"[]byte", "bytes", 0},
	"records":        {"[]byte", "bytes", 0},
	"apiKey":         {"wire.APIKey", "int16", 2},
	"error":          {"wire.ErrorCode", "int16", 2},
	"producerEpoch":  {"wire.ProducerEpoch", "int16", 2},
	"broker":         {"wire.BrokerID", "int32", 4},
	"partition":      {"wire.Partition", "int32", 4},
	"leaderEpoch":    {"wire.LeaderEpoch", "int32", 4},
	"partitionEpoch": {"wire.PartitionEpoch", "int32", 4},
	"sequence":       {"wire.Sequence", "int32", 4},
	"brokerEpoch":    {"wire.BrokerEpoch", "int64", 8},
	"offset":         {"wire.Offset", "int64", 8},
	"producerId":     {"wire.ProducerID", "int64", 8},
	"timestamp":      {"wire.Timestamp", "int64", 8},
	"topicId":        {"wire.TopicID", "UUID", 16},
}

// A schema is one parsed file.
type schema struct {
	kind     string // api, record or data
	name     string // as Kafka spells it
	number   int    // API key or record type
	space    string // of record types: group, transaction...
	doc      []string
	unstable versions
	messages []*message
}

// A message is one section of a schema: what is encoded as a whole.
type message struct {
	name     string // Go name
	kind     string // request, response, key, value or fields
	versions versions
	flexible versions // those in the compact encoding with tagged fields
	root     *structure
	structs  []*structure // in order of appearance, root first
}

// A structure is a Go struct. Its versions are those in which anything can hold one.
type structure struct {
	name     string // in the schema; "" for the root
	goName   string
	versions versions
	fields   []*field
	used     bool // by a field
	tagged   bool // is the value of a tagged field, so that its default must be told
}

// A field of a structure. Exactly one of scalar and structure is set.
type field struct {
	name, goName string
	line         int
	array        bool
	scalar       *scalar
	structure    *structure
	versions     versions
	nullable     versions
	tag          int // -1: none
	def          string
	comment      string
}

// plain returns the fields in the order of the encoding, without the tagged ones.
func (s *structure) plain() (fs []*field) {
	for _, f := range s.fields {
		if f.tag < 0 {
			fs = append(fs, f)
		}
	}
	return fs
}

// taggedFields returns the tagged fields, ascending by tag.
func (s *structure) taggedFields() (fs []*field) {
	for tag := 0; ; tag++ {
		n := len(fs)
		for _, f := range s.fields {
			if f.tag == tag {
				fs = append(fs, f)
			}
		}
		if len(fs) == n {
			return fs
		}
	}
}

// pointer reports whether the field is a pointer in Go: a string or structure that may be null.
func (f *field) pointer() bool {
	return !f.array && !f.nullable.empty() && (f.structure != nil || f.scalar.goType == "string")
}

func (f *field) goType() string {
	t := ""
	if f.structure != nil {
		t = f.structure.goName
	} else {
		t = f.scalar.goType
	}
	switch {
	case f.array:
		return "[]" + t
	case f.pointer():
		return "*" + t
	}
	return t
}
