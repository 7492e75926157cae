package group

import (
	"maps"
	"slices"
	"sort"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Sync is a SyncGroup request.
type Sync struct {
	Clock
	To           Token
	Member       string
	Instance     *string
	Generation   int32
	ProtocolType *string // nil: not told (before version 5)
	Protocol     *string
	Assignments  []message.SyncGroupRequestAssignment
}

// Sync steps the group with a SyncGroup.
func (g *Group) Sync(s Sync) []Effect {
	m, code := g.checkSync(&s)
	if code != wire.ErrNone {
		g.refuseSync(s.To, code)
		return g.take()
	}
	if g.state == Stable {
		m.syncBy = 0
		g.touch(m, s.Now)
		g.answerSync(s.To, m)
		return g.take()
	}
	if m.sync != 0 {
		g.refuseSync(m.sync, wire.ErrRebalanceInProgress) // the client gave up on its earlier one
	}
	m.sync, m.syncBy = s.To, 0
	if m.id == g.leader && len(g.writing) == 0 {
		g.assign(s.Assignments)
	}
	return g.take()
}

func (g *Group) checkSync(s *Sync) (*member, wire.ErrorCode) {
	if g.state == Dead {
		return nil, wire.ErrCoordinatorNotAvailable
	}
	m, code := g.find(s.Member, s.Instance)
	switch {
	case code != wire.ErrNone:
		return nil, code
	case s.Generation != g.generation:
		return nil, wire.ErrIllegalGeneration
	case s.ProtocolType != nil && *s.ProtocolType != g.protocolType,
		s.Protocol != nil && g.protocol != nil && *s.Protocol != *g.protocol:
		return nil, wire.ErrInconsistentGroupProtocol
	case g.state == Empty:
		return nil, wire.ErrUnknownMemberID
	case g.state == PreparingRebalance:
		return nil, wire.ErrRebalanceInProgress
	}
	return m, wire.ErrNone
}

// assign takes the leader's assignment and writes it; members are told once it is written.
func (g *Group) assign(list []message.SyncGroupRequestAssignment) {
	for _, m := range g.members {
		m.assignment = []byte{}
	}
	for _, a := range list {
		if m := g.members[a.MemberID]; m != nil {
			m.assignment = a.Assignment
		}
	}
	id := g.write()
	g.writing[id] = g.generation
}

// Written tells that a write ended: ErrNone if it is committed.
func (g *Group) Written(c Clock, id uint64, code wire.ErrorCode) []Effect {
	if answer, ok := g.late[id]; ok {
		delete(g.late, id)
		if code != wire.ErrNone {
			g.refuseJoin(answer.To, answer.Answer.MemberID, refusalOf(code))
		} else {
			g.answerJoin(answer.To, answer.Answer)
		}
		return g.take()
	}
	generation, open := g.writing[id]
	delete(g.writing, id)
	if !open || g.state != CompletingRebalance || generation != g.generation {
		return g.take() // a later rebalance has made it void
	}
	if code != wire.ErrNone {
		for _, m := range g.sorted() {
			m.assignment = nil
			if m.sync != 0 {
				g.refuseSync(m.sync, refusalOf(code))
				m.sync = 0
				g.touch(m, c.Now)
			}
		}
		g.rebalance(c)
		return g.take()
	}
	g.enter(Stable, c.Now, c.Wall)
	for _, m := range g.sorted() {
		if m.sync != 0 {
			g.answerSync(m.sync, m)
			m.sync = 0
			g.touch(m, c.Now)
		}
	}
	return g.take()
}

// refusalOf turns the fault of a write into what members are told, so that they come again.
func refusalOf(code wire.ErrorCode) wire.ErrorCode {
	switch code {
	case wire.ErrNotLeaderOrFollower, wire.ErrFencedLeaderEpoch, wire.ErrUnknownLeaderEpoch, wire.ErrKafkaStorageError:
		return wire.ErrNotCoordinator
	case wire.ErrMessageTooLarge, wire.ErrRecordListTooLarge, wire.ErrInvalidFetchSize:
		return wire.ErrUnknownServerError
	}
	return wire.ErrCoordinatorNotAvailable
}

// RefusalOf is refusalOf for what the driver writes for a group: its offsets.
func RefusalOf(code wire.ErrorCode) wire.ErrorCode { return refusalOf(code) }

// Heartbeat steps the group with a Heartbeat.
func (g *Group) Heartbeat(c Clock, id string, instance *string, generation int32) wire.ErrorCode {
	if g.state == Dead {
		return wire.ErrCoordinatorNotAvailable
	}
	m, code := g.find(id, instance)
	switch {
	case code != wire.ErrNone:
		return code
	case generation != g.generation:
		return wire.ErrIllegalGeneration
	case g.state == Empty:
		return wire.ErrUnknownMemberID
	}
	g.touch(m, c.Now)
	if g.state == PreparingRebalance {
		return wire.ErrRebalanceInProgress
	}
	return wire.ErrNone
}

// Leave steps the group with one member of a LeaveGroup. A static member may be named by its instance alone.
func (g *Group) Leave(c Clock, id string, instance *string) (wire.ErrorCode, []Effect) {
	if g.state == Dead {
		return wire.ErrCoordinatorNotAvailable, nil
	}
	if id == "" && instance != nil {
		owner, ok := g.static[*instance]
		if !ok {
			return wire.ErrUnknownMemberID, nil
		}
		id = owner
	}
	if _, ok := g.pending[id]; ok {
		if instance != nil {
			return wire.ErrUnknownMemberID, nil
		}
		delete(g.pending, id)
		g.tryComplete(c)
		return wire.ErrNone, g.take()
	}
	m, code := g.find(id, instance)
	if code != wire.ErrNone {
		return code, nil
	}
	g.lose(m, c)
	return wire.ErrNone, g.take()
}

// CheckCommit says whether a member may commit offsets now, and takes the commit for a sign of life. A commit without a
// member (generation below 0) is a consumer's that assigns itself, and needs the group to be empty.
func (g *Group) CheckCommit(c Clock, id string, instance *string, generation int32) wire.ErrorCode {
	switch {
	case g.state == Dead:
		return wire.ErrCoordinatorNotAvailable
	case generation < 0 && g.state == Empty:
		return wire.ErrNone
	case generation < 0 && id == "" && instance == nil:
		return wire.ErrUnknownMemberID
	}
	m, code := g.find(id, instance)
	switch {
	case code != wire.ErrNone:
		return code
	case generation != g.generation:
		return wire.ErrIllegalGeneration
	case g.state == CompletingRebalance:
		return wire.ErrRebalanceInProgress
	}
	g.touch(m, c.Now)
	return wire.ErrNone
}

// Stop makes the group dead: it was deleted, or this coordinator is not its own any more. Whoever waits gets the code.
func (g *Group) Stop(code wire.ErrorCode) []Effect {
	for _, m := range g.sorted() {
		g.endWaits(m, code)
	}
	for _, id := range slices.Sorted(maps.Keys(g.late)) {
		g.refuseJoin(g.late[id].To, g.late[id].Answer.MemberID, code)
	}
	clear(g.late)
	g.state = Dead
	g.members, g.static = map[string]*member{}, map[string]string{}
	g.pending, g.leader = nil, ""
	return g.take()
}

// Subscribed reports whether members of a stable consumer group subscribe to a topic, whose offsets then must not be
// deleted. parse reads a member's metadata; a member whose metadata cannot be read may subscribe to anything.
func (g *Group) Subscribed(topic string, parse func([]byte) ([]string, bool)) bool {
	for _, m := range g.members {
		if topics, ok := parse(m.metadata(g.protocol)); !ok || slices.Contains(topics, topic) {
			return true
		}
	}
	return false
}

// Describe tells of the group as DescribeGroups does.
func (g *Group) Describe() message.DescribeGroupsResponseGroup {
	a := message.DescribeGroupsResponseGroup{GroupID: g.id, GroupState: g.state.String(), ProtocolType: g.protocolType}
	stable := g.state == Stable
	if stable && g.protocol != nil {
		a.ProtocolData = *g.protocol
	}
	for _, m := range g.sorted() {
		out := message.DescribeGroupsResponseMember{MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host, MemberMetadata: []byte{}, MemberAssignment: m.assignment}
		if stable {
			out.MemberMetadata = m.metadata(g.protocol)
		}
		a.Members = append(a.Members, out)
	}
	return a
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}
