package replica

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// scripted is a leader whose answers are written down: true has news, false none. It notes how long each fetch might wait.
type scripted struct {
	news  []bool
	waits []int32
	topic wire.TopicID
	ended context.CancelFunc
}

func (s *scripted) Dial(context.Context, wire.BrokerID) (Link, error) { return s, nil }
func (s *scripted) Report(context.Context, wire.BrokerID, wire.BrokerEpoch, []Report, func()) error {
	return errors.New("not in this script")
}
func (s *scripted) ReportNow(wire.BrokerID, wire.BrokerEpoch, []Report, func()) bool { return false }
func (s *scripted) Nudge(context.Context, wire.BrokerID, int32, int32) error {
	return errors.New("not in this script")
}
func (s *scripted) Release()     {}
func (s *scripted) Close() error { return nil }

func (s *scripted) Interrupt() {}

func (s *scripted) Fetch(m *message.FetchRequest) (*message.FetchResponse, error) {
	if len(s.news) == 0 {
		s.ended()
		return nil, errors.New("the script is over")
	}
	s.waits = append(s.waits, m.MaxWaitMs)
	a := &message.FetchResponse{SessionID: 1}
	if s.news[0] {
		news := message.FetchResponsePartition{}
		news.DivergingEpoch.EndOffset = -1 // the logs agree
		a.Topics = []message.FetchResponseTopic{{TopicID: s.topic, Partitions: []message.FetchResponsePartition{news}}}
	}
	s.news = s.news[1:]
	return a, nil
}

// A fetch waits longer when there was no news, and as long as the setting says after there was. With a short time to lag it never waits
// longer than a quarter of that, so that who is left alone is not taken for who lags.
func TestFetchesWaitLongerWithoutNews(t *testing.T) {
	for _, c := range []struct {
		maxWait, lagMax time.Duration
		want            []int32
	}{
		{0, 30 * time.Second, []int32{0, 500, 1000, 2000, 2000, 500, 1000}},
		{0, 6 * time.Second, []int32{0, 500, 1000, 1500, 1500, 500, 1000}},
		{0, time.Second, []int32{0, 500, 500, 500, 500, 500, 500}},
		{20 * 24 * time.Hour, 1000 * 24 * time.Hour, []int32{0, 3600000, 3600000, 3600000, 3600000, 3600000, 3600000}}, // twice as long would not fit into a request
	} {
		_, d := newDisk(t)
		r := disk.Replica{TopicID: wire.UUID{1}, Topic: "t"}
		if err := d.Add(r); err != nil {
			t.Fatal(err)
		}
		env := Alone(1)
		env.LagMax = c.lagMax
		p := NewPartition(wire.TopicPartition{Topic: "t"}, r.Key(), env, d.Log(r.Key()), Settings{MinInSync: 1}, 0)
		p.Follow(2, 1, true)
		ctx, cancel := context.WithCancel(t.Context())
		leader := &scripted{news: []bool{true, false, false, false, true, false, false}, topic: r.TopicID, ended: cancel}
		set := newFetchers(ctx, env, leader, FetchOptions{MaxWait: c.maxWait}, slog.New(slog.DiscardHandler))
		set.put(p)
		<-ctx.Done()
		set.close()
		if !slices.Equal(leader.waits, c.want) {
			t.Errorf("wait %s, lag %s: waited %v, want %v", c.maxWait, c.lagMax, leader.waits, c.want)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
