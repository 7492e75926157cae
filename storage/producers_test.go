package storage

import (
	"math"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// step is one append and what must come of it.
type step struct {
	b         testBatch
	version   int16 // transaction version of a marker
	code      wire.ErrorCode
	duplicate bool
	first     wire.Offset // 0: not checked
}

func seq(id wire.ProducerID, epoch wire.ProducerEpoch, sequence wire.Sequence, count int32) testBatch {
	return testBatch{id: id + 1, epoch: epoch, sequence: sequence, count: count, timestamp: 999_000}
}

func txn(id wire.ProducerID, epoch wire.ProducerEpoch, sequence wire.Sequence) testBatch {
	b := seq(id, epoch, sequence, 1)
	b.txn = true
	return b
}

func end(id wire.ProducerID, epoch wire.ProducerEpoch, kind string, coordinator int32) testBatch {
	return testBatch{id: id + 1, epoch: epoch, marker: kind, coordEpoch: coordinator, timestamp: 999_000}
}

const outOfOrder = wire.ErrOutOfOrderSequenceNumber

func TestProducerRules(t *testing.T) {
	for name, steps := range map[string][]step{
		"sequences follow":                       {{b: seq(1, 0, 0, 3)}, {b: seq(1, 0, 3, 2)}, {b: seq(1, 0, 6, 1), code: outOfOrder}, {b: seq(1, 0, 4, 1), code: outOfOrder}, {b: seq(1, 0, 5, 1)}},
		"an unknown producer may start anywhere": {{b: seq(1, 5, 77, 1)}, {b: seq(1, 5, 78, 1)}},
		"batches are known again": {
			{b: seq(1, 0, 0, 1)}, {b: seq(1, 0, 1, 2)}, {b: seq(1, 0, 3, 1)}, {b: seq(1, 0, 4, 1)}, {b: seq(1, 0, 5, 1)}, {b: seq(1, 0, 6, 1)},
			{b: seq(1, 0, 1, 2), duplicate: true, first: 1}, {b: seq(1, 0, 6, 1), duplicate: true, first: 6},
			{b: seq(1, 0, 0, 1), duplicate: true}, {b: seq(1, 0, 1, 1), code: outOfOrder}, {b: seq(1, 0, 7, 1), first: 7},
		},
		"the sequence goes round": {
			{b: seq(1, 0, math.MaxInt32-1, 2)}, {b: seq(1, 0, 0, 1)}, {b: seq(1, 0, 1, 1)},
			{b: seq(1, 0, math.MaxInt32-1, 2), duplicate: true},
		},
		"a batch across the round": {
			{b: seq(1, 0, math.MaxInt32, 3)}, {b: seq(1, 0, 2, 1)}, {b: seq(1, 0, math.MaxInt32, 3), duplicate: true},
		},
		"a new epoch starts at 0": {
			{b: seq(1, 0, 0, 3)}, {b: seq(1, 1, 3, 1), code: outOfOrder}, {b: seq(1, 1, 0, 1)}, {b: seq(1, 0, 3, 1), code: wire.ErrInvalidProducerEpoch},
			{b: seq(1, 0, 0, 3), code: wire.ErrInvalidProducerEpoch},
		},
		"producers do not touch": {{b: seq(1, 0, 0, 1)}, {b: seq(2, 0, 0, 1)}, {b: seq(1, 0, 1, 1)}, {b: seq(2, 0, 1, 1)}},
		"a transaction ends with its marker": {
			{b: txn(1, 0, 0)}, {b: txn(1, 0, 1)}, {b: seq(1, 0, 2, 1), code: wire.ErrInvalidTxnState}, {b: end(1, 0, "commit", 3)},
			{b: seq(1, 0, 2, 1)},
		},
		"an older coordinator is fenced": {
			{b: txn(1, 0, 0)}, {b: end(1, 0, "commit", 3)}, {b: txn(1, 0, 1)}, {b: end(1, 0, "abort", 2), code: wire.ErrTransactionCoordinatorFenced},
			{b: end(1, 0, "abort", 3)},
		},
		"a marker of version 2 has a higher epoch": {
			{b: txn(1, 4, 0)}, {b: end(1, 4, "commit", 0), version: 2, code: wire.ErrInvalidProducerEpoch}, {b: end(1, 5, "commit", 0), version: 2},
			{b: end(1, 5, "commit", 0), version: 2}, {b: txn(1, 4, 1), code: wire.ErrInvalidProducerEpoch},
			{b: txn(1, 5, 1), code: outOfOrder}, {b: txn(1, 5, 0)}, {b: end(1, 5, "abort", 0), version: 2, code: wire.ErrInvalidProducerEpoch},
		},
		"a marker of version 1 has the same epoch": {{b: txn(1, 4, 0)}, {b: end(1, 3, "commit", 0), version: 1, code: wire.ErrInvalidProducerEpoch}, {b: end(1, 4, "commit", 0), version: 1}},
		"the marker fences":                        {{b: txn(1, 4, 0)}, {b: end(1, 5, "abort", 0)}, {b: txn(1, 4, 1), code: wire.ErrInvalidProducerEpoch}},
	} {
		t.Run(name, func(t *testing.T) {
			l, _ := testLog(t, testFS(t), &testKeeper{}, Options{})
			for i, s := range steps {
				end := l.End()
				r, code, err := l.AppendAsLeader(Append{Batches: s.b.make(), LeaderEpoch: 1, Origin: originOf(s.b), TransactionVersion: s.version})
				if err != nil || code != s.code || r.Duplicate != s.duplicate {
					t.Fatalf("step %d: %+v %v %v", i, r, code, err)
				}
				if s.first != 0 && r.First != s.first {
					t.Fatalf("step %d: at %d, want %d", i, r.First, s.first)
				}
				if (code != 0 || r.Duplicate) && l.End() != end {
					t.Fatalf("step %d: a batch that was not taken moved the end to %d", i, l.End())
				}
			}
			before := l.ActiveProducers()
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			checkSameProducers(t, l, before)
		})
	}
}

// checkSameProducers opens a closed log again in several ways, and compares the producers with those before.
func checkSameProducers(t *testing.T, l *Log, before []Producer) {
	t.Helper()
	for _, kept := range []Kept{{Clean: true, RecoveryPoint: l.End(), Started: true}, {Started: true}} {
		c := l.config
		c.Kept = kept
		again, _, err := Open(c, Options{})
		if err != nil {
			t.Fatal(err)
		}
		after := again.ActiveProducers()
		if len(after) != len(before) {
			t.Fatalf("%+v became %+v", before, after)
		}
		for i := range after {
			if after[i] != before[i] {
				t.Errorf("%+v became %+v", before[i], after[i])
			}
		}
		again.Abandon()
	}
}

func TestLastStableOffsetWaitsForTransactions(t *testing.T) {
	l, _ := testLog(t, testFS(t), &testKeeper{}, Options{})
	mustAppend(t, l, seq(9, 0, 0, 1)) // 0
	mustAppend(t, l, txn(1, 0, 0))    // 1
	mustAppend(t, l, txn(2, 0, 0))    // 2
	want := func(highWatermark, stable wire.Offset) {
		t.Helper()
		if got := l.LastStableOffset(highWatermark); got != stable {
			t.Fatalf("last stable offset at watermark %d is %d, want %d", highWatermark, got, stable)
		}
	}
	want(1, 1)
	want(3, 1)
	mustAppend(t, l, end(1, 0, "abort", 0)) // 3
	want(3, 1)                              // the marker is not below the watermark
	want(4, 2)
	mustAppend(t, l, end(2, 0, "commit", 0)) // 4
	want(4, 2)
	want(5, 5)
	if l.HasOpenTransaction(1, 0) {
		t.Fatal("a finished transaction counts as open")
	}
	aborted, err := l.AbortedTransactions(0, 5)
	if err != nil || len(aborted) != 1 || aborted[0] != (AbortedTransaction{1, 1}) {
		t.Fatalf("%+v %v", aborted, err)
	}
	if aborted, err = l.AbortedTransactions(4, 5); err != nil || len(aborted) != 0 {
		t.Fatalf("%+v %v", aborted, err)
	}
}

func TestUnverifiedTransactionIsRefused(t *testing.T) {
	l, _ := testLog(t, testFS(t), &testKeeper{}, Options{VerifyTransactions: true})
	add := func(b testBatch, g VerificationGuard) wire.ErrorCode {
		t.Helper()
		_, code, err := l.AppendAsLeader(Append{Batches: b.make(), LeaderEpoch: 1, Guard: g, Origin: originOf(b)})
		if err != nil {
			t.Fatal(err)
		}
		return code
	}
	if code := add(txn(1, 0, 0), 0); code != wire.ErrInvalidTxnState {
		t.Fatal(code)
	}
	guard, needed := l.StartVerification(1, 0, 0, true)
	if !needed || guard == 0 {
		t.Fatal(guard, needed)
	}
	// A marker that comes while the coordinator is being asked makes the answer worthless: the late batch of the aborted
	// transaction must not open it again.
	if code := add(end(1, 0, "abort", 0), 0); code != 0 {
		t.Fatal(code)
	}
	if code := add(txn(1, 0, 0), guard); code != wire.ErrInvalidTxnState {
		t.Fatalf("a void guard was taken: %v", code)
	}
	if guard, needed = l.StartVerification(1, 0, 0, true); !needed {
		t.Fatal("not needed")
	}
	if code := add(txn(1, 0, 0), guard); code != 0 {
		t.Fatal(code)
	}
	if _, needed = l.StartVerification(1, 0, 1, true); needed {
		t.Fatal("needed though open")
	}
	if code := add(txn(1, 0, 1), 0); code != 0 {
		t.Fatal(code)
	}
	if guard, _ = l.StartVerification(2, 0, 5, true); add(txn(2, 0, 5), guard) != outOfOrder {
		t.Fatal("an unknown producer of version 2 started at 5")
	}
	if code := add(seq(3, 0, 9, 1), 0); code != 0 {
		t.Fatalf("no transaction, no verification: %v", code)
	}
}

// A producer that got no answer to its last five batches sends all of them again. It must be told where they are also
// when the log was opened since, however often, with nothing appended in between: Kafka's snapshots know the last batch
// only. (Found by killing a node twice while a producer was resending: it saw OUT_OF_ORDER_SEQUENCE_NUMBER, took a new
// epoch, and wrote the batches a second time.)
func TestFiveBatchesAreKnownAcrossRestarts(t *testing.T) {
	for _, crash := range []bool{false, true} {
		fs, k := testFS(t), &testKeeper{}
		l, _ := testLog(t, fs, k, Options{})
		for i := range 7 {
			mustAppend(t, l, seq(1, 0, wire.Sequence(i), 1))
		}
		for range 3 {
			if crash {
				if _, err := l.Checkpoint(); err != nil {
					t.Fatal(err)
				}
				l.Abandon()
			} else if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			l, _ = testLog(t, fs, k, Options{})
		}
		for i := range 5 {
			r := mustAppend(t, l, seq(1, 0, wire.Sequence(2+i), 1))
			if !r.Duplicate || r.First != wire.Offset(2+i) {
				t.Fatalf("crash %v, sequence %d: %+v", crash, 2+i, r)
			}
		}
		if r := mustAppend(t, l, seq(1, 0, 1, 1)); !r.Duplicate || r.First != 1 {
			t.Fatalf("sequence 1: %+v", r)
		}
	}
}

// A batch that is sent again after its producer has written more than is kept of it is found in the log, if it is there. (Found by the
// chaos test: the five requests that a leader with a hung disk had not answered came to the next one, which had them already, after it
// had taken others; it said OUT_OF_ORDER_SEQUENCE_NUMBER until their delivery timed out, and what came after them waited for that.)
func TestOldBatchesAreFoundInTheLog(t *testing.T) {
	for name, o := range map[string]Options{"one segment": {IndexInterval: 200}, "many": {IndexInterval: 200, SegmentBytes: 4096}, "no index": {IndexInterval: 1 << 30}} {
		fs, k := testFS(t), &testKeeper{}
		l, _ := testLog(t, fs, k, o)
		at := map[wire.Sequence]wire.Offset{}
		const wraps = math.MaxInt32 - 100 // to 99
		next := wire.Sequence(wraps)
		for i := range 100 {
			r := mustAppend(t, l, seq(1, 3, next, 2))
			at[next] = r.First
			if next += 2; int64(next) > math.MaxInt32 || next < 0 {
				next = wire.Sequence(int64(next) - math.MaxInt32 - 1)
			}
			for j := range i % 3 {
				mustAppend(t, l, testBatch{count: 1, id: wire.ProducerID(100 + i), sequence: wire.Sequence(j), size: 50})
			}
		}
		again := func(b testBatch) (Appended, wire.ErrorCode) {
			r, code, err := l.AppendAsLeader(Append{Batches: b.make(), LeaderEpoch: 1})
			if err != nil {
				t.Fatal(name, err)
			}
			return r, code
		}
		for s, first := range at {
			if r, code := again(seq(1, 3, s, 2)); code != 0 || !r.Duplicate || r.First != first || r.Last != first+1 {
				t.Fatalf("%s: sequence %d of offset %d: %+v, %v", name, s, first, r, code)
			}
		}
		end := l.End()
		for what, b := range map[string]testBatch{
			"another length":  seq(1, 3, wraps+2, 1),
			"another start":   seq(1, 3, wraps+3, 2),
			"before all":      seq(1, 3, wraps-2, 2),
			"one not yet due": seq(1, 3, next+2, 2),
		} {
			if r, code := again(b); code != outOfOrder {
				t.Errorf("%s: %s: %+v, %v", name, what, r, code)
			}
		}
		if _, code := again(seq(1, 2, wraps+4, 2)); code != wire.ErrInvalidProducerEpoch {
			t.Errorf("%s: an older epoch: %v", name, code)
		}
		if l.End() != end {
			t.Errorf("%s: something was written", name)
		}
	}
}
