package control

import (
	"strings"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Kafka's numbers of what ACLs are made of. In a filter, any matches all, and match those whose pattern covers a name.
const (
	aclAny           = 1
	aclResourceLast  = 7
	aclCluster       = 4
	aclMatch         = 2
	aclLiteral       = 3
	aclPrefixed      = 4
	aclOperationLast = 15
	aclDeny          = 2
	aclAllow         = 3

	clusterName = "kafka-cluster"
	wildcard    = "*"
)

// aclsAtOnce is Kafka's bound of records that one request may lead to (QuorumController.MAX_RECORDS_PER_USER_OP).
const aclsAtOnce = 10_000

// ACLFilter is what ACLs are looked for by; nil matches all.
type ACLFilter struct {
	ResourceType int8
	ResourceName *string
	PatternType  int8
	Principal    *string
	Host         *string
	Operation    int8
	Permission   int8
}

// CreateACLs plans new ACLs: each is accepted or refused by itself; one that exists is accepted, and nothing changes.
func CreateACLs(m *metadata.Image, list []metadata.ACL) ([]metadata.Record, []*Refusal) {
	refusals := make([]*Refusal, len(list))
	var records []metadata.Record
	planned := map[metadata.ACL]bool{}
	for i, a := range list {
		if refusals[i] = checkACL(a); refusals[i] != nil || m.HasACL(a) || planned[a] {
			continue
		}
		planned[a] = true
		records = append(records, &a)
	}
	if len(records) > aclsAtOnce {
		for i := range refusals {
			refusals[i] = refuse(wire.ErrPolicyViolation, "Unable to perform excessively large batch operation.")
		}
		return nil, refusals
	}
	return records, refusals
}

func checkACL(a metadata.ACL) *Refusal {
	switch {
	case a.ResourceType <= aclAny || a.ResourceType > aclResourceLast:
		return refuse(wire.ErrInvalidRequest, "Invalid resourceType %s", unknownOrAny(a.ResourceType))
	case a.ResourceName == "":
		return refuse(wire.ErrInvalidRequest, "Invalid empty resource name")
	case a.ResourceType == aclCluster && a.ResourceName != clusterName:
		return refuse(wire.ErrInvalidRequest, "The only valid name for the CLUSTER resource is kafka-cluster")
	case a.PatternType != aclLiteral && a.PatternType != aclPrefixed:
		name := unknownOrAny(a.PatternType)
		if a.PatternType == aclMatch {
			name = "MATCH"
		}
		return refuse(wire.ErrInvalidRequest, "Invalid patternType %s", name)
	case a.Operation <= aclAny || a.Operation > aclOperationLast:
		return refuse(wire.ErrInvalidRequest, "Invalid operation %s", unknownOrAny(a.Operation))
	case a.Permission != aclDeny && a.Permission != aclAllow:
		return refuse(wire.ErrInvalidRequest, "Invalid permissionType %s", unknownOrAny(a.Permission))
	case !strings.Contains(a.Principal, ":"):
		return refuse(wire.ErrInvalidRequest, "Could not parse principal from `%s` (no colon is present separating the principal type from the principal name)", a.Principal)
	case a.Host == "":
		return refuse(wire.ErrInvalidRequest, "Host pattern cannot be null or empty")
	}
	return nil
}

func unknownOrAny(n int8) string {
	if n == aclAny {
		return "ANY"
	}
	return "UNKNOWN"
}

// DeletedACLs is what one filter removed.
type DeletedACLs struct {
	ACLs    []metadata.ACL
	Refusal *Refusal
}

// DeleteACLs plans the removal of all ACLs that match one of the filters.
func DeleteACLs(m *metadata.Image, filters []ACLFilter) ([]metadata.Record, []DeletedACLs) {
	answers := make([]DeletedACLs, len(filters))
	var records []metadata.Record
	planned := map[metadata.ACL]bool{}
	for i, f := range filters {
		if answers[i].Refusal = f.check(); answers[i].Refusal != nil {
			continue
		}
		answers[i].ACLs = FindACLs(m, f)
		for _, a := range answers[i].ACLs {
			if !planned[a] {
				planned[a] = true
				records = append(records, &metadata.RemoveACL{ACL: a})
			}
		}
	}
	if len(records) > aclsAtOnce {
		for i := range answers {
			answers[i] = DeletedACLs{Refusal: refuse(wire.ErrPolicyViolation, "Unable to perform excessively large batch operation.")}
		}
		return nil, answers
	}
	return records, answers
}

// check refuses a filter with a number that means nothing.
func (f ACLFilter) check() *Refusal {
	switch {
	case f.ResourceType < aclAny || f.ResourceType > aclResourceLast || f.PatternType < aclAny || f.PatternType > aclPrefixed:
		return refuse(wire.ErrInvalidRequest, "Unknown patternFilter.")
	case f.Operation < aclAny || f.Operation > aclOperationLast || f.Permission < aclAny || f.Permission > aclAllow:
		return refuse(wire.ErrInvalidRequest, "Unknown entryFilter.")
	}
	return nil
}

// FindACLs returns the ACLs that match a filter, in order. One with a number that means nothing matches none.
func FindACLs(m *metadata.Image, f ACLFilter) []metadata.ACL {
	var out []metadata.ACL
	m.ACLs(func(a *metadata.ACL) bool {
		if f.matches(a) {
			out = append(out, *a)
		}
		return true
	})
	return out
}

func (f ACLFilter) matches(a *metadata.ACL) bool {
	same := func(want *string, have string) bool { return want == nil || *want == have }
	one := func(want, have int8) bool { return want == aclAny || want == have }
	return one(f.ResourceType, a.ResourceType) && f.covers(a) && same(f.Principal, a.Principal) && same(f.Host, a.Host) &&
		one(f.Operation, a.Operation) && one(f.Permission, a.Permission)
}

// covers reports whether the filter's name and pattern match those of an ACL (KIP-290).
func (f ACLFilter) covers(a *metadata.ACL) bool {
	if f.PatternType != aclMatch && f.PatternType != aclAny && f.PatternType != a.PatternType {
		return false
	}
	switch {
	case f.ResourceName == nil:
		return true
	case f.PatternType != aclMatch:
		return *f.ResourceName == a.ResourceName
	case a.PatternType == aclPrefixed:
		return strings.HasPrefix(*f.ResourceName, a.ResourceName)
	}
	return *f.ResourceName == a.ResourceName || a.ResourceName == wildcard
}
