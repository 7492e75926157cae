package lifecycle_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// TestProducerIDsWaitForNobodyElse: while the controller does not answer, each caller waits as long as it may, and not for those before
// it too; and when it answers, one block serves all.
func TestProducerIDsWaitForNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers, blocks := false, wire.ProducerID(0)
		ids := lifecycle.NewProducerIDs(func(ctx context.Context) (wire.ProducerID, error) {
			if !answers {
				<-ctx.Done()
				return 0, ctx.Err()
			}
			blocks++
			return blocks * control.ProducerIDBlock, nil
		})
		begun := time.Now()
		var callers sync.WaitGroup
		for range 5 {
			callers.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				if _, err := ids.Next(ctx); !errors.Is(err, context.DeadlineExceeded) {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if took := time.Since(begun); took != 30*time.Second {
			t.Errorf("they waited for %s", took)
		}
		answers = true
		for i := range wire.ProducerID(5) {
			if id, err := ids.Next(t.Context()); err != nil || id != control.ProducerIDBlock+i {
				t.Error(id, err)
			}
		}
	})
}
