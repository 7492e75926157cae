package cluster

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Of two nodes whose metadata is of different histories, the one with the older stops, and both are told the same: which has to follow.
// Where it is not plain which is the older, neither stops.
func TestNodesOfDifferentHistoriesPart(t *testing.T) {
	first, second := metadata.Recovery{Generation: 1, ID: wire.UUID{1}}.String(), metadata.Recovery{Generation: 1, ID: wire.UUID{2}}.String()
	later := metadata.Recovery{Generation: 2, ID: wire.UUID{3}}.String()
	us, them := wire.UUID{7}, wire.UUID{8}
	for _, c := range []struct {
		ours, theirs string
		stops        bool
		says         []string
	}{
		{"", first, true, []string{"recovery " + first, "directory " + us.String(), "--follow " + first}},
		{first, "", false, []string{"recovery " + first, "directory " + them.String(), "--follow " + first}},
		{first, later, true, []string{"directory " + us.String(), "--follow " + later}},
		{first, second, false, []string{"recovered twice", first, second, "--follow RECOVERY"}},
		{first, "junk", false, []string{"junk"}},
	} {
		n := &Node{identity: &identity{Recovery: c.ours}, directory: us, log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
		ctx, cancel := context.WithCancel(t.Context())
		n.cancel = cancel
		n.starting.Store(true)
		peer := internal.Identity{Directory: them, Recovery: c.theirs, Holds: true}
		err := n.otherHistory(peer, true)
		if err == nil {
			t.Fatalf("%q meets %q: nothing is refused", c.ours, c.theirs)
		}
		for _, s := range c.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%q meets %q: it says %q, not %q", c.ours, c.theirs, err, s)
			}
		}
		if stops := len(n.failed) == 1; stops != c.stops || (ctx.Err() != nil) != c.stops {
			t.Errorf("%q meets %q: stops %v, start called off %v", c.ours, c.theirs, stops, ctx.Err())
		}
		cancel()
	}
}

// A node that was told the name of a recovery, and has nothing of it, stops nobody, and learns how to go back.
func TestANameAloneIsNoHistory(t *testing.T) {
	name := metadata.Recovery{Generation: 7, ID: wire.UUID{1}}.String()
	us, them := wire.UUID{7}, wire.UUID{8}
	for _, follower := range []wire.UUID{us, them} {
		n := &Node{identity: &identity{}, directory: us, log: slog.New(slog.DiscardHandler), failed: make(chan error, 1)}
		peer := internal.Identity{Directory: them, Recovery: name}
		if follower == us {
			n.identity.Recovery, peer.Recovery, peer.Holds = name, "", true
		}
		err := n.otherHistory(peer, follower == them)
		for _, want := range []string{"directory " + follower.String() + " was told to follow", name, "--undo"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("it says %v, not %q", err, want)
			}
		}
		if len(n.failed) > 0 {
			t.Error("the node stops")
		}
	}
}
