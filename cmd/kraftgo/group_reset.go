package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/urfave/cli/v2"
)

// offsetMove is a partition as 'group reset' prints it.
type offsetMove struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // before; null: nothing
	New       int64  `json:"new"`
}

func groupReset(c *cli.Context) error {
	groups, err := names(c, "group", 1, 1)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	topics := repeatedValues(c, "topic")
	if len(topics) == 0 {
		return errors.New("which topic? Give --topic TOPIC")
	}
	if !c.IsSet("to") {
		return errors.New("where to? Give --to PLACE")
	}
	to, err := parsePosition(c.String("to"), time.Now())
	if err != nil {
		return fmt.Errorf("--to %w", err)
	}
	return withSession(c, func(s *session) error {
		moves, err := s.planReset(groups[0], topics, c.IntSlice("partition"), to)
		if err != nil {
			return err
		}
		if c.Bool("execute") {
			if err := s.executeReset(groups[0], moves); err != nil {
				return err
			}
		}
		err = printData(c, moves, func(t *table) {
			t.row("TOPIC", "PARTITION", "COMMITTED", "NEW")
			for _, m := range moves {
				before := any("")
				if m.Committed != nil {
					before = *m.Committed
				}
				t.row(m.Topic, m.Partition, before, m.New)
			}
		})
		if err == nil && !c.Bool("execute") {
			fmt.Fprintln(c.App.ErrWriter, "nothing was changed; --execute does it")
		}
		return err
	})
}

// planReset finds where each partition's offset goes.
func (s *session) planReset(group string, topics []string, partitions []int, to position) ([]offsetMove, error) {
	for _, topic := range topics {
		detail, err := s.topic(topic)
		if err != nil {
			return nil, err
		}
		for _, p := range partitions {
			if _, ok := detail.Partitions[int32(p)]; !ok {
				return nil, refused("topic %s has no partition %d: it has %d", topic, p, len(detail.Partitions))
			}
		}
	}
	places, err := to.resolve(s, topics)
	if err != nil {
		return nil, err
	}
	committed, err := s.admin.FetchOffsetsForTopics(s.ctx, group, topics...)
	if err != nil {
		return nil, failed("look up the offsets of group "+group, err)
	}
	out := []offsetMove{}
	for _, topic := range slices.Sorted(maps.Keys(places)) {
		for _, p := range slices.Sorted(maps.Keys(places[topic])) {
			if len(partitions) > 0 && !slices.Contains(partitions, int(p)) {
				continue
			}
			move := offsetMove{Topic: topic, Partition: p, New: places[topic][p]}
			if o, ok := committed.Lookup(topic, p); ok && o.Err == nil && o.At >= 0 {
				move.Committed = &o.At
			}
			out = append(out, move)
		}
	}
	return out, nil
}

// executeReset commits the new offsets. The coordinator refuses them where members are.
func (s *session) executeReset(group string, moves []offsetMove) error {
	rows, err := s.groups()
	if err != nil {
		return err
	}
	for _, row := range rows {
		if row.Group != group {
			continue
		}
		detail, err := s.describeGroup(row)
		if err != nil {
			return err
		}
		if len(detail.Members) > 0 {
			return refused("group %s has members (%d): stop them first", group, len(detail.Members))
		}
	}
	offsets := kadm.Offsets{}
	for _, m := range moves {
		offsets.AddOffset(m.Topic, m.Partition, m.New, -1)
	}
	answers, err := s.admin.CommitOffsets(s.ctx, group, offsets)
	if err != nil {
		return failed("commit the offsets of group "+group, err)
	}
	return failed("commit the offsets of group "+group, answers.Error())
}
