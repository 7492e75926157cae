package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// result is one measurement, as one JSON line.
type result struct {
	Records   int     `json:"records"`
	Bytes     int64   `json:"bytes"`
	Seconds   float64 `json:"seconds"`
	ClientCPU float64 `json:"client_cpu_seconds"`
	P50       float64 `json:"p50_ms,omitempty"`
	P99       float64 `json:"p99_ms,omitempty"`
	P999      float64 `json:"p999_ms,omitempty"`
	Max       float64 `json:"max_ms,omitempty"`
}

func emit(r result) error { return json.NewEncoder(os.Stdout).Encode(r) }

// cpu returns the CPU seconds that this process has used.
func cpu() float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec) + float64(u.Utime.Usec+u.Stime.Usec)/1e6
}

// load are the flags that all loads share.
type load struct {
	*flag.FlagSet
	seed, topic       string
	size, records     int
	partitions        int
	replicas          int
	acks, compression string
	batch             int
	linger            time.Duration
	config            string
}

func newLoad(name string) *load {
	l := &load{FlagSet: flag.NewFlagSet(name, flag.ContinueOnError)}
	l.StringVar(&l.seed, "b", "127.0.0.1:9092", "bootstrap server")
	l.StringVar(&l.topic, "topic", "bench", "topic; created if missing")
	l.IntVar(&l.size, "size", 100, "bytes of a record's value")
	l.IntVar(&l.records, "records", 1_000_000, "how many records")
	l.IntVar(&l.partitions, "partitions", 6, "of the topic when it is created")
	l.IntVar(&l.replicas, "replicas", 1, "of each partition when the topic is created")
	l.StringVar(&l.acks, "acks", "all", "all, 1 or 0")
	l.StringVar(&l.compression, "compression", "none", "none, lz4 or zstd")
	l.IntVar(&l.batch, "batch", 64<<10, "largest batch in bytes")
	l.DurationVar(&l.linger, "linger", 5*time.Millisecond, "how long a batch waits for more")
	l.StringVar(&l.config, "config", "", "settings k=v,k=v for a topic that is created")
	return l
}

func (l *load) client(opts ...kgo.Opt) (*kgo.Client, error) {
	codec := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}[l.compression]
	all := []kgo.Opt{
		kgo.SeedBrokers(strings.Split(l.seed, ",")...), kgo.DefaultProduceTopic(l.topic), kgo.ProducerBatchCompression(codec), kgo.ProducerBatchMaxBytes(int32(l.batch)),
		kgo.ProducerLinger(l.linger), kgo.MaxBufferedRecords(200_000), kgo.RecordPartitioner(kgo.UniformBytesPartitioner(l.batch, false, false, nil)),
	}
	switch l.acks {
	case "all":
		all = append(all, kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1":
		all = append(all, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5))
	case "0":
		all = append(all, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite(), kgo.MaxProduceRequestsInflightPerBroker(5))
	}
	return kgo.NewClient(append(all, opts...)...)
}

func (l *load) create(ctx context.Context, c *kgo.Client) error {
	configs := map[string]*string{}
	for _, pair := range strings.Split(l.config, ",") {
		if k, v, ok := strings.Cut(pair, "="); ok {
			configs[k] = &v
		}
	}
	r, err := kadm.NewClient(c).CreateTopic(ctx, int32(l.partitions), int16(l.replicas), configs, l.topic)
	if err != nil && r.ErrMessage == "" {
		return err
	}
	return nil
}

// values are random, so that no codec and no file system makes them small; a few suffice.
func values(size int) [][]byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([][]byte, 64)
	for i := range out {
		out[i] = make([]byte, size)
		for j := range out[i] {
			out[i][j] = byte(' ' + r.IntN(95))
		}
	}
	return out
}

func produceCommand(args []string) error {
	l := newLoad("produce")
	if err := l.Parse(args); err != nil {
		return err
	}
	ctx := context.Background()
	c, err := l.client()
	if err != nil {
		return err
	}
	defer c.Close()
	if err := l.create(ctx, c); err != nil {
		return err
	}
	data := values(l.size)
	var mu sync.Mutex
	var failed error
	start, startCPU := time.Now(), cpu()
	for i := range l.records {
		c.Produce(ctx, kgo.SliceRecord(data[i%len(data)]), func(_ *kgo.Record, err error) {
			if err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		})
	}
	if err := c.Flush(ctx); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	return emit(result{Records: l.records, Bytes: int64(l.records) * int64(l.size), Seconds: time.Since(start).Seconds(), ClientCPU: cpu() - startCPU})
}

