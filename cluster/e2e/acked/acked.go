// Package acked writes to a topic at a steady rate, remembers what was acknowledged and when, and later reads the topic and
// tells what of that is missing, doubled or in another place. Tests and benchmarks that break brokers use it.
//
// Every value is unique: the partition and a sequence number. What was sent and not acknowledged may be there or not.
package acked

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Options say what is written where.
type Options struct {
	Seeds      []string
	Topic      string // it exists
	Partitions int
	Rate       int // records a second to each partition
	Size       int // bytes of a value, at least 32
	// Client are further options of the clients, the one that writes and the one that checks.
	Client []kgo.Opt
}

// Writer writes until it is stopped.
type Writer struct {
	opts   Options
	client *kgo.Client
	cancel context.CancelFunc
	ended  sync.WaitGroup

	mu         sync.Mutex
	partitions []history
	failed     int
	lastErr    error
	sent       int
}

// history is what was acknowledged of one partition.
type history struct {
	sequences []int64 // by acknowledgement
	offsets   []int64
	times     []time.Time
	took      []time.Duration // from the call of the client to the acknowledgement
	deleted   int64           // what is below this offset may have been deleted on purpose
}

// RetryPause is how long the client waits before it tries again, and the least age of metadata that it asks for anew.
// AnswerTime is how long it waits for an answer of a broker that may be asleep; a produce request waits ProduceTime more. They
// are short, so that it is the brokers that are measured.
const (
	RetryPause  = 50 * time.Millisecond
	AnswerTime  = 250 * time.Millisecond
	ProduceTime = time.Second
)

// Start begins to write.
func Start(o Options) (*Writer, error) {
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(o.Seeds...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MetadataMinAge(RetryPause),
		kgo.RetryBackoffFn(func(int) time.Duration { return RetryPause }), kgo.MaxBufferedRecords(1_000_000), kgo.RequestTimeoutOverhead(AnswerTime),
		kgo.ProduceRequestTimeout(ProduceTime), kgo.DialTimeout(AnswerTime),
	}, o.Client...)...)
	if err != nil {
		return nil, err
	}
	w := &Writer{opts: o, client: c, partitions: make([]history, o.Partitions)}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	w.ended.Go(func() { w.run(ctx) })
	return w, nil
}

// Outside returns a writer for what another program writes, in the same form of values: it is told of acknowledgements by Note.
func Outside(o Options) *Writer { return &Writer{opts: o, partitions: make([]history, o.Partitions)} }

// Note notes an acknowledgement that the other program got.
func (w *Writer) Note(p int32, sequence, offset int64) {
	w.acked(p, sequence, time.Now(), &kgo.Record{Offset: offset}, nil)
}

// Deleted notes that what lies below an offset may have been deleted on purpose: it need not be there.
func (w *Writer) Deleted(p int32, before int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.partitions[p].deleted = max(w.partitions[p].deleted, before)
}

// Each calls f for all that was acknowledged. begun is when the client was given it, which is its timestamp.
func (w *Writer) Each(f func(p int32, sequence, offset int64, begun time.Time)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for p := range w.partitions {
		h := &w.partitions[p]
		for i := range h.sequences {
			f(int32(p), h.sequences[i], h.offsets[i], h.times[i].Add(-h.took[i]))
		}
	}
}

func (w *Writer) run(ctx context.Context) {
	tick := time.NewTicker(time.Second / time.Duration(w.opts.Rate))
	defer tick.Stop()
	for sequence := int64(0); ; sequence++ {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for p := range w.opts.Partitions {
			value := fmt.Appendf(make([]byte, 0, w.opts.Size), "%d/%d/", p, sequence)
			for len(value) < w.opts.Size {
				value = append(value, '.')
			}
			w.mu.Lock()
			w.sent++
			w.mu.Unlock()
			begun := time.Now()
			w.client.Produce(context.Background(), &kgo.Record{Topic: w.opts.Topic, Partition: int32(p), Value: value}, func(r *kgo.Record, err error) {
				w.acked(int32(p), sequence, begun, r, err)
			})
		}
	}
}

