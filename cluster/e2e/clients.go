package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clientsHome is where clients/install puts the clients.
func clientsHome(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("KRAFTGO_CLIENTS_HOME"); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(cache, "kraftgo-clients")
}

// chosen tells if KRAFTGO_CLIENTS names the client, and skips the test if it names others only.
func chosen(t *testing.T, name string) bool {
	t.Helper()
	if testing.Short() {
		t.Skipf("client %s: left out by -short", name)
	}
	names, set := os.LookupEnv("KRAFTGO_CLIENTS")
	if set && !slices.Contains(strings.Split(names, ","), name) {
		t.Skipf("client %s: KRAFTGO_CLIENTS does not name it", name)
	}
	return set
}

// absent returns what is missing of a client; "": nothing is.
func absent(home, name string, commands ...string) (missing string) {
	dir := filepath.Join(home, name)
	if _, err := os.Stat(filepath.Join(dir, ".complete")); err != nil {
		missing = dir
	}
	for _, command := range commands {
		if _, err := exec.LookPath(command); err != nil {
			missing = command
		}
	}
	return missing
}

// installed returns the directory of a client. Where it is missing, or one of the commands is, the test is skipped, or
// fails if KRAFTGO_CLIENTS names the client.
func installed(t *testing.T, name string, commands ...string) string {
	t.Helper()
	must := chosen(t, name)
	dir := filepath.Join(clientsHome(t), name)
	missing := absent(clientsHome(t), name, commands...)
	switch {
	case missing == "":
	case must:
		t.Fatalf("client %s: %s is missing; 'just clients' installs it", name, missing)
	default:
		t.Skipf("client %s: %s is missing; run 'just clients' to have it", name, missing)
	}
	return dir
}

// matrix starts the node that a client is tried against.
func matrix(t *testing.T, args ...string) *process {
	t.Helper()
	return founded(t, append([]string{"--set", "group.initial.rebalance.delay.ms=0", "--set", "num.partitions=3"}, args...)...)
}

// checkLine is what a client's program prints for each of its checks.
type checkLine struct {
	Check  string `json:"check"`
	OK     *bool  `json:"ok"`
	MS     int64  `json:"ms"`
	Detail string `json:"detail"`
}

// checks runs a client's program and shows its checks.
func checks(t *testing.T, limit time.Duration, command string, args ...string) {
	t.Helper()
	stdout, stderr, err := run(t, limit, "", command, args...)
	n := 0
	lines := bufio.NewScanner(bytes.NewReader(stdout))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var c checkLine
		if json.Unmarshal(lines.Bytes(), &c) != nil || c.OK == nil {
			t.Logf("%s", lines.Text())
			continue
		}
		n++
		if !*c.OK {
			t.Errorf("FAILED %s (%d ms): %s", c.Check, c.MS, c.Detail)
			continue
		}
		t.Logf("ok     %s (%d ms) %s", c.Check, c.MS, c.Detail)
	}
	if err != nil || n == 0 {
		t.Errorf("%s: %d checks, %v\n%s", command, n, err, stderr)
	}
}

// run runs a command to its end, with input.
func run(t *testing.T, limit time.Duration, input, command string, args ...string) (stdout, stderr []byte, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, command, args...)
	cmd.Stdin = strings.NewReader(input)
	// A program that hangs shows its threads before it ends, if it can.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGQUIT) }
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err = cmd.Run()
	if ctx.Err() != nil {
		err = errors.Join(err, ctx.Err())
	}
	return out.Bytes(), problems.Bytes(), err
}

// source names a file of the clients' programs.
func source(t testing.TB, parts ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"clients"}, parts...)...))
	if err != nil {
		t.Fatal(err)
	}
	return path
}
