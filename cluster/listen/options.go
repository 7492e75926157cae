package listen

import (
	"log/slog"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Options are the limits of a listener. A zero field takes the default in brackets.
type Options struct {
	Name              string        // the listener's name, as clients of it are told apart ["PLAINTEXT"]
	MaxFrame          int           // bytes of a Produce request [100 MiB]
	MaxOtherFrame     int           // bytes of any other request [8 MiB]
	MaxPipelined      int           // requests of one connection in work [64]
	MaxConnections    int           // in all [10000]
	MaxConnectionsIP  int           // from one address [1000]
	IdleTimeout       time.Duration // without a request in work or coming in [10 min]
	WriteTimeout      time.Duration // of one write [30 s]
	BudgetWait        time.Duration // for request memory [10 s]
	PartialTimeout    time.Duration // from a frame's first byte to its last [30 s]
	Budget            *Budget       // request bytes in work, shared by the node's listeners [a 64 MiB one of its own]
	Log               *slog.Logger  // [discard]
	ProduceKey        wire.APIKey   // the key that MaxFrame is for [0]
	SmallFrame        int           // frames up to this size need no budget [16 KiB]
	ObserveConnection func(open int)
}

func (o Options) withDefaults() Options {
	def(&o.Name, "PLAINTEXT")
	def(&o.MaxFrame, 100<<20)
	def(&o.MaxOtherFrame, 8<<20)
	def(&o.MaxPipelined, 64)
	def(&o.MaxConnections, 10_000)
	def(&o.MaxConnectionsIP, 1000)
	def(&o.IdleTimeout, 10*time.Minute)
	def(&o.WriteTimeout, 30*time.Second)
	def(&o.BudgetWait, 10*time.Second)
	def(&o.PartialTimeout, 30*time.Second)
	def(&o.SmallFrame, 16<<10)
	if o.Budget == nil {
		o.Budget = NewBudget(64 << 20)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