func (w *Writer) acked(p int32, sequence int64, begun time.Time, r *kgo.Record, err error) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.failed++
		w.lastErr = err
		return
	}
	h := &w.partitions[p]
	h.sequences, h.offsets, h.times = append(h.sequences, sequence), append(h.offsets, r.Offset), append(h.times, now)
	h.took = append(h.took, now.Sub(begun))
}

// Acked returns how many records were acknowledged up to now.
func (w *Writer) Acked() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for i := range w.partitions {
		n += len(w.partitions[i].sequences)
	}
	return n
}

// Took returns how long acknowledgements took that came in a span: the median, the 99th percentile, and of how many.
func (w *Writer) Took(from, to time.Time) (p50, p99 time.Duration, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []time.Duration
	for i := range w.partitions {
		h := &w.partitions[i]
		for k, t := range h.times {
			if t.After(from) && t.Before(to) {
				all = append(all, h.took[k])
			}
		}
	}
	if len(all) == 0 {
		return 0, 0, 0
	}
	slices.Sort(all)
	return all[len(all)/2], all[len(all)*99/100], len(all)
}

// Silent returns the number of partitions that had no acknowledgement since a time.
func (w *Writer) Silent(since time.Time) int { return len(w.SilentOnes(since)) }

// SilentOnes returns which they are.
func (w *Writer) SilentOnes(since time.Time) (partitions []int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.partitions {
		t := w.partitions[i].times
		if len(t) == 0 || t[len(t)-1].Before(since) {
			partitions = append(partitions, i)
		}
	}
	return partitions
}

// Stop ends the writing, and waits for what is under way, as long as ctx lasts.
func (w *Writer) Stop(ctx context.Context) error {
	w.cancel()
	w.ended.Wait()
	err := w.client.Flush(ctx)
	w.client.Close()
	return err
}

// Gap returns the longest time between two acknowledgements of one partition that touches the span, the median of that over
// the partitions, and the partition of the longest.
func (w *Writer) Gap(from, to time.Time) (longest, median time.Duration, partition int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []time.Duration
	for p := range w.partitions {
		times := w.partitions[p].times
		worst := time.Duration(0)
		for i := 1; i < len(times); i++ {
			if times[i].After(from) && times[i-1].Before(to) {
				worst = max(worst, times[i].Sub(times[i-1]))
			}
		}
		if n := len(times); n == 0 || times[n-1].Before(to) { // nothing came to the end of the span
			last := from
			if n > 0 {
				last = times[n-1]
			}
			worst = max(worst, to.Sub(last))
		}
		if worst > longest {
			longest, partition = worst, p
		}
		all = append(all, worst)
	}
	slices.Sort(all)
	return longest, all[len(all)/2], partition
}

// Verdict is what a check found.
type Verdict struct {
	Sent, Acked, Failed int
	Read                int // records in the topic
	Lost                int // acknowledged, and not there
	Deleted             int // acknowledged, and not there, as it may be ([Writer.Deleted])
	Moved               int // acknowledged at one offset, read at another
	Doubled             int // values that are there more than once
	Reordered           int // acknowledged in order, read out of it
	Strange             int // values that were never sent
	Example             string
	LastError           error // of a record that was not acknowledged
}

// Sound reports whether nothing is wrong.
func (v Verdict) Sound() bool { return v.Lost+v.Moved+v.Doubled+v.Reordered+v.Strange == 0 }

// String tells the figures.
func (v Verdict) String() string {
	return fmt.Sprintf("sent %d, acknowledged %d, failed %d, read %d; lost %d, moved %d, doubled %d, reordered %d, strange %d %s", v.Sent, v.Acked, v.Failed, v.Read, v.Lost, v.Moved, v.Doubled, v.Reordered, v.Strange, v.Example)
}

