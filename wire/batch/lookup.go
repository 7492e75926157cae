package batch

import "github.com/kraftgo/kraftgo/wire"

// FirstAtOrAfter finds the first record of h with an offset >= minOffset and a time >= timestamp. h must be whole. Nothing
// is decompressed if the header's latest time rules it out; otherwise at most limit bytes come out.
func FirstAtOrAfter(h Header, timestamp wire.Timestamp, minOffset wire.Offset, limit int) (o wire.Offset, t wire.Timestamp, found bool, err error) {
	if h.MaxTimestamp() < timestamp || h.LastOffset() < minOffset {
		return 0, 0, false, nil
	}
	err = h.each(limit, func(r *Record) bool {
		if r.Offset >= minOffset && r.Timestamp >= timestamp {
			o, t, found = r.Offset, r.Timestamp, true
		}
		return !found
	})
	return o, t, found, err
}

// MaxTimestampRecord finds the first of the records of h with the latest time. h must be whole. found is false if no record
// has a time.
func MaxTimestampRecord(h Header, limit int) (o wire.Offset, t wire.Timestamp, found bool, err error) {
	t = wire.NoTimestamp
	err = h.each(limit, func(r *Record) bool {
		if r.Timestamp > t {
			o, t, found = r.Offset, r.Timestamp, true
		}
		return true
	})
	return o, t, found, err
}

// each visits the records of h until visit returns false. The records are gone when each returns.
func (h Header) each(limit int, visit func(r *Record) bool) error {
	scratch := borrow()
	defer release(scratch)
	plain, err := h.Plain(*scratch, limit)
	if err != nil {
		return err
	}
	if h.Codec() != CodecNone {
		*scratch = plain[:0]
	}
	var r Record
	it := h.Iterate(plain)
	for it.Next(&r) {
		if !visit(&r) {
			return nil
		}
	}
	return it.Err()
}
