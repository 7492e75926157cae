package control

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// script runs the scripts of testdata/elect: plans against one state, which print the partitions that they change.
//
//	brokers 3 [racks=(a,b,c)]          register and unfence brokers up to this id
//	topic t replicas=(1,2,3) [isr=(..)] [min=2] [more settings]; several replicas=(..) make several partitions
//	set t min.insync.replicas=1        a topic's setting, with all that follows from it
//	register 1 [lossy] [suspect=(t-0)] [dir=new] [static=2]
//	fence|unfence|retire|unregister 1
//	cordon 3
//	isr t-0 to=(1,2)                   the leader asks for an ISR
//	elect preferred|unclean [t-0 ...]
//	recover 1=(epoch,end[,suspect]) .. the controller asks, and these brokers answer
//	reassign [keep] [allow] t-0=(1,2) t-1=cancel
//	internal 2 wanted=3                make the topic of offsets, of so many partitions, by use
//	grow                               raise the replicas of internal topics
//	lost 1 2 [limit=3]                 replicas there are made anew elsewhere
//	mend                               what is due without anybody asking
//	balance [percent=10] [limit=2]
//	state                              everything
type script struct {
	*plane
	dirs int
}

func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/elect", func(t *testing.T, path string) {
		s := &script{plane: &plane{t: t, state: metadata.NewState()}}
		datadriven.RunTest(t, path, s.run)
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	m := s.image()
	switch d.Cmd {
	case "brokers":
		n, _ := strconv.Atoi(d.CmdArgs[0].Key)
		var racks []string
		for _, a := range d.CmdArgs[1:] {
			racks = a.Vals
		}
		for i := int(m.NextBrokerID()); i <= n; i++ {
			r := &metadata.RegisterBroker{Broker: wire.BrokerID(i), Directory: wire.UUID{byte(i)}, Generation: 1, LogDirs: []wire.UUID{{byte(i)}}}
			if i <= len(racks) {
				r.Rack = &racks[i-1]
			}
			s.commit(r, &metadata.BrokerState{Broker: r.Broker})
		}
		return s.brokers()
	case "topic":
		return s.topic(d)
	case "set":
		var records []metadata.Record
		for _, a := range d.CmdArgs[1:] {
			value := a.Vals[0]
			records = append(records, &metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceTopic, Name: d.CmdArgs[0].Key}, Name: a.Key, Value: &value})
		}
		return s.effect(append(records, FollowSettings(m, records)...))
	case "register":
		return s.register(d)
	case "fence":
		return s.effect(Fence(m, brokerArg(d), false))
	case "unfence":
		return s.effect(Unfence(m, brokerArg(d)))
	case "retire":
		return s.effect(Retire(m, brokerArg(d)))
	case "unregister":
		records, refusal := Unregister(m, brokerArg(d))
		return refused(refusal) + s.effect(records)
	case "isr":
		return s.isr(d)
	case "elect":
		return s.elect(d)
	case "recover":
		return s.recoverFrom(d)
	case "balance":
		percent, limit := 0, 1000
		d.MaybeScanArgs(t, "percent", &percent)
		d.MaybeScanArgs(t, "limit", &limit)
		records, more := BalanceLeaders(m, percent, limit)
		return fmt.Sprintf("more=%v\n", more) + s.effect(records)
	case "state":
		return s.brokers() + s.partitions(nil)
	case "reassign":
		return s.reassign(d)
	case "cordon":
		all := "*"
		return s.effect([]metadata.Record{&metadata.ConfigRecord{Resource: ownResource(brokerArg(d)), Name: config.CordonedLogDirs, Value: &all}})
	case "grow":
		return s.effect(Grow(m))
	case "lost":
		limit := 1000
		d.MaybeScanArgs(t, "limit", &limit)
		var lost []wire.BrokerID
		for _, a := range d.CmdArgs {
			if len(a.Vals) == 0 {
				lost = append(lost, brokerID(a.Key))
			}
		}
		return s.effect(Rebuild(m, lost, limit))
	case "internal":
		return s.internal(d)
	case "mend":
		return s.effect(Mend(m))
	}
	d.Fatalf(t, "unknown command %s", d.Cmd)
	return ""
}

func refused(r *Refusal) string {
	if r == nil {
		return ""
	}
	return r.Error() + "\n"
}

func brokerArg(d *datadriven.TestData) wire.BrokerID { return brokerID(d.CmdArgs[0].Key) }

func brokerID(s string) wire.BrokerID {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(err)
	}
	return wire.BrokerID(n)
}

func brokerIDs(list []string) []wire.BrokerID {
	var out []wire.BrokerID
	for _, v := range list {
		out = append(out, brokerID(v))
	}
	return out
}

