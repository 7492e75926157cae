package wal

import (
	"encoding/binary"
	"hash/crc32"
	"unsafe"

	"github.com/kraftgo/kraftgo/wire"
)

// The form of a file: groups, each starting at a block, one write each.
const (
	magic       = 0x4b47574c // "KGWL"
	blockSize   = 4096
	headerSize  = 64
	writeSize   = 1 + 16 + 4 + 8 + 4 + 4 // of a write entry, before its bytes
	voidSize    = 1 + 16 + 4
	entryWrite  = 1
	entryVoid   = 2
	maxFileSize = 1 << 30
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// header is the head of a group.
type header struct {
	length  int    // bytes, with the header, without the padding
	entries int    //
	file    uint64 // how often a file was begun, up to this one
	index   uint64 // of the group within the file
	low     uint64 // files that were begun before that one do not count any more
}

func roundUp(n int) int { return (n + blockSize - 1) &^ (blockSize - 1) }

// seal writes the header of a group that is whole otherwise.
func (h *header) seal(b []byte, directory wire.UUID) {
	be := binary.BigEndian
	be.PutUint32(b, magic)
	be.PutUint32(b[8:], uint32(h.length))
	be.PutUint32(b[12:], uint32(h.entries))
	be.PutUint64(b[16:], h.file)
	be.PutUint64(b[24:], h.index)
	be.PutUint64(b[32:], h.low)
	copy(b[40:56], directory[:])
	clear(b[56:headerSize])
	be.PutUint32(b[4:], crc32.Checksum(b[8:h.length], castagnoli))
}

// parseHeader reads what seal wrote. ok is false for anything else.
func parseHeader(b []byte, directory wire.UUID) (h header, ok bool) {
	be := binary.BigEndian
	if len(b) < headerSize || be.Uint32(b) != magic {
		return h, false
	}
	h.length, h.entries = int(be.Uint32(b[8:])), int(be.Uint32(b[12:]))
	if h.length < headerSize || h.length > len(b) || wire.UUID(b[40:56]) != directory {
		return h, false
	}
	h.file, h.index, h.low = be.Uint64(b[16:]), be.Uint64(b[24:]), be.Uint64(b[32:])
	return h, crc32.Checksum(b[8:h.length], castagnoli) == be.Uint32(b[4:])
}

func appendKey(b []byte, kind byte, key wire.TopicIDPartition) []byte {
	b = append(b, kind)
	b = append(b, key.Topic[:]...)
	return binary.BigEndian.AppendUint32(b, uint32(key.Partition))
}

// Entry is one thing that was added.
type Entry struct {
	Key      wire.TopicIDPartition
	Void     bool        // what was added of Key before does not count
	Base     wire.Offset // of the segment
	Position int64       // in its file
	Bytes    []byte
}

func appendWrite(b []byte, e *Entry) []byte {
	b = appendKey(b, entryWrite, e.Key)
	b = binary.BigEndian.AppendUint64(b, uint64(e.Base))
	b = binary.BigEndian.AppendUint32(b, uint32(e.Position))
	b = binary.BigEndian.AppendUint32(b, uint32(len(e.Bytes)))
	return append(b, e.Bytes...)
}

// nextEntry reads one entry. ok is false when there is none in b, or not all of it.
func nextEntry(b []byte) (e Entry, rest []byte, ok bool) {
	be := binary.BigEndian
	if len(b) < voidSize {
		return e, nil, false
	}
	e.Key = wire.TopicIDPartition{Topic: wire.TopicID(b[1:17]), Partition: wire.Partition(be.Uint32(b[17:]))}
	switch b[0] {
	case entryVoid:
		e.Void = true
		return e, b[voidSize:], true
	case entryWrite:
		if len(b) < writeSize {
			return e, nil, false
		}
		e.Base, e.Position = wire.Offset(be.Uint64(b[21:])), int64(be.Uint32(b[29:]))
		n := int(be.Uint32(b[33:]))
		if n > len(b)-writeSize {
			return e, nil, false
		}
		e.Bytes = b[writeSize : writeSize+n]
		return e, b[writeSize+n:], true
	}
	return e, nil, false
}

// alignedBytes is memory that may be written past the page cache.
func alignedBytes(n int) []byte {
	b := make([]byte, n+blockSize)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (blockSize - 1)
	return b[skip : skip+n : skip+n]
}
