// Command bench measures brokers that speak the Kafka protocol: with one client, on one machine, kraftgo beside Apache
// Kafka in one run.
//
//	bench produce -b ADDR ...    load one broker, print one JSON line
//	bench consume -b ADDR ...    read a topic from its start
//	bench e2e -b ADDR ...        open loop: the time from a record's due moment to its arrival at a consumer
//	bench compare [-pairs N]     start both brokers in turn (A B B A), run the workloads, print the table
//	bench compare -brokers 3     the same with clusters of three and replicated topics
//	bench failover [-runs N]     end brokers of both in turn while all partitions are written to, and tell the pauses
//	bench idle [-partitions N]   the CPU and memory of clusters of both that hold partitions to which nothing is written
//	bench footprint              start-up times, idle memory and binary size of kraftgo
//
// Workloads are W1 and W2 (produce; to one broker, to three), W3 (end to end) and W4 (catch-up), each in forms that say who syncs: D0 neither, D1
// both, DX each by its default. Figures are medians over the pairs, with minimum and maximum; every single run is printed
// as a JSON line before the table. Broker CPU comes from /proc, so it counts kernel time on the broker's account.
package main

import (
	"fmt"
	"os"
)

func main() {
	commands := map[string]func([]string) error{
		"produce": produceCommand, "consume": consumeCommand, "e2e": endToEndCommand, "compare": compareCommand, "failover": failoverCommand, "footprint": footprintCommand, "idle": idleCommand,
	}
	if len(os.Args) < 2 || commands[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: bench produce|consume|e2e|compare|failover|footprint|idle [flags]")
		os.Exit(1)
	}
	if err := commands[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
