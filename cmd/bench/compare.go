package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// workload is one row of the table.
type workload struct {
	name    string
	ours    string // settings of kraftgo's topic, k=v,k=v
	kafka   string // and of Kafka's
	pinned  bool
	prepare []string // a load that fills a topic which all measurements read, or nil: each has a topic of its own
	load    []string
	figures func(m measured) map[string]float64
}

func produceFigures(m measured) map[string]float64 {
	return map[string]float64{"rec/s": float64(m.Records) / m.Seconds, "broker us/rec": m.BrokerCPU / float64(m.Records) * 1e6}
}

func latencyFigures(m measured) map[string]float64 {
	return map[string]float64{"p50 ms": m.P50, "p99 ms": m.P99, "p99.9 ms": m.P999, "broker us/rec": m.BrokerCPU / float64(m.Records) * 1e6}
}

func readFigures(m measured) map[string]float64 {
	return map[string]float64{"GB/s": float64(m.Bytes) / m.Seconds / 1e9, "broker s/GB": m.BrokerCPU / float64(m.Bytes) * 1e9}
}

// Durability is named in each row: D0 neither syncs, D1 both do before they acknowledge, DX each has its default (kraftgo
// syncs, Kafka does not).
const replicated, fsync, flushEach = "durability=replicated", "durability=fsync", "flush.messages=1"

func workloads(scale float64) []workload {
	n := func(records int) string { return strconv.Itoa(int(float64(records) * scale)) }
	small := []string{"produce", "-size", "100", "-records", n(6_000_000)}
	large := []string{"produce", "-size", "1024", "-records", n(1_500_000)}
	return []workload{
		{name: "W1 100 B pinned D0", ours: replicated, pinned: true, load: small, figures: produceFigures},
		{name: "W1 1 KiB pinned D0", ours: replicated, pinned: true, load: large, figures: produceFigures},
		{name: "W1 100 B free D1", ours: fsync, kafka: flushEach, load: small, figures: produceFigures},
		{name: "W1 1 KiB free D1", ours: fsync, kafka: flushEach, load: []string{"produce", "-size", "1024", "-records", n(600_000)}, figures: produceFigures},
		{name: "W1 1 KiB free DX", ours: fsync, load: large, figures: produceFigures},
		{name: "W3 1 KiB 1000/s DX", ours: fsync, load: []string{"e2e", "-size", "1024", "-rate", "1000", "-seconds", n(30)}, figures: latencyFigures},
		{name: "W4 1 KiB hot pinned", ours: replicated, pinned: true, prepare: large, load: []string{"consume", "-records", n(1_500_000)}, figures: readFigures},
	}
}

// clusterWorkloads are those of three brokers: three replicas, two of which must be in sync.
func clusterWorkloads(scale float64) []workload {
	n := func(records int) string { return strconv.Itoa(int(float64(records) * scale)) }
	const two = ",min.insync.replicas=2"
	produce := func(size, records int) []string {
		return []string{"produce", "-replicas", "3", "-size", strconv.Itoa(size), "-records", n(records)}
	}
	return []workload{
		{name: "W2 100 B RF3 D0", ours: replicated + two, kafka: two[1:], load: produce(100, 2_000_000), figures: produceFigures},
		{name: "W2 1 KiB RF3 D0", ours: replicated + two, kafka: two[1:], load: produce(1024, 500_000), figures: produceFigures},
		{name: "W2 1 KiB RF3 DX", ours: fsync + two, kafka: two[1:], load: produce(1024, 500_000), figures: produceFigures},
		{name: "W3 1 KiB RF3 1000/s DX", ours: fsync + two, kafka: two[1:], load: []string{"e2e", "-replicas", "3", "-size", "1024", "-rate", "1000", "-seconds", n(30)}, figures: latencyFigures},
	}
}

