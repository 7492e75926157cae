package group

import (
	"bytes"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Clock is the time of a step: Now on the coordinator's own clock, Wall for records.
type Clock struct {
	Now  time.Duration
	Wall wire.Timestamp
}

// Join is a JoinGroup request.
type Join struct {
	Clock
	To           Token
	Member       string
	Instance     *string
	ClientID     string
	ClientHost   string
	NewID        string // a member id that nobody has, for the case that one is needed
	RequireKnown bool   // a new member must come again with the id that it is given (version 4 on)
	Session      time.Duration
	Rebalance    time.Duration
	ProtocolType string
	Protocols    []message.JoinGroupRequestProtocol
}

// Join steps the group with a JoinGroup.
func (g *Group) Join(j Join) []Effect {
	if code := g.admit(&j); code != wire.ErrNone {
		g.refuseJoin(j.To, j.Member, code)
		return g.take()
	}
	if j.Member == "" {
		g.joinNew(&j)
	} else {
		g.joinKnown(&j)
	}
	return g.take()
}

// admit checks what holds for new and known members alike.
func (g *Group) admit(j *Join) wire.ErrorCode {
	switch {
	case j.Session < g.config.MinSessionTimeout || j.Session > g.config.MaxSessionTimeout:
		return wire.ErrInvalidSessionTimeout
	case g.state == Dead:
		return wire.ErrCoordinatorNotAvailable
	case !g.accepts(j.Member):
		return wire.ErrGroupMaxSizeReached
	case !g.supports(j.ProtocolType, j.Protocols):
		return wire.ErrInconsistentGroupProtocol
	}
	return wire.ErrNone
}

// accepts reports whether the group has room. In a rebalance those that join count, not those that may come.
func (g *Group) accepts(id string) bool {
	m := g.members[id]
	switch g.state {
	case Empty, Dead:
		return true
	case PreparingRebalance:
		joining := 0
		for _, m := range g.members {
			if m.join != 0 {
				joining++
			}
		}
		return m != nil && m.join != 0 || joining < g.config.MaxSize
	}
	return m != nil || len(g.members) < g.config.MaxSize
}

// supports reports whether some protocol of the list is one that every member has.
func (g *Group) supports(kind string, list []message.JoinGroupRequestProtocol) bool {
	if kind == "" || len(list) == 0 {
		return false
	}
	if len(g.members) == 0 {
		return true
	}
	if kind != g.protocolType {
		return false
	}
	common := g.candidates()
	return slices.ContainsFunc(list, func(p message.JoinGroupRequestProtocol) bool { return slices.Contains(common, p.Name) })
}

// candidates returns the protocols that all members have, by name.
func (g *Group) candidates() []string {
	count := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			count[p.Name]++
		}
	}
	var out []string
	for name, n := range count {
		if n == len(g.members) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func (g *Group) joinNew(j *Join) {
	if j.Instance != nil {
		if old, ok := g.static[*j.Instance]; ok {
			g.replaceStatic(j, g.members[old])
			return
		}
		g.add(j, j.NewID)
		return
	}
	if j.RequireKnown {
		g.pending[j.NewID] = j.Now + j.Session
		g.refuseJoin(j.To, j.NewID, wire.ErrMemberIDRequired)
		return
	}
	g.add(j, j.NewID)
}

func (g *Group) joinKnown(j *Join) {
	if _, ok := g.pending[j.Member]; ok {
		if j.Instance != nil {
			g.refuseJoin(j.To, j.Member, wire.ErrUnknownMemberID) // ids are handed out to dynamic members only
			return
		}
		g.add(j, j.Member)
		return
	}
	m, code := g.find(j.Member, j.Instance)
	if code != wire.ErrNone {
		g.refuseJoin(j.To, j.Member, code)
		return
	}
	switch g.state {
	case PreparingRebalance:
		g.rejoin(j, m)
	case CompletingRebalance:
		if !sameProtocols(m.protocols, j.Protocols) {
			g.rejoin(j, m)
			return
		}
		// It did not get the answer to its join: tell it again.
		g.touch(m, j.Now)
		g.answerJoin(j.To, g.joined(m, true))
	case Stable:
		// The leader rejoins to force a rebalance: what it knows of topics has changed.
		if m.id == g.leader || !sameProtocols(m.protocols, j.Protocols) {
			g.rejoin(j, m)
			return
		}
		g.touch(m, j.Now)
		g.answerJoin(j.To, g.joined(m, false))
	default:
		g.refuseJoin(j.To, j.Member, wire.ErrUnknownMemberID)
	}
}

func sameProtocols(a, b []message.JoinGroupRequestProtocol) bool {
	return slices.EqualFunc(a, b, func(x, y message.JoinGroupRequestProtocol) bool {
		return x.Name == y.Name && bytes.Equal(x.Metadata, y.Metadata)
	})
}

// add makes a new member, and begins a rebalance for it.
func (g *Group) add(j *Join, id string) {
	delete(g.pending, id)
	m := &member{id: id, instance: j.Instance, isNew: true}
	m.update(j)
	if len(g.members) == 0 {
		g.protocolType = j.ProtocolType
	}
	if g.leader == "" {
		g.leader = id
	}
	g.members[id] = m
	if j.Instance != nil {
		g.static[*j.Instance] = id
	}
	if g.state == PreparingRebalance && g.initial {
		g.added = true
	}
	m.join = j.To
	m.deadline = j.Now + newMemberJoinTimeout
	g.rebalance(j.Clock)
}

// update takes over what a member says of itself.
func (m *member) update(j *Join) {
	m.clientID, m.host = j.ClientID, j.ClientHost
	m.sessionTimeout, m.rebalanceTimeout = j.Session, j.Rebalance
	m.protocols = j.Protocols
}

// rejoin takes a member into the next generation.
func (g *Group) rejoin(j *Join, m *member) {
	if m.join != 0 {
		// The client gave up on its earlier join and sent another.
		g.refuseJoin(m.join, m.id, wire.ErrRebalanceInProgress)
	}
	m.update(j)
	m.join = j.To
	g.touch(m, j.Now)
	g.rebalance(j.Clock)
}

// replaceStatic gives a static member that comes back under a new id the place of its old self.
func (g *Group) replaceStatic(j *Join, old *member) {
	g.endWaits(old, wire.ErrFencedInstanceID)
	before := old.metadata(g.protocol)
	m := &member{}
	*m = *old
	m.id, m.join, m.sync = j.NewID, 0, 0
	delete(g.members, old.id)
	g.members[m.id], g.static[*j.Instance] = m, m.id
	if g.leader == old.id {
		g.leader = m.id
	}
	m.update(j)
	g.touch(m, j.Now)
	if g.state == Stable && g.wouldChoose() == *g.protocol && bytes.Equal(before, m.metadata(g.protocol)) {
		// Nothing that an assignment depends on has changed: it goes on with the old one. The new id must be known after a
		// failover, so it is written before it is told.
		g.late[g.write()] = JoinAnswer{j.To, g.staticJoined(m)}
		return
	}
	m.join = j.To
	g.rebalance(j.Clock)
}

// staticJoined answers a static member that keeps its assignment. The leader is told to skip the assignment (KIP-814).
func (g *Group) staticJoined(m *member) message.JoinGroupResponse {
	a := g.joined(m, m.id == g.leader)
	a.SkipAssignment = m.id == g.leader
	return a
}

// joined is the answer to a member of the present generation; the leader gets the members if told is set.
func (g *Group) joined(m *member, told bool) message.JoinGroupResponse {
	a := message.JoinGroupResponse{GenerationID: g.generation, ProtocolName: g.protocol, Leader: g.leader, MemberID: m.id}
	if g.protocol != nil && *g.protocol == "" {
		a.ProtocolName = nil
	}
	if g.protocolType != "" {
		a.ProtocolType = &g.protocolType
	}
	if told && m.id == g.leader {
		for _, o := range g.sorted() {
			a.Members = append(a.Members, message.JoinGroupResponseMember{MemberID: o.id, GroupInstanceID: o.instance, Metadata: o.metadata(g.protocol)})
		}
	}
	return a
}

// wouldChoose returns the protocol with the most votes among those that all members have: each votes for the first in its
// list. Kafka leaves ties open; the first by name wins here. "" if there is none.
func (g *Group) wouldChoose() string {
	common := g.candidates()
	votes := map[string]int{}
	for _, m := range g.members {
		for _, p := range m.protocols {
			if slices.Contains(common, p.Name) {
				votes[p.Name]++
				break
			}
		}
	}
	if len(common) == 0 {
		return ""
	}
	best := common[0] // the empty name is one like any other
	for _, name := range common[1:] {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}
