package main

import (
	"slices"
	"testing"
)

// A node begins again once with what calms the monitor, and keeps what else is said; who has said otherwise is left alone.
func TestANodeRunsWithACalmMonitor(t *testing.T) {
	for _, c := range []struct {
		before, after []string
		changed       bool
	}{
		{[]string{"A=1"}, []string{"A=1", "GODEBUG=schedtrace=2147483647"}, true},
		{[]string{"GODEBUG=", "A=1"}, []string{"GODEBUG=schedtrace=2147483647", "A=1"}, true},
		{[]string{"GODEBUG=gctrace=1"}, []string{"GODEBUG=gctrace=1,schedtrace=2147483647"}, true},
		{[]string{"GODEBUG=gctrace=1,"}, []string{"GODEBUG=gctrace=1,schedtrace=2147483647"}, true},
		{[]string{"GODEBUG=schedtrace=0"}, []string{"GODEBUG=schedtrace=0"}, false},
	} {
		before := slices.Clone(c.before)
		after, changed := calmEnvironment(c.before)
		if !slices.Equal(after, c.after) || changed != c.changed || !slices.Equal(before, c.before) {
			t.Errorf("%q becomes %q, %v", c.before, after, changed)
		}
		if again, more := calmEnvironment(after); more || !slices.Equal(again, after) {
			t.Errorf("%q becomes %q", after, again)
		}
	}
}
