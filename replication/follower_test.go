package replication

import (
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// epochEnds answers as a log with these reigns would: (epoch, start) pairs, ascending.
func epochEnds(end wire.Offset, reigns ...[2]int64) EpochEnds {
	return func(e wire.LeaderEpoch) (wire.LeaderEpoch, wire.Offset) {
		found, upTo := wire.NoLeaderEpoch, wire.Offset(-1)
		for i, r := range reigns {
			if wire.LeaderEpoch(r[0]) > e {
				break
			}
			found, upTo = wire.LeaderEpoch(r[0]), end
			if i+1 < len(reigns) {
				upTo = wire.Offset(reigns[i+1][1])
			}
		}
		return found, upTo
	}
}

func TestFollowerTruncation(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer Answer
		ends   EpochEnds
		want   wire.Offset
	}{
		{"KIP-101: the leader's epoch ends earlier", Answer{Diverges: true, DivergingEpoch: 3, DivergingEnd: 60}, epochEnds(100, [2]int64{1, 0}, [2]int64{3, 40}), 60},
		{"KIP-279: an epoch that the leader does not know", Answer{Diverges: true, DivergingEpoch: 2, DivergingEnd: 90}, epochEnds(100, [2]int64{2, 0}, [2]int64{3, 80}), 80},
		{"KIP-279: the leader's epoch is not ours; a smaller one is", Answer{Diverges: true, DivergingEpoch: 2, DivergingEnd: 90}, epochEnds(100, [2]int64{1, 0}, [2]int64{3, 50}), 50},
		{"nothing of ours is that old", Answer{Diverges: true, DivergingEpoch: 0, DivergingEnd: 10}, epochEnds(100, [2]int64{1, 20}), 20},
	} {
		f := NewFollower(7, false)
		a := f.Answered(7, Position{100, 3}, c.answer, 20, Position{100, 3}, c.ends)
		if a.Kind != Truncate || a.Offset != c.want || f.Validated() {
			t.Errorf("%s: %+v, want a cut to %d", c.name, a, c.want)
		}
	}
}

// KAFKA-14704: the watermark of a diverging answer is not taken; and what is synced counts only once the logs agree.
func TestFollowerTakesMarksOnlyWhenLogsAgree(t *testing.T) {
	f := NewFollower(7, false)
	ends := epochEnds(100, [2]int64{3, 0})
	if a := f.Answered(7, Position{100, 3}, Answer{Diverges: true, DivergingEpoch: 3, DivergingEnd: 50, HighWatermark: 90}, 0, Position{100, 3}, ends); a.HighWatermark != 0 || f.Validated() {
		t.Fatalf("%+v", a)
	}
	if a := f.Answered(7, Position{50, 3}, Answer{HighWatermark: 90, LogStart: 5, Records: 10, First: 50}, 0, Position{50, 3}, ends); a.Kind != Append || a.HighWatermark != 90 || a.LogStart != 5 || !f.Validated() {
		t.Fatalf("%+v", a)
	}
}

func TestFollowerIgnoresAnswersToOtherQuestions(t *testing.T) {
	f := NewFollower(7, false)
	if a := f.Answered(6, Position{100, 3}, Answer{}, 0, Position{100, 3}, nil); a.Kind != Ignore {
		t.Fatalf("another epoch: %+v", a)
	}
	if a := f.Answered(7, Position{90, 3}, Answer{}, 0, Position{100, 3}, nil); a.Kind != Ignore {
		t.Fatalf("another position: %+v", a)
	}
	parted := Answer{Diverges: true, DivergingEpoch: 3, DivergingEnd: 99}
	if a := f.Answered(7, Position{100, 3}, parted, 0, Position{100, 7}, epochEnds(100, [2]int64{3, 0}, [2]int64{7, 99})); a.Kind != Ignore {
		t.Fatalf("another record at the end (simulation, seed 417625): %+v", a)
	}
	if a := f.Answered(7, Position{100, 3}, Answer{Records: 10, First: 99}, 0, Position{100, 3}, nil); a.Kind != Fail {
		t.Fatalf("records from before the end: %+v", a)
	}
}

// DeleteRecords may cut into a batch. A replica that begins with the leader's log start gets all of that batch, and nothing else from
// before (Kafka's Partition.appendRecordsToFollowerOrFutureReplica).
func TestAnEmptyLogBeginsWithTheBatchThatDeletionsCutInto(t *testing.T) {
	a := Answer{HighWatermark: 140, LogStart: 100, Records: 10, First: 82, Last: 120}
	f := NewFollower(7, false)
	want := Action{Kind: AppendFrom, Offset: 82, HighWatermark: 140, LogStart: 100}
	if got := f.Answered(7, Position{100, wire.NoLeaderEpoch}, a, 100, Position{100, wire.NoLeaderEpoch}, nil); got != want || !f.Validated() {
		t.Errorf("%+v, validated %v", got, f.Validated())
	}
	if got := NewFollower(7, false).Answered(7, Position{100, 3}, a, 90, Position{100, 3}, nil); got.Kind != Fail {
		t.Errorf("a log with records: %+v", got)
	}
	a.Last = 99
	if got := NewFollower(7, false).Answered(7, Position{100, wire.NoLeaderEpoch}, a, 100, Position{100, wire.NoLeaderEpoch}, nil); got.Kind != Fail {
		t.Errorf("a batch that ends before the log starts: %+v", got)
	}
}

func TestFollowerOutOfRange(t *testing.T) {
	out := wire.ErrOffsetOutOfRange
	for _, c := range []struct {
		name  string
		asked Position
		start wire.Offset
		want  Action
	}{
		{"retention was ahead", Position{100, 3}, 150, Action{Kind: Restart, Offset: 150}},
		{"an empty log past the leader's end", Position{100, wire.NoLeaderEpoch}, 10, Action{Kind: Restart, Offset: 10}},
		{"a log with records is never emptied for that", Position{100, 3}, 50, Action{Kind: Retry}},
		{"the leader did not say where it starts", Position{100, 3}, -1, Action{Kind: Retry}},
	} {
		if a := NewFollower(7, false).Answered(7, c.asked, Answer{Code: out, LogStart: c.start}, 0, c.asked, nil); a != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, a, c.want)
		}
	}
}

// A suspect log keeps its bytes until a leader is there that has its own.
func TestSuspectLogIsFetchedAnew(t *testing.T) {
	f := NewFollower(7, true)
	if q := f.Ask(Position{100, 3}); q != (Position{0, wire.NoLeaderEpoch}) {
		t.Fatalf("%+v", q)
	}
	for _, code := range []wire.ErrorCode{wire.ErrNotLeaderOrFollower, wire.ErrUnknownLeaderEpoch, wire.ErrKafkaStorageError} {
		if a := f.Answered(7, Position{0, -1}, Answer{Code: code, LogStart: -1}, 0, Position{100, 3}, nil); a.Kind != Retry {
			t.Fatalf("%s: %+v", code, a)
		}
	}
	if a := f.Answered(7, Position{0, -1}, Answer{Code: wire.ErrOffsetOutOfRange, LogStart: 30}, 0, Position{100, 3}, nil); a != (Action{Kind: Restart, Offset: 30}) {
		t.Fatalf("%+v", a)
	}
	if q := f.Ask(Position{30, wire.NoLeaderEpoch}); q.Offset != 30 {
		t.Fatalf("%+v", q)
	}
}