func partitionArg(name string) wire.TopicPartition {
	at := strings.LastIndexByte(name, '-')
	n, err := strconv.Atoi(name[at+1:])
	if err != nil {
		panic(err)
	}
	return wire.TopicPartition{Topic: name[:at], Partition: wire.Partition(n)}
}

func (s *script) topic(d *datadriven.TestData) string {
	name := d.CmdArgs[0].Key
	id := wire.TopicID{0xff, byte(s.image().TopicCount())}
	records := []metadata.Record{&metadata.TopicRecord{Name: name, ID: id}}
	var last *metadata.PartitionRecord
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "replicas":
			p := 0
			if last != nil {
				p = int(last.Partition) + 1
			}
			last = newPartition(s.image(), id, wire.Partition(p), brokerIDs(a.Vals))
			records = append(records, last)
		case "isr":
			last.ISR = brokerIDs(a.Vals)
			last.Leader = last.ISR[0]
		case "min":
			a.Key = "min.insync.replicas"
			fallthrough
		default:
			value := a.Vals[0]
			records = append(records, &metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceTopic, Name: name}, Name: a.Key, Value: &value})
		}
	}
	return s.effect(records)
}

func (s *script) internal(d *datadriven.TestData) string {
	n, _ := strconv.Atoi(d.CmdArgs[0].Key)
	wanted, _ := strconv.Atoi(d.CmdArgs[1].Vals[0])
	records, answers := CreateTopics(s.image(), Defaults{MaxPartitions: n}, []NewTopic{{
		Name: OffsetsTopic, ID: wire.TopicID{0xfe}, Partitions: int32(n), Replicas: int16(wanted), UpToReplica: true,
	}})
	return refused(answers[0].Refusal) + s.effect(records)
}

func (s *script) register(d *datadriven.TestData) string {
	r := metadata.RegisterBroker{Broker: brokerArg(d), Generation: 1}
	r.Directory, r.LogDirs = wire.UUID{byte(r.Broker)}, []wire.UUID{{byte(r.Broker)}}
	if old := s.image().Broker(r.Broker); old != nil {
		r.Generation, r.LogDirs, r.MinInSync = old.Generation+1, old.LogDirs, old.MinInSync
	}
	var damage Damage
	for _, a := range d.CmdArgs[1:] {
		switch a.Key {
		case "lossy":
			damage.Lossy = true
		case "dir":
			s.dirs++
			r.LogDirs = []wire.UUID{{0xdd, byte(s.dirs)}}
		case "static":
			n, _ := strconv.Atoi(a.Vals[0])
			r.MinInSync = int32(n)
		case "suspect":
			for _, v := range a.Vals {
				p := partitionArg(v)
				damage.Suspects = append(damage.Suspects, wire.TopicIDPartition{Topic: s.image().Topic(p.Topic).ID, Partition: p.Partition})
			}
		}
	}
	records, _, refusal := Register(s.image(), r, damage)
	return refused(refusal) + s.effect(records)
}

func (s *script) isr(d *datadriven.TestData) string {
	q := partitionArg(d.CmdArgs[0].Key)
	t := s.image().Topic(q.Topic)
	p := t.Partitions[q.Partition]
	epoch := wire.BrokerEpoch(-1)
	if b := s.image().Broker(p.Leader); b != nil {
		epoch = b.Epoch
	}
	records, answers, refusal := AlterPartition(s.image(), p.Leader, epoch, []AlterISR{{t.ID, q.Partition, p.LeaderEpoch, p.Epoch, members(brokerIDs(d.CmdArgs[1].Vals)...)}})
	if refusal != nil {
		return refused(refusal)
	}
	return fmt.Sprintf("code=%s\n", answers[0].Code) + s.effect(records)
}

func (s *script) elect(d *datadriven.TestData) string {
	var list []wire.TopicPartition
	for _, a := range d.CmdArgs[1:] {
		list = append(list, partitionArg(a.Key))
	}
	plan := ElectPreferred
	if d.CmdArgs[0].Key == "unclean" {
		plan = func(m *metadata.Image, list []wire.TopicPartition) ([]metadata.Record, []Elected) {
			return ElectUnclean(m, list, Survey{})
		}
	}
	records, answers := plan(s.image(), list)
	var b strings.Builder
	for _, a := range answers {
		code := wire.ErrNone.String()
		if a.Refusal != nil {
			code = a.Refusal.Error()
		}
		fmt.Fprintf(&b, "%s-%d %s\n", a.Topic, a.Partition, code)
	}
	return b.String() + s.effect(records)
}

