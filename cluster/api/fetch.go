package api

import (
	"context"
	"time"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// downConvertFrom is the first version that takes batches of format 2 as they are.
const downConvertFrom = 4

var fetchHandler = handleLater(message.KeyFetch, func(b *Broker, r *listen.Request, m *message.FetchRequest) {
	f := &fetch{broker: b, request: r, version: r.Header.Version, committed: m.IsolationLevel == 1, follower: wire.NoBroker}
	sessions := b.Sessions
	if peer, ok := r.Transport().(interface{ PeerBroker() wire.BrokerID }); ok { // it came by the brokers' listener
		f.follower, f.followerEpoch = peer.PeerBroker(), m.ReplicaState.ReplicaEpoch
		sessions = b.Followers.Sessions
		if m.SessionEpoch == 0 {
			b.Followers.forget()
		}
	}
	if max(m.ReplicaID, m.ReplicaState.ReplicaID) != f.follower {
		// Followers come over the internal listener. A client that says it is one could move the watermark.
		f.refuse(wire.ErrClusterAuthorizationFailed)
		return
	}
	session, full, code := sessions.Open(sessionFetch(m, f.version, f.follower))
	if code != wire.ErrNone {
		f.refuse(code)
		return
	}
	f.session, f.full = session, full
	if b.ByRack && f.follower == wire.NoBroker {
		f.rack = m.RackID
	}
	f.minBytes = int(m.MinBytes)
	f.maxBytes = max(0, min(int(m.MaxBytes), int(b.Settings.Int(b.Controller.Image(), "fetch.max.bytes"))))
	f.targets = session.Targets()
	f.read()
	if m.MaxWaitMs <= 0 || f.bytes >= f.minBytes || f.failed || len(f.targets) == 0 || b.stopping.Load() {
		f.reply()
		return
	}
	f.sessionEpoch = m.SessionEpoch
	f.deadline = time.Now().Add(time.Duration(m.MaxWaitMs) * time.Millisecond)
	if waits, cancelled := f.wait(); !waits {
		f.awake(cancelled)
	}
})

func sessionFetch(m *message.FetchRequest, version int16, follower wire.BrokerID) replica.Fetch {
	q := replica.Fetch{SessionID: m.SessionID, Epoch: m.SessionEpoch, ByID: version >= 13}
	if follower != wire.NoBroker {
		q.Wait = time.Duration(m.MaxWaitMs) * time.Millisecond
	}
	if version < 7 {
		q.Epoch = -1
	}
	for i := range m.Topics {
		t := &m.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			q.Targets = append(q.Targets, replica.Target{
				Topic: t.Topic, TopicID: t.TopicID, Partition: p.Partition, Offset: p.FetchOffset, MaxBytes: p.PartitionMaxBytes,
				LeaderEpoch: max(p.CurrentLeaderEpoch, wire.NoLeaderEpoch), LastEpoch: max(p.LastFetchedEpoch, wire.NoLeaderEpoch), LogStart: p.LogStartOffset,
			})
		}
	}
	for _, t := range m.ForgottenTopics {
		for _, p := range t.Partitions {
			q.Forgotten = append(q.Forgotten, replica.Target{Topic: t.Topic, TopicID: t.TopicID, Partition: p})
		}
	}
	return q
}

// fetch is one Fetch request on its way. One goroutine at a time has it.
type fetch struct {
	broker    *Broker
	request   *listen.Request
	version   int16
	committed bool // read_committed
	// follower is the broker that fetches, with its epoch; NoBroker: a consumer.
	follower      wire.BrokerID
	followerEpoch wire.BrokerEpoch
	sessionEpoch  int32
	rack          string // of a consumer that is to be sent to a replica near it; "": it is not
	again         bool   // it has been read before: what the follower has is known
	stale         bool   // of a consumer: what this broker knows as leader may be over
	deadline      time.Time
	session       *replica.Session
	full          bool
	minBytes      int
	maxBytes      int
	targets       []*replica.SessionTarget

	results []fetched // by target
	bytes   int       // of records in results
	// Of a follower's fetch: bytes of records in results that the throttle counts; and whether results lack what the throttle holds back.
	throttled int
	held      bool
	failed    bool // some result is told at once: an error, another replica to ask, or what a follower must know
}

// fetched is what was read of one target.
type fetched struct {
	partition     *replica.Partition // nil: not here
	code          wire.ErrorCode
	highWatermark wire.Offset
	lastStable    wire.Offset
	logStart      wire.Offset
	preferred     wire.BrokerID // that the consumer is to ask instead, or NoBroker
	aborted       []storage.AbortedTransaction
	diverging     bool
	divergeEpoch  wire.LeaderEpoch
	divergeEnd    wire.Offset
	slice         storage.Slice // valid if size > 0 and converted is nil
	converted     []byte        // records of an old format, in memory
	size          int
	throttled     bool // this follower is not to get it as fast as it can
	held          bool // it gets nothing for the moment
}

