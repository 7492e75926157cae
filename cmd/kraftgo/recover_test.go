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
