package main

import (
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// The command says what it would do and what may be lost, does nothing without --yes, and then says what comes next.
func TestClusterRecover(t *testing.T) {
	a := kraftgotest.Start(t, nil)
	b := a.Join(nil)
	fails(t, 1, "which node's data directory", "cluster", "recover")
	fails(t, 1, "left over", "cluster", "recover", b.Dir())
	fails(t, 1, "--undo goes alone", "cluster", "recover", "--data", b.Dir(), "--yes", "--undo")
	fails(t, 1, "in use by another kraftgo process", "cluster", "recover", "--data", b.Dir(), "--yes")
	b.Stop()
	fails(t, 1, "the quorum is not lost", "cluster", "recover", "--data", b.Dir(), "--yes")
	a.Stop()
	for range 2 { // the first changes nothing
		out, says, code := command("", "cluster", "recover", "--data", b.Dir())
		for _, want := range []string{"Broker 2 of cluster", "up to index", "broker 1 at 127.0.0.1:", "does not answer", "Lost is what it did not have yet", "nothing was done. Say --yes"} {
			if code != 1 || out != "" || !strings.Contains(says, want) {
				t.Fatalf("exit %d, %q, not %q in:\n%s", code, out, want, says)
			}
		}
	}
	out, says, code := command("", "cluster", "recover", "--data", b.Dir(), "--yes")
	name, ok := strings.CutPrefix(strings.TrimSpace(out), "recovered ")
	for _, want := range []string{"only voter now", "kept in " + b.Dir(), "kraftgo start --data " + b.Dir(), "--follow " + name, "node remove"} {
		if code != 0 || !ok || !strings.Contains(says, want) {
			t.Fatalf("exit %d, %q, not %q in:\n%s", code, out, want, says)
		}
	}
	if err := b.Resume(); err != nil {
		t.Fatal(err)
	}
	fails(t, 1, "want a number", "cluster", "recover", "--data", a.Dir(), "--follow", "junk")
	invented := "9-AAAAAAAAAAAAAAAAAAAAAA"
	fails(t, 1, "no node of this recovery is reached", "cluster", "recover", "--data", a.Dir(), "--follow", invented)
	fails(t, 1, "nothing to undo", "cluster", "recover", "--data", a.Dir(), "--undo")
	must(t, "", "cluster", "recover", "--data", a.Dir(), "--follow", invented, "--yes")
	fails(t, 1, "--undo' puts it back", "cluster", "recover", "--data", a.Dir(), "--yes")
	must(t, "", "cluster", "recover", "--data", a.Dir(), "--undo")
	fails(t, 1, "--follow "+name, "cluster", "recover", "--data", a.Dir(), "--yes")
	if _, says, code := command("", "cluster", "recover", "--data", a.Dir(), "--follow", name); code != 0 || !strings.Contains(says, "kraftgo start --data "+a.Dir()) {
		t.Fatalf("exit %d: %s", code, says)
	}
	if err := a.Resume(); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", a.Client())
	if out := must(t, "", "cluster", "info"); strings.Count(out, "127.0.0.1") != 2 {
		t.Fatal(out)
	}
}

// Without a quorum the commands that show a cluster say so, and what to do, and what they show may be old.
func TestShownWithoutAQuorum(t *testing.T) {
	a := broker(t, nil)
	b := a.Join(nil) // does not vote
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", b.Client())
	a.Stop()
	out, errs, code := command("", "cluster", "health")
	if code != 2 || !strings.Contains(out, "PROBLEM  the metadata quorum has no leader") || !strings.Contains(out, "'kraftgo cluster recover'") || strings.Contains(out, "broker 2 (") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
	out, errs, code = command("", "node", "list")
	if code != 0 || !strings.Contains(out, "fenced") || !strings.Contains(errs, "What follows may be out of date") {
		t.Errorf("exit %d\n%s%s", code, out, errs)
	}
}

func TestInitTakesNoSeed(t *testing.T) {
	fails(t, 1, "'kraftgo join --data DIR --seed 127.0.0.1:9094' joins", "init", "--data", t.TempDir(), "--seed", "127.0.0.1:9094")
	fails(t, 1, "with a port from 1 to 65535", "join", "--data", t.TempDir(), "--seed", "127.0.0.1:99999")
}
