package config

import (
	"math"
	"regexp"
)

const (
	maxInt  = math.MaxInt32
	maxLong = float64(math.MaxInt64)
	hour    = 3600_000
)

func synonym(names ...string) []Synonym {
	s := make([]Synonym, len(names))
	for i, n := range names {
		s[i] = Synonym{Name: n, Multiply: 1}
	}
	return s
}

// The values of replica.selector.class.
const (
	LeaderSelector    = "org.apache.kafka.common.replica.LeaderSelector"
	RackAwareSelector = "org.apache.kafka.common.replica.RackAwareReplicaSelector"
)

// hostPortForm is what an address looks like: a name, an IPv4 address, or an IPv6 one in brackets; and a port from 1 to 65535.
var hostPortForm = regexp.MustCompile(`^([^:\[\]/ ]+|\[[0-9a-fA-F:.%]+\]):0*([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$`)

var replicaForm = regexp.MustCompile(`^[0-9]+:[0-9]+$`)

const replicaFormDoc = "the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],..."

var codecs = []string{"uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"}

const (
	threads   = "kraftgo has no thread pools to size"
	kraftRole = "every kraftgo node is a broker, and the quorum chooses its voters by itself"
)

// CordonedLogDirs is the setting by which brokers are kept from new replicas (KIP-1066).
const CordonedLogDirs = "cordoned.log.dirs"

