package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/metadata/config"
)

func nodeCommand() *cli.Command {
	return &cli.Command{
		Name:  "node",
		Usage: "list, describe, cordon, drain and remove the nodes of a cluster",
		Subcommands: []*cli.Command{
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list brokers with their state and what they hold", UsageText: "kraftgo node list [flags]",
				Description: example("  kraftgo node list --format json"),
				Flags:       connectionFlags(formatFlag()),
				Action:      nodeList,
			},
			{
				Name: "describe", Usage: "show a broker and the partitions it holds", UsageText: "kraftgo node describe BROKER [flags]",
				Description: example("  kraftgo node describe 2"),
				Flags:       connectionFlags(formatFlag()),
				Action:      nodeDescribe,
			},
			cordonCommand(),
			uncordonCommand(),
			drainCommand(),
			decommissionCommand(),
			{
				Name: "remove", Usage: "forget a broker that is gone for good", UsageText: "kraftgo node remove BROKER [flags]",
				Description: example("  kraftgo node remove 3") + "\n\nThe broker must be down and hold no partition. With --force neither is asked: a broker that runs stops, and partitions that\nonly it holds are lost with its directory. A node that is started from that directory later is refused, unless with --readmit.",
				Flags:       connectionFlags(formatFlag(), &cli.BoolFlag{Name: "force", Usage: "also a broker that runs, or that holds partitions"}),
				Action:      nodeRemove,
			},
		},
	}
}

// The states of a broker.
const (
	stateAlive  = "alive"
	stateFenced = "fenced"
)

// state is the broker's state in a table.
func (n *nodeLine) state() string {
	switch {
	case n.silent:
		return n.State + ", does not answer"
	case n.Cordoned:
		return n.State + ", cordoned"
	}
	return n.State
}

// nodeLine is a broker as 'node list' prints it.
type nodeLine struct {
	Broker   int32                  `json:"broker"`
	Host     string                 `json:"host"`
	Port     int32                  `json:"port"`
	Rack     string                 `json:"rack,omitempty"`
	State    string                 `json:"state"`    // alive or fenced
	Cordoned bool                   `json:"cordoned"` // it gets no new replicas; not known of one that is fenced
	Quorum   string                 `json:"quorum"`   // leader, voter, observer, or "-"
	Leads    int                    `json:"leads"`    // partitions
	Holds    int                    `json:"holds"`    // replicas
	Offline  int                    `json:"offline"`  // of the partitions it holds, those without a leader
	silent   bool                   // it is not fenced, and does not answer
	held     []kadm.PartitionDetail // not printed in a list
	address  string                 // host:port
}

// nodes asks for what is known of the brokers, without asking them.
func (s *session) nodes() ([]*nodeLine, kadm.Metadata, error) {
	const doing = "describe the brokers"
	request := kmsg.NewPtrDescribeClusterRequest()
	request.IncludeFencedBrokers = true
	response, err := request.RequestWith(s.ctx, s.client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if err != nil {
		return nil, kadm.Metadata{}, failed(doing, err)
	}
	m, err := s.admin.Metadata(s.ctx)
	if err != nil {
		return nil, m, failed(doing, err)
	}
	byID := map[int32]*nodeLine{}
	var out []*nodeLine
	for _, b := range response.Brokers {
		n := &nodeLine{Broker: b.NodeID, Host: b.Host, Port: b.Port, State: stateAlive, Quorum: "-", address: fmt.Sprintf("%s:%d", b.Host, b.Port)}
		if b.Rack != nil {
			n.Rack = *b.Rack
		}
		if b.IsFenced {
			n.State = stateFenced
		}
		byID[n.Broker] = n
		out = append(out, n)
	}
	slices.SortFunc(out, func(a, b *nodeLine) int { return int(a.Broker - b.Broker) })
	m.Topics.EachPartition(func(p kadm.PartitionDetail) {
		if n := byID[p.Leader]; n != nil {
			n.Leads++
		}
		for _, id := range p.Replicas {
			if n := byID[id]; n != nil {
				n.Holds++
				n.held = append(n.held, p)
				if p.Leader < 0 {
					n.Offline++
				}
			}
		}
	})
	return out, m, nil
}

// quorumState is the metadata quorum, or why it is not known.
type quorumState struct {
	quorumSummary
	err error
}

// survey is nodes, and what the brokers themselves and the quorum say. The quorum comes last: without a controller that takes long,
// and a broker answers one request after the other.
func (s *session) survey() ([]*nodeLine, kadm.Metadata, quorumState, error) {
	nodes, m, err := s.nodes()
	if err != nil {
		return nil, m, quorumState{}, err
	}
	s.askAll(nodes)
	s.askCordons(nodes)
	// A cluster may not tell of its quorum (one with ZooKeeper does not know the request): then the column stays empty.
	q, err := s.quorum()
	for _, r := range q.Replicas {
		if i := slices.IndexFunc(nodes, func(n *nodeLine) bool { return n.Broker == r.Node }); i >= 0 {
			nodes[i].Quorum = r.Role
		}
	}
	return nodes, m, quorumState{q, err}, nil
}

func nodeList(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		nodes, _, quorum, err := s.survey()
		if err != nil {
			return err
		}
		if errors.Is(quorum.err, errNoController) {
			fmt.Fprintf(c.App.ErrWriter, "kraftgo: %v. What follows may be out of date.\n", errNoController)
		}
		return printData(c, nodes, func(t *table) {
			t.row("BROKER", "ADDRESS", "RACK", "STATE", "QUORUM", "LEADS", "HOLDS", "OFFLINE")
			for _, n := range nodes {
				t.row(n.Broker, n.address, n.Rack, n.state(), n.Quorum, n.Leads, n.Holds, n.Offline)
			}
		})
	})
}