func compareCommand(args []string) (err error) {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	binary := flags.String("kraftgo", "", "path of the kraftgo binary")
	script := flags.String("peer", "cluster/e2e/peer", "path of the script that runs Apache Kafka")
	pairs := flags.Int("pairs", 5, "how many pairs, in the order A B B A")
	scale := flags.Float64("scale", 1, "size of the workloads")
	brokers := flags.Int("brokers", 1, "1, or 3: clusters of three with replicated topics (W2, W3)")
	only := flags.String("only", "", "run the workloads whose name begins so")
	warm := flags.Duration("warm", time.Minute, "for how long at least a broker runs loads, and each workload how long by a sixth of it, before it is measured")
	memory := flags.Bool("ballast", true, "fill free memory with the pages of a file before each measurement, so that nobody pays for fresh memory")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" {
		return errors.New("-kraftgo: the path of the binary is needed; 'just bench' builds it and gives it")
	}
	var chosen []workload
	list := workloads(*scale)
	if *brokers > 1 {
		list = clusterWorkloads(*scale)
	}
	for _, w := range list {
		if strings.HasPrefix(w.name, *only) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return fmt.Errorf("-only %q: no workload begins so", *only)
	}
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	c := comparison{warm: *warm, pairs: *pairs}
	if *memory {
		if c.ballast, err = newBallast(); err != nil {
			return err
		}
		defer c.ballast.remove()
	}
	// One broker runs at a time: the other is stopped with SIGSTOP, so that both are measured warm and in turns of a minute.
	for _, start := range []func() (*broker, error){
		func() (*broker, error) { return startKraftgoCluster(*binary, dir+"/data", *brokers) },
		func() (*broker, error) { return startKafka(*script, dir, *brokers, -1) },
	} {
		b, err := start()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, b.resume(), b.stop()) }()
		if err := c.warmUp(b, chosen); err != nil {
			return err
		}
		if err := b.suspend(); err != nil {
			return err
		}
		c.brokers = append(c.brokers, b)
	}
	var table []string
	for _, w := range chosen {
		rows, err := c.measure(w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		table = append(table, rows...)
	}
	fmt.Printf("\nA/A is what one measurement differs from the next of the same broker: a ratio inside this band says nothing.\n\n"+
		"| workload | figure | kraftgo min / median / max | Kafka min / median / max | ratio: median (min .. max) | A/A kraftgo, Kafka |\n|---|---|---|---|---|---|\n%s\n", strings.Join(table, "\n"))
	return nil
}

// comparison is what all measurements of a run share.
type comparison struct {
	brokers []*broker // kraftgo, Kafka
	warm    time.Duration
	pairs   int
	ballast *ballast
}

// warmUp runs every workload in turn until each has had its time and all together theirs.
func (c *comparison) warmUp(b *broker, list []workload) error {
	start := time.Now()
	for round := 0; round == 0 || time.Since(start) < c.warm; round++ {
		for _, w := range list {
			for begun, i := time.Now(), 0; i == 0 || round == 0 && time.Since(begun) < c.warm/6; i++ {
				if _, err := c.once(w, b); err != nil {
					return fmt.Errorf("warm up with %s: %w", w.name, err)
				}
			}
		}
	}
	return nil
}

func (c *comparison) measure(w workload) ([]string, error) {
	got := [2][]map[string]float64{}
	for pair := range c.pairs {
		order := []int{0, 1}
		if pair%2 == 1 {
			order = []int{1, 0}
		}
		for _, i := range order {
			b := c.brokers[i]
			m, err := c.turn(w, b)
			if err != nil {
				return nil, err
			}
			line, err := json.Marshal(struct {
				Workload, Broker string
				measured
			}{w.name, b.name, m})
			if err != nil {
				return nil, err
			}
			fmt.Println(string(line))
			got[i] = append(got[i], w.figures(m))
		}
	}
	var names []string
	for figure := range got[0][0] {
		names = append(names, figure)
	}
	slices.Sort(names)
	var rows []string
	for _, figure := range names {
		var all, same [2][]float64
		var ratio []float64
		for i := range c.pairs {
			for b := range all {
				all[b] = append(all[b], got[b][i][figure])
				if i > 0 {
					same[b] = append(same[b], got[b][i][figure]/got[b][i-1][figure])
				}
			}
			ratio = append(ratio, got[0][i][figure]/got[1][i][figure])
		}
		low, middle, high := spread(ratio)
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | **%.2f** (%.2f .. %.2f) | %s, %s |", w.name, figure, three(all[0]), three(all[1]), middle, low, high, band(same[0]), band(same[1])))
	}
	return rows, nil
}

func spread(v []float64) (low, middle, high float64) {
	if len(v) == 0 {
		return 1, 1, 1
	}
	v = slices.Sorted(slices.Values(v))
	return v[0], v[len(v)/2], v[len(v)-1]
}

func three(v []float64) string {
	low, middle, high := spread(v)
	return fmt.Sprintf("%.4g / **%.4g** / %.4g", low, middle, high)
}

func band(v []float64) string {
	low, _, high := spread(v)
	return fmt.Sprintf("%.2f .. %.2f", low, high)
}

