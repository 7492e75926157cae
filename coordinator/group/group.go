package group

import (
	"fmt"
	"sort"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
	"github.com/kraftgo/kraftgo/wire/record"
)

// State is where a group stands between rebalances.
type State uint8

// The states; see the package doc.
const (
	Empty State = iota
	PreparingRebalance
	CompletingRebalance
	Stable
	Dead
)

// String returns Kafka's name of the state.
func (s State) String() string {
	return [...]string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable", "Dead"}[s]
}

// Token names a request whose answer is due.
type Token uint64

// Config bounds what groups may do.
type Config struct {
	InitialRebalanceDelay time.Duration
	MinSessionTimeout     time.Duration
	MaxSessionTimeout     time.Duration
	MaxSize               int
}

// newMemberJoinTimeout is how long a member that has never joined a generation may wait in one join (KAFKA-7610).
const newMemberJoinTimeout = 5 * time.Minute

// Effect is something that the driver does. Exactly one field is set.
type Effect struct {
	Join  *JoinAnswer
	Sync  *SyncAnswer
	Write *Write
}

// JoinAnswer answers a JoinGroup.
type JoinAnswer struct {
	To     Token
	Answer message.JoinGroupResponse
}

// SyncAnswer answers a SyncGroup.
type SyncAnswer struct {
	To     Token
	Answer message.SyncGroupResponse
}

// Write asks for a record of the group to be written. The driver calls [Group.Written] with the same ID.
type Write struct {
	ID    uint64
	Value record.GroupMetadataValue
}

// member is one member of the group.
type member struct {
	id               string
	instance         *string // of a static member (KIP-345)
	clientID, host   string
	sessionTimeout   time.Duration
	rebalanceTimeout time.Duration
	protocols        []message.JoinGroupRequestProtocol
	assignment       []byte
	isNew            bool // has not been in a generation

	join, sync Token         // 0: none waits
	deadline   time.Duration // of the session; heartbeats move it
	syncBy     time.Duration // when it must have synced its generation; 0: it has
}

// Group is one group. At all times the leader, if there is one, is a member; every static member is in static.
type Group struct {
	id     string
	config Config
	state  State

	generation   int32
	protocolType string
	protocol     *string // chosen for the generation
	leader       string  // member id, or ""
	members      map[string]*member
	static       map[string]string        // instance to member id
	pending      map[string]time.Duration // member ids handed out and not used yet (KIP-394), until when
	changed      time.Duration            // when the state last changed
	changedAt    wire.Timestamp           // the same by the wall clock, for records

	// While PreparingRebalance:
	joinBy    time.Duration // when the join phase ends at the latest
	initial   bool          // the first rebalance of an empty group: it waits for more members
	remaining time.Duration // how much longer an initial join may be extended
	added     bool          // a member was added since the last extension

	writes  uint64                // ids of writes handed out
	writing map[uint64]int32      // open writes of assignments, by id, with their generation
	late    map[uint64]JoinAnswer // answers to static members that wait for a write

	out []Effect // of the step in work
}

// New returns an empty group.
func New(id string, c Config) *Group {
	return &Group{
		id: id, config: c, members: map[string]*member{}, static: map[string]string{}, pending: map[string]time.Duration{},
		writing: map[uint64]int32{}, late: map[uint64]JoinAnswer{},
	}
}

// Load returns a group as a record has it. Its members get a full session from now on.
func Load(id string, c Config, v *record.GroupMetadataValue, now time.Duration) *Group {
	g := New(id, c)
	g.generation, g.protocolType, g.protocol = v.Generation, v.ProtocolType, v.Protocol
	g.changed, g.changedAt = now, wire.Timestamp(v.CurrentStateTimestamp)
	if v.Leader != nil {
		g.leader = *v.Leader
	}
	for i := range v.Members {
		m := &v.Members[i]
		n := &member{
			id: m.MemberID, instance: m.GroupInstanceID, clientID: m.ClientID, host: m.ClientHost,
			sessionTimeout: time.Duration(m.SessionTimeout) * time.Millisecond, rebalanceTimeout: time.Duration(m.RebalanceTimeout) * time.Millisecond,
			assignment: append([]byte(nil), m.Assignment...),
		}
		if n.rebalanceTimeout < 0 {
			n.rebalanceTimeout = n.sessionTimeout
		}
		if v.Protocol != nil {
			n.protocols = []message.JoinGroupRequestProtocol{{Name: *v.Protocol, Metadata: append([]byte(nil), m.Subscription...)}}
		}
		n.deadline = now + n.sessionTimeout
		g.members[n.id] = n
		if n.instance != nil {
			g.static[*n.instance] = n.id
		}
	}
	if len(g.members) > 0 {
		g.state = Stable
	}
	return g
}

// ID returns the group's id.
func (g *Group) ID() string { return g.id }

// State returns the group's state.
func (g *Group) State() State { return g.state }

// Generation returns the number of the present generation.
func (g *Group) Generation() int32 { return g.generation }

// ProtocolType returns what kind of group it is, as "consumer"; "" when it was never joined.
func (g *Group) ProtocolType() string { return g.protocolType }