// Check reads the topic from its start to its end, after Stop, and compares.
func (w *Writer) Check(ctx context.Context) (v Verdict, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	v = Verdict{Sent: w.sent, Failed: w.failed, LastError: w.lastErr}
	c, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(w.opts.Seeds...), kgo.ConsumeTopics(w.opts.Topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(RetryPause),
	}, w.opts.Client...)...)
	if err != nil {
		return v, err
	}
	defer c.Close()
	left, err := w.left(ctx, kadm.NewClient(c))
	if err != nil {
		return v, err
	}
	read := make([]map[int64]int64, w.opts.Partitions) // offset by sequence
	last := make([]int64, w.opts.Partitions)
	for p := range read {
		read[p], last[p] = map[int64]int64{}, -1
	}
	for len(left) > 0 {
		fetches := c.PollFetches(ctx)
		if err := errors.Join(fetches.Err0(), ctx.Err()); err != nil {
			return v, fmt.Errorf("read the topic, %v partitions are left: %w", left, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			v.Read++
			w.seen(&v, r, read, last)
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	w.compare(&v, read)
	return v, nil
}

// listed asks until the answer has no error after which one asks again: leaders still move, for instance back to where they should be.
func listed(ctx context.Context, ask func() (kadm.ListedOffsets, error)) (kadm.ListedOffsets, error) {
	for {
		o, err := ask()
		if err != nil {
			return nil, err
		}
		if err = o.Error(); !kerr.IsRetriable(err) {
			return o, err
		}
		select {
		case <-time.After(RetryPause):
		case <-ctx.Done():
			return nil, errors.Join(err, ctx.Err())
		}
	}
}

// left returns the ends of the partitions in which there is anything.
func (w *Writer) left(ctx context.Context, c *kadm.Client) (map[int32]int64, error) {
	starts, err := listed(ctx, func() (kadm.ListedOffsets, error) { return c.ListStartOffsets(ctx, w.opts.Topic) })
	if err != nil {
		return nil, fmt.Errorf("list start offsets: %w", err)
	}
	ends, err := listed(ctx, func() (kadm.ListedOffsets, error) { return c.ListEndOffsets(ctx, w.opts.Topic) })
	if err != nil {
		return nil, fmt.Errorf("list end offsets: %w", err)
	}
	left := map[int32]int64{}
	ends.Each(func(o kadm.ListedOffset) {
		if start, ok := starts.Lookup(o.Topic, o.Partition); ok && o.Offset > start.Offset {
			left[o.Partition] = o.Offset
		}
	})
	return left, nil
}

// seen notes a record that was read.
func (w *Writer) seen(v *Verdict, r *kgo.Record, read []map[int64]int64, last []int64) {
	parts := strings.SplitN(string(r.Value), "/", 3)
	if len(parts) != 3 || parts[0] != strconv.Itoa(int(r.Partition)) {
		v.Strange++
		v.Example = fmt.Sprintf("strange %q in partition %d at %d", r.Value, r.Partition, r.Offset)
		return
	}
	sequence, err := strconv.ParseInt(parts[1], 10, 64)
	if err != nil {
		v.Strange++
		return
	}
	if at, twice := read[r.Partition][sequence]; twice {
		v.Doubled++
		v.Example = fmt.Sprintf("value %s of partition %d is at %d and at %d", parts[1], r.Partition, at, r.Offset)
		return
	}
	read[r.Partition][sequence] = r.Offset
	if sequence < last[r.Partition] {
		v.Reordered++
		v.Example = fmt.Sprintf("value %d of partition %d came after %d", sequence, r.Partition, last[r.Partition])
	}
	last[r.Partition] = max(last[r.Partition], sequence)
}

func (w *Writer) compare(v *Verdict, read []map[int64]int64) {
	for p := range w.partitions {
		h := &w.partitions[p]
		v.Acked += len(h.sequences)
		for i, sequence := range h.sequences {
			at, ok := read[p][sequence]
			switch {
			case !ok && h.offsets[i] < h.deleted:
				v.Deleted++
			case !ok:
				v.Lost++
				v.Example = fmt.Sprintf("lost: value %d of partition %d, acknowledged at %d (of %d acknowledged)", sequence, p, h.offsets[i], len(h.sequences))
			case at != h.offsets[i]:
				v.Moved++
				v.Example = fmt.Sprintf("value %d of partition %d was acknowledged at %d and is at %d", sequence, p, h.offsets[i], at)
			}
		}
	}
}
