package differential

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// built returns a batch of values, all at that time.
func built(t batch.Template, at wire.Timestamp, values ...string) []byte {
	var b batch.Builder
	t.LeaderEpoch = wire.NoLeaderEpoch
	b.Reset(t)
	for _, v := range values {
		if err := b.Append(at, nil, []byte(v), nil); err != nil {
			panic(err)
		}
	}
	h, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return append([]byte(nil), h...)
}

func present() wire.Timestamp { return wire.Timestamp(time.Now().UnixMilli()) }

// plain returns a batch of values at the present time.
func plain(values ...string) []byte { return built(batch.Template{}, present(), values...) }

// keyed returns a batch of one record with a key.
func keyed(key, value string) []byte {
	var b batch.Builder
	b.Reset(batch.Template{LeaderEpoch: -1})
	if err := b.Append(present(), []byte(key), []byte(value), nil); err != nil {
		panic(err)
	}
	h, err := b.Finish()
	if err != nil {
		panic(err)
	}
	return h
}

// patched returns b after f, with its checksum set right again.
func patched(b []byte, f func([]byte)) []byte {
	f(b)
	batch.Header(b).SetCRC()
	return b
}

// produce is a request with acks=all for one partition.
func produce(t topic, p wire.Partition, records []byte) *message.ProduceRequest {
	return &message.ProduceRequest{Acks: -1, TimeoutMs: 5000, Topics: []message.ProduceRequestTopic{{
		Name: t.name, TopicID: t.id, Partitions: []message.ProduceRequestPartition{{Index: p, Records: records}}}}}
}

// produced is a case that produces what f makes into a new topic with settings.
func produced(name string, f func() []byte, settings ...string) testcase {
	return testcase{name, func(e *env) {
		e.do(produce(e.topic("t", 1, settings...), 0, f()))
	}}
}

// attribute sets bits in the attributes of a batch.
func attribute(bits uint16) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint16(b[21:], binary.BigEndian.Uint16(b[21:])|bits) }
}

// field32 overwrites four bytes.
func field32(at int, v int32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[at:], uint32(v)) }
}

func field64(at int, v int64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[at:], uint64(v)) }
}

const hour = 3_600_000

