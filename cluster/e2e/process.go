// Package e2e tests the real command: processes that are started, killed and started again, and the clients that people
// have, each in its own runtime.
//
// A client whose runtime is missing is skipped with a word that says so; 'just clients' installs what is needed and
// runs all. Processes listen on free loopback ports, keep their data in the test's temporary directory, and end with it.
package e2e

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var build struct {
	once   sync.Once
	binary string
	err    error
}

// binary builds the command once for all tests of the run, or takes the one that E2E_BINARY names.
func binary(t testing.TB) string {
	t.Helper()
	build.once.Do(func() {
		if build.binary = os.Getenv("E2E_BINARY"); build.binary != "" {
			return
		}
		dir, err := os.MkdirTemp("", "kraftgo-e2e-")
		if err != nil {
			build.err = err
			return
		}
		build.binary = filepath.Join(dir, "kraftgo")
		out, err := exec.Command("go", "build", "-o", build.binary, "github.com/kraftgo/kraftgo/cmd/kraftgo").CombinedOutput()
		if err != nil {
			build.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return build.binary
}

// process is a running node.
type process struct {
	t      testing.TB
	cmd    *exec.Cmd
	dir    string
	broker int32
	client string
	gossip string
	admin  string
	args   []string
	prefix []string // words before the command's own, as a shell that joins a cgroup
	stderr *tail
	exited chan struct{}
}

// founded starts a new node on free ports. Further arguments go to the command.
func founded(t testing.TB, args ...string) *process {
	t.Helper()
	return foundedBy(t, nil, args...)
}

// foundedBy is founded with words before the command's own.
func foundedBy(t testing.TB, prefix []string, args ...string) *process {
	t.Helper()
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "n1"), args: args, prefix: prefix}
	p.begin("init")
	return p
}

// joined starts a new node that joins the cluster of another.
func joined(t testing.TB, seed *process, args ...string) *process {
	t.Helper()
	p := &process{t: t, dir: filepath.Join(t.TempDir(), "n"), args: args}
	p.begin("join", "--seed", seed.gossip)
	return p
}

// begin starts a new node on free ports, until the test ends.
func (p *process) begin(command string, args ...string) {
	p.t.Helper()
	p.start(command, append(args, "--client", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--internal", "127.0.0.1:0", "--gossip", "127.0.0.1:0")...)
	p.t.Cleanup(func() {
		p.kill()
		if p.t.Failed() {
			p.t.Logf("broker %d wrote:\n%s", p.broker, p.stderr)
		}
	})
}

var readyLine = regexp.MustCompile(`^ready cluster=(\S+) broker=(\d+) client=(\S+) internal=\S+ gossip=(\S+) admin=(\S+)$`)

func (p *process) start(command string, args ...string) {
	p.t.Helper()
	args = append(append([]string{command, "--data", p.dir}, args...), p.args...)
	words := append(append(slices.Clone(p.prefix), binary(p.t)), args...)
	p.cmd = exec.Command(words[0], words[1:]...)
	p.cmd.Env = slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "KRAFTGO_") }) // of the tests, not settings
	// If the test dies, so does the node.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	p.stderr = &tail{}
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.exited = make(chan struct{})
	ready := make(chan []string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if m := readyLine.FindStringSubmatch(lines.Text()); m != nil {
				ready <- m
			}
		}
		_ = p.cmd.Wait() // a killed process has an error, as it should
		close(p.exited)
	}()
	select {
	case m := <-ready:
		p.client, p.gossip, p.admin = m[3], m[4], m[5]
		id, err := strconv.ParseInt(m[2], 10, 32)
		if err != nil {
			p.t.Fatal(err)
		}
		p.broker = int32(id)
	case <-p.exited:
		p.t.Fatalf("kraftgo %s ended: %s", strings.Join(args, " "), p.stderr)
	case <-time.After(60 * time.Second):
		p.kill()
		p.t.Fatalf("kraftgo %s is not ready: %s", strings.Join(args, " "), p.stderr)
	}
}

// kill ends the process as a crash does.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may have ended by itself
	<-p.exited
}

// restart starts the node again on its ports.
func (p *process) restart() {
	p.t.Helper()
	p.start("start", "--client", p.client, "--admin", p.admin)
}

// suspend stops the process where it is. All its threads have stopped when it returns: kill(2) comes back before they have.
func (p *process) suspend() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		p.t.Fatal(err)
	}
	for {
		err := unix.Waitid(unix.P_PID, p.cmd.Process.Pid, nil, unix.WSTOPPED|unix.WNOWAIT, nil)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.EINTR) {
			p.t.Fatalf("wait until broker %d has stopped: %v", p.broker, err)
		}
	}
}

// stop ends the process in good order.
func (p *process) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.exited:
	case <-time.After(40 * time.Second):
		p.kill()
		p.t.Fatal("kraftgo does not stop")
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Fatalf("kraftgo stopped with code %d: %s", code, p.stderr)
	}
}

// tail keeps the last of what was written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

var _ io.Writer = (*tail)(nil)

func (w *tail) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.b = append(w.b, p...)
	if over := len(w.b) - 64<<10; over > 0 {
		w.b = w.b[over:]
	}
	return len(p), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(w.b)
}
