package differential

import (
	"strings"

	"github.com/kraftgo/kraftgo/wire/message"
)

// The answers of this group were recorded from a broker with authorizer.class.name=StandardAuthorizer and
// super.users=User:ANONYMOUS; without an authorizer, Kafka answers SECURITY_DISABLED to all of it, as kraftgo does unless
// cluster.acls says that they are stored.

type (
	aclCreation = message.CreateACLsRequestCreation
	aclFilter   = message.DeleteACLsRequestFilter
)

// Kafka's numbers.
const (
	aclTopic, aclGroup, aclCluster                          int8 = 2, 3, 4
	patternAny, patternMatch, patternLiteral, patternPrefix int8 = 1, 2, 3, 4
	opAny, opAll, opRead, opWrite, opDescribe               int8 = 1, 2, 3, 4, 8
	permitAny, deny, allow                                  int8 = 1, 2, 3
)

// acl is an ACL on a topic of the case.
func (e *env) acl(s string, change ...func(*aclCreation)) aclCreation {
	c := aclCreation{ResourceType: aclTopic, ResourceName: e.unique(s), ResourcePatternType: patternLiteral, Principal: "User:alice", Host: "*", Operation: opRead, PermissionType: allow}
	for _, f := range change {
		f(&c)
	}
	return c
}

// resource is a filter for everything on a topic of the case.
func (e *env) resource(s string, change ...func(*aclFilter)) aclFilter {
	f := aclFilter{ResourceTypeFilter: aclTopic, ResourceNameFilter: ptr(e.unique(s)), PatternTypeFilter: patternLiteral, Operation: opAny, PermissionType: permitAny}
	for _, g := range change {
		g(&f)
	}
	return f
}

func describing(f aclFilter) *message.DescribeACLsRequest {
	return &message.DescribeACLsRequest{ResourceTypeFilter: f.ResourceTypeFilter, ResourceNameFilter: f.ResourceNameFilter, PatternTypeFilter: f.PatternTypeFilter,
		PrincipalFilter: f.PrincipalFilter, HostFilter: f.HostFilter, Operation: f.Operation, PermissionType: f.PermissionType}
}

// describeACLs waits until the filter matches so many ACLs, and then notes the answer.
func (e *env) describeACLs(want int, f aclFilter) {
	e.Helper()
	until(e, describing(f), 3, func(a *message.DescribeACLsResponse) bool {
		n := 0
		for _, r := range a.Resources {
			n += len(r.ACLs)
		}
		return n == want
	})
	e.do(describing(f))
}

// aclCreated is a case that creates one ACL, looks at it, and removes it.
func aclCreated(name string, change ...func(*aclCreation)) testcase {
	return testcase{"create-" + name, func(e *env) {
		c := e.acl("t", change...)
		a, _ := e.do(&message.CreateACLsRequest{Creations: []aclCreation{c}}).(*message.CreateACLsResponse)
		if a == nil || a.Results[0].ErrorCode != 0 {
			return
		}
		f := aclFilter{ResourceTypeFilter: c.ResourceType, ResourceNameFilter: &c.ResourceName, PatternTypeFilter: patternAny, Operation: opAny, PermissionType: permitAny}
		until(e, describing(f), 3, func(a *message.DescribeACLsResponse) bool { return len(a.Resources) > 0 })
		e.at(describing(f), 3)
		e.at(&message.DeleteACLsRequest{Filters: []aclFilter{f}}, 3)
	}}
}

// aclFiltered is a case that describes and deletes by a filter that may be refused.
func aclFiltered(name string, change ...func(*aclFilter)) testcase {
	return testcase{"filter-" + name, func(e *env) {
		f := e.resource("t", change...)
		e.do(describing(f))
		e.do(&message.DeleteACLsRequest{Filters: []aclFilter{f}})
	}}
}

