package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// quietTime is how long a run with --until end waits for a partition's last offsets before it asks whether there is a
// record left at all: compaction and transactions leave offsets that no record has.
const quietTime = 3 * time.Second

const consumeHelp = `Example:

  kraftgo consume orders --from start
  kraftgo consume orders --group billing
  kraftgo consume orders --from -10m --until end --format '%T %p:%o %k=%v\n'

Ctrl-C ends it: offsets are committed, the group is left, the exit code is 0.

--from is start, end, offset:N, or a time: RFC 3339, milliseconds since 1970, or back from now as in -10m or -2d.
By default that is end; with --until end or --group, start. A group goes on from its committed offsets,
and --from counts where it has none.

--format is raw (the value and a line feed), json (a line that 'kraftgo produce --input json' takes), or a text with
%k key, %v value, %t topic, %p partition, %o offset, %T timestamp in ms, %h headers, %%, \n, \t, \r, \0 and \\.`

func consumeCommand() *cli.Command {
	return &cli.Command{
		Name: "consume", Usage: "print records as they come", UsageText: "kraftgo consume TOPIC... [flags]", Description: consumeHelp,
		Flags: connectionFlags(
			&cli.StringFlag{Name: "from", Usage: "begin at `PLACE`: start, end, offset:N or a time", DefaultText: "see below"},
			&cli.IntSliceFlag{Name: "partition", Usage: "only partition `N`; may be repeated"},
			&cli.StringFlag{Name: "group", Usage: "consume as a member of `GROUP`, and commit to it"},
			&cli.IntFlag{Name: "count", Usage: "end after `N` records", DefaultText: "no limit"},
			&cli.StringFlag{Name: "until", Usage: "`PLACE` at which to end: end, as it is now", DefaultText: "go on for ever"},
			&cli.StringFlag{Name: "format", Value: "raw", Usage: "`FORMAT`: raw, json or a text with %k %v and more"},
			&cli.BoolFlag{Name: "regex", Usage: "topics are regular expressions, which match whole names; topics made later count too"},
			&cli.StringFlag{Name: "isolation", Value: "read_uncommitted", Usage: "`LEVEL`: read_committed leaves out what transactions aborted"}),
		Action: consume,
	}
}

// consumeRun is one run of the command.
type consumeRun struct {
	topics     []string // names, or expressions
	partitions []int32
	group      string
	regex      bool
	committed  bool // of transactions, only what they committed
	from       position
	untilEnd   bool
	limit      int // 0: none
	format     recordFormat

	ends     *endpoints // nil: go on for ever
	printed  int
	assigned atomic.Bool // the group has given this member its partitions once
}

func consume(c *cli.Context) error {
	run, err := newConsumeRun(c, time.Now())
	if err != nil {
		return err
	}
	// From here on a signal ends the run in good order.
	ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := connect(c)
	if err != nil {
		return err
	}
	defer s.close()
	if err := run.prepare(s); err != nil {
		return err
	}
	if run.ends == nil || run.ends.left() > 0 {
		if err = run.poll(ctx, stop, c, s); err != nil {
			return err
		}
	}
	noun := "records"
	if run.printed == 1 {
		noun = "record"
	}
	fmt.Fprintf(c.App.ErrWriter, "%d %s\n", run.printed, noun)
	return nil
}

