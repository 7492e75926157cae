package e2e

import (
	"testing"
	"time"
)

// kafkajs has no ZSTD of its own, nor a package for it that is kept up.
func TestClientKafkajs(t *testing.T) {
	dir := installed(t, "kafkajs", "node")
	p := matrix(t)
	checks(t, 3*time.Minute, "node", source(t, "kafkajs", "matrix.mjs"), dir, p.client, "40000")
}

func TestClientPlatformatic(t *testing.T) {
	dir := installed(t, "platformatic", "node")
	p := matrix(t)
	checks(t, 3*time.Minute, "node", source(t, "platformatic", "matrix.mjs"), dir, p.client, "40000")
}
