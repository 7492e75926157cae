package api

import (
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/replication/replica"
)

// Followers is what a leader keeps of the brokers that follow: their fetch sessions, and their fetches that wait, so that a
// follower that has something new to ask can have its last question answered.
type Followers struct {
	Sessions *replica.Sessions

	mu     sync.Mutex       // a leaf
	parked map[int32]parked // by session
	nudged map[int32]int32  // the last epoch that a nudge was for, by session: the fetch may not be there yet, or be between two waits
}

type parked struct {
	epoch int32
	wait  *replica.FetchWait
}

// followerSessions bounds the sessions of followers: brokers are few, and each has one or a few.
const followerSessions = 10_000

// followerGone is how long a follower's session must have been idle, with no fetch that may wait, to be that of a connection that is no more:
// the follower has begun a new one since. A follower that has slept for so long begins anew as well.
const followerGone = 5 * time.Minute

// forget forgets the sessions of connections that are no more. Where connections break now and then, these would else be thousands, with
// all partitions in each.
func (f *Followers) forget() {
	gone := f.Sessions.Expire(followerGone)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range gone {
		delete(f.parked, id)
		delete(f.nudged, id)
	}
}

// NewFollowers returns an empty Followers.
func NewFollowers() *Followers { return newFollowers(time.Now) }

func newFollowers(now func() time.Time) *Followers {
	return &Followers{Sessions: replica.NewSessions(followerSessions, now), parked: map[int32]parked{}, nudged: map[int32]int32{}}
}

// park notes a fetch that waits. It returns false if it was nudged already.
func (f *Followers) park(session, epoch int32, w *replica.FetchWait) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.parked[session] = parked{epoch, w}
	e, ok := f.nudged[session]
	if ok && e < epoch {
		delete(f.nudged, session)
	}
	return !ok || e != epoch
}

// Nudge has the fetch of a session and epoch answered at once, which waits or is about to.
func (f *Followers) Nudge(session, epoch int32) {
	f.mu.Lock()
	p := f.parked[session]
	if len(f.nudged) > followerSessions {
		clear(f.nudged) // of sessions that are no more: at worst a fetch waits its time
	}
	f.nudged[session] = max(epoch, f.nudged[session]) // nudges overtake one another
	f.mu.Unlock()
	if p.wait != nil && p.epoch == epoch {
		p.wait.Cancel()
	}
}
