package cluster_test

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// loopback are listeners on free ports.
func loopback() map[string]string {
	return map[string]string{"listeners": "127.0.0.1:0", "admin.listener": "127.0.0.1:0", "internal.listener": "127.0.0.1:0", "gossip.listener": "127.0.0.1:0"}
}

// refuses starts a node that must not come up, and checks what it says.
func refuses(t *testing.T, c cluster.Config, says ...string) {
	t.Helper()
	if c.Settings == nil {
		c.Settings = loopback()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	n, err := cluster.Start(ctx, c)
	if err == nil {
		stop(t, n)
		t.Fatalf("it started; it should say %q", says)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("it says %q, not %q", err, s)
		}
	}
}

// copied copies a data directory that a node uses.
func copied(t *testing.T, from string) string {
	t.Helper()
	to := ""
	for try := 0; ; try++ { // the node that runs renames files while we copy
		to = filepath.Join(t.TempDir(), "copy")
		err := os.CopyFS(to, os.DirFS(from))
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 50 {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(to, "kraftgo.lock")); err != nil {
		t.Fatal(err)
	}
	return to
}

// Every way to come in under a false name, or to the wrong cluster, is refused with what happened and what to do.
func TestWrongNodesAreRefused(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	other := kraftgotest.Start(t, nil)
	locked := kraftgotest.Start(t, nil, func(c *cluster.Config) { c.Secret = []byte("all nodes know this secret") })
	token, err := cluster.ReadToken(a.Dir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	empty := func() string { return filepath.Join(t.TempDir(), "n") }

	t.Run("start without a node", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty()}, "holds no node", "kraftgo init --data", "kraftgo join --data")
	})
	t.Run("join without a seed", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true}, "--seed HOST:PORT")
	})
	t.Run("join with a member's directory", func(t *testing.T) {
		dir := copied(t, b.Dir())
		refuses(t, cluster.Config{Data: dir, Join: true, Seeds: []string{a.Gossip()}}, "already holds broker 2", "kraftgo start --data")
	})
	t.Run("a seed of another cluster than the token's", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{other.Gossip()}, Expect: token.Cluster}, "the token is for cluster "+token.Cluster)
	})
	t.Run("seeds of two clusters", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{a.Gossip(), other.Gossip()}}, "give seeds of the one that is meant", a.Gossip(), other.Gossip())
	})
	t.Run("a seed that is the port of clients", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{a.Client()}}, a.Client(), "give the address that the node prints as gossip=")
	})
	t.Run("no secret for a cluster with one", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{locked.Gossip()}}, "the cluster has one", "--secret-file", "cluster token")
	})
	t.Run("another secret", func(t *testing.T) {
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{locked.Gossip()}, Secret: []byte("what might it be, then?")}, "copy the file that its nodes have")
	})
	t.Run("beyond loopback without a secret", func(t *testing.T) {
		for _, listener := range []string{"internal.listener", "gossip.listener"} {
			s := loopback()
			s[listener] = "0.0.0.0:0"
			refuses(t, cluster.Config{Data: empty(), Found: true, Settings: s}, "beyond this machine", "--secret-file FILE")
		}
	})
	t.Run("a copy of a directory whose node runs", func(t *testing.T) {
		refuses(t, cluster.Config{Data: copied(t, b.Dir()), Seeds: []string{a.Gossip()}}, "runs from this directory already", "remove the copy", "join it as a new node")
	})
	t.Run("an older copy of a directory", func(t *testing.T) {
		old := copied(t, b.Dir())
		edit(t, old, func(m map[string]any) { m["generation"] = float64(0) })
		b.Restart()
		edit(t, old, func(m map[string]any) { m["generation"] = float64(0) })
		b.Stop()
		refuses(t, cluster.Config{Data: old, Seeds: []string{a.Gossip()}}, "older copy of the directory", "Remove the copy")
	})
	t.Run("a copy that is older, or as old, however often it is started", func(t *testing.T) {
		old := copied(t, b.Dir())
		b.Start()
		b.Stop()
		for range 4 {
			refuses(t, cluster.Config{Data: old, Seeds: []string{a.Gossip()}}, "DUPLICATE_BROKER_REGISTRATION", "opy") // Copies of, or an older copy
		}
		b.Start()
		b.Stop()
	})
	t.Run("a directory of another cluster", func(t *testing.T) {
		dir := copied(t, b.Dir())
		edit(t, dir, func(m map[string]any) { m["broker"] = float64(-1) })
		refuses(t, cluster.Config{Data: dir, Join: true, Seeds: []string{other.Gossip()}}, "began to join cluster", "join with a new directory")
	})
	t.Run("start with a seed of another cluster", func(t *testing.T) {
		refuses(t, cluster.Config{Data: copied(t, b.Dir()), Seeds: []string{other.Gossip()}}, "seed "+other.Gossip(), "a node of another cluster", "give the node a seed of its own cluster")
	})
	t.Run("start with a seed and another secret", func(t *testing.T) {
		dir := copied(t, locked.Dir())
		refuses(t, cluster.Config{Data: dir, Seeds: []string{locked.Gossip()}, Secret: []byte("what might it be, then?")}, "copy the file that its nodes have")
		if kept, err := os.ReadFile(filepath.Join(dir, "secret")); err != nil || string(kept) != "all nodes know this secret\n" {
			t.Errorf("the directory has the secret %q now, %v", kept, err)
		}
	})
	t.Run("nothing is made in a directory that holds no node", func(t *testing.T) {
		dir := t.TempDir()
		refuses(t, cluster.Config{Data: dir}, "holds no node")
		refuses(t, cluster.Config{Data: dir, Join: true, Seeds: []string{locked.Gossip()}}, "the cluster has one")
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("%v, %v", left, err)
		}
		file := filepath.Join(dir, "f")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		refuses(t, cluster.Config{Data: file}, "is a file; a node needs a directory")
	})
	t.Run("a broker id that lives", func(t *testing.T) {
		s := loopback()
		s["broker.id"] = "1"
		refuses(t, cluster.Config{Data: empty(), Join: true, Seeds: []string{a.Gossip()}, Settings: s}, "registered from another directory and is alive", "another broker id")
	})
	t.Run("a damaged token", func(t *testing.T) {
		for _, s := range []string{"", "kraftgo1.", token.String()[:40], "x" + token.String()} {
			if _, err := cluster.ParseToken(s); err == nil || !strings.Contains(err.Error(), "token") {
				t.Errorf("%q: %v", s, err)
			}
		}
		if got, err := cluster.ParseToken(token.String()); err != nil || got.Cluster != token.Cluster || len(got.Seeds) == 0 {
			t.Errorf("%+v, %v", got, err)
		}
	})
}

