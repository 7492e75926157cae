package control

import (
	"slices"
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

func ids(list ...wire.BrokerID) []wire.BrokerID { return list }

// failing is a test, or rapid's.
type failing interface {
	Helper()
	Fatal(args ...any)
}

// plane is a state that plans are committed to.
type plane struct {
	t     failing
	state *metadata.State
	index wire.Index
}

// newPlane has brokers 1 to n, unfenced, registered at the index of their id; the topic "t" with this partition; and what else is
// wanted.
func newPlane(t failing, n int, p *metadata.PartitionRecord, more ...metadata.Record) *plane {
	l := &plane{t: t, state: metadata.NewState()}
	for i := 1; i <= n; i++ {
		l.commit(&metadata.RegisterBroker{Broker: wire.BrokerID(i), Directory: wire.UUID{byte(i)}, Generation: 1}, &metadata.BrokerState{Broker: wire.BrokerID(i)})
	}
	p.Topic = wire.UUID{0xa}
	l.commit(append([]metadata.Record{&metadata.TopicRecord{Name: "t", ID: p.Topic}, p}, more...)...)
	return l
}

func (l *plane) commit(records ...metadata.Record) {
	l.t.Helper()
	l.index++
	if _, err := l.state.Apply(l.index, 1, metadata.Command{Term: 1, Records: records}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *plane) image() *metadata.Image { return l.state.Image() }

func (l *plane) partition() metadata.PartitionInfo { return l.image().Topic("t").Partitions[0] }

func topicSetting(name, value string) *metadata.ConfigRecord {
	return &metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceTopic, Name: "t"}, Name: name, Value: &value}
}

func members(list ...wire.BrokerID) []ISRMember {
	out := make([]ISRMember, len(list))
	for i, id := range list {
		out[i] = ISRMember{id, -1}
	}
	return out
}

func three() *metadata.PartitionRecord {
	return &metadata.PartitionRecord{Replicas: ids(1, 2, 3), ISR: ids(1, 2, 3), Leader: 1, LeaderEpoch: 5, Epoch: 9}
}

// A wish that was refused for a broker that was fenced is not granted to a late copy once the broker is back: the leader goes by the
// refusal, and would acknowledge what that member of the ISR does not have.
func TestARefusedISRIsRefusedForGood(t *testing.T) {
	p := three()
	p.ISR = ids(1, 2)
	l := newPlane(t, 3, p)
	l.commit(&metadata.BrokerState{Broker: 3, Epoch: 3, Fenced: true})
	wish := AlterISR{wire.UUID{0xa}, 0, 5, 9, members(1, 2, 3)}
	records, answers, _ := AlterPartition(l.image(), 1, 1, []AlterISR{wish})
	if answers[0].Code != wire.ErrIneligibleReplica || len(records) != 1 || answers[0].PartitionEpoch != 10 {
		t.Fatalf("%+v, %d records", answers, len(records))
	}
	l.commit(records...)
	l.commit(&metadata.BrokerState{Broker: 3, Epoch: 3})
	records, answers, _ = AlterPartition(l.image(), 1, 1, []AlterISR{wish})
	if answers[0].Code != wire.ErrInvalidUpdateVersion || len(records) > 0 {
		t.Fatalf("a late copy: %+v, %d records", answers, len(records))
	}
	if got := l.partition(); !slices.Equal(got.ISR, ids(1, 2)) || got.LeaderEpoch != 5 || got.Epoch != 10 {
		t.Fatalf("%+v", got)
	}
	wish.PartitionEpoch = 10
	if _, answers, _ = AlterPartition(l.image(), 1, 1, []AlterISR{wish}); answers[0].Code != wire.ErrNone {
		t.Fatalf("asked again: %+v", answers)
	}
}

