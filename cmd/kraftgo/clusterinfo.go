package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func clusterCommand() *cli.Command {
	return &cli.Command{
		Name:  "cluster",
		Usage: "show brokers, health and the metadata quorum; upgrade; recover; print a token for a new node",
		Subcommands: []*cli.Command{
			{
				Name: "info", Usage: "show the cluster's id, controller and brokers", UsageText: "kraftgo cluster info [flags]",
				Description: example("  kraftgo cluster info -b 127.0.0.1:9092"),
				Flags:       connectionFlags(formatFlag()),
				Action:      clusterInfo,
			},
			{
				Name: "quorum", Usage: "show the voters and observers of the metadata log", UsageText: "kraftgo cluster quorum [flags]",
				Description: example("  kraftgo cluster quorum --format json"),
				Flags:       connectionFlags(formatFlag()),
				Action:      clusterQuorum,
			},
			{
				Name: "members", Usage: "show every broker, fenced ones too (as 'node list')", UsageText: "kraftgo cluster members [flags]",
				Description: example("  kraftgo cluster members -b 127.0.0.1:9092"),
				Flags:       connectionFlags(formatFlag()),
				Action:      nodeList,
			},
			{
				Name: "health", Usage: "check the cluster; exit code 0 if it is well, 2 if not", UsageText: "kraftgo cluster health [flags]",
				Description: example("  kraftgo cluster health || echo 'look after it'"),
				Flags:       connectionFlags(formatFlag()),
				Action:      clusterHealth,
			},
			upgradeCommand(),
			recoverCommand(),
			{
				Name: "token", Usage: "print what a new node needs to join, in one word", UsageText: "kraftgo cluster token --data DIR [--seed HOST:PORT]",
				Description: example("  kraftgo join --data ./n4 --token $(kraftgo cluster token --data ./n1)") + "\n\nThe directory is that of any node of the cluster, running or not. The token has the cluster's secret in it.",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory of a node"},
					&cli.StringSliceFlag{Name: "seed", Usage: "a gossip address to put into the token, `HOST:PORT`; by default the node's own and those it knows"},
				},
				Action: clusterToken,
			},
		},
	}
}

// clusterSummary is a cluster as 'cluster info' prints it.
type clusterSummary struct {
	Cluster    string       `json:"cluster"`
	Controller int32        `json:"controller"` // -1: none
	Topics     int          `json:"topics"`     // without internal ones
	Partitions int          `json:"partitions"` // of those
	Brokers    []brokerLine `json:"brokers"`
}

type brokerLine struct {
	Broker int32  `json:"broker"`
	Host   string `json:"host"`
	Port   int32  `json:"port"`
	Rack   string `json:"rack,omitempty"`
}

// alone checks a command that takes flags only.
func alone(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%q is left over. Usage: %s", c.Args().First(), c.Command.UsageText)
	}
	return checkFormat(c)
}

func clusterInfo(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		m, err := s.admin.Metadata(s.ctx)
		if err != nil {
			return failed("describe the cluster", err)
		}
		out := clusterSummary{Cluster: m.Cluster, Controller: m.Controller, Brokers: []brokerLine{}}
		for _, t := range m.Topics {
			if !t.IsInternal {
				out.Topics++
				out.Partitions += len(t.Partitions)
			}
		}
		for _, b := range m.Brokers {
			line := brokerLine{Broker: b.NodeID, Host: b.Host, Port: b.Port}
			if b.Rack != nil {
				line.Rack = *b.Rack
			}
			out.Brokers = append(out.Brokers, line)
		}
		return printData(c, out, func(t *table) {
			t.row("cluster", out.Cluster)
			t.row("controller", out.Controller)
			t.row("topics", out.Topics)
			t.row("partitions", out.Partitions)
			t.gap()
			t.row("BROKER", "ADDRESS", "RACK")
			for _, b := range out.Brokers {
				t.row(b.Broker, fmt.Sprintf("%s:%d", b.Host, b.Port), b.Rack)
			}
		})
	})
}

// quorumSummary is the metadata quorum as 'cluster quorum' prints it.
type quorumSummary struct {
	Leader        int32        `json:"leader"`
	Epoch         int32        `json:"epoch"`
	HighWatermark int64        `json:"highWatermark"`
	Replicas      []quorumLine `json:"replicas"`
}

type quorumLine struct {
	Node   int32  `json:"node"`
	Role   string `json:"role"` // leader, voter or observer
	LogEnd int64  `json:"logEnd"`
	Lag    int64  `json:"lag"`
}

func clusterQuorum(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		out, err := s.quorum()
		if err != nil {
			return err
		}
		return printData(c, out, func(t *table) {
			t.row("leader", out.Leader)
			t.row("epoch", out.Epoch)
			t.row("high watermark", out.HighWatermark)
			t.gap()
			t.row("NODE", "ROLE", "LOG END", "LAG")
			for _, r := range out.Replicas {
				t.row(r.Node, r.Role, r.LogEnd, r.Lag)
			}
		})
	})
}

// quorumTimeout is how long a command waits for a controller that tells of the quorum: longer than an election takes.
const quorumTimeout = 6 * time.Second

var errNoController = errors.New("the metadata quorum has no leader: most of its voters must run and reach each other. Start those that are down; if they are gone for good, 'kraftgo cluster recover' makes a quorum without them")

// quorum asks for the metadata quorum.
func (s *session) quorum() (quorumSummary, error) {
	const doing = "describe the quorum"
	request := kmsg.NewPtrDescribeQuorumRequest()
	topic := kmsg.NewDescribeQuorumRequestTopic()
	topic.Topic = "__cluster_metadata"
	topic.Partitions = append(topic.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
	request.Topics = append(request.Topics, topic)
	ctx, cancel := context.WithTimeout(s.ctx, quorumTimeout)
	defer cancel()
	response, err := request.RequestWith(ctx, s.client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, kerr.NotController) {
		return quorumSummary{Leader: -1}, failed(doing, errNoController)
	}
	if err != nil {
		return quorumSummary{Leader: -1}, failed(doing, err)
	}
	if len(response.Topics) != 1 || len(response.Topics[0].Partitions) != 1 {
		return quorumSummary{Leader: -1}, failed(doing, errors.New("the broker answered about no quorum"))
	}
	p := response.Topics[0].Partitions[0]
	if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
		return quorumSummary{Leader: -1}, failed(doing, err)
	}
	return newQuorumSummary(p), nil
}

func newQuorumSummary(p kmsg.DescribeQuorumResponseTopicPartition) quorumSummary {
	out := quorumSummary{Leader: p.LeaderID, Epoch: p.LeaderEpoch, HighWatermark: p.HighWatermark, Replicas: []quorumLine{}}
	var end int64
	for _, v := range p.CurrentVoters {
		if v.ReplicaID == p.LeaderID {
			end = v.LogEndOffset
		}
	}
	for _, v := range p.CurrentVoters {
		role := "voter"
		if v.ReplicaID == p.LeaderID {
			role = "leader"
		}
		out.Replicas = append(out.Replicas, quorumLine{v.ReplicaID, role, v.LogEndOffset, max(0, end-v.LogEndOffset)})
	}
	for _, v := range p.Observers {
		out.Replicas = append(out.Replicas, quorumLine{v.ReplicaID, "observer", v.LogEndOffset, max(0, end-v.LogEndOffset)})
	}
	slices.SortFunc(out.Replicas, func(a, b quorumLine) int { return int(a.Node - b.Node) })
	return out
}
