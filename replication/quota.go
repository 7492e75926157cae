package replication

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Unlimited is the rate that bounds nothing, and the default of Kafka's settings.
const Unlimited = math.MaxInt64

// Quota is how many bytes may be copied of throttled replicas (KIP-73): a bucket that fills at rate bytes a second, and holds a
// second's worth. What is copied at once may be more than is in it, since a batch is copied whole; then nothing is until that is made
// good. So over any time, with one user,
//
//	bytes copied <= rate * time + a second's worth + one batch.
//
// Kafka measures the rate over eleven seconds instead, and lets an answer pass whenever the mean is below the bound: with answers that
// are large beside the rate it copies faster than it was told to.
//
// A rate of 0 lets nothing pass. Times are on one monotonic clock.
type Quota struct {
	rate  int64         // bytes a second, at least 0
	level int64         // bytes that may be copied; below 0: that were copied too many
	rest  uint64        // billionths of a byte beyond level
	at    time.Duration // when that was so
}

// NewQuota returns a quota without a limit.
func NewQuota() Quota { return Quota{rate: Unlimited} }

// full is what the bucket holds at most.
func (q *Quota) full() int64 { return max(q.rate, 1) }

// least is what must be there for anything to be copied. Without it, small batches would be copied one by one as the bucket
// trickles, each in an answer of its own.
func (q *Quota) least() int64 { return max(q.rate/10, 1) }

// fill brings level up to date.
func (q *Quota) fill(now time.Duration) {
	if now <= q.at {
		return
	}
	high, low := bits.Mul64(uint64(now-q.at), uint64(q.rate))
	low, carry := bits.Add64(low, q.rest, 0)
	high += carry
	q.at = now
	gained := int64(math.MaxInt64)
	if high < uint64(time.Second)/2 { // or the quotient is larger than that
		var quotient uint64
		quotient, q.rest = bits.Div64(high, low, uint64(time.Second))
		gained = int64(min(quotient, math.MaxInt64))
	}
	if missing := uint64(q.full()) - uint64(q.level); uint64(gained) >= missing {
		q.level, q.rest = q.full(), 0
		return
	}
	q.level += gained
}

// SetRate puts another rate in force at once; below 0 is Unlimited. A limit begins with an empty bucket.
func (q *Quota) SetRate(now time.Duration, rate int64) {
	if rate < 0 {
		rate = Unlimited
	}
	if q.rate == Unlimited {
		q.level, q.rest, q.at = 0, 0, now
	} else {
		q.fill(now)
	}
	q.rate = rate
	q.level = min(q.level, q.full())
}

// Rate returns the rate in force.
func (q *Quota) Rate() int64 { return q.rate }

// Allowance returns how many bytes may be copied now; 0: the quota is exceeded.
func (q *Quota) Allowance(now time.Duration) int64 {
	if q.rate == Unlimited {
		return Unlimited
	}
	if q.fill(now); q.level < q.least() {
		return 0
	}
	return q.level
}

// Spend notes that bytes are copied.
func (q *Quota) Spend(now time.Duration, bytes int64) {
	if q.rate == Unlimited {
		return
	}
	q.fill(now)
	q.level -= bytes
}

// Never is how long the wait for a quota of 0 is.
const Never = time.Duration(math.MaxInt64)

// Wait returns how long it is until the quota is not exceeded any more, if nothing is copied meanwhile.
func (q *Quota) Wait(now time.Duration) time.Duration {
	switch {
	case q.Allowance(now) > 0:
		return 0
	case q.rate == 0:
		return Never
	}
	high, low := bits.Mul64(uint64(q.least()-q.level), uint64(time.Second))
	low, borrow := bits.Sub64(low, q.rest, 0)
	if high -= borrow; high >= uint64(q.rate) {
		return Never
	}
	quotient, remainder := bits.Div64(high, low, uint64(q.rate))
	if remainder > 0 {
		quotient++
	}
	return time.Duration(min(quotient, math.MaxInt64))
}

// Meter tells how fast bytes went by of late: over the last whole meterSeconds and what has passed of the present one.
type Meter struct {
	bytes  [meterSeconds + 1]int64 // by second, in a ring
	second int64                   // the present one
}

const meterSeconds = 10

func (m *Meter) turn(now time.Duration) {
	second := int64(now / time.Second)
	for n := min(second-m.second, int64(len(m.bytes))); n > 0; n-- {
		m.bytes[(second-n+1)%int64(len(m.bytes))] = 0
	}
	m.second = max(m.second, second)
}

// Add notes that bytes went by.
func (m *Meter) Add(now time.Duration, bytes int64) {
	m.turn(now)
	m.bytes[m.second%int64(len(m.bytes))] += bytes
}

// Rate returns bytes a second.
func (m *Meter) Rate(now time.Duration) float64 {
	m.turn(now)
	sum := int64(0)
	for _, n := range m.bytes {
		sum += n
	}
	return float64(sum) / (meterSeconds + (now % time.Second).Seconds())
}

// Throttled is which partitions of a topic have a throttled replica on one broker; nil: none.
type Throttled struct {
	all        bool
	partitions []wire.Partition // ascending
}

// ParseThrottled reads a leader.replication.throttled.replicas or its follower's, which was checked, for one broker: partition:broker,...
// or an asterisk for all. Numbers that no partition and no broker can have stand for none.
func ParseThrottled(value string, broker wire.BrokerID) *Throttled {
	if value = strings.TrimSpace(value); value == "*" {
		return &Throttled{all: true}
	}
	var t Throttled
	for _, pair := range strings.Split(value, ",") {
		left, right, _ := strings.Cut(strings.TrimSpace(pair), ":")
		p, notPartition := strconv.ParseInt(left, 10, 32)
		b, notBroker := strconv.ParseInt(right, 10, 32)
		if notPartition == nil && notBroker == nil && wire.BrokerID(b) == broker {
			t.partitions = append(t.partitions, wire.Partition(p))
		}
	}
	if len(t.partitions) == 0 {
		return nil
	}
	slices.Sort(t.partitions)
	return &t
}

// Has reports whether the broker's replica of a partition is throttled.
func (t *Throttled) Has(p wire.Partition) bool {
	if t == nil {
		return false
	}
	if t.all {
		return true
	}
	_, found := slices.BinarySearch(t.partitions, p)
	return found
}
