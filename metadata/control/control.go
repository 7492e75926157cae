// Package control is the controller's decisions: what records a request leads to, given the metadata as it is.
//
// Every function here reads an image and returns records and answers; it changes nothing. The caller proposes the
// records, with the term that the image was read under, and gives the answers out once they are committed. There is no
// clock and no randomness: ids and seeds are arguments.
//
//   - topic.go: create and delete topics, add partitions; name.go: which names are allowed;
//   - place.go: which brokers hold a partition;
//   - settings.go: change settings of topics, brokers and groups;
//   - broker.go: register, fence and unfence brokers; hand out producer ids;
//   - elect.go: what a change of a partition leads to: its eligible replicas and its leader;
//   - alterpartition.go: change ISRs as leaders ask;
//   - recover.go: elections by request, and those of partitions that all their replicas have lost;
//   - balance.go: preferred leaders;
//   - reassign.go: move replicas as is asked; rebuild.go: those that are missing;
//   - moveplan.go: which moves empty a broker, fill a new one, and restore racks. It knows no image: clients use it as well;
//   - voters.go: who votes in the quorum.
//
// Refusals carry Kafka's error codes and, as near as it helps people who search for them, Kafka's words.
package control

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// Refusal is an answer other than success: a code, and words for a person.
type Refusal struct {
	Code    wire.ErrorCode
	Message string
}

// Error makes a Refusal an error, for plans that stop at the first.
func (r *Refusal) Error() string { return fmt.Sprintf("%s: %s", r.Code, r.Message) }

func refuse(code wire.ErrorCode, format string, args ...any) *Refusal {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}