func newConsumeRun(c *cli.Context, now time.Time) (*consumeRun, error) {
	run := &consumeRun{group: c.String("group"), regex: c.Bool("regex"), limit: c.Int("count")}
	var err error
	if run.topics, err = names(c, "topic", 1, 0); err != nil {
		return nil, err
	}
	if run.format, err = parseRecordFormat(c.String("format")); err != nil {
		return nil, err
	}
	if c.IsSet("count") && run.limit < 1 {
		return nil, fmt.Errorf("--count %d: want a number from 1", run.limit)
	}
	if c.IsSet("until") {
		if run.untilEnd = c.String("until") == "end"; !run.untilEnd {
			return nil, fmt.Errorf("--until %s: want end", c.String("until"))
		}
	}
	switch level := c.String("isolation"); level {
	case "read_uncommitted":
	case "read_committed":
		run.committed = true
	default:
		return nil, fmt.Errorf("--isolation %s: want read_uncommitted or read_committed", level)
	}
	for _, n := range c.IntSlice("partition") {
		if n < 0 || n > 1<<31-1 {
			return nil, fmt.Errorf("--partition %d: want a number from 0", n)
		}
		run.partitions = append(run.partitions, int32(n))
	}
	if len(run.partitions) > 0 && (run.group != "" || run.regex) {
		return nil, errors.New("--partition does not go with --group or --regex")
	}
	if c.IsSet("group") && run.group == "" {
		return nil, errors.New("--group is empty")
	}
	if run.regex {
		for i, expression := range run.topics {
			run.topics[i] = "^(?:" + expression + ")$"
			if _, err := regexp.Compile(run.topics[i]); err != nil {
				return nil, fmt.Errorf("topic %s: %w", expression, err)
			}
		}
	}
	from := c.String("from")
	if from == "" {
		if from = "end"; run.group != "" || run.untilEnd {
			from = "start"
		}
	}
	if run.from, err = parsePosition(from, now); err != nil {
		return nil, fmt.Errorf("--from %w", err)
	}
	return run, nil
}

// prepare checks that topics and partitions are there, and finds the ends.
func (r *consumeRun) prepare(s *session) error {
	topics := r.topics
	if r.regex {
		var err error
		if topics, err = s.matching(r.topics); err != nil {
			return err
		}
	} else {
		for _, topic := range r.topics {
			detail, err := s.topic(topic)
			if err != nil {
				return err
			}
			for _, p := range r.partitions {
				if _, ok := detail.Partitions[p]; !ok {
					return refused("topic %s has no partition %d: it has %d", topic, p, len(detail.Partitions))
				}
			}
		}
	}
	if !r.untilEnd {
		return nil
	}
	var err error
	r.ends, err = findEndpoints(s, r, topics)
	return err
}

// matching returns the topics that one of the expressions matches.
func (s *session) matching(expressions []string) ([]string, error) {
	all, err := s.admin.ListTopics(s.ctx)
	if err != nil {
		return nil, failed("list topics", err)
	}
	var out []string
	for _, name := range all.Names() {
		if slices.ContainsFunc(expressions, func(e string) bool { return regexp.MustCompile(e).MatchString(name) }) {
			out = append(out, name)
		}
	}
	return out, nil
}

