package cluster

import (
	"math"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/coordinator/runtime"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire/batch"
)

type storageOptions = storage.Options

// topicSettings resolves a topic's settings for its logs and requests.
func topicSettings(s control.Settings, m *metadata.Image, topic string) replica.TopicSettings {
	number := func(name string) int64 { return s.TopicInt(m, topic, name) }
	policies := config.SplitList(s.Topic(m, topic, "cleanup.policy"))
	durability := replication.Fsync
	if s.Topic(m, topic, "durability") == "replicated" {
		durability = replication.Replicated
	}
	deletes := slices.Contains(policies, "delete")
	codec, level := codecOf(s, m, topic)
	return replica.TopicSettings{
		Log: storage.Options{
			SegmentBytes: int32(number("segment.bytes")), SegmentAge: milliseconds(number("segment.ms")),
			IndexInterval: int32(max(1, number("index.interval.bytes"))), IndexBytes: int32(min(max(number("segment.index.bytes"), 12), math.MaxInt32/2)),
			RetentionBytes: limit(number("retention.bytes")), RetentionAge: age(number("retention.ms")), KeepOld: !deletes,
			FileDeleteDelay:      milliseconds(max(1, number("file.delete.delay.ms"))),
			ProducerIDExpiration: milliseconds(s.Int(m, "producer.id.expiration.ms")),
			Replicated:           durability == replication.Replicated,
		},
		Request: replica.Settings{
			Durability: durability, MinInSync: int(number("min.insync.replicas")), MaxMessageBytes: int(number("max.message.bytes")),
			LogAppendTime:     s.Topic(m, topic, "message.timestamp.type") == "LogAppendTime",
			TimestampBeforeMs: number("message.timestamp.before.max.ms"), TimestampAfterMs: number("message.timestamp.after.max.ms"),
			Codec: codec, Level: level, Compact: slices.Contains(policies, "compact"), Delete: deletes,
			ThrottledLeader:   replication.ParseThrottled(s.Topic(m, topic, "leader.replication.throttled.replicas"), s.Broker),
			ThrottledFollower: replication.ParseThrottled(s.Topic(m, topic, "follower.replication.throttled.replicas"), s.Broker),
		},
	}
}

func codecOf(s control.Settings, m *metadata.Image, topic string) (codec int8, level int) {
	switch s.Topic(m, topic, "compression.type") {
	case "uncompressed":
		return int8(batch.CodecNone), 0
	case "gzip":
		return int8(batch.CodecGzip), int(s.TopicInt(m, topic, "compression.gzip.level"))
	case "snappy":
		return int8(batch.CodecSnappy), 0
	case "lz4":
		return int8(batch.CodecLZ4), int(s.TopicInt(m, topic, "compression.lz4.level"))
	case "zstd":
		return int8(batch.CodecZstd), int(s.TopicInt(m, topic, "compression.zstd.level"))
	}
	return replica.CodecProducer, 0
}

// milliseconds is n ms as a duration; what a duration cannot hold is its largest, which is 292 years.
func milliseconds(n int64) time.Duration {
	if n > math.MaxInt64/int64(time.Millisecond) {
		return math.MaxInt64
	}
	return time.Duration(n) * time.Millisecond
}

// age is the retention.ms of a topic: negative for no limit. 0 deletes at once; storage takes its zero value for the
// default, so it gets the shortest age there is.
func age(ms int64) time.Duration {
	switch {
	case ms < 0:
		return storage.Unlimited
	case ms == 0:
		return 1
	}
	return milliseconds(ms)
}

// limit is the retention.bytes of a topic: negative for no limit, and at least 1 as for age.
func limit(n int64) int64 {
	if n < 0 {
		return storage.Unlimited
	}
	return max(n, 1)
}

func groupConfig(s control.Settings, m *metadata.Image) runtime.Config {
	return runtime.Config{
		InitialRebalanceDelay: milliseconds(s.Int(m, "group.initial.rebalance.delay.ms")),
		MinSessionTimeout:     milliseconds(s.Int(m, "group.min.session.timeout.ms")),
		MaxSessionTimeout:     milliseconds(s.Int(m, "group.max.session.timeout.ms")),
		MaxSize:               int(s.Int(m, "group.max.size")),
		MaxMetadataBytes:      int(s.Int(m, "offset.metadata.max.bytes")),
		OffsetsRetention:      time.Duration(s.Int(m, "offsets.retention.minutes")) * time.Minute,
		OffsetsRetentionCheck: milliseconds(s.Int(m, "offsets.retention.check.interval.ms")),
	}
}