// Kafka's ReplicationControlManager.validateAlterPartitionData, sentence by sentence.
func TestAlterPartitionRefusals(t *testing.T) {
	topic := wire.UUID{0xa}
	l := newPlane(t, 4, three())
	l.commit(&metadata.BrokerState{Broker: 2, Epoch: 2, Fenced: true})
	l.commit(&metadata.BrokerState{Broker: 4, Epoch: 4, ShuttingDown: true})
	l.commit(&metadata.TopicRecord{Name: "u", ID: wire.UUID{0xb}}, &metadata.PartitionRecord{Topic: wire.UUID{0xb}, Replicas: ids(1, 4), ISR: ids(1), Leader: 1})
	good := AlterISR{topic, 0, 5, 9, members(1)}
	for name, c := range map[string]struct {
		change func(*AlterISR)
		want   wire.ErrorCode
	}{
		"sound":                    {func(*AlterISR) {}, wire.ErrNone},
		"unknown topic":            {func(q *AlterISR) { q.Topic = wire.UUID{0xf} }, wire.ErrUnknownTopicID},
		"unknown partition":        {func(q *AlterISR) { q.Partition = 1 }, wire.ErrUnknownTopicOrPartition},
		"newer leader epoch":       {func(q *AlterISR) { q.LeaderEpoch = 6 }, wire.ErrNotController},
		"newer partition epoch":    {func(q *AlterISR) { q.PartitionEpoch = 10 }, wire.ErrNotController},
		"older leader epoch":       {func(q *AlterISR) { q.LeaderEpoch = 4 }, wire.ErrFencedLeaderEpoch},
		"older partition epoch":    {func(q *AlterISR) { q.PartitionEpoch = 8 }, wire.ErrInvalidUpdateVersion},
		"without the leader":       {func(q *AlterISR) { q.ISR = members(3) }, wire.ErrInvalidRequest},
		"empty":                    {func(q *AlterISR) { q.ISR = nil }, wire.ErrInvalidRequest},
		"twice the same":           {func(q *AlterISR) { q.ISR = members(1, 1) }, wire.ErrInvalidRequest},
		"not a replica":            {func(q *AlterISR) { q.ISR = members(1, 4) }, wire.ErrInvalidRequest},
		"a fenced broker":          {func(q *AlterISR) { q.ISR = members(1, 2) }, wire.ErrIneligibleReplica},
		"a stale broker epoch":     {func(q *AlterISR) { q.ISR = []ISRMember{{1, 1}, {3, 2}} }, wire.ErrIneligibleReplica},
		"the right epoch":          {func(q *AlterISR) { q.ISR = []ISRMember{{1, 1}, {3, 3}} }, wire.ErrNone},
		"a broker about to stop":   {func(q *AlterISR) { *q = AlterISR{wire.UUID{0xb}, 0, 0, 0, members(1, 4)} }, wire.ErrIneligibleReplica},
		"what is there in 2nd ISR": {func(q *AlterISR) { *q = AlterISR{wire.UUID{0xb}, 0, 0, 0, members(1)} }, wire.ErrNone},
	} {
		q := good
		c.change(&q)
		records, answers, refusal := AlterPartition(l.image(), 1, 1, []AlterISR{q})
		if refusal != nil || answers[0].Code != c.want || c.want != wire.ErrNone && c.want != wire.ErrIneligibleReplica && len(records) > 0 {
			t.Errorf("%s: %s (%v) with %d records, want %s", name, answers[0].Code, refusal, len(records), c.want)
		}
	}
	for _, c := range []struct {
		broker wire.BrokerID
		epoch  wire.BrokerEpoch
	}{{1, 2}, {9, 9}} {
		if records, _, refusal := AlterPartition(l.image(), c.broker, c.epoch, []AlterISR{good}); refusal == nil || refusal.Code != wire.ErrStaleBrokerEpoch || len(records) > 0 {
			t.Errorf("%+v: %v with %d records", c, refusal, len(records))
		}
	}
	if _, answers, _ := AlterPartition(l.image(), 3, 3, []AlterISR{good}); answers[0].Code != wire.ErrInvalidRequest {
		t.Errorf("from a broker that does not lead: %s", answers[0].Code)
	}
	records, answers, _ := AlterPartition(l.image(), 1, 1, []AlterISR{good, good})
	if len(records) != 1 || answers[0].Code != wire.ErrNone || answers[1].Code != wire.ErrInvalidRequest {
		t.Errorf("one partition twice: %d records, %v", len(records), answers)
	}
}

