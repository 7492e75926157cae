package vfs

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

// What a removed or renamed directory held does not come back with another directory of its name.
func TestCrashDoesNotBringBackWhatADirectoryHeld(t *testing.T) {
	for _, how := range []string{"rename", "remove"} {
		m := NewMem()
		write := func(dir, name string) {
			t.Helper()
			if err := errors.Join(m.Mkdir(dir), WriteFile(m, dir, dir+"/"+name, []byte(name)), m.SyncDir("/")); err != nil {
				t.Fatal(err)
			}
		}
		write("/a", "old")
		if _, err := m.Create("/a/unsynced"); err != nil {
			t.Fatal(err)
		}
		var err error
		if how == "rename" {
			err = m.Rename("/a", "/b")
		} else {
			err = m.RemoveAll("/a")
		}
		if err := errors.Join(err, m.SyncDir("/")); err != nil {
			t.Fatal(err)
		}
		write("/a", "new")
		after := m.Crash(rand.New(rand.NewPCG(1, 1)))
		if names, err := after.List("/a"); err != nil || !slices.Equal(names, []string{"new"}) {
			t.Errorf("%s: %v, %v", how, names, err)
		}
		if how == "rename" {
			if names, err := after.List("/b"); err != nil || !slices.Contains(names, "old") {
				t.Errorf("%s: %v, %v", how, names, err)
			}
		}
	}
}
