package cluster_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// recovered makes the quorum anew from the directory of a stopped node, and returns the name of the recovery.
func recovered(t *testing.T, dir string, check func(cluster.RecoveryReport)) string {
	t.Helper()
	r, err := cluster.OpenRecovery(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	report, err := r.Report(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check(report)
	name, kept, err := r.Run()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Fatal(err)
	}
	return name
}

// notRecovered checks why a directory is not recovered from, and that nothing in it has changed by asking.
func notRecovered(t *testing.T, dir string, says ...string) {
	t.Helper()
	before, _ := os.ReadFile(filepath.Join(dir, "meta.json"))
	r, err := cluster.OpenRecovery(dir)
	if err == nil {
		_, err = r.Report(t.Context())
		if closed := r.Close(); closed != nil {
			t.Error(closed)
		}
	}
	told(t, err, says...)
	if after, _ := os.ReadFile(filepath.Join(dir, "meta.json")); string(after) != string(before) {
		t.Errorf("meta.json was %s, is %s", before, after)
	}
}

func told(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("nothing was refused; it should say %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("it says %q, not %q", err, s)
		}
	}
}

func resume(t *testing.T, n *kraftgotest.Node) {
	t.Helper()
	if err := n.Resume(); err != nil {
		t.Fatal(err)
	}
}

// unregister tells the cluster that brokers are gone for good.
func unregister(t *testing.T, through *kraftgotest.Node, ids ...int32) {
	t.Helper()
	for _, id := range ids {
		q := kmsg.NewPtrUnregisterBrokerRequest()
		q.BrokerID = id
		if a, err := q.RequestWith(limited(t), client(t, through)); err != nil || a.ErrorCode != 0 {
			t.Fatalf("%+v, %v", a, err)
		}
	}
}

// Two voters of three are lost. The third goes on alone, with everything that was acknowledged; those that were lost after all are
// refused, one and both, and stop; as followers they are taken back, with their partitions.
func TestAClusterThatLostItsQuorumIsRecovered(t *testing.T) {
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	createReplicated(t, nodes[0], "t", 6, nil)
	fill(t, client(t, nodes[1]), "t", 0, 600)
	left := nodes[2]
	left.Stop()
	notRecovered(t, left.Dir(), cluster.ErrQuorumLives.Error(), "in touch with it", "kraftgo start --data")
	resume(t, left)
	for _, n := range nodes {
		n.Stop()
	}
	name := recovered(t, left.Dir(), func(r cluster.RecoveryReport) {
		if r.Broker != 3 || !r.Voter || len(r.Others) != 2 || !r.Others[0].Voter || r.Others[1].State != cluster.PeerSilent || r.Topics < 1 || r.Index == 0 || r.Damage != nil || time.Since(r.Written) > time.Hour {
			t.Errorf("%+v", r)
		}
	})
	resume(t, left)
	if got := voters(t, left); !slices.Equal(got, []int32{3}) {
		t.Fatalf("voters %v", got)
	}
	createTopic(t, left, "made-alone", 2, nil)
	if p := partitions(t, client(t, left), "t"); slices.ContainsFunc(p, func(p partition) bool { return p.Leader >= 0 }) {
		t.Fatalf("partitions are led before it is known what the other replicas have: %+v", p)
	}

	refusal := "recovery " + name
	told(t, nodes[0].Resume(), "recovered when its quorum was lost", refusal, "kraftgo cluster recover --data DIR --follow "+name)
	var both sync.WaitGroup
	for _, n := range nodes[:2] {
		both.Go(func() {
			err := n.Resume()
			if err == nil {
				select {
				case err = <-n.Failed():
				case <-time.After(30 * time.Second):
					err = errors.New("it goes on beside the recovered cluster")
				}
			}
			told(t, err, refusal)
		})
	}
	both.Wait()
	for _, n := range nodes[:2] {
		n.Stop()
		if _, err := cluster.Follow(t.Context(), n.Dir(), name, false); err != nil {
			t.Fatal(err)
		}
		_, err := cluster.Follow(t.Context(), n.Dir(), name, false)
		told(t, err, "is of recovery "+name+" already", "kraftgo start --data")
		resume(t, n)
	}
	for _, n := range nodes {
		eventually(t, "three voters again", func() bool { return len(voters(t, n)) == 3 })
		eventually(t, "all replicas in sync", func() bool {
			return !slices.ContainsFunc(partitions(t, client(t, n), "t"), func(p partition) bool { return p.Leader < 0 || len(p.ISR) != 3 })
		})
		drain(t, client(t, n, kgo.ConsumeTopics("t")), 600)
	}
	for _, p := range partitions(t, client(t, left), "t") {
		if p.LeaderEpoch <= 1<<16 {
			t.Errorf("partition %d has leader epoch %d, which the lost history may have used", p.Partition, p.LeaderEpoch)
		}
	}
}

