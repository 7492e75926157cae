package lifecycle

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// A broker that was stopped for longer than its session does not go by what it knows when it wakes: not before its clock ticks, not
// after that, not when the controller has answered, but when it has the metadata of that answer. One that is awake, and whose
// controller is gone, goes on answering reads; it acknowledges nothing by itself.
func TestWhatABrokerKnowsIsOverWhenItSleptThroughItsSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var applied atomic.Int64
		a := &Agent{start: time.Now(), opts: AgentOptions{Session: 9 * time.Second, Applied: func() wire.Index { return wire.Index(applied.Load()) }}}
		a.sleep.limit = time.Second
		now := func() time.Duration { return time.Since(a.start) }
		awake := func(d time.Duration) {
			for end := now() + d; now() < end; a.sleep.tick(now()) {
				<-time.After(200 * time.Millisecond)
			}
		}
		expect := func(what string, alive, current bool) {
			t.Helper()
			if a.Alive() != alive || a.Current() != current {
				t.Errorf("%s: alive %v, current %v", what, a.Alive(), a.Current())
			}
		}
		applied.Store(7)
		a.prolong(now(), HeartbeatAnswer{Applied: 7})
		expect("after a heartbeat", true, true)
		a.prolong(now(), HeartbeatAnswer{Applied: 8})
		expect("in its session, and behind as anybody may be", true, true)
		<-time.After(5 * time.Second)
		expect("woken within its session", true, true)
		awake(5 * time.Second)
		expect("awake through the end of its session", false, true)

		a.prolong(now(), HeartbeatAnswer{Applied: 12})
		expect("heard again, but perhaps not the leader any more", false, false)
		applied.Store(12)
		expect("with the metadata of that time", true, true)

		sent := now()
		<-time.After(10 * time.Second)
		expect("woken", false, false)
		awake(time.Second)
		expect("awake for a second", false, false)
		a.prolong(sent, HeartbeatAnswer{Applied: 12})
		expect("an answer to what it sent before it slept", false, false)
		a.prolong(now(), HeartbeatAnswer{Fenced: true, Applied: 15})
		expect("fenced", false, false)
		a.prolong(now(), HeartbeatAnswer{Applied: 16})
		expect("unfenced", false, false)
		applied.Store(16)
		expect("unfenced, and as new", true, true)
		a.prolong(now(), HeartbeatAnswer{Applied: 17})
		awake(20 * time.Second)
		expect("the controller is gone, some time after the sleep", false, true)
	})
}
