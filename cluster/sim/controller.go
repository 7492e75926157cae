package sim

import (
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

const (
	sessionTimeout = time.Second
	heartbeat      = 200 * time.Millisecond
	controllerTick = 50 * time.Millisecond
)

// controller decides, as cluster/lifecycle's Leader does, by the same plans.
type controller struct {
	world  *world
	state  *metadata.State
	log    []committed // by index, less one
	until  map[wire.BrokerID]session
	rounds int
	survey *survey // the one that is under way
}

type session struct {
	epoch wire.BrokerEpoch
	ends  time.Duration
}

// committed is one command that took effect.
type committed struct {
	image   *metadata.Image
	records []metadata.Record
}

const theTerm wire.Term = 1

func newController(w *world) *controller {
	c := &controller{world: w, state: metadata.NewState(), until: map[wire.BrokerID]session{}}
	var id wire.UUID
	_, _ = w.Read(id[:])
	c.change("found", func(*metadata.Image) []metadata.Record { return control.Found(id.String()) })
	return c
}

func (c *controller) image() *metadata.Image {
	if len(c.log) == 0 {
		return c.state.Image()
	}
	return c.log[len(c.log)-1].image
}

// change commits what a plan comes to, through the bytes of the log, and tells the brokers.
func (c *controller) change(why string, plan func(*metadata.Image) []metadata.Record) {
	records := plan(c.image())
	if len(records) == 0 {
		return
	}
	command := metadata.Command{Term: theTerm, Records: records}
	command, err := metadata.DecodeCommand(command.AppendTo(nil))
	if err != nil {
		c.world.fail("metadata: %v", err)
		return
	}
	index := wire.Index(len(c.log) + 1)
	if _, err := c.state.Apply(index, theTerm, command); err != nil {
		c.world.fail("metadata: %v", err)
		return
	}
	c.log = append(c.log, committed{c.state.Image(), c.state.Effect()})
	for _, r := range records {
		c.world.log("meta %d %s: %T%+v", index, why, r, brief(r))
		if p, ok := r.(*metadata.PartitionChange); ok && p.BumpLeaderEpoch && p.Leader != wire.NoBroker {
			c.world.result.Elected++
		}
	}
	for _, b := range c.world.brokers {
		if b.process != nil {
			c.tell(b.process, 0)
		}
	}
}

// brief leaves out of a record what would differ for no reason that matters.
func brief(r metadata.Record) any {
	switch r := r.(type) {
	case *metadata.PartitionChange:
		return *r
	case *metadata.BrokerState:
		return *r
	case *metadata.ConfigRecord:
		if r.Value != nil {
			return r.Resource.Name + " " + r.Name + "=" + *r.Value
		}
		return r.Resource.Name + " " + r.Name
	case *metadata.RegisterBroker:
		return r.Broker
	}
	return ""
}

// tell sends a broker the commands after the last ones that it is known to have.
func (c *controller) tell(p *process, from int) {
	from = max(from, len(c.log)-3)
	list := c.log[from:]
	c.world.network.send(atController, p.broker.id, func() { p.learn(from, list) })
}

// tick ends sessions, and mends partitions.
func (c *controller) tick() {
	w := c.world
	var expired []wire.BrokerID
	c.image().Brokers(func(b *metadata.BrokerInfo) bool {
		if s := c.until[b.Broker]; !b.Fenced && (s.epoch != b.Epoch || s.ends <= w.now) {
			expired = append(expired, b.Broker)
		}
		return true
	})
	for _, id := range expired {
		c.change("session", func(m *metadata.Image) []metadata.Record { return control.Fence(m, id, false) })
	}
	c.change("mend", control.Mend)
	if c.rounds++; c.rounds%60 == 0 {
		c.change("balance", func(m *metadata.Image) []metadata.Record {
			records, _ := control.BalanceLeaders(m, 0, 1000)
			return records
		})
	}
	if c.rounds%10 == 0 {
		c.recover()
	}
	w.after(controllerTick, c.tick)
}

// lost ends the session of an incarnation that was found dead.
func (c *controller) lost(id wire.BrokerID, epoch wire.BrokerEpoch) {
	if s := c.until[id]; s.epoch == epoch {
		s.ends = 0
		c.until[id] = s
	}
}

// register serves a registration.
func (c *controller) register(r metadata.RegisterBroker, found control.Damage) (wire.BrokerEpoch, bool) {
	var refusal *control.Refusal
	c.change("register", func(m *metadata.Image) (records []metadata.Record) {
		records, _, refusal = control.Register(m, r, found)
		return records
	})
	if refusal != nil {
		return 0, false
	}
	return c.image().Broker(r.Broker).Epoch, true
}

// beat serves a heartbeat. known is false for an incarnation that is not the present one.
func (c *controller) beat(id wire.BrokerID, epoch wire.BrokerEpoch, applied int, wantUnfence bool) (known bool) {
	b := c.image().Broker(id)
	if b == nil || b.Epoch != epoch {
		return false
	}
	c.until[id] = session{epoch, c.world.now + sessionTimeout}
	if wantUnfence && b.Fenced && !b.ShuttingDown && applied >= int(b.Epoch) {
		c.change("unfence", func(m *metadata.Image) []metadata.Record { return control.Unfence(m, id) })
	}
	return true
}

// alter serves a leader's wish for an ISR. ok is false if the whole request is refused.
func (c *controller) alter(id wire.BrokerID, epoch wire.BrokerEpoch, wish control.AlterISR) (answer control.AlteredISR, index int, ok bool) {
	before := c.image()
	defer func() {
		if t := before.TopicByID(wish.Topic); ok && answer.Code == wire.ErrNone && t != nil {
			c.world.altered(id, t.Partitions[wish.Partition].ISR, answer.ISR)
		}
	}()
	c.change("isr", func(m *metadata.Image) []metadata.Record {
		records, answers, refusal := control.AlterPartition(m, id, epoch, []control.AlterISR{wish})
		if ok = refusal == nil; ok {
			answer = answers[0]
		}
		return records
	})
	return answer, len(c.log), ok
}

// survey is what brokers say of their replicas of partitions that have no leader.
type survey struct {
	open  int // questions
	found control.Survey
}

// recover looks for leaders of partitions that all their replicas have lost.
func (c *controller) recover() {
	unclean := func(string) bool { return c.world.operator() }
	m := c.image()
	leaderless := control.FindLeaderless(m, unclean)
	if len(leaderless) == 0 || c.survey != nil {
		return
	}
	s := &survey{found: control.Survey{}}
	c.survey = s
	done := func() {
		if s.open--; s.open > 0 {
			return
		}
		c.survey = nil
		c.change("recover", func(m *metadata.Image) []metadata.Record {
			records := control.Recover(m, unclean, s.found)
			c.world.excuse(records)
			return records
		})
	}
	for _, l := range leaderless {
		for _, id := range l.Ask {
			s.open++
			epoch := m.Broker(id).Epoch
			p := c.world.broker(id).process
			c.world.network.ask(nil, call{from: atController, to: id, timeout: 500 * time.Millisecond, lost: done, serve: func(reply func(func())) {
				if p == nil || p.epoch != epoch {
					return
				}
				state := p.replicaState(l.Partition)
				reply(func() {
					s.found[control.SurveyKey{Partition: l.Partition, Broker: id, Epoch: epoch}] = state
					done()
				})
			}})
		}
	}
}
