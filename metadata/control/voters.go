package control

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

// Seat is a place in the quorum.
type Seat struct {
	Directory wire.UUID
	Address   string // where the quorum's configuration has it
	Votes     bool   // false: it is catching up
}

// QuorumNode is a broker as a candidate for the quorum. What the controller knows by itself goes in, and no clock.
type QuorumNode struct {
	Broker    wire.BrokerID
	Directory wire.UUID
	Rack      string
	Address   string        // host:port of its internal listener
	Alive     time.Duration // for how long it has been; 0: it is not
	Dead      time.Duration // for how long it has been; 0: it is not
	LastIndex wire.Index    // the end of its raft log, as it last said
}

// QuorumView is what a decision about the quorum is made from.
type QuorumView struct {
	Target    int       // voters wanted where there are enough brokers: 1, 3 or 5
	Self      wire.UUID // who decides: the leader
	LastIndex wire.Index
	Seats     []Seat
	Nodes     []QuorumNode // every registered broker
	Cordoned  map[wire.BrokerID]bool
}

// QuorumStep is one change of the quorum's membership.
type QuorumStep struct {
	Kind      QuorumStepKind
	Directory wire.UUID
	Address   string
	Why       string
}

// QuorumStepKind says what a step does.
type QuorumStepKind int

// The kinds of step: a voter is staged, promoted when it has the log, demoted, removed; one that has moved gets its new address. And
// the leader hands the quorum over to a voter.
const (
	StageVoter QuorumStepKind = iota + 1
	PromoteVoter
	DemoteVoter
	RemoveVoter
	HandOver
)

const (
	// voterDeadFor is how long a voter must be dead before another takes its seat: a restart is cheaper.
	voterDeadFor = 30 * time.Second
	// voterStableFor is how long a broker must have been alive to take the seat of another.
	voterStableFor = 10 * time.Second
	// voterLag is how many entries a staged voter may be behind at its promotion.
	voterLag = 100
)

// NextQuorumStep returns the next change of the quorum's membership, or nil. Changes are made one at a time; after each
// the decision is made anew. It never takes a majority of votes from live voters, and demotes a dead voter before it
// promotes another, so that a second death in between does not stop a quorum of four.
func NextQuorumStep(v QuorumView) *QuorumStep {
	q := newQuorumState(v)
	if q.node[v.Self] == nil {
		// We were removed from the cluster, and stop as soon as we know. Who leads next decides: by our count, which never takes our own
		// vote away, others would lose theirs for one that is about to be gone.
		return nil
	}
	for _, rule := range []func() *QuorumStep{q.strangers, q.moved, q.leaving, q.surplus, q.dead, q.promote, q.spread, q.stage, q.unstage} {
		if step := rule(); step != nil {
			return step
		}
	}
	return nil
}

type quorumState struct {
	QuorumView
	node           map[wire.UUID]*QuorumNode
	voters, staged []Seat
}

func newQuorumState(v QuorumView) *quorumState {
	q := &quorumState{QuorumView: v, node: map[wire.UUID]*QuorumNode{}}
	for i := range v.Nodes {
		q.node[v.Nodes[i].Directory] = &v.Nodes[i]
	}
	for _, s := range v.Seats {
		if s.Votes {
			q.voters = append(q.voters, s)
		} else {
			q.staged = append(q.staged, s)
		}
	}
	return q
}

// want is how many voters there should be.
func (q *quorumState) want() int {
	n := min(q.Target, len(q.Nodes))
	if n%2 == 0 {
		n--
	}
	return max(n, 1)
}

func (q *quorumState) alive(s Seat) bool {
	n := q.node[s.Directory]
	return s.Directory == q.Self || n != nil && n.Alive > 0
}

func (q *quorumState) liveVoters() int {
	n := 0
	for _, s := range q.voters {
		if q.alive(s) {
			n++
		}
	}
	return n
}

// mayLose reports whether the quorum still has a live majority when one voter has gone.
func (q *quorumState) mayLose(s Seat) bool {
	live := q.liveVoters()
	if q.alive(s) {
		live--
	}
	return live > (len(q.voters)-1)/2 || len(q.voters) == 1
}

func (q *quorumState) caughtUp(s Seat) bool {
	n := q.node[s.Directory]
	return n != nil && n.Alive > 0 && n.LastIndex+voterLag >= q.LastIndex
}

// strangers removes members whose directory no broker has any more: it was replaced, or its broker has left.
func (q *quorumState) strangers() *QuorumStep {
	for _, s := range append(slices.Clone(q.staged), q.voters...) {
		if q.node[s.Directory] != nil || s.Directory == q.Self {
			continue
		}
		if !s.Votes || q.mayLose(s) {
			return &QuorumStep{RemoveVoter, s.Directory, s.Address, "no broker has this directory any more"}
		}
	}
	return nil
}