// read reads all targets anew.
func (f *fetch) read() {
	f.drop()
	if f.results == nil {
		f.results = make([]fetched, len(f.targets))
	}
	f.bytes, f.failed, f.throttled, f.held = 0, false, 0, false
	f.stale = f.follower == wire.NoBroker && !f.broker.Current()
	for i, t := range f.targets {
		o := &f.results[i]
		*o = fetched{highWatermark: -1, lastStable: -1, logStart: -1, preferred: wire.NoBroker}
		f.readOne(o, &t.Target)
		if f.follower != wire.NoBroker {
			f.noteFollower(o, &t.Target)
			// What a follower has counts when it was answered. With consumers on followers, these must know at once what is committed.
			f.failed = f.failed || o.code == wire.ErrNone && (f.session.Untold(t) || t.StartMoved(o.logStart) || f.broker.ByRack && t.MarkMoved(o.highWatermark))
		}
		f.bytes += o.size
		if o.throttled {
			f.throttled += o.size
			f.held = f.held || o.held
		}
		if o.code != wire.ErrNone || o.diverging || o.preferred != wire.NoBroker {
			f.failed = true
		}
	}
	f.again = true
}

// noteFollower tells the partition what the follower has, once it is known that the logs agree up to there.
func (f *fetch) noteFollower(o *fetched, t *replica.Target) {
	switch {
	case o.code == wire.ErrOffsetOutOfRange && o.partition != nil:
		o.logStart = o.partition.Log().Start() // where the follower may begin anew
	case o.code != wire.ErrNone, o.diverging, f.again:
	default:
		if code := o.partition.FetchedFrom(f.follower, f.followerEpoch, t.LeaderEpoch, t.Offset, max(t.LogStart, 0)); code != wire.ErrNone {
			if o.size > 0 {
				o.slice.Release()
			}
			*o = fetched{partition: o.partition, code: code, highWatermark: -1, lastStable: -1, logStart: -1, preferred: wire.NoBroker}
		}
	}
}

func (f *fetch) readOne(o *fetched, t *replica.Target) {
	o.partition, o.code = f.broker.find(t.Topic, t.TopicID, f.version >= 13, t.Partition)
	if o.code != wire.ErrNone {
		return
	}
	p := o.partition
	if o.code = f.serving(p, t.LeaderEpoch); o.code != wire.ErrNone {
		return
	}
	if f.version < 10 && p.Settings().Codec == int8(batch.CodecZstd) {
		o.code = wire.ErrUnsupportedCompressionType
		return
	}
	log := p.Log()
	high := p.HighWatermark()
	stable := log.LastStableOffset(high)
	switch c := replication.Compare(replication.Position{Offset: t.Offset, LastEpoch: t.LastEpoch}, log.EpochEndOffset); {
	case c.Unknown:
		o.code = f.outOfRange()
		return
	case c.Diverges:
		o.diverging, o.divergeEpoch, o.divergeEnd = true, c.Epoch, c.End
		o.highWatermark, o.lastStable, o.logStart = high, stable, log.Start()
		return
	}
	if f.rack != "" {
		if o.preferred = f.nearest(p, t.Offset); o.preferred != wire.NoBroker {
			o.highWatermark, o.lastStable, o.logStart = high, stable, log.Start()
			return
		}
	}
	limit := high
	switch {
	case f.follower != wire.NoBroker:
		limit = log.End()
	case f.committed:
		limit = stable
	}
	most, first := min(max(0, f.maxBytes-f.bytes), max(0, int(t.MaxBytes))), f.bytes == 0
	if f.follower != wire.NoBroker && p.SendingThrottled(f.follower) {
		most, first = f.throttle(o, most, first)
	}
	slice, code, err := log.Read(t.Offset, most, limit, first)
	if err != nil {
		f.broker.Log.Error("read failed", "partition", p.Name, "offset", t.Offset, "error", err)
		o.code = wire.ErrKafkaStorageError
		return
	}
	if o.code = code; code != wire.ErrNone {
		if code == wire.ErrOffsetOutOfRange {
			o.code = f.outOfRange()
		}
		return
	}
	o.highWatermark, o.lastStable, o.logStart = high, stable, log.Start()
	o.slice, o.size = slice, slice.Len()
	if f.committed && o.size > 0 {
		f.findAborted(o, log, t.Offset, limit)
	}
	if f.version < downConvertFrom && o.size > 0 {
		f.downConvert(o, t.Offset)
	}
}

// outOfRange is the answer for an offset that the log does not have. A consumer believes it, and begins anew where it was told to: so
// whoever may have been replaced, and have less than the new leader, sends it there instead. Kafka's broker does not look.
func (f *fetch) outOfRange() wire.ErrorCode {
	if f.follower == wire.NoBroker && !f.broker.Alive() {
		return wire.ErrNotLeaderOrFollower
	}
	return wire.ErrOffsetOutOfRange
}

