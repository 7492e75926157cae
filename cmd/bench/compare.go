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
	"time"
)

// workload is one row of the table.
type workload struct {
	name    string
	ours    string   // durability of kraftgo's topic
	kafka   []string // further lines for Kafka's configuration
	pinned  bool
	prepare []string // a load that is run first and not measured, or nil
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

const replicated, fsync = "replicated", "fsync"

var flushEach = []string{"log.flush.interval.messages=1"}

func workloads(scale float64) []workload {
	n := func(records int) string { return strconv.Itoa(int(float64(records) * scale)) }
	small := []string{"produce", "-size", "100", "-records", n(3_000_000)}
	large := []string{"produce", "-size", "1024", "-records", n(700_000)}
	return []workload{
		{name: "W1 100 B pinned D0", ours: replicated, pinned: true, load: small, figures: produceFigures},
		{name: "W1 1 KiB pinned D0", ours: replicated, pinned: true, load: large, figures: produceFigures},
		{name: "W1 100 B free D1", ours: fsync, kafka: flushEach, load: small, figures: produceFigures},
		{name: "W1 1 KiB free D1", ours: fsync, kafka: flushEach, load: large, figures: produceFigures},
		{name: "W1 1 KiB free DX", ours: fsync, load: large, figures: produceFigures},
		{name: "W3 1 KiB 1000/s DX", ours: fsync, load: []string{"e2e", "-size", "1024", "-rate", "1000", "-seconds", n(20)}, figures: latencyFigures},
		{name: "W4 1 KiB hot pinned", ours: replicated, pinned: true, prepare: large, load: []string{"consume", "-records", n(700_000)}, figures: readFigures},
	}
}

func compareCommand(args []string) error {
	flags := flag.NewFlagSet("compare", flag.ContinueOnError)
	binary := flags.String("kraftgo", "", "path of the kraftgo binary")
	script := flags.String("peer", "cluster/e2e/peer", "path of the script that runs Apache Kafka")
	pairs := flags.Int("pairs", 3, "how many pairs, in the order A B B A")
	scale := flags.Float64("scale", 1, "size of the workloads")
	only := flags.String("only", "", "run the workloads whose name begins so")
	warm := flags.Int("warm", 3, "how often a broker runs the workload before it is measured")
	ballast := flags.Int("ballast-gb", 0, "fill the page cache with so much before each measurement, so that nobody pays for fresh memory; 0: all but 4 GB of what is free, -1: none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *binary == "" {
		return errors.New("-kraftgo: the path of the binary is needed; 'just bench' builds it and gives it")
	}
	fill, err := newBallast(*ballast)
	if err != nil {
		return err
	}
	defer fill.remove()
	var table []string
	for _, w := range workloads(*scale) {
		if !strings.HasPrefix(w.name, *only) {
			continue
		}
		rows, err := compare(w, setup{*binary, *script, *warm, fill}, *pairs)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		table = append(table, rows...)
	}
	fmt.Printf("\n| workload | figure | kraftgo min / median / max | Kafka min / median / max | ratio median (min .. max) |\n|---|---|---|---|---|\n%s\n", strings.Join(table, "\n"))
	return nil
}

// setup is what all measurements of a run share.
type setup struct {
	binary, script string
	warm           int
	ballast        *ballast
}

func compare(w workload, s setup, pairs int) ([]string, error) {
	got := map[string][]map[string]float64{}
	for pair := range pairs {
		order := []string{"kraftgo", "kafka"}
		if pair%2 == 1 {
			slices.Reverse(order)
		}
		for _, name := range order {
			m, err := once(w, name, s)
			if err != nil {
				return nil, err
			}
			line, err := json.Marshal(struct {
				Workload, Broker string
				measured
			}{w.name, name, m})
			if err != nil {
				return nil, err
			}
			fmt.Println(string(line))
			got[name] = append(got[name], w.figures(m))
		}
	}
	var names []string
	for figure := range got["kraftgo"][0] {
		names = append(names, figure)
	}
	slices.Sort(names)
	var rows []string
	for _, figure := range names {
		var a, b, ratio []float64
		for i := range pairs {
			x, y := got["kraftgo"][i][figure], got["kafka"][i][figure]
			a, b, ratio = append(a, x), append(b, y), append(ratio, x/y)
		}
		rows = append(rows, fmt.Sprintf("| %s | %s | %s | %s | %s |", w.name, figure, spread(a), spread(b), spread(ratio)))
	}
	return rows, nil
}

func spread(v []float64) string {
	v = slices.Clone(v)
	slices.Sort(v)
	return fmt.Sprintf("%.4g / **%.4g** / %.4g", v[0], v[len(v)/2], v[len(v)-1])
}

// once measures a workload on one broker, which has run it before on other topics.
func once(w workload, name string, s setup) (measured, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return measured{}, err
	}
	defer os.RemoveAll(dir)
	brokerCPU, clientCPU := -1, -1
	if w.pinned {
		brokerCPU, clientCPU = 0, 1
	}
	var b *broker
	if name == "kraftgo" {
		b, err = startKraftgo(s.binary, dir+"/data", brokerCPU, "init", "--set", "log.durability="+w.ours)
	} else {
		b, err = startKafka(s.script, dir, brokerCPU, w.kafka...)
	}
	if err != nil {
		return measured{}, err
	}
	m, err := warmAndMeasure(w, b, s, clientCPU)
	return m, errors.Join(err, b.stop())
}

func warmAndMeasure(w workload, b *broker, s setup, clientCPU int) (measured, error) {
	on := func(load []string, topic string) (measured, error) {
		return b.run(clientCPU, append(slices.Clone(load), "-topic", topic)...)
	}
	for i := range s.warm {
		topic := fmt.Sprintf("warm%d", i)
		if w.prepare != nil {
			topic = "bench"
			if i == 0 {
				if _, err := on(w.prepare, topic); err != nil {
					return measured{}, err
				}
			}
		}
		if _, err := on(w.load, topic); err != nil {
			return measured{}, err
		}
	}
	if err := s.ballast.fill(); err != nil {
		return measured{}, err
	}
	return on(w.load, "bench")
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
	pss, memErr := residentBytes(b.pid)
	used, cpuErr := cpuOf(b.pid)
	pause(5 * time.Second)
	later, laterErr := cpuOf(b.pid)
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
	p, err := os.FindProcess(b.pid)
	if err != nil {
		return err
	}
	if err := p.Kill(); err != nil {
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
