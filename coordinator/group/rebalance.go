package group

import (
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// rebalance begins the join phase, unless one is under way, and ends it if nobody is awaited.
func (g *Group) rebalance(c Clock) {
	if g.state != PreparingRebalance {
		for _, m := range g.sorted() {
			if m.syncBy = 0; g.state == CompletingRebalance {
				m.assignment = nil // those of a generation that was stable are kept for whoever describes the group
			}
			if m.sync != 0 {
				g.refuseSync(m.sync, wire.ErrRebalanceInProgress)
				m.sync = 0
				g.touch(m, c.Now)
			}
		}
		clear(g.writing)
		g.initial = g.state == Empty
		g.joinBy = c.Now + g.rebalanceTimeout()
		if g.initial {
			g.added = false
			g.remaining = max(0, g.rebalanceTimeout()-g.config.InitialRebalanceDelay)
			g.joinBy = c.Now + g.config.InitialRebalanceDelay
		}
		g.enter(PreparingRebalance, c.Now, c.Wall)
	}
	g.tryComplete(c)
}

// rebalanceTimeout is the longest that any member asks for.
func (g *Group) rebalanceTimeout() time.Duration {
	longest := time.Duration(0)
	for _, m := range g.members {
		longest = max(longest, m.rebalanceTimeout)
	}
	return longest
}

// tryComplete ends the join phase if everybody is there. The first of a group always lasts its time.
func (g *Group) tryComplete(c Clock) {
	if g.state != PreparingRebalance || g.initial && c.Now < g.joinBy {
		return
	}
	if g.initial {
		g.expireJoin(c)
		return
	}
	if len(g.pending) > 0 {
		return
	}
	for _, m := range g.members {
		if m.join == 0 {
			return
		}
	}
	g.complete(c)
}

// expireJoin is the end of the join phase's time.
func (g *Group) expireJoin(c Clock) {
	if g.initial && g.added && g.remaining > 0 {
		// Somebody came while we waited: wait once more, but not longer than a rebalance may take.
		delay := min(g.config.InitialRebalanceDelay, g.remaining)
		g.added, g.remaining, g.joinBy = false, g.remaining-delay, c.Now+delay
		return
	}
	g.complete(c)
}

// complete begins the next generation with those who joined. Static members that did not join stay.
func (g *Group) complete(c Clock) {
	for _, m := range g.sorted() {
		if m.join == 0 && m.instance == nil {
			g.remove(m)
		}
	}
	if len(g.members) > 0 && !g.electLeader() {
		g.joinBy, g.initial = c.Now+g.rebalanceTimeout(), false // static members only, and none is there yet
		return
	}
	g.initial = false
	g.generation++
	if len(g.members) == 0 {
		g.protocol, g.leader = nil, ""
		g.enter(Empty, c.Now, c.Wall)
		g.write()
		return
	}
	chosen := g.wouldChoose()
	g.protocol = &chosen
	g.enter(CompletingRebalance, c.Now, c.Wall)
	by := c.Now + g.rebalanceTimeout()
	for _, m := range g.sorted() {
		m.isNew = false
		if m.join == 0 {
			continue // a static member that is away: its session goes on
		}
		m.syncBy = by
		g.touch(m, c.Now)
		g.answerJoin(m.join, g.joined(m, true))
		m.join = 0
	}
}

// electLeader keeps the leader if it joined, else takes the first that did; false if nobody did.
func (g *Group) electLeader() bool {
	if m := g.members[g.leader]; m != nil && m.join != 0 {
		return true
	}
	for _, m := range g.sorted() {
		if m.join != 0 {
			g.leader = m.id
			return true
		}
	}
	return false
}

// remove takes a member out; whatever it waits for must have been answered.
func (g *Group) remove(m *member) {
	delete(g.members, m.id)
	if m.instance != nil && g.static[*m.instance] == m.id {
		delete(g.static, *m.instance)
	}
	if g.leader == m.id {
		g.leader = ""
		if rest := g.sorted(); len(rest) > 0 {
			g.leader = rest[0].id
		}
	}
}

// endWaits answers what a member waits for with a code.
func (g *Group) endWaits(m *member, code wire.ErrorCode) {
	if m.join != 0 {
		g.refuseJoin(m.join, m.id, code)
		m.join = 0
	}
	if m.sync != 0 {
		g.refuseSync(m.sync, code)
		m.sync = 0
	}
}

// lose removes a member that left, or whose session ended, and rebalances the rest.
func (g *Group) lose(m *member, c Clock) {
	g.endWaits(m, wire.ErrUnknownMemberID)
	g.remove(m)
	switch g.state {
	case Stable, CompletingRebalance:
		g.rebalance(c)
	case PreparingRebalance:
		g.tryComplete(c)
	}
}

// Wake steps the group to a time: sessions, joins and syncs that are over end.
func (g *Group) Wake(c Clock) []Effect {
	for _, id := range sortedKeys(g.pending) {
		if g.pending[id] <= c.Now {
			delete(g.pending, id)
			g.tryComplete(c)
		}
	}
	for _, m := range g.sorted() {
		// One that waits for an answer of ours cannot heartbeat; only a new one may wait too long.
		waits := m.join != 0 && !m.isNew || m.sync != 0
		if g.members[m.id] == m && !waits && m.deadline <= c.Now {
			g.lose(m, c)
		}
	}
	if g.state == CompletingRebalance {
		g.dropUnsynced(c)
	}
	if g.state == PreparingRebalance && g.joinBy <= c.Now {
		g.expireJoin(c)
	}
	return g.take()
}

// dropUnsynced removes members that joined a generation and never asked for their assignment (KAFKA-13435).
func (g *Group) dropUnsynced(c Clock) {
	var late []*member
	for _, m := range g.sorted() {
		if m.syncBy != 0 && m.syncBy <= c.Now {
			late = append(late, m)
		}
	}
	for _, m := range late {
		g.endWaits(m, wire.ErrUnknownMemberID)
		g.remove(m)
	}
	if len(late) > 0 {
		g.rebalance(c)
	}
}

// Next returns when [Group.Wake] has something to do; false for never.
func (g *Group) Next() (time.Duration, bool) {
	next, any := time.Duration(0), false
	take := func(d time.Duration) {
		if !any || d < next {
			next, any = d, true
		}
	}
	for _, d := range g.pending {
		take(d)
	}
	for _, m := range g.members {
		if !(m.join != 0 && !m.isNew || m.sync != 0) {
			take(m.deadline)
		}
		if g.state == CompletingRebalance && m.syncBy != 0 {
			take(m.syncBy)
		}
	}
	if g.state == PreparingRebalance {
		take(g.joinBy)
	}
	return next, any
}