// moved notes the new address of a member.
func (q *quorumState) moved() *QuorumStep {
	for _, s := range append(slices.Clone(q.voters), q.staged...) {
		n := q.node[s.Directory]
		if n == nil || n.Alive == 0 || n.Address == s.Address || n.Address == "" {
			continue
		}
		kind := StageVoter
		if s.Votes {
			kind = PromoteVoter
		}
		return &QuorumStep{kind, s.Directory, n.Address, fmt.Sprintf("broker %d has moved from %s", n.Broker, s.Address)}
	}
	return nil
}

// leaving hands the quorum over when the leader is cordoned: it is about to be emptied and taken out, and nothing is decided while
// another has to be found.
func (q *quorumState) leaving() *QuorumStep {
	n := q.node[q.Self]
	if !q.Cordoned[n.Broker] {
		return nil
	}
	if s := q.successor(); s != nil && !q.Cordoned[q.brokerOf(*s)] {
		return &QuorumStep{HandOver, s.Directory, s.Address, fmt.Sprintf("broker %d, which leads the quorum, is cordoned", n.Broker)}
	}
	return nil
}

// successor returns who is best to lead the quorum in this leader's place: a live voter, not cordoned if there is such a one, whose log
// went furthest when it last said; nil: there is none. Raft brings it the rest of the log first.
func (q *quorumState) successor() *Seat {
	fit := slices.DeleteFunc(slices.Clone(q.voters), func(s Seat) bool { return s.Directory == q.Self || !q.alive(s) })
	if len(fit) == 0 {
		return nil
	}
	best := slices.MinFunc(fit, func(a, b Seat) int {
		if c := compareBool(q.Cordoned[q.brokerOf(a)], q.Cordoned[q.brokerOf(b)]); c != 0 {
			return c
		}
		if c := cmp.Compare(q.node[b.Directory].LastIndex, q.node[a.Directory].LastIndex); c != 0 {
			return c
		}
		return cmp.Compare(q.brokerOf(a), q.brokerOf(b))
	})
	return &best
}

// Successor returns the step that hands the quorum over, before its leader is taken out; nil: nobody can take it.
func Successor(v QuorumView) *QuorumStep {
	q := newQuorumState(v)
	if s := q.successor(); s != nil {
		return &QuorumStep{HandOver, s.Directory, s.Address, "an operator takes the leader out"}
	}
	return nil
}

