package control

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// apply executes a step as raft would.
func applyStep(t *rapid.T, seats []Seat, s *QuorumStep) []Seat {
	i := slices.IndexFunc(seats, func(x Seat) bool { return x.Directory == s.Directory })
	switch s.Kind {
	case StageVoter, PromoteVoter:
		if i < 0 {
			seats = append(seats, Seat{Directory: s.Directory})
			i = len(seats) - 1
		}
		seats[i].Address = s.Address
		seats[i].Votes = seats[i].Votes || s.Kind == PromoteVoter
	case DemoteVoter:
		if i < 0 || !seats[i].Votes {
			t.Fatalf("demoted %s, which does not vote", s.Directory)
		}
		seats[i].Votes = false
	case RemoveVoter:
		if i < 0 {
			t.Fatalf("removed %s, which is no member", s.Directory)
		}
		seats = slices.Delete(seats, i, i+1)
	}
	return seats
}

// From any quorum with a live majority, the steps end; on the way a live majority of voters is never lost; at the end
// there are as many voters as there should be, all alive where enough are, on as many racks as possible, and nobody is
// staged for nothing.
func TestQuorumStepsConverge(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 9).Draw(t, "brokers")
		v := QuorumView{Target: rapid.SampledFrom([]int{1, 3, 5}).Draw(t, "target"), LastIndex: 1000}
		alive := map[wire.UUID]bool{}
		for i := range n {
			node := QuorumNode{
				Broker: wire.BrokerID(i + 1), Directory: wire.UUID{byte(i + 1)}, Rack: fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "rack")),
				Address: fmt.Sprintf("h%d:1", i), LastIndex: 1000, Alive: time.Hour,
			}
			if i > 0 && rapid.IntRange(0, 3).Draw(t, "dead") == 0 {
				node.Alive, node.Dead = 0, time.Hour
			}
			alive[node.Directory] = node.Alive > 0
			v.Nodes = append(v.Nodes, node)
		}
		v.Self = wire.UUID{1}
		v.Seats = []Seat{{Directory: v.Self, Address: "h0:1", Votes: true}}
		for i := 1; i < n; i++ {
			switch rapid.IntRange(0, 3).Draw(t, "seat") {
			case 0:
				v.Seats = append(v.Seats, Seat{wire.UUID{byte(i + 1)}, "h:old", true})
			case 1:
				v.Seats = append(v.Seats, Seat{wire.UUID{byte(i + 1)}, fmt.Sprintf("h%d:1", i), false})
			}
		}
		if rapid.Bool().Draw(t, "stranger") {
			v.Seats = append(v.Seats, Seat{wire.UUID{99}, "h99:1", rapid.Bool().Draw(t, "votes")})
		}
		majority := func() bool {
			voters, live := 0, 0
			for _, s := range v.Seats {
				if s.Votes {
					voters++
					if alive[s.Directory] {
						live++
					}
				}
			}
			return live > voters/2
		}
		if !majority() {
			return // no leader could be there to decide
		}
		steps := 0
		for {
			step := NextQuorumStep(v)
			if step == nil {
				break
			}
			if steps++; steps > 60 {
				t.Fatalf("no end: %+v after %+v", step, v.Seats)
			}
			if step.Directory == v.Self && (step.Kind == DemoteVoter || step.Kind == RemoveVoter) {
				t.Fatalf("the leader turned itself out: %+v", step)
			}
			if step.Kind == HandOver {
				v.Self = step.Directory
			}
			v.Seats = applyStep(t, v.Seats, step)
			if !majority() {
				t.Fatalf("after %+v no majority is alive: %+v", step, v.Seats)
			}
		}
		checkQuorum(t, v, alive)
	})
}

func checkQuorum(t *rapid.T, v QuorumView, alive map[wire.UUID]bool) {
	want := max(1, (min(v.Target, len(v.Nodes))+1)/2*2-1)
	racks, live := map[string]int{}, map[string]bool{}
	livingNodes := 0
	for _, n := range v.Nodes {
		if alive[n.Directory] {
			livingNodes++
			live[n.Rack] = true
		}
	}
	voters, deadVoters := 0, 0
	for _, s := range v.Seats {
		if !s.Votes {
			continue
		}
		voters++
		if !alive[s.Directory] {
			deadVoters++
		}
		for _, n := range v.Nodes {
			if n.Directory == s.Directory {
				racks[n.Rack]++
			}
		}
	}
	if livingNodes >= want && (voters != want || deadVoters > 0) {
		t.Fatalf("%d voters of which %d are dead, wanted are %d of %d living brokers: %+v", voters, deadVoters, want, livingNodes, v.Seats)
	}
	if livingNodes >= want && len(racks) < min(want, len(live)) {
		t.Fatalf("voters on %d racks, %d are alive and %d voters: %+v", len(racks), len(live), want, v.Seats)
	}
	if livingNodes >= want && len(v.Seats) != voters {
		t.Fatalf("somebody is staged for nothing: %+v", v.Seats)
	}
}

