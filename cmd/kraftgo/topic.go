package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func topicCommand() *cli.Command {
	return &cli.Command{
		Name:  "topic",
		Usage: "create, list, describe, alter and delete topics, elect their leaders",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "create topics", UsageText: "kraftgo topic create NAME... [flags]",
				Description: example("  kraftgo topic create orders --partitions 6\n  kraftgo topic create state --replicas 3 --config cleanup.policy=compact"),
				Flags: connectionFlags(
					&cli.IntFlag{Name: "partitions", Value: -1, Usage: "how many `PARTITIONS`; -1: the broker's default", DefaultText: "the broker's"},
					&cli.IntFlag{Name: "replicas", Value: -1, Usage: "how many `REPLICAS` each has; -1: the broker's default", DefaultText: "the broker's"},
					repeatedFlag("config", "a setting of the topic, `KEY=VALUE`"),
					&cli.BoolFlag{Name: "if-not-exists", Usage: "leave a topic that exists as it is, and succeed"}),
				Action: topicCreate,
			},
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list topics", UsageText: "kraftgo topic list [flags]",
				Description: example("  kraftgo topic list --format json"),
				Flags:       connectionFlags(formatFlag(), &cli.BoolFlag{Name: "internal", Usage: "also the topics that brokers keep for themselves"}),
				Action:      topicList,
			},
			{
				Name: "describe", Usage: "show partitions, leaders, replicas and settings", UsageText: "kraftgo topic describe NAME... [flags]",
				Description: example("  kraftgo topic describe orders"),
				Flags:       connectionFlags(formatFlag()),
				Action:      topicDescribe,
			},
			{
				Name: "alter", Usage: "add partitions, change settings", UsageText: "kraftgo topic alter NAME [flags]",
				Description: example("  kraftgo topic alter orders --partitions 12\n  kraftgo topic alter orders --config retention.ms=3600000 --delete-config segment.ms"),
				Flags: connectionFlags(
					&cli.IntFlag{Name: "partitions", Usage: "how many `PARTITIONS` it shall have, more than now"},
					repeatedFlag("config", "set a setting, `KEY=VALUE`"),
					repeatedFlag("delete-config", "return the setting `KEY` to its default")),
				Action: topicAlter,
			},
			electCommand(),
			{
				Name: "delete", Usage: "delete topics with all their records, without asking", UsageText: "kraftgo topic delete NAME... [flags]",
				Description: example("  kraftgo topic delete orders invoices"),
				Flags:       connectionFlags(&cli.BoolFlag{Name: "if-exists", Usage: "succeed where a topic does not exist"}),
				Action:      topicDelete,
			},
		},
	}
}

func topicCreate(c *cli.Context) error {
	topics, err := names(c, "topic", 1, 0)
	if err != nil {
		return err
	}
	given, err := pairs(c, "config")
	if err != nil {
		return err
	}
	partitions, replicas := c.Int("partitions"), c.Int("replicas")
	if partitions == 0 || partitions < -1 || partitions > 1<<30 {
		return fmt.Errorf("--partitions %d: want a number from 1, or -1", partitions)
	}
	if replicas == 0 || replicas < -1 || replicas > 1<<15-1 {
		return fmt.Errorf("--replicas %d: want a number from 1, or -1", replicas)
	}
	configs := map[string]*string{}
	for _, p := range given {
		configs[p.key] = &p.value
	}
	return withSession(c, func(s *session) error {
		answers, err := s.admin.CreateTopics(s.ctx, int32(partitions), int16(replicas), configs, topics...)
		if err != nil {
			return failed("create topics", err)
		}
		var faults []error
		for _, topic := range topics {
			answer, ok := answers[topic]
			switch {
			case !ok:
				faults = append(faults, refused("create topic %s: the broker did not answer about it", topic))
			case errors.Is(answer.Err, kerr.TopicAlreadyExists) && c.Bool("if-not-exists"):
				fmt.Fprintf(c.App.Writer, "topic %s exists\n", topic)
			case answer.Err != nil:
				faults = append(faults, answered("create topic "+topic, answer.Err, answer.ErrMessage))
			default:
				fmt.Fprintf(c.App.Writer, "created topic %s\n", topic)
			}
		}
		return errors.Join(faults...)
	})
}

