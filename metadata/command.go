package metadata

import (
	"bytes"
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// commandVersion heads every command.
const commandVersion = 1

// RequestID names what somebody asked for, so that what was asked again is done once. The zero id stands for none.
type RequestID = wire.UUID

// Command is one entry of the metadata log: records that take effect together, or a part of them ([Part]).
type Command struct {
	Part    Part
	Term    wire.Term // in which the records were decided; another term's command is not applied
	Request RequestID
	Reply   []byte // what is answered to the request, and to its retries; whoever proposes knows its form
	Records []Record
}

// AppendTo appends the command's encoding; FORMAT.md has its layout.
func (c *Command) AppendTo(b []byte) []byte {
	b = append(b, commandVersion)
	b = wire.AppendInt64(b, int64(c.Term))
	b = wire.AppendUUID(b, c.Request)
	b = wire.AppendBytes(b, c.Reply, true)
	b = appendPart(b, &c.Part)
	b = wire.AppendArrayLength(b, len(c.Records), true)
	for _, r := range c.Records {
		b = AppendRecord(b, r)
	}
	return b
}

// DecodeCommand is the inverse of AppendTo. Strings are copies; nothing aliases b.
func DecodeCommand(b []byte) (Command, error) {
	var c Command
	r := wire.NewReader(b)
	if v := r.Int8(); r.Err() == nil && v != commandVersion {
		return c, fmt.Errorf("%w: command version %d, this kraftgo knows %d", ErrUnknownRecord, v, commandVersion)
	}
	c.Term, c.Request = wire.Term(r.Int64()), r.UUID()
	if reply := r.Bytes(true); len(reply) > 0 {
		c.Reply = bytes.Clone(reply)
	}
	c.Part = readPart(&r)
	for n := r.ArrayLength(true, false, 4); n > 0; n-- {
		rec, err := ReadRecord(&r)
		if err != nil {
			return c, err
		}
		c.Records = append(c.Records, rec)
	}
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return c, fmt.Errorf("metadata command: %w", err)
	}
	return c, nil
}
