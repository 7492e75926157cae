//go:build synctests

package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// again is what the operator knows of the topic that it deletes and creates again, under the same name. If it is not told what became of
// that, it takes another name: what was asked for may be done long after, as when the network holds it back.
type again struct {
	names   int              // that were given up
	there   bool             // created and not deleted, both acknowledged
	life    int              // how often it was created
	written int              // in this life
	acked   map[int64]string // in this life, by offset; the topic has one partition
}

func (a *again) name() string { return fmt.Sprintf("again-%d", a.names) }

// giveUp leaves a topic alone of which it is not known whether it is there.
func (a *again) giveUp() { *a = again{names: a.names + 1, life: a.life} }

// topicAgain creates the topic, writes to it, or deletes it, some of that one after the other.
func topicAgain(d *dataSimulation) bool {
	o, some := &d.operator, false
	for range 1 + o.random.IntN(5) {
		what, done := "written to", false
		switch {
		case !o.again.there:
			what, done = "created", d.createAgain()
		case o.again.written > 0 && o.random.IntN(2) == 0:
			what, done = "deleted", d.deleteAgain()
		default:
			done = d.writeAgain()
		}
		if done {
			o.done["topic "+what]++
			some = true
		}
	}
	return some
}

func (d *dataSimulation) createAgain() bool {
	o := &d.operator
	d.note("operator: create the topic again, life %d", o.again.life+1)
	ctx, cancel := within(operatorPatience)
	defer cancel()
	enough := "2"
	r, err := o.client.CreateTopic(ctx, 1, 3, map[string]*string{"min.insync.replicas": &enough}, o.again.name())
	if err = errors.Join(err, r.Err); err != nil {
		o.again.giveUp() // if it was refused too: an earlier attempt of the client may have come through
		return false
	}
	o.again = again{names: o.again.names, there: true, life: o.again.life + 1, acked: map[int64]string{}}
	return true
}

func (d *dataSimulation) deleteAgain() bool {
	o := &d.operator
	d.note("operator: delete the topic of life %d", o.again.life)
	ctx, cancel := within(operatorPatience)
	defer cancel()
	name := o.again.name()
	answers, err := o.client.DeleteTopics(ctx, name)
	if err = errors.Join(err, answers[name].Err); err != nil {
		o.again.giveUp() // if it is not known too: so an earlier attempt of the client left it
		return false
	}
	o.again.there = false
	return true
}

// everywhere reports whether all nodes that are up know the topic that was created last. One that does not may still lead the one before.
func (d *dataSimulation) everywhere() bool {
	newest, name := d.newest(), d.operator.again.name()
	if newest == nil || newest.Topic(name) == nil {
		return false
	}
	for _, x := range d.nodes {
		if m := x.image(); x.ready() && m != nil && (m.Topic(name) == nil || m.Topic(name).ID != newest.Topic(name).ID) {
			return false
		}
	}
	return true
}

// writeAgain writes some records, each when the one before is answered.
func (d *dataSimulation) writeAgain() bool {
	o := &d.operator
	if !d.everywhere() {
		return false
	}
	c, err := kgo.NewClient(d.options(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.RecordDeliveryTimeout(operatorPatience))...)
	if err != nil {
		d.failed("a client: %v", err)
		return false
	}
	defer c.Close()
	ctx, cancel := within(operatorPatience)
	defer cancel()
	for range 5 + o.random.IntN(20) {
		value := fmt.Sprintf("%d/%d", o.again.life, o.again.written)
		o.again.written++
		r, err := c.ProduceSync(ctx, &kgo.Record{Topic: o.again.name(), Value: []byte(value)}).First()
		if err != nil {
			return false
		}
		if other, twice := o.again.acked[r.Offset]; twice {
			d.failed("%s and %s of the topic were both acknowledged at %d", other, value, r.Offset)
		}
		o.again.acked[r.Offset] = value
	}
	return true
}

// checkAgain reads the topic: it has what was acknowledged in this life, and nothing of another.
func (d *dataSimulation) checkAgain(ctx context.Context) {
	a := d.operator.again
	name := a.name()
	topic := d.nodes[0].image().Topic(name)
	switch {
	case a.there != (topic != nil):
		d.failed("the topic of life %d is there: %t; acknowledged: %t", a.life, topic != nil, a.there)
		return
	case !a.there:
		return
	}
	c, err := kgo.NewClient(d.options(kgo.ConsumeTopics(name), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		d.failed("a client: %v", err)
		return
	}
	defer c.Close()
	ends, err := kadm.NewClient(c).ListEndOffsets(ctx, name)
	end, ok := ends.Lookup(name, 0)
	if err = errors.Join(err, end.Err); err != nil || !ok {
		d.failed("the end of the topic that was created again: %v", err)
		return
	}
	read := map[int64]string{}
	for next := int64(0); next < end.Offset && ctx.Err() == nil; {
		c.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			read[r.Offset], next = string(r.Value), r.Offset+1
		})
	}
	for offset, value := range a.acked {
		if read[offset] != value {
			d.failed("%s of the topic was acknowledged at %d, where %q is", value, offset, read[offset])
		}
	}
	for offset, value := range read {
		if !strings.HasPrefix(value, fmt.Sprintf("%d/", a.life)) {
			d.failed("%q is in the topic of life %d at %d", value, a.life, offset)
		}
	}
}