// topicRow is a topic as 'topic list' prints it.
type topicRow struct {
	Topic      string `json:"topic"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replicas"`
	Internal   bool   `json:"internal"`
}

func topicList(c *cli.Context) error {
	if _, err := names(c, "topic", 0, 0); err != nil {
		return err
	}
	if c.Args().Present() {
		return fmt.Errorf("%q is left over: 'kraftgo topic describe' takes names", c.Args().First())
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		topics, err := s.admin.ListTopicsWithInternal(s.ctx)
		if err != nil {
			return failed("list topics", err)
		}
		rows := []topicRow{}
		for _, t := range topics.Sorted() {
			if t.Err != nil {
				return failed("list topic "+t.Topic, t.Err)
			}
			if t.IsInternal && !c.Bool("internal") {
				continue
			}
			rows = append(rows, topicRow{t.Topic, len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal})
		}
		return printData(c, rows, func(t *table) {
			t.row("TOPIC", "PARTITIONS", "REPLICAS")
			for _, r := range rows {
				t.row(r.Topic, r.Partitions, r.Replicas)
			}
		})
	})
}

// topicDetail is a topic as 'topic describe' prints it.
type topicDetail struct {
	Topic      string            `json:"topic"`
	ID         string            `json:"id"`
	Internal   bool              `json:"internal"`
	Configs    map[string]string `json:"configs"` // only those that are set on the topic
	Partitions []partitionDetail `json:"partitions"`
}

