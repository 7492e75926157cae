package replication

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
)

// Over any time no more is copied than the rates in force gave, a full bucket at its begin, and one batch; and as long as the rate is
// not 0, the wait that the quota tells of is enough for more, and no shorter one is.
func TestQuotaBoundsWhatIsCopied(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rates := rapid.OneOf(rapid.Int64Range(0, 20), rapid.Int64Range(1, 1<<40), rapid.Just[int64](Unlimited), rapid.Just[int64](-1))
		q := NewQuota()
		now := time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "begin"))
		// The bucket as the definition has it, in real numbers: what it may hold, never cut at the top but for what is full.
		rate := int64(Unlimited)
		level := 0.0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				was := rate
				if rate = rates.Draw(t, "rate"); rate < 0 {
					rate = Unlimited
				}
				if was == Unlimited {
					level = 0
				}
				level = min(level, float64(max(rate, 1)))
				if q.SetRate(now, rate); q.Rate() != rate {
					t.Fatalf("rate %d, want %d", q.Rate(), rate)
				}
			case 1:
				d := time.Duration(rapid.Int64Range(0, int64(20*time.Second)).Draw(t, "passed"))
				now += d
				if rate != Unlimited {
					level = min(level+float64(rate)*d.Seconds(), float64(max(rate, 1)))
				}
			default:
				allowed := q.Allowance(now)
				if rate == Unlimited {
					if allowed != Unlimited || q.Wait(now) != 0 {
						t.Fatalf("%d bytes allowed, wait %v, without a limit", allowed, q.Wait(now))
					}
					break
				}
				if allowed > 0 && float64(allowed) > level+1+1e-9*math.Abs(level) {
					t.Fatalf("%d bytes allowed, of %.3f", allowed, level)
				}
				if allowed == 0 {
					waits(t, q, now)
					break
				}
				bytes := min(allowed, rapid.Int64Range(1, 1<<41).Draw(t, "bytes")) + rapid.SampledFrom([]int64{0, 0, 1, 1 << 20}).Draw(t, "beyond")
				q.Spend(now, bytes)
				level -= float64(bytes)
			}
		}
	})
}

// waits checks the wait of a quota that is exceeded.
func waits(t *rapid.T, q Quota, now time.Duration) {
	d := q.Wait(now)
	if q.rate == 0 {
		if d != Never {
			t.Fatalf("wait %v for a rate of 0", d)
		}
		return
	}
	if d <= 0 || d > Never-now {
		t.Fatalf("wait %v", d)
	}
	sooner := q
	if n := sooner.Allowance(now + d - 1); n != 0 {
		t.Fatalf("%d bytes allowed before the wait of %v is over", n, d)
	}
	if n := q.Allowance(now + d); n <= 0 {
		t.Fatalf("nothing allowed after the wait of %v: %+v", d, q)
	}
}

// A rate in force, step by step.
func TestQuotaStepByStep(t *testing.T) {
	q := NewQuota()
	const s, ms = time.Second, time.Millisecond
	for i, step := range []struct {
		at      time.Duration
		rate    int64 // to set; 0: as it is
		allowed int64
		spend   int64
		wait    time.Duration // after it
	}{
		{5 * s, 0, Unlimited, 1 << 40, 0},
		{6 * s, 1000, 0, 0, 100 * ms},               // a limit begins with nothing
		{6*s + 50*ms, 0, 0, 0, 50 * ms},             // too little for an answer
		{6*s + 100*ms, 0, 100, 0, 0},                //
		{6*s + 100*ms, 0, 100, 600, 600 * ms},       // a batch is larger than what is there
		{6*s + 699*ms, 0, 0, 0, 1 * ms},             //
		{60 * s, 0, 1000, 1000, 100 * ms},           // a second's worth at most
		{61 * s, 0, 1000, 5000, 4100 * ms},          //
		{61 * s, 100_000, 0, 0, 140 * ms},           // a higher rate makes good sooner
		{61*s + 140*ms, 0, 10_000, 0, 0},            //
		{62 * s, 10, 10, 0, 0},                      // a lower one forgets what it would not have kept
		{62 * s, -1, Unlimited, 5, 0},               //
		{63 * s, math.MaxInt64 - 1, 0, 0, 100 * ms}, // as good as none
	} {
		if step.rate != 0 {
			q.SetRate(step.at, step.rate)
		}
		allowed := q.Allowance(step.at)
		q.Spend(step.at, step.spend)
		if wait := q.Wait(step.at); allowed != step.allowed || wait != step.wait {
			t.Errorf("step %d: %d bytes allowed, want %d; then wait %v, want %v", i, allowed, step.allowed, wait, step.wait)
		}
	}
}