// One node, then a second, then a third: the quorum stays at one until it can be three.
func TestQuorumGrowsFromOneToThree(t *testing.T) {
	node := func(i int) QuorumNode {
		return QuorumNode{Broker: wire.BrokerID(i), Directory: wire.UUID{byte(i)}, Address: "h:1", Alive: time.Millisecond, LastIndex: 50}
	}
	v := QuorumView{Target: 3, Self: wire.UUID{1}, LastIndex: 50, Seats: []Seat{{wire.UUID{1}, "h:1", true}}, Nodes: []QuorumNode{node(1), node(2)}}
	if s := NextQuorumStep(v); s != nil {
		t.Fatalf("two brokers: %+v", s)
	}
	v.Nodes = append(v.Nodes, node(3))
	for i, want := range []struct {
		kind QuorumStepKind
		id   byte
	}{{StageVoter, 2}, {StageVoter, 3}, {PromoteVoter, 2}, {PromoteVoter, 3}} {
		s := NextQuorumStep(v)
		if s == nil || s.Kind != want.kind || s.Directory[0] != want.id {
			t.Fatalf("step %d: %+v", i, s)
		}
		if s.Kind == StageVoter {
			v.Seats = append(v.Seats, Seat{s.Directory, s.Address, false})
			continue
		}
		for j := range v.Seats {
			if v.Seats[j].Directory == s.Directory {
				v.Seats[j].Votes = true
			}
		}
	}
	if s := NextQuorumStep(v); s != nil {
		t.Fatalf("at three: %+v", s)
	}
}

// A voter that has been gone for a moment keeps its seat; a spare must have the log before the dead one loses its vote.
func TestADeadVoterIsReplacedInOrder(t *testing.T) {
	v := QuorumView{Target: 3, Self: wire.UUID{1}, LastIndex: 5000}
	for i := byte(1); i <= 4; i++ {
		v.Nodes = append(v.Nodes, QuorumNode{Broker: wire.BrokerID(i), Directory: wire.UUID{i}, Address: "h:1", Alive: time.Hour, LastIndex: 5000})
		if i < 4 {
			v.Seats = append(v.Seats, Seat{wire.UUID{i}, "h:1", true})
		}
	}
	v.Nodes[2].Alive, v.Nodes[2].Dead = 0, 5*time.Second
	if s := NextQuorumStep(v); s != nil {
		t.Fatalf("dead for five seconds: %+v", s)
	}
	v.Nodes[2].Dead = time.Minute
	s := NextQuorumStep(v)
	if s == nil || s.Kind != StageVoter || s.Directory[0] != 4 {
		t.Fatalf("dead for a minute: %+v", s)
	}
	v.Seats = append(v.Seats, Seat{wire.UUID{4}, "h:1", false})
	v.Nodes[3].LastIndex = 10
	if s := NextQuorumStep(v); s != nil {
		t.Fatalf("the spare has no log yet: %+v", s)
	}
	v.Nodes[3].LastIndex = 4990
	if s = NextQuorumStep(v); s == nil || s.Kind != DemoteVoter || s.Directory[0] != 3 {
		t.Fatalf("the spare has the log: %+v", s)
	}
}

