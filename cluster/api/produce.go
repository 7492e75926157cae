package api

import (
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// maxPlainBytes bounds what a compressed batch may become where it must be decompressed: 32 times what the topic allows,
// at most 64 MiB.
func maxPlainBytes(maxMessage int) int { return min(32*max(maxMessage, 1<<20), 64<<20) }

var produceHandler = handleLater(message.KeyProduce, func(b *Broker, r *listen.Request, m *message.ProduceRequest) {
	p := &produce{broker: b, request: r, message: m}
	acks := replica.Acks(m.Acks)
	n := 0
	for i := range m.Topics {
		n += len(m.Topics[i].Partitions)
	}
	p.refusals = make([]*batch.Refusal, n)
	p.partitions = make([]*replica.Partition, n)
	wait := replica.NewProduceWait(n, p.answer)
	now := b.Now().UnixMilli()
	// A leader that may have been fenced must not say that it has what only it has. acks=all is for the in-sync replicas
	// to say.
	p.fenced = acks != replica.AcksAll && !b.Alive()
	i := 0
	for t := range m.Topics {
		topic := &m.Topics[t]
		for q := range topic.Partitions {
			p.append(wait, i, acks, now, topic, &topic.Partitions[q])
			i++
		}
	}
	least := leastProduceWait
	if acks == replica.AcksAll {
		least = leastProduceWaitAll
	}
	wait.Wait(max(time.Duration(m.TimeoutMs)*time.Millisecond, least))
})

// leastProduceWait is how long a produce request may wait at the least: a timeout below the time that a sync takes would
// refuse what is about to be acknowledged. Kafka, which does not sync, answers acks=1 without looking at the timeout. With acks=all it
// goes by it, and clients give it, and little more, to a broker that may be asleep.
const (
	leastProduceWait    = time.Second
	leastProduceWaitAll = 100 * time.Millisecond
)

// produce is one Produce request on its way.
type produce struct {
	broker     *Broker
	request    *listen.Request
	message    *message.ProduceRequest
	refusals   []*batch.Refusal     // by partition of the request, in its order
	partitions []*replica.Partition // nil: not here
	fenced     bool
}

// append validates and appends one partition's records, or refuses them.
func (p *produce) append(wait *replica.ProduceWait, i int, acks replica.Acks, now int64, topic *message.ProduceRequestTopic, q *message.ProduceRequestPartition) {
	if acks < replica.AcksAll || acks > replica.AcksLeader {
		wait.Refuse(i, wire.ErrInvalidRequiredAcks)
		return
	}
	if p.fenced {
		wait.Refuse(i, wire.ErrNotLeaderOrFollower)
		return
	}
	version := p.request.Header.Version
	part, code := p.broker.find(topic.Name, topic.TopicID, version >= 13, q.Index)
	if code != wire.ErrNone {
		wait.Refuse(i, code)
		return
	}
	p.partitions[i] = part
	if internalTopicName(part.Name.Topic) {
		wait.Refuse(i, wire.ErrInvalidTopicException)
		return
	}
	s := part.Settings()
	o := batch.Options{
		TopicPartition: part.Name, ProduceVersion: version, Now: wire.Timestamp(now),
		TimestampBeforeMax: s.TimestampBeforeMs, TimestampAfterMax: s.TimestampAfterMs,
		Compacted: s.Compact, MaxMessageBytes: s.MaxMessageBytes, MaxPlainBytes: maxPlainBytes(s.MaxMessageBytes),
	}
	if s.LogAppendTime {
		o.TimestampType = batch.LogAppendTime
	}
	if s.Codec != replica.CodecProducer {
		o.Recompress, o.Codec, o.Level = true, batch.Codec(s.Codec), s.Level
	}
	result, refusal := batch.Validate(q.Records, &o)
	if refusal != nil {
		p.refusals[i] = refusal
		wait.Refuse(i, refusal.Code)
		return
	}
	if result.Batch.Transactional() {
		if p.message.TransactionalID == nil {
			wait.Refuse(i, wire.ErrTransactionalIDAuthorizationFailed) // nobody may write for a transaction without a name
			return
		}
		wait.Refuse(i, wire.ErrInvalidTxnState) // no transaction was begun: there is no coordinator yet
		return
	}
	p.broker.Metrics.ProducedBytes.Add(float64(len(result.Batch)))
	part.Append(wait, i, acks, storage.Append{Batches: result.Batch})
}

// internalTopicName reports whether clients may not write to the topic.
func internalTopicName(name string) bool {
	return len(name) > 0 && name[0] == '_' && (name == "__consumer_offsets" || name == "__transaction_state")
}

// answer is called once every partition has its outcome.
func (p *produce) answer(outcomes []replica.Outcome) {
	if p.message.Acks == 0 {
		p.answerNothing(outcomes)
		return
	}
	if p.message.Acks == int16(replica.AcksLeader) && !p.broker.Alive() { // it ran out, or was slept through, since the append
		for i := range outcomes {
			if outcomes[i].Code == wire.ErrNone {
				outcomes[i].Code = wire.ErrNotLeaderOrFollower
			}
		}
	}
	response := &message.ProduceResponse{Topics: make([]message.ProduceResponseTopic, len(p.message.Topics))}
	var hints []wire.BrokerID
	i := 0
	for t := range p.message.Topics {
		topic := &p.message.Topics[t]
		out := &response.Topics[t]
		out.Name, out.TopicID = topic.Name, topic.TopicID
		out.Partitions = make([]message.ProduceResponsePartition, len(topic.Partitions))
		for q := range topic.Partitions {
			a := &out.Partitions[q]
			a.Index = topic.Partitions[q].Index
			p.outcome(a, i, &outcomes[i])
			if a.ErrorCode == wire.ErrNotLeaderOrFollower || a.ErrorCode == wire.ErrFencedLeaderEpoch {
				hints = p.hint(a, topic, hints)
			}
			i++
		}
	}
	if len(hints) > 0 && p.request.Header.Version >= 10 {
		for _, e := range nodeEndpoints(p.broker.Controller.Image(), p.request.Listener(), hints) {
			response.NodeEndpoints = append(response.NodeEndpoints, message.ProduceResponseNodeEndpoint(e))
		}
	}
	p.request.Reply(response)
}

// answerNothing ends an acks=0 request: an error closes the connection, which is how such a producer learns of it.
func (p *produce) answerNothing(outcomes []replica.Outcome) {
	for i := range outcomes {
		if code := outcomes[i].Code; code != wire.ErrNone {
			p.request.Abort("produce with acks=0 failed: " + code.String())
			return
		}
	}
	p.request.NoReply()
}

func (p *produce) outcome(a *message.ProduceResponsePartition, i int, o *replica.Outcome) {
	a.ErrorCode, a.BaseOffset, a.LogAppendTimeMs, a.LogStartOffset = o.Code, -1, -1, -1
	a.CurrentLeader.LeaderID, a.CurrentLeader.LeaderEpoch = wire.NoBroker, wire.NoLeaderEpoch
	if o.Err != nil {
		p.broker.Log.Error("append failed", "partition", p.partitions[i].Name, "error", o.Err)
	}
	if refusal := p.refusals[i]; refusal != nil {
		a.ErrorMessage = text(refusal.Message)
		if refusal.ByLog {
			a.LogStartOffset = p.refusedStart(i, o.Code)
		}
		for _, e := range refusal.Records {
			a.RecordErrors = append(a.RecordErrors, message.ProduceResponseRecordError{BatchIndex: e.Index, BatchIndexErrorMessage: text(e.Message)})
		}
		return
	}
	if o.Code != wire.ErrNone {
		a.LogStartOffset = p.refusedStart(i, o.Code)
		return
	}
	a.BaseOffset, a.LogStartOffset = o.Appended.First, p.partitions[i].Log().Start()
	// Of a duplicate, Kafka tells the timestamp that it kept, whatever the topic's kind of timestamps.
	if p.partitions[i].Settings().LogAppendTime || o.Appended.Duplicate {
		a.LogAppendTimeMs = int64(o.Appended.MaxTimestamp)
	}
}

// refusedStart is the log start offset that goes with a refusal: Kafka tells it where its log was asked, but for the
// errors that mean that the log, or the batch, cannot be trusted (ReplicaManager.appendRecordsToLeader).
func (p *produce) refusedStart(i int, code wire.ErrorCode) wire.Offset {
	switch code {
	case wire.ErrUnknownTopicOrPartition, wire.ErrUnknownTopicID, wire.ErrNotLeaderOrFollower, wire.ErrMessageTooLarge, wire.ErrRecordListTooLarge,
		wire.ErrCorruptMessage, wire.ErrKafkaStorageError, wire.ErrInvalidTopicException, wire.ErrInvalidRequiredAcks, wire.ErrInvalidTxnState, wire.ErrTransactionalIDAuthorizationFailed:
		return -1
	}
	if p.partitions[i] == nil {
		return -1
	}
	return p.partitions[i].Log().Start()
}

// hint tells the leader that the metadata has (KIP-951).
func (p *produce) hint(a *message.ProduceResponsePartition, topic *message.ProduceRequestTopic, hints []wire.BrokerID) []wire.BrokerID {
	leader, epoch, ok := leaderHint(p.broker.Controller.Image(), topic.Name, topic.TopicID, a.Index)
	if !ok {
		return hints
	}
	a.CurrentLeader.LeaderID, a.CurrentLeader.LeaderEpoch = leader, epoch
	if !slices.Contains(hints, leader) {
		hints = append(hints, leader)
	}
	return hints
}