// A member that starts without a seed, and with another secret than the nodes that it knows, says so and stops; with its own it comes up.
func TestAMemberWithAnotherSecret(t *testing.T) {
	secret := func(c *cluster.Config) { c.Secret = []byte("all nodes know this secret") }
	a := kraftgotest.Start(t, nil, secret)
	b := a.Join(nil, secret)
	eventually(t, "it knows the other", func() bool {
		known, err := os.ReadFile(filepath.Join(b.Dir(), "peers.json"))
		return err == nil && strings.Contains(string(known), a.Gossip())
	})
	b.Stop()
	refuses(t, cluster.Config{Data: b.Dir(), Secret: []byte("what might it be, then?")}, "seed "+a.Gossip(), "copy the file that its nodes have")
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
}

func TestSecretFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	says := func(want string) {
		t.Helper()
		if _, err := cluster.ReadSecret(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	says("head -c 32 /dev/urandom")
	write("short\n", 0o600)
	says("at least 16 are needed")
	write("long enough to be a secret\n", 0o644)
	says("chmod o-rwx")
	write("long enough to be a secret\n", 0o600)
	if s, err := cluster.ReadSecret(name); err != nil || string(s) != "long enough to be a secret" {
		t.Fatalf("%q, %v", s, err)
	}
}

// Nodes that come back under other addresses, as pods do, all at once: they find each other again through what they know,
// and the cluster is whole.
func TestEverybodyMoves(t *testing.T) {
	kraftgotest.MovesMembers(t)
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	createTopic(t, nodes[0], "before", 6, nil)
	for _, n := range nodes[1:] { // one stays, as the address that the others know
		n.Stop()
		n.Move()
	}
	for _, n := range nodes {
		eventually(t, "three voters again", func() bool { return len(voters(t, n)) == 3 })
	}
	createTopic(t, nodes[2], "after", 6, nil)
	fill(t, client(t, nodes[1]), "before", 0, 60)
}

// said is a log that can be read while it is written.
type said struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *said) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *said) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// A node that reaches no seed keeps trying, says so again and again, and joins when one comes, or stops when it is told to.
func TestJoiningWaitsForASeed(t *testing.T) {
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	seed := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	log := &said{}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stopped, joined := make(chan error, 1), make(chan *cluster.Node, 1)
	begin := func(ctx context.Context) {
		n, err := cluster.Start(ctx, cluster.Config{Data: filepath.Join(t.TempDir(), "n"), Join: true, Seeds: []string{seed}, Settings: loopback(), Log: slog.New(slog.NewTextHandler(log, nil))})
		if err != nil {
			stopped <- err
			return
		}
		joined <- n
	}
	go begin(ctx)
	eventually(t, "it says twice that no seed answers", func() bool { return strings.Count(log.String(), "no seed answers; trying on") >= 2 })
	if text := log.String(); !strings.Contains(text, seed) || !strings.Contains(text, "connection refused") {
		t.Errorf("it does not say which, and why:\n%s", text)
	}
	cancel()
	told(t, <-stopped, "stopped before a seed answered", seed)

	go begin(t.Context())
	s := map[string]string{"gossip.listener": seed}
	kraftgotest.Start(t, s)
	select {
	case n := <-joined:
		if id := n.Address().Broker; id != 2 {
			t.Errorf("it joined as broker %d", id)
		}
		stop(t, n)
	case err := <-stopped:
		t.Fatal(err)
	}
}