// A broker that runs and votes leaves only where the others that live are a majority without it.
func TestWhoMayBeUnregistered(t *testing.T) {
	for _, c := range []struct {
		voters, others int // voters are brokers 1, 2...
		dead           wire.BrokerID
		leaves         wire.BrokerID
		refused        bool
	}{
		{1, 1, 0, 1, true},
		{1, 1, 0, 2, false},
		{2, 0, 0, 2, true},
		{3, 0, 0, 1, false},
		{3, 0, 2, 1, true},
		{3, 0, 2, 2, false},
		{3, 2, 2, 4, false},
		{5, 0, 2, 1, false},
	} {
		v := QuorumView{Target: 5, Self: wire.UUID{1}}
		for i := 1; i <= c.voters+c.others; i++ {
			n := QuorumNode{Broker: wire.BrokerID(i), Directory: wire.UUID{byte(i)}, Address: "h:1", Alive: time.Hour}
			if n.Broker == c.dead {
				n.Alive, n.Dead = 0, time.Second
			}
			v.Nodes = append(v.Nodes, n)
			v.Seats = append(v.Seats, Seat{n.Directory, n.Address, i <= c.voters})
		}
		if refusal := CheckUnregister(v, c.leaves); (refusal != nil) != c.refused || refusal != nil && (refusal.Code != wire.ErrInvalidRequest || !strings.Contains(refusal.Message, "votes in the metadata quorum")) {
			t.Errorf("%+v: %v", c, refusal)
		}
	}
}

// A vote is taken by request from a broker that is dead or cordoned, and from no other: not from one that would get it back, and not if
// no live majority were left. The leader's is taken by the next, to whom it hands the quorum over. Adding one is refused with the reason.
func TestVotersByRequest(t *testing.T) {
	cluster := "c"
	m := image(t, &metadata.Cluster{ID: cluster}, &metadata.RegisterBroker{Broker: 4, Directory: wire.UUID{4}})
	view := func(dead, cordoned wire.BrokerID) QuorumView {
		v := QuorumView{Target: 3, Self: wire.UUID{1}, Cordoned: map[wire.BrokerID]bool{cordoned: true}}
		for i := 1; i <= 4; i++ {
			id := wire.BrokerID(i)
			n := QuorumNode{Broker: id, Directory: wire.UUID{byte(i)}, Address: "h:1", Alive: time.Hour}
			if id == dead {
				n.Alive, n.Dead = 0, time.Second
			}
			v.Nodes = append(v.Nodes, n)
			if i <= 3 {
				v.Seats = append(v.Seats, Seat{n.Directory, n.Address, true})
			}
		}
		return v
	}
	key := func(i int) VoterKey { return VoterKey{wire.BrokerID(i), wire.UUID{byte(i)}} }
	other := "other"
	for name, c := range map[string]struct {
		view    QuorumView
		cluster *string
		key     VoterKey
		code    wire.ErrorCode
		says    string
	}{
		"alive":                     {view(0, 0), &cluster, key(2), wire.ErrInvalidRequest, "would give it its vote back"},
		"dead":                      {view(2, 0), &cluster, key(2), wire.ErrNone, ""},
		"cordoned":                  {view(0, 2), nil, key(2), wire.ErrNone, ""},
		"cordoned beside a dead":    {view(3, 2), nil, key(2), wire.ErrInvalidRequest, "no majority of live voters"},
		"the leader":                {view(0, 0), nil, key(1), wire.ErrInvalidRequest, "would give it its vote back"},
		"the leader, beside a dead": {view(3, 1), nil, key(1), wire.ErrInvalidRequest, "no majority of live voters"},
		"no voter":                  {view(0, 0), nil, key(4), wire.ErrVoterNotFound, "Cannot remove voter ReplicaKey(id=4"},
		"another directory":         {view(2, 0), nil, VoterKey{2, wire.UUID{9}}, wire.ErrVoterNotFound, "Cannot remove voter"},
		"another cluster":           {view(2, 0), &other, key(2), wire.ErrInconsistentClusterID, "other"},
	} {
		step, refusal := AskedToRemoveVoter(m, c.view, c.cluster, c.key)
		switch {
		case c.code == wire.ErrNone && (refusal != nil || step.Kind != RemoveVoter || step.Directory != c.key.Directory):
			t.Errorf("%s: %v, %v", name, step, refusal)
		case c.code != wire.ErrNone && (refusal == nil || step != nil || refusal.Code != c.code || !strings.Contains(refusal.Message, c.says)):
			t.Errorf("%s: %v, want %s %q", name, refusal, c.code, c.says)
		}
	}
	if step, refusal := AskedToRemoveVoter(m, view(0, 1), nil, key(1)); refusal != nil || step.Kind != HandOver || step.Directory != key(2).Directory {
		t.Errorf("a cordoned leader: %v, %v", step, refusal)
	}
	for name, c := range map[string]struct {
		key  VoterKey
		code wire.ErrorCode
		says string
	}{
		"a voter":         {key(2), wire.ErrDuplicateVoter, "already part of the set of voters"},
		"a broker":        {key(4), wire.ErrInvalidRequest, "gets a vote when one is free"},
		"its old self":    {VoterKey{4, wire.UUID{8}}, wire.ErrInvalidRequest, "has directory"},
		"nobody":          {key(9), wire.ErrInvalidRequest, "is not registered"},
		"without an id":   {VoterKey{-1, wire.UUID{1}}, wire.ErrInvalidRequest, "valid voter"},
		"no directory id": {VoterKey{4, wire.UUID{}}, wire.ErrInvalidRequest, "valid voter"},
	} {
		if refusal := AskedToAddVoter(m, view(0, 0), &cluster, c.key); refusal.Code != c.code || !strings.Contains(refusal.Message, c.says) {
			t.Errorf("%s: %v, want %s %q", name, refusal, c.code, c.says)
		}
	}
}

