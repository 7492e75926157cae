package differential

// nodeSettings are the settings of our node.
var nodeSettings = map[string]string{}

// difference is a group of cases in which we answer otherwise than Kafka, and why.
type difference struct {
	reason string
	cases  []string // patterns of GROUP/CASE/LEVEL
}

// differences are the answers that are not Kafka's. Reasons that begin with "open" are no decisions: there Kafka's answer
// is the right one until somebody says why not.
var differences = []difference{
	{
		"Kafka fails with an uncaught exception (UNKNOWN_SERVER_ERROR, or no answer at all); we refuse, or serve what can be served",
		[]string{
			"configs/alter-op-4/*", "configs/alter-op-negative/*", "configs/replace-resource-twice/*", "fetch/isolation-2/*",
			"fetch/isolation-negative/*", "fetch/max-bytes-negative/*", "fetch/partition-max-negative/*", "metadata/metadata-by-nothing/*",
			"metadata/partitions-empty-name/*", "offsets/isolation-3/highest", "produce/codec-5/*", "produce/codec-7/*",
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
		"open: a produce that is refused tells no log start offset before, and in words that differ",
		[]string{
			"produce/base-offset-7/highest", "produce/bytes-after-batch/highest", "produce/compact-second-without-key/highest",
			"produce/compact-without-key/highest", "produce/control-batch/highest", "produce/count-0/highest",
			"produce/count-negative/highest", "produce/count-too-large/highest", "produce/count-too-small/highest",
			"produce/empty-batch/highest", "produce/last-delta-negative/highest", "produce/last-delta-too-large/highest",
			"produce/log-append-time-from-client/highest", "produce/not-enough-replicas/highest", "produce/partition-twice/lowest",
			"produce/timestamp-future/highest", "produce/timestamp-too-old/highest",
			"sequence/duplicate-older-than-five/highest", "sequence/epoch-negative/highest", "sequence/gap/highest",
			"sequence/new-epoch-not-from-0/highest", "sequence/old-epoch-duplicate/highest", "sequence/old-epoch/highest",
			"sequence/overlap/highest", "sequence/partly-duplicate/highest", "sequence/sequence-negative/highest",
			"sequence/sequence-wraps/highest",
		},
	},
	{
		"open: items that stand twice in a request are answered once by Kafka",
		[]string{
			"configs/list-type-twice/highest", "groups/delete-twice-in-request/*", "metadata/metadata-twice/*",
			"offsets/twice-other-time/*", "offsets/twice/*", "produce/partition-twice/highest", "topics/delete-id-twice/*",
			"topics/delete-twice/*", "topics/delete-unknown-twice/*", "topics/grow-twice-in-request/*", "topics/twice-in-request/*",
		},
	},
	{
		"open: ApiVersions version 5 names cluster and node only together in Kafka, and INVALID_REQUEST is its answer otherwise",
		[]string{
			"cluster/versions-empty-cluster/*", "cluster/versions-negative-node/*", "cluster/versions-right-cluster/*",
			"cluster/versions-wrong-cluster/*", "cluster/versions-wrong-node/*",
		},
	},
	{
		"open: frames and versions that Kafka closes the connection for",
		[]string{
			"cluster/raw-produce-2/*", "cluster/raw-versions-99/*",
		},
	},
	{
		"open: listing groups leaves out the one of offsets alone, or other fields",
		[]string{
			"groups/list-both/*", "groups/list-classic-capitals/*", "groups/list-classic/*", "groups/list-empty/*", "groups/list/*",
		},
	},
	{
		"open: the code or the shape of an error in appending",
		[]string{
			"produce/acks-0/*", "produce/bytes-after-batch/lowest", "produce/log-append-time-from-client/lowest", "produce/magic-3/*",
			"produce/magic-minus-1/*", "produce/no-partitions/*", "produce/not-enough-replicas/lowest",
			"produce/transactional-unknown/*", "sequence/describe-producers-unknown/*", "sequence/duplicate/*",
			"sequence/epoch-negative/lowest",
		},
	},
	{
		"open: the code or the shape of an error in reading",
		[]string{
			"fetch/epoch-very-negative/highest", "fetch/last-fetched-epoch-unknown/highest", "fetch/partition-max-100/*",
			"fetch/session-topic-deleted/*", "offsets/delete-internal/*", "offsets/epoch-very-negative/*",
		},
	},
	{
		"open: the code or the shape of an error in changing topics",
		[]string{
			"topics/collides-in-request/*", "topics/config-lag-relation/*", "topics/config-local-retention/*", "topics/config-throttled/*",
			"topics/delete-by-id-and-name/*",
		},
	},
	{
		"open: the code or the shape of an error in changing settings",
		[]string{
			"configs/alter-broker-bad-value/*", "configs/alter-broker-default/*", "configs/alter-broker-other/*",
			"configs/alter-broker-own/*", "configs/alter-broker-unknown-key/*", "configs/alter-empty-topic/*",
		},
	},
	{
		"open: what the metadata tells",
		[]string{
			"metadata/metadata-by-id-and-by-name/*", "metadata/metadata-by-id-and-name-v11/*", "metadata/metadata-by-id-v10/*",
			"metadata/metadata-create-collides/*", "metadata/metadata-create/*", "metadata/metadata-missing/lowest",
			"metadata/partitions-bad-name/*", "metadata/partitions-cursor-after-all/*", "metadata/partitions-cursor-unknown-topic/*",
			"metadata/partitions-unknown/*",
		},
	},
	{
		"open: the answers of the group coordinator",
		[]string{
			"commits/commit-generation-without-member/highest", "commits/commit-unknown-member/highest", "commits/delete-empty-group/*",
			"commits/delete-no-partitions/*", "commits/delete-of-stable-group/*", "groups/delete-empty-name/*",
			"groups/describe-between/*", "groups/describe-empty-name/*", "groups/find-transaction/highest",
			"groups/join-protocol-empty-name/*", "groups/static-join-replaces-other-protocols/*", "groups/static-join-replaces-v5/*",
		},
	},
	{
		"open: what the cluster tells of itself",
		[]string{
			"cluster/cluster-endpoint-0/highest", "cluster/cluster-endpoint-3/highest", "cluster/cluster-endpoint-controllers/highest",
			"cluster/quorum/highest",
		},
	},
}

// wordings are the answers that differ in their error messages only.
var wordings = []string{
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
