package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

const (
	recoveryPointFile = "recovery-point-offset-checkpoint"
	logStartFile      = "log-start-offset-checkpoint"
)

// readCheckpoint reads a file of offsets in Kafka's form, by directory name. An absent one is empty. A damaged one counts
// as absent: recovery then reads more, and nothing worse.
func readCheckpoint(fsys vfs.FS, name string) (map[string]wire.Offset, error) {
	b, err := vfs.ReadFile(fsys, name, maxSmallFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	offsets, err := parseCheckpoint(b)
	if err != nil && !errors.Is(err, storage.ErrCorrupt) {
		return nil, err
	}
	return offsets, nil
}

func parseCheckpoint(b []byte) (map[string]wire.Offset, error) {
	lines := bytes.Split(bytes.TrimRight(b, "\n"), []byte("\n"))
	if len(lines) < 2 || string(lines[0]) != "0" || string(lines[1]) != strconv.Itoa(len(lines)-2) {
		return nil, fmt.Errorf("%w: checkpoint header", storage.ErrCorrupt)
	}
	offsets := make(map[string]wire.Offset, len(lines)-2)
	for _, l := range lines[2:] {
		f := bytes.Fields(l)
		if len(f) != 3 {
			return nil, fmt.Errorf("%w: checkpoint line %q", storage.ErrCorrupt, l)
		}
		o, err := strconv.ParseInt(string(f[2]), 10, 64)
		if err != nil || o < 0 {
			return nil, fmt.Errorf("%w: checkpoint line %q", storage.ErrCorrupt, l)
		}
		offsets[string(f[0])+"-"+string(f[1])] = wire.Offset(o)
	}
	return offsets, nil
}

// writeCheckpoints writes both files anew for all replicas.
func (d *Disk) writeCheckpoints() error {
	var points, starts []byte
	n, m := 0, 0
	all := d.sorted()
	d.mu.RLock()
	for _, r := range all {
		points = fmt.Appendf(points, "%s %d %d\n", r.Topic, r.Partition, r.point)
		n++
		if s := r.log.Start(); s > 0 {
			starts = fmt.Appendf(starts, "%s %d %d\n", r.Topic, r.Partition, s)
			m++
		}
	}
	d.mu.RUnlock()
	fsys, dir := d.options.FS, d.options.Dir
	if err := vfs.WriteFile(fsys, dir, dir+"/"+recoveryPointFile, append(fmt.Appendf(nil, "0\n%d\n", n), points...)); err != nil {
		return err
	}
	return vfs.WriteFile(fsys, dir, dir+"/"+logStartFile, append(fmt.Appendf(nil, "0\n%d\n", m), starts...))
}