func (s *script) recoverFrom(d *datadriven.TestData) string {
	m := s.image()
	unclean := func(topic string) bool {
		return Settings{}.TopicValue(m, topic, config.Lookup(config.Topic, "unclean.leader.election.enable"))[0].Value == "true"
	}
	survey := Survey{}
	var b strings.Builder
	for _, q := range FindLeaderless(m, unclean) {
		fmt.Fprintf(&b, "asked for %s-%d: %v\n", m.TopicByID(q.Partition.Topic).Name, q.Partition.Partition, q.Ask)
		for _, a := range d.CmdArgs {
			id := brokerID(a.Key)
			if !slices.Contains(q.Ask, id) {
				continue
			}
			epoch, _ := strconv.Atoi(a.Vals[0])
			end, _ := strconv.Atoi(a.Vals[1])
			survey[SurveyKey{q.Partition, id, m.Broker(id).Epoch}] = ReplicaState{wire.LeaderEpoch(epoch), wire.Offset(end), len(a.Vals) > 2}
		}
	}
	return b.String() + s.effect(Recover(m, unclean, survey))
}

func (s *script) reassign(d *datadriven.TestData) string {
	keep, allow := false, false
	var list []Reassignment
	for _, a := range d.CmdArgs {
		switch {
		case a.Key == "keep":
			keep = true
		case a.Key == "allow": // unclean elections
			allow = true
		default:
			q := partitionArg(a.Key)
			r := Reassignment{Topic: q.Topic, Partition: q.Partition}
			if a.Vals[0] != "cancel" {
				r.Replicas = []wire.BrokerID{}
				if a.Vals[0] != "nobody" {
					r.Replicas = brokerIDs(a.Vals)
				}
			}
			list = append(list, r)
		}
	}
	records, refusals := Reassign(s.image(), list, keep, func(string) bool { return allow })
	var b strings.Builder
	for _, r := range refusals {
		b.WriteString(refused(r))
	}
	return b.String() + s.effect(records)
}

// effect commits records, and prints the partitions and brokers that they are about.
func (s *script) effect(records []metadata.Record) string {
	if len(records) == 0 {
		return "nothing changes\n"
	}
	s.commit(records...)
	var out string
	changed := map[wire.TopicIDPartition]bool{}
	brokers := false
	for _, r := range records {
		switch r := r.(type) {
		case *metadata.PartitionRecord:
			changed[wire.TopicIDPartition{Topic: r.Topic, Partition: r.Partition}] = true
		case *metadata.PartitionChange:
			id := wire.TopicIDPartition{Topic: r.Topic, Partition: r.Partition}
			if changed[id] {
				out += "changed twice: "
			}
			changed[id] = true
		case *metadata.RegisterBroker, *metadata.BrokerState, *metadata.UnregisterBroker:
			brokers = true
		}
	}
	if brokers {
		out += s.brokers()
	}
	for _, r := range records {
		if w, ok := r.(*metadata.TopicWish); ok {
			out += fmt.Sprintf("%s wants %d replicas\n", s.image().TopicByID(w.Topic).Name, w.Wanted)
		}
		if w, ok := r.(*metadata.TopicRecord); ok && w.Wanted > 0 {
			out += fmt.Sprintf("%s wants %d replicas\n", w.Name, w.Wanted)
		}
	}
	return out + s.partitions(changed)
}

func (s *script) brokers() string {
	var parts []string
	s.image().Brokers(func(b *metadata.BrokerInfo) bool {
		state := "live"
		switch {
		case b.Fenced:
			state = "fenced"
		case b.ShuttingDown:
			state = "stopping"
		}
		parts = append(parts, fmt.Sprintf("%d %s", b.Broker, state))
		return true
	})
	return "brokers: " + strings.Join(parts, ", ") + "\n"
}

// partitions prints partitions; nil: all.
func (s *script) partitions(which map[wire.TopicIDPartition]bool) string {
	var b strings.Builder
	s.image().Topics(func(t *metadata.Topic) bool {
		for i, p := range t.Partitions {
			if which != nil && !which[wire.TopicIDPartition{Topic: t.ID, Partition: wire.Partition(i)}] {
				continue
			}
			fmt.Fprintf(&b, "%s-%d leader=%d epoch=%d/%d replicas=%v isr=%v", t.Name, i, p.Leader, p.LeaderEpoch, p.Epoch, p.Replicas, p.ISR)
			for _, l := range []struct {
				name string
				ids  []wire.BrokerID
			}{{"elr", p.ELR}, {"known", p.LastKnownELR}, {"adding", p.Adding}, {"removing", p.Removing}} {
				if len(l.ids) > 0 {
					fmt.Fprintf(&b, " %s=%v", l.name, l.ids)
				}
			}
			b.WriteByte('\n')
		}
		return true
	})
	return b.String()
}
