package quorum

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/wire"
)

// solo opens a quorum of one.
func solo(t *testing.T, o Options, listener func(*metadata.Image, []metadata.Record)) *Quorum {
	t.Helper()
	o.ID, o.Address = wire.UUID{7}, "127.0.0.1:9093"
	o.Replica = feed.NewReplica(feed.Options{Listener: listener})
	t.Cleanup(o.Replica.Close)
	o.Streams = newNetwork().at(o.Address)
	q, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	lead(t, q)
	return q
}

func lead(t *testing.T, q *Quorum) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := q.WaitLeader(ctx); err != nil {
		t.Fatal(err)
	}
}

var brokers = metadata.Resource{Type: metadata.ResourceBroker}

func set(i int) metadata.Command {
	v := fmt.Sprint(i)
	r := &metadata.ConfigRecord{Resource: brokers, Name: "log.retention.ms", Value: &v}
	return metadata.Command{Records: []metadata.Record{r}}
}

// What was committed is there after a restart, from the log alone and from a snapshot plus log; the listener sees every
// change before Propose returns.
func TestRestartGivesBackWhatWasCommitted(t *testing.T) {
	for _, threshold := range []uint64{0, 8} {
		t.Run(fmt.Sprintf("snapshot every %d", threshold), func(t *testing.T) {
			dir := t.TempDir()
			var mu sync.Mutex
			var seen string
			o := Options{Dir: dir, Bootstrap: true, SnapshotThreshold: threshold, TrailingLogs: threshold}
			listener := func(m *metadata.Image, _ []metadata.Record) {
				mu.Lock()
				defer mu.Unlock()
				seen = m.Config(metadata.Resource{Type: metadata.ResourceBroker})["log.retention.ms"]
			}
			q := solo(t, o, listener)
			for i := range 40 {
				c := set(i)
				c.Term = q.Term()
				if _, err := q.Propose(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				mu.Lock()
				if seen != fmt.Sprint(i) {
					t.Fatalf("proposed %d, the listener has seen %q", i, seen)
				}
				mu.Unlock()
			}
			if threshold > 0 {
				if err := q.raft.Snapshot().Error(); err != nil {
					t.Fatal(err)
				}
			}
			c := set(40)
			c.Term = q.Term()
			if _, err := q.Propose(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
			o.Bootstrap = false
			q = solo(t, o, listener)
			got := q.Image().Config(metadata.Resource{Type: metadata.ResourceBroker})["log.retention.ms"]
			if got != "40" || seen != "40" {
				t.Fatalf("after restart: %q, listener %q", got, seen)
			}
			if err := q.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestACommandOfAnEarlierTermIsRefused(t *testing.T) {
	q := solo(t, Options{Dir: t.TempDir(), Bootstrap: true}, nil)
	c := set(1)
	c.Term = q.Term() - 1
	if _, err := q.Propose(t.Context(), c); !errors.Is(err, metadata.ErrStaleTerm) {
		t.Fatalf("got %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestASecondProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	q := solo(t, Options{Dir: dir, Bootstrap: true}, nil)
	if _, err := Open(Options{Dir: dir, ID: wire.UUID{7}}); !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
}
