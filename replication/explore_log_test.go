//go:build explore

package replication

import (
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// toyRecord is a record of the explorer: its leader's epoch, and a number that no other record has.
type toyRecord struct {
	epoch wire.LeaderEpoch
	value int8
}

// toyEpoch is an entry of the epoch cache.
type toyEpoch struct {
	epoch wire.LeaderEpoch
	start wire.Offset
}

// toyLog is a log that starts at 0, with what [storage.Log] tells of epochs. Its slices are never written in place, so that copies
// may share them.
type toyLog struct {
	records []toyRecord
	durable wire.Offset
	epochs  []toyEpoch
}

func (l *toyLog) end() wire.Offset { return wire.Offset(len(l.records)) }

func (l *toyLog) marks() Marks { return Marks{l.end(), l.durable} }

// assign notes that epoch writes from start on; reigns without a record are forgotten.
func (l *toyLog) assign(epoch wire.LeaderEpoch, start wire.Offset) {
	n := len(l.epochs)
	if n > 0 && l.epochs[n-1].epoch == epoch {
		return
	}
	for n > 0 && l.epochs[n-1].start >= start {
		n--
	}
	if n > 0 && l.epochs[n-1].epoch >= epoch {
		l.epochs = l.epochs[:n:n]
		return
	}
	l.epochs = append(slices.Clone(l.epochs[:n]), toyEpoch{epoch, start})
}

func (l *toyLog) latest() wire.LeaderEpoch {
	if n := len(l.epochs); n > 0 {
		return l.epochs[n-1].epoch
	}
	return wire.NoLeaderEpoch
}

func (l *toyLog) endOf(epoch wire.LeaderEpoch) (wire.LeaderEpoch, wire.Offset) {
	n := len(l.epochs)
	if epoch == wire.NoLeaderEpoch || n == 0 {
		return wire.NoLeaderEpoch, -1
	}
	if epoch == l.epochs[n-1].epoch {
		return epoch, l.end()
	}
	i := slices.IndexFunc(l.epochs, func(e toyEpoch) bool { return e.epoch > epoch })
	switch i {
	case -1:
		return wire.NoLeaderEpoch, -1
	case 0:
		return epoch, l.epochs[0].start
	}
	return l.epochs[i-1].epoch, l.epochs[i].start
}

func (l *toyLog) position() Position {
	p := Position{l.end(), wire.NoLeaderEpoch}
	if len(l.records) > 0 {
		p.LastEpoch = l.records[len(l.records)-1].epoch
	}
	return p
}

// append writes records; ok is false when a log would refuse them, since epochs never fall along it.
func (l *toyLog) append(records ...toyRecord) (ok bool) {
	for _, r := range records {
		if n := len(l.records); n > 0 && l.records[n-1].epoch > r.epoch {
			return false
		}
		l.assign(r.epoch, l.end())
		l.records = append(l.records[:len(l.records):len(l.records)], r)
	}
	return true
}

func (l *toyLog) truncate(to wire.Offset) {
	if to >= l.end() {
		return
	}
	l.records = l.records[:to:to]
	l.durable = min(l.durable, to)
	l.cutEpochs(to)
}

func (l *toyLog) cutEpochs(end wire.Offset) {
	if i := slices.IndexFunc(l.epochs, func(e toyEpoch) bool { return e.start >= end }); i >= 0 {
		l.epochs = l.epochs[:i:i]
	}
}

// recover is what a start does after a stop that left what is below end.
func (l *toyLog) recover(end wire.Offset) {
	l.truncate(end)
	l.durable = l.end()
	l.cutEpochs(l.end())
}

// The explorer's log is no other than storage's, as far as replication sees it.
func TestToyLogIsLikeStorage(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		fs := vfs.NewMem()
		if err := fs.Mkdir("/d"); err != nil {
			t.Fatal(err)
		}
		open := func() *storage.Log {
			log, _, err := storage.Open(storage.Config{FS: fs, Dir: "/d/t-0", Schedule: func(*storage.Log) {}, Now: func() time.Time { return time.UnixMilli(0) }}, storage.Options{})
			if err != nil {
				t.Fatal(err)
			}
			return log
		}
		log, toy := open(), toyLog{}
		epoch := wire.LeaderEpoch(0)
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			switch rapid.IntRange(0, 5).Draw(t, "what") {
			case 0, 1:
				e := max(epoch, toy.latest())
				if _, code, err := log.AppendAsLeader(storage.Append{Batches: oneRecord(t, e), LeaderEpoch: e}); code != wire.ErrNone || err != nil {
					t.Fatal(code, err)
				}
				toy.append(toyRecord{epoch: e})
			case 2:
				to := wire.Offset(rapid.IntRange(0, int(toy.end())).Draw(t, "to"))
				if _, err := log.Truncate(to); err != nil {
					t.Fatal(err)
				}
				toy.truncate(to)
			case 3:
				if epoch++; epoch > toy.latest() {
					log.AssignEpoch(epoch)
					toy.assign(epoch, toy.end())
				}
			case 4:
				if err := log.Sync(); err != nil {
					t.Fatal(err)
				}
				toy.durable = toy.end()
			case 5:
				log = open()
				toy.recover(toy.end())
			}
			if log.End() != toy.end() || log.Durable() != toy.durable || log.LatestEpoch() != toy.latest() {
				t.Fatalf("end %d, durable %d, epoch %d; want %+v", log.End(), log.Durable(), log.LatestEpoch(), toy)
			}
			for e := wire.NoLeaderEpoch; e <= epoch+1; e++ {
				gotEpoch, gotEnd := log.EpochEndOffset(e)
				if wantEpoch, wantEnd := toy.endOf(e); gotEpoch != wantEpoch || gotEnd != wantEnd {
					t.Fatalf("epoch %d ends as (%d, %d), want (%d, %d): %+v", e, gotEpoch, gotEnd, wantEpoch, wantEnd, toy)
				}
			}
			for o, r := range toy.records {
				if got := log.EpochAt(wire.Offset(o)); got != r.epoch {
					t.Fatalf("offset %d is of epoch %d, want %d", o, got, r.epoch)
				}
			}
		}
	})
}

func oneRecord(t *rapid.T, epoch wire.LeaderEpoch) []byte {
	var b batch.Builder
	b.Reset(batch.Template{LeaderEpoch: epoch})
	if err := b.Append(1, nil, []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	h, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Clone(h)
}
