package control

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// entry is a record of the model: the epoch that it was written in, and a number that no other has.
type entry struct {
	epoch wire.LeaderEpoch
	value int
}

// world is a cluster with one partition, whose replicas are lists. It does the least that leaders and followers must do, in big
// steps, and knows what was committed.
type world struct {
	*plane
	t         *rapid.T
	logs      map[wire.BrokerID][]entry
	suspect   map[wire.BrokerID]bool
	committed []entry
	next      int
	unclean   bool // an election of the past was: what was committed before it may be gone
}

func (w *world) leads() wire.BrokerID { return w.partition().Leader }

// minimum is the min.insync.replicas that a leader goes by.
func (w *world) minimum(leader wire.BrokerID) int {
	m := w.image()
	if v, ok := m.Config(metadata.Resource{Type: metadata.ResourceTopic, Name: "t"})["min.insync.replicas"]; ok {
		n, _ := strconv.Atoi(v)
		return n
	}
	return max(1, int(m.Broker(leader).MinInSync))
}

func (w *world) append() {
	if l := w.leads(); l != wire.NoBroker {
		w.next++
		w.logs[l] = append(slices.Clip(w.logs[l]), entry{w.partition().LeaderEpoch, w.next})
		w.advance()
	}
}

// fetch brings a follower up to its leader, cutting it to what both have first.
func (w *world) fetch(id wire.BrokerID) {
	l := w.leads()
	if b := w.image().Broker(id); l == wire.NoBroker || l == id || b == nil || b.Fenced {
		return
	}
	w.logs[id] = slices.Clone(w.logs[l])
	w.suspect[id] = false
	w.advance()
}

// advance moves the watermark: what all in-sync replicas have is committed, if they are enough.
func (w *world) advance() {
	p := w.partition()
	if p.Leader == wire.NoBroker || len(p.ISR) < min(w.minimum(p.Leader), len(p.Replicas)) {
		return
	}
	common := w.logs[p.Leader]
	for _, id := range p.ISR {
		common = commonPrefix(common, w.logs[id])
	}
	if len(common) > len(w.committed) {
		w.committed = slices.Clone(common)
	}
}

