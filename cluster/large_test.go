package cluster_test

import (
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// A change that takes several entries of the log is one change: all of it is there, through a restart too. A value that fits into
// none is refused, and nothing is changed.
func TestLargeChanges(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	admin := kadm.NewClient(client(t, b))
	value := strings.Repeat("0:1,", 15_000) + "0:1"
	set := func(topics ...string) kadm.AlterConfigsResponses {
		altered, err := admin.AlterTopicConfigs(limited(t), []kadm.AlterConfig{{Name: "leader.replication.throttled.replicas", Value: &value}}, topics...)
		if err != nil {
			t.Fatal(err)
		}
		return altered
	}
	topics := []string{"t1", "t2", "t3", "t4", "t5", "t6", "t7", "t8"}
	if _, err := admin.CreateTopics(limited(t), 1, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	for _, r := range set(topics...) { // half a megabyte
		if r.Err != nil {
			t.Fatal(r.Err)
		}
	}
	check := func(n *kraftgotest.Node) bool {
		configs, err := kadm.NewClient(client(t, n)).DescribeTopicConfigs(limited(t), topics...)
		if err != nil {
			t.Fatal(err)
		}
		whole := 0
		for _, c := range configs {
			for _, v := range c.Configs {
				if v.Key == "leader.replication.throttled.replicas" && v.MaybeValue() == value {
					whole++
				}
			}
		}
		return whole == len(topics)
	}
	for _, n := range []*kraftgotest.Node{a, b} {
		eventually(t, "all settings are there", func() bool { return check(n) })
	}
	value += strings.Repeat(",0:1", 20_000)
	for _, r := range set("t1") {
		if r.Err != kerr.InvalidRequest || !strings.Contains(r.ErrMessage, "too long") {
			t.Errorf("%v %s", r.Err, r.ErrMessage)
		}
	}
	value = strings.Repeat("0:1,", 15_000) + "0:1"
	a.Restart()
	b.Restart()
	for _, n := range []*kraftgotest.Node{a, b} {
		eventually(t, "all settings are there after a restart", func() bool { return check(n) })
	}
}
