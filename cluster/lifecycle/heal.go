package lifecycle

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

const (
	// healTick is how often it is looked whether the metadata has changed; if it has not, that is all that is done.
	healTick = 100 * time.Millisecond
	// surveyTimeout bounds how long brokers are asked for the state of their replicas.
	surveyTimeout = 2 * time.Second
	// surveyPause lies between two surveys of the same metadata, if brokers did not answer.
	surveyPause = time.Second
	// surveyed is how many replicas a broker is asked for at once; an answer has some 60 bytes of text for each.
	surveyed = 10_000
	// balanced is how many leaders move in one change of the metadata, as in Kafka (MAX_ELECTIONS_PER_IMBALANCE).
	balanced = 1000
	// replacePause lies between two looks for replicas that are missing.
	replacePause = time.Second
	// replaced is how many partitions are copied at a time to replace lost replicas.
	replaced = 50
)

// healer is the memory of the loop that mends partitions.
type healer struct {
	looked     wire.Index // the metadata in which leaderless partitions were last looked for
	again      time.Time  // zero: not before the metadata changes
	surveyed   time.Time  // when brokers were last asked
	said       time.Time  // that there is no way
	balancedAt wire.Index // the metadata in which all leaders were where they should be
	balance    time.Time  // of the last look

	replace    time.Time  // of the last look for missing replicas
	replacedAt wire.Index // the metadata in which there was nothing to be done
	lost       []wire.BrokerID
	absent     map[wire.BrokerID]time.Time // not registered, and holding replicas, since
}

// heal mends partitions: it finds leaders for those that lost them together with all that was known of their replicas, has
// preferred leaders come back, and replaces replicas that are missing.
func (l *Leader) heal(ctx context.Context) {
	h := healer{balance: l.opts.Now()}
	tick := time.NewTicker(healTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, index := l.opts.Now(), l.opts.Quorum.Image().Index()
		if index != h.looked || !h.again.IsZero() && !now.Before(h.again) {
			h.looked, h.again = index, time.Time{}
			l.recover(ctx, &h, now)
		}
		l.balance(ctx, &h, now)
		l.replace(ctx, &h, now)
	}
}

func (l *Leader) unclean(m *metadata.Image) func(topic string) bool {
	return func(topic string) bool {
		return l.opts.Settings.Topic(m, topic, "unclean.leader.election.enable") == "true"
	}
}

// recover looks for leaders of partitions that have none.
func (l *Leader) recover(ctx context.Context, h *healer, now time.Time) {
	m := l.opts.Quorum.Image()
	if len(control.Mend(m)) > 0 {
		if err := l.opts.Controller.Change(ctx, control.Mend); err != nil && ctx.Err() == nil {
			l.opts.Log.Warn("partitions not mended", "error", err)
			h.again = now.Add(surveyPause)
		}
		m = l.opts.Quorum.Image()
	}
	leaderless := control.FindLeaderless(m, l.unclean(m))
	if len(leaderless) == 0 {
		return
	}
	if next := h.surveyed.Add(surveyPause); now.Before(next) {
		h.again = next
		return
	}
	h.surveyed = now
	survey, complete := l.survey(ctx, m, leaderless)
	var records []metadata.Record
	err := l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		records = control.Recover(m, l.unclean(m), survey)
		return records
	})
	if err != nil && ctx.Err() == nil {
		l.opts.Log.Warn("no leaders found", "partitions", len(leaderless), "error", err)
	}
	if err != nil || !complete {
		h.again = now.Add(surveyPause)
	}
	if err != nil {
		return
	}
	for _, r := range records {
		l.logRecovered(r)
	}
	if left := len(leaderless) - len(records); left > 0 && complete && now.Sub(h.said) > time.Minute {
		h.said = now
		l.opts.Log.Error("partitions have no leader, since all their replicas are damaged; 'kraftgo topic elect --unclean' takes the best of them", "partitions", left)
	}
}

func (l *Leader) logRecovered(r metadata.Record) {
	c, ok := r.(*metadata.PartitionChange)
	if !ok {
		return
	}
	name := c.Topic.String()
	if t := l.opts.Quorum.Image().TopicByID(c.Topic); t != nil {
		name = t.Name
	}
	l.opts.Log.Warn("partition led by what was left", "topic", name, "partition", c.Partition, "leader", c.Leader)
}

