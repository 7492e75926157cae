package main

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// endpoints are the ends of partitions as they were when a run began, for those whose end is not reached.
type endpoints struct {
	at   map[string]map[int32]int64
	idle int // how often in a row nothing came
}

// findEndpoints looks up the ends of the topics' partitions that hold something to print.
func findEndpoints(s *session, r *consumeRun, topics []string) (*endpoints, error) {
	out := &endpoints{at: map[string]map[int32]int64{}}
	if len(topics) == 0 {
		return out, nil
	}
	list := s.admin.ListEndOffsets
	if r.committed {
		list = s.admin.ListCommittedOffsets
	}
	ends, err := listed(list(s.ctx, topics...))
	if err != nil {
		return nil, err
	}
	begins, err := r.from.resolve(s, topics)
	if err != nil {
		return nil, err
	}
	if r.group != "" {
		committed, err := s.admin.FetchOffsetsForTopics(s.ctx, r.group, topics...)
		if err != nil {
			return nil, failed("look up the offsets of group "+r.group, err)
		}
		for _, o := range committed.Sorted() {
			if o.Err != nil {
				return nil, failed("look up the offsets of group "+r.group, o.Err)
			}
			if o.At >= 0 {
				begins[o.Topic][o.Partition] = o.At
			}
		}
	}
	chosen := map[int32]bool{}
	for _, p := range r.partitions {
		chosen[p] = true
	}
	for topic, partitions := range ends {
		out.at[topic] = map[int32]int64{}
		for p, end := range partitions {
			if begins[topic][p] < end && (len(chosen) == 0 || chosen[p]) {
				out.at[topic][p] = end
			}
		}
	}
	return out, nil
}

func (e *endpoints) left() int {
	n := 0
	for _, partitions := range e.at {
		n += len(partitions)
	}
	return n
}

// pass notes a record, and reports whether it lies before its partition's end.
func (e *endpoints) pass(r *kgo.Record) bool {
	end, ok := e.at[r.Topic][r.Partition]
	if !ok {
		return false
	}
	e.idle = 0
	if r.Offset+1 >= end {
		delete(e.at[r.Topic], r.Partition)
	}
	return r.Offset < end
}

// quiet is asked when nothing came for quietTime. It reports whether the run is over: nothing came twice in a row, and
// the leaders of the partitions answer, so that it is not they who are away.
func (e *endpoints) quiet(c *cli.Context, r *consumeRun) (bool, error) {
	if r.group != "" && !r.assigned.Load() {
		return false, nil // the group is still dividing the partitions
	}
	if e.idle++; e.idle < 2 {
		return false, nil
	}
	s, err := connect(c)
	if err != nil {
		return false, err
	}
	defer s.close()
	topics := []string{}
	for topic, partitions := range e.at {
		if len(partitions) > 0 {
			topics = append(topics, topic)
		}
	}
	if _, err := listed(s.admin.ListEndOffsets(s.ctx, topics...)); err != nil {
		return false, err
	}
	return true, nil
}

// outage says on standard error that a broker cannot be reached, while the client tries again by itself.
type outage struct {
	c *cli.Context

	mu struct {
		sync.Mutex // a leaf
		last       time.Time
	}
}

// OnBrokerConnect implements kgo.HookBrokerConnect.
func (o *outage) OnBrokerConnect(meta kgo.BrokerMetadata, _ time.Duration, _ net.Conn, err error) {
	if err == nil {
		return
	}
	o.mu.Lock()
	now := time.Now()
	tell := now.Sub(o.mu.last) > 10*time.Second
	if tell {
		o.mu.last = now
	}
	o.mu.Unlock()
	if tell {
		fmt.Fprintf(o.c.App.ErrWriter, "kraftgo: broker %s:%d is away, trying again: %v\n", meta.Host, meta.Port, err)
	}
}
