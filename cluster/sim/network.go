package sim

import (
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// place is where messages come from and go to: a broker by its id, or one of these.
type place = wire.BrokerID

const (
	atController place = 0
	atClient     place = -1
)

// link is one direction between two places.
type link struct{ from, to place }

// network carries messages, which are functions. It loses, repeats and delays them, and may be cut. A message to a broker is for the
// process that was there when it was sent: connections end with processes.
type network struct {
	world *world
	cut   map[link]bool
	sent  []sent // fetches of followers of late; a ring
	next  int    // its oldest
}

// sever cuts links, and mend ends that.
func (n *network) sever(links []link) {
	for _, l := range links {
		n.cut[l] = true
	}
}

func (n *network) mend(links []link) {
	for _, l := range links {
		delete(n.cut, l)
	}
}

// sent is a message that was sent to a process.
type sent struct {
	to     *process
	arrive func()
}

// remembered is how many fetches may come again.
const remembered = 100

// remember notes a message that may come once more, much later.
func (n *network) remember(to *process, arrive func()) {
	if len(n.sent) < remembered {
		n.sent = append(n.sent, sent{to, arrive})
		return
	}
	n.sent[n.next] = sent{to, arrive}
	n.next = (n.next + 1) % remembered
}

// comeLate has fetches of before arrive at a process that begins to lead: they were long under way. A leader must not take them for
// fetches of its own followers.
func (n *network) comeLate(to *process) {
	w := n.world
	if w.calm || !w.options.late {
		return
	}
	for _, s := range n.sent {
		if s.to == to && w.chance(0.3) {
			w.after(w.about(w.options.latency/2), func() { to.does(s.arrive) })
		}
	}
}

// send has a message arrive, or not.
func (n *network) send(from, to place, arrive func()) {
	w := n.world
	copies := 1
	if !w.calm {
		switch {
		case w.chance(w.options.drop):
			copies = 0
		case w.chance(w.options.repeat):
			copies = 2
		}
	}
	var target *process
	if to > 0 {
		if target = w.broker(to).process; target == nil {
			return
		}
	}
	for range copies {
		delay := w.about(w.options.latency)
		if !w.calm && w.chance(w.options.drop) {
			delay += time.Duration(w.random.Int64N(int64(2 * time.Second)))
		}
		w.after(delay, func() {
			switch {
			case n.cut[link{from, to}]:
			case target != nil:
				target.does(arrive)
			default:
				arrive()
			}
		})
	}
}

// call asks a question. serve runs where it arrives, each time that it does, and gives its answer to reply, now or later; answered runs
// at the asker with the first answer, or lost when none came in time.
type call struct {
	from, to place
	timeout  time.Duration
	late     bool // it may come again
	serve    func(reply func(answered func()))
	lost     func()
}

// ask makes a call for a process, or (nil) for a client.
func (n *network) ask(p *process, c call) {
	w := n.world
	over := false
	local := func(act func()) {
		if p != nil {
			p.does(act)
		} else {
			act()
		}
	}
	arrive := func() {
		c.serve(func(answered func()) {
			n.send(c.to, c.from, func() {
				if !over && (p == nil || p.broker.process == p) {
					over = true
					answered()
				}
			})
		})
	}
	if c.late && c.to > 0 {
		n.remember(w.broker(c.to).process, arrive)
	}
	n.send(c.from, c.to, arrive)
	w.after(c.timeout, func() {
		local(func() {
			if !over {
				over = true
				c.lost()
			}
		})
	})
}

func (w *world) broker(id wire.BrokerID) *broker { return w.brokers[id-1] }
