package differential

// nodeSettings are the settings of our node.
var nodeSettings = map[string]string{"cluster.acls": "stored"}

// difference is a group of cases in which we answer otherwise than Kafka, and why.
type difference struct {
	reason string
	cases  []string // patterns of GROUP/CASE/LEVEL
}

// differences are the answers that are not Kafka's. A reason says why ours is to stay.
var differences = []difference{
	{
		"Kafka fails with an uncaught exception (UNKNOWN_SERVER_ERROR, or no answer at all); we refuse, or serve what can be served",
		[]string{
			"configs/alter-op-4/*", "configs/alter-op-negative/*", "configs/replace-resource-twice/*", "fetch/isolation-2/*",
			"fetch/isolation-negative/*", "fetch/max-bytes-negative/*", "fetch/partition-max-negative/*", "metadata/metadata-by-nothing/*",
			"metadata/partitions-empty-name/*", "offsets/isolation-3/highest", "produce/codec-5/*", "produce/codec-7/*",
			"acls/create-operation-0/*", "acls/create-operation-any/*", "acls/create-pattern-0/*", "acls/create-pattern-any/*", "acls/create-pattern-match/*",
			"acls/create-permission-0/*", "acls/create-permission-any/*", "acls/create-type-0/*", "acls/create-type-any/*", "acls/filter-operation-0/*",
			"acls/filter-pattern-0/*", "acls/filter-permission-0/*", "acls/filter-type-0/*", "scram/alter-no-password/*",
			"produce/codec-says-gzip-is-plain/*", "produce/codec-says-zstd-is-plain/highest", "produce/null-records/*",
		},
	},
	{
		"kraftgo has no resources of client metrics and groups, and no loggers: INVALID_REQUEST",
		[]string{
			"configs/alter-client-metrics/*", "configs/alter-group/*", "configs/describe-client-metrics/*", "configs/describe-group/*",
		},
	},
	{
		"the default retention is kept in hours and shown as log.retention.hours; the value of a default synonym is in the unit of the topic's setting",
		[]string{
			"configs/alter-append-bad/*", "configs/alter-append-empty/*", "configs/alter-append-non-list/*", "configs/alter-append-unknown/*", "configs/alter-delete-unknown/*", "configs/alter-delete-with-value/*", "configs/alter-set/*",
			"configs/alter-subtract-non-list/*", "configs/describe-topic/*",
		},
	},
	{
		"which settings there are, with defaults and synonyms, is kraftgo's own: durability is, remote storage is not",
		[]string{
			"configs/describe-broker-default/*", "configs/describe-no-keys/*", "topics/configs/highest",
		},
	},
	{
		"a refused batch is told what was wrong with it, where Kafka gives the code alone",
		[]string{
			"produce/base-offset-7/highest", "produce/control-batch/highest", "produce/count-0/highest", "produce/count-negative/highest",
			"produce/count-too-large/highest", "produce/count-too-small/highest", "produce/empty-batch/highest",
			"produce/last-delta-negative/highest", "produce/last-delta-too-large/highest", "sequence/sequence-negative/highest",
		},
	},
	{
		"a batch that no client makes is refused: bytes behind it (Kafka drops them silently), the claim that a broker stamped it (Kafka takes it), a producer with an epoch below 0 (Kafka takes it, and then cannot fence it)",
		[]string{
			"produce/bytes-after-batch/*", "produce/log-append-time-from-client/*", "sequence/epoch-negative/*",
		},
	},
	{
		"a partition that stands twice in a request has both batches appended and answered; Kafka appends the last and says nothing of the other",
		[]string{"produce/partition-twice/*"},
	},
	{
		"a batch that comes again after five others of its producer is found in the log, and acknowledged; Kafka knows the last five alone, and its clients try again until the delivery times out",
		[]string{"sequence/duplicate-older-than-five/*"},
	},
	{
		"with durability=fsync the high watermark follows the sync, so a record of acks=0 is seen a moment later",
		[]string{"produce/acks-0/*"},
	},
	{
		"topics without partitions are answered as they were asked for; Kafka makes its answer of partitions, and leaves them out",
		[]string{"produce/no-partitions/*", "commits/delete-no-partitions/*"},
	},
	{
		"an election for all partitions answers where something was to be done; Kafka adds the name of every topic",
		[]string{"elections/elect-all/*"},
	},
	{
		"where there is nothing to say there is no message; Kafka has an empty one here",
		[]string{"elections/reassign-nothing/*"},
	},
	{
		"versions of 1.x and before are served, which Kafka has removed: Produce 2 is answered",
		[]string{"cluster/raw-produce-2/*"},
	},
	{
		"ApiVersions of a version that is not known is answered with UNSUPPORTED_VERSION (KIP-511) whatever its header looks like; Kafka closes where the header does not parse",
		[]string{"cluster/raw-versions-99/*"},
	},
	{
		"an answer holds whole batches; Kafka fills it up to the limit with a part of one, which clients throw away",
		[]string{"fetch/partition-max-100/*"},
	},
	{
		"a topic of a session that was deleted is UNKNOWN_TOPIC_ID, as it is outside of one; Kafka has kept its name, and misses that. Clients refresh their metadata after either",
		[]string{"fetch/session-topic-deleted/*"},
	},
	{
		"names that collide in metrics are refused within a request too; Kafka looks at existing topics only",
		[]string{"topics/collides-in-request/*"},
	},
	{
		"kraftgo has no tiered storage, and refuses its settings rather than to accept what has no effect",
		[]string{"topics/config-local-retention/*"},
	},
	{
		"a broker setting that kraftgo does not have is refused; Kafka stores any name for plugins, and has settings of threads of its own",
		[]string{"configs/alter-broker-own/*", "configs/alter-broker-unknown-key/*"},
	},
	{
		"any broker changes the settings of any; Kafka's wants the request sent to the broker itself, and says so where ours says that there is none of that id",
		[]string{"configs/alter-broker-other/*"},
	},
	{
		"a change is seen by the next request; Kafka's broker may not have applied yet what its controller answered, and it sets min.insync.replicas by itself (KIP-966)",
		[]string{"configs/alter-broker-default/*"},
	},
	{
		"a topic that is made by Metadata is in the same answer; Kafka answers UNKNOWN_TOPIC_OR_PARTITION and makes it meanwhile",
		[]string{"metadata/metadata-create/*", "metadata/metadata-missing/lowest"},
	},
	{
		"a static member that comes back with another subscription gets a rebalance for it; Kafka leaves it with the old assignment",
		[]string{"groups/static-join-replaces-other-protocols/*"},
	},
	{
		"a static leader that comes back before version 9 is told the members; what it assigns is not used, as with Kafka, which tells it none",
		[]string{"groups/static-join-replaces-v5/*"},
	},
	{
		"transactions and share groups are not there yet: their coordinator is refused",
		[]string{"groups/find-transaction/highest"},
	},
	{
		"who votes is chosen from the brokers that there are: one that is not registered is refused, where Kafka waits for it to come",
		[]string{"voters/add-unknown/*"},
	},
	{
		"every node has a directory id; Kafka's has none as long as its voters come from a file",
		[]string{"cluster/quorum/highest"},
	},
}

