package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// broker is a running broker, or a cluster of several, to measure.
type broker struct {
	name string
	addr string
	pids []int // of its processes
	stop func() error

	topics   int  // topics made so far
	prepared bool // the topic that stays is filled
}

// suspend stops the broker's process, so that it uses no CPU while another is measured; resume lets it go on.
func (b *broker) suspend() error { return b.signal(syscall.SIGSTOP) }

func (b *broker) resume() error {
	err := b.signal(syscall.SIGCONT)
	if len(b.pids) > 1 { // sessions have ended meanwhile: the cluster finds itself again
		pause(10 * time.Second)
	}
	return err
}

func (b *broker) signal(s syscall.Signal) error {
	var faults []error
	for _, pid := range b.pids {
		faults = append(faults, syscall.Kill(pid, s))
	}
	return errors.Join(faults...)
}

// cpu returns the CPU seconds that all processes have used.
func (b *broker) cpu() (sum float64, err error) {
	for _, pid := range b.pids {
		used, fault := cpuOf(pid)
		sum, err = sum+used, errors.Join(err, fault)
	}
	return sum, err
}

// resident returns the proportional set size of all processes.
func (b *broker) resident() (sum int64, err error) {
	for _, pid := range b.pids {
		bytes, fault := residentBytes(pid)
		sum, err = sum+bytes, errors.Join(err, fault)
	}
	return sum, err
}

// bind lets all threads of the broker run on one CPU, or on all for cpu < 0.
func (b *broker) bind(cpu int) error {
	list := strconv.Itoa(cpu)
	if cpu < 0 {
		list = "0-" + strconv.Itoa(runtime.NumCPU()-1)
	}
	for _, pid := range b.pids {
		if out, err := exec.Command("taskset", "-a", "-p", "-c", list, strconv.Itoa(pid)).CombinedOutput(); err != nil {
			return fmt.Errorf("pin %s: %w: %s", b.name, err, out)
		}
	}
	return nil
}

func (b *broker) delete(topic string) error {
	c, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(b.addr, ",")...))
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = kadm.NewClient(c).DeleteTopic(context.Background(), topic)
	return err
}

// idleShare returns which part of all CPUs' time was idle during d.
func idleShare(d time.Duration) (float64, error) {
	read := func() (idle, all float64, err error) {
		b, err := os.ReadFile("/proc/stat")
		if err != nil {
			return 0, 0, err
		}
		line, _, _ := strings.Cut(string(b), "\n")
		for i, field := range strings.Fields(line)[1:] {
			v, err := strconv.ParseFloat(field, 64)
			if err != nil {
				return 0, 0, err
			}
			if i == 3 || i == 4 { // idle and waiting for I/O
				idle += v
			}
			all += v
		}
		return idle, all, nil
	}
	idle, all, err := read()
	if err != nil {
		return 0, err
	}
	pause(d)
	idle2, all2, err := read()
	return (idle2 - idle) / (all2 - all), err
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
	return &broker{name: "kraftgo", addr: addr, pids: []int{cmd.Process.Pid}, stop: func() error {
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

// startKafka starts so many brokers of Apache Kafka with the script that the tests use, with further lines of configuration.
func startKafka(script, dir string, brokers, cpu int, lines ...string) (*broker, error) {
	home, err := peerHome()
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "extra.properties")
	if err := os.WriteFile(conf, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	words := append(pin(cpu), script, "start", strconv.Itoa(brokers))
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Env = append(os.Environ(), "PEER_HOME="+home, "PEER_CONF="+conf, "PEER_PORT=39192", "JAVA_TOOL_OPTIONS=-XX:ActiveProcessorCount=2")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("start Kafka: %w", err)
	}
	var pids []int
	for i := range brokers {
		pid, err := kafkaPID(home, i)
		if err != nil {
			return nil, err
		}
		pids = append(pids, pid)
	}
	return &broker{name: "kafka", addr: strings.TrimSpace(string(out)), pids: pids, stop: func() error {
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

// kafkaPID returns the process of a broker that the script has started; its id is one more than i.
func kafkaPID(home string, i int) (int, error) {
	b, err := os.ReadFile(filepath.Join(home, "run", strconv.Itoa(i), "pid"))
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
	before, err := b.cpu()
	if err != nil {
		return measured{}, err
	}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return measured{}, fmt.Errorf("%s against %s: %w", strings.Join(args, " "), b.name, err)
	}
	after, err := b.cpu()
	if err != nil {
		return measured{}, err
	}
	m := measured{BrokerCPU: after - before}
	return m, json.Unmarshal(out, &m.result)
}

// since is for footprints.
func since(t time.Time) float64 { return time.Since(t).Seconds() }
