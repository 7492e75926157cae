package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
)

// ballast is a file that fills the page cache. On a virtual machine that gives free memory back to its host, the first
// write to a page costs several times a later one, so whoever runs after memory was freed would pay for it. With the
// cache full of clean pages, both brokers get recycled ones.
type ballast struct {
	name string
	size int64
}

func newBallast(gigabytes int) (*ballast, error) {
	if gigabytes < 0 {
		return &ballast{}, nil
	}
	size := int64(gigabytes) << 30
	if gigabytes == 0 {
		available, err := memAvailable()
		if err != nil {
			return nil, err
		}
		size = max(available-4<<30, 0)
	}
	f, err := os.CreateTemp("", "ballast-")
	if err != nil {
		return nil, err
	}
	b := &ballast{name: f.Name(), size: size}
	block := bytes.Repeat([]byte("kraftgo "), 1<<17)
	for n := int64(0); n < size; n += int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			b.remove()
			return nil, errors.Join(fmt.Errorf("write %d GB of ballast: %w", size>>30, err), f.Close())
		}
	}
	return b, errors.Join(f.Sync(), f.Close())
}

// fill brings what was evicted back into the cache.
func (b *ballast) fill() error {
	if b.name == "" {
		return nil
	}
	f, err := os.Open(b.name)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{f}, make([]byte, 1<<20))
	return err
}

func (b *ballast) remove() {
	if b.name != "" {
		os.Remove(b.name)
	}
}

func memAvailable() (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := bytes.Fields(lines.Bytes()); len(fields) > 1 && string(fields[0]) == "MemAvailable:" {
			kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no MemAvailable")
}
