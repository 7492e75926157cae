package sim

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
)

// This file has what goes wrong with disks.

// ill makes a disk ill for a while.
func (w *world) ill(what string, set func(f *faulty, on bool)) bool {
	b := w.anyUp()
	if b == nil {
		return false
	}
	w.log("b%d: disk %s", b.id, what)
	set(&b.faults, true)
	w.after(w.about(2*w.options.pause), func() {
		w.log("b%d: disk no more %s", b.id, what)
		set(&b.faults, false)
	})
	return true
}

func hang(w *world) bool { return w.ill("hung", func(f *faulty, on bool) { f.hung = on }) }
func full(w *world) bool { return w.ill("full", func(f *faulty, on bool) { f.full = on }) }

// failSync has syncs fail, until the process has noticed and ended itself.
func failSync(w *world) bool {
	b := w.anyUp()
	if b == nil {
		return false
	}
	w.log("b%d: syncs fail", b.id)
	b.faults.failing = true
	return true
}

// wipe takes a broker's log directory, or one replica's, while the broker is down.
func wipe(w *world) bool {
	b := w.anyUp()
	if b == nil || !w.spare(b) {
		return false
	}
	// The log directory remembers a replica's files from the first sync on.
	held := slices.DeleteFunc(b.process.ordered(), func(h *held) bool { return h.log.Durable() == 0 })
	b.kill()
	b.wiped = true
	switch {
	case w.random.IntN(2) == 0 || len(held) == 0:
		w.log("b%d loses its disk", b.id)
		b.files = vfs.NewMem()
		b.makeDataDir()
	default:
		h := held[w.random.IntN(len(held))]
		w.log("b%d loses the directory of %s", b.id, h.part.name)
		_ = b.files.RemoveAll(dataDir + "/" + h.part.name.String())
		_ = b.files.SyncDir(dataDir)
	}
	w.upAgain(b)
	return true
}

// rot flips a bit of a batch that is synced, and that recovery reads, while the broker is down. The noted durable offset tells that it
// was synced; it survives the process, and not always the machine.
func rot(w *world) bool {
	b := w.anyUp()
	if b == nil || !b.faults.none() || !w.spare(b) {
		return false
	}
	held := b.process.ordered()
	if len(held) == 0 {
		return false
	}
	h := held[w.random.IntN(len(held))]
	name, at, ok := h.synced()
	if !ok {
		return false
	}
	b.kill()
	defer b.start()
	b.wiped = true
	f, err := b.files.Open(name)
	if err != nil {
		return false
	}
	var one [1]byte
	_, _ = f.ReadAt(one[:], at)
	one[0] ^= 1 << w.random.IntN(8)
	_, _ = f.WriteAt(one[:], at)
	_ = f.Sync()
	w.log("b%d: a bit of %s flips at %d", b.id, name, at)
	return true
}

// synced returns a place in the last file of a log, within a batch that is synced and past the recovery point.
func (h *held) synced() (name string, at int64, ok bool) {
	b := h.process.broker
	dir := dataDir + "/" + h.part.name.String()
	names, err := b.files.List(dir)
	if err != nil {
		return "", 0, false
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, ".log") })
	if len(names) == 0 {
		return "", 0, false
	}
	name = dir + "/" + names[len(names)-1]
	all, err := vfs.ReadFile(b.files, name, 1<<20)
	if err != nil {
		return "", 0, false
	}
	point, durable := h.recoveryPoint(), h.log.Durable()
	var places []int64
	for rest := all; len(rest) > 0; {
		x, next, err := batch.Next(rest)
		if err != nil {
			break
		}
		if x.BaseOffset() >= point && x.NextOffset() <= durable {
			start := int64(len(all) - len(rest))
			places = append(places, start+batch.HeaderSize, start+int64(x.Size())-1)
		}
		rest = next
	}
	if len(places) == 0 {
		return "", 0, false
	}
	return name, places[h.process.broker.world.random.IntN(len(places))], true
}

// recoveryPoint is below what recovery would read.
func (h *held) recoveryPoint() wire.Offset {
	b, err := vfs.ReadFile(h.process.broker.files, dataDir+"/recovery-point-offset-checkpoint", 1<<20)
	if err != nil {
		return 0
	}
	for _, line := range bytes.Split(b, []byte("\n")) {
		if point, ok := strings.CutPrefix(string(line), fmt.Sprintf("%s %d ", h.part.name.Topic, h.part.name.Partition)); ok {
			n, _ := strconv.ParseInt(point, 10, 64)
			return wire.Offset(n)
		}
	}
	return 0
}

// spare reports whether a broker's disk may be damaged: what is acknowledged, of every partition, is on another that is well. More than
// that nobody promises.
func (w *world) spare(b *broker) bool {
	for _, p := range w.parts {
		t := w.controller.image().TopicByID(p.id.Topic)
		if t == nil || !slices.Contains(t.Partitions[p.id.Partition].Replicas, b.id) {
			continue
		}
		well := slices.ContainsFunc(t.Partitions[p.id.Partition].ISR, func(id wire.BrokerID) bool {
			other := w.broker(id)
			if id == b.id || other.process == nil || !w.registered(other.process) {
				return false
			}
			o := other.process.held[p.id]
			return o != nil && o.well()
		})
		if !well {
			return false
		}
	}
	return true
}

// well reports whether a replica has all that is acknowledged, where it must have it.
func (h *held) well() bool {
	d := h.partition.Describe()
	end := d.End
	if h.partition.Settings().Durability == replication.Fsync {
		end = d.Durable
	}
	return d.Suspect == "" && int(end) >= len(h.part.truth) && (d.Role == "leader" || d.Validated)
}
