package replica

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// A replica that cannot be opened keeps no other from it, and can be opened later.
func TestAssignOpensWhatCanBeOpened(t *testing.T) {
	files := vfs.NewMem()
	if err := files.Mkdir("/d"); err != nil {
		t.Fatal(err)
	}
	d, _, err := disk.Open(disk.Options{Dir: "/d", FS: files})
	if err != nil {
		t.Fatal(err)
	}
	m := NewManager(Options{Env: *Alone(1), Disk: d, Log: slog.New(slog.DiscardHandler)})
	var list []Assignment
	for i, name := range []string{"a", "b", "c"} {
		list = append(list, Assignment{Replica: disk.Replica{TopicID: wire.UUID{byte(i + 1)}, Topic: name}, Leader: wire.NoBroker})
	}
	settings := func(string) TopicSettings { return TopicSettings{} }
	// The directory of another topic is in the way of b.
	if err := files.Mkdir("/d/b-0"); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(files, "/d/b-0", "/d/b-0/partition.metadata", []byte("version: 0\ntopic_id: "+wire.UUID{9}.String())); err != nil {
		t.Fatal(err)
	}
	if err := m.Assign(list, settings); err == nil || !strings.Contains(err.Error(), "b-0") {
		t.Fatalf("%v", err)
	}
	for i, want := range []bool{true, false, true} {
		if got := m.Partition(list[i].Key()) != nil; got != want {
			t.Errorf("%s: open %v", list[i].Topic, got)
		}
	}
	if err := files.RemoveAll("/d/b-0"); err != nil {
		t.Fatal(err)
	}
	if err := m.Assign(list, settings); err != nil || m.Partition(list[1].Key()) == nil {
		t.Errorf("not opened later: %v", err)
	}
	m.Close()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}
