package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Kafka's own tools do what they are for through any broker of three, the controller or another.
func TestClientToolsThroughAnyBroker(t *testing.T) {
	installed(t, "tools", "java", "bash")
	f := form(t, 3)
	for i, p := range f.nodes {
		k := kafkaTools(t, p.client)
		b := func(args ...string) []string { return append([]string{"--bootstrap-server", p.client}, args...) }
		const topic, config = "TopicCommand", "kafka.admin.ConfigCommand"
		name := fmt.Sprintf("through-%d", i+1)
		k.run("", topic, b("--create", "--topic", name, "--partitions", "2", "--replication-factor", "3"), []string{"Created topic " + name})
		k.run("", config, b("--alter", "--entity-type", "topics", "--entity-name", name, "--add-config", "retention.ms=70000"), []string{"Completed"})
		k.run("", topic, b("--alter", "--topic", name, "--partitions", "4"), nil)
		k.run("", topic, b("--describe", "--topic", name), []string{`PartitionCount: 4`, `ReplicationFactor: 3`, `retention.ms=70000`})
		k.run("", config, b("--alter", "--entity-type", "brokers", "--entity-name", fmt.Sprint(f.nodes[(i+1)%3].broker), "--add-config", "message.max.bytes=900000"), []string{"Completed"})
		k.run("", config, b("--describe", "--entity-type", "brokers", "--entity-name", fmt.Sprint(f.nodes[(i+1)%3].broker)), []string{"message.max.bytes=900000"})
		k.run("", "MetadataQuorumCommand", b("describe", "--status"), []string{`LeaderId:\s+\d+`, `MaxFollowerLag:\s+\d+`, `CurrentVoters:.*"id": 1.*"id": 2.*"id": 3`})
		k.run("", "MetadataQuorumCommand", b("describe", "--replication"), []string{`Leader\b`, `Follower\b`})
		k.run("", "ClusterTool", []string{"cluster-id", "--bootstrap-server", p.client}, []string{`Cluster ID: \S{22}`})
		k.run("", "ClusterTool", []string{"list-endpoints", "--bootstrap-server", p.client}, []string{`(?m)^1\s`, `(?m)^2\s`, `(?m)^3\s`})
		k.run("", "FeatureCommand", b("describe"), []string{`kraftgo.version`, `metadata.version`})
		k.run("", topic, b("--delete", "--topic", name), nil)
	}
}

// The Go admin client does, too, and what it did through one broker every other knows.
func TestAdminThroughAnyBroker(t *testing.T) {
	f := form(t, 3)
	for i, p := range f.nodes {
		c, err := kgo.NewClient(kgo.SeedBrokers(p.client))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a := kadm.NewClient(c)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		check := func(doing string, err error) {
			t.Helper()
			if err != nil {
				t.Fatalf("%s through broker %d: %v", doing, p.broker, err)
			}
		}
		name := fmt.Sprintf("t%d", i)
		_, err = a.CreateTopic(ctx, 3, 3, map[string]*string{"retention.ms": kadm.StringPtr("1000000")}, name)
		check("create a topic", err)
		for _, other := range f.nodes {
			f.until(fmt.Sprintf("broker %d has what was created through broker %d", other.broker, p.broker), func() bool {
				list, err := ask(other, func(ctx context.Context, c *kgo.Client) (kadm.TopicDetails, error) {
					return kadm.NewClient(c).ListTopics(ctx, name)
				})
				return err == nil && len(list[name].Partitions) == 3
			})
		}
		parts, err := a.CreatePartitions(ctx, 2, name)
		check("create partitions", err)
		check("create partitions", parts[name].Err)
		alter, err := a.AlterTopicConfigs(ctx, []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "retention.ms", Value: kadm.StringPtr("2000000")}}, name)
		check("alter configs", err)
		check("alter configs", alter[0].Err)
		f.until("the value is described that was set", func() bool { // the client asks any of the brokers
			configs, err := a.DescribeTopicConfigs(ctx, name)
			check("describe configs", err)
			at := slices.IndexFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == "retention.ms" })
			return at >= 0 && configs[0].Configs[at].MaybeValue() == "2000000"
		})
		_, err = a.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: name, Mechanism: kadm.ScramSha256, Iterations: 4096, Password: "secret"}})
		check("alter users", err)
		users, err := a.DescribeUserSCRAMs(ctx, name)
		check("describe users", err)
		if len(users) != 1 {
			t.Errorf("through broker %d: %+v", p.broker, users)
		}
		quorum, err := a.BrokerMetadata(ctx)
		check("describe brokers", err)
		if len(quorum.Brokers) != 3 {
			t.Errorf("through broker %d: %+v", p.broker, quorum)
		}
		_, err = a.DeleteTopic(ctx, name)
		check("delete a topic", err)
	}
}
