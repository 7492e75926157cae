package storage

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/storage/wal"
	"github.com/kraftgo/kraftgo/wire"
)

// Unlimited switches a retention limit off.
const Unlimited = -1

// Options are a log's settings, which may change while it runs ([Log.SetOptions]). The zero value of a field means
// Kafka's default.
type Options struct {
	// SegmentBytes is the size past which a new segment starts (segment.bytes). Default 1 GiB, at least 1 KiB.
	SegmentBytes int32
	// SegmentAge is the time between the timestamps of a segment's first and newest batch past which a new segment
	// starts (segment.ms). Default 7 days.
	SegmentAge time.Duration
	// IndexInterval is how many bytes of records share an index entry (index.interval.bytes). Default 4096.
	IndexInterval int32
	// IndexBytes is the size at which an index is full, which starts a new segment (segment.index.bytes). Default 10 MiB.
	IndexBytes int32
	// RetentionBytes is the size past which old segments go (retention.bytes). Default and negative: unlimited.
	RetentionBytes int64
	// RetentionAge is the age past which segments go (retention.ms). Default 7 days; negative: unlimited.
	RetentionAge time.Duration
	// KeepOld switches retention by time and size off (a cleanup.policy without delete).
	KeepOld bool
	// FileDeleteDelay is how long a removed segment's files stay under another name (file.delete.delay.ms). Default
	// 1 minute.
	FileDeleteDelay time.Duration
	// ProducerIDExpiration is how long an idle producer id is remembered (producer.id.expiration.ms). Default 24 hours.
	ProducerIDExpiration time.Duration
	// Replicated means that an append need not be synced before it is acknowledged (durability=replicated): syncs are
	// then asked for by rolls and checkpoints only, not by every append.
	Replicated bool
	// VerifyTransactions demands that a client's transaction was verified with its coordinator before the first batch of
	// it is appended ([Log.StartVerification]).
	VerifyTransactions bool
}

func (o Options) withDefaults() Options {
	setDefault(&o.SegmentBytes, 1<<30)
	setDefault(&o.SegmentAge, 7*24*time.Hour)
	setDefault(&o.IndexInterval, 4096)
	setDefault(&o.IndexBytes, 10<<20)
	setDefault(&o.RetentionBytes, Unlimited)
	setDefault(&o.RetentionAge, 7*24*time.Hour)
	setDefault(&o.FileDeleteDelay, time.Minute)
	setDefault(&o.ProducerIDExpiration, 24*time.Hour)
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

func (o Options) validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(o.SegmentBytes >= 1024, "SegmentBytes (%d) must be at least 1024", o.SegmentBytes)
	check(o.SegmentAge >= time.Millisecond, "SegmentAge (%v) must be at least 1ms", o.SegmentAge)
	check(o.IndexInterval > 0, "IndexInterval (%d) must be positive", o.IndexInterval)
	check(o.IndexBytes >= timeEntrySize && o.IndexBytes <= math.MaxInt32/2, "IndexBytes (%d) must be within 12 bytes and 1 GiB", o.IndexBytes)
	check(o.FileDeleteDelay >= 0, "FileDeleteDelay (%v) must not be negative", o.FileDeleteDelay)
	check(o.ProducerIDExpiration > 0, "ProducerIDExpiration (%v) must be positive", o.ProducerIDExpiration)
	return errors.Join(faults...)
}

// Config is where a log lives, what its log directory remembers of it, and whom it tells. It is fixed at [Open].
type Config struct {
	FS        vfs.FS         // nil: the real one
	Dir       string         // the partition's own directory, made with the first append; its parent exists
	TopicID   wire.TopicID   // goes into partition.metadata; zero: the file is not written
	Partition wire.Partition // likewise
	Listed    bool           // the log directory has it that this log was here: files of another are damage then, and not another's claim
	Files     *FileCache     // shared by all logs; nil: one for this log alone
	Kept      Kept           // as the log directory remembered it
	Keeper    Keeper         // nil: nothing is remembered
	WAL       *wal.Log       // makes appends durable before the log's own files are synced; nil: each append is synced in them

	// OnDurable is called after the durable end moved up, by the goroutine that synced, with no lock held. nil: nobody.
	OnDurable func(durable wire.Offset)
	// OnDirty is called when the first bytes are appended that no sync covers yet. It must not call the log. nil: nobody.
	OnDirty func()
	// Schedule gets a log that wants a goroutine to call [Log.RunSync]. It is not called again for that log before
	// RunSync has answered false. nil: a goroutine is started for each.
	Schedule func(*Log)
	// OnFault is called once when the log closes for good after a disk error. nil: nobody.
	OnFault func(error)
	// Now is the wall clock. nil: time.Now.
	Now func() time.Time
}

// Kept is what the log directory remembers of a log, beside the log's own files.
type Kept struct {
	// RecoveryPoint is a durable offset below which recovery reads nothing and cuts nothing. 0: none.
	RecoveryPoint wire.Offset
	// LogStart is the offset below which everything was deleted.
	LogStart wire.Offset
	// Noted is the durable offset last noted, which may be older than the true one. 0: none.
	Noted wire.Offset
	// Clean means that the log was closed in good order, with RecoveryPoint its end.
	Clean bool
	// Started means that the log once had a file.
	Started bool
}

// Keeper remembers, outside the log's own directory, what [Kept] gives back. Calls for one log never overlap.
type Keeper interface {
	// Note notes the durable offset. It is called after every sync, and does not sync itself.
	Note(durable wire.Offset)
	// LowerTo makes it durable that neither noted offset nor recovery point are above offset, before the log is cut.
	LowerTo(offset wire.Offset) error
	// Start makes the log's start durable.
	Start(offset wire.Offset) error
	// Begin makes it durable that the log has files from now on.
	Begin() error
}
