// Package config knows every setting of kraftgo: its name (Kafka's own where Kafka has the concept), type, range,
// default, scope, and what it means. It is a table and the functions that read it; it holds no values.
//
// # Scopes
//
//   - [Topic]: set on a topic; its default comes from a broker setting, its synonym ([Key.Synonyms]);
//   - [Broker]: read at start from flags, environment and file; those with a [Key.Dynamic] other than ReadOnly may
//     also be changed while running, for one broker or for all;
//   - [Group]: set on a consumer group.
//
// # What if
//
//   - a key is unknown: [Lookup] says so, and the callers refuse it, naming the nearest key there is;
//   - a value has the wrong type or is out of range: [Key.Check] says what was wanted and what came;
//   - a key means something in Kafka and nothing here (its thread pools, say): it is in the table with
//     [Key.NoEffect] giving the reason, so that a server.properties can be read; setting it is logged.
package config

import (
	"fmt"
	"math"
	"regexp"
	"sort"
	"strconv"
	"strings"
)

// Type is the type of a setting's value. The numbers are those of DescribeConfigs (KIP-569).
type Type int8

// The types.
const (
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String returns the name that Kafka's documentation uses.
func (t Type) String() string {
	return [...]string{"", "boolean", "string", "int", "short", "long", "double", "list", "class", "password"}[t]
}

// Scope says what a setting is set on.
type Scope uint8

// The scopes.
const (
	Topic Scope = iota
	Broker
	Group
)

// String returns the scope's name.
func (s Scope) String() string { return [...]string{"topic", "broker", "group"}[s] }

// Dynamic says how a broker setting may be changed while the broker runs (KIP-226).
type Dynamic uint8

// The kinds of change.
const (
	ReadOnly    Dynamic = iota // only at start
	PerBroker                  // for one broker or for all
	OneBroker                  // for one broker only
	ClusterWide                // for all, and as the topics' default
)

// Key describes one setting. A Key never changes.
type Key struct {
	Name    string
	Scope   Scope
	Type    Type
	Default string // the default as text
	Null    bool   // the default is no value at all, and Default is empty
	Min     float64
	Max     float64        // Min and Max bound numbers, both included; the table fills in the type's own bounds
	Form    *regexp.Regexp // what each element of a list must look like, or nil
	FormDoc string         // the same in words
	OneOf   []string       // allowed values of strings and list elements; nil: any
	Dynamic Dynamic
	// Synonyms are the broker settings that a topic setting's default comes from, the strongest first.
	Synonyms []Synonym
	// NoEffect is empty, or says why a setting of Kafka's changes nothing here.
	NoEffect string
	Doc      string
}

// Synonym is a broker setting, and what its value is multiplied by to give the topic's (hours to milliseconds).
type Synonym struct {
	Name     string
	Multiply int64
}

// Sensitive reports whether the value must never be shown.
func (k *Key) Sensitive() bool { return k.Type == Password }

// ErrInvalid is the fault of a value: which key, what it wants, what came.
type ErrInvalid struct {
	Key   string
	Value string
	Want  string
}

// Error says it in the words of Kafka's ConfigException, which clients show to people.
func (e *ErrInvalid) Error() string {
	return fmt.Sprintf("Invalid value %s for configuration %s: %s", e.Value, e.Key, e.Want)
}

// Check returns nil if value is one that k may have, else an *[ErrInvalid].
func (k *Key) Check(value string) error {
	bad := func(format string, args ...any) error {
		return &ErrInvalid{Key: k.Name, Value: value, Want: fmt.Sprintf(format, args...)}
	}
	v := strings.TrimSpace(value)
	switch k.Type {
	case Boolean:
		if !strings.EqualFold(v, "true") && !strings.EqualFold(v, "false") {
			return bad("Expected value to be either true or false")
		}
	case Int, Short, Long:
		bits := map[Type]int{Int: 32, Short: 16, Long: 64}[k.Type]
		n, err := strconv.ParseInt(v, 10, bits)
		if err != nil {
			return bad("Not a number of type %s", strings.ToUpper(k.Type.String()))
		}
		return k.checkRange(float64(n), bad)
	case Double:
		n, err := strconv.ParseFloat(v, 64)
		if err != nil || math.IsNaN(n) {
			return bad("Not a number of type DOUBLE")
		}
		return k.checkRange(n, bad)
	case List:
		for _, s := range SplitList(v) {
			if !k.allowed(s) {
				return bad("String must be one of: %s", strings.Join(k.OneOf, ", "))
			}
			if k.Form != nil && (v != "*" || k.Form != replicaForm) && !k.Form.MatchString(s) {
				return &ErrInvalid{Key: k.Name, Value: "[" + value + "]", Want: k.Name + " must be " + k.FormDoc}
			}
		}
	default:
		if !k.allowed(v) {
			return bad("String must be one of: %s", strings.Join(k.OneOf, ", "))
		}
	}
	return nil
}

// Canonical returns how a value that Check accepted is read: without blanks around it, and booleans in small letters.
func (k *Key) Canonical(value string) string {
	switch k.Type {
	case Boolean:
		return strings.ToLower(strings.TrimSpace(value))
	case Password:
		return value
	}
	return strings.TrimSpace(value)
}

func (k *Key) allowed(v string) bool {
	if k.OneOf == nil {
		return true
	}
	for _, o := range k.OneOf {
		if o == v {
			return true
		}
	}
	return false
}

func (k *Key) checkRange(n float64, bad func(string, ...any) error) error {
	if n < k.Min {
		return bad("Value must be at least %s", strconv.FormatFloat(k.Min, 'f', -1, 64))
	}
	if n > k.Max {
		return bad("Value must be no more than %s", strconv.FormatFloat(k.Max, 'f', -1, 64))
	}
	return nil
}

// SplitList splits a list value at its commas and drops blanks; an empty value is an empty list.
func SplitList(v string) []string {
	var out []string
	for _, s := range strings.Split(v, ",") {
		if s = strings.TrimSpace(s); s != "" {
			out = append(out, s)
		}
	}
	return out
}

type scoped struct {
	scope Scope
	name  string
}

var byName = func() map[scoped]*Key {
	m := make(map[scoped]*Key, len(keys))
	for i := range keys {
		k := &keys[i]
		if k.Min == 0 && k.Max == 0 {
			k.Min, k.Max = math.Inf(-1), math.Inf(1)
		}
		if m[scoped{k.Scope, k.Name}] != nil {
			panic("config: key twice: " + k.Name)
		}
		m[scoped{k.Scope, k.Name}] = k
	}
	return m
}()

// Lookup returns the setting of that name, or nil.
func Lookup(scope Scope, name string) *Key { return byName[scoped{scope, name}] }

// All returns the settings of a scope, by name.
func All(scope Scope) []*Key {
	var out []*Key
	for i := range keys {
		if keys[i].Scope == scope {
			out = append(out, &keys[i])
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// Nearest returns the known name of the scope that is most like name, for an error message; "" if none is near.
func Nearest(scope Scope, name string) string {
	best, bestDistance := "", len(name)/3+2
	for _, k := range All(scope) {
		if d := editDistance(name, k.Name); d < bestDistance {
			best, bestDistance = k.Name, d
		}
	}
	return best
}

// editDistance is Levenshtein's, by rows.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost++
			}
			diagonal = row[j]
			row[j] = min(cost, row[j]+1, row[j-1]+1)
		}
	}
	return row[len(b)]
}
