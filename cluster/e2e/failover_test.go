package e2e

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// formation is a cluster of processes.
type formation struct {
	t     *testing.T
	nodes []*process
	topic int // the last that was created
}

// form starts a cluster of n nodes, and waits until it has as many voters as it should.
func form(t *testing.T, n int, args ...string) *formation {
	t.Helper()
	binary(t) // built before the clock starts
	start := time.Now()
	f := &formation{t: t, nodes: []*process{founded(t, args...)}}
	for range n - 1 {
		f.nodes = append(f.nodes, joined(t, f.nodes[0], args...))
	}
	f.settled()
	t.Logf("%d nodes, one started after the other: nobody is fenced and three vote, as each of them sees it, after %s", n, time.Since(start).Round(time.Millisecond))
	return f
}

func (f *formation) until(what string, done func() bool) {
	f.t.Helper()
	for end := time.Now().Add(60 * time.Second); !done(); {
		if time.Now().After(end) {
			f.t.Fatal("never: " + what)
		}
	}
}

// others returns all nodes but one.
func (f *formation) others(p *process) []*process {
	return slices.DeleteFunc(slices.Clone(f.nodes), func(x *process) bool { return x == p })
}

// ask opens a client of one node for a moment.
func ask[T any](p *process, f func(context.Context, *kgo.Client) (T, error)) (out T, err error) {
	c, err := kgo.NewClient(kgo.SeedBrokers(p.client), kgo.RetryTimeout(300*time.Millisecond), kgo.RequestRetries(0), kgo.DialTimeout(300*time.Millisecond))
	if err != nil {
		return out, err
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(p.t.Context(), 2*time.Second)
	defer cancel()
	return f(ctx, c)
}

// fenced returns which brokers are fenced, as a node sees it.
func fenced(p *process) ([]int32, error) {
	return ask(p, func(ctx context.Context, c *kgo.Client) ([]int32, error) {
		r := kmsg.NewPtrDescribeClusterRequest()
		r.IncludeFencedBrokers = true
		a, err := r.RequestWith(ctx, c)
		if err != nil {
			return nil, err
		}
		out := []int32{}
		for _, b := range a.Brokers {
			if b.IsFenced {
				out = append(out, b.NodeID)
			}
		}
		return out, kerr.ErrorForCode(a.ErrorCode)
	})
}

// quorum returns the leader and the voters, as a node tells it.
func quorum(p *process) (leader int32, voters []int32, err error) {
	a, err := ask(p, func(ctx context.Context, c *kgo.Client) (*kmsg.DescribeQuorumResponse, error) {
		r := kmsg.NewPtrDescribeQuorumRequest()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic, t.Partitions = "__cluster_metadata", append(t.Partitions, kmsg.NewDescribeQuorumRequestTopicPartition())
		r.Topics = append(r.Topics, t)
		return r.RequestWith(ctx, c)
	})
	if err != nil {
		return -1, nil, err
	}
	if err := kerr.ErrorForCode(a.ErrorCode); err != nil {
		return -1, nil, err
	}
	for _, v := range a.Topics[0].Partitions[0].CurrentVoters {
		voters = append(voters, v.ReplicaID)
	}
	slices.Sort(voters)
	return a.Topics[0].Partitions[0].LeaderID, voters, nil
}

// controller returns the node that leads the quorum.
func (f *formation) controller() *process {
	f.t.Helper()
	var found *process
	f.until("somebody leads", func() bool {
		id, _, err := quorum(f.nodes[0])
		for _, p := range f.nodes {
			if err == nil && p.broker == id {
				found = p
			}
		}
		return found != nil
	})
	return found
}

// settled waits until nobody is fenced, as every node sees it, and three vote.
func (f *formation) settled() {
	f.t.Helper()
	for _, p := range f.nodes {
		f.until(fmt.Sprintf("broker %d sees three voters and nobody fenced", p.broker), func() bool {
			out, err := fenced(p)
			if err != nil || len(out) > 0 {
				return false
			}
			_, voters, err := quorum(p)
			return err == nil && len(voters) == min(3, len(f.nodes)|1)
		})
	}
}

// create has a node create a new topic.
func (f *formation) create(p *process) error {
	f.topic++
	_, err := ask(p, func(ctx context.Context, c *kgo.Client) (kadm.CreateTopicResponse, error) {
		return kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, fmt.Sprintf("t%d", f.topic))
	})
	return err
}

