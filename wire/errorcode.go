package wire

import "fmt"

// ErrorCode is a refusal in an answer. Names and numbers are those of Kafka 4.4 (class Errors).
type ErrorCode int16

// The error codes. Those that clients retry by themselves are told by [ErrorCode.Retriable].
const (
	ErrUnknownServerError                     ErrorCode = -1
	ErrNone                                   ErrorCode = 0
	ErrOffsetOutOfRange                       ErrorCode = 1
	ErrCorruptMessage                         ErrorCode = 2
	ErrUnknownTopicOrPartition                ErrorCode = 3
	ErrInvalidFetchSize                       ErrorCode = 4
	ErrLeaderNotAvailable                     ErrorCode = 5
	ErrNotLeaderOrFollower                    ErrorCode = 6
	ErrRequestTimedOut                        ErrorCode = 7
	ErrBrokerNotAvailable                     ErrorCode = 8
	ErrReplicaNotAvailable                    ErrorCode = 9
	ErrMessageTooLarge                        ErrorCode = 10
	ErrStaleControllerEpoch                   ErrorCode = 11
	ErrOffsetMetadataTooLarge                 ErrorCode = 12
	ErrNetworkException                       ErrorCode = 13
	ErrCoordinatorLoadInProgress              ErrorCode = 14
	ErrCoordinatorNotAvailable                ErrorCode = 15
	ErrNotCoordinator                         ErrorCode = 16
	ErrInvalidTopicException                  ErrorCode = 17
	ErrRecordListTooLarge                     ErrorCode = 18
	ErrNotEnoughReplicas                      ErrorCode = 19
	ErrNotEnoughReplicasAfterAppend           ErrorCode = 20
	ErrInvalidRequiredAcks                    ErrorCode = 21
	ErrIllegalGeneration                      ErrorCode = 22
	ErrInconsistentGroupProtocol              ErrorCode = 23
	ErrInvalidGroupID                         ErrorCode = 24
	ErrUnknownMemberID                        ErrorCode = 25
	ErrInvalidSessionTimeout                  ErrorCode = 26
	ErrRebalanceInProgress                    ErrorCode = 27
	ErrInvalidCommitOffsetSize                ErrorCode = 28
	ErrTopicAuthorizationFailed               ErrorCode = 29
	ErrGroupAuthorizationFailed               ErrorCode = 30
	ErrClusterAuthorizationFailed             ErrorCode = 31
	ErrInvalidTimestamp                       ErrorCode = 32
	ErrUnsupportedSASLMechanism               ErrorCode = 33
	ErrIllegalSASLState                       ErrorCode = 34
	ErrUnsupportedVersion                     ErrorCode = 35
	ErrTopicAlreadyExists                     ErrorCode = 36
	ErrInvalidPartitions                      ErrorCode = 37
	ErrInvalidReplicationFactor               ErrorCode = 38
	ErrInvalidReplicaAssignment               ErrorCode = 39
	ErrInvalidConfig                          ErrorCode = 40
	ErrNotController                          ErrorCode = 41
	ErrInvalidRequest                         ErrorCode = 42
	ErrUnsupportedForMessageFormat            ErrorCode = 43
	ErrPolicyViolation                        ErrorCode = 44
	ErrOutOfOrderSequenceNumber               ErrorCode = 45
	ErrDuplicateSequenceNumber                ErrorCode = 46
	ErrInvalidProducerEpoch                   ErrorCode = 47
	ErrInvalidTxnState                        ErrorCode = 48
	ErrInvalidProducerIDMapping               ErrorCode = 49
	ErrInvalidTransactionTimeout              ErrorCode = 50
	ErrConcurrentTransactions                 ErrorCode = 51
	ErrTransactionCoordinatorFenced           ErrorCode = 52
	ErrTransactionalIDAuthorizationFailed     ErrorCode = 53
	ErrSecurityDisabled                       ErrorCode = 54
	ErrOperationNotAttempted                  ErrorCode = 55
	ErrKafkaStorageError                      ErrorCode = 56
	ErrLogDirNotFound                         ErrorCode = 57
	ErrSASLAuthenticationFailed               ErrorCode = 58
	ErrUnknownProducerID                      ErrorCode = 59
	ErrReassignmentInProgress                 ErrorCode = 60
	ErrDelegationTokenAuthDisabled            ErrorCode = 61
	ErrDelegationTokenNotFound                ErrorCode = 62
	ErrDelegationTokenOwnerMismatch           ErrorCode = 63
	ErrDelegationTokenRequestNotAllowed       ErrorCode = 64
	ErrDelegationTokenAuthorizationFailed     ErrorCode = 65
	ErrDelegationTokenExpired                 ErrorCode = 66
	ErrInvalidPrincipalType                   ErrorCode = 67
	ErrNonEmptyGroup                          ErrorCode = 68
	ErrGroupIDNotFound                        ErrorCode = 69
	ErrFetchSessionIDNotFound                 ErrorCode = 70
	ErrInvalidFetchSessionEpoch               ErrorCode = 71
	ErrListenerNotFound                       ErrorCode = 72
	ErrTopicDeletionDisabled                  ErrorCode = 73
	ErrFencedLeaderEpoch                      ErrorCode = 74
	ErrUnknownLeaderEpoch                     ErrorCode = 75
	ErrUnsupportedCompressionType             ErrorCode = 76
	ErrStaleBrokerEpoch                       ErrorCode = 77
	ErrOffsetNotAvailable                     ErrorCode = 78
	ErrMemberIDRequired                       ErrorCode = 79
	ErrPreferredLeaderNotAvailable            ErrorCode = 80
	ErrGroupMaxSizeReached                    ErrorCode = 81
	ErrFencedInstanceID                       ErrorCode = 82
	ErrEligibleLeadersNotAvailable            ErrorCode = 83
	ErrElectionNotNeeded                      ErrorCode = 84
	ErrNoReassignmentInProgress               ErrorCode = 85
	ErrGroupSubscribedToTopic                 ErrorCode = 86
	ErrInvalidRecord                          ErrorCode = 87
	ErrUnstableOffsetCommit                   ErrorCode = 88
	ErrThrottlingQuotaExceeded                ErrorCode = 89
	ErrProducerFenced                         ErrorCode = 90
	ErrResourceNotFound                       ErrorCode = 91
	ErrDuplicateResource                      ErrorCode = 92
	ErrUnacceptableCredential                 ErrorCode = 93
	ErrInconsistentVoterSet                   ErrorCode = 94
	ErrInvalidUpdateVersion                   ErrorCode = 95
	ErrFeatureUpdateFailed                    ErrorCode = 96
	ErrPrincipalDeserializationFailure        ErrorCode = 97
	ErrSnapshotNotFound                       ErrorCode = 98
	ErrPositionOutOfRange                     ErrorCode = 99
	ErrUnknownTopicID                         ErrorCode = 100
	ErrDuplicateBrokerRegistration            ErrorCode = 101
	ErrBrokerIDNotRegistered                  ErrorCode = 102
	ErrInconsistentTopicID                    ErrorCode = 103
	ErrInconsistentClusterID                  ErrorCode = 104
	ErrTransactionalIDNotFound                ErrorCode = 105
	ErrFetchSessionTopicIDError               ErrorCode = 106
	ErrIneligibleReplica                      ErrorCode = 107
	ErrNewLeaderElected                       ErrorCode = 108
	ErrOffsetMovedToTieredStorage             ErrorCode = 109
	ErrFencedMemberEpoch                      ErrorCode = 110
	ErrUnreleasedInstanceID                   ErrorCode = 111
	ErrUnsupportedAssignor                    ErrorCode = 112
	ErrStaleMemberEpoch                       ErrorCode = 113
	ErrMismatchedEndpointType                 ErrorCode = 114
	ErrUnsupportedEndpointType                ErrorCode = 115
	ErrUnknownControllerID                    ErrorCode = 116
	ErrUnknownSubscriptionID                  ErrorCode = 117
	ErrTelemetryTooLarge                      ErrorCode = 118
	ErrInvalidRegistration                    ErrorCode = 119
	ErrTransactionAbortable                   ErrorCode = 120
	ErrInvalidRecordState                     ErrorCode = 121
	ErrShareSessionNotFound                   ErrorCode = 122
	ErrInvalidShareSessionEpoch               ErrorCode = 123
	ErrFencedStateEpoch                       ErrorCode = 124
	ErrInvalidVoterKey                        ErrorCode = 125
	ErrDuplicateVoter                         ErrorCode = 126
	ErrVoterNotFound                          ErrorCode = 127
	ErrInvalidRegularExpression               ErrorCode = 128
	ErrRebootstrapRequired                    ErrorCode = 129
	ErrStreamsInvalidTopology                 ErrorCode = 130
	ErrStreamsInvalidTopologyEpoch            ErrorCode = 131
	ErrStreamsTopologyFenced                  ErrorCode = 132
	ErrShareSessionLimitReached               ErrorCode = 133
	ErrGroupDeletionFailed                    ErrorCode = 134
	ErrStreamsTopologyDescriptionUpdateFailed ErrorCode = 135
	ErrControllerIDNotRegistered              ErrorCode = 136
)

