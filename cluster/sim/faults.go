package sim

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
)

// faulty is what is wrong with a broker's disk.
type faulty struct {
	hung, full, failing bool
}

func (f *faulty) none() bool { return !f.full && !f.failing }
func (f *faulty) mend()      { *f = faulty{} }

// refuse is the disk's vfs.Fault.
func (f *faulty) refuse(op vfs.Op, name string) error {
	switch {
	case f.full && (op == vfs.OpWrite || op == vfs.OpCreate) && !strings.HasSuffix(name, ".offsets"):
		return syscall.ENOSPC
	case f.failing && (op == vfs.OpSync || op == vfs.OpSyncDir):
		return syscall.EIO
	}
	return nil
}

// pauseProcess stops the process, as SIGSTOP does.
func (b *broker) pauseProcess() { b.paused = b.process != nil }

func (b *broker) resume() {
	waiting := b.waiting
	b.paused, b.waiting = false, nil
	for _, act := range waiting {
		b.world.after(0, act)
	}
}

// found creates the topic, once there are brokers for it, and begins to use it.
func (w *world) found() {
	if len(w.controller.image().Live()) < len(w.brokers) {
		w.after(50*time.Millisecond, w.found)
		return
	}
	w.create("t")
	w.trouble()
}

// create creates a topic, and the clients that use it.
func (w *world) create(name string) {
	text := fmt.Sprint(w.options.minInSync)
	topic := control.NewTopic{
		Name: name, Partitions: int32(w.options.partitions), Replicas: w.options.replicas, Seed: w.random.Uint64(),
		Configs: []control.Setting{{Name: "min.insync.replicas", Value: &text}},
	}
	if w.options.replicated {
		durability := "replicated"
		topic.Configs = append(topic.Configs, control.Setting{Name: "durability", Value: &durability})
	}
	_, _ = w.Read(topic.ID[:])
	var refusal *control.Refusal
	w.controller.change("create", func(m *metadata.Image) []metadata.Record {
		records, answers := control.CreateTopics(m, control.Defaults{MaxPartitions: 100}, []control.NewTopic{topic})
		refusal = answers[0].Refusal
		return records
	})
	if refusal != nil {
		w.log("topic %s is not created: %v", name, refusal)
		w.after(200*time.Millisecond, func() { w.create(name) })
		return
	}
	for i := range w.options.partitions {
		w.use(w.part(disk.Replica{TopicID: topic.ID, Topic: name, Partition: wire.Partition(i)}))
	}
}

// use begins to write to and to read from a partition.
func (w *world) use(p *part) {
	add := func(lone bool) {
		q := &producer{world: w, part: p, id: wire.ProducerID(1000 + len(w.producers)), lone: lone, leader: wire.NoBroker}
		w.producers = append(w.producers, q)
		w.after(w.about(50*time.Millisecond), q.next)
	}
	add(false)
	add(false)
	if w.options.lone {
		add(true)
	}
	c := &consumer{world: w, part: p}
	w.consumers = append(w.consumers, c)
	w.after(w.about(100*time.Millisecond), c.poll)
}

// fault is one thing that can go wrong. It returns whether it did.
type fault struct {
	name string
	do   func(w *world) bool
}

var menu = []fault{
	{"kill", func(w *world) bool { return w.kill(w.anyUp()) }},
	{"power", func(w *world) bool { return w.losePower(w.anyUp()) }},
	{"blackout", blackout},
	{"pause", pause},
	{"cut", cutOff},
	{"deaf", cutOneWay},
	{"flap", flap},
	{"usurp", usurp},
	{"unheard", func(w *world) bool { w.unheard = true; return true }},
	{"hang", hang},
	{"full", full},
	{"eio", failSync},
	{"wipe", wipe},
	{"rot", rot},
	{"min", alterMinInSync},
	{"recreate", recreate},
}

// operations come to the faults of one run in four: the others have the more of the faults.
var operations = []fault{
	{"stop", stop},
	{"reassign", reassign},
}

