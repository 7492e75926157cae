package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

func TestClientLibrdkafka(t *testing.T) {
	python := filepath.Join(installed(t, "librdkafka"), "venv", "bin", "python")
	p := matrix(t)
	checks(t, 3*time.Minute, python, source(t, "librdkafka", "matrix.py"), p.client, "100000")
}

func TestClientAiokafka(t *testing.T) {
	python := filepath.Join(installed(t, "aiokafka"), "venv", "bin", "python")
	p := matrix(t)
	checks(t, 3*time.Minute, python, source(t, "aiokafka", "matrix.py"), p.client, "50000")
}