// All three voters of four nodes are lost. The node that is left never voted, and was away when the last topic was made: it goes on from
// what it had, and keeps the files of what its metadata does not know.
func TestANodeThatNeverVotedIsRecovered(t *testing.T) {
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	left := nodes[0].Join(nil)
	behind := nodes[0].Join(nil)
	if _, err := kadm.NewClient(client(t, left)).CreateTopic(limited(t), 4, 5, nil, "t"); err != nil {
		t.Fatal(err)
	}
	fill(t, client(t, left), "t", 0, 400)
	left.Stop()
	if _, err := kadm.NewClient(client(t, behind)).CreateTopic(limited(t), 4, 4, nil, "late"); err != nil {
		t.Fatal(err)
	}
	fill(t, client(t, behind), "late", 0, 100)
	fill(t, client(t, behind), "t", 400, 400)
	for _, n := range append(nodes, behind) {
		n.Stop()
	}
	name := recovered(t, left.Dir(), func(r cluster.RecoveryReport) {
		if r.Broker != 4 || r.Voter || len(r.Others) != 4 || r.Partitions < 4 {
			t.Errorf("%+v", r)
		}
	})
	resume(t, left)
	told(t, behind.Resume(), "--follow "+name)
	if _, err := cluster.Follow(t.Context(), behind.Dir(), name, false); err != nil {
		t.Fatal(err)
	}
	resume(t, behind)
	unregister(t, left, 1, 2, 3)
	c := client(t, behind)
	eventually(t, "all is led by one of the two that are left", func() bool {
		return !slices.ContainsFunc(partitions(t, c, "t"), func(p partition) bool { return p.Leader < 4 })
	})
	drain(t, client(t, left, kgo.ConsumeTopics("t")), 800) // those that came while it was away are on the other
	if p := partitions(t, c, "late"); len(p) != 0 {
		t.Fatalf("a topic that the recovered metadata does not know is there: %+v", p)
	}
	aside, err := filepath.Glob(filepath.Join(behind.Dir(), "logs", "late-*-aside", "*.log"))
	if err != nil || len(aside) != 4 {
		t.Fatalf("%v, %v", aside, err)
	}
	fifth := left.Join(nil)
	eventually(t, "three voters", func() bool { return len(voters(t, fifth)) == 3 })
	left.Restart()
	fill(t, client(t, fifth), "t", 800, 100)
	if again, err := filepath.Glob(filepath.Join(behind.Dir(), "logs", "late-*-aside")); err != nil || len(again) != 4 {
		t.Fatalf("%v, %v", again, err)
	}
}

// Each directory that cannot or need not be recovered from is refused with what to do, and left as it was.
func TestWrongRecoveriesAreRefused(t *testing.T) {
	t.Run("a copy of the directory of a node that runs", func(t *testing.T) {
		a := kraftgotest.Start(t, nil)
		a.Join(nil)
		dir := copied(t, a.Dir())
		r, err := cluster.OpenRecovery(dir)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Report(t.Context())
		told(t, errors.Join(err, r.Close()), "data directory "+dir+" is a copy: broker 1 runs from the directory that it was copied from", "Remove the copy")
	})
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	dir := a.Dir()
	notRecovered(t, dir, "in use by another kraftgo process")
	_, err := cluster.Follow(t.Context(), dir, "1-AAAAAAAAAAAAAAAAAAAAAA", true)
	told(t, err, "in use by another kraftgo process")
	b.Stop()
	notRecovered(t, b.Dir(), cluster.ErrQuorumLives.Error(), "broker 1 at", "in touch with it", "kraftgo start --data")
	a.Stop()
	notRecovered(t, dir, cluster.ErrQuorumLives.Error(), "its only voter", "kraftgo start --data "+dir)
	notRecovered(t, t.TempDir(), "holds no node")
	notRecovered(t, filepath.Join(t.TempDir(), "none"), "holds no node")
	for _, c := range []struct {
		change func(dir string)
		says   []string
	}{
		{func(d string) { edit(t, d, func(m map[string]any) { m["broker"] = float64(-1) }) }, []string{"was never taken into cluster"}},
		{func(d string) { edit(t, d, func(m map[string]any) { m["format"] = 9 }) }, []string{"newer kraftgo"}},
		{func(d string) { edit(t, d, func(m map[string]any) { m["directory"] = "x" }) }, []string{"is damaged"}},
		{func(d string) { edit(t, d, func(m map[string]any) { m["cluster"] = "AAAAAAAAAAAAAAAAAAAAAA" }) }, []string{"no metadata of cluster AAAAAAAAAAAAAAAAAAAAAA"}},
		{func(d string) {
			if err := os.RemoveAll(filepath.Join(d, "metadata")); err != nil {
				t.Fatal(err)
			}
		}, []string{"nothing can be recovered from it"}},
	} {
		d := copied(t, dir)
		c.change(d)
		notRecovered(t, d, c.says...)
	}
	for recovery, says := range map[string]string{"": "which recovery?", "abc": "want a number", "1-short": "recovery"} {
		_, err := cluster.Follow(t.Context(), copied(t, dir), recovery, true)
		told(t, err, says)
	}

	// A recovery that was cut short: the node does not start, and it can be done again.
	d := copied(t, b.Dir())
	name := recovered(t, d, func(cluster.RecoveryReport) {})
	if !strings.HasPrefix(name, "1-") {
		t.Errorf("the first recovery is %q", name)
	}
	edit(t, d, func(m map[string]any) { m["recovery"] = "2-AAAAAAAAAAAAAAAAAAAAAA" })
	refuses(t, cluster.Config{Data: d}, "was cut short", "--data "+d)
	if err := os.Rename(filepath.Join(d, "metadata"), filepath.Join(d, "metadata.before-recovery-2")); err != nil {
		t.Fatal(err)
	}
	_, err = cluster.Follow(t.Context(), d, "1-AAAAAAAAAAAAAAAAAAAAAA", true)
	told(t, err, "came after 1-AAAAAAAAAAAAAAAAAAAAAA")
	edit(t, d, func(m map[string]any) { m["recovery"] = name })
	notRecovered(t, d, cluster.ErrQuorumLives.Error(), "its only voter")
	n, err := cluster.Start(limited(t), cluster.Config{Data: d, Settings: loopback()})
	if err != nil {
		t.Fatal(err)
	}
	stop(t, n)

	// Two directories that were recovered separately never come together.
	other := copied(t, b.Dir())
	second := recovered(t, other, func(cluster.RecoveryReport) {})
	for _, x := range []string{d, other} {
		n, err := cluster.Start(limited(t), cluster.Config{Data: x, Settings: loopback()})
		if err != nil {
			t.Fatal(err)
		}
		defer stop(t, n)
	}
	if second == name {
		t.Error("two recoveries have one name")
	}
}

