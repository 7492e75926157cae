package control

import "strings"

const (
	// OffsetsTopic holds the groups' state, and TransactionTopic the transactions'.
	OffsetsTopic     = "__consumer_offsets"
	TransactionTopic = "__transaction_state"
	metadataTopic    = "__cluster_metadata"

	maxTopicName = 249 // the directory's name adds "-" and the partition, and must stay below 255 bytes
)

// InternalTopic reports whether clients are told that the topic is internal.
func InternalTopic(name string) bool { return name == OffsetsTopic || name == TransactionTopic }

// CheckTopicName returns "" if the name is allowed, else what is wrong with it (Kafka's class Topic).
func CheckTopicName(name string) string {
	switch {
	case name == "":
		return "the empty string is not allowed"
	case name == ".":
		return "'.' is not allowed"
	case name == "..":
		return "'..' is not allowed"
	case len(name) > maxTopicName:
		return "the length of '" + name + "' is longer than the max allowed length 249"
	}
	for i := 0; i < len(name); i++ {
		c := name[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '_' || c == '-') {
			return "'" + name + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
		}
	}
	return ""
}

// collisionKey maps names that differ only in '.' and '_' to one: metrics of Kafka's cannot tell them apart.
func collisionKey(name string) string { return strings.ReplaceAll(name, ".", "_") }

func mayCollide(name string) bool { return strings.ContainsAny(name, "._") }