func (r *consumeRun) options(c *cli.Context) []kgo.Opt {
	out := []kgo.Opt{
		kgo.ConsumeStartOffset(r.from.consumeOffset()), kgo.KeepControlRecords(), kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.WithHooks(&outage{c: c}),
	}
	if r.committed {
		out = append(out, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	if r.regex {
		out = append(out, kgo.ConsumeRegex())
	}
	if len(r.partitions) == 0 {
		out = append(out, kgo.ConsumeTopics(r.topics...))
	} else {
		chosen := map[string]map[int32]kgo.Offset{}
		for _, topic := range r.topics {
			chosen[topic] = map[int32]kgo.Offset{}
			for _, p := range r.partitions {
				chosen[topic][p] = r.from.consumeOffset()
			}
		}
		out = append(out, kgo.ConsumePartitions(chosen))
	}
	if r.group != "" {
		// Only what was printed is marked, and only what is marked is committed; a rebalance waits for the records that
		// are being printed.
		commit := func(ctx context.Context, client *kgo.Client, _ map[string][]int32) {
			if err := client.CommitMarkedOffsets(ctx); err != nil {
				fmt.Fprintln(c.App.ErrWriter, "kraftgo: commit before a rebalance:", err)
			}
		}
		out = append(out, kgo.ConsumerGroup(r.group), kgo.AutoCommitMarks(), kgo.AutoCommitInterval(time.Second),
			kgo.BlockRebalanceOnPoll(), kgo.OnPartitionsRevoked(commit),
			kgo.OnPartitionsAssigned(func(context.Context, *kgo.Client, map[string][]int32) { r.assigned.Store(true) }))
	}
	return out
}

// poll prints records until a limit is reached or ctx ends.
func (r *consumeRun) poll(ctx context.Context, stop func(), c *cli.Context, s *session) error {
	client, err := kgo.NewClient(append(s.options, r.options(c)...)...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	out := bufio.NewWriterSize(c.App.Writer, 64<<10)
	for done := false; !done; {
		fetches := r.next(ctx, client)
		if ctx.Err() != nil && fetches.NumRecords() == 0 {
			break
		}
		if err := r.check(ctx, c, fetches); err != nil {
			return err
		}
		done = r.print(out, client, fetches)
		if err := out.Flush(); err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if !done && r.ends != nil && fetches.NumRecords() == 0 {
			if done, err = r.ends.quiet(c, r); err != nil {
				return err
			}
		}
		client.AllowRebalance()
	}
	stop() // a further signal ends the process at once
	if r.group == "" {
		return nil
	}
	last, cancel := context.WithTimeout(context.Background(), reachTimeout)
	defer cancel()
	return failed("commit the offsets of group "+r.group, client.CommitMarkedOffsets(last))
}

// next waits for records: with --until end no longer than quietTime.
func (r *consumeRun) next(ctx context.Context, client *kgo.Client) kgo.Fetches {
	if r.ends != nil {
		var cancel func()
		ctx, cancel = context.WithTimeout(ctx, quietTime)
		defer cancel()
	}
	most := 0
	if r.limit > 0 {
		most = r.limit - r.printed
	}
	return client.PollRecords(ctx, most)
}

// fatalInGroup are the answers to a member that another try would get again.
var fatalInGroup = []*kerr.Error{
	kerr.GroupAuthorizationFailed, kerr.TopicAuthorizationFailed, kerr.InvalidGroupID, kerr.InconsistentGroupProtocol,
	kerr.GroupMaxSizeReached, kerr.InvalidSessionTimeout, kerr.UnsupportedVersion,
}

// check finds the errors that end the run. Lost data does not: the client goes on behind it.
func (r *consumeRun) check(ctx context.Context, c *cli.Context, fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		var lost *kgo.ErrDataLoss
		var outside *kgo.ErrGroupSession
		switch {
		case errors.As(e.Err, &outside) && !slices.ContainsFunc(fatalInGroup, func(code *kerr.Error) bool { return errors.Is(e.Err, code) }):
			fmt.Fprintln(c.App.ErrWriter, "kraftgo: outside the group, joining again:", outside.Err)
		case errors.As(e.Err, &lost):
			fmt.Fprintln(c.App.ErrWriter, "kraftgo: records were lost:", e.Err)
		case errors.Is(e.Err, context.DeadlineExceeded) || ctx.Err() != nil:
		case e.Topic == "":
			return failed("consume", e.Err)
		default:
			return failed(fmt.Sprintf("consume %s-%d", e.Topic, e.Partition), e.Err)
		}
	}
	return nil
}

// print prints what was fetched, and reports whether the run is over.
func (r *consumeRun) print(out *bufio.Writer, client *kgo.Client, fetches kgo.Fetches) (done bool) {
	var text []byte
	var marks []*kgo.Record
	for it := fetches.RecordIter(); !it.Done(); {
		record := it.Next()
		marks = append(marks, record)
		if r.ends != nil && !r.ends.pass(record) {
			marks = marks[:len(marks)-1]
			continue
		}
		if record.Attrs.IsControl() {
			continue
		}
		text = r.format(text[:0], record)
		out.Write(text) //nolint:errcheck // Flush returns it
		if r.printed++; r.limit > 0 && r.printed == r.limit {
			done = true
			break
		}
	}
	if r.group != "" {
		client.MarkCommitRecords(marks...)
	}
	return done || (r.ends != nil && r.ends.left() == 0)
}
