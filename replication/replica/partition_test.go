package replica

import (
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// oneRecord returns a batch of one record, as a leader has it at an offset in an epoch.
func oneRecord(t *testing.T, at wire.Offset, epoch wire.LeaderEpoch) batch.Header {
	t.Helper()
	var b batch.Builder
	b.Reset(batch.Template{BaseOffset: at, LeaderEpoch: epoch})
	if err := b.Append(1, nil, []byte("v"), nil); err != nil {
		t.Fatal(err)
	}
	h, err := b.Finish()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// alone returns a partition of three replicas, of which this is broker 1's; synced counts what it would report as a follower.
func alone(t *testing.T, s Settings) (p *Partition, synced *int) {
	t.Helper()
	_, d := newDisk(t)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	r := disk.Replica{TopicID: wire.UUID{1}, Topic: "t"}
	if err := d.Add(r); err != nil {
		t.Fatal(err)
	}
	env := Alone(1)
	synced = new(int)
	env.Synced = func(*Partition) { *synced++ }
	return NewPartition(wire.TopicPartition{Topic: "t"}, r.Key(), env, d.Log(r.Key()), s, 0), synced
}

func led(epoch wire.LeaderEpoch, partitionEpoch wire.PartitionEpoch, inSync ...wire.BrokerID) replication.Assignment {
	return replication.Assignment{Epoch: epoch, PartitionEpoch: partitionEpoch, Replicas: []wire.BrokerID{1, 2, 3}, InSync: inSync}
}

// produced appends a record, and returns where its outcome will come.
func produced(t *testing.T, p *Partition, acks Acks) chan wire.ErrorCode {
	t.Helper()
	code := make(chan wire.ErrorCode, 1)
	w := NewProduceWait(1, func(o []Outcome) { code <- o[0].Code })
	p.Append(w, 0, acks, storage.Append{Batches: oneRecord(t, 0, 0)})
	w.Wait(time.Minute)
	return code
}

func expect(t *testing.T, got chan wire.ErrorCode, want wire.ErrorCode) {
	t.Helper()
	select {
	case code := <-got:
		if code != want {
			t.Fatalf("%s, want %s", code, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatalf("no answer, want %s", want)
	}
}

// With fewer in sync than min.insync.replicas acks=all is refused before anything is written; who waits when the ISR becomes too small is
// told that it was written (Kafka's Partition.appendRecordsToLeader and checkEnoughReplicasReachOffset).
func TestTooFewInSync(t *testing.T) {
	p, _ := alone(t, Settings{MinInSync: 2, Durability: replication.Replicated})
	p.Lead(led(1, 0, 1))
	expect(t, produced(t, p, AcksAll), wire.ErrNotEnoughReplicas)
	if p.Log().End() != 0 {
		t.Fatal("what was refused is in the log")
	}
	expect(t, produced(t, p, AcksLeader), wire.ErrNone)
	if p.HighWatermark() != 0 {
		t.Fatal("the watermark moved")
	}
	p.Lead(led(1, 1, 1, 2))
	waits := produced(t, p, AcksAll)
	p.Lead(led(1, 2, 1))
	expect(t, waits, wire.ErrNotEnoughReplicasAfterAppend)
	if p.Log().End() != 2 {
		t.Fatalf("the log ends at %d", p.Log().End())
	}
}

// What was appended in one reign is not acknowledged in another, in between which it may have been cut off: also if the wait begins only
// then.
func TestAWaitDoesNotOutliveTheReign(t *testing.T) {
	p, _ := alone(t, Settings{MinInSync: 1, Durability: replication.Replicated})
	p.Lead(led(1, 0, 1, 2))
	early := produced(t, p, AcksAll)
	code := make(chan wire.ErrorCode, 1)
	late := NewProduceWait(1, func(o []Outcome) { code <- o[0].Code })
	reign, _ := p.append(&late.outcomes[0], AcksAll, storage.Append{Batches: oneRecord(t, 0, 0)})
	p.Follow(2, 2, true)
	expect(t, early, wire.ErrNotLeaderOrFollower)
	p.Lead(led(3, 1, 1))
	p.acknowledge(late, 0, highWatermark, reign, 2)
	late.Wait(time.Minute)
	expect(t, code, wire.ErrNotLeaderOrFollower)
}

// A follower shows consumers nothing before its log is known to agree with the leader's, takes over where the leader's log begins, and has
// no watermark past its end once it was cut.
func TestWhatAFollowerShows(t *testing.T) {
	p, synced := alone(t, Settings{MinInSync: 1})
	follow := func(epoch wire.LeaderEpoch, a replication.Answer, records []byte) {
		t.Helper()
		q, ok := p.Ask(2)
		if !ok || q.Epoch != epoch {
			t.Fatalf("asks for %+v", q)
		}
		if _, err := p.Take(q, a, records); err != nil {
			t.Fatal(err)
		}
	}
	shows := func(epoch wire.LeaderEpoch, want wire.ErrorCode) {
		t.Helper()
		if code := p.ServingReads(epoch); code != want {
			t.Fatalf("epoch %d: %s, want %s", epoch, code, want)
		}
	}
	p.Follow(2, 1, true)
	shows(1, wire.ErrNotLeaderOrFollower)
	for at := range wire.Offset(3) {
		b := oneRecord(t, at, 1)
		follow(1, replication.Answer{HighWatermark: at, LogStart: 0, Records: len(b), First: at, Last: at}, b)
	}
	shows(1, wire.ErrNone)
	shows(wire.NoLeaderEpoch, wire.ErrNone)
	shows(0, wire.ErrFencedLeaderEpoch)
	shows(2, wire.ErrUnknownLeaderEpoch)
	follow(1, replication.Answer{HighWatermark: 3, LogStart: 1, First: -1, Last: -1}, nil)
	if p.Log().Start() != 1 || p.HighWatermark() != 3 {
		t.Fatalf("starts at %d, watermark %d", p.Log().Start(), p.HighWatermark())
	}
	p.Follow(2, 2, true)
	shows(2, wire.ErrNotLeaderOrFollower)
	follow(2, replication.Answer{LogStart: 0, Diverges: true, DivergingEpoch: 1, DivergingEnd: 2, First: -1, Last: -1}, nil)
	if p.Log().End() != 2 || p.HighWatermark() != 2 {
		t.Fatalf("ends at %d, watermark %d", p.Log().End(), p.HighWatermark())
	}
	before := *synced
	p.Configure(Settings{MinInSync: 1, Durability: replication.Fsync})
	if *synced == before {
		t.Error("the leader is not told what is synced when another mark may count")
	}
	p.Follow(2, 2, false)
	if before = *synced; before == 0 {
		t.Error("nothing was told")
	}
	if p.Reconsider(); *synced == before {
		t.Error("out of the ISR, it does not tell again now and then")
	}
	p.Follow(2, 2, true)
	before = *synced
	if p.Reconsider(); *synced != before {
		t.Error("in the ISR, it tells without need")
	}
}

// A leader that comes to lead with records that are on no disk yet has them synced, though nothing is appended: its watermark waits for
// that.
func TestANewLeaderSyncsWhatItHas(t *testing.T) {
	p, _ := alone(t, Settings{MinInSync: 1})
	if err := p.Log().SetOptions(storage.Options{Replicated: true}); err != nil {
		t.Fatal(err)
	}
	p.Follow(2, 1, true)
	q, _ := p.Ask(2)
	b := oneRecord(t, 0, 1)
	if _, err := p.Take(q, replication.Answer{LogStart: 0, Records: len(b), First: 0, Last: 0}, b); err != nil || p.Log().Durable() != 0 {
		t.Fatalf("durable to %d, %v", p.Log().Durable(), err)
	}
	p.Lead(led(2, 0, 1))
	end, look := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer look.Stop()
	for p.Log().Durable() != 1 {
		select {
		case <-end:
			t.Fatal("nothing was synced")
		case <-look.C:
		}
	}
}