func commonPrefix(a, b []entry) []entry {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

// alter has the leader ask for an ISR: with those that have all that it has, without those that it is told to drop.
func (w *world) alter(drop wire.BrokerID) {
	p := w.partition()
	l := p.Leader
	if l == wire.NoBroker || l == drop {
		return
	}
	var isr []ISRMember
	for _, id := range p.Replicas {
		b := w.image().Broker(id)
		if id == l || b != nil && b.Live() && id != drop && len(commonPrefix(w.logs[id], w.logs[l])) == len(w.logs[l]) {
			isr = append(isr, ISRMember{id, -1})
		}
	}
	records, answers, refusal := AlterPartition(w.image(), l, w.image().Broker(l).Epoch, []AlterISR{{wire.UUID{0xa}, 0, p.LeaderEpoch, p.Epoch, isr}})
	if refusal != nil || answers[0].Code != wire.ErrNone && answers[0].Code != wire.ErrNewLeaderElected {
		w.t.Fatalf("%+v for %v on %+v: %v %v", answers, isr, p, refusal, w.state.Image().Broker(l))
	}
	w.plan("alter", records)
	w.advance()
}

// plan commits a plan, and checks what it led to.
func (w *world) plan(what string, records []metadata.Record) {
	if len(records) == 0 {
		return
	}
	before := w.partition()
	w.commit(records...)
	w.check(what, before)
}

func (w *world) check(what string, before metadata.PartitionInfo) {
	p, m := w.partition(), w.image()
	fail := func(format string, args ...any) {
		w.t.Helper()
		w.t.Fatalf("after %s: %s\nbefore %+v\nafter  %+v\ncommitted %v\nlogs %v", what, fmt.Sprintf(format, args...), before, p, w.committed, w.logs)
	}
	all := slices.Concat(p.ISR, p.ELR, p.LastKnownELR)
	if len(union(nil, all)) != len(all) || len(without(all, p.Replicas)) > 0 {
		fail("ISR, ELR and last known ELR overlap, or are no replicas")
	}
	if len(union(nil, p.Replicas)) != len(p.Replicas) || len(p.Replicas) == 0 || len(without(union(p.Adding, p.Removing), p.Replicas)) > 0 || len(among(p.Adding, p.Removing)) > 0 {
		fail("the assignment makes no sense")
	}
	if p.LeaderEpoch < before.LeaderEpoch || p.Leader != before.Leader && p.LeaderEpoch == before.LeaderEpoch {
		fail("the leader's epoch")
	}
	e := newElectorate(m)
	switch {
	case p.Leader == wire.NoBroker:
		if len(p.ISR) > 0 || slices.ContainsFunc(p.ELR, e.live) {
			fail("nobody leads, and somebody could")
		}
	case !slices.Contains(p.ISR, p.Leader) || m.Broker(p.Leader) == nil || m.Broker(p.Leader).Fenced:
		fail("the leader is not in sync, or away")
	}
	for _, id := range p.ISR {
		if b := m.Broker(id); b == nil || b.Fenced {
			fail("broker %d is away and in the ISR", id)
		}
	}
	if !w.unclean {
		for _, id := range slices.Concat(p.ISR, p.ELR) {
			if len(commonPrefix(w.logs[id], w.committed)) < len(w.committed) {
				fail("broker %d counts for in sync or eligible, and lacks what was committed", id)
			}
		}
	}
}

// restart is a broker's new incarnation, whose replica may have lost something.
func (w *world) restart(id wire.BrokerID) {
	old := w.image().Broker(id)
	r := metadata.RegisterBroker{Broker: id, Directory: wire.UUID{byte(id)}, Generation: 1, MinInSync: int32(rapid.IntRange(0, 2).Draw(w.t, "static minimum"))}
	if old != nil {
		r.Generation = old.Generation + 1
	}
	var d Damage
	replicated := newElectorate(w.image()).replicatedOf("t")
	cut := rapid.IntRange(0, len(w.logs[id])).Draw(w.t, "kept")
	switch rapid.IntRange(0, 3).Draw(w.t, "damage") {
	case 0:
		d.Lossy = true
		if replicated {
			w.logs[id] = w.logs[id][:cut]
		}
	case 1:
		w.suspect[id] = true
		w.logs[id] = w.logs[id][:cut]
	}
	if w.suspect[id] {
		d.Suspects = []wire.TopicIDPartition{{Topic: wire.UUID{0xa}}}
	}
	records, _, refusal := Register(w.image(), r, d)
	if refusal != nil {
		w.t.Fatal(refusal)
	}
	w.plan("restart of "+strconv.Itoa(int(id)), records)
}

// recoverLost asks as the controller does, and checks that the best of those that were asked leads.
func (w *world) recoverLost(unclean bool) {
	allowed := func(string) bool { return unclean }
	m := w.image()
	survey := Survey{}
	list := FindLeaderless(m, allowed)
	for _, q := range list {
		for _, id := range q.Ask {
			s := ReplicaState{LastEpoch: wire.NoLeaderEpoch, End: wire.Offset(len(w.logs[id])), Suspect: w.suspect[id]}
			if n := len(w.logs[id]); n > 0 {
				s.LastEpoch = w.logs[id][n-1].epoch
			}
			survey[SurveyKey{q.Partition, id, m.Broker(id).Epoch}] = s
		}
	}
	p := w.partition()
	records := Recover(m, allowed, survey)
	if len(records) == 0 {
		return
	}
	w.unclean = w.unclean || unclean
	kept := 0
	for _, id := range union(list[0].Ask, p.LastKnownELR) {
		if m.Broker(id) != nil && !w.suspect[id] {
			kept = max(kept, len(commonPrefix(w.logs[id], w.committed)))
		}
	}
	if unclean || len(p.LastKnownELR) > 0 {
		// Something may be gone for good, but nothing that somebody who could be asked still had.
		leader := records[0].(*metadata.PartitionChange).Leader
		if got := len(commonPrefix(w.logs[leader], w.committed)); got < kept && !w.unclean {
			w.t.Fatalf("broker %d was elected with %d of %d committed records; another had %d: %+v, logs %v, committed %v", leader, got, len(w.committed), kept, p, w.logs, w.committed)
		}
		w.committed = slices.Clone(commonPrefix(w.logs[leader], w.committed))
	}
	w.suspect[records[0].(*metadata.PartitionChange).Leader] = false
	w.plan("recovery", records)
}

// Whatever happens to brokers, replicas and settings: all members of ISR and ELR hold all that was committed, a partition that
// somebody could lead is led, and epochs rise with every new leader. When all replicas lost something, the best that is left leads.
func TestWhoIsElectedHoldsWhatWasCommitted(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		replicas := ids(1, 2, 3)[:rapid.IntRange(1, 3).Draw(t, "replicas")]
		p := &metadata.PartitionRecord{Replicas: replicas, ISR: replicas, Leader: 1}
		static := int32(rapid.IntRange(0, 3).Draw(t, "static minimum"))
		var settings []metadata.Record
		if rapid.Bool().Draw(t, "replicated") {
			settings = append(settings, topicSetting("durability", "replicated"))
		}
		w := &world{plane: newPlane(t, 4, p, settings...), t: t, logs: map[wire.BrokerID][]entry{}, suspect: map[wire.BrokerID]bool{}}
		for id := wire.BrokerID(1); id <= 4; id++ {
			w.commit(&metadata.RegisterBroker{Broker: id, Directory: wire.UUID{byte(id)}, Generation: 1, MinInSync: static}, &metadata.BrokerState{Broker: id})
		}
		broker := func() wire.BrokerID { return wire.BrokerID(rapid.IntRange(1, 4).Draw(t, "broker")) }
		t.Repeat(map[string]func(*rapid.T){
			"append": func(*rapid.T) { w.append() },
			"fetch":  func(*rapid.T) { w.fetch(broker()) },
			"grow":   func(*rapid.T) { w.alter(0) },
			"drop":   func(*rapid.T) { w.alter(broker()) },
			"fence": func(*rapid.T) {
				if id := broker(); w.image().Broker(id) != nil {
					w.plan("fencing", Fence(w.image(), id, false))
				}
			},
			"unfence": func(*rapid.T) { w.plan("unfencing", Unfence(w.image(), broker())) },
			"retire":  func(*rapid.T) { w.plan("retirement", Retire(w.image(), broker())) },
			"restart": func(*rapid.T) { w.restart(broker()) },
			"recover": func(*rapid.T) { w.recoverLost(rapid.IntRange(0, 5).Draw(t, "unclean") == 0) },
			"balance": func(*rapid.T) { records, _ := BalanceLeaders(w.image(), 0, 10); w.plan("balance", records) },
			"set the minimum": func(*rapid.T) {
				c := topicSetting("min.insync.replicas", strconv.Itoa(rapid.IntRange(1, 3).Draw(t, "minimum")))
				if rapid.Bool().Draw(t, "unset") {
					c.Value = nil
				}
				records := []metadata.Record{c}
				w.plan("a setting", append(records, FollowSettings(w.image(), records)...))
				w.advance()
			},
			"reassign": func(*rapid.T) {
				q := Reassignment{Topic: "t"}
				for _, id := range rapid.Permutation(ids(1, 2, 3, 4)).Draw(t, "target")[:rapid.IntRange(0, 4).Draw(t, "factor")] {
					if w.image().Broker(id) != nil {
						q.Replicas = append(q.Replicas, id) // of none, it is a cancellation
					}
				}
				records, _ := Reassign(w.image(), []Reassignment{q}, false, func(string) bool { return false })
				w.plan("a reassignment", records)
				w.advance()
			},
			"mend": func(*rapid.T) { w.plan("mending", Mend(w.image())) },
			"unregister": func(*rapid.T) {
				if id := broker(); w.image().Broker(id) != nil && rapid.IntRange(0, 3).Draw(t, "really") == 0 {
					records, _ := Unregister(w.image(), id)
					w.plan("unregistration", records)
				}
			},
		})
	})
}
