package lifecycle

import (
	"context"
	"errors"
	"log/slog"
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
)

// A process that is being killed resets the first connections to its listener before it refuses any: that is no answer, and
// it is dialled again.
func TestASuspectIsDialledUntilTheAnswerIsClear(t *testing.T) {
	unclear := errors.New("connection reset by peer")
	for name, c := range map[string]struct {
		answers []error // nil: a clear one, at the end
		lives   bool
		dead    bool
	}{
		"refused at once":        {[]error{nil}, false, true},
		"reset, then refused":    {[]error{unclear, unclear, nil}, false, true},
		"reset, then it answers": {[]error{unclear, nil}, true, false},
		"never clear":            {[]error{unclear, unclear, unclear, unclear, unclear, unclear}, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			dialled := 0
			l := NewLeader(LeaderOptions{Log: slog.New(slog.DiscardHandler), Probe: func(context.Context, *metadata.BrokerInfo) (bool, error) {
				dialled++
				return c.lives, c.answers[dialled-1]
			}})
			if got := l.certainlyDead(t.Context(), &metadata.BrokerInfo{}); got != c.dead || dialled != len(c.answers) {
				t.Fatalf("dead: %v after %d of %d dials", got, dialled, len(c.answers))
			}
		})
	}
}
