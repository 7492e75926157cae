package wal

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"sync"
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

// make makes a file of that size, whose blocks are there.
func (l *Log) make(size int64) error {
	l.mu.Lock()
	l.mu.names++
	name := l.o.Dir + "/" + fileName + strconv.Itoa(l.mu.names)
	l.mu.Unlock()
	f, err := zeroed(l.o.FS, name, size)
	if err == nil {
		err = l.o.FS.SyncDir(l.o.Dir)
	}
	if err != nil {
		_ = l.o.FS.Remove(name) // it may take the last bytes of a full disk
		return fmt.Errorf("prepare %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.mu.bytes += size
	l.mu.free = append(l.mu.free, &file{File: f, size: size})
	return nil
}

func zeroed(fsys vfs.FS, name string, size int64) (vfs.File, error) {
	f, err := fsys.Create(name)
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if f, err = fsys.OpenDirect(name); err != nil {
		return nil, err
	}
	zeros := alignedBytes(int(min(size, zeroBytes)))
	for at := int64(0); at < size && err == nil; at += int64(len(zeros)) {
		_, err = f.WriteAt(zeros[:min(int64(len(zeros)), size-at)], at)
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
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

// Remove removes the files of a write-ahead log that is not open, durably: what they hold is not given back any more.
func Remove(fsys vfs.FS, dir string) error {
	found, err := names(fsys, dir)
	if err != nil || len(found) == 0 {
		return err
	}
	for _, name := range found {
		if err := fsys.Remove(name); err != nil && !isGone(err) {
			return err
		}
	}
	return fsys.SyncDir(dir)
}

func isGone(err error) bool { return err != nil && errors.Is(err, fs.ErrNotExist) }
