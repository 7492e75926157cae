package vfs

import "io"

// Op is the kind of an operation, for [Inject].
type Op string

// The operations.
const (
	OpCreate   Op = "create"
	OpOpen     Op = "open"
	OpRename   Op = "rename"
	OpRemove   Op = "remove"
	OpMkdir    Op = "mkdir"
	OpList     Op = "list"
	OpStat     Op = "stat"
	OpSyncDir  Op = "syncdir"
	OpLock     Op = "lock"
	OpRead     Op = "read"
	OpWrite    Op = "write"
	OpSync     Op = "sync"
	OpTruncate Op = "truncate"
)

// Fault decides about an operation before it is done. An error refuses it. A write refused with [Torn] writes that many
// of its bytes first.
type Fault func(op Op, name string) error

// Torn is a write that got some of its bytes down before it failed with Err.
type Torn struct {
	Bytes int
	Err   error
}

func (t *Torn) Error() string { return "torn write: " + t.Err.Error() }

// Unwrap returns Err.
func (t *Torn) Unwrap() error { return t.Err }

// Inject returns fsys with every operation put to fault first.
func Inject(fsys FS, fault Fault) FS { return &injectFS{fsys, fault} }

type injectFS struct {
	fsys  FS
	fault Fault
}

type injectFile struct {
	File
	name  string
	fault Fault
}

func (f *injectFS) wrap(op Op, name string, open func(string) (File, error)) (File, error) {
	if err := f.fault(op, name); err != nil {
		return nil, pathError(string(op), name, err)
	}
	file, err := open(name)
	if err != nil {
		return nil, err
	}
	return &injectFile{file, name, f.fault}, nil
}

func (f *injectFS) do(op Op, name string, act func() error) error {
	if err := f.fault(op, name); err != nil {
		return pathError(string(op), name, err)
	}
	return act()
}

func (f *injectFS) Create(name string) (File, error) { return f.wrap(OpCreate, name, f.fsys.Create) }
func (f *injectFS) Open(name string) (File, error)   { return f.wrap(OpOpen, name, f.fsys.Open) }

func (f *injectFS) OpenDirect(name string) (File, error) {
	return f.wrap(OpOpen, name, f.fsys.OpenDirect)
}

func (f *injectFS) Rename(from, to string) error {
	return f.do(OpRename, from, func() error { return f.fsys.Rename(from, to) })
}

func (f *injectFS) Remove(name string) error {
	return f.do(OpRemove, name, func() error { return f.fsys.Remove(name) })
}

func (f *injectFS) RemoveAll(name string) error {
	return f.do(OpRemove, name, func() error { return f.fsys.RemoveAll(name) })
}

func (f *injectFS) Mkdir(name string) error {
	return f.do(OpMkdir, name, func() error { return f.fsys.Mkdir(name) })
}

func (f *injectFS) List(dir string) (names []string, err error) {
	err = f.do(OpList, dir, func() (err error) { names, err = f.fsys.List(dir); return err })
	return names, err
}

func (f *injectFS) Stat(name string) (info Info, err error) {
	err = f.do(OpStat, name, func() (err error) { info, err = f.fsys.Stat(name); return err })
	return info, err
}

func (f *injectFS) SyncDir(dir string) error {
	return f.do(OpSyncDir, dir, func() error { return f.fsys.SyncDir(dir) })
}

func (f *injectFS) Lock(name string) (lock io.Closer, err error) {
	err = f.do(OpLock, name, func() (err error) { lock, err = f.fsys.Lock(name); return err })
	return lock, err
}

func (f *injectFile) ReadAt(p []byte, off int64) (int, error) {
	if err := f.fault(OpRead, f.name); err != nil {
		return 0, pathError("read", f.name, err)
	}
	return f.File.ReadAt(p, off)
}

func (f *injectFile) WriteAt(p []byte, off int64) (int, error) {
	if err := f.fault(OpWrite, f.name); err != nil {
		n := 0
		if t, ok := err.(*Torn); ok {
			n, _ = f.File.WriteAt(p[:min(t.Bytes, len(p))], off)
		}
		return n, pathError("write", f.name, err)
	}
	return f.File.WriteAt(p, off)
}

func (f *injectFile) Sync() error {
	if err := f.fault(OpSync, f.name); err != nil {
		return pathError("sync", f.name, err)
	}
	return f.File.Sync()
}

func (f *injectFile) Truncate(size int64) error {
	if err := f.fault(OpTruncate, f.name); err != nil {
		return pathError("truncate", f.name, err)
	}
	return f.File.Truncate(size)
}