// brokerArgument reads the one broker id that a command takes.
func brokerArgument(c *cli.Context) (int32, error) {
	if c.Args().Len() != 1 {
		return 0, fmt.Errorf("which broker? Usage: %s", c.Command.UsageText)
	}
	id, err := strconv.ParseInt(c.Args().First(), 10, 32)
	if err != nil || id < 0 {
		return 0, fmt.Errorf("%q is not a broker id; 'kraftgo node list' shows them", c.Args().First())
	}
	return int32(id), nil
}

// nodeDetail is a broker as 'node describe' prints it.
type nodeDetail struct {
	*nodeLine
	Partitions []nodePartition `json:"partitions"`
}

type nodePartition struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Replicas  []int32 `json:"replicas"`
	InSync    []int32 `json:"inSync"`
}

func nodeDescribe(c *cli.Context) error {
	id, err := brokerArgument(c)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		n, err := s.node(id)
		if err != nil {
			return err
		}
		out := nodeDetail{nodeLine: n, Partitions: []nodePartition{}}
		for _, p := range n.held {
			out.Partitions = append(out.Partitions, nodePartition{p.Topic, p.Partition, p.Leader, p.Replicas, p.ISR})
		}
		slices.SortFunc(out.Partitions, func(a, b nodePartition) int {
			if a.Topic != b.Topic {
				return slices.Compare([]byte(a.Topic), []byte(b.Topic))
			}
			return int(a.Partition - b.Partition)
		})
		return printData(c, out, func(t *table) {
			t.row("broker", n.Broker)
			t.row("address", n.address)
			t.row("rack", n.Rack)
			t.row("state", n.state())
			t.row("quorum", n.Quorum)
			t.row("leads", n.Leads)
			t.row("holds", n.Holds)
			t.gap()
			t.row("TOPIC", "PARTITION", "LEADER", "REPLICAS", "IN SYNC")
			for _, p := range out.Partitions {
				t.row(p.Topic, p.Partition, p.Leader, fmt.Sprint(p.Replicas), fmt.Sprint(p.InSync))
			}
		})
	})
}

// node returns one broker.
func (s *session) node(id int32) (*nodeLine, error) {
	nodes, _, _, err := s.survey()
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(nodes, func(n *nodeLine) bool { return n.Broker == id })
	if i < 0 {
		return nil, refused("broker %d is not registered; 'kraftgo node list' shows who is", id)
	}
	return nodes[i], nil
}

// removeResult is what 'node remove' prints.
type removeResult struct {
	Broker  int32 `json:"broker"`
	Removed bool  `json:"removed"`
}

func nodeRemove(c *cli.Context) error {
	id, err := brokerArgument(c)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		n, err := s.node(id)
		if err != nil {
			return err
		}
		if !c.Bool("force") {
			switch {
			case n.State == stateAlive:
				return refused("broker %d is alive: stop it first, or give --force, which stops it", id)
			case n.Holds > 0:
				return refused("broker %d holds %d replicas ('kraftgo node describe %d' lists them): 'kraftgo node drain %d' moves them, or give --force and lose what only it holds", id, n.Holds, id, id)
			}
		}
		request := kmsg.NewPtrUnregisterBrokerRequest()
		request.BrokerID = id
		doing := fmt.Sprintf("remove broker %d", id)
		response, err := request.RequestWith(s.ctx, s.client)
		if err != nil {
			return failed(doing, err)
		}
		if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
			why := ""
			if response.ErrorMessage != nil {
				why = *response.ErrorMessage
			}
			return answered(doing, err, why)
		}
		return printResult(c, removeResult{id, true}, "broker %d is removed", id)
	})
}