// A mistyped name of a recovery does no harm: it is refused while the quorum lives, and while nobody of it answers; insisted on, the node
// that has nothing but the name stops nobody, and gets its metadata back.
func TestANameOfNoRecoveryStopsNobody(t *testing.T) {
	const invented = "7-AAAAAAAAAAAAAAAAAAAAAA"
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	lost := nodes[2]
	lost.Stop()
	for _, certain := range []bool{false, true} {
		_, err := cluster.Follow(t.Context(), lost.Dir(), invented, certain)
		told(t, err, cluster.ErrQuorumLives.Error(), "in touch with it", "kraftgo start --data")
	}
	told(t, cluster.Undo(lost.Dir()), "nothing to undo")
	for _, n := range nodes[:2] {
		n.Stop()
	}
	_, err := cluster.Follow(t.Context(), lost.Dir(), invented, false)
	told(t, err, cluster.ErrUnheard.Error(), "--yes")
	kept, err := cluster.Follow(t.Context(), lost.Dir(), invented, true)
	if err != nil {
		t.Fatal(err)
	}
	notRecovered(t, lost.Dir(), kept, "--undo")
	var both sync.WaitGroup
	for _, n := range nodes[:2] {
		both.Go(func() { resume(t, n) })
	}
	both.Wait()
	log := &said{}
	ctx, cancel := context.WithCancel(t.Context())
	started := make(chan error, 1)
	go func() {
		n, err := cluster.Start(ctx, cluster.Config{Data: lost.Dir(), Log: slog.New(slog.NewTextHandler(log, nil))})
		if n != nil {
			err = errors.Join(errors.New("it started"), n.Stop(context.Background()))
		}
		started <- err
	}()
	eventually(t, "it has met the others", func() bool { return strings.Contains(log.String(), "node refused") })
	if !strings.Contains(log.String(), "--undo") {
		t.Errorf("it does not say what to do: %s", log)
	}
	cancel()
	if err := <-started; err == nil || strings.Contains(err.Error(), "it started") {
		t.Fatal(err)
	}
	for _, n := range nodes[:2] {
		select {
		case err := <-n.Failed():
			t.Fatal(err)
		default:
		}
	}
	if err := cluster.Undo(lost.Dir()); err != nil {
		t.Fatal(err)
	}
	resume(t, lost)
	eventually(t, "it votes again", func() bool { return len(voters(t, lost)) == 3 })
	told(t, cluster.Undo(nodes[0].Dir()), "in use")
}

// A newcomer is taken into the history that its seed is of.
func TestANewcomerJoinsTheRecoveredCluster(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	a.Stop()
	b.Stop()
	name := recovered(t, b.Dir(), func(cluster.RecoveryReport) {})
	resume(t, b)
	c := b.Join(nil)
	if got := c.Node().Address(); got.Broker != 3 {
		t.Fatalf("%+v", got)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := cluster.Start(ctx, cluster.Config{Data: a.Dir()})
	told(t, err, "--follow "+name)
}
