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
}

// Replay gives what was added and still counts, in the order in which it was added, to apply: the entries of a file at a time. They are
// good for the call only. The log is not open. Nothing is changed.
func Replay(fsys vfs.FS, dir string, directory wire.UUID, apply func([]Entry) error) error {
	files, err := counting(fsys, dir, directory)
	if err != nil || len(files) == 0 {
		return err
	}
	// Twice: what a void that comes later speaks of must not be given. The second time the page cache has the files.
	voids, at := map[wire.TopicIDPartition]int{}, 0 // the last of each, by its place among all entries
	var buf []byte
	for _, f := range files {
		if buf, err = readWhole(fsys, f.name, buf); err != nil {
			return err
		}
		err := eachEntry(buf, f.name, directory, func(e Entry) {
			if e.Void {
				voids[e.Key] = at
			}
			at++
		})
		if err != nil {
			return err
		}
	}
	at = 0
	var entries []Entry
	for _, f := range files {
		if buf, err = readWhole(fsys, f.name, buf); err != nil {
			return err
		}
		clear(entries)
		entries = entries[:0]
		err := eachEntry(buf, f.name, directory, func(e Entry) {
			if v, ok := voids[e.Key]; !e.Void && (!ok || at > v) {
				entries = append(entries, e)
			}
			at++
		})
		if err == nil {
			err = apply(entries)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// counting lists the files that count, in the order in which they were begun.
func counting(fsys vfs.FS, dir string, directory wire.UUID) ([]found, error) {
	all, err := names(fsys, dir)
	if err != nil {
		return nil, err
	}
	var files []found
	for _, name := range all {
		f := found{name: name}
		if f.number, err = begun(fsys, name); err != nil {
			return nil, err
		}
		if f.number > 0 {
			files = append(files, f)
		}
	}
	slices.SortFunc(files, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	var buf []byte
	for len(files) > 0 {
		last := files[len(files)-1]
		if buf, err = readWhole(fsys, last.name, buf); err != nil {
			return nil, err
		}
		low, whole := uint64(0), false
		if err := eachGroup(buf, directory, func(h header, _ []byte) error { low, whole = h.low, true; return nil }); err != nil {
			return nil, err
		}
		if whole {
			return slices.DeleteFunc(files, func(f found) bool { return f.number < low }), nil
		}
		files = files[:len(files)-1] // it was just begun, or is another directory's
	}
	return nil, nil
}

// eachEntry calls f with all entries of a file.
func eachEntry(b []byte, name string, directory wire.UUID, f func(Entry)) error {
	return eachGroup(b, directory, func(h header, b []byte) error {
		for range h.entries {
			e, rest, ok := nextEntry(b)
			if !ok {
				return fmt.Errorf("%s: group %d of %d entries cannot be read, though its checksum is right", name, h.index, h.entries)
			}
			f(e)
			b = rest
		}
		return nil
	})
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
