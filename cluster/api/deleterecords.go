package api

import (
	"time"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// highWatermarkOffset stands for the high watermark in DeleteRecords.
const highWatermarkOffset = -1

// deletion is one DeleteRecords request on its way.
type deletion struct {
	broker     *Broker
	request    *listen.Request
	response   message.DeleteRecordsResponse
	partitions []*replica.Partition // by partition of the request, in its order; nil: refused
	before     []wire.Offset        // what is to be deleted
	first      []wire.Offset        // the low watermarks when the leader had deleted it
}

// DeleteRecords is answered when all replicas that are in sync or alive have deleted, as Kafka does it (DelayedDeleteRecords).
var deleteRecordsHandler = handleLater(message.KeyDeleteRecords, func(b *Broker, r *listen.Request, m *message.DeleteRecordsRequest) {
	r.MayBlock()
	d := &deletion{broker: b, request: r}
	n := 0
	for _, t := range m.Topics {
		n += len(t.Partitions)
	}
	d.partitions, d.before, d.first = make([]*replica.Partition, n), make([]wire.Offset, n), make([]wire.Offset, n)
	wait := replica.NewProduceWait(n, d.answer)
	i := 0
	for _, t := range m.Topics {
		out := message.DeleteRecordsResponseTopic{Name: t.Name}
		for _, q := range t.Partitions {
			out.Partitions = append(out.Partitions, message.DeleteRecordsResponsePartition{PartitionIndex: q.PartitionIndex, LowWatermark: -1})
			d.begin(wait, i, t.Name, q.PartitionIndex, q.Offset)
			i++
		}
		d.response.Topics = append(d.response.Topics, out)
	}
	wait.Wait(max(time.Duration(m.TimeoutMs)*time.Millisecond, 0))
})

// begin deletes from one partition as its leader, or refuses to.
func (d *deletion) begin(wait *replica.ProduceWait, i int, topic string, n wire.Partition, before wire.Offset) {
	p, before, code := d.broker.deletable(topic, n, before)
	if code != wire.ErrNone {
		wait.Refuse(i, code)
		return
	}
	d.partitions[i], d.before[i] = p, before
	p.DeleteRecords(wait, i, before)
	d.first[i] = p.LowWatermark()
}

// deletable returns a partition and the offset up to which it may be cut.
func (b *Broker) deletable(topic string, n wire.Partition, before wire.Offset) (*replica.Partition, wire.Offset, wire.ErrorCode) {
	if internalTopicName(topic) {
		return nil, 0, wire.ErrInvalidTopicException
	}
	p, code := b.find(topic, wire.TopicID{}, false, n)
	if code == wire.ErrNone {
		code = p.Serving(wire.NoLeaderEpoch)
	}
	if code != wire.ErrNone {
		return nil, 0, code
	}
	if !p.Settings().Delete {
		return nil, 0, wire.ErrPolicyViolation
	}
	high := p.HighWatermark()
	if before == highWatermarkOffset {
		before = high
	}
	if before < 0 || before > high {
		return nil, 0, wire.ErrOffsetOutOfRange
	}
	return p, before, wire.ErrNone
}

// answer is called once every partition has its outcome.
func (d *deletion) answer(outcomes []replica.Outcome) {
	i := 0
	for t := range d.response.Topics {
		for q := range d.response.Topics[t].Partitions {
			out, o, p := &d.response.Topics[t].Partitions[q], &outcomes[i], d.partitions[i]
			switch out.ErrorCode = o.Code; {
			case o.Code == wire.ErrNone:
				out.LowWatermark = max(p.LowWatermark(), d.before[i]) // it may have stopped leading since
			case o.Code == wire.ErrRequestTimedOut:
				out.LowWatermark = d.first[i]
			case o.Err != nil:
				d.broker.Log.Error("records not deleted", "partition", p.Name, "code", o.Code, "error", o.Err)
			}
			i++
		}
	}
	d.request.Reply(&d.response)
}