var produceCases = group{"produce", []testcase{
	produced("one-record", func() []byte { return plain("a") }),
	produced("three-records", func() []byte { return plain("a", "b", "c") }),
	produced("gzip", func() []byte { return built(batch.Template{Codec: batch.CodecGzip}, present(), "a", "b") }),
	produced("snappy", func() []byte { return built(batch.Template{Codec: batch.CodecSnappy}, present(), "a", "b") }),
	produced("lz4", func() []byte { return built(batch.Template{Codec: batch.CodecLZ4}, present(), "a", "b") }),
	produced("zstd", func() []byte { return built(batch.Template{Codec: batch.CodecZstd}, present(), "a", "b") }),
	produced("codec-5", func() []byte { return patched(plain("a"), attribute(5)) }),
	produced("codec-7", func() []byte { return patched(plain("a"), attribute(7)) }),
	produced("codec-says-gzip-is-plain", func() []byte { return patched(plain("a"), attribute(1)) }),
	produced("codec-says-zstd-is-plain", func() []byte { return patched(plain("a"), attribute(4)) }),
	produced("corrupt-crc", func() []byte { b := plain("a"); b[17] ^= 1; return b }),
	produced("corrupt-value", func() []byte { b := plain("abc"); b[len(b)-2] ^= 1; return b }),
	produced("magic-3", func() []byte { b := plain("a"); b[16] = 3; return b }),
	produced("magic-minus-1", func() []byte { b := plain("a"); b[16] = 0xff; return b }),
	produced("magic-1", func() []byte { b := plain("a"); b[16] = 1; return b }),
	produced("magic-0", func() []byte { b := plain("a"); b[16] = 0; return b }),
	produced("two-batches", func() []byte { return append(plain("a"), plain("b")...) }),
	produced("cut-batch", func() []byte { b := plain("abcdef"); return b[:len(b)-3] }),
	produced("cut-header", func() []byte { return plain("a")[:30] }),
	produced("bytes-after-batch", func() []byte { return append(plain("a"), 1, 2, 3) }),
	produced("null-records", func() []byte { return nil }),
	produced("empty-records", func() []byte { return []byte{} }),
	produced("length-negative", func() []byte { b := plain("a"); field32(8, -1)(b); return b }),
	produced("length-small", func() []byte { b := plain("a"); field32(8, 20)(b); return b }),
	produced("control-batch", func() []byte { return patched(plain("a"), attribute(0x20)) }),
	produced("transactional-unknown", func() []byte {
		return built(batch.Template{Transactional: true, Idempotent: true, ProducerID: 2_000_000_000, BaseSequence: 0}, present(), "a")
	}),
	produced("count-too-large", func() []byte { return patched(plain("a"), field32(57, 2)) }),
	produced("count-too-small", func() []byte { return patched(plain("a", "b"), field32(57, 1)) }),
	produced("count-negative", func() []byte { return patched(plain("a"), field32(57, -1)) }),
	produced("count-0", func() []byte { return patched(plain("a"), field32(57, 0)) }),
	produced("empty-batch", func() []byte { return built(batch.Template{}, present()) }),
	produced("last-delta-too-large", func() []byte { return patched(plain("a"), field32(23, 5)) }),
	produced("last-delta-negative", func() []byte { return patched(plain("a"), field32(23, -1)) }),
	produced("base-offset-7", func() []byte { b := plain("a", "b"); field64(0, 7)(b); return b }),
	produced("attributes-unused-bits", func() []byte { return patched(plain("a"), attribute(0x80)) }),
	produced("log-append-time-from-client", func() []byte { return patched(plain("a"), attribute(8)) }),
	produced("log-append-time-topic", func() []byte { return plain("a") }, "message.timestamp.type=LogAppendTime"),
	produced("log-append-time-topic-gzip", func() []byte { return built(batch.Template{Codec: batch.CodecGzip}, 1, "a", "b") }, "message.timestamp.type=LogAppendTime"),
	produced("timestamp-too-old", func() []byte { return built(batch.Template{}, present()-10*hour, "a", "b") }, "message.timestamp.before.max.ms=1000"),
	produced("timestamp-future", func() []byte { return built(batch.Template{}, present()+10*hour, "a") }),
	produced("timestamp-future-allowed", func() []byte { return built(batch.Template{}, present()+10*hour, "a") }, "message.timestamp.after.max.ms=99999999"),
	produced("timestamp-none", func() []byte { return built(batch.Template{}, -1, "a") }),
	produced("timestamp-negative", func() []byte { return built(batch.Template{}, -5, "a") }),
	produced("timestamp-too-old-append-time", func() []byte { return built(batch.Template{}, 5, "a") }, "message.timestamp.before.max.ms=1000", "message.timestamp.type=LogAppendTime"),
	produced("max-timestamp-wrong", func() []byte { return patched(plain("a"), field64(35, 5)) }),
	produced("too-large", func() []byte { return plain(strings.Repeat("x", 2000)) }, "max.message.bytes=1000"),
	produced("too-large-default", func() []byte { return plain(strings.Repeat("x", 1_048_600)) }),
	produced("compact-without-key", func() []byte { return plain("a") }, "cleanup.policy=compact"),
	produced("compact-with-key", func() []byte { return keyed("k", "a") }, "cleanup.policy=compact"),
	produced("compact-second-without-key", func() []byte { return plain("a", "b") }, "cleanup.policy=compact,delete"),
	produced("recompress-to-zstd", func() []byte { return plain(strings.Repeat("a", 100)) }, "compression.type=zstd"),
	produced("recompress-to-none", func() []byte { return built(batch.Template{Codec: batch.CodecGzip}, present(), "a") }, "compression.type=uncompressed"),
	{"unknown-topic", func(e *env) { e.do(produce(topic{e.unique("no"), unknownID}, 0, plain("a"))) }},
	{"unknown-partition", func(e *env) { e.do(produce(e.topic("t", 1), 9, plain("a"))) }},
	{"negative-partition", func(e *env) { e.do(produce(e.topic("t", 1), -1, plain("a"))) }},
	{"bad-topic-name", func(e *env) { e.do(produce(topic{name: "a b" + e.nonce}, 0, plain("a"))) }},
	{"empty-topic-name", func(e *env) { e.do(produce(topic{}, 0, plain("a"))) }},
	{"no-topics", func(e *env) { e.do(&message.ProduceRequest{Acks: -1, TimeoutMs: 1000}) }},
	{"no-partitions", func(e *env) {
		t := e.topic("t", 1)
		m := produce(t, 0, nil)
		m.Topics[0].Partitions = nil
		e.do(m)
	}},
	{"internal-topic", func(e *env) { e.at(produce(topic{name: "__consumer_offsets"}, 0, plain("a")), 9) }},
	{"acks-2", func(e *env) { m := produce(e.topic("t", 1), 0, plain("a")); m.Acks = 2; e.do(m) }},
	{"acks-minus-2", func(e *env) { m := produce(e.topic("t", 1), 0, plain("a")); m.Acks = -2; e.do(m) }},
	{"acks-1", func(e *env) { m := produce(e.topic("t", 1), 0, plain("a")); m.Acks = 1; e.do(m) }},
	{"acks-0", func(e *env) {
		m := produce(e.topic("t", 1), 0, plain("a"))
		m.Acks = 0
		e.send(m, e.version(message.KeyProduce))
		e.do(listOffsets(topic{m.Topics[0].Name, m.Topics[0].TopicID}, 0, -1))
	}},
	{"acks-0-unknown-topic", func(e *env) {
		m := produce(topic{e.unique("no"), unknownID}, 0, plain("a"))
		m.Acks = 0
		e.send(m, e.version(message.KeyProduce))
		e.do(listOffsets(topic{name: e.unique("no"), id: unknownID}, 0, -1))
	}},
	{"not-enough-replicas", func(e *env) { e.do(produce(e.topic("t", 1, "min.insync.replicas=2"), 0, plain("a"))) }},
	{"not-enough-replicas-acks-1", func(e *env) {
		m := produce(e.topic("t", 1, "min.insync.replicas=2"), 0, plain("a"))
		m.Acks = 1
		e.do(m)
	}},
	{"one-good-one-bad", func(e *env) {
		t := e.topic("t", 2)
		m := produce(t, 0, plain("a"))
		bad := plain("b")
		bad[17] ^= 1
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, message.ProduceRequestPartition{Index: 1, Records: bad})
		e.do(m)
	}},
	{"partition-twice", func(e *env) {
		m := produce(e.topic("t", 1), 0, plain("a"))
		m.Topics[0].Partitions = append(m.Topics[0].Partitions, message.ProduceRequestPartition{Index: 0, Records: plain("b")})
		e.do(m)
	}},
	{"transactional-id-unknown", func(e *env) {
		m := produce(e.topic("t", 1), 0, plain("a"))
		m.TransactionalID = ptr(e.unique("txn"))
		e.do(m)
	}},
	{"second-offset", func(e *env) {
		t := e.topic("t", 1)
		e.do(produce(t, 0, plain("a", "b")))
		e.do(produce(t, 0, plain("c")))
	}},
}}