func consumeCommand(args []string) error {
	l := newLoad("consume")
	if err := l.Parse(args); err != nil {
		return err
	}
	c, err := l.client(kgo.ConsumeTopics(l.topic), kgo.FetchMaxBytes(50<<20), kgo.FetchMaxPartitionBytes(1<<20))
	if err != nil {
		return err
	}
	defer c.Close()
	start, startCPU := time.Now(), cpu()
	n, bytes := 0, int64(0)
	for n < l.records {
		f := c.PollFetches(context.Background())
		if err := f.Err(); err != nil {
			return err
		}
		f.EachRecord(func(r *kgo.Record) {
			n++
			bytes += int64(len(r.Value))
		})
	}
	return emit(result{Records: n, Bytes: bytes, Seconds: time.Since(start).Seconds(), ClientCPU: cpu() - startCPU})
}

func endToEndCommand(args []string) error {
	l := newLoad("e2e")
	rate := l.Int("rate", 1000, "records a second")
	seconds := l.Int("seconds", 20, "how long, after two seconds of warm-up")
	if err := l.Parse(args); err != nil {
		return err
	}
	l.linger = 0
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	producer, err := l.client()
	if err != nil {
		return err
	}
	defer producer.Close()
	if err := l.create(ctx, producer); err != nil {
		return err
	}
	consumer, err := l.client(kgo.ConsumeTopics(l.topic)) // from the start: the topic is new
	if err != nil {
		return err
	}
	defer consumer.Close()
	warm := 2 * *rate
	total := warm + *rate**seconds
	latencies := make([]time.Duration, 0, total)
	arrived := make(chan struct{})
	following := make(chan struct{}) // closed when a record of settle has arrived
	follow := sync.OnceFunc(func() { close(following) })
	base := time.Now()
	go func() {
		defer close(arrived)
		for len(latencies) < total {
			f := consumer.PollFetches(ctx)
			if ctx.Err() != nil {
				return
			}
			now := time.Since(base)
			f.EachRecord(func(r *kgo.Record) {
				if due := binary.BigEndian.Uint64(r.Value); due > 0 {
					latencies = append(latencies, now-time.Duration(due))
				} else {
					follow()
				}
			})
		}
	}()
	if err := settle(ctx, producer, l.size, following); err != nil {
		return err
	}
	start, startCPU := time.Since(base), cpu()
	value := values(l.size)[0]
	for i := range total {
		due := start + time.Duration(i)*time.Second/time.Duration(*rate)
		pause(due - time.Since(base))
		v := slices.Clone(value)
		binary.BigEndian.PutUint64(v, uint64(due))
		producer.Produce(ctx, kgo.SliceRecord(v), nil)
	}
	select {
	case <-arrived:
	case <-time.After(30 * time.Second):
		return fmt.Errorf("%d of %d records arrived", len(latencies), total)
	}
	used := cpu() - startCPU
	kept := latencies[warm:]
	slices.Sort(kept)
	at := func(q float64) float64 { return float64(kept[min(int(q*float64(len(kept))), len(kept)-1)]) / 1e6 }
	return emit(result{Records: total, Bytes: int64(total * l.size), Seconds: (time.Since(base) - start).Seconds(), ClientCPU: used, P50: at(.5), P99: at(.99), P999: at(.999), Max: at(1)})
}

// settle sends records that are not counted until the consumer is seen to follow.
func settle(ctx context.Context, producer *kgo.Client, size int, following chan struct{}) error {
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if err := producer.ProduceSync(ctx, kgo.SliceRecord(make([]byte, size))).FirstErr(); err != nil {
			return err
		}
		select {
		case <-following:
			return nil
		case <-time.After(20 * time.Millisecond):
		}
	}
	return errors.New("the consumer does not follow")
}

// pause sleeps with nanosleep: Go's timers fire a millisecond late when the process is idle, which would be counted as
// the broker's.
func pause(d time.Duration) {
	if d <= 0 {
		return
	}
	ts := syscall.NsecToTimespec(int64(d))
	for {
		var rest syscall.Timespec
		if err := syscall.Nanosleep(&ts, &rest); err != syscall.EINTR {
			return
		}
		ts = rest
	}
}
