package control

import (
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
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
