// Package vfs is the file system as storage needs it: positioned reads and writes, fdatasync, truncate, rename and the
// syncing of directories, with nothing in between that could hide when a thing is on disk.
//
//   - [OS] is the real one. Its files give their descriptor ([Descriptor]), for sendfile.
//   - [NewMem] keeps files in memory. [Mem.Crash] gives the file system as a power cut could have left it: what was synced,
//     a random part of what was not, and of the names that were not yet synced only some.
//   - [Inject] lets a function refuse any operation by kind and path.
//
// All are safe for use by several goroutines. Writers of the same bytes must agree among themselves.
package vfs

import (
	"io"
	"io/fs"
	"time"
)

// Info is what Stat tells of a name.
type Info struct {
	Size     int64 // bytes; of a directory meaningless
	Modified time.Time
	IsDir    bool
}

// FS is a file system. Names are slash separated paths. A name that is absent gives an error that is fs.ErrNotExist.
//
// A created, renamed or removed name is durable only after SyncDir of the directories that hold it.
type FS interface {
	// Create makes an empty file for reading and writing, in place of one that is there.
	Create(name string) (File, error)
	// Open opens a file that is there, for reading and writing.
	Open(name string) (File, error)
	// OpenDirect opens a file that is there for writes past the page cache: whole blocks of 4096 bytes, from memory that begins at such
	// an address, to such a position. A file system without that gives what Open gives. Writes need a Sync as others do.
	OpenDirect(name string) (File, error)
	// Rename gives a file or directory a new name, in place of a file that had it.
	Rename(from, to string) error
	// Remove removes a file or an empty directory.
	Remove(name string) error
	// RemoveAll removes a directory with all that is in it. An absent name is no error.
	RemoveAll(name string) error
	// Mkdir makes a directory. One that is there is no error.
	Mkdir(name string) error
	// List returns the names within a directory, sorted.
	List(dir string) ([]string, error)
	// Stat describes a name.
	Stat(name string) (Info, error)
	// SyncDir makes the names within a directory durable.
	SyncDir(dir string) error
	// Lock makes the file and holds it alone until closed. It fails at once when another holds it.
	Lock(name string) (io.Closer, error)
}

// File is an open file. It has no position. Calls may run at the same time.
type File interface {
	io.ReaderAt
	io.WriterAt
	// Sync makes the content durable (fdatasync).
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	Close() error
}

// Descriptor returns the file descriptor of a real file. It is good until the file is closed.
func Descriptor(f File) (int, bool) {
	if d, ok := f.(interface{ descriptor() (int, bool) }); ok {
		return d.descriptor()
	}
	return 0, false
}

// WriteSync is WriteAt and Sync, with one call of the system where there is such a one.
func WriteSync(f File, b []byte, at int64) error {
	if w, ok := f.(interface{ writeSync([]byte, int64) error }); ok {
		return w.writeSync(b, at)
	}
	_, err := f.WriteAt(b, at)
	if err == nil {
		err = f.Sync()
	}
	return err
}

// ReadFile returns the whole content of a file of at most limit bytes.
func ReadFile(fsys FS, name string, limit int64) ([]byte, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return nil, err
	}
	if size > limit {
		return nil, &fs.PathError{Op: "read", Path: name, Err: ErrTooLarge}
	}
	b := make([]byte, size)
	n, err := f.ReadAt(b, 0)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

// WriteFile makes name hold content, whole or not at all, whatever happens meanwhile: it writes name+".tmp", syncs it,
// renames it and syncs dir, the directory of name.
func WriteFile(fsys FS, dir, name string, content []byte) error {
	tmp := name + ".tmp"
	f, err := fsys.Create(tmp)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = fsys.Rename(tmp, name)
	}
	if err != nil {
		return err
	}
	return fsys.SyncDir(dir)
}