// surplus demotes a voter when there are too many: a dead one, else the one whose rack has most, never ourselves.
func (q *quorumState) surplus() *QuorumStep {
	if len(q.voters) <= q.want() {
		return nil
	}
	racks := q.racks()
	choice := slices.DeleteFunc(slices.Clone(q.voters), func(s Seat) bool { return s.Directory == q.Self || !q.mayLose(s) })
	if len(choice) == 0 {
		return nil
	}
	slices.SortStableFunc(choice, func(a, b Seat) int {
		if c := compareBool(q.alive(a), q.alive(b)); c != 0 {
			return c
		}
		if c := cmp.Compare(racks[q.rack(b)], racks[q.rack(a)]); c != 0 {
			return c
		}
		return cmp.Compare(q.brokerOf(b), q.brokerOf(a))
	})
	return &QuorumStep{DemoteVoter, choice[0].Directory, choice[0].Address, fmt.Sprintf("%d voters, %d are wanted", len(q.voters), q.want())}
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func (q *quorumState) brokerOf(s Seat) wire.BrokerID {
	if n := q.node[s.Directory]; n != nil {
		return n.Broker
	}
	return wire.NoBroker
}

func (q *quorumState) rack(s Seat) string {
	if n := q.node[s.Directory]; n != nil {
		return n.Rack
	}
	return ""
}

// racks counts the voters of each rack.
func (q *quorumState) racks() map[string]int {
	out := map[string]int{}
	for _, s := range q.voters {
		out[q.rack(s)]++
	}
	return out
}

// dead demotes a voter that is long dead, once a staged one can take its seat.
func (q *quorumState) dead() *QuorumStep {
	if !slices.ContainsFunc(q.staged, q.caughtUp) {
		return nil
	}
	for _, s := range q.voters {
		if n := q.node[s.Directory]; n != nil && n.Dead >= voterDeadFor && q.mayLose(s) {
			return &QuorumStep{DemoteVoter, s.Directory, s.Address, fmt.Sprintf("broker %d has been dead for %s, and another can take its seat", n.Broker, n.Dead.Round(time.Second))}
		}
	}
	return nil
}

// promote gives staged members their vote, once enough have the log to come to the next odd number of voters.
func (q *quorumState) promote() *QuorumStep {
	missing := q.want() - len(q.voters)
	if missing <= 0 {
		return nil
	}
	ready := slices.DeleteFunc(slices.Clone(q.staged), func(s Seat) bool { return !q.caughtUp(s) || q.Cordoned[q.brokerOf(s)] })
	if need := 1 + len(q.voters)%2; len(ready) < min(need, missing) {
		return nil
	}
	best := q.best(ready)
	return &QuorumStep{PromoteVoter, best.Directory, q.node[best.Directory].Address, fmt.Sprintf("broker %d has the log; %d voters, %d are wanted", q.brokerOf(*best), len(q.voters), q.want())}
}

// best returns the seat whose rack has fewest voters, then the lowest broker id.
func (q *quorumState) best(of []Seat) *Seat {
	racks := q.racks()
	best := slices.MinFunc(of, func(a, b Seat) int {
		if c := cmp.Compare(racks[q.rack(a)], racks[q.rack(b)]); c != 0 {
			return c
		}
		return cmp.Compare(q.brokerOf(a), q.brokerOf(b))
	})
	return &best
}

// spread promotes a staged member of a rack without a voter while another rack has two: surplus demotes one of those
// next. All voters must be alive, for there are more of them for a moment.
func (q *quorumState) spread() *QuorumStep {
	if len(q.voters) != q.want() || q.liveVoters() < len(q.voters) || !q.crowded() {
		return nil
	}
	racks := q.racks()
	for _, s := range q.staged {
		if racks[q.rack(s)] == 0 && q.caughtUp(s) {
			return &QuorumStep{PromoteVoter, s.Directory, q.node[s.Directory].Address, fmt.Sprintf("rack %q has no voter, another has two", q.rack(s))}
		}
	}
	return nil
}

// crowded reports whether a voter that is not the leader shares its rack with another voter.
func (q *quorumState) crowded() bool {
	racks := q.racks()
	return slices.ContainsFunc(q.voters, func(s Seat) bool { return s.Directory != q.Self && racks[q.rack(s)] > 1 })
}

// stage takes in the best broker that could become a voter.
func (q *quorumState) stage() *QuorumStep {
	free := q.want() - len(q.voters) - len(q.staged)
	growing := q.liveVoters() == len(q.voters)
	why := fmt.Sprintf("%d voters, %d are wanted", len(q.voters), q.want())
	racks := q.racks()
	unused := func(n *QuorumNode) bool { return true }
	if free <= 0 {
		if len(q.staged) > 0 {
			return nil
		}
		switch {
		case slices.ContainsFunc(q.voters, func(s Seat) bool { n := q.node[s.Directory]; return n != nil && n.Dead >= voterDeadFor }):
			why = "a voter is dead"
		case growing && q.crowded():
			why = "a rack has no voter, another has two"
			unused = func(n *QuorumNode) bool { return racks[n.Rack] == 0 }
		default:
			return nil
		}
		growing = false
	}
	var best *QuorumNode
	for i := range q.Nodes {
		n := &q.Nodes[i]
		if n.Alive == 0 || n.Address == "" || !growing && n.Alive < voterStableFor || q.Cordoned[n.Broker] || !unused(n) || q.seated(n.Directory) {
			continue
		}
		if best == nil || racks[n.Rack] < racks[best.Rack] || racks[n.Rack] == racks[best.Rack] && n.Broker < best.Broker {
			best = n
		}
	}
	if best == nil {
		return nil
	}
	return &QuorumStep{StageVoter, best.Directory, best.Address, why}
}

func (q *quorumState) seated(directory wire.UUID) bool {
	return slices.ContainsFunc(q.Seats, func(s Seat) bool { return s.Directory == directory })
}

// unstage removes staged members that died or were cordoned, or that nobody needs any more.
func (q *quorumState) unstage() *QuorumStep {
	racks := q.racks()
	needed := q.want() > len(q.voters) || q.liveVoters() < len(q.voters)
	for _, s := range q.staged {
		if n := q.node[s.Directory]; !needed && (!q.crowded() || racks[q.rack(s)] > 0) || n == nil || n.Alive == 0 && n.Dead > voterStableFor || q.Cordoned[n.Broker] {
			return &QuorumStep{RemoveVoter, s.Directory, s.Address, "it is not needed, or was cordoned or died while it was catching up"}
		}
	}
	return nil
}
