package feed

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/kraftgo/kraftgo/wire"
)

const (
	snapshotFile = "feed.snapshot"
	logFile      = "feed.log"
	// storeLogMax is how long the log may grow before a snapshot takes its place.
	storeLogMax = 8 << 20
	// storeEntryMax bounds one entry: a length above it is damage.
	storeEntryMax = 64 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Store is what a broker has pulled, on disk. It is used by one goroutine.
type Store struct {
	dir  string
	log  *os.File
	size int64
	last wire.Index // everything up to it is in the files
}

// OpenStore reads what is there into the replica, and goes on from it. What is damaged is dropped, since it can be
// pulled again; why says so.
func OpenStore(dir string, into *Replica) (s *Store, why error, err error) {
	s = &Store{dir: dir}
	why = s.readSnapshot(into)
	if why != nil { // the log continues the snapshot: without the one the other is of no use
		if err := os.Remove(filepath.Join(dir, logFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, why, fmt.Errorf("remove the pulled metadata: %w", err)
		}
	}
	if s.log, err = os.OpenFile(filepath.Join(dir, logFile), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, why, fmt.Errorf("open the pulled metadata: %w", err)
	}
	good, fault := replay(s.log, into)
	why = errors.Join(why, fault)
	// Not if it changes nothing: when the file was written last is what an operator goes by who has lost the quorum.
	if size, err := s.log.Seek(0, io.SeekEnd); err != nil || size != good {
		if err := errors.Join(err, s.log.Truncate(good)); err != nil {
			return nil, why, errors.Join(fmt.Errorf("cut the pulled metadata: %w", err), s.log.Close())
		}
	}
	if _, err := s.log.Seek(good, io.SeekStart); err != nil {
		return nil, why, errors.Join(fmt.Errorf("seek in the pulled metadata: %w", err), s.log.Close())
	}
	s.size, s.last = good, into.Image().Index()
	return s, why, nil
}

func (s *Store) readSnapshot(into *Replica) error {
	f, err := os.Open(filepath.Join(s.dir, snapshotFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open the pulled metadata: %w", err)
	}
	defer f.Close()
	return into.Restore(f)
}

// replay applies the log's entries, and returns up to where it is sound.
func replay(f *os.File, into *Replica) (good int64, why error) {
	var head [8]byte
	for {
		n, err := io.ReadFull(f, head[:])
		if n == 0 && errors.Is(err, io.EOF) {
			return good, nil
		}
		if err != nil {
			return good, fmt.Errorf("%s: the head of an entry at %d is cut", logFile, good)
		}
		r := wire.NewReader(head[:])
		size, sum := r.Uint32(), r.Uint32()
		if size > storeEntryMax {
			return good, fmt.Errorf("%s: an entry of %d bytes at %d", logFile, size, good)
		}
		var body bytes.Buffer
		if _, err := io.CopyN(&body, f, int64(size)); err != nil {
			return good, fmt.Errorf("%s: the entry at %d is cut", logFile, good)
		}
		if crc32.Checksum(body.Bytes(), castagnoli) != sum {
			return good, fmt.Errorf("%s: the entry at %d does not match its checksum", logFile, good)
		}
		br := wire.NewReader(body.Bytes())
		e := readEntry(&br)
		if err := finish(&br); err != nil {
			return good, fmt.Errorf("%s: the entry at %d: %w", logFile, good, err)
		}
		if err := into.Apply(e); err != nil && into.Failed() != nil {
			return good, err
		}
		good += int64(len(head)) + int64(size)
	}
}

// Append notes entries that were applied: all there are above after. When the log has grown long, or raft has brought
// what the files lack, a snapshot of the replica takes its place.
func (s *Store) Append(after wire.Index, entries []Entry, of *Replica) error {
	if s.last < after {
		return s.Reset(of)
	}
	var b []byte
	for i := range entries {
		at := len(b)
		b = append(b, make([]byte, 8)...)
		b = appendEntry(b, &entries[i])
		body := b[at+8:]
		copy(b[at:], wire.AppendUint32(wire.AppendUint32(nil, uint32(len(body))), crc32.Checksum(body, castagnoli)))
	}
	if _, err := s.log.Write(b); err != nil {
		return fmt.Errorf("write the pulled metadata: %w", err)
	}
	s.last = entries[len(entries)-1].Index
	if s.size += int64(len(b)); s.size > storeLogMax {
		return s.Reset(of)
	}
	return nil
}

// Reset writes a snapshot of the replica in place of everything.
func (s *Store) Reset(of *Replica) (err error) {
	name := filepath.Join(s.dir, snapshotFile)
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("write the pulled metadata: %w", err)
	}
	snapshot := of.Snapshot()
	_, err = snapshot.WriteTo(f)
	// A log that begins below the snapshot does no harm: what it has is skipped.
	if err = errors.Join(err, f.Close()); err == nil {
		err = errors.Join(os.Rename(name+".new", name), s.log.Truncate(0))
	}
	if err != nil {
		return fmt.Errorf("write the pulled metadata: %w", err)
	}
	s.size, s.last = 0, snapshot.Index()
	_, err = s.log.Seek(0, io.SeekStart)
	return err
}

// Close closes the files.
func (s *Store) Close() error { return s.log.Close() }