// Changed returns when the group last became what it is, by the wall clock.
func (g *Group) Changed() wire.Timestamp { return g.changedAt }

// Members returns how many members there are, not counting those whose id was handed out and not used.
func (g *Group) Members() int { return len(g.members) }

// take ends a step.
func (g *Group) take() []Effect {
	out := g.out
	g.out = nil
	return out
}

// sorted returns the members by id: no effect may depend on the order of a map.
func (g *Group) sorted() []*member {
	out := make([]*member, 0, len(g.members))
	for _, m := range g.members {
		out = append(out, m)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id })
	return out
}

func (g *Group) enter(s State, now time.Duration, wall wire.Timestamp) {
	if g.state == Dead {
		panic("group: a dead group cannot become " + s.String())
	}
	g.state, g.changed, g.changedAt = s, now, wall
}

// find returns a member that a request names, checked against the instance that it claims.
func (g *Group) find(id string, instance *string) (*member, wire.ErrorCode) {
	if instance != nil {
		owner, ok := g.static[*instance]
		switch {
		case !ok:
			return nil, wire.ErrUnknownMemberID
		case owner != id:
			return nil, wire.ErrFencedInstanceID
		}
	}
	m := g.members[id]
	if m == nil {
		return nil, wire.ErrUnknownMemberID
	}
	return m, wire.ErrNone
}

// touch moves a member's session deadline.
func (g *Group) touch(m *member, now time.Duration) { m.deadline = now + m.sessionTimeout }

func (g *Group) answerJoin(to Token, a message.JoinGroupResponse) {
	g.out = append(g.out, Effect{Join: &JoinAnswer{to, a}})
}

func (g *Group) refuseJoin(to Token, member string, code wire.ErrorCode) {
	g.answerJoin(to, message.JoinGroupResponse{ErrorCode: code, GenerationID: -1, MemberID: member})
}

func (g *Group) answerSync(to Token, m *member) {
	a := message.SyncGroupResponse{ProtocolName: g.protocol, Assignment: m.assignment}
	if g.protocolType != "" {
		a.ProtocolType = &g.protocolType
	}
	g.out = append(g.out, Effect{Sync: &SyncAnswer{to, a}})
}

func (g *Group) refuseSync(to Token, code wire.ErrorCode) {
	g.out = append(g.out, Effect{Sync: &SyncAnswer{to, message.SyncGroupResponse{ErrorCode: code}}})
}

// write asks for the group's present state to be written.
func (g *Group) write() uint64 {
	g.writes++
	g.out = append(g.out, Effect{Write: &Write{ID: g.writes, Value: g.value()}})
	return g.writes
}

// value is the group as a record.
func (g *Group) value() record.GroupMetadataValue {
	v := record.GroupMetadataValue{ProtocolType: g.protocolType, Generation: g.generation, Protocol: g.protocol, CurrentStateTimestamp: int64(g.changedAt)}
	if g.leader != "" {
		leader := g.leader
		v.Leader = &leader
	}
	for _, m := range g.sorted() {
		v.Members = append(v.Members, record.GroupMetadataValueMemberMetadata{
			MemberID: m.id, GroupInstanceID: m.instance, ClientID: m.clientID, ClientHost: m.host,
			RebalanceTimeout: int32(m.rebalanceTimeout / time.Millisecond), SessionTimeout: int32(m.sessionTimeout / time.Millisecond),
			Subscription: m.metadata(g.protocol), Assignment: m.assignment,
		})
	}
	return v
}

// metadata returns what a member said under a protocol.
func (m *member) metadata(protocol *string) []byte {
	if protocol != nil {
		for i := range m.protocols {
			if m.protocols[i].Name == *protocol {
				return m.protocols[i].Metadata
			}
		}
	}
	return []byte{}
}

// check panics when an invariant does not hold; tests call it after each step.
func (g *Group) check() {
	if g.leader != "" && g.members[g.leader] == nil {
		panic(fmt.Sprintf("group %s: leader %s is no member", g.id, g.leader))
	}
	for instance, id := range g.static {
		m := g.members[id]
		if m == nil || m.instance == nil || *m.instance != instance {
			panic(fmt.Sprintf("group %s: static member %s of %s", g.id, instance, id))
		}
	}
	for _, m := range g.members {
		if m.join != 0 && g.state != PreparingRebalance {
			panic(fmt.Sprintf("group %s: %s waits to join while %s", g.id, m.id, g.state))
		}
		if m.sync != 0 && g.state != CompletingRebalance {
			panic(fmt.Sprintf("group %s: %s waits for its assignment while %s", g.id, m.id, g.state))
		}
		if m.instance != nil && g.static[*m.instance] != m.id {
			panic(fmt.Sprintf("group %s: %s is not the static member it says", g.id, m.id))
		}
	}
	if g.state == Empty && len(g.members) > 0 || g.state == Stable && len(g.members) == 0 {
		panic(fmt.Sprintf("group %s: %s with %d members", g.id, g.state, len(g.members)))
	}
}
