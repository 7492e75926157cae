package runtime

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Values that Kafka computes (Utils.abs(groupId.hashCode()) % 50).
func TestPartitionOfAGroupIsKafkas(t *testing.T) {
	for group, want := range map[string]wire.Partition{
		"":                   0,
		"hello":              99162322 % 50,
		"a":                  97 % 50,
		"polygenelubricants": 0,                            // its hash is the smallest int32, whose absolute value Kafka takes as 0
		"gr\u00fcn":          wire.Partition(3185949 % 50), // by UTF-16 unit, not by byte
	} {
		if got := PartitionOf(group, 50); got != want {
			t.Errorf("%q: %d, want %d", group, got, want)
		}
	}
}

// memoryLog is a journal in memory that fails as it is told to.
type memoryLog struct {
	mu      sync.Mutex
	batches [][]byte
	end     wire.Offset
	rng     *rand.Rand
	fails   bool
}

// Append keeps the batch, or not, and tells the truth, or that it does not know.
func (l *memoryLog) Append(_ wire.Partition, _ wire.LeaderEpoch, raw []byte, done func(wire.Offset, wire.ErrorCode)) {
	l.mu.Lock()
	fate := 0
	if l.fails {
		fate = l.rng.IntN(4)
	}
	last := wire.Offset(-1)
	if fate != 1 {
		h, err := batch.Parse(append([]byte{}, raw...))
		if err != nil {
			panic(err)
		}
		h.SetBaseOffset(l.end)
		l.end = h.NextOffset()
		last = l.end - 1
		l.batches = append(l.batches, h)
	}
	l.mu.Unlock()
	switch fate {
	case 1: // not there
		done(-1, wire.ErrKafkaStorageError)
	case 2: // there, and nobody knows
		done(-1, wire.ErrRequestTimedOut)
	default:
		done(last, wire.ErrNone)
	}
}

func (l *memoryLog) Bounds(wire.Partition) (start, high wire.Offset, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.end, true
}

func (l *memoryLog) Read(_ wire.Partition, from wire.Offset, _ int) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.batches {
		if h, err := batch.Parse(b); err == nil && h.LastOffset() >= from {
			return b, nil
		}
	}
	return nil, nil
}

type rig struct {
	t   *testing.T
	log *memoryLog
	c   *Coordinator
}

func (r *rig) open(store *kv.Store) {
	r.c = New(Options{Journal: r.log, Store: store, Partitions: func() int { return 1 }, Config: Config{
		MinSessionTimeout: time.Second, MaxSessionTimeout: time.Minute, MaxSize: 10, MaxMetadataBytes: 100,
		OffsetsRetention: time.Hour, OffsetsRetentionCheck: time.Hour,
	}})
	r.c.Leads(0, 1)
}

func (r *rig) commit(group string, p wire.Partition, o wire.Offset) wire.ErrorCode {
	answer := make(chan wire.ErrorCode, 1)
	r.c.CommitOffsets(Caller{Version: 9}, &message.OffsetCommitRequest{GroupID: group, GenerationIDOrMemberEpoch: -1, Topics: []message.OffsetCommitRequestTopic{
		{Name: "t", Partitions: []message.OffsetCommitRequestPartition{{PartitionIndex: p, CommittedOffset: o, CommitTimestamp: -1}}},
	}, RetentionTimeMs: -1}, func(a *message.OffsetCommitResponse) { answer <- a.Topics[0].Partitions[0].ErrorCode })
	return <-answer
}

func (r *rig) fetch(group string, p wire.Partition) wire.Offset {
	answer := make(chan *message.OffsetFetchResponse, 1)
	r.c.FetchOffsets(Caller{Version: 9}, &message.OffsetFetchRequest{Groups: []message.OffsetFetchRequestGroup{
		{GroupID: group, Topics: []message.OffsetFetchRequestGroupTopic{{Name: "t", PartitionIndexes: []wire.Partition{p}}}},
	}}, func(a *message.OffsetFetchResponse) { answer <- a })
	a := <-answer
	if a.Groups[0].ErrorCode != wire.ErrNone {
		r.t.Fatalf("fetch: %s", a.Groups[0].ErrorCode)
	}
	return a.Groups[0].Topics[0].Partitions[0].CommittedOffset
}

// Commits succeed, fail, or end unknown; the coordinator is stopped and started, with its store, with an older one, or
// with none. What is fetched is always the last commit that was acknowledged, or a later one of which it was not known.
func TestCommittedOffsetsSurvive(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 7))
		fs := vfs.NewCrashableMem()
		store, err := kv.OpenFS("offsets", fs)
		if err != nil {
			t.Fatal(err)
		}
		r := &rig{t: t, log: &memoryLog{rng: rng}}
		r.open(store)
		acked, unknown := map[string]wire.Offset{}, map[string]map[wire.Offset]bool{}
		for i := range 150 {
			group, p := fmt.Sprintf("g%d", rng.IntN(3)), wire.Partition(rng.IntN(3))
			key := fmt.Sprintf("%s/%d", group, p)
			if unknown[key] == nil {
				unknown[key] = map[wire.Offset]bool{}
			}
			switch rng.IntN(10) {
			case 0:
				r.c.Close()
				if rng.IntN(3) == 0 {
					fs = fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
				}
				if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				if rng.IntN(3) == 0 {
					fs = vfs.NewCrashableMem()
				}
				if store, err = kv.OpenFS("offsets", fs); err != nil {
					t.Fatal(err)
				}
				r.open(store)
			case 1, 2, 3:
				want, ok := acked[key]
				if got := r.fetch(group, p); got != want && !(got == -1 && !ok) && !unknown[key][got] {
					t.Fatalf("seed %d step %d: %s is %d, acknowledged was %d, unknown %v", seed, i, key, got, want, unknown[key])
				}
			default:
				r.log.mu.Lock()
				r.log.fails = rng.IntN(3) == 0
				r.log.mu.Unlock()
				if code := r.commit(group, p, wire.Offset(i)); code == wire.ErrNone {
					acked[key] = wire.Offset(i)
					clear(unknown[key])
				} else {
					unknown[key][wire.Offset(i)] = true
				}
			}
		}
		r.c.Close()
		if err := store.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWhoWaitsIsAnsweredAtTheEnd(t *testing.T) {
	store, err := kv.OpenFS("offsets", vfs.NewMem())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, log: &memoryLog{}}
	r.open(store)
	answer := make(chan wire.ErrorCode, 1)
	// A second member is awaited for as long as the rebalance may take: the join waits.
	join := func(member string, reply func(*message.JoinGroupResponse)) {
		r.c.Join(Caller{Version: 3, ClientID: "c"}, &message.JoinGroupRequest{GroupID: "g", MemberID: member, SessionTimeoutMs: 10_000, RebalanceTimeoutMs: 60_000, ProtocolType: "consumer",
			Protocols: []message.JoinGroupRequestProtocol{{Name: "range"}}}, reply)
	}
	first := make(chan *message.JoinGroupResponse, 1)
	join("", func(a *message.JoinGroupResponse) { first <- a })
	if a := <-first; a.ErrorCode != wire.ErrNone {
		t.Fatal(a.ErrorCode)
	}
	join("", func(a *message.JoinGroupResponse) { answer <- a.ErrorCode })
	r.c.Close()
	if code := <-answer; code != wire.ErrNotCoordinator {
		t.Fatal(code)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
}
