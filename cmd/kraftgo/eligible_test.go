package main

import (
	"regexp"
	"slices"
	"testing"
	"time"
)

// Where replicas left the ISR that may lead all the same, 'topic describe' names them; else it says nothing of that.
func TestDescribeNamesWhoMayLead(t *testing.T) {
	one := broker(t, nil)
	two := one.Join(nil)
	must(t, "", "topic", "create", "t", "--partitions", "2", "--replicas", "2", "--config", "min.insync.replicas=2")
	known(t, "t")
	if got := must(t, "", "topic", "describe", "t"); regexp.MustCompile("ELIGIBLE").MatchString(got) {
		t.Errorf("%s", got)
	}
	gone := two.Broker()
	two.Stop()
	end := time.Now().Add(20 * time.Second)
	for !slices.Equal(parse[[]topicDetail](t, must(t, "", "topic", "describe", "t", "--format", "json"))[0].Partitions[1].Eligible, []int32{gone}) {
		if time.Now().After(end) {
			t.Fatal(must(t, "", "topic", "describe", "t"))
		}
	}
	want := regexp.MustCompile(`OFFLINE +ELIGIBLE +LAST KNOWN\n0 +1 +\d+ +[12],[12] +1 +2 +2 +-\n1 +1 +\d+ +[12],[12] +1 +2 +2 +-\n$`)
	if got := must(t, "", "topic", "describe", "t"); !want.MatchString(got) {
		t.Errorf("%s", got)
	}
}