// The answer is the partition as it is after the command; what changes nothing costs no partition epoch.
func TestAlterPartitionAnswers(t *testing.T) {
	l := newPlane(t, 3, three())
	alter := func(leader wire.LeaderEpoch, partition wire.PartitionEpoch, isr ...wire.BrokerID) AlteredISR {
		t.Helper()
		records, answers, refusal := AlterPartition(l.image(), 1, 1, []AlterISR{{wire.UUID{0xa}, 0, leader, partition, members(isr...)}})
		if refusal != nil {
			t.Fatal(refusal)
		}
		if len(records) > 0 {
			l.commit(records...)
		}
		p, a := l.partition(), answers[0]
		if a.Code == wire.ErrNone && (a.Leader != p.Leader || a.LeaderEpoch != p.LeaderEpoch || a.PartitionEpoch != p.Epoch || !slices.Equal(a.ISR, p.ISR)) {
			t.Fatalf("answer %+v, partition %+v", a, p)
		}
		return a
	}
	if a := alter(5, 9, 3, 1, 2); a.Code != wire.ErrNone || a.PartitionEpoch != 9 {
		t.Fatalf("the same members: %+v", a)
	}
	if a := alter(5, 9, 1, 3); a.Code != wire.ErrNone || a.PartitionEpoch != 10 || a.LeaderEpoch != 5 {
		t.Fatalf("a smaller ISR: %+v", a)
	}
	if a := alter(5, 9, 1, 2, 3); a.Code != wire.ErrInvalidUpdateVersion || a.PartitionEpoch != 10 || !slices.Equal(a.ISR, ids(1, 3)) {
		t.Fatalf("on an older state: %+v", a)
	}
	if a := alter(5, 10, 1, 2, 3); a.Code != wire.ErrNone || a.PartitionEpoch != 11 {
		t.Fatalf("back: %+v", a)
	}
}

// An AlterPartition that completes a reassignment may take the leadership from its sender.
func TestAlterPartitionCompletesAReassignment(t *testing.T) {
	p := &metadata.PartitionRecord{Replicas: ids(2, 3, 1), ISR: ids(1, 2), Leader: 1, Adding: ids(3), Removing: ids(1)}
	l := newPlane(t, 3, p)
	records, answers, _ := AlterPartition(l.image(), 1, 1, []AlterISR{{wire.UUID{0xa}, 0, 0, 0, members(1, 2, 3)}})
	l.commit(records...)
	if got := l.partition(); got.Leader != 2 || got.LeaderEpoch != 1 || !slices.Equal(got.Replicas, ids(2, 3)) || !slices.Equal(got.ISR, ids(2, 3)) || got.Reassigning() {
		t.Fatalf("%+v", got)
	}
	if a := answers[0]; a.Code != wire.ErrNewLeaderElected || a.Leader != 2 || a.LeaderEpoch != 1 || a.PartitionEpoch != 1 {
		t.Fatalf("%+v", a)
	}
}

