package wal

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// found is a file as Replay sees it.
type found struct {
	name   string
	number uint64
	low    uint64 // as its last group has it
}

// Replay gives what was added and still counts, in the order in which it was added, to apply. Bytes are good for the call
// only. The log is not open. Nothing is changed.
func Replay(fsys vfs.FS, dir string, directory wire.UUID, apply func(Entry) error) error {
	all, err := names(fsys, dir)
	if err != nil {
		return err
	}
	var files []found
	voids := map[wire.TopicIDPartition]int{} // the last of each, by its place among all entries
	buf := []byte(nil)
	for _, name := range all {
		f := found{name: name}
		if buf, err = readWhole(fsys, name, buf); err != nil {
			return err
		}
		eachGroup(buf, directory, func(h header, _ []byte) error { f.number, f.low = h.file, h.low; return nil })
		if f.number > 0 {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	if len(files) == 0 {
		return nil
	}
	low := files[len(files)-1].low
	files = slices.DeleteFunc(files, func(f found) bool { return f.number < low })
	// Twice: what a void that comes later speaks of must not be given.
	for _, pass := range []func(int, Entry) error{
		func(at int, e Entry) error {
			if e.Void {
				voids[e.Key] = at
			}
			return nil
		},
		func(at int, e Entry) error {
			if v, ok := voids[e.Key]; e.Void || ok && at < v {
				return nil
			}
			return apply(e)
		},
	} {
		at := 0
		for _, f := range files {
			if buf, err = readWhole(fsys, f.name, buf); err != nil {
				return err
			}
			err := eachGroup(buf, directory, func(h header, b []byte) error {
				for range h.entries {
					e, rest, ok := nextEntry(b)
					if !ok {
						return fmt.Errorf("%s: group %d of %d entries cannot be read, though its checksum is right", f.name, h.index, h.entries)
					}
					if err := pass(at, e); err != nil {
						return err
					}
					at++
					b = rest
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// eachGroup calls f with the groups of a file, up to the first that is not whole or not of the file as it was last begun.
func eachGroup(b []byte, directory wire.UUID, f func(h header, entries []byte) error) error {
	number := uint64(0)
	for index := uint64(0); len(b) > 0; index++ {
		h, ok := parseHeader(b, directory)
		if !ok || h.index != index || index > 0 && h.file != number {
			return nil
		}
		number = h.file
		if err := f(h, b[headerSize:h.length]); err != nil {
			return err
		}
		b = b[min(roundUp(h.length), len(b)):]
	}
	return nil
}

func readWhole(fsys vfs.FS, name string, buf []byte) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return buf, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return buf, err
	}
	if size > maxFileSize {
		return buf, fmt.Errorf("%s has %d bytes, which no such file has", name, size)
	}
	if int64(cap(buf)) < size {
		buf = make([]byte, size)
	}
	buf = buf[:size]
	if n, err := f.ReadAt(buf, 0); int64(n) < size {
		return buf, fmt.Errorf("read %s: %w", name, err)
	}
	return buf, nil
}
