package cluster_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/cluster"
)

func start(dir string, found bool, more map[string]string) (*cluster.Node, error) {
	settings := map[string]string{"listeners": "127.0.0.1:0", "admin.listener": "127.0.0.1:0"}
	for k, v := range more {
		settings[k] = v
	}
	return cluster.Start(context.Background(), cluster.Config{Data: dir, Found: found, Settings: settings})
}

func stop(t *testing.T, n *cluster.Node) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.Stop(ctx); err != nil {
		t.Fatal(err)
	}
}

// edit changes fields of meta.json.
func edit(t *testing.T, dir string, change func(m map[string]any)) {
	t.Helper()
	name := filepath.Join(dir, "meta.json")
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	m := map[string]any{}
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	change(m)
	if b, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// Every directory that is not what it should be is refused with what to do, and left as it was.
func TestWrongDirectoriesAreRefused(t *testing.T) {
	founded := func(t *testing.T) string {
		dir := t.TempDir()
		n, err := start(dir, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		stop(t, n)
		return dir
	}
	for name, tc := range map[string]struct {
		dir   func(t *testing.T) string
		found bool
		more  map[string]string
		want  string
	}{
		"never founded":   {func(t *testing.T) string { return t.TempDir() }, false, nil, "kraftgo init"},
		"founded already": {founded, true, nil, "kraftgo start"},
		"in use": {func(t *testing.T) string {
			dir := t.TempDir()
			n, err := start(dir, true, nil)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { stop(t, n) })
			return dir
		}, false, nil, "in use by another kraftgo process"},
		"newer format": {func(t *testing.T) string {
			dir := founded(t)
			edit(t, dir, func(m map[string]any) { m["format"] = 9 })
			return dir
		}, false, nil, "newer kraftgo"},
		"half-founded": {func(t *testing.T) string {
			dir := founded(t)
			edit(t, dir, func(m map[string]any) { m["founded"] = false })
			return dir
		}, false, nil, "remove it and run 'kraftgo init"},
		"another cluster": {func(t *testing.T) string {
			dir := founded(t)
			edit(t, dir, func(m map[string]any) { m["cluster"] = "AAAAAAAAAAAAAAAAAAAAAA" })
			return dir
		}, false, nil, "different clusters"},
		"metadata lost": {func(t *testing.T) string {
			dir := founded(t)
			if err := os.RemoveAll(filepath.Join(dir, "metadata")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, false, nil, "the metadata is lost"},
		"meta.json lost": {func(t *testing.T) string {
			dir := founded(t)
			if err := os.Remove(filepath.Join(dir, "meta.json")); err != nil {
				t.Fatal(err)
			}
			return dir
		}, false, nil, "no meta.json"},
		"meta.json damaged": {func(t *testing.T) string {
			dir := founded(t)
			if err := os.WriteFile(filepath.Join(dir, "meta.json"), []byte("{"), 0o600); err != nil {
				t.Fatal(err)
			}
			return dir
		}, false, nil, "is damaged"},
		"another broker id": {founded, false, map[string]string{"broker.id": "7"}, "a directory keeps its broker id"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := tc.dir(t)
			before, err := os.ReadFile(filepath.Join(dir, "meta.json"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			n, err := start(dir, tc.found, tc.more)
			if err == nil {
				stop(t, n)
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("%v, want %q", err, tc.want)
			}
			after, err := os.ReadFile(filepath.Join(dir, "meta.json"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if name != "another cluster" && string(before) != string(after) { // that one is found out after its generation rose
				t.Fatalf("meta.json was %s, is %s", before, after)
			}
		})
	}
}

func TestStartMakesNoDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "none")
	if _, err := start(dir, false, nil); err == nil || !strings.Contains(err.Error(), "kraftgo init") {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("the directory was made: %v", err)
	}
}

func TestAPortInUseChangesNothing(t *testing.T) {
	dir := t.TempDir()
	n, err := start(dir, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer stop(t, n)
	other := t.TempDir()
	if _, err := start(other, true, map[string]string{"listeners": n.Address().Client}); err == nil || !strings.Contains(err.Error(), "is taken by another process") {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(other, "meta.json")); !os.IsNotExist(err) {
		t.Fatalf("a node was founded: %v", err)
	}
}
