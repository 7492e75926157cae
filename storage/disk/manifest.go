package disk

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// Replica is one replica that a directory holds.
type Replica struct {
	TopicID   wire.TopicID
	Topic     string
	Partition wire.Partition
}

// Key names the replica by its topic's id.
func (r Replica) Key() wire.TopicIDPartition {
	return wire.TopicIDPartition{Topic: r.TopicID, Partition: r.Partition}
}

// DirName is the name of the replica's directory.
func (r Replica) DirName() string {
	return wire.TopicPartition{Topic: r.Topic, Partition: r.Partition}.String()
}

// entry is a replica in the manifest.
type entry struct {
	Replica
	slot    int  // place in the offsets file
	started bool // has had files
}

// manifest is the list of replicas: a header line, then lines of changes that each add, change or remove one, oldest first. Each line
// ends with its checksum. A last line that was not written whole does not count; any other bad line is damage. Changes that become
// durable by one sync are therefore one line: of several, a power cut could leave a later one and not an earlier.
type manifest struct {
	uuid    wire.UUID
	entries map[wire.TopicIDPartition]*entry
	size    int64 // bytes of good lines
	lines   int
}

const (
	manifestFile    = "kraftgo.manifest"
	manifestVersion = 1
	maxManifest     = 1 << 30
)

// between are the changes of a line.
const between = "\t"

// line is a line with changes.
func line(changes ...string) []byte {
	text := strings.Join(changes, between)
	return fmt.Appendf(nil, "%s %08x\n", text, crc32.ChecksumIEEE([]byte(text)))
}

func (m *manifest) headerLine() []byte {
	return line(fmt.Sprintf("kraftgo-manifest %d %s", manifestVersion, m.uuid))
}

func addition(e *entry) string {
	started := 0
	if e.started {
		started = 1
	}
	return fmt.Sprintf("add %s %d %d %d %s", e.TopicID, e.Partition, e.slot, started, e.Topic)
}

func start(k wire.TopicIDPartition) string { return fmt.Sprintf("started %s %d", k.Topic, k.Partition) }

func removal(k wire.TopicIDPartition) string {
	return fmt.Sprintf("remove %s %d", k.Topic, k.Partition)
}

// loadManifest reads the manifest; nil: there is none.
func loadManifest(fsys vfs.FS, dir string) (*manifest, error) {
	name := dir + "/" + manifestFile
	b, err := vfs.ReadFile(fsys, name, maxManifest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &manifest{entries: map[wire.TopicIDPartition]*entry{}}
	for n := 1; len(b) > 0; n++ {
		end := bytes.IndexByte(b, '\n')
		if end < 0 {
			break // the last line was being written
		}
		text, ok := checkLine(string(b[:end]))
		if !ok && end == len(b)-1 && n > 1 {
			break
		}
		for change := range strings.SplitSeq(text, between) {
			ok = ok && m.apply(n, strings.Fields(change))
		}
		if !ok {
			return nil, fmt.Errorf("%w: %s: line %d", storage.ErrCorrupt, name, n)
		}
		b = b[end+1:]
		m.size += int64(end + 1)
		m.lines++
	}
	if m.lines == 0 {
		return nil, fmt.Errorf("%w: %s: no header", storage.ErrCorrupt, name)
	}
	return m, nil
}

func checkLine(s string) (text string, ok bool) {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return "", false
	}
	sum, err := strconv.ParseUint(s[i+1:], 16, 32)
	return s[:i], err == nil && uint32(sum) == crc32.ChecksumIEEE([]byte(s[:i]))
}

func (m *manifest) apply(n int, f []string) bool {
	if n == 1 {
		if len(f) != 3 || f[0] != "kraftgo-manifest" || f[1] != strconv.Itoa(manifestVersion) {
			return false
		}
		id, err := wire.ParseUUID(f[2])
		m.uuid = id
		return err == nil
	}
	if len(f) < 3 {
		return false
	}
	id, err := wire.ParseUUID(f[1])
	if err != nil {
		return false
	}
	p, err := strconv.ParseInt(f[2], 10, 32)
	if err != nil {
		return false
	}
	key := wire.TopicIDPartition{Topic: id, Partition: wire.Partition(p)}
	switch {
	case f[0] == "add" && len(f) == 6:
		slot, err := strconv.Atoi(f[3])
		m.entries[key] = &entry{Replica{id, f[5], wire.Partition(p)}, slot, f[4] == "1"}
		return err == nil && slot >= 0
	case f[0] == "started" && m.entries[key] != nil:
		m.entries[key].started = true
		return true
	case f[0] == "remove":
		delete(m.entries, key)
		return true
	}
	return false
}

// sorted returns the entries by slot.
func (m *manifest) sorted() []*entry {
	all := make([]*entry, 0, len(m.entries))
	for _, e := range m.entries {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b *entry) int { return a.slot - b.slot })
	return all
}

// rewrite makes the file as short as it can be.
func (m *manifest) rewrite(fsys vfs.FS, dir string) error {
	b := m.headerLine()
	m.lines = 1
	for _, e := range m.sorted() {
		b = append(b, line(addition(e))...)
		m.lines++
	}
	m.size = int64(len(b))
	return vfs.WriteFile(fsys, dir, dir+"/"+manifestFile, b)
}
