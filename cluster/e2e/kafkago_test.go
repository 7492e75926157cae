package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

func TestClientKafkaGo(t *testing.T) {
	program := filepath.Join(installed(t, "kafkago"), "kafkago")
	p := matrix(t)
	checks(t, 3*time.Minute, program, p.client, "40000")
}
