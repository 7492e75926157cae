package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"syscall"
	"testing"
)

func write(t *testing.T, f File, at int64, s string) {
	t.Helper()
	if _, err := f.WriteAt([]byte(s), at); err != nil {
		t.Fatal(err)
	}
}

func content(t *testing.T, fsys FS, name string) string {
	t.Helper()
	b, err := ReadFile(fsys, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestBothKindsAgree runs the same operations on the real file system and the one in memory.
func TestBothKindsAgree(t *testing.T) {
	mem := NewMem()
	if err := mem.Mkdir("/tmp"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		fs   FS
		dir  string
	}{{"real", OS, t.TempDir()}, {"memory", mem, "/tmp"}} {
		t.Run(c.name, func(t *testing.T) {
			d := c.dir + "/d"
			if err := errors.Join(c.fs.Mkdir(d), c.fs.Mkdir(d)); err != nil {
				t.Fatal(err)
			}
			if _, err := c.fs.Open(d + "/a"); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			f, err := c.fs.Create(d + "/a")
			if err != nil {
				t.Fatal(err)
			}
			write(t, f, 3, "abc")
			if err := errors.Join(f.Sync(), f.Truncate(5), c.fs.SyncDir(d)); err != nil {
				t.Fatal(err)
			}
			if got := content(t, c.fs, d+"/a"); got != "\x00\x00\x00ab" {
				t.Fatalf("%q", got)
			}
			if err := c.fs.Rename(d+"/a", d+"/b"); err != nil {
				t.Fatal(err)
			}
			write(t, f, 0, "xyz") // an open file follows its name
			if got := content(t, c.fs, d+"/b"); got != "xyzab" {
				t.Fatalf("%q", got)
			}
			if err := c.fs.Rename(d, c.dir+"/e"); err != nil {
				t.Fatal(err)
			}
			names, err := c.fs.List(c.dir + "/e")
			if err != nil || len(names) != 1 || names[0] != "b" {
				t.Fatalf("%v %v", names, err)
			}
			if err := c.fs.Remove(c.dir + "/e"); err == nil {
				t.Fatal("a directory with a file in it was removed")
			}
			if err := errors.Join(c.fs.RemoveAll(c.dir+"/e"), c.fs.RemoveAll(c.dir+"/e")); err != nil {
				t.Fatal(err)
			}
			if err := WriteFile(c.fs, c.dir, c.dir+"/w", []byte("whole")); err != nil || content(t, c.fs, c.dir+"/w") != "whole" {
				t.Fatal(err)
			}
			if _, err := ReadFile(c.fs, c.dir+"/w", 4); !errors.Is(err, ErrTooLarge) {
				t.Fatal(err)
			}
			lock, err := c.fs.Lock(c.dir + "/lock")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := c.fs.Lock(c.dir + "/lock"); !errors.Is(err, ErrLocked) {
				t.Fatal(err)
			}
			if err := errors.Join(lock.Close(), f.Close()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestPowerCutKeepsWhatWasSyncedAndLosesSomeOfTheRest(t *testing.T) {
	m := NewMem()
	create := func(name string) File {
		f, err := m.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := create("/kept")
	write(t, f, 0, "synced")
	if err := errors.Join(f.Sync(), m.SyncDir("/")); err != nil {
		t.Fatal(err)
	}
	write(t, f, 6, string(bytes.Repeat([]byte("u"), 5000)))
	write(t, create("/new"), 0, "x")
	if err := m.Rename("/kept", "/renamed"); err != nil {
		t.Fatal(err)
	}
	lengths, names := map[int]bool{}, map[string]int{}
	for seed := range uint64(200) {
		after := m.Crash(rand.New(rand.NewPCG(seed, 0)))
		list, err := after.List("/")
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range list {
			names[n]++
			if n == "kept" || n == "renamed" {
				got := content(t, after, "/"+n)
				if got[:6] != "synced" {
					t.Fatalf("seed %d: %q", seed, got[:6])
				}
				lengths[len(got)] = true
			}
		}
	}
	if len(lengths) < 50 {
		t.Errorf("only %d different lengths", len(lengths))
	}
	if names["new"] == 0 || names["new"] == 200 || names["renamed"] == 0 || names["kept"] == 0 || names["renamed"]+names["kept"] < 200 {
		t.Errorf("names kept of 200: %v", names)
	}
}

func TestInjectedFaults(t *testing.T) {
	var fail error
	m := Inject(NewMem(), func(op Op, name string) error {
		if op == OpWrite && name == "/f" {
			return fail
		}
		return nil
	})
	f, err := m.Create("/f")
	if err != nil {
		t.Fatal(err)
	}
	fail = &Torn{Bytes: 2, Err: syscall.EIO}
	if n, err := f.WriteAt([]byte("abcd"), 0); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	fail = nil
	if got := content(t, m, "/f"); got != "ab" {
		t.Fatalf("%q", got)
	}
}
