package group

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
	"github.com/kraftgo/kraftgo/wire/record"
)

var testConfig = Config{InitialRebalanceDelay: 0, MinSessionTimeout: time.Second, MaxSessionTimeout: time.Minute, MaxSize: 4}

// bench is a group under test, with the answers that were given.
type bench struct {
	t      interface{ Fatalf(string, ...any) }
	g      *Group
	now    time.Duration
	tokens Token
	due    map[Token]bool
	joins  map[Token]message.JoinGroupResponse
	syncs  map[Token]message.SyncGroupResponse
	writes []*Write
}

func newBench(t interface{ Fatalf(string, ...any) }, c Config) *bench {
	return &bench{t: t, g: New("g", c), due: map[Token]bool{}, joins: map[Token]message.JoinGroupResponse{}, syncs: map[Token]message.SyncGroupResponse{}}
}

func (b *bench) clock() Clock { return Clock{b.now, wire.Timestamp(1e12 + b.now.Milliseconds())} }

func (b *bench) token() Token {
	b.tokens++
	b.due[b.tokens] = true
	return b.tokens
}

func (b *bench) did(effects []Effect) {
	for _, e := range effects {
		var to Token
		switch {
		case e.Join != nil:
			to = e.Join.To
			b.joins[to] = e.Join.Answer
		case e.Sync != nil:
			to = e.Sync.To
			b.syncs[to] = e.Sync.Answer
		default:
			b.writes = append(b.writes, e.Write)
			continue
		}
		if !b.due[to] {
			b.t.Fatalf("request %d was answered twice, or never asked", to)
		}
		delete(b.due, to)
	}
	b.g.check()
}

func (b *bench) join(member string, instance *string, metadata string) Token {
	to := b.token()
	b.did(b.g.Join(Join{
		Clock: b.clock(), To: to, Member: member, Instance: instance, NewID: fmt.Sprintf("m%d", to), ClientID: "c", ClientHost: "/h",
		Session: 10 * time.Second, Rebalance: 30 * time.Second, ProtocolType: "consumer",
		Protocols: []message.JoinGroupRequestProtocol{{Name: "range", Metadata: []byte(metadata)}},
	}))
	return to
}

func (b *bench) sync(member string, generation int32, assignments ...message.SyncGroupRequestAssignment) Token {
	to := b.token()
	b.did(b.g.Sync(Sync{Clock: b.clock(), To: to, Member: member, Generation: generation, Assignments: assignments}))
	return to
}

// commit ends the open writes, oldest first.
func (b *bench) commit(code wire.ErrorCode) {
	for len(b.writes) > 0 {
		w := b.writes[0]
		b.writes = b.writes[1:]
		b.did(b.g.Written(b.clock(), w.ID, code))
	}
}

func (b *bench) pass(d time.Duration) {
	b.now += d
	b.did(b.g.Wake(b.clock()))
}

// joined returns the answer to a join, which must be there.
func (b *bench) joined(to Token) message.JoinGroupResponse {
	a, ok := b.joins[to]
	if !ok {
		b.t.Fatalf("join %d is not answered", to)
	}
	return a
}

// stable brings two members to a stable generation, and returns their ids.
func (b *bench) stable() (leader, other string) {
	leader = b.joined(b.join("", nil, "a")).MemberID
	second := b.join("", nil, "b")
	first := b.join(leader, nil, "a")
	other = b.joined(second).MemberID
	a := b.joined(first)
	if a.Leader != leader || len(a.Members) != 2 || len(b.joined(second).Members) != 0 {
		b.t.Fatalf("leader got %+v, the other %+v", a, b.joined(second))
	}
	waiting := b.sync(other, a.GenerationID)
	mine := b.sync(leader, a.GenerationID, message.SyncGroupRequestAssignment{MemberID: other, Assignment: []byte("x")})
	if len(b.syncs) != 0 {
		b.t.Fatalf("an assignment was told before it was written")
	}
	b.commit(wire.ErrNone)
	if string(b.syncs[waiting].Assignment) != "x" || b.syncs[mine].ErrorCode != wire.ErrNone || b.g.State() != Stable {
		b.t.Fatalf("%+v %+v %s", b.syncs[waiting], b.syncs[mine], b.g.State())
	}
	return leader, other
}

func TestTwoMembersGetAGeneration(t *testing.T) {
	b := newBench(t, testConfig)
	leader, other := b.stable()
	for _, m := range []string{leader, other} {
		if code := b.g.Heartbeat(b.clock(), m, nil, b.g.Generation()); code != wire.ErrNone {
			t.Fatalf("%s: %s", m, code)
		}
	}
	if code := b.g.Heartbeat(b.clock(), other, nil, b.g.Generation()-1); code != wire.ErrIllegalGeneration {
		t.Fatal(code)
	}
	if code := b.g.Heartbeat(b.clock(), "nobody", nil, b.g.Generation()); code != wire.ErrUnknownMemberID {
		t.Fatal(code)
	}
}

func TestALostMemberCausesARebalance(t *testing.T) {
	b := newBench(t, testConfig)
	leader, other := b.stable()
	b.pass(9 * time.Second)
	if code := b.g.Heartbeat(b.clock(), other, nil, b.g.Generation()); code != wire.ErrNone {
		t.Fatal(code)
	}
	b.pass(2 * time.Second) // the leader's session is over
	if code := b.g.Heartbeat(b.clock(), other, nil, b.g.Generation()); code != wire.ErrRebalanceInProgress {
		t.Fatal(code)
	}
	if a := b.joined(b.join(other, nil, "b")); a.Leader != other || len(a.Members) != 1 {
		t.Fatalf("%+v", a)
	}
	if a := b.joined(b.join(leader, nil, "a")); a.ErrorCode != wire.ErrUnknownMemberID {
		t.Fatalf("%+v", a)
	}
}

