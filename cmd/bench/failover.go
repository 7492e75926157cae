package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
)

// ending is a way in which a broker ends.
type ending struct {
	name       string
	signal     syscall.Signal
	controller bool
	hangs      bool // its disk hangs, in place of a signal; needs root, and kraftgo alone is asked
}

var endings = []ending{
	{name: "kill -9 of a broker", signal: syscall.SIGKILL},
	{name: "kill -9 of the controller", signal: syscall.SIGKILL, controller: true},
	{name: "SIGTERM of a broker", signal: syscall.SIGTERM},
	{name: "SIGTERM of the controller", signal: syscall.SIGTERM, controller: true},
	{name: "SIGSTOP of a broker", signal: syscall.SIGSTOP},
	{name: "hung disk of a broker", hangs: true},
}

// patience is how long a produce request may take at the broker, and answer how long the client waits beyond that, and for any other
// answer. A client that waits longer for a broker that is asleep would be measured, and not how soon there is another leader: franz-go
// takes the news of one when each of its five requests in flight has tried two connections.
const patience, answer = 250 * time.Millisecond, 100 * time.Millisecond

// failover is one run of it.
type failover struct {
	partitions, rate int
	binary, script   string
	dir              string
	runs, peerRuns   int
}

func failoverCommand(args []string) error {
	f := failover{}
	flags := flag.NewFlagSet("failover", flag.ContinueOnError)
	flags.StringVar(&f.binary, "kraftgo", "", "path of the kraftgo binary")
	flags.StringVar(&f.script, "peer", "cluster/e2e/peer", "path of the script that runs Apache Kafka; empty: kraftgo alone")
	flags.IntVar(&f.partitions, "partitions", 60, "of the topic that is written to, with three replicas")
	flags.IntVar(&f.rate, "rate", 100, "records a second to each partition")
	flags.IntVar(&f.runs, "runs", 20, "how often each broker is ended in each way")
	flags.IntVar(&f.peerRuns, "peer-runs", -1, "how often those of Apache Kafka, which take three times as long; -1: as often")
	only := flags.String("only", "", "the ways whose name begins so")
	if err := flags.Parse(args); err != nil {
		return err
	}
	var err error
	if f.dir, err = os.MkdirTemp("", "failover-"); err != nil {
		return err
	}
	defer os.RemoveAll(f.dir)
	brokers := []string{"kraftgo"}
	if f.script != "" {
		brokers = append(brokers, "kafka")
	}
	fmt.Printf("three brokers, %d partitions with three replicas, acks=all, %d records a second to each; the longest pause between two acknowledgements of a partition\n\n", f.partitions, f.rate)
	fmt.Print("| way | brokers | runs | median | worst | lost | |\n|---|---|---|---|---|---|---|\n")
	for _, e := range endings {
		if !strings.HasPrefix(e.name, *only) {
			continue
		}
		for _, name := range brokers {
			if e.hangs && name != "kraftgo" {
				continue
			}
			if err := f.repeat(name, e); err != nil {
				return fmt.Errorf("%s, %s: %w", name, e.name, err)
			}
		}
	}
	return nil
}

// repeat ends a broker of a fresh cluster, as often as was asked for, and prints a row.
func (f *failover) repeat(name string, e ending) error {
	var gaps []time.Duration
	lost, acknowledged, runs := 0, 0, f.runs
	if name == "kafka" && f.peerRuns >= 0 {
		runs = f.peerRuns
	}
	if runs == 0 {
		return nil
	}
	for i := range runs {
		gap, v, err := f.once(fmt.Sprintf("%s/%s-%d-%s", f.dir, name, i, strings.ReplaceAll(e.name, " ", "-")), name, e)
		if err != nil {
			return err
		}
		if !v.Sound() {
			lost += v.Lost + v.Moved + v.Doubled + v.Reordered + v.Strange
			fmt.Println(v)
		}
		acknowledged += v.Acked
		gaps = append(gaps, gap)
	}
	slices.Sort(gaps)
	round := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	fmt.Printf("| %s | %s | %d | %s | %s | %d | of %d acknowledged |\n", e.name, name, runs, round(gaps[len(gaps)/2]), round(gaps[len(gaps)-1]), lost, acknowledged)
	return nil
}

