package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

const produceHelp = `Example:

  kraftgo produce orders < events.jsonl
  echo 'k1:hello' | kraftgo produce orders --key-separator :
  kraftgo produce logs --file app.log --progress-file app.progress
  kraftgo consume orders --from start --until end --format json | kraftgo produce copy --input json

Each line of the input is a record; its line feed is not part of it. With --input json it is an object with
key, value (a string; any other JSON is sent as its text; null), keyBase64, valueBase64 (for bytes that are
no text), headers ([{"key":"k","value":"v"}]), partition and timestamp (ms or RFC 3339).

--progress-file notes, as a number, how many records from the start of the input were acknowledged. After a
failure, run the same command with the same input again: that many are passed over. Records behind
them that the broker took, though not in order or without the answer arriving, are sent twice.`

func produceCommand() *cli.Command {
	return &cli.Command{
		Name: "produce", Usage: "send lines of the standard input, or of a file, as records",
		UsageText: "kraftgo produce TOPIC [flags] < FILE", Description: produceHelp,
		Flags: connectionFlags(
			&cli.StringFlag{Name: "file", Usage: "read `FILE` instead of the standard input"},
			&cli.StringFlag{Name: "input", Value: "raw", Usage: "what a line is, `FORMAT`: raw or json"},
			&cli.StringFlag{Name: "key", Usage: "the `KEY` of records that have none of their own"},
			&cli.StringFlag{Name: "key-separator", Usage: "a raw line is key, `TEXT`, value"},
			&cli.StringFlag{Name: "null-value", Usage: "a raw value that is `TEXT` is sent as null (a tombstone)"},
			repeatedFlag("header", "add a header, `KEY=VALUE`, to every record"),
			&cli.IntFlag{Name: "partition", Usage: "send to partition `N`", DefaultText: "by the key"},
			&cli.StringFlag{Name: "acks", Value: "all", Usage: "wait for `WHOM`: all (in-sync replicas), 1 (the leader) or 0 (nobody)"},
			&cli.StringFlag{Name: "compression", Value: "none", Usage: "`CODEC`: none, gzip, snappy, lz4 or zstd"},
			&cli.Float64Flag{Name: "rate", Usage: "at most `N` records a second", DefaultText: "no limit"},
			&cli.IntFlag{Name: "max-line-bytes", Value: 1 << 20, Usage: "refuse lines longer than `N` bytes"},
			&cli.DurationFlag{Name: "timeout", Value: 30 * time.Second, Usage: "give up when nothing is acknowledged for this `TIME`"},
			&cli.StringFlag{Name: "progress-file", Usage: "note in `FILE` what was acknowledged, and pass over what it says was"}),
		Action: produce,
	}
}

// produceRun is one run of the command. Its feeder reads records and hands them to the client; the client's promises
// settle them; the command's own goroutine watches both.
type produceRun struct {
	topic    string
	reader   *recordReader
	client   *kgo.Client
	progress *progressFile // nil: none
	skip     int64
	rate     float64
	timeout  time.Duration
	acks     string
	started  time.Time

	acked        acknowledged
	handed       atomic.Int64 // records given to the client
	settled      atomic.Int64 // records whose outcome is known
	bytes        atomic.Int64 // of keys and values acknowledged
	lastSettled  atomic.Int64 // Unix nanoseconds
	longestPause atomic.Int64 // nanoseconds between two outcomes while records were under way

	// paced is where the rate is counted from; the feeder alone uses it.
	paced struct {
		from   time.Time
		number int64
	}

	underWay sync.WaitGroup // the records handed over whose promise was not called
	failure  chan error     // holds the first record's failure
	failOnce sync.Once
	quit     chan struct{} // closed when the feeder shall read no further
	gate     sync.Mutex    // held by the feeder while it hands a record over, and to close quit
}

func produce(c *cli.Context) error {
	topics, err := names(c, "topic", 1, 1)
	if err != nil {
		return err
	}
	reader, closeInput, err := newInput(c)
	if err != nil {
		return err
	}
	defer closeInput()
	options, err := produceOptions(c, reader)
	if err != nil {
		return err
	}
	run := &produceRun{
		topic: topics[0], reader: reader, rate: c.Float64("rate"), timeout: c.Duration("timeout"), acks: c.String("acks"),
		failure: make(chan error, 1), quit: make(chan struct{}),
	}
	if run.client, err = produceClient(c, run.topic, reader.partition, options); err != nil {
		return err
	}
	defer run.client.Close()
	if name := c.String("progress-file"); name != "" {
		if run.progress, run.skip, err = openProgress(name); err != nil {
			return err
		}
		if run.skip > 0 {
			fmt.Fprintf(c.App.ErrWriter, "kraftgo: passing over %d records that %s says were acknowledged\n", run.skip, name)
		}
	}
	run.started = time.Now()
	run.lastSettled.Store(run.started.UnixNano())
	interrupted, err := run.watch(c)
	if run.progress != nil {
		err = errors.Join(err, run.progress.close())
	}
	run.summary(c.App.ErrWriter, interrupted)
	return err
}

// produceClient opens the client that produces, for a topic that exists.
func produceClient(c *cli.Context, topic string, partition int32, options []kgo.Opt) (*kgo.Client, error) {
	s, err := connect(c)
	if err != nil {
		return nil, err
	}
	defer s.close()
	detail, err := s.topic(topic)
	if err != nil {
		return nil, err
	}
	if _, ok := detail.Partitions[partition]; partition != anyPartition && !ok {
		return nil, refused("topic %s has no partition %d: it has %d", topic, partition, len(detail.Partitions))
	}
	options = append(options, kgo.DefaultProduceTopicAlways(), kgo.DefaultProduceTopic(topic))
	if limit := s.batchLimit(topic); limit > 0 {
		options = append(options, kgo.ProducerBatchMaxBytes(limit))
	}
	return kgo.NewClient(append(s.options, options...)...)
}

