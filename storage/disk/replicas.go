package disk

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"time"

	"github.com/kraftgo/kraftgo/storage"
	"github.com/kraftgo/kraftgo/wire"
)

// Add makes the directory hold these replicas too, durably, and opens their logs: empty ones, or those whose directories
// are there already. Replicas that it holds are opened already. A directory that belongs to another topic of that name is
// refused.
func (d *Disk) Add(replicas ...Replica) error { return d.add(replicas, "") }

// AddLost is Add for replicas that must have had records: those that the directory does not hold, and of which nothing is there, were
// lost, and are suspect.
func (d *Disk) AddLost(replicas ...Replica) error {
	return d.add(replicas, "the log directory does not know this replica, which was among the last in sync")
}

func (d *Disk) add(replicas []Replica, lost string) error {
	if err := d.Err(); err != nil {
		return err
	}
	d.manifestMu.Lock()
	defer d.manifestMu.Unlock()
	var changes []string
	var added []*replica
	slot := d.freeSlotLocked()
	for _, r := range replicas {
		if d.manifest.entries[r.Key()] != nil {
			continue
		}
		e := &entry{Replica: r, slot: slot()}
		if _, err := d.options.FS.Stat(d.options.Dir + "/" + r.DirName()); err == nil {
			e.started = true
		}
		opened, recovery, err := d.openReplica(e, e.started, false)
		if err != nil {
			for _, a := range added {
				a.log.Abandon()
			}
			return fmt.Errorf("add replica: %w", err)
		}
		_ = recovery // a suspicion stays with the log
		added = append(added, opened)
		if lost != "" && !e.started {
			if err := opened.log.Distrust(lost); err != nil {
				for _, a := range added {
					a.log.Abandon()
				}
				return fmt.Errorf("add replica: %w", err)
			}
		}
		changes = append(changes, addition(e))
	}
	err := d.noteNew(added)
	if err == nil {
		err = d.writeManifestLocked(changes)
	}
	if err != nil {
		for _, a := range added {
			a.log.Abandon()
		}
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, a := range added {
		d.manifest.entries[a.Key()] = a.entry
		d.mu.replicas[a.Key()] = a
	}
	return nil
}

// noteNew makes durable that what the checkpoint files say of the names of replicas is not said of these.
func (d *Disk) noteNew(added []*replica) error {
	var faults []error
	for _, r := range added {
		faults = append(faults, d.offsets.write(r.slot, r.keeper.note))
	}
	if len(added) > 0 {
		faults = append(faults, d.offsets.sync())
	}
	err := errors.Join(faults...)
	if err != nil {
		err = fmt.Errorf("note new replicas: %w", err)
		d.offline(err)
	}
	return err
}

// freeSlotLocked returns a function that gives a slot that nobody has, another one each time.
func (d *Disk) freeSlotLocked() func() int {
	used := make([]bool, len(d.manifest.entries)+1)
	for _, e := range d.manifest.entries {
		if e.slot < len(used) {
			used[e.slot] = true
		}
	}
	next := 0
	return func() int {
		for next < len(used) && used[next] {
			next++
		}
		next++
		return next - 1
	}
}

// change is what is to be appended to the manifest, and how memory changes when that is durable.
type change struct {
	text  []string
	apply func()
	made  bool // or has failed, with err; guarded by manifestMu
	err   error
}

// change makes a change of the manifest durable, and then changes the memory accordingly. Those that come while another is written wait
// for it, and then all become durable by one sync: thousands of replicas may get their first files at once.
func (d *Disk) change(text []string, apply func()) error {
	c := &change{text: text, apply: apply}
	d.changes.Lock()
	d.changes.waiting = append(d.changes.waiting, c)
	d.changes.Unlock()
	d.manifestMu.Lock()
	defer d.manifestMu.Unlock()
	if c.made {
		return c.err
	}
	d.changes.Lock()
	all := d.changes.waiting
	d.changes.waiting = nil
	d.changes.Unlock()
	var texts []string
	for _, c := range all {
		texts = append(texts, c.text...)
	}
	err := d.writeManifestLocked(texts)
	for _, c := range all {
		if err == nil {
			c.apply()
		}
		c.made, c.err = true, err
	}
	return err
}

func (d *Disk) writeManifestLocked(changes []string) error {
	if len(changes) == 0 {
		return nil
	}
	lines := line(changes...)
	_, err := d.list.WriteAt(lines, d.manifest.size)
	if err == nil {
		err = d.list.Sync()
	}
	if err != nil {
		err = fmt.Errorf("write manifest: %w", err)
		d.offline(err)
		return err
	}
	d.manifest.size += int64(len(lines))
	return nil
}

// Delete removes replicas for good, all with as many syncs as one. Their files go after the time for which those of deleted segments are
// kept. The caller has seen the committed record that deletes the topic id, or moves the replicas away.
func (d *Disk) Delete(keys ...wire.TopicIDPartition) error {
	return d.remove(keys, func(*storage.Log) error { return nil }, d.deletedName, d.keeping.discard)
}

// SetAside takes a replica out of use and keeps its files, under a name of which nothing here takes notice: nobody knows what it is any
// more, and it may be all that is left.
func (d *Disk) SetAside(key wire.TopicIDPartition) error {
	toFiles := func(l *storage.Log) error { _, err := l.Checkpoint(); return err } // it may have records in the write-ahead log only
	name := func(r Replica) string { return d.uniqueName(r, asideSuffix) }
	return d.remove([]wire.TopicIDPartition{key}, toFiles, name, func(string, time.Duration) {})
}

// remove takes replicas out under other names, after first, and lets then have what is left, with how long deleted files are kept. Those
// that are not known keep no others from it.
func (d *Disk) remove(keys []wire.TopicIDPartition, first func(*storage.Log) error, name func(Replica) string, then func(dir string, kept time.Duration)) error {
	var faults []error
	var removals []string
	var removed []wire.TopicIDPartition
	type leftover struct {
		dir  string
		kept time.Duration
	}
	var left []leftover
	for _, key := range keys {
		if l := d.Log(key); l != nil {
			if err := first(l); err != nil {
				faults = append(faults, err)
				continue
			}
		}
		d.mu.Lock()
		r := d.mu.replicas[key]
		delete(d.mu.replicas, key)
		d.mu.Unlock()
		if r == nil {
			faults = append(faults, ErrUnknownReplica)
			continue
		}
		r.log.Abandon()
		removals, removed = append(removals, removal(key)), append(removed, key)
		from, to := d.options.Dir+"/"+r.DirName(), d.options.Dir+"/"+name(r.Replica)
		if _, err := d.options.FS.Stat(from); err != nil {
			continue
		}
		if err := d.options.FS.Rename(from, to); err != nil {
			d.offline(err)
			return fmt.Errorf("rename %s: %w", from, err)
		}
		left = append(left, leftover{to, r.log.Options().FileDeleteDelay})
	}
	if len(left) > 0 {
		if err := d.options.FS.SyncDir(d.options.Dir); err != nil {
			d.offline(err)
			return fmt.Errorf("rename replicas in %s: %w", d.options.Dir, err)
		}
	}
	defer func() {
		for _, l := range left {
			then(l.dir, l.kept)
		}
	}()
	return errors.Join(append(faults, d.change(removals, func() {
		for _, key := range removed {
			delete(d.manifest.entries, key)
		}
	}))...)
}

const asideSuffix = "-aside"

// deletedName is a directory name that says that the replica is being removed.
func (d *Disk) deletedName(r Replica) string { return d.uniqueName(r, "-delete") }

// uniqueName is a directory name that nothing else has. It fits into 255 bytes.
func (d *Disk) uniqueName(r Replica, suffix string) string {
	var unique [16]byte
	_, _ = io.ReadFull(d.options.Random, unique[:]) // never fails
	suffix = "." + hex.EncodeToString(unique[:]) + suffix
	name := r.DirName()
	return name[:min(len(name), 255-len(suffix))] + suffix
}

var deletedPattern = regexp.MustCompile(`\.[0-9a-f]{32}-delete$`)

// removeDeleted completes removals that a stop interrupted. Of what topic it was is not known any more: what holds for any is kept to.
func (d *Disk) removeDeleted() error {
	kept := d.options.Log(Replica{}).FileDeleteDelay
	names, err := d.options.FS.List(d.options.Dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if deletedPattern.MatchString(name) {
			d.keeping.discard(d.options.Dir+"/"+name, kept)
		}
	}
	return nil
}