// once ends one broker of a fresh cluster.
func (f *failover) once(dir, name string, e ending) (gap time.Duration, v acked.Verdict, err error) {
	b, end, err := f.start(dir, name, e)
	if err != nil {
		return 0, v, err
	}
	undo := func() error { return nil }
	defer func() { err = errors.Join(err, undo(), b.stop()) }()
	seeds := strings.Split(b.addr, ",")
	c, err := kgo.NewClient(kgo.SeedBrokers(seeds...), kgo.MetadataMinAge(acked.RetryPause))
	if err != nil {
		return 0, v, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if _, err := kadm.NewClient(c).CreateTopic(ctx, int32(f.partitions), 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")}, "t"); err != nil {
		return 0, v, err
	}
	pause(2 * time.Second)
	w, err := acked.Start(acked.Options{
		Seeds: seeds, Topic: "t", Partitions: f.partitions, Rate: f.rate, Size: 100,
		Client: []kgo.Opt{kgo.ProduceRequestTimeout(patience), kgo.RequestTimeoutOverhead(answer)},
	})
	if err != nil {
		return 0, v, err
	}
	pause(5 * time.Second)
	victim, err := leads(ctx, c)
	if err != nil {
		return 0, v, err
	}
	if !e.controller {
		victim = victim%3 + 1
	}
	before := time.Now()
	if undo, err = end(victim); err != nil {
		return 0, v, err
	}
	for deadline := before.Add(90 * time.Second); w.Silent(before.Add(time.Second)) > 0; pause(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			return 0, v, fmt.Errorf("%d partitions take no records after 90 s", w.Silent(before.Add(time.Second)))
		}
	}
	pause(2 * time.Second)
	gap, _, _ = w.Gap(before, time.Now())
	if err := undo(); err != nil {
		return 0, v, err
	}
	undo = func() error { return nil }
	if err := w.Stop(ctx); err != nil {
		return 0, v, err
	}
	v, err = w.Check(ctx)
	return gap, v, err
}

// leads returns the id of the broker that is the controller: Kafka's metadata answers name any.
func leads(ctx context.Context, c *kgo.Client) (int32, error) {
	q := kmsg.NewPtrDescribeQuorumRequest()
	q.Topics = []kmsg.DescribeQuorumRequestTopic{{Topic: "__cluster_metadata", Partitions: []kmsg.DescribeQuorumRequestTopicPartition{{}}}}
	a, err := q.RequestWith(ctx, c)
	if err != nil {
		return 0, err
	}
	if len(a.Topics) != 1 || len(a.Topics[0].Partitions) != 1 {
		return 0, fmt.Errorf("who is the controller? %+v", a)
	}
	return a.Topics[0].Partitions[0].LeaderID, nil
}

// ender ends a broker by its id, in the way that is measured, and returns how that is taken back, as far as it can be.
type ender func(id int32) (undo func() error, err error)

// signals makes an ender of what sends a signal.
func (e ending) signals(send func(id int32, s syscall.Signal) error) ender {
	return func(id int32) (func() error, error) {
		undo := func() error {
			if e.signal != syscall.SIGSTOP {
				return nil
			}
			return send(id, syscall.SIGCONT)
		}
		return undo, send(id, e.signal)
	}
}

// start starts three brokers, whose ids are 1 to 3, and returns how one of them is ended.
func (f *failover) start(dir, name string, e ending) (*broker, ender, error) {
	if name == "kafka" {
		b, err := startKafka(f.script, f.dir, 3, -1)
		if err != nil {
			return nil, nil, err
		}
		return b, e.signals(func(id int32, s syscall.Signal) error { return syscall.Kill(b.pids[id-1], s) }), nil
	}
	dirs, disks := numbered(dir, 3), []*disk(nil)
	if e.hangs {
		for i, d := range dirs {
			made, err := makeDisk(d)
			if err != nil {
				return nil, nil, errors.Join(err, removeDisks(disks))
			}
			disks, dirs[i] = append(disks, made), made.mount+"/data"
		}
	}
	nodes, err := startNodes(f.binary, dir, dirs)
	if err != nil {
		return nil, nil, errors.Join(err, removeDisks(disks))
	}
	b := &broker{name: name, stop: func() error {
		var faults []error
		for _, n := range nodes {
			_ = n.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
			faults = append(faults, ignoreExit(n.cmd.Wait()))
		}
		return errors.Join(append(faults, removeDisks(disks))...)
	}}
	var addresses []string
	for _, n := range nodes {
		addresses = append(addresses, n.client)
	}
	b.addr = strings.Join(addresses, ",")
	if e.hangs {
		return b, func(id int32) (func() error, error) { return disks[id-1].thaw, disks[id-1].freeze() }, nil
	}
	return b, e.signals(func(id int32, s syscall.Signal) error { return nodes[id-1].cmd.Process.Signal(s) }), nil
}