// runs returns how many rounds a test does: few in CI, more by hand.
func runs(t *testing.T, few int) int {
	s := os.Getenv("FAILOVER_RUNS")
	if s == "" {
		return few
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func median(of []time.Duration) (middle, worst time.Duration) {
	of = slices.Sorted(slices.Values(of))
	return of[len(of)/2].Round(time.Millisecond), of[len(of)-1].Round(time.Millisecond)
}

// The controller is killed: another decides, and fences it, and nobody else; the killed one comes back. FAILOVER_RUNS says how often.
func TestTheControllerIsKilled(t *testing.T) {
	f := form(t, 3)
	var decided, fencedAfter []time.Duration
	for range runs(t, 2) {
		old := f.controller()
		rest := f.others(old)
		old.kill()
		start := time.Now()
		f.until("another decides", func() bool { return f.create(rest[0]) == nil || f.create(rest[1]) == nil })
		decided = append(decided, time.Since(start))
		f.until("the dead one is fenced, and nobody else", func() bool {
			out, err := fenced(rest[0])
			if err == nil && (len(out) > 1 || len(out) == 1 && out[0] != old.broker) {
				t.Fatalf("fenced are %v, dead is %d", out, old.broker)
			}
			return err == nil && len(out) == 1
		})
		fencedAfter = append(fencedAfter, time.Since(start))
		old.restart()
		f.settled()
	}
	m, w := median(decided)
	fm, fw := median(fencedAfter)
	t.Logf("%d times the controller was killed: another decided after %s (median), %s (worst); it was fenced after %s, %s", len(decided), m, w, fm, fw)
}

// A broker that is not the controller is killed, and one is stopped: the first is fenced at once, the second when its session
// has ended, and nobody else is.
func TestABrokerIsKilledOrStopped(t *testing.T) {
	session := 3 * time.Second
	f := form(t, 3, "--set", "broker.session.timeout.ms=3000", "--set", "broker.heartbeat.interval.ms=500")
	var killed, stopped []time.Duration
	for range runs(t, 2) {
		for _, how := range []syscall.Signal{syscall.SIGKILL, syscall.SIGSTOP} {
			controller := f.controller()
			victim := f.others(controller)[0]
			if err := victim.cmd.Process.Signal(how); err != nil {
				t.Fatal(err)
			}
			start := time.Now()
			f.until("the victim is fenced, and nobody else", func() bool {
				out, err := fenced(controller)
				if err == nil && (len(out) > 1 || len(out) == 1 && out[0] != victim.broker) {
					t.Fatalf("fenced are %v, the victim is %d", out, victim.broker)
				}
				return err == nil && len(out) == 1
			})
			took := time.Since(start)
			if how == syscall.SIGKILL {
				killed = append(killed, took)
				victim.kill()
				victim.restart()
			} else {
				stopped = append(stopped, took)
				if took < session-time.Second {
					t.Errorf("a stopped broker was fenced after %s, its session is %s", took, session)
				}
				if err := victim.cmd.Process.Signal(syscall.SIGCONT); err != nil {
					t.Fatal(err)
				}
			}
			f.settled()
		}
	}
	km, kw := median(killed)
	sm, sw := median(stopped)
	t.Logf("fenced after kill -9: %s (median), %s (worst) of %d; after SIGSTOP with a session of %s: %s, %s", km, kw, len(killed), session, sm, sw)
}

// The controller stops in good order: every admin request, tried again as clients do, is done.
func TestTheControllerStopsInGoodOrder(t *testing.T) {
	f := form(t, 3)
	for range runs(t, 2) {
		old := f.controller()
		rest := f.others(old)
		c, err := kgo.NewClient(kgo.SeedBrokers(rest[0].client, rest[1].client))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		done := make(chan struct{})
		go func() {
			defer close(done)
			old.stop()
		}()
		worst := time.Duration(0)
		for i, going := 0, true; going; i++ {
			select {
			case <-done:
				going = false
			default:
			}
			start := time.Now()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			f.topic++
			if _, err := kadm.NewClient(c).CreateTopic(ctx, 1, 1, nil, fmt.Sprintf("t%d", f.topic)); err != nil {
				t.Fatalf("request %d while the controller stops: %v", i, err)
			}
			cancel()
			worst = max(worst, time.Since(start))
		}
		t.Logf("longest admin request while the controller stopped: %s", worst.Round(time.Millisecond))
		old.restart()
		f.settled()
	}
}