func TestMeter(t *testing.T) {
	var m Meter
	for second := range 30 {
		m.Add(time.Duration(second)*time.Second, 1000)
	}
	if r := m.Rate(30 * time.Second); r != 1000 {
		t.Errorf("%v", r)
	}
	if r := m.Rate(35 * time.Second); r != 500 {
		t.Errorf("%v", r)
	}
	if r := m.Rate(time.Hour); r != 0 {
		t.Errorf("%v", r)
	}
}

func TestParseThrottled(t *testing.T) {
	for _, c := range []struct {
		value string
		want  []wire.Partition // of 0 to 3, on broker 2
	}{
		{"", nil}, {" * ", []wire.Partition{0, 1, 2, 3}}, {"0:2,3:2,1:1", []wire.Partition{0, 3}}, {" 3:2 , 1:2", []wire.Partition{1, 3}},
		{"0:1,1:22", nil}, {"99999999999:2,1:2", []wire.Partition{1}},
	} {
		var got []wire.Partition
		throttled := ParseThrottled(c.value, 2)
		for p := range wire.Partition(4) {
			if throttled.Has(p) {
				got = append(got, p)
			}
		}
		if len(got) != len(c.want) || len(got) > 0 && (got[0] != c.want[0] || got[len(got)-1] != c.want[len(got)-1]) || (throttled == nil) != (len(c.want) == 0) {
			t.Errorf("%q: %v, want %v", c.value, got, c.want)
		}
	}
}

// A replica that was added has everything yet to copy: it neither holds the watermark up nor is spared a throttle until it has once
// reached what the leader had.
func TestAnAddedFollowerIsAwaitedWhenItHasCaughtUp(t *testing.T) {
	l := newTestLeader([]wire.BrokerID{1, 2}, []wire.BrokerID{1, 2})
	marks := func(now time.Duration, own, two wire.Offset) {
		l.Own(now, Marks{own, own})
		l.Fetched(now, 2, 9, two)
		l.Durable(now, 2, 9, 5, two)
	}
	marks(0, 100, 100)
	now := time.Minute
	l.Committed(now, Assignment{Epoch: 5, PartitionEpoch: 8, Replicas: []wire.BrokerID{1, 2, 3}, InSync: []wire.BrokerID{1, 2}})
	l.Fetched(now, 3, 9, 0)
	if !l.Awaits(now, 2) || l.Awaits(now, 3) || l.Awaits(now, 4) {
		t.Fatalf("awaited: %v %v %v", l.Awaits(now, 2), l.Awaits(now, 3), l.Awaits(now, 4))
	}
	if marks(now, 110, 110); l.HighWatermark() != 110 {
		t.Fatalf("the watermark waits at %d for what was only just added", l.HighWatermark())
	}
	now += 10 * time.Second
	l.Fetched(now, 3, 9, 100) // what the leader had when it was added
	l.Durable(now, 3, 9, 5, 100)
	if l.Awaits(now, 3) {
		t.Fatal("awaited ten seconds behind")
	}
	now += 100 * time.Millisecond
	l.Fetched(now, 3, 9, 110)
	l.Durable(now, 3, 9, 5, 110)
	if !l.Awaits(now, 3) {
		t.Fatal("not awaited with everything")
	}
	if marks(now+time.Millisecond, 120, 120); l.HighWatermark() != 110 {
		t.Fatalf("the watermark is at %d, before who is about to join", l.HighWatermark())
	}
}
