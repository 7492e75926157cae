package control

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// The kinds of whom a quota is for, as the protocol names them.
const (
	QuotaUser     = "user"
	QuotaClientID = "client-id"
	QuotaIP       = "ip"
)

// QuotaPart is one part of whom a quota is for; nil is everybody who has no quota of his own.
type QuotaPart struct {
	Type string
	Name *string
}

// QuotaOp sets or removes one quota.
type QuotaOp struct {
	Key    string
	Value  float64
	Remove bool
}

// QuotaChange is what is to become of one entity's quotas.
type QuotaChange struct {
	Entity []QuotaPart
	Ops    []QuotaOp
}

// QuotaAnswer is what became of one entity.
type QuotaAnswer struct {
	Entity  []QuotaPart
	Refusal *Refusal
}

// quotaKind says which numbers a quota may be.
type quotaKind struct {
	whole bool
	most  float64 // the type's name and bound, as Kafka has them
	name  string
}

var (
	quotaLong   = quotaKind{true, math.MaxInt64, "LONG"}
	quotaInt    = quotaKind{true, math.MaxInt32, "INT"}
	quotaDouble = quotaKind{}
)

var (
	clientQuotas = map[string]quotaKind{
		"producer_byte_rate": quotaLong, "consumer_byte_rate": quotaLong, "request_percentage": quotaDouble, "controller_mutation_rate": quotaDouble,
	}
	addressQuotas = map[string]quotaKind{"connection_creation_rate": quotaInt}
)

// AlterQuotas plans changes of quotas: each entity's are accepted or refused together. Of two parts of one type the last
// counts.
func AlterQuotas(m *metadata.Image, changes []QuotaChange) ([]metadata.Record, []QuotaAnswer) {
	var records []metadata.Record
	var answers []QuotaAnswer
	planned := make([][]metadata.Record, 0, len(changes))
	seen := map[string]int{} // where an entity's answer is
	for _, c := range changes {
		parts := lastOfEachType(c.Entity)
		key := entityKey(parts)
		if i, twice := seen[key]; twice {
			answers[i].Refusal = refuse(wire.ErrInvalidRequest, "Ignoring duplicate entity %s", entityText(parts))
			planned[i] = nil
			continue
		}
		seen[key] = len(answers)
		plan, refusal := alterEntity(m, parts, c.Ops)
		answers, planned = append(answers, QuotaAnswer{parts, refusal}), append(planned, plan)
	}
	for _, p := range planned {
		records = append(records, p...)
	}
	return records, answers
}

func lastOfEachType(parts []QuotaPart) []QuotaPart {
	last := map[string]int{}
	for i, p := range parts {
		last[p.Type] = i
	}
	var out []QuotaPart
	for i, p := range parts {
		if last[p.Type] == i {
			out = append(out, p)
		}
	}
	slices.SortFunc(out, func(a, b QuotaPart) int { return strings.Compare(a.Type, b.Type) })
	return out
}

// entityKey is the same for equal entities, and for no others.
func entityKey(parts []QuotaPart) string {
	var b strings.Builder
	for _, p := range parts {
		fmt.Fprintf(&b, "%q", p.Type)
		if p.Name != nil {
			fmt.Fprintf(&b, "=%q", *p.Name)
		}
	}
	return b.String()
}

// entityText is how Kafka prints an entity.
func entityText(parts []QuotaPart) string {
	s := ""
	for i, p := range parts {
		if i > 0 {
			s += ", "
		}
		name := "null"
		if p.Name != nil {
			name = *p.Name
		}
		s += p.Type + "=" + name
	}
	return "ClientQuotaEntity(entries={" + s + "})"
}

func alterEntity(m *metadata.Image, parts []QuotaPart, ops []QuotaOp) ([]metadata.Record, *Refusal) {
	keysSeen := map[string]bool{}
	for _, op := range ops {
		if keysSeen[op.Key] {
			return nil, refuse(wire.ErrInvalidRequest, "Ignoring duplicate entity %s", entityText(parts))
		}
		keysSeen[op.Key] = true
	}
	entity, keys, refusal := quotaEntity(parts)
	if refusal != nil {
		return nil, refusal
	}
	have := m.QuotasOf(entity)
	var records []metadata.Record
	for _, op := range ops {
		value, set := have.Value(op.Key)
		if op.Remove {
			if set {
				records = append(records, &metadata.Quota{Entity: entity, Key: op.Key, Remove: true})
			}
			continue
		}
		if refusal := checkQuota(keys, op); refusal != nil {
			return nil, refusal
		}
		if !set || value != op.Value {
			records = append(records, &metadata.Quota{Entity: entity, Key: op.Key, Value: op.Value})
		}
	}
	return records, nil
}

