package differential

import (
	"strconv"

	"github.com/kraftgo/kraftgo/wire/message"
)

// The types of config resources, as Kafka numbers them.
const (
	resourceUnknown       int8 = 0
	resourceAny           int8 = 1
	resourceTopic         int8 = 2
	resourceBroker        int8 = 4
	resourceLogger        int8 = 8
	resourceClientMetrics int8 = 16
	resourceGroup         int8 = 32
)

// The operations of IncrementalAlterConfigs.
const (
	opSet int8 = iota
	opDelete
	opAppend
	opSubtract
)

type op = message.IncrementalAlterConfigsRequestConfig

func alter(kind int8, name string, ops ...op) *message.IncrementalAlterConfigsRequest {
	return &message.IncrementalAlterConfigsRequest{Resources: []message.IncrementalAlterConfigsRequestResource{{ResourceType: kind, ResourceName: name, Configs: ops}}}
}

func replace(kind int8, name string, configs ...message.AlterConfigsRequestConfig) *message.AlterConfigsRequest {
	return &message.AlterConfigsRequest{Resources: []message.AlterConfigsRequestResource{{ResourceType: kind, ResourceName: name, Configs: configs}}}
}

func describe(kind int8, name string, keys ...string) *message.DescribeConfigsRequest {
	return &message.DescribeConfigsRequest{IncludeSynonyms: true, Resources: []message.DescribeConfigsRequestResource{{ResourceType: kind, ResourceName: name, ConfigurationKeys: keys}}}
}

// altered is a case that changes a topic's settings, and then looks at some.
func altered(name string, ops ...op) testcase {
	return testcase{"alter-" + name, func(e *env) {
		t := e.topic("t", 1, "cleanup.policy=compact", "retention.ms=5000")
		m := alter(resourceTopic, t.name, ops...)
		m.ValidateOnly = true
		e.do(m)
		m.ValidateOnly = false
		e.do(m)
		e.do(describe(resourceTopic, t.name, "cleanup.policy", "retention.ms", "max.message.bytes"))
	}}
}

// replaced is altered by AlterConfigs, which replaces all settings.
func replaced(name string, configs ...message.AlterConfigsRequestConfig) testcase {
	return testcase{"replace-" + name, func(e *env) {
		t := e.topic("t", 1, "cleanup.policy=compact", "retention.ms=5000")
		m := replace(resourceTopic, t.name, configs...)
		m.ValidateOnly = true
		e.do(m)
		m.ValidateOnly = false
		e.do(m)
		e.do(describe(resourceTopic, t.name, "cleanup.policy", "retention.ms", "max.message.bytes"))
	}}
}

// on is a case that sends what f makes.
func on(name string, f func(e *env) message.Request) testcase {
	return testcase{name, func(e *env) { e.do(f(e)) }}
}

func (e *env) brokerName() string { return strconv.Itoa(int(e.target.broker)) }

type pair = message.AlterConfigsRequestConfig

