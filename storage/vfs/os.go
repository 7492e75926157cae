package vfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// ErrTooLarge is a file longer than its reader allows.
var ErrTooLarge = errors.New("file too large")

// ErrLocked is a lock file that another holds.
var ErrLocked = errors.New("locked by another process")

// OS is the real file system.
var OS FS = osFS{}

type osFS struct{}

type osFile struct {
	*os.File
	fd int
}

func newOSFile(f *os.File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &osFile{f, int(f.Fd())}, nil
}

func (f *osFile) descriptor() (int, bool) { return f.fd, true }

// Sync is fdatasync: the content and what is needed to find it, not the times.
func (f *osFile) Sync() error {
	for {
		switch err := unix.Fdatasync(f.fd); err {
		case nil:
			return nil
		case unix.EINTR:
		default:
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// writeSync is pwritev2 with RWF_DSYNC, as often as it takes.
func (f *osFile) writeSync(b []byte, at int64) error {
	for len(b) > 0 {
		n, err := unix.Pwritev2(f.fd, [][]byte{b}, at, unix.RWF_DSYNC)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EOPNOTSUPP || err == unix.ENOSYS || err == unix.EINVAL: // no such call, or no such flag, by age of the kernel
			if _, err := f.WriteAt(b, at); err != nil {
				return err
			}
			return f.Sync()
		case err != nil:
			return &os.PathError{Op: "pwritev2", Path: f.Name(), Err: err}
		case n == 0:
			return &os.PathError{Op: "pwritev2", Path: f.Name(), Err: io.ErrShortWrite}
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

func (f *osFile) Size() (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

func (osFS) Create(name string) (File, error) {
	return newOSFile(os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o644))
}

func (osFS) Open(name string) (File, error) { return newOSFile(os.OpenFile(name, os.O_RDWR, 0)) }

func (osFS) OpenDirect(name string) (File, error) {
	f, err := newOSFile(os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0))
	if errors.Is(err, unix.EINVAL) { // a file system in memory, for one
		return OS.Open(name)
	}
	return f, err
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }

func (osFS) Remove(name string) error { return os.Remove(name) }

func (osFS) RemoveAll(name string) error { return os.RemoveAll(name) }

func (osFS) Mkdir(name string) error {
	err := os.Mkdir(name, 0o755)
	if errors.Is(err, os.ErrExist) {
		if info, serr := os.Stat(name); serr == nil && info.IsDir() {
			return nil
		}
	}
	return err
}

func (osFS) List(dir string) ([]string, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	sort.Strings(names)
	return names, err
}

func (osFS) Stat(name string) (Info, error) {
	info, err := os.Stat(name)
	if err != nil {
		return Info{}, err
	}
	return Info{Size: info.Size(), Modified: info.ModTime(), IsDir: info.IsDir()}, nil
}

func (osFS) SyncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = f.Sync()
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

func (osFS) Lock(name string) (io.Closer, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if err == unix.EWOULDBLOCK {
			err = ErrLocked
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return f, nil
}