type errorInfo struct {
	name      string
	retriable bool
}

// errorInfos is indexed by code+1.
var errorInfos = [...]errorInfo{
	0:   {"UNKNOWN_SERVER_ERROR", false},
	1:   {"NONE", false},
	2:   {"OFFSET_OUT_OF_RANGE", false},
	3:   {"CORRUPT_MESSAGE", true},
	4:   {"UNKNOWN_TOPIC_OR_PARTITION", true},
	5:   {"INVALID_FETCH_SIZE", false},
	6:   {"LEADER_NOT_AVAILABLE", true},
	7:   {"NOT_LEADER_OR_FOLLOWER", true},
	8:   {"REQUEST_TIMED_OUT", true},
	9:   {"BROKER_NOT_AVAILABLE", false},
	10:  {"REPLICA_NOT_AVAILABLE", true},
	11:  {"MESSAGE_TOO_LARGE", false},
	12:  {"STALE_CONTROLLER_EPOCH", false},
	13:  {"OFFSET_METADATA_TOO_LARGE", false},
	14:  {"NETWORK_EXCEPTION", true},
	15:  {"COORDINATOR_LOAD_IN_PROGRESS", true},
	16:  {"COORDINATOR_NOT_AVAILABLE", true},
	17:  {"NOT_COORDINATOR", true},
	18:  {"INVALID_TOPIC_EXCEPTION", false},
	19:  {"RECORD_LIST_TOO_LARGE", false},
	20:  {"NOT_ENOUGH_REPLICAS", true},
	21:  {"NOT_ENOUGH_REPLICAS_AFTER_APPEND", true},
	22:  {"INVALID_REQUIRED_ACKS", false},
	23:  {"ILLEGAL_GENERATION", false},
	24:  {"INCONSISTENT_GROUP_PROTOCOL", false},
	25:  {"INVALID_GROUP_ID", false},
	26:  {"UNKNOWN_MEMBER_ID", false},
	27:  {"INVALID_SESSION_TIMEOUT", false},
	28:  {"REBALANCE_IN_PROGRESS", false},
	29:  {"INVALID_COMMIT_OFFSET_SIZE", false},
	30:  {"TOPIC_AUTHORIZATION_FAILED", false},
	31:  {"GROUP_AUTHORIZATION_FAILED", false},
	32:  {"CLUSTER_AUTHORIZATION_FAILED", false},
	33:  {"INVALID_TIMESTAMP", false},
	34:  {"UNSUPPORTED_SASL_MECHANISM", false},
	35:  {"ILLEGAL_SASL_STATE", false},
	36:  {"UNSUPPORTED_VERSION", false},
	37:  {"TOPIC_ALREADY_EXISTS", false},
	38:  {"INVALID_PARTITIONS", false},
	39:  {"INVALID_REPLICATION_FACTOR", false},
	40:  {"INVALID_REPLICA_ASSIGNMENT", false},
	41:  {"INVALID_CONFIG", false},
	42:  {"NOT_CONTROLLER", true},
	43:  {"INVALID_REQUEST", false},
	44:  {"UNSUPPORTED_FOR_MESSAGE_FORMAT", false},
	45:  {"POLICY_VIOLATION", false},
	46:  {"OUT_OF_ORDER_SEQUENCE_NUMBER", false},
	47:  {"DUPLICATE_SEQUENCE_NUMBER", false},
	48:  {"INVALID_PRODUCER_EPOCH", false},
	49:  {"INVALID_TXN_STATE", false},
	50:  {"INVALID_PRODUCER_ID_MAPPING", false},
	51:  {"INVALID_TRANSACTION_TIMEOUT", false},
	52:  {"CONCURRENT_TRANSACTIONS", true},
	53:  {"TRANSACTION_COORDINATOR_FENCED", false},
	54:  {"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false},
	55:  {"SECURITY_DISABLED", false},
	56:  {"OPERATION_NOT_ATTEMPTED", false},
	57:  {"KAFKA_STORAGE_ERROR", true},
	58:  {"LOG_DIR_NOT_FOUND", false},
	59:  {"SASL_AUTHENTICATION_FAILED", false},
	60:  {"UNKNOWN_PRODUCER_ID", false},
	61:  {"REASSIGNMENT_IN_PROGRESS", false},
	62:  {"DELEGATION_TOKEN_AUTH_DISABLED", false},
	63:  {"DELEGATION_TOKEN_NOT_FOUND", false},
	64:  {"DELEGATION_TOKEN_OWNER_MISMATCH", false},
	65:  {"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false},
	66:  {"DELEGATION_TOKEN_AUTHORIZATION_FAILED", false},
	67:  {"DELEGATION_TOKEN_EXPIRED", false},
	68:  {"INVALID_PRINCIPAL_TYPE", false},
	69:  {"NON_EMPTY_GROUP", false},
	70:  {"GROUP_ID_NOT_FOUND", false},
	71:  {"FETCH_SESSION_ID_NOT_FOUND", true},
	72:  {"INVALID_FETCH_SESSION_EPOCH", true},
	73:  {"LISTENER_NOT_FOUND", true},
	74:  {"TOPIC_DELETION_DISABLED", false},
	75:  {"FENCED_LEADER_EPOCH", true},
	76:  {"UNKNOWN_LEADER_EPOCH", true},
	77:  {"UNSUPPORTED_COMPRESSION_TYPE", false},
	78:  {"STALE_BROKER_EPOCH", false},
	79:  {"OFFSET_NOT_AVAILABLE", true},
	80:  {"MEMBER_ID_REQUIRED", false},
	81:  {"PREFERRED_LEADER_NOT_AVAILABLE", true},
	82:  {"GROUP_MAX_SIZE_REACHED", false},
	83:  {"FENCED_INSTANCE_ID", false},
	84:  {"ELIGIBLE_LEADERS_NOT_AVAILABLE", true},
	85:  {"ELECTION_NOT_NEEDED", true},
	86:  {"NO_REASSIGNMENT_IN_PROGRESS", false},
	87:  {"GROUP_SUBSCRIBED_TO_TOPIC", false},
	88:  {"INVALID_RECORD", false},
	89:  {"UNSTABLE_OFFSET_COMMIT", true},
	90:  {"THROTTLING_QUOTA_EXCEEDED", true},
	91:  {"PRODUCER_FENCED", false},
	92:  {"RESOURCE_NOT_FOUND", false},
	93:  {"DUPLICATE_RESOURCE", false},
	94:  {"UNACCEPTABLE_CREDENTIAL", false},
	95:  {"INCONSISTENT_VOTER_SET", false},
	96:  {"INVALID_UPDATE_VERSION", false},
	97:  {"FEATURE_UPDATE_FAILED", false},
	98:  {"PRINCIPAL_DESERIALIZATION_FAILURE", false},
	99:  {"SNAPSHOT_NOT_FOUND", false},
	100: {"POSITION_OUT_OF_RANGE", false},
	101: {"UNKNOWN_TOPIC_ID", true},
	102: {"DUPLICATE_BROKER_REGISTRATION", false},
	103: {"BROKER_ID_NOT_REGISTERED", false},
	104: {"INCONSISTENT_TOPIC_ID", true},
	105: {"INCONSISTENT_CLUSTER_ID", false},
	106: {"TRANSACTIONAL_ID_NOT_FOUND", false},
	107: {"FETCH_SESSION_TOPIC_ID_ERROR", true},
	108: {"INELIGIBLE_REPLICA", false},
	109: {"NEW_LEADER_ELECTED", false},
	110: {"OFFSET_MOVED_TO_TIERED_STORAGE", false},
	111: {"FENCED_MEMBER_EPOCH", false},
	112: {"UNRELEASED_INSTANCE_ID", false},
	113: {"UNSUPPORTED_ASSIGNOR", false},
	114: {"STALE_MEMBER_EPOCH", false},
	115: {"MISMATCHED_ENDPOINT_TYPE", false},
	116: {"UNSUPPORTED_ENDPOINT_TYPE", false},
	117: {"UNKNOWN_CONTROLLER_ID", false},
	118: {"UNKNOWN_SUBSCRIPTION_ID", false},
	119: {"TELEMETRY_TOO_LARGE", false},
	120: {"INVALID_REGISTRATION", false},
	121: {"TRANSACTION_ABORTABLE", false},
	122: {"INVALID_RECORD_STATE", false},
	123: {"SHARE_SESSION_NOT_FOUND", true},
	124: {"INVALID_SHARE_SESSION_EPOCH", true},
	125: {"FENCED_STATE_EPOCH", false},
	126: {"INVALID_VOTER_KEY", false},
	127: {"DUPLICATE_VOTER", false},
	128: {"VOTER_NOT_FOUND", false},
	129: {"INVALID_REGULAR_EXPRESSION", false},
	130: {"REBOOTSTRAP_REQUIRED", false},
	131: {"STREAMS_INVALID_TOPOLOGY", false},
	132: {"STREAMS_INVALID_TOPOLOGY_EPOCH", false},
	133: {"STREAMS_TOPOLOGY_FENCED", false},
	134: {"SHARE_SESSION_LIMIT_REACHED", true},
	135: {"GROUP_DELETION_FAILED", false},
	136: {"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", false},
	137: {"CONTROLLER_ID_NOT_REGISTERED", false},
}

// String returns Kafka's name of the code, as UNKNOWN_TOPIC_OR_PARTITION, or ERROR_n for a number without a name.
func (e ErrorCode) String() string {
	if i := int(e) + 1; i >= 0 && i < len(errorInfos) && errorInfos[i].name != "" {
		return errorInfos[i].name
	}
	return fmt.Sprintf("ERROR_%d", int16(e))
}

// Retriable reports whether Kafka's clients retry a request that was answered by e.
func (e ErrorCode) Retriable() bool {
	i := int(e) + 1
	return i >= 0 && i < len(errorInfos) && errorInfos[i].retriable
}

// Error makes a code usable as an error where a refusal must travel through code that returns one.
func (e ErrorCode) Error() string { return e.String() }