// step is a batch of an idempotent producer.
type step struct {
	epoch    wire.ProducerEpoch
	sequence wire.Sequence
	count    int
}

// sequence is a case in which one producer sends batches one after the other.
func sequence(name string, steps ...step) testcase {
	return testcase{name, func(e *env) {
		t := e.topic("t", 1)
		a := quiet[*message.InitProducerIDResponse](e, &message.InitProducerIDRequest{TransactionTimeoutMs: 60_000, ProducerID: -1, ProducerEpoch: -1}, 4)
		for _, s := range steps {
			e.do(produce(t, 0, built(batch.Template{Idempotent: true, ProducerID: a.ProducerID, ProducerEpoch: s.epoch, BaseSequence: s.sequence},
				present(), strings.Split(strings.Repeat("v", s.count), "")...)))
		}
		e.do(&message.DescribeProducersRequest{Topics: []message.DescribeProducersRequestTopic{{Name: t.name, PartitionIndexes: []wire.Partition{0}}}})
	}}
}

var sequenceCases = group{"sequence", []testcase{
	sequence("in-order", step{0, 0, 1}, step{0, 1, 2}, step{0, 3, 1}),
	sequence("duplicate", step{0, 0, 2}, step{0, 2, 1}, step{0, 0, 2}, step{0, 2, 1}),
	sequence("duplicate-older-than-five", step{0, 0, 1}, step{0, 1, 1}, step{0, 2, 1}, step{0, 3, 1}, step{0, 4, 1}, step{0, 5, 1}, step{0, 0, 1}),
	sequence("gap", step{0, 0, 1}, step{0, 5, 1}),
	sequence("first-not-0", step{0, 7, 1}),
	sequence("overlap", step{0, 0, 3}, step{0, 1, 3}),
	sequence("partly-duplicate", step{0, 0, 3}, step{0, 0, 2}),
	sequence("new-epoch-from-0", step{0, 0, 1}, step{1, 0, 1}),
	sequence("new-epoch-not-from-0", step{0, 0, 1}, step{1, 1, 1}),
	sequence("old-epoch", step{1, 0, 1}, step{0, 1, 1}),
	sequence("old-epoch-duplicate", step{0, 0, 1}, step{1, 0, 1}, step{0, 0, 1}),
	sequence("epoch-negative", step{-1, 0, 1}),
	sequence("sequence-negative", step{0, -1, 1}),
	sequence("sequence-wraps", step{0, 0, 1}, step{0, 2147483647, 1}),
	{"unknown-producer", func(e *env) {
		e.do(produce(e.topic("t", 1), 0, built(batch.Template{Idempotent: true, ProducerID: 2_000_000_001, BaseSequence: 4}, present(), "a")))
	}},
	{"two-batches", func(e *env) {
		b := built(batch.Template{Idempotent: true, ProducerID: 2_000_000_002}, present(), "a")
		e.do(produce(e.topic("t", 1), 0, append(b, built(batch.Template{Idempotent: true, ProducerID: 2_000_000_002, BaseSequence: 1}, present(), "b")...)))
	}},
	initProducer("init", nil, 60_000, -1, -1),
	initProducer("init-epoch-without-id", nil, 60_000, -1, 3),
	initProducer("init-id-without-epoch", nil, 60_000, 2_000_000_003, -1),
	initProducer("init-id-and-epoch", nil, 60_000, 2_000_000_003, 1),
	initProducer("init-timeout-0", nil, 0, -1, -1),
	initProducer("init-empty-transactional-id", ptr(""), 60_000, -1, -1),
	{"describe-producers-unknown", func(e *env) {
		t := e.topic("t", 1)
		e.do(&message.DescribeProducersRequest{Topics: []message.DescribeProducersRequestTopic{
			{Name: t.name, PartitionIndexes: []wire.Partition{0, 5, -1}}, {Name: e.unique("no"), PartitionIndexes: []wire.Partition{0}},
			{Name: "a b", PartitionIndexes: []wire.Partition{0}}, {Name: "", PartitionIndexes: []wire.Partition{0}}}})
	}},
}}

func initProducer(name string, txn *string, timeout int32, id wire.ProducerID, epoch wire.ProducerEpoch) testcase {
	return testcase{name, func(e *env) {
		m := &message.InitProducerIDRequest{TransactionalID: txn, TransactionTimeoutMs: timeout, ProducerID: id, ProducerEpoch: epoch}
		e.do(m)
	}}
}
