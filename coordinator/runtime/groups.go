package runtime

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/coordinator/group"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
	"github.com/kraftgo/kraftgo/wire/record"
)

// newMemberID returns a member id that nobody has: a name to know it by, and a random UUID in the usual form.
func newMemberID(name string) string {
	var u [16]byte
	if _, err := rand.Read(u[:]); err != nil {
		panic("runtime: no randomness: " + err.Error())
	}
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return fmt.Sprintf("%s-%x-%x-%x-%x-%x", name, u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}

// Join answers a JoinGroup, when the group has its next generation.
func (c *Coordinator) Join(caller Caller, m *message.JoinGroupRequest, reply func(*message.JoinGroupResponse)) {
	refuse := func(code wire.ErrorCode) {
		reply(&message.JoinGroupResponse{ErrorCode: code, GenerationID: -1, MemberID: m.MemberID})
	}
	if m.GroupID == "" {
		refuse(wire.ErrInvalidGroupID)
		return
	}
	j := group.Join{
		Member: m.MemberID, Instance: m.GroupInstanceID, ClientID: caller.ClientID, ClientHost: caller.ClientHost,
		RequireKnown: caller.Version >= 4, Session: time.Duration(m.SessionTimeoutMs) * time.Millisecond,
		Rebalance: time.Duration(m.RebalanceTimeoutMs) * time.Millisecond, ProtocolType: m.ProtocolType,
	}
	if caller.Version == 0 || m.RebalanceTimeoutMs < 0 {
		j.Rebalance = j.Session
	}
	name := caller.ClientID
	if m.GroupInstanceID != nil {
		name = *m.GroupInstanceID
	}
	j.NewID = newMemberID(name)
	for _, p := range m.Protocols {
		j.Protocols = append(j.Protocols, message.JoinGroupRequestProtocol{Name: p.Name, Metadata: bytes.Clone(p.Metadata)})
	}
	c.with(m.GroupID, func(s *shard) {
		g := s.groups[m.GroupID]
		if g == nil {
			if m.MemberID != "" {
				refuse(wire.ErrUnknownMemberID)
				return
			}
			g = group.New(m.GroupID, s.groupConfig())
			s.groups[m.GroupID] = g
		}
		j.Clock, j.To = s.now(), s.token()
		s.joins[j.To] = reply
		s.do(g, g.Join(j))
	}, refuse)
}

// Sync answers a SyncGroup, when the leader's assignment is written.
func (c *Coordinator) Sync(caller Caller, m *message.SyncGroupRequest, reply func(*message.SyncGroupResponse)) {
	refuse := func(code wire.ErrorCode) { reply(&message.SyncGroupResponse{ErrorCode: code}) }
	if m.GroupID == "" {
		refuse(wire.ErrInvalidGroupID)
		return
	}
	if caller.Version >= 5 && (m.ProtocolType == nil || m.ProtocolName == nil) {
		refuse(wire.ErrInconsistentGroupProtocol)
		return
	}
	y := group.Sync{Member: m.MemberID, Instance: m.GroupInstanceID, Generation: m.GenerationID, ProtocolType: m.ProtocolType, Protocol: m.ProtocolName}
	for _, a := range m.Assignments {
		y.Assignments = append(y.Assignments, message.SyncGroupRequestAssignment{MemberID: a.MemberID, Assignment: bytes.Clone(a.Assignment)})
	}
	c.with(m.GroupID, func(s *shard) {
		g := s.groups[m.GroupID]
		if g == nil {
			refuse(wire.ErrUnknownMemberID)
			return
		}
		y.Clock, y.To = s.now(), s.token()
		s.syncs[y.To] = reply
		s.do(g, g.Sync(y))
	}, refuse)
}

// Heartbeat answers a Heartbeat.
func (c *Coordinator) Heartbeat(_ Caller, m *message.HeartbeatRequest, reply func(*message.HeartbeatResponse)) {
	answer := func(code wire.ErrorCode) { reply(&message.HeartbeatResponse{ErrorCode: code}) }
	if m.GroupID == "" {
		answer(wire.ErrInvalidGroupID)
		return
	}
	c.with(m.GroupID, func(s *shard) {
		g := s.groups[m.GroupID]
		if g == nil {
			answer(wire.ErrUnknownMemberID)
			return
		}
		answer(g.Heartbeat(s.now(), m.MemberID, m.GroupInstanceID, m.GenerationID))
	}, func(code wire.ErrorCode) {
		if code == wire.ErrCoordinatorLoadInProgress {
			code = wire.ErrNone // the member is fine, and will be known in a moment
		}
		answer(code)
	})
}

// Leave answers a LeaveGroup.
func (c *Coordinator) Leave(caller Caller, m *message.LeaveGroupRequest, reply func(*message.LeaveGroupResponse)) {
	members := m.Members
	if caller.Version < 3 {
		members = []message.LeaveGroupRequestMember{{MemberID: m.MemberID}}
	}
	answer := func(code wire.ErrorCode, codes []wire.ErrorCode) {
		a := &message.LeaveGroupResponse{ErrorCode: code}
		for i, code := range codes {
			a.Members = append(a.Members, message.LeaveGroupResponseMember{MemberID: members[i].MemberID, GroupInstanceID: members[i].GroupInstanceID, ErrorCode: code})
		}
		if caller.Version < 3 && len(codes) > 0 {
			a.ErrorCode, a.Members = codes[0], nil
		}
		reply(a)
	}
	if m.GroupID == "" {
		answer(wire.ErrInvalidGroupID, nil)
		return
	}
	c.with(m.GroupID, func(s *shard) {
		codes := make([]wire.ErrorCode, len(members))
		g := s.groups[m.GroupID]
		for i, q := range members {
			if g == nil {
				codes[i] = wire.ErrUnknownMemberID
				continue
			}
			code, effects := g.Leave(s.now(), q.MemberID, q.GroupInstanceID)
			codes[i] = code
			s.do(g, effects)
		}
		answer(wire.ErrNone, codes)
	}, func(code wire.ErrorCode) { answer(code, nil) })
}

// Describe answers a DescribeGroups.
func (c *Coordinator) Describe(caller Caller, m *message.DescribeGroupsRequest, reply func(*message.DescribeGroupsResponse)) {
	a := &message.DescribeGroupsResponse{Groups: make([]message.DescribeGroupsResponseGroup, len(m.Groups))}
	done := gather(len(m.Groups), func() { reply(a) })
	for i, id := range m.Groups {
		out := &a.Groups[i]
		c.with(id, func(s *shard) {
			*out = describe(s.groups[id], id, caller.Version)
			out.AuthorizedOperations = unasked
			if m.IncludeAuthorizedOperations {
				out.AuthorizedOperations = groupOperations
			}
			done()
		}, func(code wire.ErrorCode) {
			*out = message.DescribeGroupsResponseGroup{GroupID: id, ErrorCode: code, AuthorizedOperations: unasked}
			done()
		})
	}
}

const (
	unasked = -1 << 31 // authorized operations that were not asked for
	// groupOperations are READ, DELETE, DESCRIBE, DESCRIBE_CONFIGS and ALTER_CONFIGS, as bits by Kafka's AclOperation.
	groupOperations = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)

func describe(g *group.Group, id string, version int16) message.DescribeGroupsResponseGroup {
	if g != nil {
		return g.Describe()
	}
	a := message.DescribeGroupsResponseGroup{GroupID: id, GroupState: group.Dead.String()}
	if version >= 6 {
		text := "Group " + id + " not found."
		a.ErrorCode, a.ErrorMessage = wire.ErrGroupIDNotFound, &text
	}
	return a
}

// gather returns a function that calls done when it was called n times; done is called at once if n is 0.
func gather(n int, done func()) func() {
	if n == 0 {
		done()
		return nil
	}
	var mu sync.Mutex
	return func() {
		mu.Lock()
		n--
		last := n == 0
		mu.Unlock()
		if last {
			done()
		}
	}
}

// List answers a ListGroups, with the groups of all partitions that are led here.
func (c *Coordinator) List(_ Caller, m *message.ListGroupsRequest, reply func(*message.ListGroupsResponse)) {
	a := &message.ListGroupsResponse{}
	if !c.opts.Current() {
		a.ErrorCode = wire.ErrCoordinatorNotAvailable
		reply(a)
		return
	}
	wanted := func(filter []string, value string) bool {
		return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool { return strings.EqualFold(f, value) })
	}
	var mu sync.Mutex
	shards := c.all()
	done := gather(len(shards), func() {
		sort.Slice(a.Groups, func(i, j int) bool { return a.Groups[i].GroupID < a.Groups[j].GroupID })
		if a.ErrorCode != wire.ErrNone {
			a.Groups = nil
		}
		reply(a)
	})
	for _, s := range shards {
		s.postOr(func() {
			mu.Lock()
			if !s.loaded {
				a.ErrorCode = wire.ErrCoordinatorLoadInProgress
			}
			for id, g := range s.groups {
				if wanted(m.StatesFilter, g.State().String()) && wanted(m.TypesFilter, "classic") {
					a.Groups = append(a.Groups, message.ListGroupsResponseGroup{GroupID: id, ProtocolType: g.ProtocolType(), GroupState: g.State().String(), GroupType: "classic"})
				}
			}
			mu.Unlock()
			done()
		}, done)
	}
}

