package cluster_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

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
	t.Run("a directory of another cluster", func(t *testing.T) {
		dir := copied(t, b.Dir())
		edit(t, dir, func(m map[string]any) { m["broker"] = float64(-1) })
		refuses(t, cluster.Config{Data: dir, Join: true, Seeds: []string{other.Gossip()}}, "began to join cluster", "join with a new directory")
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
