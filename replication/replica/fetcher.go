package replica

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// fetcher keeps many partitions up with one leader, over one connection and one fetch session. The next fetch goes out as
// soon as the records of the last are appended, before they are synced.
type fetcher struct {
	set    *fetchers
	leader wire.BrokerID
	wake   chan struct{} // a token: partitions came or went

	mu struct { // a leaf
		sync.Mutex
		partitions map[wire.TopicIDPartition]*Partition
		flying     bool  // a fetch is made or under way, in this session and epoch, that knows of no partition that comes now
		session    int32 // 0: none
		epoch      int32
		reconnect  bool
	}

	// What follows is the goroutine's own.
	states   map[wire.TopicIDPartition]*fetchState
	forget   []wire.TopicIDPartition // of the session, with the next request
	quiet    int                     // how many answers in a row had no news, up to quietMost
	backoff  time.Duration
	complain time.Time // when a fault of the connection was last logged
}

// quietMost is how often the time that a fetch may wait at the leader is doubled when there is no news: a cluster to which nothing is
// written is left alone. Records end the wait, and what comes without them (the watermark) comes soon after records.
const quietMost = 2

// maxWait is how long the next fetch may wait at the leader. Who waits is not seen to be caught up, so it must be short beside the time
// after which a follower that is not leaves the ISR.
func (f *fetcher) maxWait() time.Duration {
	d := f.set.opts.MaxWait
	return max(d, min(d<<f.quiet, f.set.env.LagMax/4, time.Hour)) // by then it asks again in any case
}

// fetchState is one partition as the fetcher last asked for it.
type fetchState struct {
	partition *Partition
	asked     Question
	maxBytes  int32     // that were asked for
	inSession bool      // the leader knows asked and maxBytes
	throttle  *Throttle // what the answer brings counts for it; nil: for none
	caughtUp  bool      // it has all that was acknowledged when the leader last answered: it is not to be held back (Kafka's replica in sync)
	retryAt   time.Time
	backoff   time.Duration
}

func (f *fetcher) add(p *Partition) {
	f.mu.Lock()
	f.mu.partitions[p.ID] = p
	flying, session, epoch := f.mu.flying, f.mu.session, f.mu.epoch
	f.mu.Unlock()
	f.signal()
	if flying && session != 0 {
		// The fetch that waits at the leader knows nothing of this partition: it must not wait on.
		f.set.running.Go(func() {
			ctx, cancel := context.WithTimeout(f.set.ctx, f.set.opts.MaxWait)
			defer cancel()
			if err := f.set.links.Nudge(ctx, f.leader, session, epoch); err != nil {
				f.set.log.Debug("leader not nudged", "leader", f.leader, "error", err)
			}
		})
	}
}

func (f *fetcher) remove(p *Partition) {
	f.mu.Lock()
	delete(f.mu.partitions, p.ID)
	f.mu.Unlock()
	f.signal()
}

func (f *fetcher) restart() {
	f.mu.Lock()
	f.mu.reconnect = true
	f.mu.Unlock()
	f.signal()
}

func (f *fetcher) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// pause waits for a time, or until partitions came or went (if so is asked for) or all ends.
func (f *fetcher) pause(d time.Duration, wakes bool) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	wake := f.wake
	if !wakes {
		wake = nil
	}
	select {
	case <-timer.C:
	case <-wake:
	case <-f.set.ctx.Done():
	}
}

func (f *fetcher) run() {
	for f.set.ctx.Err() == nil {
		if !f.any() {
			f.pause(time.Hour, true)
			continue
		}
		err := f.connection()
		if f.set.ctx.Err() != nil {
			return
		}
		if err == nil {
			f.backoff = 0
			continue
		}
		f.backoff = min(max(2*f.backoff, 10*time.Millisecond), f.set.opts.Backoff)
		if time.Since(f.complain) > 5*time.Second {
			f.complain = time.Now()
			f.set.log.Info("leader not reached; trying on", "leader", f.leader, "error", err)
		}
		f.pause(f.backoff, false)
	}
}

func (f *fetcher) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.mu.partitions) > 0
}

