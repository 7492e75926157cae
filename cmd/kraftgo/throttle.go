package main

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

// The settings by which replication is throttled (KIP-73).
const (
	leaderRate       = "leader.replication.throttled.rate"
	followerRate     = "follower.replication.throttled.rate"
	leaderReplicas   = "leader.replication.throttled.replicas"
	followerReplicas = "follower.replication.throttled.replicas"
)

func throttleFlag() cli.Flag {
	return &cli.StringFlag{Name: "throttle", Usage: "copy at most so many `BYTES` a second from each broker, and as many to each; with --watch until the end, else until 'reassign unthrottle'"}
}

// throttle is which replicas are to be throttled for some moves, as Kafka's kafka-reassign-partitions chooses them: those that a partition
// has, as its leader, and those that it gets.
type throttle struct {
	brokers []int32
	topics  map[string]*throttledTopic
}

type throttledTopic struct{ leaders, followers []string } // partition:broker

// newThrottle returns the throttle for moves. Partitions that get no new replica need none.
func newThrottle(list []movesLine, partitions map[place]kmsg.MetadataResponseTopicPartition, under map[place]copying) throttle {
	t := throttle{topics: map[string]*throttledTopic{}}
	list = slices.SortedFunc(slices.Values(list), func(a, b movesLine) int { return place{a.Topic, a.Partition}.compare(place{b.Topic, b.Partition}) })
	for _, m := range list {
		at := place{m.Topic, m.Partition}
		adding := under[at].Adding
		has := slices.DeleteFunc(slices.Clone(partitions[at].Replicas), func(id int32) bool { return slices.Contains(adding, id) })
		gets := slices.DeleteFunc(slices.Clone(m.Replicas), func(id int32) bool { return slices.Contains(has, id) })
		if len(gets) == 0 {
			continue
		}
		topic := t.topics[m.Topic]
		if topic == nil {
			topic = &throttledTopic{}
			t.topics[m.Topic] = topic
		}
		topic.leaders = append(topic.leaders, replicasOf(m.Partition, has)...)
		topic.followers = append(topic.followers, replicasOf(m.Partition, gets)...)
		t.brokers = append(append(t.brokers, has...), gets...)
	}
	slices.Sort(t.brokers)
	t.brokers = slices.Compact(t.brokers)
	return t
}

func replicasOf(partition int32, brokers []int32) (out []string) {
	for _, id := range slices.Sorted(slices.Values(brokers)) {
		out = append(out, fmt.Sprintf("%d:%d", partition, id))
	}
	return out
}

// throttled carries out moves at the rate that --throttle gives, if it does, and takes the throttle away if they are carried out to the end.
func (s *session) throttled(c *cli.Context, list []movesLine, carryOut func() error) error {
	if c.String("throttle") == "" {
		return carryOut()
	}
	rate, err := parseBytes(c.String("throttle"))
	if err != nil {
		return fmt.Errorf("--throttle: %w", err)
	}
	t, err := s.throttle(list, rate)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "at most %s/s are copied from each of the brokers %s, and to each\n", byteCount(rate), numbers(t.brokers))
	if err = carryOut(); err != nil || !c.Bool("watch") {
		fmt.Fprintln(c.App.ErrWriter, "the throttle stays until 'kraftgo reassign unthrottle' takes it away")
		return err
	}
	s.renew(c.Context)
	return s.unthrottle(t.brokers, slices.Sorted(maps.Keys(t.topics)))
}

// throttle puts the throttle for moves in force.
func (s *session) throttle(list []movesLine, rate int64) (t throttle, err error) {
	partitions, err := s.allPartitions()
	if err != nil {
		return t, err
	}
	under, err := s.reassignments()
	if err != nil {
		return t, err
	}
	t = newThrottle(list, partitions, under)
	if t.brokers, err = s.running(t.brokers); err != nil {
		return t, err
	}
	for _, name := range slices.Sorted(maps.Keys(t.topics)) {
		topic := t.topics[name]
		leaders, followers := strings.Join(topic.leaders, ","), strings.Join(topic.followers, ",")
		answers, err := s.admin.AlterTopicConfigs(s.ctx, []kadm.AlterConfig{{Name: leaderReplicas, Value: &leaders}, {Name: followerReplicas, Value: &followers}}, name)
		if err := altered("throttle topic ", answers, err); err != nil {
			return t, err
		}
	}
	if len(t.brokers) == 0 {
		return t, nil
	}
	value := strconv.FormatInt(rate, 10)
	answers, err := s.admin.AlterBrokerConfigs(s.ctx, []kadm.AlterConfig{{Name: leaderRate, Value: &value}, {Name: followerRate, Value: &value}}, t.brokers...)
	return t, altered("throttle broker ", answers, err)
}

