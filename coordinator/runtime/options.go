package runtime

import (
	"log/slog"
	"time"

	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/wire"
)

// Caller is the client that sent a request.
type Caller struct {
	ClientID   string
	ClientHost string // as Kafka shows it: "/127.0.0.1"
	Version    int16  // of the request
}

// Config is the broker's settings of groups.
type Config struct {
	InitialRebalanceDelay time.Duration // group.initial.rebalance.delay.ms
	MinSessionTimeout     time.Duration // group.min.session.timeout.ms
	MaxSessionTimeout     time.Duration // group.max.session.timeout.ms
	MaxSize               int           // group.max.size
	MaxMetadataBytes      int           // offset.metadata.max.bytes
	OffsetsRetention      time.Duration // offsets.retention.minutes
	OffsetsRetentionCheck time.Duration // offsets.retention.check.interval.ms
}

// Journal is the partitions of __consumer_offsets that this broker holds. Any goroutine may call it.
type Journal interface {
	// Append appends one batch (format 2, built with base offset 0; it may be patched in place) to a partition that this
	// broker leads in that epoch, and calls done exactly once, perhaps before it returns, perhaps much later on a goroutine
	// that must not block: when the batch is committed, or with the code that says why it is not. ErrRequestTimedOut leaves
	// open whether it will be. Appends of one caller to one partition keep their order.
	Append(p wire.Partition, epoch wire.LeaderEpoch, batch []byte, done func(last wire.Offset, code wire.ErrorCode))
	// Bounds returns the partition's log start and high watermark. settled is false as long as the watermark may be lower
	// than what was acknowledged before this broker led, or if it does not lead.
	Bounds(p wire.Partition) (start, highWatermark wire.Offset, settled bool)
	// Read returns whole committed batches from an offset on, about maxBytes of them; none at the high watermark.
	Read(p wire.Partition, from wire.Offset, maxBytes int) ([]byte, error)
}

// Options is what a coordinator is made of.
type Options struct {
	Journal    Journal
	Store      *kv.Store
	Log        *slog.Logger
	Partitions func() int  // of __consumer_offsets; 0 while the topic does not exist
	Current    func() bool // false: others may coordinate in this broker's place. nil: always true
	Config     Config
	Now        func() time.Time // nil: time.Now
}