// throttle bounds what a follower is given of a throttled partition: what is allowed at the moment, beside what this answer has of others.
func (f *fetch) throttle(o *fetched, most int, first bool) (int, bool) {
	o.throttled = true
	allowed := f.broker.Partitions.Sending().Allowance() - int64(f.throttled)
	if o.held = allowed <= 0; o.held {
		return 0, false
	}
	return int(min(int64(most), allowed)), first
}

// readsFromFollowers is the first version whose consumers may read from followers.
const readsFromFollowers = 11

// serving tells whether the partition serves this fetch.
func (f *fetch) serving(p *replica.Partition, epoch wire.LeaderEpoch) wire.ErrorCode {
	if f.stale && p.Serving(epoch) == wire.ErrNone {
		return wire.ErrNotLeaderOrFollower
	}
	if f.follower == wire.NoBroker && f.version >= readsFromFollowers {
		return p.ServingReads(epoch)
	}
	return p.Serving(epoch)
}

// nearest returns the replica that a consumer of a rack is to ask instead of this leader, or NoBroker: of those in sync in the rack whose
// logs have the offset the one that is furthest, the last that was caught up, that of the highest id, in this order; but not if the
// leader stands in the rack (Kafka's RackAwareReplicaSelector).
func (f *fetch) nearest(p *replica.Partition, offset wire.Offset) wire.BrokerID {
	image := f.broker.Controller.Image()
	if own := image.Broker(f.broker.ID); own != nil && own.Rack != nil && *own.Rack == f.rack {
		return wire.NoBroker
	}
	var best replication.FollowerStatus
	found := wire.NoBroker
	for _, r := range p.Readable(offset) {
		b := image.Broker(r.Broker)
		if b == nil || b.Fenced || b.Rack == nil || *b.Rack != f.rack || len(nodeEndpoints(image, f.request.Listener(), []wire.BrokerID{r.Broker})) == 0 {
			continue
		}
		if found == wire.NoBroker || r.Marks.End > best.Marks.End || r.Marks.End == best.Marks.End && r.CaughtUp >= best.CaughtUp {
			best, found = r, r.Broker
		}
	}
	return found
}

func (f *fetch) findAborted(o *fetched, log *storage.Log, from, upTo wire.Offset) {
	aborted, err := log.AbortedTransactions(from, upTo)
	if err != nil {
		f.broker.Log.Error("aborted transactions unreadable", "partition", o.partition.Name, "error", err)
		o.slice.Release()
		o.code, o.size = wire.ErrKafkaStorageError, 0
		return
	}
	o.aborted = aborted
}

// drop gives back what was read and will not be sent.
func (f *fetch) drop() {
	for i := range f.results {
		o := &f.results[i]
		if o.size > 0 && o.converted == nil {
			o.slice.Release()
		}
		o.size, o.converted = 0, nil
	}
}

// briefTargets is up to how many partitions of a fetch are looked at on the goroutine that wakes it.
const briefTargets = 8

// wait has the fetch looked at again when a watermark has moved, or at the deadline. It returns false if that is now.
func (f *fetch) wait() (waits, cancelled bool) {
	f.drop()
	timeout := time.Until(f.deadline)
	if f.held {
		timeout = min(timeout, f.broker.Partitions.Sending().Wait())
	}
	var w *replica.FetchWait
	var stop func() bool
	// If it waits for the first byte, what it will read was just written.
	brief := f.minBytes <= 1 && len(f.targets) <= briefTargets && !f.held
	w = replica.NewFetchWait(brief, func() {
		stop()
		f.awake(w.Cancelled())
	})
	for i, t := range f.targets {
		switch p := f.results[i].partition; {
		case p == nil:
		case f.follower != wire.NoBroker:
			if !f.results[i].held { // there is more already, which it gets when the throttle allows it
				w.WatchEnd(p, t.Offset, f.results[i].logStart)
			}
			if f.broker.ByRack {
				w.Watch(p, f.results[i].highWatermark)
			}
		default:
			w.Watch(p, f.results[i].highWatermark)
		}
	}
	if f.follower != wire.NoBroker && !f.broker.Followers.park(f.session.ID, f.sessionEpoch, w) {
		w.Cancel()
	}
	if f.broker.stopping.Load() { // looked at after the registration, so that StopWaiting misses none
		w.Cancel()
	}
	stop = context.AfterFunc(f.request.Context(), w.Cancel)
	if w.Wait(max(timeout, time.Millisecond)) {
		return true, false
	}
	stop()
	return false, w.Cancelled()
}

// awake looks again after a wait ended. now: it is answered whatever there is.
func (f *fetch) awake(now bool) {
	for waits := false; !waits; {
		f.read()
		select {
		case <-f.request.Done():
			f.drop()
			f.request.NoReply()
			return
		default:
		}
		if now || f.bytes >= f.minBytes || f.failed || time.Until(f.deadline) <= 0 || f.broker.stopping.Load() {
			f.reply()
			return
		}
		waits, now = f.wait()
	}
}

// refuse answers the whole request with an error. Before version 7 there is no place for one but in each partition.
func (f *fetch) refuse(code wire.ErrorCode) {
	f.request.Reply(&message.FetchResponse{ErrorCode: code})
}
