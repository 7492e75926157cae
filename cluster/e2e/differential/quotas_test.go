package differential

import (
	"math"

	"github.com/kraftgo/kraftgo/wire/message"
)

type (
	quotaEntity    = message.AlterClientQuotasRequestEntity
	quotaOp        = message.AlterClientQuotasRequestOp
	quotaEntry     = message.AlterClientQuotasRequestEntry
	quotaComponent = message.DescribeClientQuotasRequestComponent
)

// The ways in which a component of a filter matches.
const (
	matchExact int8 = iota
	matchDefault
	matchAny
)

func (e *env) user(s string) quotaEntity {
	return quotaEntity{EntityType: "user", EntityName: ptr(e.unique(s))}
}
func (e *env) client(s string) quotaEntity {
	return quotaEntity{EntityType: "client-id", EntityName: ptr(e.unique(s))}
}

func quotas(entity []quotaEntity, ops ...quotaOp) *message.AlterClientQuotasRequest {
	return &message.AlterClientQuotasRequest{Entries: []quotaEntry{{Entity: entity, Ops: ops}}}
}

func rate(v float64) quotaOp { return quotaOp{Key: "producer_byte_rate", Value: v} }

// describeQuotas waits until the filter matches so many entities, and then notes the answer.
func (e *env) describeQuotas(want int, strict bool, components ...quotaComponent) {
	e.Helper()
	m := &message.DescribeClientQuotasRequest{Components: components, Strict: strict}
	until(e, m, 1, func(a *message.DescribeClientQuotasResponse) bool { return len(a.Entries) == want })
	e.do(m)
}

func exactly(q quotaEntity) quotaComponent {
	return quotaComponent{EntityType: q.EntityType, MatchType: matchExact, Match: q.EntityName}
}

// quotaChange is a case that validates and then makes one change, and looks at the user's quotas.
func quotaChange(name string, f func(e *env) *message.AlterClientQuotasRequest) testcase {
	return testcase{"alter-" + name, func(e *env) {
		m := f(e)
		m.ValidateOnly = true
		e.do(m)
		m.ValidateOnly = false
		e.do(m)
	}}
}

func userQuota(name string, ops ...quotaOp) testcase {
	return quotaChange(name, func(e *env) *message.AlterClientQuotasRequest { return quotas([]quotaEntity{e.user("u")}, ops...) })
}

func entityQuota(name string, entity ...quotaEntity) testcase {
	return quotaChange(name, func(e *env) *message.AlterClientQuotasRequest { return quotas(entity, rate(1000)) })
}

func ipQuota(name, ip string, ops ...quotaOp) testcase {
	return quotaChange(name, func(e *env) *message.AlterClientQuotasRequest {
		return quotas([]quotaEntity{{EntityType: "ip", EntityName: ptr(ip)}}, ops...)
	})
}

