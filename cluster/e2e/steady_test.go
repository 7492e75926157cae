package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/cluster/e2e/acked"
)

// steady is a Java producer with a Java consumer, both on a topic of their own, beside the writers of Go.
type steady struct {
	t     *testing.T
	w     *acked.Writer
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}

	// Of the goroutine that reads what it prints, until ended.
	read     map[string]int64 // offset by partition and sequence, as the consumer got it
	last     map[int32]int64  // the offset that the consumer got last
	failed   int
	failures []string // when, and what it said
	wrong    []string
	sent     int64
	problems tail
}

// startSteady starts it on a topic that exists, until the test ends. nil: there is no Java here, which is said in the log.
func startSteady(t *testing.T, nodes []*process, topic string, partitions, rate int) *steady {
	t.Helper()
	if missing := absent(clientsHome(t), "java44", "java", "javac"); missing != "" {
		if strings.Contains(os.Getenv("KRAFTGO_CLIENTS"), "java44") {
			t.Fatalf("%s is missing; 'just clients' installs it", missing)
		}
		t.Logf("without a Java client: %s is missing; run 'just clients' to have it", missing)
		return nil
	}
	path := java(t, "java44", "Steady.java")
	seeds := clients(nodes)
	cmd := exec.Command("java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", path, "Steady", strings.Join(seeds, ","), topic, fmt.Sprint(partitions), fmt.Sprint(rate))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s := &steady{t: t, cmd: cmd, ended: make(chan struct{}), read: map[string]int64{}, last: map[int32]int64{}}
	s.w = acked.Outside(acked.Options{Seeds: seeds, Topic: topic, Partitions: partitions})
	cmd.Stderr = &s.problems
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if s.stdin, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go s.listen(stdout)
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		<-s.ended
	})
	return s
}

// listen takes what it prints.
func (s *steady) listen(from io.Reader) {
	defer close(s.ended)
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		var kind string
		var p int32
		var sequence, offset int64
		line := lines.Text()
		switch n, _ := fmt.Sscan(line, &kind, &p, &sequence, &offset); {
		case kind == "a" && n == 4:
			s.w.Note(p, sequence, offset)
		case kind == "r" && n == 4:
			key := fmt.Sprint(p, "/", sequence)
			if at, twice := s.read[key]; twice {
				s.wrong = append(s.wrong, fmt.Sprintf("%s was read at %d and at %d", key, at, offset))
			}
			if last, ok := s.last[p]; ok && offset <= last {
				s.wrong = append(s.wrong, fmt.Sprintf("partition %d: offset %d was read after %d", p, offset, last))
			}
			s.read[key], s.last[p] = offset, offset
		case kind == "f":
			s.failed++
			s.failures = append(s.failures, time.Now().Format("15:04:05.000 ")+line)
		case kind == "end":
			if _, err := fmt.Sscan(line, &kind, &s.sent); err != nil {
				s.wrong = append(s.wrong, line)
			}
		default:
			s.wrong = append(s.wrong, line)
		}
	}
	_ = s.cmd.Wait() // its code is looked at by who waits
}

// sound ends it, and checks what it wrote and what it read.
func (s *steady) sound() {
	s.t.Helper()
	if err := s.stdin.Close(); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(3 * time.Minute):
		s.t.Fatalf("the Java client does not end: %s", &s.problems)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 || s.sent == 0 {
		s.t.Fatalf("the Java client ended with code %d after %d records: %s", code, s.sent, &s.problems)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	v, err := s.w.Check(ctx)
	missed := 0
	s.w.Each(func(p int32, sequence, offset int64, _ time.Time) {
		if at, ok := s.read[fmt.Sprint(p, "/", sequence)]; !ok || at != offset {
			missed++
		}
	})
	for _, f := range s.failures[:min(len(s.failures), 40)] {
		s.t.Logf("Java: %s", f)
	}
	s.t.Logf("Java: sent %d, not acknowledged %d; %s; its consumer read %d, of the acknowledged it missed %d", s.sent, s.failed, v, len(s.read), missed)
	if err != nil || !v.Sound() || v.Acked == 0 || missed > 0 || len(s.wrong) > 0 {
		s.t.Errorf("%v, %v, missed %d, %q", v, err, missed, s.wrong[:min(len(s.wrong), 5)])
	}
}

// A Java producer and consumer see a broker die, and lose nothing: with fewer faults than the chaos test, and everywhere.
func TestJavaLosesABroker(t *testing.T) {
	nodes := threeNodes(t)
	admin := admins(t, nodes)
	if _, err := admin.CreateTopic(t.Context(), 6, 3, nil, "java"); err != nil {
		t.Fatal(err)
	}
	allInSync(t, admin, "java")
	s := startSteady(t, nodes, "java", 6, 20)
	if s == nil {
		t.Skip("there is no Java client here")
	}
	for _, end := range []func(*process){(*process).kill, (*process).stop} {
		noneSilent(t, s.w)
		victim := nodes[controllerOf(t, admin, nodes)]
		before := time.Now()
		end(victim)
		pauseFor(t, 200*time.Millisecond) // what was acknowledged before has been told by now
		noneSilent(t, s.w)
		gap, median, p := s.w.Gap(before, time.Now())
		t.Logf("longest pause %s (partition %d), median %s", gap.Round(time.Millisecond), p, median.Round(time.Millisecond))
		victim.restart()
		allInSync(t, admin, "java")
	}
	s.sound()
}
