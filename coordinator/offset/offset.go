// Package offset decides about committed offsets: what a commit is written as, and when one expires. It is pure.
//
// The rules of expiry are Kafka's (KIP-211, class OffsetExpirationConditionImpl): an offset with an expiry time of its own
// goes by that; of a group that subscribes, offsets of topics that no member subscribes to go when they are older than the
// retention, and when the group is empty, all go once it has been empty for that long; of a group that was never joined,
// each goes when it is older than the retention.
package offset

import (
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/record"
)

// Version returns the version in which an offset is written: 1 has an expiry time, 3 a leader epoch. Every Kafka tool
// since 2.1 reads both.
func Version(v *record.OffsetCommitValue) int16 {
	if v.ExpireTimestamp >= 0 {
		return 1
	}
	return 3
}

// Owner is what expiry must know of the group that an offset belongs to.
type Owner struct {
	Joined     bool           // it has, or had, members: its protocol type is known
	Empty      bool           // it has no members now
	Changed    wire.Timestamp // when it last changed its state; NoTimestamp if that is not known
	Subscribes bool           // some member subscribes to the offset's topic
}

// Expired reports whether an offset has expired by now.
func Expired(v *record.OffsetCommitValue, o Owner, now wire.Timestamp, retention time.Duration) bool {
	if v.ExpireTimestamp >= 0 {
		return o.Empty && int64(now) >= v.ExpireTimestamp
	}
	since := v.CommitTimestamp
	switch {
	case o.Joined && !o.Empty:
		if o.Subscribes {
			return false
		}
	case o.Joined && o.Changed > wire.NoTimestamp:
		since = max(since, int64(o.Changed))
	}
	return int64(now)-since >= int64(retention/time.Millisecond)
}