// drawMenu chooses the faults of a run: all, or few of them often.
func (w *world) drawMenu(seed uint64) (out []fault) {
	var names []string
	for _, f := range menu {
		names = append(names, f.name)
	}
	if w.random.IntN(2) == 0 {
		w.random.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
		names = names[:1+w.random.IntN(3)]
		slices.Sort(names)
	}
	for _, name := range names {
		out = append(out, menu[slices.IndexFunc(menu, func(f fault) bool { return f.name == name })])
	}
	if seed%4 == 3 {
		out = append(out, operations...)
	}
	return out
}

// trouble makes something go wrong, over and over.
func (w *world) trouble() {
	if w.calm {
		return
	}
	f := w.options.menu[w.random.IntN(len(w.options.menu))]
	if f.do(w) {
		w.result.Faults[f.name]++
	}
	w.after(w.about(w.options.pause), w.trouble)
}

// anyUp is a broker that runs, or nil.
func (w *world) anyUp() *broker {
	var up []*broker
	for _, b := range w.brokers {
		if b.process != nil {
			up = append(up, b)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return up[w.random.IntN(len(up))]
}

// upAgain starts a broker again a little later.
func (w *world) upAgain(b *broker) { w.after(w.about(w.options.pause), b.start) }

func (w *world) kill(b *broker) bool {
	if b == nil {
		return false
	}
	b.kill()
	w.upAgain(b)
	return true
}

func (w *world) losePower(b *broker) bool {
	if b == nil {
		return false
	}
	b.losePower()
	w.upAgain(b)
	return true
}

// blackout takes the power from all at once.
func blackout(w *world) bool {
	for _, b := range w.brokers {
		b.losePower()
		w.upAgain(b)
	}
	return true
}

// losable reports whether all replicas of a partition may have lost what was acknowledged: where records need not be on a disk; and where
// a replica whose disk was damaged has been taken for the only one in sync, before it could say so.
func (w *world) losable() bool {
	return w.options.replicated || w.result.Faults["wipe"]+w.result.Faults["rot"] > 0
}

// operator reports whether somebody chooses now among what is left of partitions that nobody can lead.
func (w *world) operator() bool { return w.losable() && w.now > w.options.busy+rest/3 }

// excuse notes which partitions all their replicas have lost, as far as records may be gone that no disk had to have.
func (w *world) excuse(recovered []metadata.Record) {
	for _, r := range recovered {
		c, ok := r.(*metadata.PartitionChange)
		if !ok || !w.options.replicated && !w.operator() {
			continue
		}
		for _, p := range w.parts {
			if p.id == (logKey{Topic: c.Topic, Partition: c.Partition}) {
				p.excused, p.cut = true, true
			}
		}
	}
}

func pause(w *world) bool {
	b := w.anyUp()
	if b == nil || b.paused {
		return false
	}
	w.log("b%d is stopped", b.id)
	b.pauseProcess()
	w.after(w.about(2*w.options.pause), func() {
		if b.paused {
			w.log("b%d goes on", b.id)
			b.resume()
		}
	})
	return true
}

// cutOff takes a broker from the network.
func cutOff(w *world) bool {
	b := w.brokers[w.random.IntN(len(w.brokers))]
	return w.cut(b, func(link) bool { return true })
}

// cutOneWay cuts some of a broker's links, in one direction or both.
func cutOneWay(w *world) bool {
	b := w.brokers[w.random.IntN(len(w.brokers))]
	return w.cut(b, func(link) bool { return w.random.IntN(2) == 0 })
}

func (w *world) cut(b *broker, which func(link) bool) bool {
	var links []link
	for other := atClient; int(other) <= len(w.brokers); other++ {
		for _, l := range []link{{b.id, other}, {other, b.id}} {
			if other != b.id && !w.network.cut[l] && which(l) {
				links = append(links, l)
				w.network.cut[l] = true
			}
		}
	}
	w.log("cut: %v", links)
	w.after(w.about(2*w.options.pause), func() {
		w.network.mend(links)
		w.log("healed: %v", links)
	})
	return len(links) > 0
}

// usurp gives a partition back to its preferred leader just when that lags within the ISR, and takes it for dead before the one that it
// relieved has followed it: who lacks records leads in between, and they are back when the first leads again.
func usurp(w *world) bool {
	var fit []*part
	for _, p := range w.parts {
		if t := w.controller.image().TopicByID(p.id.Topic); t != nil {
			i := &t.Partitions[p.id.Partition]
			if i.Leader != wire.NoBroker && i.Leader != i.Replicas[0] && slices.Contains(i.ISR, i.Replicas[0]) {
				fit = append(fit, p)
			}
		}
	}
	if len(fit) == 0 {
		return false
	}
	p := fit[w.random.IntN(len(fit))]
	i := &w.controller.image().TopicByID(p.id.Topic).Partitions[p.id.Partition]
	old, preferred := i.Leader, i.Replicas[0]
	links := []link{{old, preferred}, {preferred, old}}
	w.network.sever(links)
	w.log("b%d and b%d are cut from each other", old, preferred)
	w.after(w.about(150*time.Millisecond), func() {
		w.controller.change("usurp", func(m *metadata.Image) []metadata.Record {
			records, _ := control.ElectPreferred(m, []wire.TopicPartition{p.name})
			return records
		})
		w.after(w.about(100*time.Millisecond), func() {
			w.log("b%d is taken for dead", preferred)
			w.controller.change("usurp", func(m *metadata.Image) []metadata.Record { return control.Fence(m, preferred, false) })
		})
	})
	w.after(w.about(400*time.Millisecond), func() {
		w.network.mend(links)
	})
	return true
}

// altered is told of every ISR that a leader asked for and got. If so is wanted, the leader does not hear of one that grew, nor from who
// is new in it; and a little later it is taken for dead.
func (w *world) altered(leader wire.BrokerID, before, after []wire.BrokerID) {
	if !w.unheard || w.calm {
		return
	}
	links := []link{{atController, leader}}
	for _, id := range after {
		if !slices.Contains(before, id) {
			links = append(links, link{id, leader})
		}
	}
	if len(links) == 1 {
		return
	}
	w.unheard = false
	w.network.sever(links)
	w.log("cut: %v", links)
	w.after(w.about(800*time.Millisecond), func() {
		w.log("b%d is taken for dead", leader)
		w.controller.change("unheard", func(m *metadata.Image) []metadata.Record { return control.Fence(m, leader, false) })
	})
	w.after(w.about(1200*time.Millisecond), func() {
		w.network.mend(links)
		w.log("healed: %v", links)
	})
}

// alterMinInSync changes the topic's min.insync.replicas.
func alterMinInSync(w *world) bool {
	if w.controller.image().Topic("t") == nil {
		return false
	}
	value := fmt.Sprint(1 + w.random.IntN(int(w.options.replicas)))
	w.controller.change("alter", func(m *metadata.Image) []metadata.Record {
		topic := metadata.Resource{Type: metadata.ResourceTopic, Name: "t"}
		records, refusal := control.AlterConfigs(m, topic, []control.Alteration{{Name: "min.insync.replicas", Op: control.OpSet, Value: &value}}, nil)
		if refusal != nil {
			w.log("not altered: %v", refusal)
			return nil
		}
		return append(records, control.FollowSettings(m, records)...)
	})
	return true
}

// recreate deletes the topic, and creates another of that name.
func recreate(w *world) bool {
	t := w.controller.image().Topic("t")
	if t == nil || w.now > w.options.busy-time.Second {
		return false
	}
	for _, p := range w.parts {
		p.deleted = true
	}
	w.controller.change("delete", func(m *metadata.Image) []metadata.Record {
		records, _ := control.DeleteTopics(m, []wire.TopicID{t.ID})
		return records
	})
	w.after(w.about(w.options.pause), func() { w.create("t") })
	return true
}

// flap has a partition change its leader a few times, faster than followers fetch: the controller takes the leader for dead.
func flap(w *world) bool {
	if len(w.parts) == 0 {
		return false
	}
	p := w.parts[len(w.parts)-1-w.random.IntN(min(len(w.parts), w.options.partitions))] // of the present topic
	var again func(n int)
	again = func(n int) {
		t := w.controller.image().TopicByID(p.id.Topic)
		if t == nil || w.calm || n == 0 {
			return
		}
		if leader := t.Partitions[p.id.Partition].Leader; leader != wire.NoBroker {
			w.log("b%d is taken for dead", leader)
			w.controller.change("flap", func(m *metadata.Image) []metadata.Record { return control.Fence(m, leader, false) })
		}
		w.after(w.about(w.options.pause/4), func() { again(n - 1) })
	}
	again(1 + w.random.IntN(6))
	return true
}