type partitionDetail struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"` // -1: none
	Epoch     int32   `json:"epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Offline   []int32 `json:"offline"`
	Eligible  []int32 `json:"eligible"`   // may lead though they are not in sync
	LastKnown []int32 `json:"last_known"` // were the last that might
}

func topicDescribe(c *cli.Context) error {
	topics, err := names(c, "topic", 1, 0)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		configs, err := s.admin.DescribeTopicConfigs(s.ctx, topics...)
		if err != nil {
			return failed("describe settings", err)
		}
		var out []topicDetail
		for _, name := range topics {
			detail, err := s.topic(name)
			if err != nil {
				return err
			}
			config, err := configs.On(name, nil)
			if err = errors.Join(err, config.Err); err != nil {
				return answered("describe the settings of topic "+name, err, config.ErrMessage)
			}
			d := newTopicDetail(detail, config)
			s.addEligible(&d)
			out = append(out, d)
		}
		return printData(c, out, func(t *table) { printTopics(t, out) })
	})
}

func newTopicDetail(from kadm.TopicDetail, config kadm.ResourceConfig) topicDetail {
	out := topicDetail{
		Topic: from.Topic, ID: base64.RawURLEncoding.EncodeToString(from.ID[:]), Internal: from.IsInternal,
		Configs: map[string]string{}, Partitions: []partitionDetail{},
	}
	for _, p := range from.Partitions.Sorted() {
		out.Partitions = append(out.Partitions, partitionDetail{
			Partition: p.Partition, Leader: p.Leader, Epoch: p.LeaderEpoch,
			Replicas: append([]int32{}, p.Replicas...), ISR: append([]int32{}, p.ISR...), Offline: append([]int32{}, p.OfflineReplicas...),
			Eligible: []int32{}, LastKnown: []int32{},
		})
	}
	for _, entry := range config.Configs {
		if entry.Source == kmsg.ConfigSourceDynamicTopicConfig {
			out.Configs[entry.Key] = entry.MaybeValue()
		}
	}
	return out
}

func printTopics(t *table, topics []topicDetail) {
	for i, d := range topics {
		if i > 0 {
			t.gap()
		}
		t.row("topic", d.Topic)
		t.row("id", d.ID)
		for _, key := range slices.Sorted(maps.Keys(d.Configs)) {
			t.row("config", key+"="+d.Configs[key])
		}
		t.gap()
		row := []any{"PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "OFFLINE"}
		// Rarely there are any: then they are what counts.
		outside := slices.ContainsFunc(d.Partitions, func(p partitionDetail) bool { return len(p.Eligible)+len(p.LastKnown) > 0 })
		if outside {
			row = append(row, "ELIGIBLE", "LAST KNOWN")
		}
		t.row(row...)
		for _, p := range d.Partitions {
			leader := any(p.Leader)
			if p.Leader < 0 {
				leader = "none"
			}
			row = append(row[:0], p.Partition, leader, p.Epoch, numbers(p.Replicas), numbers(p.ISR), numbers(p.Offline))
			if outside {
				row = append(row, numbers(p.Eligible), numbers(p.LastKnown))
			}
			t.row(row...)
		}
	}
}

func topicAlter(c *cli.Context) error {
	topics, err := names(c, "topic", 1, 1)
	if err != nil {
		return err
	}
	set, err := pairs(c, "config")
	if err != nil {
		return err
	}
	var changes []kadm.AlterConfig
	for _, p := range set {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: p.key, Value: &p.value})
	}
	for _, key := range repeatedValues(c, "delete-config") {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	partitions := c.Int("partitions")
	switch {
	case c.IsSet("partitions") && (partitions < 1 || partitions > 1<<30):
		return fmt.Errorf("--partitions %d: want a number from 1", partitions)
	case !c.IsSet("partitions") && len(changes) == 0:
		return errors.New("nothing to alter: give --partitions, --config or --delete-config")
	}
	return withSession(c, func(s *session) error { return s.alterTopic(c, topics[0], changes, partitions) })
}

// alterTopic changes settings first: that can be undone.
func (s *session) alterTopic(c *cli.Context, topic string, changes []kadm.AlterConfig, partitions int) error {
	if _, err := s.topic(topic); err != nil {
		return err
	}
	if len(changes) > 0 {
		answers, err := s.admin.AlterTopicConfigs(s.ctx, changes, topic)
		if err != nil {
			return failed("alter topic "+topic, err)
		}
		for _, answer := range answers {
			if answer.Err != nil {
				return answered("alter topic "+topic, answer.Err, answer.ErrMessage)
			}
		}
	}
	if partitions > 0 {
		answers, err := s.admin.UpdatePartitions(s.ctx, partitions, topic)
		if err != nil {
			return failed("add partitions to topic "+topic, err)
		}
		if answer := answers[topic]; answer.Err != nil {
			return answered("add partitions to topic "+topic, answer.Err, answer.ErrMessage)
		}
	}
	fmt.Fprintf(c.App.Writer, "altered topic %s\n", topic)
	return nil
}

func topicDelete(c *cli.Context) error {
	topics, err := names(c, "topic", 1, 0)
	if err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		answers, err := s.admin.DeleteTopics(s.ctx, topics...)
		if err != nil {
			return failed("delete topics", err)
		}
		var faults []error
		for _, topic := range topics {
			answer, ok := answers[topic]
			switch {
			case !ok:
				faults = append(faults, refused("delete topic %s: the broker did not answer about it", topic))
			case errors.Is(answer.Err, kerr.UnknownTopicOrPartition) && c.Bool("if-exists"):
			case errors.Is(answer.Err, kerr.UnknownTopicOrPartition):
				faults = append(faults, refused("delete topic %s: it does not exist", topic))
			case answer.Err != nil:
				faults = append(faults, answered("delete topic "+topic, answer.Err, answer.ErrMessage))
			default:
				fmt.Fprintf(c.App.Writer, "deleted topic %s\n", topic)
			}
		}
		return errors.Join(faults...)
	})
}
