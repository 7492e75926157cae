package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// idleCommand measures what clusters of three cost that hold partitions to which nothing is written.
func idleCommand(args []string) (err error) {
	flags := flag.NewFlagSet("idle", flag.ContinueOnError)
	binary := flags.String("kraftgo", "", "path of the kraftgo binary")
	script := flags.String("peer", "cluster/e2e/peer", "path of the script that runs Apache Kafka; empty: kraftgo alone")
	partitions := flags.Int("partitions", 1000, "with three replicas each")
	settle := flags.Duration("settle", time.Minute, "from the creation of the partitions to the measurement")
	measure := flags.Duration("measure", time.Minute, "of CPU time")
	if err := flags.Parse(args); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "idle-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	starts := []func() (*broker, error){func() (*broker, error) { return startKraftgoCluster(*binary, dir+"/data", 3) }}
	if *script != "" {
		starts = append(starts, func() (*broker, error) { return startKafka(*script, dir, 3, -1) })
	}
	fmt.Printf("three brokers, %d partitions with three replicas, nothing is written; all three together, %s after the creation, over %s\n\n| brokers | CPU, of one core | memory (Pss) |\n|---|---|---|\n", *partitions, *settle, *measure)
	for _, start := range starts {
		b, err := start()
		if err != nil {
			return err
		}
		share, pss, err := idle(b, *partitions, *settle, *measure)
		if err := errors.Join(err, b.stop()); err != nil {
			return err
		}
		fmt.Printf("| %s | %.1f %% | %d MB |\n", b.name, 100*share, pss/1e6)
	}
	return nil
}

// idle returns how much of one core and which memory a cluster uses.
func idle(b *broker, partitions int, settle, measure time.Duration) (share float64, pss int64, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.addr, ",")...))
	if err != nil {
		return 0, 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = kadm.NewClient(c).CreateTopic(ctx, int32(partitions), 3, nil, "idle")
	c.Close()
	if err != nil {
		return 0, 0, err
	}
	pause(settle)
	before, err := b.cpu()
	if err != nil {
		return 0, 0, err
	}
	begin := time.Now()
	pause(measure)
	after, err := b.cpu()
	if err != nil {
		return 0, 0, err
	}
	share = (after - before) / since(begin)
	pss, err = b.resident()
	return share, pss, err
}
