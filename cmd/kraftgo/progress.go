package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// acknowledged counts the records of an input that were acknowledged, in any order. At all times
//
//	prefix <= total
//
// and exactly the records [0, prefix) and those in later are acknowledged.
type acknowledged struct {
	mu     sync.Mutex // a leaf
	prefix int64
	total  int64
	later  map[int64]struct{} // all above prefix
}

// add notes the record with this number, counted from 0, and returns the new prefix.
func (a *acknowledged) add(number int64) (prefix int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.total++
	if number != a.prefix {
		if a.later == nil {
			a.later = map[int64]struct{}{}
		}
		a.later[number] = struct{}{}
		return a.prefix
	}
	for a.prefix++; len(a.later) > 0; a.prefix++ {
		if _, ok := a.later[a.prefix]; !ok {
			break
		}
		delete(a.later, a.prefix)
	}
	return a.prefix
}

func (a *acknowledged) counts() (prefix, total int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prefix, a.total
}

// progressFile notes durably how many records of an input were acknowledged in order. Its content is that number and a
// line feed. A note replaces the file, so that a crash leaves the old one or the new one.
//
// One goroutine writes. While it does, further numbers are gathered, and the next note is of the highest: a note costs
// two syncs, and acknowledgements must not wait for them.
type progressFile struct {
	name  string
	wake  chan struct{} // holds one token while there is a number to note
	ended chan struct{}

	mu struct {
		sync.Mutex // a leaf
		wanted     int64
		closed     bool
		err        error // the first, after which nothing is written any more
	}
}

// openProgress reads the file, which need not exist, and returns how many records it says were acknowledged.
func openProgress(name string) (*progressFile, int64, error) {
	var noted int64
	text, err := os.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, 0, fmt.Errorf("--progress-file: %w", err)
	default:
		noted, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || noted < 0 {
			return nil, 0, fmt.Errorf("--progress-file %s holds no number of records", name)
		}
	}
	p := &progressFile{name: name, wake: make(chan struct{}, 1), ended: make(chan struct{})}
	p.mu.wanted = noted
	// Written at once: a place that cannot be written is better known before the first record is sent.
	if err := p.write(noted); err != nil {
		return nil, 0, fmt.Errorf("--progress-file: %w", err)
	}
	go p.run(noted)
	return p, noted, nil
}

// note asks for n to be written; it never waits.
func (p *progressFile) note(n int64) {
	p.mu.Lock()
	p.mu.wanted = max(p.mu.wanted, n)
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// close waits until the last number is on disk.
func (p *progressFile) close() error {
	p.mu.Lock()
	p.mu.closed = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.err != nil {
		return fmt.Errorf("--progress-file: %w", p.mu.err)
	}
	return nil
}

func (p *progressFile) run(written int64) {
	defer close(p.ended)
	for range p.wake {
		p.mu.Lock()
		wanted, closed := p.mu.wanted, p.mu.closed
		p.mu.Unlock()
		if wanted > written {
			if err := p.write(wanted); err != nil {
				p.mu.Lock()
				p.mu.err = err
				p.mu.Unlock()
				return
			}
			written = wanted
		}
		if closed {
			return
		}
	}
}

func (p *progressFile) write(n int64) error {
	next := p.name + ".next"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o666)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%d\n", n)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(next, p.name); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(p.name))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
