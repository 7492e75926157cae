package batch

import (
	"errors"
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/compress"
)

// RecordError says what was wrong with one record, by its place in the batch from 0.
type RecordError struct {
	Index   int32
	Message string
}

// Refusal is why a batch is not appended: what the produce answer holds for the partition.
type Refusal struct {
	Code    wire.ErrorCode
	Message string
	// Records names the records at fault, at most [MaxRecordErrors]; none when the batch as a whole is.
	Records []RecordError
	// ByLog: the request's form was in order, and the checks before the append refuse the batch.
	ByLog bool
}

// MaxRecordErrors bounds what a refusal may cost: a batch may hold a hundred thousand bad records.
const MaxRecordErrors = 1000

func refuse(code wire.ErrorCode, format string, args ...any) *Refusal {
	return &Refusal{Code: code, Message: fmt.Sprintf(format, args...)}
}

func invalid(format string, args ...any) *Refusal {
	return refuse(wire.ErrInvalidRecord, format, args...)
}

// refusePlain turns an error of decompressing, or of an [Iterator], into a refusal. What is too large is told so, since
// then a client splits its batch and tries again.
func refusePlain(err error, o *Options) *Refusal {
	switch {
	case errors.Is(err, compress.ErrTooLarge), errors.Is(err, ErrFull):
		return refuse(wire.ErrMessageTooLarge, "The records in the append to %s are too large: %v", o.TopicPartition, err)
	case errors.Is(err, compress.ErrCodec):
		return refuse(wire.ErrUnsupportedCompressionType, "Unknown compression in the append to %s: %v", o.TopicPartition, err)
	default:
		return invalid("Invalid records in the append to %s: %v", o.TopicPartition, err)
	}
}

// recordErrors gathers the faults of single records.
type recordErrors struct {
	list       []RecordError
	total      int
	timestamps bool // at least one is about a timestamp
}

func (e *recordErrors) add(index int32, format string, args ...any) {
	if e.total++; len(e.list) < MaxRecordErrors {
		e.list = append(e.list, RecordError{Index: index, Message: fmt.Sprintf(format, args...)})
	}
}

// refusal words the whole as Kafka does, which shows the first three.
func (e *recordErrors) refusal() *Refusal {
	switch {
	case e.total == 0:
		return nil
	case e.timestamps:
		r := refuse(wire.ErrInvalidTimestamp, "One or more records have been rejected due to invalid timestamp")
		r.Records = e.list
		return r
	}
	shown := ""
	for i, r := range e.list[:min(3, len(e.list))] {
		if i > 0 {
			shown += ", "
		}
		shown += fmt.Sprintf("RecordError(batchIndex=%d, message='%s')", r.Index, r.Message)
	}
	r := invalid("One or more records have been rejected due to %d record errors in total, and only showing "+
		"the first three errors at most: [%s]", e.total, shown)
	r.Records = e.list
	return r
}

// checkRecord adds what is wrong with record index: a null key in a compacted topic, else its time. stamped means that
// its batch claims log append time.
func (o *Options) checkRecord(e *recordErrors, index int32, r *Record, stamped bool) {
	low, high := o.timeRange()
	switch {
	case o.Compacted && r.Key == nil:
		e.add(index, "Compacted topic cannot accept message without key in topic partition %s", o.TopicPartition)
	case stamped:
		e.timestamps = true
		e.add(index, "Invalid timestamp type in message DefaultRecord(offset=%d, timestamp=%d, key=%d bytes, value=%d bytes). "+
			"Producer should not set timestamp type to LogAppendTime.", r.Offset, r.Timestamp, len(r.Key), len(r.Value))
	case o.TimestampType == CreateTime && r.Timestamp != wire.NoTimestamp && (r.Timestamp < low || r.Timestamp > high):
		e.timestamps = true
		e.add(index, "Timestamp %d of message with offset %d is out of range. The timestamp should be within [%d, %d]",
			r.Timestamp, r.Offset, low, high)
	}
}
