package e2e

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Real text, piped line by line through `kraftgo produce` while the broker is killed with -9 three times and started
// again: what a Go consumer and Kafka's console consumer read is what went in, by checksum. The input is REAL_INPUT, or
// some megabytes of Go's own source.
func TestRealInputThroughKills(t *testing.T) {
	input := os.Getenv("REAL_INPUT")
	if input == "" {
		input = goSource(t, 24<<20)
	}
	want, lines := sum(t, func(w io.Writer) error {
		f, err := os.Open(input)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
	p := founded(t)
	kraftgo := binary(t)
	if out, err := exec.Command(kraftgo, "topic", "create", "lines", "--partitions", "1", "-b", p.client).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	progress := filepath.Join(t.TempDir(), "progress")
	start := time.Now()
	killed := 0
	for attempt := 0; ; attempt++ {
		if attempt > 20 {
			t.Fatal("twenty attempts, and not all is in")
		}
		produce := exec.Command(kraftgo, "produce", "lines", "--file", input, "--progress-file", progress, "-b", p.client)
		stderr := &tail{}
		produce.Stderr = stderr
		if err := produce.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- produce.Wait() }()
		// In the middle: whenever some more of the log is there.
		for killed < 3 && waitForLog(t, p.dir, int64(killed+1)*fileSize(t, input)/5, ended) {
			p.kill()
			p.restart()
			killed++
		}
		if err := <-ended; err == nil {
			t.Logf("produce, attempt %d: %s", attempt+1, strings.TrimSpace(stderr.String()))
			break
		}
		t.Logf("produce, attempt %d ended: %s", attempt+1, strings.TrimSpace(stderr.String()))
	}
	t.Logf("%d lines, %d MB in %s, broker killed %d times", lines, fileSize(t, input)>>20, time.Since(start).Round(time.Millisecond), killed)
	compareOutput(t, "kraftgo consume", want, lines, kraftgo, "consume", "lines", "--from", "start", "--until", "end", "-b", p.client)
	if killed < 3 {
		t.Errorf("the broker was killed %d times only", killed)
	}
	t.Run("java", func(t *testing.T) { compareWithJava(t, p.client, want, lines) })
}

func compareWithJava(t *testing.T, server, want string, lines int) {
	k := kafkaTools(t, server)
	compareOutput(t, "Kafka's console consumer", want, lines, "env", "PEER_HOME="+filepath.Join(clientsHome(t), "peer"), k.peer, "tool",
		"org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", server, "--topic", "lines", "--from-beginning", "--max-messages", fmt.Sprint(lines))
}

// compareOutput runs a consumer and compares the checksum of what it writes.
func compareOutput(t *testing.T, name, want string, lines int, command string, args ...string) {
	t.Helper()
	start := time.Now()
	c := exec.Command(command, args...)
	stderr := &tail{}
	c.Stderr = stderr
	got, n := sum(t, func(w io.Writer) error {
		c.Stdout = w
		return c.Run()
	})
	if got != want {
		t.Fatalf("%s read %d lines with checksum %s, %d with %s went in: %s", name, n, got, lines, want, stderr)
	}
	t.Logf("%s: %d lines, checksum equal, %s", name, n, time.Since(start).Round(time.Millisecond))
}

// lineHash counts lines beside the checksum.
type lineHash struct {
	hash.Hash
	lines int
}

func (h *lineHash) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' {
			h.lines++
		}
	}
	return h.Hash.Write(p)
}

func sum(t *testing.T, from func(io.Writer) error) (string, int) {
	t.Helper()
	h := &lineHash{Hash: sha256.New()}
	if err := from(h); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", h.Sum(nil)), h.lines
}

func fileSize(t *testing.T, name string) int64 {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// waitForLog waits until the topic's segments hold so many bytes, and returns true; false if the producer has ended.
func waitForLog(t *testing.T, dir string, bytes int64, ended chan error) bool {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); {
		var size int64
		names, err := filepath.Glob(filepath.Join(dir, "logs", "lines-0", "*.log"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			size += fileSize(t, name)
		}
		if size >= bytes {
			return true
		}
		select {
		case err := <-ended:
			ended <- err
			return false
		case <-time.After(time.Millisecond):
		}
	}
	t.Fatal("the log does not grow")
	return false
}

// goSource gathers Go's source files up to a size into one file that ends with a line feed.
func goSource(t *testing.T, size int64) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "input")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := bufio.NewWriter(f)
	err = filepath.WalkDir(filepath.Join(goRoot(t), "src"), func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || size < 0 || !strings.HasSuffix(p, ".go") {
			return err
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		size -= int64(len(b))
		_, err = w.Write(append(b, '\n'))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return name
}

func goRoot(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