// Suspect replicas are out of the ISR and the ELR before their broker is unfenced; replicas that count on the page cache are after a
// lossy start, and others stay; a log directory that is another one counts for no replica at all.
func TestRegistrationTakesDamagedReplicasOut(t *testing.T) {
	type want struct {
		isr, elr, known []wire.BrokerID
		leader          wire.BrokerID
	}
	elr := func() *metadata.PartitionRecord {
		return &metadata.PartitionRecord{Replicas: ids(1, 2, 3), ELR: ids(1, 2), Leader: wire.NoBroker}
	}
	single := func() *metadata.PartitionRecord {
		return &metadata.PartitionRecord{Replicas: ids(1), ISR: ids(1), Leader: 1}
	}
	suspect := Damage{Suspects: []wire.TopicIDPartition{{Topic: wire.UUID{0xa}}}}
	for name, c := range map[string]struct {
		partition *metadata.PartitionRecord
		settings  []metadata.Record
		damage    Damage
		another   bool // the log directory is
		want      want
	}{
		"sound, of many":          {partition: three(), want: want{isr: ids(2, 3), leader: 2}},
		"sound, the only one":     {partition: single(), want: want{elr: ids(1), leader: wire.NoBroker}},
		"sound, eligible":         {partition: elr(), want: want{leader: 2, isr: ids(2)}},
		"suspect, of many":        {partition: three(), damage: suspect, want: want{isr: ids(2, 3), known: ids(1), leader: 2}},
		"suspect, the only one":   {partition: single(), damage: suspect, want: want{known: ids(1), leader: wire.NoBroker}},
		"suspect, another one is": {partition: three(), damage: Damage{Suspects: []wire.TopicIDPartition{{Topic: wire.UUID{0xa}, Partition: 1}}}, want: want{isr: ids(2, 3), leader: 2}},
		"suspect, eligible":       {partition: elr(), damage: suspect, want: want{isr: ids(2), leader: 2, known: ids(1)}},
		"lossy, fsync":            {partition: single(), damage: Damage{Lossy: true}, want: want{elr: ids(1), leader: wire.NoBroker}},
		"lossy, replicated":       {partition: single(), settings: []metadata.Record{topicSetting("durability", "replicated")}, damage: Damage{Lossy: true}, want: want{known: ids(1), leader: wire.NoBroker}},
		"lossy, some broker's default is replicated": {
			partition: single(), settings: []metadata.Record{&metadata.RegisterBroker{Broker: 3, Directory: wire.UUID{3}, Replicated: true}},
			damage: Damage{Lossy: true}, want: want{known: ids(1), leader: wire.NoBroker}},
		"lossy, that broker's topics are fsync": {
			partition: single(), settings: []metadata.Record{topicSetting("durability", "fsync"), &metadata.RegisterBroker{Broker: 3, Directory: wire.UUID{3}, Replicated: true}},
			damage: Damage{Lossy: true}, want: want{elr: ids(1), leader: wire.NoBroker}},
		"another log directory": {partition: single(), another: true, want: want{known: ids(1), leader: wire.NoBroker}},
	} {
		l := newPlane(t, 3, c.partition, c.settings...)
		dir := wire.UUID{0xd}
		l.commit(&metadata.RegisterBroker{Broker: 1, Directory: wire.UUID{1}, Generation: 1, LogDirs: []wire.UUID{dir}}, &metadata.BrokerState{Broker: 1})
		if c.another {
			dir = wire.UUID{0xe}
		}
		records, id, refusal := Register(l.image(), metadata.RegisterBroker{Broker: 1, Directory: wire.UUID{1}, Generation: 2, LogDirs: []wire.UUID{dir}}, c.damage)
		if refusal != nil || id != 1 {
			t.Fatal(id, refusal)
		}
		l.commit(records...)
		p := l.partition()
		got := want{p.ISR, p.ELR, p.LastKnownELR, p.Leader}
		if !slices.Equal(got.isr, c.want.isr) || !slices.Equal(got.elr, c.want.elr) || !slices.Equal(got.known, c.want.known) || got.leader != c.want.leader {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
		l.commit(Unfence(l.image(), 1)...)
		if p := l.partition(); len(c.want.elr) == 1 && c.want.isr == nil && p.Leader != 1 || len(c.want.known) == 1 && p.Leader == 1 {
			t.Errorf("%s: unfenced, broker %d leads: %+v", name, p.Leader, p)
		}
	}
}

// A watermark that stood still moves on when min.insync.replicas falls: who is not in the ISR lacks what it passes.
func TestALowerMinimumEndsEligibility(t *testing.T) {
	start := func(settings ...metadata.Record) *plane {
		l := newPlane(t, 3, &metadata.PartitionRecord{Replicas: ids(1, 2, 3), ISR: ids(1), ELR: ids(2), Leader: 1}, settings...)
		for i := 1; i <= 3; i++ {
			l.commit(&metadata.RegisterBroker{Broker: wire.BrokerID(i), Directory: wire.UUID{byte(i)}, Generation: 1, MinInSync: 2}, &metadata.BrokerState{Broker: wire.BrokerID(i)})
		}
		return l
	}
	l := start(topicSetting("min.insync.replicas", "3"))
	lower := []metadata.Record{topicSetting("min.insync.replicas", "2")}
	if more := FollowSettings(l.image(), lower); len(more) != 0 {
		t.Errorf("from 3 to 2 with one in sync: %+v", more[0])
	}
	lower = []metadata.Record{topicSetting("min.insync.replicas", "1")}
	l.commit(append(lower, FollowSettings(l.image(), lower)...)...)
	if p := l.partition(); len(p.ELR) > 0 || p.Leader != 1 || p.LeaderEpoch != 0 {
		t.Errorf("from 3 to 1: %+v", p)
	}
	l = start()
	one := "1"
	for _, name := range []string{"", "2"} { // for all brokers; for one of them, which may lead some day
		lower = []metadata.Record{&metadata.ConfigRecord{Resource: metadata.Resource{Type: metadata.ResourceBroker, Name: name}, Name: "min.insync.replicas", Value: &one}}
		if more := FollowSettings(l.image(), lower); len(more) != 1 {
			t.Errorf("the default of brokers %q falls: %d changes", name, len(more))
		}
	}
	records, _, refusal := Register(l.image(), metadata.RegisterBroker{Broker: 4, Directory: wire.UUID{4}, MinInSync: 1}, Damage{})
	if refusal != nil {
		t.Fatal(refusal)
	}
	l.commit(records...)
	if p := l.partition(); len(p.ELR) > 0 {
		t.Errorf("a broker with a lower default joined: %+v", p)
	}
}
