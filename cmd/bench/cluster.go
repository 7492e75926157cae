package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// node is one process of a kraftgo cluster.
type node struct {
	id             int32
	client, gossip string
	dir, log       string
	cmd            *exec.Cmd
}

var nodeReady = regexp.MustCompile(`broker=(\d+) client=(\S+) internal=\S+ gossip=(\S+)`)

// run starts the node's process and waits until it serves.
func (n *node) run(binary string, args ...string) error {
	n.cmd = exec.Command(binary, append(args, "--data", n.dir, "--admin", "127.0.0.1:0", "--log-level", "warn")...)
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	n.cmd.Stderr = log
	out, err := n.cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := n.cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := nodeReady.FindStringSubmatch(line)
	if err != nil || m == nil {
		return errors.Join(fmt.Errorf("kraftgo is not ready: %q, see %s", line, n.log), err, n.cmd.Process.Kill())
	}
	id, err := strconv.ParseInt(m[1], 10, 32)
	n.id, n.client, n.gossip = int32(id), m[2], m[3]
	return err
}

// end ends the process, and waits for that.
func (n *node) end(s syscall.Signal) error {
	return errors.Join(n.cmd.Process.Signal(s), ignoreExit(n.cmd.Wait()))
}

// numbered returns as many directories.
func numbered(dir string, count int) (out []string) {
	for i := range count {
		out = append(out, fmt.Sprintf("%s%d", dir, i+1))
	}
	return out
}

// startNodes starts a cluster with a node for each data directory. Their logs are files beside logs.
func startNodes(binary, logs string, dirs []string) (nodes []*node, err error) {
	for i, dir := range dirs {
		n := &node{dir: dir, log: fmt.Sprintf("%s%d.log", logs, i+1)}
		args := []string{"init"}
		if i > 0 {
			args = []string{"join", "--seed", nodes[0].gossip}
		}
		if err := n.run(binary, append(args, "--client", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--gossip", "127.0.0.1:0")...); err != nil {
			return nodes, errors.Join(err, stopNodes(nodes))
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func stopNodes(nodes []*node) error {
	var faults []error
	for _, n := range nodes {
		faults = append(faults, n.end(syscall.SIGTERM))
	}
	return errors.Join(faults...)
}

// startKraftgoCluster starts a cluster as one thing to measure.
func startKraftgoCluster(binary, dir string, count int) (*broker, error) {
	nodes, err := startNodes(binary, dir, numbered(dir, count))
	if err != nil {
		return nil, err
	}
	b := &broker{name: "kraftgo", stop: func() error { return stopNodes(nodes) }}
	var addresses []string
	for _, n := range nodes {
		b.pids = append(b.pids, n.cmd.Process.Pid)
		addresses = append(addresses, n.client)
	}
	b.addr = strings.Join(addresses, ",")
	return b, nil
}