// Delete answers a DeleteGroups.
func (c *Coordinator) Delete(caller Caller, m *message.DeleteGroupsRequest, reply func(*message.DeleteGroupsResponse)) {
	names := slices.Clone(m.GroupsNames)
	slices.Sort(names)
	names = slices.Compact(names)
	a := &message.DeleteGroupsResponse{Results: make([]message.DeleteGroupsResponseResult, len(names))}
	done := gather(len(names), func() { reply(a) })
	for i, id := range names {
		answer := func(code wire.ErrorCode) {
			a.Results[i] = message.DeleteGroupsResponseResult{GroupID: id, ErrorCode: code}
			done()
		}
		c.with(id, func(s *shard) { s.deleteGroup(id, answer) }, answer)
	}
}

func (s *shard) deleteGroup(id string, answer func(wire.ErrorCode)) {
	g := s.groups[id]
	switch {
	case g == nil:
		answer(wire.ErrGroupIDNotFound)
		return
	case g.State() != group.Empty:
		answer(wire.ErrNonEmptyGroup)
		return
	case !s.current():
		answer(wire.ErrCoordinatorNotAvailable)
		return
	}
	effects, err := s.offsetsOf(id, func(string, wire.Partition, *record.OffsetCommitValue) bool { return true })
	if err != nil {
		s.c.opts.Log.Error("offset store failed", "partition", s.p, "error", err)
		answer(wire.ErrCoordinatorNotAvailable)
		return
	}
	s.do(g, g.Stop(wire.ErrGroupIDNotFound))
	delete(s.groups, id)
	s.write(append(effects, effect{key: &record.GroupMetadataKey{Group: id}}), func(code wire.ErrorCode) {
		if code != wire.ErrNone {
			s.restoreGroup(id)
			answer(group.RefusalOf(code))
			return
		}
		delete(s.committed, id)
		answer(wire.ErrNone)
	})
}