// A broker that was removed from the cluster while it runs stops, and says what to do; so does one that comes back after it.
func TestARemovedBrokerStops(t *testing.T) {
	a := kraftgotest.Start(t, map[string]string{"broker.heartbeat.interval.ms": "100"})
	b, away := a.Join(nil), a.Join(nil)
	away.Stop()
	unregister(t, a, 3)
	eventually(t, "the first votes alone", func() bool { return slices.Equal(voters(t, a), []int32{1}) })
	unregister(t, a, 2)
	select {
	case err := <-b.Failed():
		told(t, err, "broker 2 was removed from the cluster", "start it once with --readmit", "a node with an empty directory joins as a new broker")
	case <-time.After(30 * time.Second):
		t.Fatal("it goes on")
	}
	b.Stop()
	for _, n := range []*kraftgotest.Node{b, away} { // as a supervisor does it
		told(t, n.Resume(), "was removed from the cluster, and this is its directory", "start it once with --readmit")
	}
	if err := b.Resume(func(c *cluster.Config) { c.Readmit = true }); err != nil || b.Broker() != 2 {
		t.Fatalf("let in again: %v", err)
	}
	b.Stop()
	if err := b.Resume(); err != nil {
		t.Fatalf("started again: %v", err)
	}
}

// A broker whose directory was lost comes back: as a new one, or in the place of its old self if it asks for its id. Its old self's
// seat in the quorum is not its own, whichever address it has.
func TestALostDirectoryIsANewNode(t *testing.T) {
	nodes := three(t)
	for _, n := range nodes {
		eventually(t, "three voters", func() bool { return len(voters(t, n)) == 3 })
	}
	createReplicated(t, nodes[0], "t", 4, nil)
	fill(t, client(t, nodes[0]), "t", 0, 200)
	nodes[2].Stop()
	s := loopback()
	s["broker.id"] = "3"
	dir := filepath.Join(t.TempDir(), "n")
	refuses(t, cluster.Config{Data: dir, Join: true, Seeds: []string{nodes[0].Gossip()}, Settings: s}, "Broker 3 is registered from another directory, which is down", "with --replace", "another broker id")
	replace := func(c *cluster.Config) { c.Replace = true }
	again := nodes[0].Join(map[string]string{"broker.id": "3"}, replace)
	if again.Broker() != 3 {
		t.Fatalf("it came back as broker %d", again.Broker())
	}
	for _, n := range []*kraftgotest.Node{nodes[0], again} {
		eventually(t, "three voters again", func() bool { return slices.Equal(voters(t, n), []int32{1, 2, 3}) })
		eventually(t, "all replicas in sync", func() bool {
			return !slices.ContainsFunc(partitions(t, client(t, n), "t"), func(p partition) bool { return len(p.ISR) != 3 })
		})
	}
	told(t, nodes[2].Resume(), "Broker 3 is registered from another directory and is alive", "another broker id")
	drain(t, client(t, again, kgo.ConsumeTopics("t")), 200)
	// The old directory, which knows nothing of what came since, takes its id back: it counts for nothing before it has caught up.
	fill(t, client(t, nodes[0]), "t", 200, 200)
	again.Stop()
	told(t, nodes[2].Resume(), "Broker 3 is registered from another directory, which is down", "with --replace")
	if err := nodes[2].Resume(replace); err != nil || nodes[2].Broker() != 3 {
		t.Fatalf("the old directory: %v", err)
	}
	eventually(t, "all replicas in sync once more", func() bool {
		return !slices.ContainsFunc(partitions(t, client(t, nodes[0]), "t"), func(p partition) bool { return len(p.ISR) != 3 })
	})
	drain(t, client(t, nodes[2], kgo.ConsumeTopics("t")), 400)
	if fresh := nodes[0].Join(nil); fresh.Broker() != 4 {
		t.Errorf("a new node is broker %d", fresh.Broker())
	}
	// The directory that was refused its id holds nothing against another.
	delete(s, "broker.id")
	late, err := cluster.Start(t.Context(), cluster.Config{Data: dir, Join: true, Seeds: []string{nodes[0].Gossip()}, Settings: s})
	if err != nil || late.Address().Broker != 5 {
		t.Fatalf("with no id asked for: %v", err)
	}
	stop(t, late)
}
