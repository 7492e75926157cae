package lifecycle

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/quorum"
)

// Controller decides and commits changes of the metadata. Any goroutine may call it.
type Controller struct {
	quorum *quorum.Quorum

	// deciding is held from the look at the image until the records decided on it took effect, over raft's sync: the
	// next decision must see them. It is a channel, so that a caller that gives up need not wait for it.
	deciding chan struct{}
	unsure   bool // under deciding: the last change may be committed or not
	idle     idle // under deciding
}

// NewController returns a controller over the quorum.
func NewController(q *quorum.Quorum) *Controller {
	return &Controller{quorum: q, deciding: make(chan struct{}, 1)}
}

// ErrForgotten is the result of a change that was made before, by a request of the same id whose reply is not kept any more.
var ErrForgotten = errors.New("the change was made when it was asked for first, and what was answered then is forgotten")

// Change lets decide look at the newest metadata and return records, commits them, and returns once they took effect on
// this broker. No records means that there is nothing to do. On a broker that is not the controller it returns
// [quorum.ErrNotLeader], and decide was not called.
func (c *Controller) Change(ctx context.Context, decide func(*metadata.Image) []metadata.Record) error {
	id, err := NewRequestID()
	if err != nil {
		return err
	}
	_, _, err = c.Once(ctx, id, func(m *metadata.Image) ([]metadata.Record, []byte) { return decide(m), nil })
	return err
}

// NewRequestID draws a request id.
func NewRequestID() (id metadata.RequestID, err error) {
	if _, err := rand.Read(id[:]); err != nil {
		return id, fmt.Errorf("draw a request id: %w", err)
	}
	return id, nil
}

// idle remembers the replies to requests that changed nothing, the newest thousand: the log does not have them. A copy of a request that
// comes late, from a connection that was given up, must not do what its sender was told is refused.
type idle struct {
	replies map[metadata.RequestID][]byte
	order   []metadata.RequestID
}

const (
	idleKept  = 1000
	idleReply = 4 << 10 // bytes of a reply that is kept
)

func (d *idle) add(id metadata.RequestID, reply []byte) {
	if reply == nil || len(reply) > idleReply {
		return
	}
	if d.replies == nil {
		d.replies = map[metadata.RequestID][]byte{}
	}
	if len(d.order) >= idleKept {
		delete(d.replies, d.order[0])
		d.order = d.order[1:]
	}
	d.replies[id] = reply
	d.order = append(d.order, id)
}

// Once is Change for a request that may come again, to this controller or to the next: if it took effect before, decide is not
// called, and the reply that was decided then is returned; so it is if this controller decided then that there is nothing to do. A
// reply longer than [metadata.ReplyMax] is not kept: then the result of a repetition is [ErrForgotten].
func (c *Controller) Once(ctx context.Context, id metadata.RequestID, decide func(*metadata.Image) (records []metadata.Record, reply []byte)) (reply []byte, again bool, err error) {
	select {
	case c.deciding <- struct{}{}:
	case <-ctx.Done():
		return nil, false, fmt.Errorf("wait for other changes of the metadata: %w", ctx.Err())
	}
	defer func() { <-c.deciding }()
	term := c.quorum.Reign()
	if term == 0 {
		return nil, false, quorum.ErrNotLeader
	}
	if c.unsure {
		if err := c.quorum.Barrier(ctx); err != nil {
			return nil, false, err
		}
		c.unsure = false
	}
	switch reply, known := c.quorum.Reply(id); {
	case known && reply == nil:
		return nil, true, ErrForgotten
	case known:
		return reply, true, nil
	}
	if reply, known := c.idle.replies[id]; known {
		return reply, true, nil
	}
	image := c.quorum.Image()
	records, reply := decide(image)
	if len(records) == 0 {
		c.idle.add(id, reply)
		return reply, false, nil
	}
	if err := metadata.CheckLevel(image, records); err != nil {
		return nil, false, err
	}
	if len(reply) > metadata.ReplyMax {
		reply = nil
	}
	err = c.propose(ctx, metadata.Command{Term: term, Request: id, Reply: reply, Records: records})
	c.unsure = errors.Is(err, quorum.ErrUnknown)
	return reply, false, err
}

// propose commits a change, in parts if it is large. The caller holds deciding, so that no other command of ours comes in between;
// if we fail on the way, the next command, of whomever, drops the parts that came.
func (c *Controller) propose(ctx context.Context, command metadata.Command) error {
	parts, err := metadata.Split(command.Records)
	if err != nil {
		return err
	}
	if len(parts) == 1 {
		_, err := c.quorum.Propose(ctx, command)
		return err
	}
	change, err := NewRequestID()
	if err != nil {
		return err
	}
	for i, records := range parts {
		part := metadata.Command{Term: command.Term, Part: metadata.Part{Change: change, Number: i, More: i < len(parts)-1}, Records: records}
		if !part.Part.More {
			part.Request, part.Reply = command.Request, command.Reply
		}
		if _, err := c.quorum.Propose(ctx, part); err != nil {
			return err
		}
	}
	return nil
}

// Image returns the newest applied metadata.
func (c *Controller) Image() *metadata.Image { return c.quorum.Image() }

// Reigns reports whether this broker is the controller, and ready to decide.
func (c *Controller) Reigns() bool { return c.quorum.Reign() != 0 }

// Quorum returns the quorum's state.
func (c *Controller) Quorum() (quorum.Status, error) { return c.quorum.Status() }
