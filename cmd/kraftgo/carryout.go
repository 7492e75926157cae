package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/urfave/cli/v2"
)

func watchFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		&cli.BoolFlag{Name: "watch", Usage: "go on to the end, and tell how far it is; stopped, what is under way goes on"},
		&cli.IntFlag{Name: "at-a-time", Value: 2, Usage: "with --watch, move so many `PARTITIONS` at a time"},
		throttleFlag())
}

const (
	watchEvery = 500 * time.Millisecond // between two looks at what is under way
	tellEvery  = 2 * time.Second        // between two lines about it
	// watchPatience is how long a cluster that does not answer is asked again: a controller may be changing.
	watchPatience = time.Minute
	// oddFor is how long something must look wrong: the two requests that tell of a partition may be answered by brokers of which
	// one knows more than the other.
	oddFor = 5 * time.Second
)

// carryOut makes moves: begins all of them, or with --watch some at a time, to the end.
func (s *session) carryOut(c *cli.Context, list []movesLine) error {
	if c.Int("at-a-time") < 1 {
		return fmt.Errorf("--at-a-time %d: want a number from 1", c.Int("at-a-time"))
	}
	if len(list) == 0 {
		fmt.Fprintln(c.App.ErrWriter, "nothing is to be moved")
		return nil
	}
	return s.throttled(c, list, func() error { return s.carryOutNow(c, list) })
}

func (s *session) carryOutNow(c *cli.Context, list []movesLine) error {
	if !c.Bool("watch") {
		refusal, err := s.begin(list)
		if err := cmp.Or(err, refusal); err != nil {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "%d partitions are being moved; 'kraftgo reassign status' tells how far they are\n", len(list))
		return nil
	}
	w := &watch{s: s, c: c, waiting: list, atATime: c.Int("at-a-time"), odd: map[place]time.Time{}}
	return w.run()
}

func (s *session) begin(list []movesLine) (refusal, err error) {
	var request kadm.AlterPartitionAssignmentsReq
	for _, p := range list {
		request.Assign(p.Topic, p.Partition, p.Replicas)
	}
	return s.alterAssignments(request)
}

// watch carries out moves some at a time.
type watch struct {
	s       *session
	c       *cli.Context
	atATime int
	waiting []movesLine
	under   []movesLine
	done    int
	told    time.Time
	odd     map[place]time.Time // what looks wrong, since
	silent  time.Time           // since when the cluster does not answer; zero: it does
}

func (w *watch) run() error {
	total := len(w.waiting)
	for {
		w.s.renew(w.c.Context)
		final, err := w.step()
		switch {
		case final != nil:
			return final
		case err == nil:
			w.silent = time.Time{}
		case w.silent.IsZero():
			w.silent = time.Now()
		case time.Since(w.silent) > watchPatience:
			return err
		}
		if len(w.under)+len(w.waiting) == 0 {
			fmt.Fprintf(w.c.App.ErrWriter, "%d of %d partitions moved\n", w.done, total)
			return nil
		}
		if time.Since(w.told) >= tellEvery {
			w.told = time.Now()
			fmt.Fprintf(w.c.App.ErrWriter, "%d of %d partitions moved, %d under way%s\n", w.done, total, len(w.under), w.copied())
		}
		select {
		case <-time.After(watchEvery):
		case <-w.c.Context.Done():
			return w.c.Context.Err()
		}
	}
}

// step looks at what is under way, and begins more. final is a reason to end, since another try would meet it again; err one to try
// again.
func (w *watch) step() (final, err error) {
	copying, err := w.s.reassignments()
	if err != nil {
		return nil, err
	}
	partitions, err := w.s.allPartitions()
	if err != nil {
		return nil, err
	}
	var left []movesLine
	for _, m := range w.under {
		at := place{m.Topic, m.Partition}
		p, there := partitions[at]
		r, moving := copying[at]
		odd := ""
		switch {
		case !there:
			odd = fmt.Sprintf("partition %s was deleted meanwhile", at)
		case moving && !slices.Equal(r.target(), m.Replicas):
			odd = fmt.Sprintf("partition %s is being moved to %s and not to %s: somebody else wants it elsewhere", at, numbers(r.target()), numbers(m.Replicas))
		case !moving && !slices.Equal(p.Replicas, m.Replicas):
			odd = fmt.Sprintf("partition %s is on %s and not on %s: somebody else has moved it, or cancelled", at, numbers(p.Replicas), numbers(m.Replicas))
		case !moving:
			w.done++
			continue
		}
		left = append(left, m)
		if odd == "" {
			delete(w.odd, at)
		} else if since, before := w.odd[at]; !before {
			w.odd[at] = time.Now()
		} else if time.Since(since) > oddFor {
			return refused("%s", odd), nil
		}
	}
	w.under = left
	if n := min(w.atATime-len(w.under), len(w.waiting)); n > 0 {
		refusal, err := w.s.begin(w.waiting[:n])
		if refusal != nil || err != nil {
			return refusal, err
		}
		w.under = append(w.under, w.waiting[:n]...)
		w.waiting = w.waiting[n:]
	}
	return nil, nil
}

// copied tells how much of what is under way is copied.
func (w *watch) copied() string {
	set := kadm.TopicsSet{}
	for _, m := range w.under {
		set.Add(m.Topic, m.Partition)
	}
	if len(set) == 0 {
		return ""
	}
	l := &layout{sizes: w.s.sizes(set)}
	copying, err := w.s.reassignments()
	if err != nil {
		return ""
	}
	var have, want int64
	for _, m := range w.under {
		at := place{m.Topic, m.Partition}
		for _, id := range copying[at].Adding {
			have += min(l.sizes[at][id], l.bytes(at))
			want += l.bytes(at)
		}
	}
	return fmt.Sprintf(", %s of %s copied", byteCount(have), byteCount(want))
}