// healthReport is a cluster's state as 'cluster health' prints it.
type healthReport struct {
	Healthy  bool     `json:"healthy"`
	Problems []string `json:"problems"`
	Notes    []string `json:"notes"` // no problem, and worth knowing
}

func clusterHealth(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		nodes, m, quorum, err := s.survey()
		if err != nil {
			return err
		}
		moves, err := s.reassignments()
		if err != nil {
			moves = nil // what is being added counts as missing then
		}
		report := health(nodes, m, quorum, moves)
		err = printData(c, report, func(t *table) {
			if report.Healthy {
				t.row("the cluster is well")
			}
			for _, p := range report.Problems {
				t.row("PROBLEM", p)
			}
			for _, n := range report.Notes {
				t.row("note", n)
			}
		})
		if err == nil && !report.Healthy {
			return refused("the cluster is not well")
		}
		return err
	})
}

// askAll notes which brokers do not answer that should: a new controller may not have fenced yet who is gone.
func (s *session) askAll(nodes []*nodeLine) {
	ctx, cancel := context.WithTimeout(s.ctx, answerTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, n := range nodes {
		if n.State == stateAlive {
			asked.Go(func() {
				_, err := s.client.Broker(int(n.Broker)).Request(ctx, kmsg.NewPtrApiVersionsRequest())
				n.silent = err != nil
			})
		}
	}
	asked.Wait()
}

// health judges what was asked.
func health(nodes []*nodeLine, m kadm.Metadata, q quorumState, moves map[place]copying) healthReport {
	r := healthReport{Problems: []string{}, Notes: []string{}}
	for _, n := range nodes {
		if n.State != stateAlive {
			r.Problems = append(r.Problems, fmt.Sprintf("broker %d (%s) is fenced", n.Broker, n.address))
		}
		if n.silent {
			r.Problems = append(r.Problems, fmt.Sprintf("broker %d (%s) does not answer", n.Broker, n.address))
		}
		if n.Cordoned {
			r.Notes = append(r.Notes, fmt.Sprintf("broker %d is cordoned: it gets no new replicas, and no vote", n.Broker))
		}
	}
	offline, under := 0, 0
	m.Topics.EachPartition(func(p kadm.PartitionDetail) {
		if p.Leader < 0 {
			offline++
		} else if len(p.ISR) < len(p.Replicas)-len(moves[place{p.Topic, p.Partition}].Adding) {
			under++
		}
	})
	if offline > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d partitions have no leader", offline))
	}
	if under > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d partitions have fewer replicas in sync than they should", under))
	}
	if len(moves) > 0 {
		r.Notes = append(r.Notes, fmt.Sprintf("%d partitions are being moved: see 'kraftgo reassign status'", len(moves)))
	}
	voters := 0
	for _, v := range q.Replicas {
		if v.Role != "observer" {
			voters++
		}
	}
	switch {
	case errors.Is(q.err, errNoController), q.err == nil && q.Leader < 0:
		r.Problems = append(r.Problems, fmt.Sprintf("%v. What is told of fenced brokers and of partitions may be out of date", errNoController))
	case q.err != nil:
		r.Problems = append(r.Problems, q.err.Error())
	case voters < 3 && len(nodes) >= 3:
		r.Problems = append(r.Problems, fmt.Sprintf("%d of %d brokers vote in the metadata quorum, 3 should", voters, len(nodes)))
	case voters == 1:
		r.Notes = append(r.Notes, "one broker votes in the metadata quorum: while it is down nothing can be changed; from three brokers on, three vote")
	}
	r.Healthy = len(r.Problems) == 0
	return r
}

func clusterToken(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%q is left over. Usage: %s", c.Args().First(), c.Command.UsageText)
	}
	if c.String("data") == "" {
		return fmt.Errorf("which node's data directory? Give --data DIR")
	}
	if err := config.Lookup(config.Broker, "cluster.seeds").Check(strings.Join(c.StringSlice("seed"), ",")); err != nil {
		return fmt.Errorf("--seed: %w", err)
	}
	t, err := cluster.ReadToken(c.String("data"), c.StringSlice("seed"))
	if err != nil {
		return err
	}
	fmt.Fprintln(c.App.Writer, t)
	return nil
}