var aclCases = group{"acls", []testcase{
	aclCreated("topic"),
	aclCreated("deny", func(c *aclCreation) { c.PermissionType = deny }),
	aclCreated("group", func(c *aclCreation) { c.ResourceType = aclGroup }),
	aclCreated("cluster", func(c *aclCreation) { c.ResourceType, c.ResourceName = aclCluster, "kafka-cluster" }),
	aclCreated("cluster-other-name", func(c *aclCreation) { c.ResourceType = aclCluster }),
	aclCreated("transactional", func(c *aclCreation) { c.ResourceType = 5 }),
	aclCreated("token", func(c *aclCreation) { c.ResourceType = 6 }),
	aclCreated("user", func(c *aclCreation) { c.ResourceType, c.Operation = 7, 13 }),
	aclCreated("type-8", func(c *aclCreation) { c.ResourceType = 8 }),
	aclCreated("type-0", func(c *aclCreation) { c.ResourceType = 0 }),
	aclCreated("type-any", func(c *aclCreation) { c.ResourceType = 1 }),
	aclCreated("type-negative", func(c *aclCreation) { c.ResourceType = -1 }),
	aclCreated("name-empty", func(c *aclCreation) { c.ResourceName = "" }),
	aclCreated("name-bad-for-a-topic", func(c *aclCreation) { c.ResourceName = "a b/" + c.ResourceName }),
	aclCreated("name-long", func(c *aclCreation) { c.ResourceName = strings.Repeat("x", 300) + c.ResourceName }),
	aclCreated("pattern-0", func(c *aclCreation) { c.ResourcePatternType = 0 }),
	aclCreated("pattern-any", func(c *aclCreation) { c.ResourcePatternType = patternAny }),
	aclCreated("pattern-match", func(c *aclCreation) { c.ResourcePatternType = patternMatch }),
	aclCreated("pattern-prefixed", func(c *aclCreation) { c.ResourcePatternType = patternPrefix }),
	aclCreated("pattern-5", func(c *aclCreation) { c.ResourcePatternType = 5 }),
	aclCreated("operation-0", func(c *aclCreation) { c.Operation = 0 }),
	aclCreated("operation-any", func(c *aclCreation) { c.Operation = opAny }),
	aclCreated("operation-all", func(c *aclCreation) { c.Operation = opAll }),
	aclCreated("operation-15", func(c *aclCreation) { c.Operation = 15 }),
	aclCreated("operation-16", func(c *aclCreation) { c.Operation = 16 }),
	aclCreated("operation-not-of-topics", func(c *aclCreation) { c.Operation = 12 }),
	aclCreated("permission-0", func(c *aclCreation) { c.PermissionType = 0 }),
	aclCreated("permission-any", func(c *aclCreation) { c.PermissionType = permitAny }),
	aclCreated("permission-4", func(c *aclCreation) { c.PermissionType = 4 }),
	aclCreated("principal-without-type", func(c *aclCreation) { c.Principal = "alice" }),
	aclCreated("principal-empty", func(c *aclCreation) { c.Principal = "" }),
	aclCreated("principal-no-name", func(c *aclCreation) { c.Principal = "User:" }),
	aclCreated("principal-no-type", func(c *aclCreation) { c.Principal = ":alice" }),
	aclCreated("principal-of-a-group", func(c *aclCreation) { c.Principal = "Group:all" }),
	aclCreated("principal-colons", func(c *aclCreation) { c.Principal = "User:CN=a:b,O=c" }),
	aclCreated("principal-everybody", func(c *aclCreation) { c.Principal = "User:*" }),
	aclCreated("host-address", func(c *aclCreation) { c.Host = "10.1.2.3" }),
	aclCreated("host-name", func(c *aclCreation) { c.Host = "example.com" }),
	aclCreated("host-empty", func(c *aclCreation) { c.Host = "" }),
	{"create-nothing", func(e *env) { e.do(&message.CreateACLsRequest{}) }},
	{"create-several", func(e *env) {
		good, bad := e.acl("t"), e.acl("t", func(c *aclCreation) { c.Operation = 16 })
		prefixed := e.acl("t", func(c *aclCreation) { c.Operation = opWrite })
		e.do(&message.CreateACLsRequest{Creations: []aclCreation{good, prefixed, good}})
		e.describeACLs(2, e.resource("t"))
		e.do(&message.CreateACLsRequest{Creations: []aclCreation{bad, good}})
		e.describeACLs(2, e.resource("t"))
		e.do(&message.DeleteACLsRequest{Filters: []aclFilter{e.resource("t"), e.resource("t"), e.resource("none")}})
		e.describeACLs(0, e.resource("t"))
	}},
	aclFiltered("topic"),
	aclFiltered("type-0", func(f *aclFilter) { f.ResourceTypeFilter = 0 }),
	aclFiltered("type-9", func(f *aclFilter) { f.ResourceTypeFilter = 9 }),
	aclFiltered("pattern-0", func(f *aclFilter) { f.PatternTypeFilter = 0 }),
	aclFiltered("pattern-5", func(f *aclFilter) { f.PatternTypeFilter = 5 }),
	aclFiltered("operation-0", func(f *aclFilter) { f.Operation = 0 }),
	aclFiltered("operation-99", func(f *aclFilter) { f.Operation = 99 }),
	aclFiltered("permission-0", func(f *aclFilter) { f.PermissionType = 0 }),
	aclFiltered("permission-4", func(f *aclFilter) { f.PermissionType = 4 }),
	aclFiltered("name-empty", func(f *aclFilter) { f.ResourceNameFilter = ptr("") }),
	aclFiltered("principal-without-type", func(f *aclFilter) { f.PrincipalFilter = ptr("alice") }),
	aclFiltered("principal-empty", func(f *aclFilter) { f.PrincipalFilter = ptr("") }),
	{"delete-nothing", func(e *env) { e.do(&message.DeleteACLsRequest{}) }},
	{"delete-one-good-one-bad", func(e *env) {
		e.do(&message.DeleteACLsRequest{Filters: []aclFilter{e.resource("t"), e.resource("t", func(f *aclFilter) { f.Operation = 99 })}})
	}},
	{"matching", func(e *env) {
		name := e.unique("orders")
		e.do(&message.CreateACLsRequest{Creations: []aclCreation{
			e.acl("orders"),
			e.acl("orders", func(c *aclCreation) { c.Host, c.Operation = "10.0.0.1", opWrite }),
			e.acl("orders", func(c *aclCreation) { c.Principal, c.PermissionType = "User:bob", deny }),
		}})
		e.do(&message.CreateACLsRequest{Creations: []aclCreation{
			e.acl("orders", func(c *aclCreation) {
				c.ResourcePatternType, c.ResourceName = patternPrefix, name[:strings.Index(name, "orders")+3]
			}),
			e.acl("orders", func(c *aclCreation) { c.ResourcePatternType = patternPrefix }),
		}})
		e.describeACLs(4, e.resource("orders", func(f *aclFilter) { f.PatternTypeFilter = patternAny }))
		e.describeACLs(5, e.resource("orders", func(f *aclFilter) { f.PatternTypeFilter = patternMatch }))
		e.describeACLs(1, e.resource("orders", func(f *aclFilter) { f.PatternTypeFilter = patternPrefix }))
		e.describeACLs(3, e.resource("orders"))
		e.describeACLs(2, e.resource("orders", func(f *aclFilter) { f.PrincipalFilter = ptr("User:alice") }))
		e.describeACLs(1, e.resource("orders", func(f *aclFilter) { f.PermissionType = deny }))
		e.describeACLs(1, e.resource("orders", func(f *aclFilter) { f.HostFilter = ptr("10.0.0.1") }))
		e.describeACLs(2, e.resource("orders", func(f *aclFilter) { f.Operation = opRead }))
		e.describeACLs(0, e.resource("orders", func(f *aclFilter) { f.Operation = opDescribe }))
		e.describeACLs(0, e.resource("orders", func(f *aclFilter) { f.ResourceTypeFilter = aclGroup }))
		e.do(&message.DeleteACLsRequest{Filters: []aclFilter{e.resource("orders", func(f *aclFilter) { f.PrincipalFilter = ptr("User:alice") })}})
		e.describeACLs(1, e.resource("orders"))
		e.at(&message.DeleteACLsRequest{Filters: []aclFilter{e.resource("orders", func(f *aclFilter) { f.PatternTypeFilter = patternMatch })}}, 3)
	}},
	{"wildcards", func(e *env) {
		star := func(c *aclCreation) { c.ResourceName, c.Principal = "*", "User:"+e.unique("w") }
		by := func(f *aclFilter) { f.PrincipalFilter = ptr("User:" + e.unique("w")) }
		e.do(&message.CreateACLsRequest{Creations: []aclCreation{e.acl("t", star)}})
		e.describeACLs(1, e.resource("t", by, func(f *aclFilter) { f.PatternTypeFilter = patternMatch }))
		e.describeACLs(0, e.resource("t", by))
		e.describeACLs(1, e.resource("t", by, func(f *aclFilter) { f.ResourceNameFilter = nil }))
		e.describeACLs(1, e.resource("t", by, func(f *aclFilter) { f.ResourceNameFilter = ptr("*") }))
		e.describeACLs(1, e.resource("t", by, func(f *aclFilter) {
			f.ResourceTypeFilter, f.ResourceNameFilter, f.PatternTypeFilter = 1, nil, patternAny
		}))
		e.do(&message.DeleteACLsRequest{Filters: []aclFilter{e.resource("t", by, func(f *aclFilter) { f.ResourceNameFilter = nil })}})
	}},
}}