// watch runs the feeder until the input ends, a record fails, nothing moves any more or the user interrupts; then it
// waits for the records under way.
func (p *produceRun) watch(c *cli.Context) (interrupted bool, err error) {
	signals, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	fed := make(chan error, 1)
	go func() { fed <- p.feed(ctx) }()
	show := newMeter(c)
	defer show.clear()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	var flushed chan error
	flush := func() { flushed = make(chan error, 1); go func() { flushed <- p.flush(ctx) }() }
	ended, interrupt := fed, signals.Done()
	for {
		select {
		case err = <-ended:
			ended = nil
			if flushed == nil {
				flush()
			}
		case <-interrupt:
			interrupt, interrupted = nil, true
			stop() // a second one ends the process at once
			if flushed == nil {
				flush()
			}
		case failure := <-p.failure:
			err = errors.Join(err, refused("produce to %s: %w", p.topic, failure))
			if flushed == nil {
				flush()
			}
		case failure := <-flushed:
			select {
			case failure = <-p.failure:
				failure = refused("produce to %s: %w", p.topic, failure)
			default:
			}
			return interrupted, errors.Join(err, failure)
		case now := <-tick.C:
			show.print(p)
			if p.stalled(now) {
				return interrupted, errors.Join(err, refused("produce to %s: nothing was acknowledged for %s", p.topic, p.timeout))
			}
		}
	}
}

// flush stops the feeder and waits for the records that it has handed over.
func (p *produceRun) flush(ctx context.Context) error {
	p.gate.Lock()
	select {
	case <-p.quit:
	default:
		close(p.quit)
	}
	p.gate.Unlock()
	err := p.client.Flush(ctx)
	if err == nil {
		p.underWay.Wait() // a record that was never sent is told of after Flush
	}
	return err
}

// stalled reports whether records wait for their outcome, and none has had one for too long.
func (p *produceRun) stalled(now time.Time) bool {
	return p.handed.Load() > p.settled.Load() && now.Sub(time.Unix(0, p.lastSettled.Load())) > p.timeout
}

// feed reads records and hands them over until the input ends.
func (p *produceRun) feed(ctx context.Context) error {
	if err := p.reader.skip(p.skip); err != nil {
		return err
	}
	p.paced.from = time.Now()
	for number := int64(0); ; number++ {
		if !p.pace(number) {
			return nil
		}
		record, err := p.reader.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read the input: %w", err)
		}
		if !p.hand(ctx, record, number) {
			return nil
		}
	}
}

// pace waits until the record with this number may be sent, and reports false when the run is over. A delay is made up
// for, unless it is longer than a second: what waited for a slow input or broker must not come in one heap.
func (p *produceRun) pace(number int64) bool {
	if p.rate == 0 {
		return true
	}
	due := p.paced.from.Add(time.Duration(float64(number-p.paced.number) / p.rate * float64(time.Second)))
	left := time.Until(due)
	if left < -time.Second {
		p.paced.from, p.paced.number = time.Now(), number
	}
	if left <= 0 {
		return true
	}
	wait := time.NewTimer(left)
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-p.quit:
		return false
	}
}

// hand gives a record to the client, waiting while that holds as many as it may.
func (p *produceRun) hand(ctx context.Context, record *kgo.Record, number int64) bool {
	p.gate.Lock()
	defer p.gate.Unlock()
	select {
	case <-p.quit:
		return false
	default:
	}
	if p.handed.Load() == p.settled.Load() {
		p.lastSettled.Store(time.Now().UnixNano()) // the time in which nothing was under way does not count
	}
	p.handed.Add(1)
	p.underWay.Add(1)
	size := int64(len(record.Key) + len(record.Value))
	p.client.Produce(ctx, record, func(_ *kgo.Record, err error) {
		defer p.underWay.Done()
		now := time.Now().UnixNano()
		if pause := now - p.lastSettled.Swap(now); pause > p.longestPause.Load() {
			p.longestPause.Store(pause) // outcomes come one at a time
		}
		p.settled.Add(1)
		if err != nil {
			p.failOnce.Do(func() { p.failure <- err })
			return
		}
		p.bytes.Add(size)
		prefix := p.acked.add(number)
		if p.progress != nil {
			p.progress.note(p.skip + prefix)
		}
	})
	return true
}

// summary says what became of the input.
func (p *produceRun) summary(w io.Writer, interrupted bool) {
	_, total := p.acked.counts()
	seconds := time.Since(p.started).Seconds()
	if interrupted {
		fmt.Fprint(w, "interrupted: ")
	}
	outcome := "acknowledged"
	if p.acks == "0" {
		outcome = "sent, with no acknowledgement asked for"
	}
	fmt.Fprintf(w, "%d records read, %d %s (%d bytes) in %.2f s, %.0f records/s",
		p.handed.Load(), total, outcome, p.bytes.Load(), seconds, float64(total)/max(seconds, 1e-9))
	if pause := time.Duration(p.longestPause.Load()); pause >= 100*time.Millisecond { // somebody took over, or was slow
		fmt.Fprintf(w, ", longest pause %.2f s", pause.Seconds())
	}
	fmt.Fprintln(w)
}