// running returns those of some brokers that can be asked to change their settings; nil stands for all.
func (s *session) running(of []int32) (out []int32, err error) {
	nodes, _, err := s.nodes()
	for _, n := range nodes {
		if n.State == stateAlive && (of == nil || slices.Contains(of, n.Broker)) {
			out = append(out, n.Broker)
		}
	}
	return out, err
}

func altered(doing string, answers kadm.AlterConfigsResponses, err error) error {
	if err != nil {
		return failed(strings.TrimSpace(doing), err)
	}
	for _, a := range answers {
		if a.Err != nil {
			return answered(doing+a.Name, a.Err, a.ErrMessage)
		}
	}
	return nil
}

// unthrottle takes throttles away. A topic that was deleted meanwhile has none.
func (s *session) unthrottle(brokers []int32, topics []string) error {
	remove := func(names ...string) (out []kadm.AlterConfig) {
		for _, n := range names {
			out = append(out, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: n})
		}
		return out
	}
	if len(brokers) > 0 {
		answers, err := s.admin.AlterBrokerConfigs(s.ctx, remove(leaderRate, followerRate), brokers...)
		if err := altered("unthrottle broker ", answers, err); err != nil {
			return err
		}
	}
	if len(topics) == 0 {
		return nil
	}
	answers, err := s.admin.AlterTopicConfigs(s.ctx, remove(leaderReplicas, followerReplicas), topics...)
	answers = slices.DeleteFunc(answers, func(a kadm.AlterConfigsResponse) bool { return a.Err == kerr.UnknownTopicOrPartition })
	return altered("unthrottle topic ", answers, err)
}

// throttledTopics asks which topics have throttled replicas.
func (s *session) throttledTopics() ([]string, error) {
	partitions, err := s.allPartitions()
	if err != nil {
		return nil, err
	}
	names := map[string]bool{}
	for at := range partitions {
		names[at.topic] = true
	}
	request := kmsg.NewPtrDescribeConfigsRequest()
	for _, name := range slices.Sorted(maps.Keys(names)) {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, name, []string{leaderReplicas, followerReplicas}
		request.Resources = append(request.Resources, r)
	}
	response, err := request.RequestWith(s.ctx, s.client)
	if err != nil {
		return nil, failed("describe the topics", err)
	}
	var out []string
	for _, r := range response.Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil && err != kerr.UnknownTopicOrPartition {
			return nil, failed("describe topic "+r.ResourceName, err)
		}
		if slices.ContainsFunc(r.Configs, func(c kmsg.DescribeConfigsResponseResourceConfig) bool {
			return c.Source == kmsg.ConfigSourceDynamicTopicConfig
		}) {
			out = append(out, r.ResourceName)
		}
	}
	return out, nil
}

// throttledBrokers asks which of the running brokers have a rate of their own.
func (s *session) throttledBrokers() (out []int32, err error) {
	brokers, err := s.running(nil)
	if err != nil || len(brokers) == 0 {
		return nil, err
	}
	answers, err := s.admin.DescribeBrokerConfigs(s.ctx, brokers...)
	if err != nil {
		return nil, failed("describe the brokers", err)
	}
	for _, a := range answers {
		if a.Err != nil {
			return nil, answered("describe broker "+a.Name, a.Err, a.ErrMessage)
		}
		id, err := strconv.ParseInt(a.Name, 10, 32)
		if err == nil && slices.ContainsFunc(a.Configs, func(c kadm.Config) bool {
			return (c.Key == leaderRate || c.Key == followerRate) && c.Source == kmsg.ConfigSourceDynamicBrokerConfig
		}) {
			out = append(out, int32(id))
		}
	}
	return out, nil
}

func reassignUnthrottle(c *cli.Context) error {
	if _, err := names(c, "argument", 0, 0); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		topics, err := s.throttledTopics()
		if err != nil {
			return err
		}
		brokers, err := s.throttledBrokers()
		if err != nil {
			return err
		}
		if err := s.unthrottle(brokers, topics); err != nil {
			return err
		}
		if len(brokers)+len(topics) == 0 {
			fmt.Fprintln(c.App.Writer, "nothing is throttled")
			return nil
		}
		fmt.Fprintf(c.App.Writer, "took the throttle from %d brokers and %d topics\n", len(brokers), len(topics))
		return nil
	})
}