// restoreGroup puts back a group whose deletion was not committed, as the store has it, unless it was made anew.
func (s *shard) restoreGroup(id string) {
	if s.groups[id] != nil || !s.current() {
		return
	}
	g := group.New(id, s.groupConfig())
	err := s.c.opts.Store.Groups(s.p, func(name string, value []byte) error {
		var v record.GroupMetadataValue
		if name != id {
			return nil
		}
		if _, err := record.Decode(&v, value); err != nil {
			return err
		}
		g = group.Load(id, s.groupConfig(), &v, s.now().Now)
		return nil
	})
	if err != nil {
		s.c.opts.Log.Error("group not restored", "group", id, "error", err)
	}
	s.groups[id] = g
}

// offsetsOf returns deletions of the offsets of a group that f picks.
func (s *shard) offsetsOf(id string, f func(topic string, partition wire.Partition, v *record.OffsetCommitValue) bool) ([]effect, error) {
	var out []effect
	err := s.c.opts.Store.Offsets(s.p, id, func(topic string, partition wire.Partition, value []byte) error {
		var v record.OffsetCommitValue
		if _, err := record.Decode(&v, value); err != nil {
			return err
		}
		if f(topic, partition, &v) {
			out = append(out, effect{key: &record.OffsetCommitKey{Group: id, Topic: topic, Partition: partition}})
		}
		return nil
	})
	return out, err
}
