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
	next int64
}

func newBallast() (*ballast, error) {
	size, err := memory("MemTotal")
	if err != nil {
		return nil, err
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

// enough is how much memory may be free when a measurement begins.
const enough = 1 << 30

// fill reads the file, from where it stopped last time, until hardly any memory is free.
func (b *ballast) fill() error {
	if b == nil {
		return nil
	}
	f, err := os.Open(b.name)
	if err != nil {
		return err
	}
	defer f.Close()
	block := make([]byte, 16<<20)
	for range 2 * b.size / int64(len(block)) {
		free, err := memory("MemFree")
		if err != nil || free < enough {
			return err
		}
		n, err := f.ReadAt(block, b.next)
		b.next += int64(n)
		if err == io.EOF {
			b.next = 0
		} else if err != nil {
			return err
		}
	}
	return nil
}

func (b *ballast) remove() { os.Remove(b.name) }

// memory returns a line of /proc/meminfo in bytes.
func memory(line string) (int64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := bytes.Fields(lines.Bytes()); len(fields) > 1 && string(fields[0]) == line+":" {
			kb, err := strconv.ParseInt(string(fields[1]), 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("/proc/meminfo has no " + line)
}