// turn wakes a broker, runs the workload once unmeasured, and then measured.
func (c *comparison) turn(w workload, b *broker) (measured, error) {
	if err := b.resume(); err != nil {
		return measured{}, err
	}
	short := w
	if short.load[0] == "e2e" {
		short.load = append(slices.Clone(w.load), "-seconds", "3")
	}
	if _, err := c.once(short, b); err != nil {
		return measured{}, err
	}
	if err := c.ballast.fill(); err != nil {
		return measured{}, err
	}
	if err := quiet(); err != nil {
		return measured{}, err
	}
	m, err := c.once(w, b)
	return m, errors.Join(err, b.suspend())
}

// once runs a workload on a topic of its own, which is deleted afterwards; one that has something to prepare, on one that stays.
func (c *comparison) once(w workload, b *broker) (measured, error) {
	brokerCPU, clientCPU := -1, -1
	if w.pinned {
		brokerCPU, clientCPU = 0, 1
	}
	if err := b.bind(brokerCPU); err != nil {
		return measured{}, err
	}
	settings := w.ours
	if b.name == "kafka" {
		settings = w.kafka
	}
	b.topics++
	topic := fmt.Sprintf("bench%d", b.topics)
	if w.prepare != nil {
		topic = "kept"
	}
	on := func(load []string) (measured, error) {
		return b.run(clientCPU, append(slices.Clone(load), "-topic", topic, "-config", "file.delete.delay.ms=100,"+settings)...)
	}
	if w.prepare != nil && !b.prepared {
		b.prepared = true
		if _, err := on(w.prepare); err != nil {
			return measured{}, err
		}
	}
	m, err := on(w.load)
	if err == nil && w.prepare == nil {
		err = b.delete(topic)
	}
	return m, err
}

// quiet waits until the machine has nothing else to do, written back what is dirty first.
func quiet() error {
	unix.Sync()
	for range 60 {
		idle, err := idleShare(time.Second)
		if err != nil {
			return err
		}
		if idle >= .93 {
			return nil
		}
	}
	return errors.New("the machine does not come to rest: something else uses more than 7 % of the CPUs for a minute")
}

func footprintCommand(args []string) error {
	flags := flag.NewFlagSet("footprint", flag.ContinueOnError)
	binary := flags.String("kraftgo", "", "path of the kraftgo binary, stripped and static")
	gigabytes := flags.Float64("gb", 2, "how much lies in 100 partitions when the node is killed")
	if err := flags.Parse(args); err != nil {
		return err
	}
	info, err := os.Stat(*binary)
	if err != nil {
		return fmt.Errorf("-kraftgo: %w", err)
	}
	fmt.Printf("binary: %.1f MB\n", float64(info.Size())/1e6)
	dir, err := os.MkdirTemp("", "footprint-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	for i := range 5 {
		if err := firstAck(*binary, fmt.Sprintf("%s/empty%d", dir, i), "exec to first acknowledged record, empty directory"); err != nil {
			return err
		}
	}
	return afterKill(*binary, dir+"/full", *gigabytes)
}

func firstAck(binary, dir, what string) error {
	start := time.Now()
	b, err := startKraftgo(binary, dir, -1, "init")
	if err != nil {
		return err
	}
	ready := since(start)
	_, err = b.run(-1, "produce", "-records", "1")
	acked := since(start)
	pause(3 * time.Second)
	pss, memErr := b.resident()
	used, cpuErr := b.cpu()
	pause(5 * time.Second)
	later, laterErr := b.cpu()
	fmt.Printf("%s: ready %.0f ms, first acknowledged record %.0f ms (client start included); idle memory %.1f MB, idle CPU %.2f %%\n", what, ready*1e3, acked*1e3, float64(pss)/1e6, (later-used)/5*100)
	return errors.Join(err, memErr, cpuErr, laterErr, b.stop())
}

func afterKill(binary, dir string, gigabytes float64) error {
	b, err := startKraftgo(binary, dir, -1, "init")
	if err != nil {
		return err
	}
	records := int(gigabytes * 1e9 / 1024)
	if _, err := b.run(-1, "produce", "-size", "1024", "-partitions", "100", "-records", strconv.Itoa(records)); err != nil {
		return err
	}
	if err := b.signal(syscall.SIGKILL); err != nil {
		return err
	}
	pause(200 * time.Millisecond)
	start := time.Now()
	again, err := startKraftgo(binary, dir, -1, "start")
	if err != nil {
		return err
	}
	ready := since(start)
	_, err = again.run(-1, "produce", "-records", "1")
	fmt.Printf("after kill -9 with %.1f GB in 100 partitions: ready %.0f ms, first acknowledged record %.0f ms\n", gigabytes, ready*1e3, since(start)*1e3)
	return errors.Join(err, again.stop())
}
