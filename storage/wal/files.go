package wal

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/storage/vfs"
)

// fileName is followed by a number. The names say nothing of the order.
const fileName = "kraftgo.wal."

// zeroBytes is how much is zeroed with one write.
const zeroBytes = 1 << 20

// syncsAtATime is how many logs sync their files at the same time so that files here can be used again.
const syncsAtATime = 4

// reclaimLocked frees the oldest files, as long as all that was added to them is synced where it belongs.
func (l *Log) reclaimLocked() {
	for len(l.mu.files) > 1 {
		f := l.mu.files[0]
		for c, n := range f.adds {
			if c.synced < n {
				return
			}
		}
		f.adds = nil
		l.mu.files, l.mu.free = l.mu.files[1:], append(l.mu.free, f)
	}
}

// prepareLocked sees to it that there is a file to go on with, and room to go on for long: half of all is kept free.
func (l *Log) prepareLocked() {
	if l.mu.making || l.mu.closed || len(l.mu.free) > 0 && l.usedLocked() <= l.o.Limit/2 {
		return
	}
	if !l.mu.pause.IsZero() && time.Now().Before(l.mu.pause) {
		return
	}
	l.mu.making = true
	l.running.Go(l.prepare)
}

// usedLocked is the bytes of the files in use.
func (l *Log) usedLocked() (n int64) {
	for _, f := range l.mu.files {
		n += f.size
	}
	return n
}

func (l *Log) prepare() {
	err := l.clean()
	l.mu.Lock()
	defer l.mu.Unlock()
	size := min(max(l.mu.bytes, l.o.Smallest), l.o.Largest, l.o.Limit-l.mu.bytes) &^ (blockSize - 1)
	if err == nil && len(l.mu.free) == 0 && size >= l.o.Smallest && !l.mu.closed {
		l.mu.Unlock()
		err = l.make(size)
		l.mu.Lock()
	}
	l.mu.making, l.mu.pause = false, time.Time{}
	if err != nil || len(l.mu.free) == 0 {
		l.mu.pause = time.Now().Add(time.Second) // a full disk, or one that does not keep up: the logs sync their files
	}
}

// clean has logs sync their files if much is in use.
func (l *Log) clean() error {
	l.mu.Lock()
	l.reclaimLocked()
	waiting := map[*Client]bool{}
	if l.usedLocked() > l.o.Limit/2 {
		for _, f := range l.mu.files[:len(l.mu.files)-1] {
			for c, n := range f.adds {
				if c.synced < n {
					waiting[c] = true
				}
			}
		}
	}
	l.mu.Unlock()
	var wg sync.WaitGroup
	slots := make(chan struct{}, syncsAtATime)
	for c := range waiting {
		slots <- struct{}{}
		wg.Go(func() {
			_ = c.sync() // has closed the log if it failed
			<-slots
		})
	}
	wg.Wait()
	l.mu.Lock()
	l.reclaimLocked()
	l.mu.Unlock()
	return nil
}

// makeSpare makes a file for a void, whatever the limit: who cuts a log must not wait for its sync. Many that cut at the same time make one.
func (l *Log) makeSpare() error {
	l.spare.Lock()
	defer l.spare.Unlock()
	l.mu.Lock()
	enough := l.mu.closed || l.fitsLocked(voidSize, true)
	l.mu.Unlock()
	if enough {
		return nil
	}
	return l.make(l.o.Smallest)
}

// make makes a file of that size, whose blocks are there. A sync that fails, other than for want of room, ends it all: what else was lost
// is not known.
func (l *Log) make(size int64) error {
	l.mu.Lock()
	l.mu.names++
	name := l.o.Dir + "/" + fileName + strconv.Itoa(l.mu.names)
	l.mu.Unlock()
	f, fatal, err := zeroed(l.o.FS, name, size)
	if err == nil {
		if err = l.o.FS.SyncDir(l.o.Dir); err != nil {
			fatal = true
			f.Close()
		}
	}
	if err != nil {
		err = fmt.Errorf("prepare %s: %w", name, err)
		_ = l.o.FS.Remove(name) // it may take the last bytes of a full disk
		if fatal && !IsFull(err) {
			l.mu.Lock()
			l.failLocked(err)
			l.mu.Unlock()
			if l.o.OnFault != nil {
				l.o.OnFault(err)
			}
		}
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.mu.closed {
		f.Close()
		return ErrClosed
	}
	l.mu.bytes += size
	l.mu.free = append(l.mu.free, &file{disk: f, size: size})
	return nil
}

// IsFull tells a disk without room from one that fails.
func IsFull(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// zeroed makes a file of zeros. fatal: it was the sync that failed.
func zeroed(fsys vfs.FS, name string, size int64) (f vfs.File, fatal bool, err error) {
	if f, err = fsys.Create(name); err != nil {
		return nil, false, err
	}
	if err := f.Close(); err != nil {
		return nil, false, err
	}
	if f, err = fsys.OpenDirect(name); err != nil {
		return nil, false, err
	}
	zeros := alignedBytes(int(min(size, zeroBytes)))
	for at := int64(0); at < size && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
	}
	if err == nil {
		err = f.Sync()
		fatal = err != nil
	}
	if err != nil {
		f.Close()
		return nil, fatal, err
	}
	return f, false, nil
}

// names lists the files of a directory.
func names(fsys vfs.FS, dir string) ([]string, error) {
	all, err := fsys.List(dir)
	var found []string
	for _, name := range all {
		if _, isNumber := strconv.Atoi(strings.TrimPrefix(name, fileName)); strings.HasPrefix(name, fileName) && isNumber == nil {
			found = append(found, dir+"/"+name)
		}
	}
	return found, err
}

// Remove removes the files of a write-ahead log that is not open, durably: what they hold is not given back any more. Those that were
// begun first go first: what is left when it is cut short never lacks a void of what it has.
func Remove(fsys vfs.FS, dir string) error {
	all, err := names(fsys, dir)
	if err != nil || len(all) == 0 {
		return err
	}
	files := make([]found, 0, len(all))
	for _, name := range all {
		f := found{name: name}
		if f.number, err = begun(fsys, name); err != nil {
			return err
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b found) int { return cmp.Compare(a.number, b.number) })
	for _, f := range files {
		if err := fsys.Remove(f.name); err != nil && !isGone(err) {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

// begun returns the number under which a file was begun last, also if the first group did not get down whole; 0: never.
func begun(fsys vfs.FS, name string) (uint64, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [headerSize]byte
	if n, err := f.ReadAt(b[:], 0); n < headerSize {
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return 0, err
	}
	if binary.BigEndian.Uint32(b[:]) != magic {
		return 0, nil
	}
	return binary.BigEndian.Uint64(b[16:]), nil
}

func isGone(err error) bool { return err != nil && errors.Is(err, fs.ErrNotExist) }
