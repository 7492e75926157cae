package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func electCommand() *cli.Command {
	return &cli.Command{
		Name: "elect", Usage: "elect leaders", UsageText: "kraftgo topic elect TOPIC[:PARTITION]... [flags]",
		Description: example("  kraftgo topic elect orders\n  kraftgo topic elect --all\n  kraftgo topic elect orders:3 --unclean") +
			"\n\nPreferred replicas, which stand first in a partition's list, lead again if they are in sync. With --unclean, partitions\nwithout a leader get one from the replicas that are alive, the one that holds most: what only the others have is lost.",
		Flags: connectionFlags(
			&cli.BoolFlag{Name: "unclean", Usage: "for partitions without a leader, and at the price of records"},
			&cli.BoolFlag{Name: "all", Usage: "all partitions of all topics"}),
		Action: topicElect,
	}
}

// partitionWords reads TOPIC or TOPIC:PARTITION words; a topic alone stands for all its partitions.
func (s *session) partitionWords(words []string) (kadm.TopicsSet, error) {
	set := kadm.TopicsSet{}
	for _, w := range words {
		name, number, one := strings.Cut(w, ":")
		if one {
			p, err := strconv.ParseInt(number, 10, 32)
			if err != nil || p < 0 {
				return nil, fmt.Errorf("%q: want TOPIC or TOPIC:PARTITION", w)
			}
			set.Add(name, int32(p))
			continue
		}
		t, err := s.topic(name)
		if err != nil {
			return nil, err
		}
		for p := range t.Partitions {
			set.Add(name, p)
		}
	}
	return set, nil
}

func topicElect(c *cli.Context) error {
	words := c.Args().Slice()
	if c.Bool("all") != (len(words) == 0) {
		return fmt.Errorf("which topics? Either names, or --all. Usage: %s", c.Command.UsageText)
	}
	return withSession(c, func(s *session) error {
		request := kmsg.NewPtrElectLeadersRequest()
		request.TimeoutMillis = int32(requestTimeout.Milliseconds())
		doing := "elect preferred leaders"
		if c.Bool("unclean") {
			request.ElectionType, doing = 1, "elect leaders uncleanly"
		}
		if !c.Bool("all") {
			set, err := s.partitionWords(words)
			if err != nil {
				return err
			}
			for _, t := range set.IntoList() {
				q := kmsg.NewElectLeadersRequestTopic()
				q.Topic, q.Partitions = t.Topic, t.Partitions
				request.Topics = append(request.Topics, q)
			}
		}
		response, err := request.RequestWith(s.ctx, s.client)
		if err == nil {
			err = kerr.ErrorForCode(response.ErrorCode)
		}
		if err != nil {
			return failed(doing, err)
		}
		return electionResult(c, response)
	})
}

// electionResult prints what became of an election.
func electionResult(c *cli.Context, response *kmsg.ElectLeadersResponse) error {
	elected, unneeded := 0, 0
	var faults []error
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			err := kerr.ErrorForCode(p.ErrorCode)
			switch {
			case err == nil:
				elected++
			case errors.Is(err, kerr.ElectionNotNeeded):
				unneeded++
			default:
				why := ""
				if p.ErrorMessage != nil {
					why = *p.ErrorMessage
				}
				faults = append(faults, answered(fmt.Sprintf("elect a leader of %s:%d", t.Topic, p.Partition), err, why))
			}
		}
	}
	fmt.Fprintf(c.App.Writer, "%d elected, %d need no election\n", elected, unneeded)
	if len(faults) > 3 {
		faults = append(faults[:3], refused("and %d more like these", len(faults)-3))
	}
	return oneLine(faults)
}

// oneLine joins faults to one line, as every command ends with one.
func oneLine(faults []error) error {
	if len(faults) == 0 {
		return nil
	}
	words := make([]string, len(faults))
	for i, f := range faults {
		words[i] = f.Error()
	}
	return refused("%s", strings.Join(words, "; "))
}
