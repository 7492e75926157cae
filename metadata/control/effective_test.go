package control

import (
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
)

// Blanks around a number, and capitals in a boolean, pass the check, as they do in Kafka: they must be readable too.
func TestSettingsReadWhatTheCheckAccepts(t *testing.T) {
	if refusal := checkTopicSetting("retention.ms", " 1000 "); refusal != nil {
		t.Fatal(refusal)
	}
	s := Settings{Static: map[string]string{"log.retention.hours": " 2 ", "delete.topic.enable": "fALSE"}}
	m := metadata.NewState().Image()
	if got := s.TopicInt(m, "t", "retention.ms"); got != 2*3_600_000 {
		t.Errorf("retention.ms is %d", got)
	}
	if s.Bool(m, "delete.topic.enable") {
		t.Error("delete.topic.enable is true")
	}
}

// What is appended to a list goes behind what the resource has that it is set on, not behind what the controller has itself.
func TestListsOfAnotherBrokerAreItsOwn(t *testing.T) {
	value := func(s string) *string { return &s }
	of := func(id string) metadata.Resource { return metadata.Resource{Type: metadata.ResourceBroker, Name: id} }
	m := image(t, append(append(aBroker(1), &metadata.RegisterBroker{Broker: 2, LogPaths: []string{"/a", "/b"}}, &metadata.RegisterBroker{Broker: 3, LogPaths: []string{"/a", "/b"}, Cordoned: "/b"}),
		&metadata.ConfigRecord{Resource: of("1"), Name: config.CordonedLogDirs, Value: value("*")})...)
	s := Settings{Broker: 1, Static: map[string]string{config.CordonedLogDirs: "/c"}}
	for id, want := range map[string]string{"2": "/a", "3": "/b,/a"} {
		records, refusal := AlterConfigs(m, of(id), []Alteration{{Name: config.CordonedLogDirs, Op: OpAppend, Value: value("/a")}}, s.Current(m))
		if refusal != nil || len(records) != 1 || *records[0].(*metadata.ConfigRecord).Value != want {
			t.Errorf("broker %s: %+v, %v, want %s", id, records, refusal, want)
		}
	}
	if got := s.Current(m)(of(""), config.CordonedLogDirs); got != "" {
		t.Errorf("the default of all brokers is %q", got)
	}
	if got := s.Current(m)(of("1"), config.CordonedLogDirs); got != "*" {
		t.Errorf("our own is %q", got)
	}
}
