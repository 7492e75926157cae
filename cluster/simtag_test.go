//go:build !synctests

package cluster

import (
	"os/exec"
	"strings"
	"testing"
)

// The simulation of whole clusters is built with -tags synctests, which gives franz-go mutexes that a fake clock can wait for.
func TestSimulatedClusters(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the tests once more")
	}
	args := []string{"test", "-tags", "synctests", "-run", "TestSimulatedClusters$", "-v", "-count", "1", "-timeout", "5m"}
	if raceDetector {
		args = append(args, "-race")
	}
	out, err := exec.CommandContext(t.Context(), "go", append(args, ".")...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := strings.Count(string(out), "    --- PASS"); n < 20 {
		t.Fatalf("%d seeds passed\n%s", n, out)
	}
}