// keys is every setting, topics' first. Names, defaults and ranges are Kafka 4.4's (LogConfig, KafkaConfig and the
// classes they gather), but for those that Kafka does not have; these say so.
var keys = []Key{
	// Topic settings.
	{Name: "cleanup.policy", Scope: Topic, Type: List, Default: "delete", OneOf: []string{"compact", "delete"}, Synonyms: synonym("log.cleanup.policy"), Doc: "What happens to old segments: delete by retention, compact by key, or both."},
	{Name: "compression.gzip.level", Scope: Topic, Type: Int, Default: "-1", Min: -1, Max: 9, Synonyms: synonym("compression.gzip.level"), Doc: "The gzip level when the broker compresses: 1 to 9, or -1 for the codec's own."},
	{Name: "compression.lz4.level", Scope: Topic, Type: Int, Default: "9", Min: 1, Max: 17, Synonyms: synonym("compression.lz4.level"), Doc: "The lz4 level when the broker compresses."},
	{Name: "compression.type", Scope: Topic, Type: String, Default: "producer", OneOf: codecs, Synonyms: synonym("compression.type"), Doc: "The codec that batches are stored with; producer keeps what the producer chose."},
	{Name: "compression.zstd.level", Scope: Topic, Type: Int, Default: "3", Min: -131072, Max: 22, Synonyms: synonym("compression.zstd.level"), Doc: "The zstd level when the broker compresses."},
	{Name: "delete.retention.ms", Scope: Topic, Type: Long, Default: "86400000", Min: 0, Max: maxLong, Synonyms: synonym("log.cleaner.delete.retention.ms"), Doc: "How long a tombstone of a compacted topic is kept, in milliseconds."},
	{Name: "durability", Scope: Topic, Type: String, Default: "fsync", OneOf: []string{"fsync", "replicated"}, Synonyms: synonym("log.durability"), Doc: "fsync: an acknowledged record is on disk. replicated: the page cache of every in-sync replica counts, as in Kafka. (kraftgo's own)"},
	{Name: "file.delete.delay.ms", Scope: Topic, Type: Long, Default: "60000", Min: 0, Max: maxLong, Synonyms: synonym("log.segment.delete.delay.ms"), Doc: "How long a deleted segment's file stays before it is removed, in milliseconds."},
	{Name: "flush.messages", Scope: Topic, Type: Long, Default: "9223372036854775807", Min: 1, Max: maxLong, Synonyms: synonym("log.flush.interval.messages"), Doc: "With durability=replicated: sync after so many records."},
	{Name: "flush.ms", Scope: Topic, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Synonyms: synonym("log.flush.interval.ms", "log.flush.scheduler.interval.ms"), Doc: "With durability=replicated: sync a record at the latest after so many milliseconds."},
	{Name: "follower.replication.throttled.replicas", Scope: Topic, Type: List, Default: "", Form: replicaForm, FormDoc: replicaFormDoc, Doc: "Replicas that fetch throttled while not in sync, as partition:broker,... or *."},
	{Name: "index.interval.bytes", Scope: Topic, Type: Int, Default: "4096", Min: 0, Max: maxInt, Synonyms: synonym("log.index.interval.bytes"), Doc: "How many bytes of log lie between two entries of the offset index."},
	{Name: "leader.replication.throttled.replicas", Scope: Topic, Type: List, Default: "", Form: replicaForm, FormDoc: replicaFormDoc, Doc: "Replicas that, as leaders, send throttled to followers not in sync, as partition:broker,... or *."},
	{Name: "max.compaction.lag.ms", Scope: Topic, Type: Long, Default: "9223372036854775807", Min: 1, Max: maxLong, Synonyms: synonym("log.cleaner.max.compaction.lag.ms"), Doc: "The longest that a record stays uncompacted, in milliseconds."},
	{Name: "max.message.bytes", Scope: Topic, Type: Int, Default: "1048588", Min: 0, Max: maxInt, Synonyms: synonym("message.max.bytes"), Doc: "The largest record batch, in bytes, as sent."},
	{Name: "message.timestamp.after.max.ms", Scope: Topic, Type: Long, Default: "3600000", Min: 0, Max: maxLong, Synonyms: synonym("log.message.timestamp.after.max.ms"), Doc: "How far a record's time may lie in the future, in milliseconds (CreateTime only)."},
	{Name: "message.timestamp.before.max.ms", Scope: Topic, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Synonyms: synonym("log.message.timestamp.before.max.ms"), Doc: "How far a record's time may lie in the past, in milliseconds (CreateTime only)."},
	{Name: "message.timestamp.type", Scope: Topic, Type: String, Default: "CreateTime", OneOf: []string{"CreateTime", "LogAppendTime"}, Synonyms: synonym("log.message.timestamp.type"), Doc: "Whether a record's time is the producer's or the broker's."},
	{Name: "min.cleanable.dirty.ratio", Scope: Topic, Type: Double, Default: "0.5", Min: 0, Max: 1, Synonyms: synonym("log.cleaner.min.cleanable.ratio"), Doc: "The share of dirty log at which compaction begins."},
	{Name: "min.compaction.lag.ms", Scope: Topic, Type: Long, Default: "0", Min: 0, Max: maxLong, Synonyms: synonym("log.cleaner.min.compaction.lag.ms"), Doc: "The shortest that a record stays uncompacted, in milliseconds."},
	{Name: "min.insync.replicas", Scope: Topic, Type: Int, Default: "1", Min: 1, Max: maxInt, Synonyms: synonym("min.insync.replicas"), Doc: "How many replicas must be in sync for acks=all to be accepted."},
	{Name: "preallocate", Scope: Topic, Type: Boolean, Default: "false", Synonyms: synonym("log.preallocate"), NoEffect: "kraftgo never preallocates segments; it was measured to cost, not to gain", Doc: "Whether a segment's file is made in its full size."},
	{Name: "retention.bytes", Scope: Topic, Type: Long, Default: "-1", Synonyms: synonym("log.retention.bytes"), Doc: "The size above which a partition's oldest segments are deleted, in bytes; -1 for none."},
	{Name: "retention.ms", Scope: Topic, Type: Long, Default: "604800000", Min: -1, Max: maxLong, Synonyms: []Synonym{{"log.retention.ms", 1}, {"log.retention.minutes", 60_000}, {"log.retention.hours", hour}}, Doc: "The age at which a segment is deleted, in milliseconds; -1 for never."},
	{Name: "segment.bytes", Scope: Topic, Type: Int, Default: "1073741824", Min: 1 << 20, Max: maxInt, Synonyms: synonym("log.segment.bytes"), Doc: "The size at which a segment is closed and a new one begun, in bytes."},
	{Name: "segment.index.bytes", Scope: Topic, Type: Int, Default: "10485760", Min: 4, Max: maxInt, Synonyms: synonym("log.index.size.max.bytes"), Doc: "The size at which an index is full and its segment is closed, in bytes."},
	{Name: "segment.jitter.ms", Scope: Topic, Type: Long, Default: "0", Min: 0, Max: maxLong, Synonyms: []Synonym{{"log.roll.jitter.ms", 1}, {"log.roll.jitter.hours", hour}}, Doc: "The most that is taken off segment.ms at random, in milliseconds."},
	{Name: "segment.ms", Scope: Topic, Type: Long, Default: "604800000", Min: 1, Max: maxLong, Synonyms: []Synonym{{"log.roll.ms", 1}, {"log.roll.hours", hour}}, Doc: "The age at which a segment is closed, in milliseconds."},
	{Name: "unclean.leader.election.enable", Scope: Topic, Type: Boolean, Default: "false", Synonyms: synonym("unclean.leader.election.enable"), Doc: "Whether a replica that may lack acknowledged records may lead when no other is left."},

	// Broker settings that are the topics' defaults.
	{Name: "log.cleanup.policy", Scope: Broker, Type: List, Default: "delete", OneOf: []string{"compact", "delete"}, Dynamic: ClusterWide, Doc: "Default of cleanup.policy."},
	{Name: "compression.gzip.level", Scope: Broker, Type: Int, Default: "-1", Min: -1, Max: 9, Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},
	{Name: "compression.lz4.level", Scope: Broker, Type: Int, Default: "9", Min: 1, Max: 17, Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},
	{Name: "compression.type", Scope: Broker, Type: String, Default: "producer", OneOf: codecs, Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},
	{Name: "compression.zstd.level", Scope: Broker, Type: Int, Default: "3", Min: -131072, Max: 22, Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},
	{Name: "log.cleaner.delete.retention.ms", Scope: Broker, Type: Long, Default: "86400000", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of delete.retention.ms."},
	{Name: "log.durability", Scope: Broker, Type: String, Default: "fsync", OneOf: []string{"fsync", "replicated"}, Dynamic: ClusterWide, Doc: "Default of durability. (kraftgo's own)"},
	{Name: "log.segment.delete.delay.ms", Scope: Broker, Type: Long, Default: "60000", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of file.delete.delay.ms."},
	{Name: "log.flush.interval.messages", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 1, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of flush.messages."},
	{Name: "log.flush.interval.ms", Scope: Broker, Type: Long, Null: true, Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of flush.ms."},
	{Name: "log.flush.scheduler.interval.ms", Scope: Broker, Type: Long, Default: "9223372036854775807", Doc: "Default of flush.ms when log.flush.interval.ms has no value."},
	{Name: "log.index.interval.bytes", Scope: Broker, Type: Int, Default: "4096", Min: 0, Max: maxInt, Dynamic: ClusterWide, Doc: "Default of index.interval.bytes."},
	{Name: "log.cleaner.max.compaction.lag.ms", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 1, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of max.compaction.lag.ms."},
	{Name: "message.max.bytes", Scope: Broker, Type: Int, Default: "1048588", Min: 0, Max: maxInt, Dynamic: ClusterWide, Doc: "Default of max.message.bytes."},
	{Name: "log.message.timestamp.after.max.ms", Scope: Broker, Type: Long, Default: "3600000", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of message.timestamp.after.max.ms."},
	{Name: "log.message.timestamp.before.max.ms", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of message.timestamp.before.max.ms."},
	{Name: "log.message.timestamp.type", Scope: Broker, Type: String, Default: "CreateTime", OneOf: []string{"CreateTime", "LogAppendTime"}, Dynamic: ClusterWide, Doc: "Default of message.timestamp.type."},
	{Name: "log.cleaner.min.cleanable.ratio", Scope: Broker, Type: Double, Default: "0.5", Min: 0, Max: 1, Dynamic: ClusterWide, Doc: "Default of min.cleanable.dirty.ratio."},
	{Name: "log.cleaner.min.compaction.lag.ms", Scope: Broker, Type: Long, Default: "0", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "Default of min.compaction.lag.ms."},
	{Name: "min.insync.replicas", Scope: Broker, Type: Int, Default: "1", Min: 1, Max: maxInt, Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},
	{Name: "log.preallocate", Scope: Broker, Type: Boolean, Default: "false", Dynamic: ClusterWide, NoEffect: "kraftgo never preallocates segments", Doc: "Default of preallocate."},
	{Name: "log.retention.bytes", Scope: Broker, Type: Long, Default: "-1", Dynamic: ClusterWide, Doc: "Default of retention.bytes."},
	{Name: "log.retention.ms", Scope: Broker, Type: Long, Null: true, Dynamic: ClusterWide, Doc: "Default of retention.ms; wins over minutes and hours."},
	{Name: "log.retention.minutes", Scope: Broker, Type: Int, Null: true, Doc: "Default of retention.ms in minutes; wins over hours."},
	{Name: "log.retention.hours", Scope: Broker, Type: Int, Default: "168", Doc: "Default of retention.ms in hours."},
	{Name: "log.segment.bytes", Scope: Broker, Type: Int, Default: "1073741824", Min: 1 << 20, Max: maxInt, Dynamic: ClusterWide, Doc: "Default of segment.bytes."},
	{Name: "log.index.size.max.bytes", Scope: Broker, Type: Int, Default: "10485760", Min: 4, Max: maxInt, Dynamic: ClusterWide, Doc: "Default of segment.index.bytes."},
	{Name: "log.roll.jitter.ms", Scope: Broker, Type: Long, Null: true, Dynamic: ClusterWide, Doc: "Default of segment.jitter.ms; wins over hours."},
	{Name: "log.roll.jitter.hours", Scope: Broker, Type: Int, Default: "0", Min: 0, Max: maxInt, Doc: "Default of segment.jitter.ms in hours."},
	{Name: "log.roll.ms", Scope: Broker, Type: Long, Null: true, Dynamic: ClusterWide, Doc: "Default of segment.ms; wins over hours."},
	{Name: "log.roll.hours", Scope: Broker, Type: Int, Default: "168", Min: 1, Max: maxInt, Doc: "Default of segment.ms in hours."},
	{Name: "unclean.leader.election.enable", Scope: Broker, Type: Boolean, Default: "false", Dynamic: ClusterWide, Doc: "Default of the topic setting of the same name."},

	// The node itself.
	{Name: "data.dir", Scope: Broker, Type: String, Null: true, Doc: "The node's data directory. Flag --data. (kraftgo's own)"},
	{Name: "broker.id", Scope: Broker, Type: Int, Default: "-1", Min: -1, Max: maxInt, Doc: "The broker's id; -1: the cluster chooses. Flag --broker-id."},
	{Name: "broker.rack", Scope: Broker, Type: String, Null: true, Doc: "The rack that the broker stands in. Flag --rack."},
	{Name: CordonedLogDirs, Scope: Broker, Type: List, Default: "", Dynamic: OneBroker, Doc: "Log directories of the broker that get no new replicas; * stands for all. 'kraftgo node cordon' sets it."},
	{Name: "listeners", Scope: Broker, Type: List, Default: "PLAINTEXT://127.0.0.1:9092", Doc: "Where clients connect, as NAME://host:port,...; port 0 takes a free one. Flag --client."},
	{Name: "advertised.listeners", Scope: Broker, Type: List, Null: true, Doc: "The addresses that clients are told, as NAME://host:port,...; by default those of listeners. Flag --advertise."},
	{Name: "listener.security.protocol.map", Scope: Broker, Type: String, Default: "PLAINTEXT:PLAINTEXT", Doc: "The security protocol of each listener name, as NAME:PROTOCOL,..."},
	{Name: "internal.listener", Scope: Broker, Type: String, Default: "127.0.0.1:9093", Doc: "Where other brokers connect, as host:port. Flag --internal. (kraftgo's own)"},
	{Name: "internal.advertised.listener", Scope: Broker, Type: String, Null: true, Doc: "Where other brokers are told to connect, as host:port; by default the address that is bound. (kraftgo's own)"},
	{Name: "gossip.advertised.listener", Scope: Broker, Type: String, Null: true, Doc: "Where other nodes are told to gossip, as host:port; by default the address that is bound. (kraftgo's own)"},
	{Name: "cluster.seeds", Scope: Broker, Type: List, Null: true, Form: hostPortForm, FormDoc: "addresses of the form HOST:PORT, with a port from 1 to 65535", Doc: "Gossip addresses of other nodes, as host:port, through which this one finds the cluster. Flag --seed. (kraftgo's own)"},
	{Name: "cluster.secret.file", Scope: Broker, Type: String, Null: true, Doc: "A file with the secret that all nodes of the cluster share; needed to listen for other nodes beyond loopback. Flag --secret-file. (kraftgo's own)"},
	{Name: "cluster.acls", Scope: Broker, Type: String, Default: "off", OneOf: []string{"off", "stored"}, Doc: "stored: ACLs are kept and told, and nothing is refused by them yet; off: they are refused with SECURITY_DISABLED, as by Kafka without an authorizer. The same on all nodes. (kraftgo's own)"},
	{Name: "cluster.voters", Scope: Broker, Type: Int, Default: "3", Min: 1, Max: 5, Doc: "How many brokers vote in the metadata quorum, where there are as many: 1, 3 or 5; an even number counts as the odd one below. (kraftgo's own)"},
	{Name: "cluster.replica.rebuild.ms", Scope: Broker, Type: Long, Default: "900000", Min: 0, Max: maxLong, Dynamic: ClusterWide, Doc: "The replicas of a broker that was not heard of for so many milliseconds are made anew on others; 0: never. (kraftgo's own)"},
	{Name: "cluster.replica.rebuild.rate", Scope: Broker, Type: Long, Default: "104857600", Min: 1, Max: maxLong, Dynamic: ClusterWide, Doc: "How much a broker copies for replicas that take the place of those of a lost broker, in bytes a second. (kraftgo's own)"},
	{Name: "cluster.disk.hang.ms", Scope: Broker, Type: Int, Default: "6000", Min: 1000, Max: maxInt, Doc: "When writes to the logs have not come to an end for so many milliseconds, the node hands over its leaderships and stops. (kraftgo's own)"},
	{Name: "log.wal.bytes", Scope: Broker, Type: Long, Default: "268435456", Min: 0, Max: 1 << 40, Doc: "How large the write-ahead log may become that all partitions of a broker with durability=fsync share, in bytes; 0: none, and each partition's own file is synced for what is appended. (kraftgo's own)"},
	{Name: "controlled.shutdown.timeout.ms", Scope: Broker, Type: Long, Default: "10000", Min: 0, Max: maxLong, Doc: "How long a broker that stops waits until the controller has moved its leaderships, in milliseconds. (kraftgo's own)"},
	{Name: "broker.heartbeat.interval.ms", Scope: Broker, Type: Int, Default: "2000", Min: 1, Max: maxInt, Doc: "The time between heartbeats of a broker to the controller, in milliseconds."},
	{Name: "broker.session.timeout.ms", Scope: Broker, Type: Int, Default: "9000", Min: 1, Max: maxInt, Doc: "After this time without a heartbeat the controller fences a broker, in milliseconds. A broker that is known to be dead is fenced at once."},
	{Name: "gossip.listener", Scope: Broker, Type: String, Default: "127.0.0.1:9094", Doc: "Where members are found, tcp and udp, as host:port. Flag --gossip. (kraftgo's own)"},
	{Name: "admin.listener", Scope: Broker, Type: String, Default: "127.0.0.1:9644", Doc: "HTTP for metrics, health and profiles, as host:port. Flag --admin. (kraftgo's own)"},
	{Name: "log.level", Scope: Broker, Type: String, Default: "info", OneOf: []string{"debug", "info", "warn", "error"}, Doc: "What is written to standard error. Flag --log-level. (kraftgo's own)"},

	// Topics.
	{Name: "auto.create.topics.enable", Scope: Broker, Type: Boolean, Default: "true", Doc: "Whether a metadata request that allows it creates a topic that is missing."},
	{Name: "delete.topic.enable", Scope: Broker, Type: Boolean, Default: "true", Doc: "Whether topics may be deleted."},
	{Name: "num.partitions", Scope: Broker, Type: Int, Default: "1", Min: 1, Max: 100_000, Doc: "Partitions of a topic whose creator did not say."},
	{Name: "default.replication.factor", Scope: Broker, Type: Int, Default: "1", Min: 1, Max: math.MaxInt16, Doc: "Replicas of a topic whose creator did not say; lowered to the brokers there are when a topic is created by use."},
	{Name: "offsets.topic.num.partitions", Scope: Broker, Type: Int, Default: "50", Min: 1, Max: 10_000, Doc: "Partitions of __consumer_offsets, fixed when it is made."},
	{Name: "offsets.topic.replication.factor", Scope: Broker, Type: Short, Default: "3", Min: 1, Max: math.MaxInt16, Doc: "Replicas of __consumer_offsets; lowered to the brokers there are."},
	{Name: "offsets.topic.segment.bytes", Scope: Broker, Type: Int, Default: "104857600", Min: 1, Max: maxInt, Doc: "segment.bytes of __consumer_offsets."},
	{Name: "log.retention.check.interval.ms", Scope: Broker, Type: Long, Default: "300000", Min: 1, Max: maxLong, Doc: "How often retention is looked at, in milliseconds."},
	{Name: "log.flush.offset.checkpoint.interval.ms", Scope: Broker, Type: Int, Default: "60000", Min: 0, Max: maxInt, Doc: "How often the recovery points are written, in milliseconds."},
	{Name: "producer.id.expiration.ms", Scope: Broker, Type: Int, Default: "86400000", Min: 1, Max: maxInt, Dynamic: ClusterWide, Doc: "How long an idle producer is remembered, in milliseconds."},
	{Name: "num.replica.fetchers", Scope: Broker, Type: Int, Default: "1", Min: 1, Max: 64, Doc: "Connections on which a follower fetches from each leader."},
	{Name: "replica.fetch.max.bytes", Scope: Broker, Type: Int, Default: "1048576", Min: 0, Max: maxInt, Doc: "The most that a follower fetches of one partition at a time, in bytes; a larger batch comes whole."},
	{Name: "replica.fetch.response.max.bytes", Scope: Broker, Type: Int, Default: "10485760", Min: 0, Max: maxInt, Doc: "The most that a follower fetches at a time, in bytes; a larger batch comes whole."},
	{Name: "replica.fetch.wait.max.ms", Scope: Broker, Type: Int, Default: "500", Min: 1, Max: maxInt, Doc: "How long a leader without news lets a follower wait, in milliseconds; up to four times as long when there was none the last times."},
	{Name: "replica.fetch.backoff.ms", Scope: Broker, Type: Int, Default: "1000", Min: 1, Max: maxInt, Doc: "The longest pause of a follower after a fault, in milliseconds."},
	{Name: "replica.socket.timeout.ms", Scope: Broker, Type: Int, Default: "10000", Min: 1, Max: maxInt, Doc: "How long a follower waits for a leader's answer beyond replica.fetch.wait.max.ms, in milliseconds. (Kafka: 30000)"},
	{Name: "replica.selector.class", Scope: Broker, Type: Class, Null: true, OneOf: []string{LeaderSelector, RackAwareSelector}, Doc: "Which replica consumers with client.rack are sent to: org.apache.kafka.common.replica.RackAwareReplicaSelector, one in sync in their rack; by default the leader."},
	{Name: "replica.lag.time.max.ms", Scope: Broker, Type: Long, Default: "30000", Min: 1, Max: maxLong, Doc: "How long a follower may lag before it leaves the in-sync replicas, in milliseconds."},
	{Name: "leader.replication.throttled.rate", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Dynamic: PerBroker, Doc: "The most bytes a second that this broker sends, as leader, of the partitions in leader.replication.throttled.replicas, to followers that are not in sync. 0 sends nothing."},
	{Name: "follower.replication.throttled.rate", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Dynamic: PerBroker, Doc: "The most bytes a second that this broker fetches for its replicas in follower.replication.throttled.replicas that are not in sync. 0 fetches nothing."},
	{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Scope: Broker, Type: Long, Default: "9223372036854775807", Min: 0, Max: maxLong, Dynamic: PerBroker, NoEffect: "a kraftgo broker has one log directory", Doc: "The most bytes a second that are copied between log directories."},
	{Name: "auto.leader.rebalance.enable", Scope: Broker, Type: Boolean, Default: "true", Doc: "Whether preferred leaders lead again by themselves, once they are in sync."},
	{Name: "leader.imbalance.check.interval.seconds", Scope: Broker, Type: Long, Default: "30", Min: 1, Max: maxInt, Doc: "How often preferred leaders that do not lead are looked for, in seconds. (Kafka: 300)"},
	{Name: "leader.imbalance.per.broker.percentage", Scope: Broker, Type: Int, Default: "0", Min: 0, Max: 100, Doc: "The share of the partitions that prefer a broker, in percent, that others may lead although it could. (Kafka: 10, of which its controllers take no notice)"},

	// Connections.
	{Name: "socket.request.max.bytes", Scope: Broker, Type: Int, Default: "104857600", Min: 1, Max: maxInt, Doc: "The largest request, in bytes; requests other than Produce are held to 8 MiB."},
	{Name: "queued.max.request.bytes", Scope: Broker, Type: Long, Default: "-1", Doc: "The bytes of requests in work at one time; reading stops above. -1: a sixteenth of the memory that the process may use, 16 to 256 MiB."},
	{Name: "connections.max.idle.ms", Scope: Broker, Type: Long, Default: "600000", Min: 1, Max: maxLong, Doc: "An idle connection is closed after so many milliseconds."},
	{Name: "max.connections", Scope: Broker, Type: Int, Default: "10000", Min: 1, Max: maxInt, Dynamic: PerBroker, Doc: "Client connections in all. (Kafka: no limit)"},
	{Name: "max.connections.per.ip", Scope: Broker, Type: Int, Default: "1000", Min: 0, Max: maxInt, Dynamic: PerBroker, Doc: "Client connections from one address. (Kafka: no limit)"},
	{Name: "fetch.max.bytes", Scope: Broker, Type: Int, Default: "57671680", Min: 1024, Max: maxInt, Doc: "The most that one fetch returns, in bytes."},
	{Name: "max.incremental.fetch.session.cache.slots", Scope: Broker, Type: Int, Default: "1000", Min: 0, Max: maxInt, Doc: "How many fetch sessions are kept (KIP-227)."},

	// Groups and offsets.
	{Name: "group.initial.rebalance.delay.ms", Scope: Broker, Type: Int, Default: "3000", Min: 0, Max: maxInt, Doc: "How long a new group waits for more members, in milliseconds."},
	{Name: "group.min.session.timeout.ms", Scope: Broker, Type: Int, Default: "6000", Min: 1, Max: maxInt, Doc: "The shortest session timeout a member may ask for, in milliseconds."},
	{Name: "group.max.session.timeout.ms", Scope: Broker, Type: Int, Default: "1800000", Min: 1, Max: maxInt, Doc: "The longest session timeout a member may ask for, in milliseconds."},
	{Name: "group.max.size", Scope: Broker, Type: Int, Default: "2147483647", Min: 1, Max: maxInt, Doc: "The most members of a group."},
	{Name: "offset.metadata.max.bytes", Scope: Broker, Type: Int, Default: "4096", Min: 0, Max: maxInt, Doc: "The longest metadata string of a committed offset, in bytes."},
	{Name: "offsets.retention.minutes", Scope: Broker, Type: Int, Default: "10080", Min: 1, Max: maxInt, Doc: "How long the offsets of an empty group are kept, in minutes."},
	{Name: "offsets.retention.check.interval.ms", Scope: Broker, Type: Long, Default: "600000", Min: 1, Max: maxLong, Doc: "How often expired offsets are looked for, in milliseconds."},

	// Kafka's, without meaning here.
	{Name: "node.id", Scope: Broker, Type: Int, Null: true, Min: 0, Max: maxInt, Doc: "The same as broker.id."},
	{Name: "process.roles", Scope: Broker, Type: List, Null: true, NoEffect: kraftRole, Doc: "Kafka's roles of a node."},
	{Name: "controller.quorum.voters", Scope: Broker, Type: List, Null: true, NoEffect: kraftRole, Doc: "Kafka's list of voters."},
	{Name: "controller.quorum.bootstrap.servers", Scope: Broker, Type: List, Null: true, NoEffect: kraftRole, Doc: "Kafka's list of controllers."},
	{Name: "controller.listener.names", Scope: Broker, Type: List, Null: true, NoEffect: kraftRole, Doc: "Kafka's controller listeners."},
	{Name: "inter.broker.listener.name", Scope: Broker, Type: String, Null: true, NoEffect: "brokers speak to each other over internal.listener", Doc: "Kafka's listener between brokers."},
	{Name: "log.dirs", Scope: Broker, Type: List, Null: true, NoEffect: "the data directory is data.dir (--data)", Doc: "Kafka's log directories."},
	{Name: "log.dir", Scope: Broker, Type: List, Null: true, NoEffect: "the data directory is data.dir (--data)", Doc: "Kafka's log directory."},
	{Name: "num.network.threads", Scope: Broker, Type: Int, Null: true, Min: 1, Max: maxInt, NoEffect: threads, Doc: "Kafka's network threads."},
	{Name: "num.io.threads", Scope: Broker, Type: Int, Null: true, Min: 1, Max: maxInt, NoEffect: threads, Doc: "Kafka's request threads."},
	{Name: "num.recovery.threads.per.data.dir", Scope: Broker, Type: Int, Null: true, Min: 1, Max: maxInt, NoEffect: threads, Doc: "Kafka's recovery threads."},
	{Name: "background.threads", Scope: Broker, Type: Int, Null: true, Min: 1, Max: maxInt, NoEffect: threads, Doc: "Kafka's background threads."},
	{Name: "socket.send.buffer.bytes", Scope: Broker, Type: Int, Null: true, NoEffect: "the kernel sizes the buffers by itself", Doc: "SO_SNDBUF."},
	{Name: "socket.receive.buffer.bytes", Scope: Broker, Type: Int, Null: true, NoEffect: "the kernel sizes the buffers by itself", Doc: "SO_RCVBUF."},
	{Name: "queued.max.requests", Scope: Broker, Type: Int, Null: true, Min: 1, Max: maxInt, NoEffect: "requests are bounded by bytes, see queued.max.request.bytes", Doc: "Kafka's request queue."},
}