var quotaCases = group{"quotas", []testcase{
	userQuota("rate", rate(1000)),
	userQuota("every-key", rate(1), quotaOp{Key: "consumer_byte_rate", Value: 2}, quotaOp{Key: "request_percentage", Value: 50.5}, quotaOp{Key: "controller_mutation_rate", Value: 3.5}),
	userQuota("fraction-of-a-long", rate(1000.5)),
	userQuota("nearly-a-long", rate(1000.0000001)),
	userQuota("zero", rate(0)),
	userQuota("negative", rate(-5)),
	userQuota("nan", rate(math.NaN())),
	userQuota("infinite", rate(math.Inf(1))),
	userQuota("huge", rate(1e19)),
	userQuota("percentage-zero", quotaOp{Key: "request_percentage", Value: 0}),
	userQuota("percentage-negative", quotaOp{Key: "request_percentage", Value: -1}),
	userQuota("percentage-nan", quotaOp{Key: "request_percentage", Value: math.NaN()}),
	userQuota("mutation-negative", quotaOp{Key: "controller_mutation_rate", Value: -1}),
	userQuota("key-unknown", quotaOp{Key: "no_such_rate", Value: 1}),
	userQuota("key-of-ip", quotaOp{Key: "connection_creation_rate", Value: 1}),
	userQuota("key-empty", quotaOp{Key: "", Value: 1}),
	userQuota("remove-unset", quotaOp{Key: "producer_byte_rate", Remove: true}),
	userQuota("remove-unknown", quotaOp{Key: "no_such_rate", Remove: true}),
	userQuota("key-twice", rate(1), rate(2)),
	userQuota("set-and-remove", rate(1), quotaOp{Key: "producer_byte_rate", Remove: true}),
	userQuota("one-good-one-bad", quotaOp{Key: "consumer_byte_rate", Value: 7}, quotaOp{Key: "no_such_rate", Value: 1}),
	{"kept-of-one-good-one-bad", func(e *env) {
		u := e.user("u")
		e.do(quotas([]quotaEntity{u}, quotaOp{Key: "consumer_byte_rate", Value: 7}, quotaOp{Key: "no_such_rate", Value: 1}))
		e.do(quotas([]quotaEntity{u}, quotaOp{Key: "request_percentage", Value: 7}))
		e.describeQuotas(1, true, exactly(u))
		e.do(quotas([]quotaEntity{u}, quotaOp{Key: "request_percentage", Remove: true}, quotaOp{Key: "consumer_byte_rate", Remove: true}))
	}},
	userQuota("no-ops"),
	entityQuota("nobody"),
	entityQuota("type-unknown", quotaEntity{EntityType: "group", EntityName: ptr("g")}),
	entityQuota("type-empty", quotaEntity{EntityType: "", EntityName: ptr("g")}),
	entityQuota("name-empty", quotaEntity{EntityType: "user", EntityName: ptr("")}),
	entityQuota("user-and-ip", quotaEntity{EntityType: "user", EntityName: ptr("a")}, quotaEntity{EntityType: "ip", EntityName: ptr("1.2.3.4")}),
	entityQuota("type-twice", quotaEntity{EntityType: "user", EntityName: ptr("a")}, quotaEntity{EntityType: "user", EntityName: ptr("b")}),
	ipQuota("ip", "10.9.8.7", quotaOp{Key: "connection_creation_rate", Value: 10}),
	ipQuota("ip-fraction", "10.9.8.7", quotaOp{Key: "connection_creation_rate", Value: 1.5}),
	ipQuota("ip-other-key", "10.9.8.7", rate(10)),
	ipQuota("ip-v6", "fd00::1", quotaOp{Key: "connection_creation_rate", Value: 10}),
	ipQuota("ip-cidr", "10.0.0.0/8", quotaOp{Key: "connection_creation_rate", Value: 10}),
	ipQuota("ip-nonsense", "no such host", quotaOp{Key: "connection_creation_rate", Value: 10}),
	ipQuota("ip-too-large", "300.1.1.1", quotaOp{Key: "connection_creation_rate", Value: 10}),
	quotaChange("client", func(e *env) *message.AlterClientQuotasRequest { return quotas([]quotaEntity{e.client("c")}, rate(5)) }),
	quotaChange("user-and-client", func(e *env) *message.AlterClientQuotasRequest {
		return quotas([]quotaEntity{e.user("u"), e.client("c")}, rate(5))
	}),
	quotaChange("entity-twice", func(e *env) *message.AlterClientQuotasRequest {
		m := quotas([]quotaEntity{e.user("u")}, rate(5))
		m.Entries = append(m.Entries, quotas([]quotaEntity{e.user("u")}, rate(6)).Entries...)
		return m
	}),
	quotaChange("two-entities", func(e *env) *message.AlterClientQuotasRequest {
		m := quotas([]quotaEntity{e.user("u")}, rate(5))
		m.Entries = append(m.Entries, quotas([]quotaEntity{{EntityType: "no", EntityName: ptr("x")}}, rate(6)).Entries...)
		return m
	}),
	quotaChange("nothing", func(*env) *message.AlterClientQuotasRequest { return &message.AlterClientQuotasRequest{} }),
	{"life", func(e *env) {
		u, c := e.user("u"), e.client("c")
		e.do(quotas([]quotaEntity{u}, rate(1000), quotaOp{Key: "request_percentage", Value: 12.5}))
		e.describeQuotas(1, true, exactly(u))
		e.do(quotas([]quotaEntity{u, c}, rate(7)))
		e.describeQuotas(2, false, exactly(u))
		e.describeQuotas(1, true, exactly(u))
		e.describeQuotas(1, true, exactly(u), exactly(c))
		e.describeQuotas(1, false, exactly(c))
		e.describeQuotas(0, true, exactly(c))
		e.describeQuotas(1, false, exactly(u), quotaComponent{EntityType: "client-id", MatchType: matchAny})
		e.do(quotas([]quotaEntity{u}, rate(2000), quotaOp{Key: "request_percentage", Remove: true}))
		until(e, &message.DescribeClientQuotasRequest{Components: []quotaComponent{exactly(u)}, Strict: true}, 1,
			func(a *message.DescribeClientQuotasResponse) bool {
				return len(a.Entries) == 1 && len(a.Entries[0].Values) == 1
			})
		e.describeQuotas(1, true, exactly(u))
		e.do(quotas([]quotaEntity{u}, quotaOp{Key: "producer_byte_rate", Remove: true}))
		e.do(quotas([]quotaEntity{u, c}, quotaOp{Key: "producer_byte_rate", Remove: true}))
		e.describeQuotas(0, false, exactly(u))
	}},
	{"defaults", func(e *env) {
		d := quotaEntity{EntityType: "client-id"}
		u := e.user("u")
		e.do(quotas([]quotaEntity{u, d}, rate(9)))
		e.describeQuotas(1, false, exactly(u), quotaComponent{EntityType: "client-id", MatchType: matchDefault})
		e.describeQuotas(1, false, exactly(u), quotaComponent{EntityType: "client-id", MatchType: matchAny})
		e.describeQuotas(0, false, exactly(u), exactly(e.client("c")))
		e.do(quotas([]quotaEntity{u, d}, quotaOp{Key: "producer_byte_rate", Remove: true}))
	}},
	{"describe-type-unknown", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "group", MatchType: matchAny}}})
	}},
	{"describe-type-empty", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "", MatchType: matchAny}}})
	}},
	{"describe-match-3", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: 3, Match: ptr("a")}}})
	}},
	{"describe-match-negative", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: -1, Match: ptr("a")}}})
	}},
	{"describe-exact-null", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: matchExact}}})
	}},
	{"describe-default-with-match", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: matchDefault, Match: ptr("a")}}})
	}},
	{"describe-any-with-match", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: matchAny, Match: ptr("a")}, exactly(e.client("none"))}})
	}},
	{"describe-type-twice", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{exactly(e.user("a")), exactly(e.user("b"))}})
	}},
	{"describe-user-and-ip", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{exactly(e.user("a")), {EntityType: "ip", MatchType: matchAny}}})
	}},
	{"describe-client-and-ip", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{exactly(e.client("a")), {EntityType: "ip", MatchType: matchAny}}})
	}},
	{"describe-empty-name", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{{EntityType: "user", MatchType: matchExact, Match: ptr("")}}})
	}},
	{"describe-none-strict", func(e *env) { e.do(&message.DescribeClientQuotasRequest{Strict: true}) }},
	{"describe-unset", func(e *env) {
		e.do(&message.DescribeClientQuotasRequest{Components: []quotaComponent{exactly(e.user("none"))}})
	}},
}}
