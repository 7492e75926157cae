package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// maxLineBytes bounds --max-line-bytes: no Kafka request may be larger.
const maxLineBytes = 100 << 20

// newInput opens the input of 'kraftgo produce' and reads the flags that shape its records.
func newInput(c *cli.Context) (r *recordReader, closeInput func(), err error) {
	limit := c.Int("max-line-bytes")
	if limit < 1 || limit > maxLineBytes {
		return nil, nil, fmt.Errorf("--max-line-bytes %d: want 1 to %d", limit, maxLineBytes)
	}
	input := c.String("input")
	if input != "raw" && input != "json" {
		return nil, nil, fmt.Errorf("--input %s: want raw or json", input)
	}
	for _, name := range []string{"key-separator", "null-value"} {
		if input == "json" && c.IsSet(name) {
			return nil, nil, fmt.Errorf("--%s is for raw lines, and --input is json", name)
		}
	}
	if c.IsSet("key-separator") && c.String("key-separator") == "" {
		return nil, nil, fmt.Errorf("--key-separator is empty")
	}
	headers, err := pairs(c, "header")
	if err != nil {
		return nil, nil, err
	}
	if n := c.Int("partition"); c.IsSet("partition") && (n < 0 || n > 1<<31-1) {
		return nil, nil, fmt.Errorf("--partition %d: want a number from 0", n)
	}
	in, closeInput := c.App.Reader, func() {}
	if name := c.String("file"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			return nil, nil, fmt.Errorf("--file: %w", err)
		}
		in, closeInput = f, func() { f.Close() } //nolint:errcheck // it was only read
	}
	r = newRecordReader(in, limit)
	r.json, r.separator = input == "json", []byte(c.String("key-separator"))
	if c.IsSet("null-value") {
		r.null = []byte(c.String("null-value"))
	}
	if c.IsSet("key") {
		r.key = []byte(c.String("key"))
	}
	for _, h := range headers {
		r.headers = append(r.headers, kgo.RecordHeader{Key: h.key, Value: []byte(h.value)})
	}
	if c.IsSet("partition") {
		r.partition = int32(c.Int("partition"))
	}
	return r, closeInput, nil
}

// produceOptions reads the flags that shape what is sent.
func produceOptions(c *cli.Context, reader *recordReader) ([]kgo.Opt, error) {
	var out []kgo.Opt
	switch acks := c.String("acks"); acks {
	case "all", "-1":
		out = append(out, kgo.RequiredAcks(kgo.AllISRAcks()))
	case "1":
		out = append(out, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		out = append(out, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, fmt.Errorf("--acks %s: want all, 1 or 0", acks)
	}
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(), "lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[c.String("compression")]
	if !ok {
		return nil, fmt.Errorf("--compression %s: want none, gzip, snappy, lz4 or zstd", c.String("compression"))
	}
	out = append(out, kgo.ProducerBatchCompression(codec))
	if rate := c.Float64("rate"); c.IsSet("rate") && !(rate > 0) {
		return nil, fmt.Errorf("--rate %v: want more than 0", rate)
	}
	if timeout := c.Duration("timeout"); timeout <= 0 {
		return nil, fmt.Errorf("--timeout %s: want more than 0", timeout)
	}
	if reader.json || reader.partition != anyPartition {
		out = append(out, kgo.RecordPartitioner(newNamedPartitions()))
	}
	return out, nil
}

// batchLimit is the topic's limit of a batch, or 0 if the broker does not tell. The client's own default is below
// Kafka's, and would refuse records that the broker takes.
func (s *session) batchLimit(topic string) int32 {
	configs, err := s.admin.DescribeTopicConfigs(s.ctx, topic)
	if err != nil {
		return 0
	}
	config, err := configs.On(topic, nil)
	if err != nil || config.Err != nil {
		return 0
	}
	for _, entry := range config.Configs {
		if n, err := strconv.ParseInt(entry.MaybeValue(), 10, 64); entry.Key == "max.message.bytes" && err == nil {
			return int32(min(max(n, 1<<10), maxLineBytes-1<<20))
		}
	}
	return 0
}

// namedPartitions sends a record to the partition that it names, and lets the client's default choose for the others.
type namedPartitions struct{ inner kgo.Partitioner }

func newNamedPartitions() kgo.Partitioner { return namedPartitions{kgo.StickyKeyPartitioner(nil)} }

// ForTopic implements kgo.Partitioner.
func (p namedPartitions) ForTopic(topic string) kgo.TopicPartitioner {
	return namedInTopic{p.inner.ForTopic(topic)}
}

type namedInTopic struct{ kgo.TopicPartitioner }

// RequiresConsistency implements kgo.TopicPartitioner.
func (p namedInTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition != anyPartition || p.TopicPartitioner.RequiresConsistency(r)
}

// Partition implements kgo.TopicPartitioner.
func (p namedInTopic) Partition(r *kgo.Record, n int) int {
	if r.Partition != anyPartition {
		return int(r.Partition) // one that is not there fails the record
	}
	return p.TopicPartitioner.Partition(r, n)
}

// OnNewBatch implements kgo.TopicPartitionerOnNewBatch, so that the default may choose another partition.
func (p namedInTopic) OnNewBatch() {
	if inner, ok := p.TopicPartitioner.(kgo.TopicPartitionerOnNewBatch); ok {
		inner.OnNewBatch()
	}
}

// meter shows how far a run is, in one line of a terminal that it writes over. It is silent when standard error is no
// terminal, and when standard input is one: then the user types there.
type meter struct {
	w     io.Writer
	on    bool
	width int
}

func newMeter(c *cli.Context) *meter {
	return &meter{w: c.App.ErrWriter, on: isTerminal(c.App.ErrWriter) && (c.IsSet("file") || !isTerminal(c.App.Reader))}
}

func (m *meter) print(p *produceRun) {
	if !m.on {
		return
	}
	_, total := p.acked.counts()
	line := fmt.Sprintf("%d records read, %d acknowledged, %.0f s", p.handed.Load(), total, time.Since(p.started).Seconds())
	fmt.Fprintf(m.w, "\r%-*s", m.width, line)
	m.width = max(m.width, len(line))
}

// clear takes the line off, for what is printed next.
func (m *meter) clear() {
	if m.width > 0 {
		fmt.Fprintf(m.w, "\r%*s\r", m.width, "")
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
