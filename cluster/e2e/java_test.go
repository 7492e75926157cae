package e2e

import (
	"path/filepath"
	"testing"
	"time"
)

// java compiles sources against a client's jars, and gives back the class path.
func java(t *testing.T, name string, sources ...string) string {
	t.Helper()
	jars := filepath.Join(installed(t, name, "java", "javac"), "jars", "*")
	out := t.TempDir()
	args := []string{"-nowarn", "-Xlint:none", "-d", out, "-cp", jars}
	for _, s := range sources {
		args = append(args, source(t, "java", s))
	}
	if stdout, stderr, err := run(t, time.Minute, "", "javac", args...); err != nil {
		t.Fatalf("javac: %v\n%s%s", err, stdout, stderr)
	}
	return out + ":" + jars
}

func javaMatrix(t *testing.T, name, consume, topics, codecs, acks, records string) {
	t.Helper()
	path := java(t, name, "Matrix.java", consume+"/Consume.java", topics+"/Topics.java")
	p := matrix(t)
	checks(t, 3*time.Minute, "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "Matrix", p.client, codecs, acks, records)
}

func TestClientJava44(t *testing.T) {
	javaMatrix(t, "java44", "consume-2.4", "admin-3.1", "none,gzip,snappy,zstd,lz4", "0,1,all,idempotent", "100000")
}

func TestClientJava39(t *testing.T) {
	javaMatrix(t, "java39", "consume-2.4", "admin-3.1", "none,gzip,snappy,zstd,lz4", "0,1,all,idempotent", "100000")
}

func TestClientJava28(t *testing.T) {
	javaMatrix(t, "java28", "consume-2.4", "admin-0.11", "none,gzip,snappy,zstd,lz4", "0,1,all,idempotent", "100000")
}

func TestClientJava20(t *testing.T) {
	javaMatrix(t, "java20", "consume-0.11", "admin-0.11", "none,gzip,snappy,lz4", "0,1,all,idempotent", "100000")
}

func TestClientJava11(t *testing.T) {
	javaMatrix(t, "java11", "consume-0.11", "admin-0.11", "none,gzip,snappy,lz4", "0,1,all,idempotent", "100000")
}

func TestClientJava011(t *testing.T) {
	javaMatrix(t, "java011", "consume-0.11", "admin-0.11", "none,gzip,snappy,lz4", "0,1,all,idempotent", "100000")
}

// 0.10 sends message sets of version 1, and fetches them.
func TestClientJava0102(t *testing.T) {
	javaMatrix(t, "java0102", "consume-0.10", "admin-none", "none,gzip,snappy,lz4", "0,1,all", "100000")
}

// 0.9 sends message sets of version 0, and fetches them; its LZ4 frames have a checksum that nobody else computes so.
func TestClientJava09(t *testing.T) {
	javaMatrix(t, "java09", "consume-0.9", "admin-none", "none,gzip,snappy,lz4", "0,1,all", "100000")
}

// The Scala clients of 0.8.2: no ApiVersions, Produce, Fetch, ListOffsets and Metadata in version 0.
func TestClientJava082(t *testing.T) {
	jars := filepath.Join(installed(t, "java082", "java", "javac"), "jars", "*")
	out := t.TempDir()
	if stdout, stderr, err := run(t, time.Minute, "", "javac", "-nowarn", "-Xlint:none", "-d", out, "-cp", jars, source(t, "java082", "Old.java")); err != nil {
		t.Fatalf("javac: %v\n%s%s", err, stdout, stderr)
	}
	p := matrix(t)
	checks(t, 3*time.Minute, "java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", out+":"+jars, "Old", p.client, "none,gzip,snappy", "0,1,-1", "10000")
}