// connection fetches over one connection until it fails, or nothing is left to fetch.
func (f *fetcher) connection() error {
	ctx, cancel := context.WithTimeout(f.set.ctx, f.set.opts.Timeout)
	link, err := f.set.links.Dial(ctx, f.leader)
	cancel()
	if err != nil {
		return err
	}
	defer func() { _ = link.Close() }() // it is given up, whatever it says
	defer context.AfterFunc(f.set.ctx, link.Interrupt)()
	watch := &watchdog{late: link.Interrupt}
	defer watch.end()
	f.states, f.forget, f.quiet = map[wire.TopicIDPartition]*fetchState{}, nil, 0
	f.mu.Lock()
	f.mu.session, f.mu.epoch, f.mu.reconnect = 0, 0, false
	f.mu.Unlock()
	for {
		f.mu.Lock()
		over := f.mu.reconnect || len(f.mu.partitions) == 0
		f.mu.Unlock()
		if over || f.set.ctx.Err() != nil {
			return nil
		}
		request, next := f.build(time.Now())
		if request == nil {
			f.pause(next, true)
			continue
		}
		if err := f.roundTrip(link, watch, request); err != nil {
			return err
		}
		f.backoff = 0
	}
}

// build returns the next request, or nil and how long nothing is due.
func (f *fetcher) build(now time.Time) (_ *message.FetchRequest, next time.Duration) {
	f.mu.Lock()
	for key, p := range f.mu.partitions {
		if s := f.states[key]; s == nil || s.partition != p {
			if s != nil && s.inSession {
				f.forget = append(f.forget, key)
			}
			f.states[key] = &fetchState{partition: p}
		}
	}
	for key, s := range f.states {
		if f.mu.partitions[key] != s.partition {
			f.leave(key, s)
			delete(f.states, key)
		}
	}
	session, epoch := f.mu.session, f.mu.epoch
	f.mu.flying = true
	f.mu.Unlock()
	o, maxWait := &f.set.opts, f.maxWait()
	m := &message.FetchRequest{
		ReplicaID: wire.NoBroker, MaxWaitMs: int32(maxWait.Milliseconds()), MinBytes: 1, MaxBytes: o.MaxBytes, SessionID: session, SessionEpoch: epoch,
	}
	if epoch == 0 {
		m.MaxWaitMs = 0 // so that a session is there, which can be nudged
	}
	next = time.Hour
	due := 0
	topics := map[wire.TopicID]int{}
	var room room
	for key, s := range f.states {
		if wait := s.retryAt.Sub(now); wait > 0 {
			next = min(next, wait)
			continue
		}
		q, ok := s.partition.Ask(f.leader)
		if !ok {
			f.leave(key, s)
			s.retryAt = now.Add(o.Backoff) // it will be taken away, or comes back by add
			continue
		}
		maxBytes, held := room.of(s, o.PartitionMaxBytes)
		if maxBytes == 0 {
			f.leave(key, s)
			next = min(next, held)
			continue
		}
		due++
		if s.inSession && s.asked == q && s.maxBytes == maxBytes {
			continue
		}
		s.asked, s.maxBytes, s.inSession = q, maxBytes, true
		ask(m, topics, key, s)
	}
	if due == 0 {
		f.mu.Lock()
		f.mu.flying = false
		f.mu.Unlock()
		return nil, next
	}
	if next < maxWait && m.MaxWaitMs > 0 { // a partition in back-off is due before the leader need answer
		m.MaxWaitMs = int32(max(next.Milliseconds(), 1))
	}
	f.forgotten(m)
	return m, 0
}

// ask puts a partition into a request. topics is where its topics are.
func ask(m *message.FetchRequest, topics map[wire.TopicID]int, key wire.TopicIDPartition, s *fetchState) {
	i, ok := topics[key.Topic]
	if !ok {
		i = len(m.Topics)
		topics[key.Topic] = i
		m.Topics = append(m.Topics, message.FetchRequestTopic{TopicID: key.Topic})
	}
	m.Topics[i].Partitions = append(m.Topics[i].Partitions, message.FetchRequestPartition{
		Partition: key.Partition, CurrentLeaderEpoch: s.asked.Epoch, FetchOffset: s.asked.Offset, LastFetchedEpoch: s.asked.LastEpoch,
		LogStartOffset: s.asked.Start, PartitionMaxBytes: s.maxBytes, HighWatermark: s.partition.HighWatermark(),
	})
}

// leave takes a partition out of the session.
func (f *fetcher) leave(key wire.TopicIDPartition, s *fetchState) {
	if s.inSession {
		f.forget = append(f.forget, key)
		s.inSession = false
	}
}

