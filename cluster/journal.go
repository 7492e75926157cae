package cluster

import (
	"time"

	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
)

// journal is the coordinator's view of the partitions of its topic.
type journal struct{ node *Node }

// commitTimeout is Kafka's offsets.commit.timeout.ms.
const commitTimeout = 5 * time.Second

func (j *journal) partition(p wire.Partition) *replica.Partition {
	return j.node.partitions.PartitionByName(control.OffsetsTopic, p)
}

// Append appends one batch with acks=all, and calls done once when it is committed or will not be.
func (j *journal) Append(p wire.Partition, epoch wire.LeaderEpoch, batch []byte, done func(last wire.Offset, code wire.ErrorCode)) {
	part := j.partition(p)
	if part == nil {
		done(-1, wire.ErrNotLeaderOrFollower)
		return
	}
	if code := part.Serving(epoch); code != wire.ErrNone {
		done(-1, code)
		return
	}
	if len(batch) > part.Settings().MaxMessageBytes {
		done(-1, wire.ErrRecordListTooLarge)
		return
	}
	w := replica.NewProduceWait(1, func(o []replica.Outcome) { done(o[0].Appended.Last, o[0].Code) })
	part.Append(w, 0, replica.AcksAll, storage.Append{Batches: batch, Origin: storage.FromCoordinator})
	w.Wait(commitTimeout)
}

// Bounds returns the partition's log start and high watermark, and whether all that was acknowledged lies below that.
func (j *journal) Bounds(p wire.Partition) (start, highWatermark wire.Offset, settled bool) {
	part := j.partition(p)
	if part == nil || !part.Settled() {
		return 0, 0, false
	}
	return part.Log().Start(), part.HighWatermark(), true
}

// Read returns whole committed batches from an offset on, about maxBytes of them; none at the high watermark.
func (j *journal) Read(p wire.Partition, from wire.Offset, maxBytes int) ([]byte, error) {
	part := j.partition(p)
	if part == nil {
		return nil, wire.ErrNotLeaderOrFollower
	}
	slice, code, err := part.Log().Read(from, maxBytes, part.HighWatermark(), true)
	if err != nil {
		return nil, err
	}
	if code != wire.ErrNone {
		return nil, code
	}
	if slice.Len() == 0 {
		return nil, nil
	}
	defer slice.Release()
	b := make([]byte, slice.Len())
	_, err = slice.ReadInto(b)
	return b, err
}
