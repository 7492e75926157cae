package runtime

import (
	"fmt"

	"github.com/kraftgo/kraftgo/coordinator/group"
	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/record"
)

const (
	readBytes  = 1 << 20  // of the log at a time
	plainBytes = 64 << 20 // what a compressed batch of the log may become
)

// load brings the store up to the log and restores the groups. A failure leaves the shard loading; it is tried again.
func (s *shard) load() {
	now := s.now()
	s.nextClean = now.Now + s.c.opts.Config.OffsetsRetentionCheck
	if _, _, settled := s.c.opts.Journal.Bounds(s.p); !settled {
		s.nextClean = now.Now + settleRetry
		return
	}
	if err := s.restore(now); err != nil {
		s.c.opts.Log.Error("groups not loaded", "partition", s.p, "error", err)
		s.groups, s.committed = map[string]*group.Group{}, map[string]bool{}
		s.nextClean = now.Now + loadRetry
		return
	}
	s.loaded = true
}

// settleRetry is the time between two looks whether the watermark has reached the epoch's start: the followers' next fetches
// bring it there.
const settleRetry = 5_000_000

// loadRetry is the time between two attempts to load, on the shard's clock.
const loadRetry = 1_000_000_000

func (s *shard) restore(now group.Clock) error {
	start, high, ok := s.c.opts.Journal.Bounds(s.p)
	if !ok {
		return wire.ErrNotLeaderOrFollower
	}
	a, err := s.c.opts.Store.Applied(s.p)
	if err != nil {
		return err
	}
	if a.Next > high || a.Epoch > s.epoch {
		// The store has seen what the log does not have: it was written for another history of the log.
		s.c.opts.Log.Warn("offset store is ahead of its log, applying the log anew", "partition", s.p, "applied", a.Next, "high_watermark", high)
		if err := s.c.opts.Store.Drop(s.p); err != nil {
			return err
		}
		a = kv.Applied{}
	}
	s.applied = max(a.Next, start)
	s.behind = true
	if err := s.readOn(); err != nil {
		return err
	}
	err = s.c.opts.Store.Groups(s.p, func(id string, value []byte) error {
		var v record.GroupMetadataValue
		if _, err := record.Decode(&v, value); err != nil {
			s.c.opts.Log.Error("group not loaded", "group", id, "error", err)
			return nil
		}
		s.groups[id] = group.Load(id, s.groupConfig(), &v, now.Now)
		return nil
	})
	if err != nil {
		return err
	}
	return s.c.opts.Store.OffsetGroups(s.p, func(id string) {
		if s.groups[id] == nil {
			s.groups[id] = group.New(id, s.groupConfig())
		}
		s.committed[id] = true
	})
}

func (s *shard) groupConfig() group.Config {
	c := s.c.opts.Config
	return group.Config{InitialRebalanceDelay: c.InitialRebalanceDelay, MinSessionTimeout: c.MinSessionTimeout, MaxSessionTimeout: c.MaxSessionTimeout, MaxSize: c.MaxSize}
}

// current brings the store up to the log if it may lack something, and reports whether it can be read.
func (s *shard) current() bool {
	if s.behind {
		s.catchUp()
	}
	return !s.behind
}

func (s *shard) catchUp() {
	if err := s.readOn(); err != nil {
		s.c.opts.Log.Error("log not applied to the offset store", "partition", s.p, "error", err)
	}
}

// readOn applies the committed log from where the store is to its watermark.
func (s *shard) readOn() error {
	for {
		raw, err := s.c.opts.Journal.Read(s.p, s.applied, readBytes)
		if err != nil {
			return fmt.Errorf("read __consumer_offsets-%d at %d: %w", s.p, s.applied, err)
		}
		if len(raw) == 0 {
			s.behind = false
			return nil
		}
		for len(raw) > 0 {
			h, rest, err := batch.Next(raw)
			if err != nil {
				return fmt.Errorf("__consumer_offsets-%d after %d: %w", s.p, s.applied, err)
			}
			raw = rest
			if err := s.applyBatch(h); err != nil {
				return err
			}
		}
	}
}

// applyBatch applies the records of one batch of the log.
func (s *shard) applyBatch(h batch.Header) error {
	var effects []effect
	if !h.Control() {
		plain, err := h.Plain(nil, plainBytes)
		if err != nil {
			return fmt.Errorf("__consumer_offsets-%d at %d: %w", s.p, h.BaseOffset(), err)
		}
		it := h.Iterate(plain)
		var r batch.Record
		for it.Next(&r) {
			if r.Offset < s.applied {
				continue
			}
			if e, ok := s.effectOf(&r); ok {
				effects = append(effects, e)
			}
		}
		if err := it.Err(); err != nil {
			return fmt.Errorf("__consumer_offsets-%d at %d: %w", s.p, h.BaseOffset(), err)
		}
	}
	return s.apply(effects, h.NextOffset(), h.LeaderEpoch())
}

// effectOf reads a record's key; what does not decode, or is of a kind that is not here yet, has no effect.
func (s *shard) effectOf(r *batch.Record) (effect, bool) {
	key, _, err := record.DecodeGroupKey(r.Key)
	if err != nil {
		s.c.opts.Log.Error("record of __consumer_offsets left out", "partition", s.p, "offset", r.Offset, "error", err)
		return effect{}, false
	}
	switch key.(type) {
	case *record.OffsetCommitKey, *record.GroupMetadataKey:
		return effect{key, r.Value}, true
	}
	return effect{}, false
}

// apply commits effects to the store, with the offset up to which the log is applied.
func (s *shard) apply(effects []effect, next wire.Offset, epoch wire.LeaderEpoch) error {
	b := s.c.opts.Store.NewBatch()
	for _, e := range effects {
		var err error
		switch k := e.key.(type) {
		case *record.OffsetCommitKey:
			err = b.SetOffset(s.p, k.Group, k.Topic, k.Partition, e.value)
			if e.value != nil {
				s.committed[k.Group] = true
			}
		case *record.GroupMetadataKey:
			err = b.SetGroup(s.p, k.Group, e.value)
		}
		if err != nil {
			return fmt.Errorf("offset store: %w", err)
		}
	}
	if err := b.Commit(s.p, kv.Applied{Next: next, Epoch: epoch}); err != nil {
		return err
	}
	s.applied = next
	return nil
}