// wordings are the answers that differ in their error messages only.
var wordings = []string{
	"quotas/alter-user-and-ip/*", "voters/add-no-listeners/*",
	"cordon/all-and-one/*", "cordon/unknown-directory/*",
	"cluster/quorum-nothing/highest", "cluster/quorum-unknown-partition/highest", "cluster/quorum-unknown-topic/highest",
	"configs/alter-broker-read-only/*", "configs/alter-broker-text/*", "configs/alter-type-0/*", "configs/alter-type-1/*",
	"configs/alter-type-3/*", "configs/alter-type-99/*", "configs/describe-client-metrics-empty/*",
	"configs/describe-group-empty/*", "configs/describe-logger-empty/*", "configs/describe-logger-other/*",
	"configs/describe-logger-text/*", "configs/describe-type-0/*",
	"configs/describe-type-1/*", "configs/describe-type-3/*", "configs/describe-type-99/*", "configs/describe-unknown-topic/*",
	"configs/replace-broker-read-only/*", "configs/replace-type-0/*", "configs/replace-type-3/*", "groups/find-share/highest",
	"groups/find-type-3/highest", "groups/find-type-negative/highest", "produce/corrupt-crc/highest",
	"produce/corrupt-value/highest", "produce/cut-batch/highest", "produce/cut-header/highest", "produce/empty-records/highest",
	"produce/length-negative/highest", "produce/length-small/highest", "produce/magic-0/highest", "produce/magic-1/highest",
	"produce/one-good-one-bad/highest", "produce/too-large-default/highest", "produce/too-large/highest",
	"produce/two-batches/highest", "sequence/two-batches/highest", "topics/config-bad-list/*", "topics/config-gzip-level-10/*",
	"topics/config-ratio-2/*", "topics/config-remote/*", "topics/grow-bad-name/*", "topics/grow-far-too-many/*",
	"topics/grow-unknown/*", "topics/replicas-0/*", "topics/replicas-2/*", "topics/replicas-32767/*", "topics/replicas-minus-2/*",
}