func TestAFailedWriteSendsMembersBack(t *testing.T) {
	b := newBench(t, testConfig)
	id := b.joined(b.join("", nil, "a")).MemberID
	to := b.sync(id, b.g.Generation(), message.SyncGroupRequestAssignment{MemberID: id, Assignment: []byte("x")})
	b.commit(wire.ErrNotLeaderOrFollower)
	if b.syncs[to].ErrorCode != wire.ErrNotCoordinator || b.g.State() != PreparingRebalance {
		t.Fatalf("%+v %s", b.syncs[to], b.g.State())
	}
}

func TestAStaticMemberKeepsItsAssignment(t *testing.T) {
	b := newBench(t, testConfig)
	instance := "i1"
	old := b.joined(b.join("", &instance, "a")).MemberID
	b.sync(old, 1, message.SyncGroupRequestAssignment{MemberID: old, Assignment: []byte("x")})
	b.commit(wire.ErrNone)
	again := b.join("", &instance, "a")
	if _, early := b.joins[again]; early {
		t.Fatal("the new id was told before it was written")
	}
	b.commit(wire.ErrNone)
	a := b.joined(again)
	if a.ErrorCode != wire.ErrNone || a.GenerationID != 1 || a.MemberID == old || !a.SkipAssignment {
		t.Fatalf("%+v", a)
	}
	if to := b.sync(a.MemberID, 1); string(b.syncs[to].Assignment) != "x" {
		t.Fatalf("%+v", b.syncs[to])
	}
	if code := b.g.Heartbeat(b.clock(), old, &instance, 1); code != wire.ErrFencedInstanceID {
		t.Fatal(code)
	}
}

func TestTheFirstRebalanceWaitsForMore(t *testing.T) {
	c := testConfig
	c.InitialRebalanceDelay = 3 * time.Second
	b := newBench(t, c)
	first := b.join("", nil, "a")
	b.pass(2 * time.Second)
	second := b.join("", nil, "b")
	b.pass(time.Second)
	if len(b.joins) != 0 {
		t.Fatal("the delay was not extended for the second member")
	}
	b.pass(3 * time.Second)
	if b.joined(first).GenerationID != 1 || b.joined(second).GenerationID != 1 {
		t.Fatalf("%+v %+v", b.joins[first], b.joins[second])
	}
}

// Random steps: no request is answered twice, none is forgotten when the group stops, the invariants hold after each
// step, and a group restored from the last record written is what that record says.
func TestRandomSteps(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := testConfig
		c.InitialRebalanceDelay = time.Duration(rapid.IntRange(0, 2).Draw(t, "delay")) * time.Second
		b := newBench(t, c)
		ids := []string{"", "nobody"}
		instances := []*string{nil, nil, ptr("i1"), ptr("i2")}
		var last *Write
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			id := rapid.SampledFrom(ids).Draw(t, "member")
			instance := rapid.SampledFrom(instances).Draw(t, "instance")
			generation := b.g.Generation() - rapid.SampledFrom([]int32{0, 0, 0, 1}).Draw(t, "old")
			switch rapid.IntRange(0, 7).Draw(t, "step") {
			case 0, 1:
				to := b.join(id, instance, rapid.SampledFrom([]string{"a", "b"}).Draw(t, "metadata"))
				ids = append(ids, fmt.Sprintf("m%d", to))
			case 2, 3:
				b.sync(id, generation, message.SyncGroupRequestAssignment{MemberID: id, Assignment: []byte{1}})
			case 4:
				if b.g.Heartbeat(b.clock(), id, instance, generation) == wire.ErrNone && b.g.members[id] == nil {
					t.Fatalf("%s is no member, and may heartbeat", id)
				}
			case 5:
				_, effects := b.g.Leave(b.clock(), id, instance)
				b.did(effects)
			case 6:
				b.pass(time.Duration(rapid.IntRange(0, 15).Draw(t, "seconds")) * time.Second)
			case 7:
				if len(b.writes) > 0 {
					last = b.writes[len(b.writes)-1]
				}
				b.commit(rapid.SampledFrom([]wire.ErrorCode{wire.ErrNone, wire.ErrNone, wire.ErrRequestTimedOut}).Draw(t, "code"))
			}
			if next, ok := b.g.Next(); ok && b.g.State() == Empty && len(b.g.pending) == 0 {
				t.Fatalf("an empty group wakes at %s", next)
			}
		}
		if last != nil {
			value := record.Append(nil, &last.Value, 3)
			var v record.GroupMetadataValue
			if _, err := record.Decode(&v, value); err != nil {
				t.Fatal(err)
			}
			g := Load("g", c, &v, 0)
			g.check()
			again := g.value()
			if !bytes.Equal(record.Append(nil, &again, 3), value) {
				t.Fatalf("restored %+v, written %+v", again, last.Value)
			}
		}
		b.did(b.g.Stop(wire.ErrNotCoordinator))
		if len(b.due) > 0 {
			t.Fatalf("never answered: %v", b.due)
		}
	})
}

func ptr(s string) *string { return &s }
