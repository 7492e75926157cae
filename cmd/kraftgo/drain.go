package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/metadata/control"
)

func drainCommand() *cli.Command {
	return &cli.Command{
		Name: "drain", Usage: "move everything off a broker", UsageText: "kraftgo node drain BROKER [flags]",
		Description: example("  kraftgo node drain 3 --watch") +
			"\n\nThe broker is cordoned first, and stays so: 'kraftgo node uncordon 3' ends it. Racks are kept where they can be.",
		Flags:  connectionFlags(watchFlags()...),
		Action: func(c *cli.Context) error { return nodeDrain(c, false) },
	}
}

func decommissionCommand() *cli.Command {
	return &cli.Command{
		Name: "decommission", Usage: "move everything off a broker, and take it out of the cluster", UsageText: "kraftgo node decommission BROKER --watch [flags]",
		Description: example("  kraftgo node decommission 3 --watch") +
			"\n\nA node of kraftgo stops when it was taken out. Without --watch the moves are begun; the same command again, when they are\nover, takes the broker out.",
		Flags:  connectionFlags(watchFlags()...),
		Action: func(c *cli.Context) error { return nodeDrain(c, true) },
	}
}

// drainRounds bounds how often a broker is looked at again after it was emptied: somebody may give it more meanwhile.
const drainRounds = 5

func nodeDrain(c *cli.Context, remove bool) error {
	id, err := brokerArgument(c)
	if err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		nodes, _, err := s.nodes()
		if err != nil {
			return err
		}
		if err := s.cordon(nodes, id, true); errors.Is(err, kerr.InvalidRequest) || errors.Is(err, kerr.InvalidConfig) {
			fmt.Fprintf(c.App.ErrWriter, "note: this cluster cannot cordon broker %d, so that new topics may still come to it\n", id)
		} else if err != nil {
			return err
		}
		if err := s.empty(c, id, remove); err != nil {
			return fmt.Errorf("%w. The broker stays cordoned: 'kraftgo node uncordon %d' ends that", err, id)
		}
		return nil
	})
}

// empty moves everything off a broker that is cordoned, and takes it out of the cluster if so is asked for.
func (s *session) empty(c *cli.Context, id int32, remove bool) error {
	for range drainRounds {
		s.renew(c.Context)
		empty, err := s.drainOnce(c, id)
		switch {
		case err != nil:
			return err
		case empty && remove:
			return s.takeOut(c, id)
		case empty:
			fmt.Fprintf(c.App.ErrWriter, "broker %d holds nothing\n", id)
			return nil
		case !c.Bool("watch"):
			return nil
		}
	}
	return refused("broker %d is given new replicas again and again: see 'kraftgo node describe %d'", id, id)
}

// drainOnce moves off a broker what is there, and reports whether there was nothing.
func (s *session) drainOnce(c *cli.Context, id int32) (empty bool, err error) {
	l, err := s.layout()
	if err != nil {
		return false, err
	}
	holds := 0
	for _, p := range l.partitions {
		if slices.Contains(p.Replicas, id) {
			holds++
		}
	}
	if holds == 0 {
		return true, nil
	}
	plan := l.plan(map[int32]bool{id: true}, control.MoveGoals{}, func(p place) bool { return slices.Contains(l.partitions[p].Replicas, id) })
	if len(plan.Problems) > 0 {
		return false, refused("broker %d cannot be emptied: %s", id, plan.Problems[0])
	}
	report := newPlanReport(plan, 50e6)
	moves := newMovesFile(plan).Partitions
	for at, r := range l.copying { // what leaves it already
		if slices.Contains(r.Removing, id) && !slices.ContainsFunc(moves, func(m movesLine) bool { return place{m.Topic, m.Partition} == at }) {
			moves = append(moves, movesLine{at.topic, at.partition, r.target()})
		}
	}
	fmt.Fprintf(c.App.ErrWriter, "broker %d holds %d replicas: %s\n", id, holds, report.summary())
	return false, s.carryOut(c, moves)
}

// takeOut unregisters a broker that holds nothing.
func (s *session) takeOut(c *cli.Context, id int32) error {
	s.renew(c.Context)
	request := kmsg.NewPtrUnregisterBrokerRequest()
	request.BrokerID = id
	doing := fmt.Sprintf("take out broker %d", id)
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
	fmt.Fprintf(c.App.ErrWriter, "broker %d holds nothing, and is out of the cluster\n", id)
	return nil
}
