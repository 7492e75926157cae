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
}

// NewController returns a controller over the quorum.
func NewController(q *quorum.Quorum) *Controller {
	return &Controller{quorum: q, deciding: make(chan struct{}, 1)}
}

// Change lets decide look at the newest metadata and return records, commits them, and returns once they took effect on
// this broker. No records means that there is nothing to do. On a broker that is not the controller it returns
// [quorum.ErrNotLeader], and decide was not called.
func (c *Controller) Change(ctx context.Context, decide func(*metadata.Image) []metadata.Record) error {
	select {
	case c.deciding <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("wait for other changes of the metadata: %w", ctx.Err())
	}
	defer func() { <-c.deciding }()
	term := c.quorum.Reign()
	if term == 0 {
		return quorum.ErrNotLeader
	}
	if c.unsure {
		if err := c.quorum.Barrier(ctx); err != nil {
			return err
		}
		c.unsure = false
	}
	image := c.quorum.Image()
	records := decide(image)
	if len(records) == 0 {
		return nil
	}
	if err := metadata.CheckLevel(image, records); err != nil {
		return err
	}
	command := metadata.Command{Term: term, Records: records}
	if _, err := rand.Read(command.Request[:]); err != nil {
		return fmt.Errorf("draw a request id: %w", err)
	}
	_, err := c.quorum.Propose(ctx, command)
	c.unsure = errors.Is(err, quorum.ErrUnknown)
	return err
}

// Image returns the newest applied metadata.
func (c *Controller) Image() *metadata.Image { return c.quorum.Image() }

// Reigns reports whether this broker is the controller, and ready to decide.
func (c *Controller) Reigns() bool { return c.quorum.Reign() != 0 }

// Quorum returns the quorum's state.
func (c *Controller) Quorum() (quorum.Status, error) { return c.quorum.Status() }