// A controller that was removed from the cluster takes no vote away from those who stay: they are a majority, and the next one of them
// removes it.
func TestARemovedControllerTakesNoVotes(t *testing.T) {
	v := QuorumView{Target: 3, Self: wire.UUID{1}, LastIndex: 50}
	for i := byte(1); i <= 3; i++ {
		v.Seats = append(v.Seats, Seat{wire.UUID{i}, "h:1", true})
		if i > 1 {
			v.Nodes = append(v.Nodes, QuorumNode{Broker: wire.BrokerID(i), Directory: wire.UUID{i}, Address: "h:1", LastIndex: 50, Alive: time.Hour})
		}
	}
	if step := NextQuorumStep(v); step != nil {
		t.Errorf("the removed one decides: %+v", step)
	}
	v.Self = wire.UUID{2}
	if step := NextQuorumStep(v); step == nil || step.Kind != RemoveVoter || step.Directory != (wire.UUID{1}) {
		t.Errorf("the next one: %+v", step)
	}
}

// A leader that is cordoned hands the quorum over at once, to a live voter that is not; where there is none it goes on.
func TestACordonedLeaderHandsOver(t *testing.T) {
	for name, c := range map[string]struct {
		cordoned, dead []wire.BrokerID
		ends           []wire.Index // by broker
		to             byte         // 0: nobody
	}{
		"nobody is cordoned":         {nil, nil, []wire.Index{9, 9, 9}, 0},
		"another is":                 {[]wire.BrokerID{2}, nil, []wire.Index{9, 9, 9}, 0},
		"the leader is":              {[]wire.BrokerID{1}, nil, []wire.Index{9, 9, 9}, 2},
		"one has more":               {[]wire.BrokerID{1}, nil, []wire.Index{9, 7, 9}, 3},
		"one is dead":                {[]wire.BrokerID{1}, []wire.BrokerID{3}, []wire.Index{9, 7, 9}, 2},
		"one is cordoned too":        {[]wire.BrokerID{1, 3}, nil, []wire.Index{9, 7, 9}, 2},
		"all are":                    {[]wire.BrokerID{1, 2, 3}, nil, []wire.Index{9, 9, 9}, 0},
		"those who are not are dead": {[]wire.BrokerID{1, 3}, []wire.BrokerID{2}, []wire.Index{9, 9, 9}, 0},
		"it is the only one":         {[]wire.BrokerID{1}, nil, []wire.Index{9}, 0},
	} {
		v := QuorumView{Target: 3, Self: wire.UUID{1}, LastIndex: 9, Cordoned: map[wire.BrokerID]bool{}}
		for i, end := range c.ends {
			n := QuorumNode{Broker: wire.BrokerID(i + 1), Directory: wire.UUID{byte(i + 1)}, Address: "h:1", LastIndex: end, Alive: time.Hour}
			if slices.Contains(c.dead, n.Broker) {
				n.Alive, n.Dead = 0, time.Second
			}
			v.Nodes, v.Seats = append(v.Nodes, n), append(v.Seats, Seat{n.Directory, n.Address, true})
			v.Cordoned[n.Broker] = slices.Contains(c.cordoned, n.Broker)
		}
		step := NextQuorumStep(v)
		switch {
		case c.to == 0 && (step == nil || step.Kind != HandOver):
		case c.to != 0 && step != nil && step.Kind == HandOver && step.Directory == wire.UUID{c.to}:
		default:
			t.Errorf("%s: %+v", name, step)
		}
	}
}