// survey asks the brokers for the state of their replicas, all at once. complete says that all answered for all.
func (l *Leader) survey(ctx context.Context, m *metadata.Image, list []control.Leaderless) (s control.Survey, complete bool) {
	questions := map[wire.BrokerID][]wire.TopicIDPartition{}
	for _, q := range list {
		for _, id := range q.Ask {
			questions[id] = append(questions[id], q.Partition)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	s, complete = control.Survey{}, true
	var mu sync.Mutex
	var asked sync.WaitGroup
	for id, partitions := range questions {
		b := m.Broker(id)
		asked.Go(func() {
			for len(partitions) > 0 {
				n := min(len(partitions), surveyed)
				answers, err := l.opts.Ask(ctx, b, partitions[:n])
				mu.Lock()
				if err != nil || len(answers) != n {
					l.opts.Log.Info("a broker does not tell the state of its replicas", "broker", b.Broker, "error", err)
					complete = false
					mu.Unlock()
					return
				}
				for i, a := range answers {
					s[control.SurveyKey{Partition: partitions[i], Broker: b.Broker, Epoch: b.Epoch}] = a
				}
				mu.Unlock()
				partitions = partitions[n:]
			}
		})
	}
	asked.Wait()
	return s, complete
}

// balance has preferred leaders come back, when it is time to look for those that could.
func (l *Leader) balance(ctx context.Context, h *healer, now time.Time) {
	m := l.opts.Quorum.Image()
	if m.Index() == h.balancedAt {
		return
	}
	interval := time.Duration(l.opts.Settings.Int(m, "leader.imbalance.check.interval.seconds")) * time.Second
	if now.Sub(h.balance) < interval {
		return
	}
	h.balance = now
	if !l.opts.Settings.Bool(m, "auto.leader.rebalance.enable") {
		return
	}
	percent := int(l.opts.Settings.Int(m, "leader.imbalance.per.broker.percentage"))
	for more := true; more; {
		moved := 0
		err := l.opts.Controller.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
			records, more = control.BalanceLeaders(m, percent, balanced)
			moved = len(records)
			return records
		})
		if err != nil {
			if ctx.Err() == nil {
				l.opts.Log.Warn("preferred leaders not elected", "error", err)
			}
			return
		}
		if moved > 0 {
			l.opts.Log.Info("preferred leaders lead again", "partitions", moved)
		}
	}
	// Nothing can come back before something changes; our own change counts as one, and costs a look more.
	h.balancedAt = m.Index()
}

// replace gives internal topics the replicas that they were to have, and makes replicas anew that were lost with their brokers.
func (l *Leader) replace(ctx context.Context, h *healer, now time.Time) {
	if now.Sub(h.replace) < replacePause {
		return
	}
	h.replace = now
	m := l.opts.Quorum.Image()
	lost := l.lost(m, h, now)
	if m.Index() == h.replacedAt && slices.Equal(lost, h.lost) {
		return
	}
	for _, p := range []struct {
		what string
		plan func(*metadata.Image) []metadata.Record
	}{
		{"replicas of internal topics are added", control.Grow},
		{"replicas of lost brokers are made anew", func(m *metadata.Image) []metadata.Record { return control.Rebuild(m, lost, replaced) }},
	} {
		n := len(p.plan(m))
		if n == 0 {
			continue
		}
		if err := l.opts.Controller.Change(ctx, p.plan); err != nil {
			if ctx.Err() == nil {
				l.opts.Log.Warn("replicas not replaced", "error", err)
			}
			return
		}
		l.opts.Log.Info(p.what, "changes", n, "lost", lost)
	}
	h.replacedAt, h.lost = m.Index(), lost
}

// lost returns the brokers whose replicas are given up, by id.
func (l *Leader) lost(m *metadata.Image, h *healer, now time.Time) []wire.BrokerID {
	long := time.Duration(l.opts.Settings.Int(m, "cluster.replica.rebuild.ms")) * time.Millisecond
	if long == 0 {
		return nil
	}
	var out []wire.BrokerID
	l.mu.Lock()
	if l.sessions != nil {
		out = l.sessions.away(now, m, long)
	}
	l.mu.Unlock()
	if m.Index() != h.replacedAt { // who is not registered changes with the metadata alone
		absent := map[wire.BrokerID]time.Time{}
		for _, id := range control.Unregistered(m) {
			since, known := h.absent[id]
			if !known {
				since = now
			}
			absent[id] = since
		}
		h.absent = absent
	}
	for id, since := range h.absent {
		if now.Sub(since) >= long {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// ElectLeaders serves an election by request: of preferred leaders, or of any live replica where nobody leads. nil stands for all
// partitions.
func (l *Leader) ElectLeaders(ctx context.Context, unclean bool, list []wire.TopicPartition) (answers []control.Elected, err error) {
	var survey control.Survey
	if unclean {
		m := l.opts.Quorum.Image()
		survey, _ = l.survey(ctx, m, control.ElectUncleanAsks(m, list))
	}
	var records []metadata.Record
	err = l.opts.Controller.Change(ctx, func(m *metadata.Image) []metadata.Record {
		if unclean {
			records, answers = control.ElectUnclean(m, list, survey)
		} else {
			records, answers = control.ElectPreferred(m, list)
		}
		return records
	})
	if err != nil {
		return nil, err
	}
	if unclean {
		for _, r := range records {
			l.logRecovered(r)
		}
	}
	return answers, nil
}