var configCases = group{"configs", []testcase{
	{"describe-topic", func(e *env) { e.do(describe(resourceTopic, e.topic("t", 1, "retention.ms=5000").name)) }},
	{"describe-topic-no-synonyms", func(e *env) {
		m := describe(resourceTopic, e.topic("t", 1, "retention.ms=5000", "compression.type=zstd").name, "retention.ms", "compression.type", "segment.bytes")
		m.IncludeSynonyms = false
		e.do(m)
	}},
	{"describe-unknown-key", func(e *env) { e.do(describe(resourceTopic, e.topic("t", 1).name, "no.such", "retention.ms")) }},
	{"describe-no-keys", func(e *env) {
		m := describe(resourceTopic, e.topic("t", 1).name)
		m.Resources[0].ConfigurationKeys = []string{}
		e.do(m)
	}},
	on("describe-unknown-topic", func(e *env) message.Request { return describe(resourceTopic, e.unique("no")) }),
	on("describe-bad-topic", func(*env) message.Request { return describe(resourceTopic, "a b") }),
	on("describe-empty-topic", func(*env) message.Request { return describe(resourceTopic, "") }),
	on("describe-type-0", func(*env) message.Request { return describe(resourceUnknown, "x") }),
	on("describe-type-1", func(*env) message.Request { return describe(resourceAny, "x") }),
	on("describe-type-3", func(*env) message.Request { return describe(3, "x") }),
	on("describe-type-99", func(*env) message.Request { return describe(99, "x") }),
	on("describe-broker-some", func(e *env) message.Request {
		return describe(resourceBroker, e.brokerName(), "log.retention.hours", "message.max.bytes", "num.partitions", "log.cleanup.policy", "log.segment.bytes", "auto.create.topics.enable")
	}),
	on("describe-broker-default", func(*env) message.Request { return describe(resourceBroker, "") }),
	on("describe-broker-other", func(*env) message.Request { return describe(resourceBroker, "99") }),
	on("describe-broker-text", func(*env) message.Request { return describe(resourceBroker, "one") }),
	on("describe-logger-text", func(*env) message.Request { return describe(resourceLogger, "one") }),
	on("describe-logger-empty", func(*env) message.Request { return describe(resourceLogger, "") }),
	on("describe-logger-other", func(*env) message.Request { return describe(resourceLogger, "99") }),
	on("describe-client-metrics", func(e *env) message.Request { return describe(resourceClientMetrics, e.unique("m")) }),
	on("describe-client-metrics-empty", func(*env) message.Request { return describe(resourceClientMetrics, "") }),
	on("describe-group", func(e *env) message.Request { return describe(resourceGroup, e.unique("g")) }),
	on("describe-group-empty", func(*env) message.Request { return describe(resourceGroup, "") }),
	on("describe-nothing", func(*env) message.Request { return &message.DescribeConfigsRequest{} }),
	{"describe-twice", func(e *env) {
		m := describe(resourceTopic, e.topic("t", 1).name, "retention.ms")
		m.Resources = append(m.Resources, m.Resources[0])
		e.do(m)
	}},
	altered("set", op{Name: "retention.ms", Value: ptr("7000")}),
	altered("set-null", op{Name: "retention.ms"}),
	altered("set-empty", op{Name: "retention.ms", Value: ptr("")}),
	altered("set-bad", op{Name: "retention.ms", Value: ptr("x")}),
	altered("set-out-of-range", op{Name: "max.message.bytes", Value: ptr("-1")}),
	altered("set-unknown", op{Name: "no.such", Value: ptr("x")}),
	altered("set-empty-name", op{Name: "", Value: ptr("x")}),
	altered("set-other-bad", op{Name: "retention.ms", Value: ptr("1")}, op{Name: "max.message.bytes", Value: ptr("x")}),
	altered("delete", op{Name: "retention.ms", ConfigOperation: opDelete}),
	altered("delete-unset", op{Name: "max.message.bytes", ConfigOperation: opDelete}),
	altered("delete-unknown", op{Name: "no.such", ConfigOperation: opDelete}),
	altered("delete-with-value", op{Name: "retention.ms", ConfigOperation: opDelete, Value: ptr("5000")}),
	altered("append", op{Name: "cleanup.policy", ConfigOperation: opAppend, Value: ptr("delete")}),
	altered("append-present", op{Name: "cleanup.policy", ConfigOperation: opAppend, Value: ptr("compact")}),
	altered("append-bad", op{Name: "cleanup.policy", ConfigOperation: opAppend, Value: ptr("shred")}),
	altered("append-empty", op{Name: "cleanup.policy", ConfigOperation: opAppend, Value: ptr("")}),
	altered("append-null", op{Name: "cleanup.policy", ConfigOperation: opAppend}),
	altered("append-two", op{Name: "cleanup.policy", ConfigOperation: opAppend, Value: ptr("delete,compact")}),
	altered("append-non-list", op{Name: "retention.ms", ConfigOperation: opAppend, Value: ptr("1")}),
	altered("append-unknown", op{Name: "no.such", ConfigOperation: opAppend, Value: ptr("1")}),
	altered("append-unset-list", op{Name: "leader.replication.throttled.replicas", ConfigOperation: opAppend, Value: ptr("0:1")}),
	altered("subtract", op{Name: "cleanup.policy", ConfigOperation: opSubtract, Value: ptr("compact")}),
	altered("subtract-absent", op{Name: "cleanup.policy", ConfigOperation: opSubtract, Value: ptr("delete")}),
	altered("subtract-non-list", op{Name: "retention.ms", ConfigOperation: opSubtract, Value: ptr("1")}),
	altered("subtract-null", op{Name: "cleanup.policy", ConfigOperation: opSubtract}),
	altered("op-4", op{Name: "retention.ms", ConfigOperation: 4, Value: ptr("1")}),
	altered("op-negative", op{Name: "retention.ms", ConfigOperation: -1, Value: ptr("1")}),
	altered("key-twice", op{Name: "retention.ms", Value: ptr("1")}, op{Name: "retention.ms", Value: ptr("2")}),
	altered("key-set-and-deleted", op{Name: "retention.ms", Value: ptr("1")}, op{Name: "retention.ms", ConfigOperation: opDelete}),
	altered("nothing"),
	on("alter-unknown-topic", func(e *env) message.Request {
		return alter(resourceTopic, e.unique("no"), op{Name: "retention.ms", Value: ptr("1")})
	}),
	on("alter-bad-topic", func(*env) message.Request {
		return alter(resourceTopic, "a b", op{Name: "retention.ms", Value: ptr("1")})
	}),
	on("alter-empty-topic", func(*env) message.Request {
		return alter(resourceTopic, "", op{Name: "retention.ms", Value: ptr("1")})
	}),
	on("alter-type-0", func(*env) message.Request { return alter(resourceUnknown, "x", op{Name: "a", Value: ptr("1")}) }),
	on("alter-type-1", func(*env) message.Request { return alter(resourceAny, "x", op{Name: "a", Value: ptr("1")}) }),
	on("alter-type-3", func(*env) message.Request { return alter(3, "x", op{Name: "a", Value: ptr("1")}) }),
	on("alter-type-99", func(*env) message.Request { return alter(99, "x", op{Name: "a", Value: ptr("1")}) }),
	on("alter-no-resources", func(*env) message.Request { return &message.IncrementalAlterConfigsRequest{} }),
	{"alter-resource-twice", func(e *env) {
		m := alter(resourceTopic, e.topic("t", 1).name, op{Name: "retention.ms", Value: ptr("1")})
		m.Resources = append(m.Resources, m.Resources[0])
		e.do(m)
	}},
	on("alter-broker-read-only", func(e *env) message.Request {
		return alter(resourceBroker, e.brokerName(), op{Name: "log.dirs", Value: ptr("/nowhere")})
	}),
	on("alter-broker-unknown-key", func(e *env) message.Request {
		m := alter(resourceBroker, e.brokerName(), op{Name: "no.such", Value: ptr("1")})
		m.ValidateOnly = true
		return m
	}),
	on("alter-broker-bad-value", func(e *env) message.Request {
		return alter(resourceBroker, e.brokerName(), op{Name: "log.retention.ms", Value: ptr("x")})
	}),
	on("alter-broker-other", func(*env) message.Request {
		return alter(resourceBroker, "99", op{Name: "log.retention.ms", Value: ptr("1")})
	}),
	on("alter-broker-text", func(*env) message.Request {
		return alter(resourceBroker, "one", op{Name: "log.retention.ms", Value: ptr("1")})
	}),
	{"alter-broker-default", func(e *env) {
		e.do(alter(resourceBroker, "", op{Name: "log.retention.ms", Value: ptr("777000")}))
		e.do(describe(resourceBroker, ""))
		e.do(describe(resourceBroker, e.brokerName(), "log.retention.ms"))
		e.do(describe(resourceTopic, e.topic("t", 1).name, "retention.ms"))
		e.do(alter(resourceBroker, "", op{Name: "log.retention.ms", ConfigOperation: opDelete}))
	}},
	{"alter-broker-own", func(e *env) {
		e.do(alter(resourceBroker, e.brokerName(), op{Name: "log.cleaner.backoff.ms", Value: ptr("777")}))
		e.do(describe(resourceBroker, e.brokerName(), "log.cleaner.backoff.ms"))
		e.do(alter(resourceBroker, e.brokerName(), op{Name: "log.cleaner.backoff.ms", ConfigOperation: opDelete}))
	}},
	{"alter-group", func(e *env) {
		g := e.unique("g")
		e.do(alter(resourceGroup, g, op{Name: "consumer.session.timeout.ms", Value: ptr("46000")}))
		e.do(alter(resourceGroup, g, op{Name: "no.such", Value: ptr("1")}))
		e.do(alter(resourceGroup, "", op{Name: "consumer.session.timeout.ms", Value: ptr("46000")}))
	}},
	{"alter-client-metrics", func(e *env) {
		g := e.unique("m")
		e.do(alter(resourceClientMetrics, g, op{Name: "interval.ms", Value: ptr("46000")}))
		e.do(alter(resourceClientMetrics, g, op{Name: "no.such", Value: ptr("1")}))
		e.do(alter(resourceClientMetrics, "", op{Name: "interval.ms", Value: ptr("46000")}))
	}},
	replaced("one", pair{Name: "max.message.bytes", Value: ptr("2000")}),
	replaced("nothing"),
	replaced("unknown", pair{Name: "no.such", Value: ptr("2000")}),
	replaced("null", pair{Name: "retention.ms"}),
	replaced("bad", pair{Name: "retention.ms", Value: ptr("x")}),
	replaced("empty", pair{Name: "retention.ms", Value: ptr("")}),
	replaced("key-twice", pair{Name: "retention.ms", Value: ptr("1")}, pair{Name: "retention.ms", Value: ptr("2")}),
	on("replace-unknown-topic", func(e *env) message.Request {
		return replace(resourceTopic, e.unique("no"), pair{Name: "retention.ms", Value: ptr("1")})
	}),
	on("replace-type-0", func(*env) message.Request { return replace(resourceUnknown, "x") }),
	on("replace-type-3", func(*env) message.Request { return replace(3, "x") }),
	on("replace-broker-read-only", func(e *env) message.Request {
		return replace(resourceBroker, e.brokerName(), pair{Name: "log.dirs", Value: ptr("/nowhere")})
	}),
	{"replace-resource-twice", func(e *env) {
		m := replace(resourceTopic, e.topic("t", 1).name)
		m.Resources = append(m.Resources, m.Resources[0])
		e.do(m)
	}},
	on("list-all", func(*env) message.Request { return &message.ListConfigResourcesRequest{} }),
	on("list-topics", func(e *env) message.Request {
		e.topic("t", 1)
		return &message.ListConfigResourcesRequest{ResourceTypes: []int8{resourceTopic}}
	}),
	on("list-brokers", func(*env) message.Request {
		return &message.ListConfigResourcesRequest{ResourceTypes: []int8{resourceBroker, resourceLogger}}
	}),
	on("list-type-0", func(*env) message.Request {
		return &message.ListConfigResourcesRequest{ResourceTypes: []int8{resourceUnknown}}
	}),
	on("list-type-99", func(*env) message.Request {
		return &message.ListConfigResourcesRequest{ResourceTypes: []int8{resourceTopic, 99}}
	}),
	on("list-type-twice", func(*env) message.Request {
		return &message.ListConfigResourcesRequest{ResourceTypes: []int8{resourceBroker, resourceBroker}}
	}),
}}
