//go:build synctests

package cluster

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/storage"
)

// looseness is whether what is acknowledged may be in page caches only, which bounds what power may be lost.
type looseness struct {
	now   atomic.Bool
	stays bool // the operator was not told what became of a change to durability=replicated, which may come at any time
}

// changeMinInSync asks for two or three replicas in sync. With one, who is left alone in sync and loses its disk leaves the choice to an
// operator.
func changeMinInSync(d *dataSimulation) bool {
	value := fmt.Sprint(2 + d.operator.random.IntN(2))
	d.operator.minInSync = true
	d.note("operator: min.insync.replicas=%s", value)
	return d.setting("min.insync.replicas", value)
}

// changeDurability has the topic's records on disks before they are acknowledged, or in the page caches of all in sync.
func changeDurability(d *dataSimulation) bool {
	o := &d.operator
	if o.random.IntN(2) == 0 {
		d.loose.now.Store(true)
		d.note("operator: durability=replicated")
		done := d.setting("durability", "replicated")
		d.loose.stays = d.loose.stays || !done
		return done
	}
	d.note("operator: durability=fsync")
	if !d.setting("durability", "fsync") {
		return false
	}
	if d.loose.stays || !d.loose.now.Load() {
		return true
	}
	// What was acknowledged before is on disks a little later: then any power may go.
	for range 30 {
		if d.strict() {
			d.note("operator: all that is acknowledged is on disks")
			d.loose.now.Store(false)
			o.done["on disks again"]++
			break
		}
		d.pause(100 * time.Millisecond)
	}
	return true
}

// strict reports whether all nodes go by durability=fsync and have synced what they had when they began to.
func (d *dataSimulation) strict() bool {
	ends := map[*storage.Log]int64{}
	for range 2 {
		if d.settled() != "" {
			return false
		}
		t := d.nodes[0].image().Topic(simTopicName)
		for _, x := range d.nodes {
			if x.image().Config(metadata.Resource{Type: metadata.ResourceTopic, Name: simTopicName})["durability"] != "fsync" {
				return false
			}
			for p := range t.Partitions {
				r := x.replica(t, p)
				if r == nil {
					continue
				}
				end, before := ends[r.Log()]
				if before && int64(r.Log().Durable()) < end {
					return false
				}
				ends[r.Log()] = int64(r.Log().End())
			}
		}
		d.pause(200 * time.Millisecond)
	}
	return true
}