// forgotten moves what left the session into the request, unless the request names it anew.
func (f *fetcher) forgotten(m *message.FetchRequest) {
	for _, key := range f.forget {
		if s := f.states[key]; m.SessionEpoch > 0 && (s == nil || !s.inSession) {
			m.ForgottenTopics = append(m.ForgottenTopics, message.FetchRequestForgottenTopic{TopicID: key.Topic, Partitions: []wire.Partition{key.Partition}})
		}
	}
	f.forget = f.forget[:0]
}

// roundTrip sends one request, and does what the answer asks for.
func (f *fetcher) roundTrip(link Link, watch *watchdog, m *message.FetchRequest) error {
	m.ReplicaState = message.FetchRequestReplicaState{ReplicaID: f.set.env.Broker, ReplicaEpoch: f.set.opts.BrokerEpoch()}
	watch.begin(f.maxWait() + f.set.opts.Timeout)
	answer, err := link.Fetch(m)
	watch.done()
	f.mu.Lock()
	f.mu.flying = false
	if err == nil && answer.ErrorCode == wire.ErrNone {
		f.mu.session = answer.SessionID
		f.mu.epoch = 0
		if answer.SessionID != 0 {
			f.mu.epoch = max(m.SessionEpoch+1, 1)
		}
	}
	f.mu.Unlock()
	if err != nil {
		return err
	}
	defer link.Release()
	if answer.ErrorCode != wire.ErrNone {
		return fmt.Errorf("fetch from broker %d: %w", f.leader, answer.ErrorCode)
	}
	if f.quiet = min(f.quiet+1, quietMost); len(answer.Topics) > 0 {
		f.quiet = 0
	}
	now := time.Now()
	for i := range answer.Topics {
		t := &answer.Topics[i]
		for j := range t.Partitions {
			if err := f.take(now, wire.TopicIDPartition{Topic: t.TopicID, Partition: t.Partitions[j].PartitionIndex}, &t.Partitions[j]); err != nil {
				return err
			}
		}
	}
	if answer.SessionID == 0 { // none is kept: everything is asked for anew
		for _, s := range f.states {
			s.inSession = false
		}
	}
	return nil
}

// take does what the answer says of one partition.
func (f *fetcher) take(now time.Time, key wire.TopicIDPartition, a *message.FetchResponsePartition) error {
	s := f.states[key]
	if s == nil {
		return fmt.Errorf("broker %d: %w", f.leader, errTooMuch)
	}
	answer := replication.Answer{
		Code: a.ErrorCode, HighWatermark: a.HighWatermark, LogStart: a.LogStartOffset,
		Diverges: a.DivergingEpoch.EndOffset >= 0, DivergingEpoch: a.DivergingEpoch.Epoch, DivergingEnd: a.DivergingEpoch.EndOffset,
		Records: len(a.Records), First: -1, Last: -1,
	}
	if len(a.Records) > 0 {
		if h, _, err := batch.Next(a.Records); err == nil {
			answer.First, answer.Last = h.BaseOffset(), h.LastOffset()
		}
	}
	if s.throttle != nil && len(a.Records) > 0 {
		s.throttle.Spend(len(a.Records))
	}
	kind, err := s.partition.Take(s.asked, answer, a.Records)
	s.caughtUp = kind == replication.Append && err == nil && a.HighWatermark <= s.partition.log.End()
	switch {
	case err != nil:
		f.set.log.Error("replica does not follow", "partition", s.partition.Name, "leader", f.leader, "error", err)
		s.backoff = f.set.opts.Backoff
	case kind == replication.Retry, kind == replication.Wait:
		f.set.log.Debug("leader refuses a fetch", "partition", s.partition.Name, "leader", f.leader, "code", a.ErrorCode.String())
		s.backoff = min(max(2*s.backoff, 2*time.Millisecond), f.set.opts.Backoff)
	case kind == replication.Truncate, kind == replication.Restart:
		f.set.log.Info("log cut to agree with the leader's", "partition", s.partition.Name, "leader", f.leader, "epoch", s.asked.Epoch,
			"asked", s.asked.Offset, "diverging_epoch", a.DivergingEpoch.Epoch, "end", s.partition.log.End())
		s.backoff = 0
		return nil
	default:
		s.backoff = 0
		return nil
	}
	s.retryAt = now.Add(s.backoff)
	f.leave(key, s)
	return nil
}