// quotaEntity reads the parts of an entity, and returns which quotas it may have.
func quotaEntity(parts []QuotaPart) (e metadata.QuotaEntity, keys map[string]quotaKind, refusal *Refusal) {
	if len(parts) == 0 {
		return e, nil, refuse(wire.ErrInvalidRequest, "Invalid empty client quota entity")
	}
	for _, p := range parts {
		part := e.PartOf(p.Type)
		if part == nil {
			return e, nil, refuse(wire.ErrInvalidRequest, "Unhandled client quota entity type: %s", p.Type)
		}
		if p.Name != nil && *p.Name == "" {
			return e, nil, refuse(wire.ErrInvalidRequest, "Empty %s not supported", p.Type)
		}
		*part = metadata.QuotaName{Set: true, Default: p.Name == nil}
		if p.Name != nil {
			part.Name = *p.Name
		}
	}
	if !e.IP.Set {
		return e, clientQuotas, nil
	}
	if e.User.Set || e.ClientID.Set {
		return e, nil, refuse(wire.ErrInvalidRequest, "Invalid quota entity combination, IP entity should not be combined with User or ClientId")
	}
	if _, err := netip.ParseAddr(e.IP.Name); err != nil && !e.IP.Default {
		return e, nil, refuse(wire.ErrInvalidRequest, "%s is not a valid IP or resolvable host.", e.IP.Name)
	}
	return e, addressQuotas, nil
}

func checkQuota(keys map[string]quotaKind, op QuotaOp) *Refusal {
	kind, ok := keys[op.Key]
	switch {
	case !ok:
		return refuse(wire.ErrInvalidRequest, "Invalid configuration key %s", op.Key)
	case math.IsNaN(op.Value) || math.IsInf(op.Value, 0):
		return refuse(wire.ErrInvalidRequest, "Quota %s must be a finite number", op.Key)
	case op.Value <= 0:
		return refuse(wire.ErrInvalidRequest, "Quota %s must be greater than 0", op.Key)
	case kind.whole && op.Value > kind.most:
		return refuse(wire.ErrInvalidRequest, "Proposed value for %s is too large for a %s.", op.Key, kind.name)
	case kind.whole && math.Abs(math.Trunc(op.Value+wholeEnough)-op.Value) > wholeEnough:
		return refuse(wire.ErrInvalidRequest, "%s cannot be a fractional value.", op.Key)
	}
	return nil
}

// wholeEnough is how far from a whole number a quota may be that must be one.
const wholeEnough = 1e-6

// QuotaMatch is how a part of a filter matches.
type QuotaMatch int8

// The ways to match.
const (
	MatchExact   QuotaMatch = 0
	MatchDefault QuotaMatch = 1
	MatchAny     QuotaMatch = 2 // whoever has a part of this type
)

// QuotaFilter is one part of what is asked for.
type QuotaFilter struct {
	Type  string
	Match QuotaMatch
	Name  *string
}

// FindQuotas returns the quotas of the entities that match all parts of a filter; strict: and that have no other parts.
func FindQuotas(m *metadata.Image, filter []QuotaFilter, strict bool) ([]*metadata.Quotas, *Refusal) {
	var asked metadata.QuotaEntity
	for _, f := range filter {
		if refusal := f.check(&asked); refusal != nil {
			return nil, refusal
		}
	}
	if asked.IP.Set && (asked.User.Set || asked.ClientID.Set) {
		return nil, refuse(wire.ErrInvalidRequest, "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.")
	}
	var out []*metadata.Quotas
	m.Quotas(func(q *metadata.Quotas) bool {
		matches := !strict || q.Entity.Parts() == len(filter)
		for _, f := range filter {
			matches = matches && f.matches(q.Entity)
		}
		if matches {
			out = append(out, q)
		}
		return true
	})
	return out, nil
}

// check refuses a part that cannot match, and notes in asked that its type was there.
func (f QuotaFilter) check(asked *metadata.QuotaEntity) *Refusal {
	if f.Type == "" {
		return refuse(wire.ErrInvalidRequest, "Invalid empty entity type.")
	}
	part := asked.PartOf(f.Type)
	switch {
	case part == nil:
		return refuse(wire.ErrUnsupportedVersion, "Unsupported entity type %s", f.Type)
	case part.Set:
		return refuse(wire.ErrInvalidRequest, "Entity type %s cannot appear more than once in the filter.", f.Type)
	}
	part.Set = true
	switch {
	case f.Match == MatchExact && f.Name == nil:
		return refuse(wire.ErrInvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null.")
	case f.Match == MatchDefault && f.Name != nil:
		return refuse(wire.ErrInvalidRequest, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
	case f.Match == MatchAny && f.Name != nil:
		return refuse(wire.ErrInvalidRequest, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
	case f.Match < MatchExact || f.Match > MatchAny:
		return refuse(wire.ErrInvalidRequest, "Unknown match type %d", f.Match)
	}
	return nil
}

func (f QuotaFilter) matches(e metadata.QuotaEntity) bool {
	part := *e.PartOf(f.Type)
	switch {
	case !part.Set:
		return false
	case f.Match == MatchExact:
		return !part.Default && part.Name == *f.Name
	}
	return f.Match == MatchAny || part.Default
}
