package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// broker is a running broker to measure.
type broker struct {
	name string
	addr string
	pid  int
	stop func() error
}

// pin returns the words that pin a command to a CPU; none for cpu < 0.
func pin(cpu int) []string {
	if cpu < 0 {
		return nil
	}
	return []string{"taskset", "-c", strconv.Itoa(cpu)}
}

var readyLine = regexp.MustCompile(`client=(\S+)`)

// startKraftgo starts kraftgo in a fresh directory.
func startKraftgo(binary, dir string, cpu int, args ...string) (*broker, error) {
	words := append(pin(cpu), binary)
	words = append(words, args...)
	if args[0] != "dev" {
		words = append(words, "--data", dir)
	}
	words = append(words, "--client", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-level", "warn")
	cmd := exec.Command(words[0], words[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m := readyLine.FindStringSubmatch(line)
	if err != nil || m == nil {
		return nil, errors.Join(fmt.Errorf("kraftgo is not ready: %q: %w: %s", line, err, &stderr), cmd.Process.Kill())
	}
	addr, _, _ := strings.Cut(m[1], ",")
	return &broker{name: "kraftgo", addr: addr, pid: cmd.Process.Pid, stop: func() error {
		return errors.Join(cmd.Process.Signal(syscall.SIGTERM), ignoreExit(cmd.Wait()))
	}}, nil
}

func ignoreExit(err error) error {
	var e *exec.ExitError
	if errors.As(err, &e) {
		return nil
	}
	return err
}

// startKafka starts Apache Kafka with the script that the tests use, with further lines of configuration.
func startKafka(script, dir string, cpu int, lines ...string) (*broker, error) {
	home, err := peerHome()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "extra.properties")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	words := append(pin(cpu), script, "start")
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "PEER_HOME="+home, "PEER_CONF="+conf, "PEER_PORT=39192", "JAVA_TOOL_OPTIONS=-XX:ActiveProcessorCount=2")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	pid, err := kafkaPID(home)
	if err != nil {
		return nil, err
	}
	return &broker{name: "kafka", addr: strings.TrimSpace(string(out)), pid: pid, stop: func() error {
		stop := exec.Command(script, "stop")
		stop.Env = append(os.Environ(), "PEER_HOME="+home)
		return stop.Run()
	}}, nil
}

// peerHome is where the script keeps Kafka: PEER_HOME, or the cache that the clients' tests use.
func peerHome() (string, error) {
	if home := os.Getenv("PEER_HOME"); home != "" {
		return home, nil
	}
	cache, err := os.UserCacheDir()
	return filepath.Join(cache, "kraftgo-clients", "peer"), err
}

// kafkaPID returns the process of the one broker that the script has started.
func kafkaPID(home string) (int, error) {
	b, err := os.ReadFile(filepath.Join(home, "run", "0", "pid"))
	if err != nil {
		return 0, fmt.Errorf("find Kafka's process: %w", err)
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// cpuOf returns the CPU seconds that a process has used, its own and the kernel's for it.
func cpuOf(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+2:]))
	user, err1 := strconv.ParseFloat(fields[11], 64)
	system, err2 := strconv.ParseFloat(fields[12], 64)
	const ticks = 100 // USER_HZ, fixed on Linux
	return (user + system) / ticks, errors.Join(err1, err2)
}

// residentBytes returns the proportional set size of a process.
func residentBytes(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`Pss:\s+(\d+) kB`).FindSubmatch(b)
	if m == nil {
		return 0, errors.New("no Pss in smaps_rollup")
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	return kb << 10, err
}

// measured is a load's result and what the broker used for it.
type measured struct {
	result
	BrokerCPU float64 `json:"broker_cpu_seconds"`
}

// run runs a load in a process of its own against the broker.
func (b *broker) run(cpu int, args ...string) (measured, error) {
	self, err := os.Executable()
	if err != nil {
		return measured{}, err
	}
	words := append(append(pin(cpu), self), args...)
	words = append(words, "-b", b.addr)
	before, err := cpuOf(b.pid)
	if err != nil {
		return measured{}, err
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return measured{}, fmt.Errorf("%s against %s: %w", strings.Join(args, " "), b.name, err)
	}
	after, err := cpuOf(b.pid)
	if err != nil {
		return measured{}, err
	}
	m := measured{BrokerCPU: after - before}
	return m, json.Unmarshal(out, &m.result)
}

// since is for footprints.
func since(t time.Time) float64 { return time.Since(t).Seconds() }
