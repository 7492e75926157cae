package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// place names a partition.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("%s:%d", p.topic, p.partition) }

func (p place) compare(o place) int {
	return cmp.Or(cmp.Compare(p.topic, o.topic), cmp.Compare(p.partition, o.partition))
}

// copying is a partition whose replicas are being changed.
type copying struct{ Replicas, Adding, Removing []int32 }

// target is the replicas when it is over.
func (r copying) target() []int32 {
	return slices.DeleteFunc(slices.Clone(r.Replicas), func(id int32) bool { return slices.Contains(r.Removing, id) })
}

// layout is where everything is.
type layout struct {
	nodes      []*nodeLine
	partitions map[place]kmsg.MetadataResponseTopicPartition
	copying    map[place]copying
	sizes      map[place]map[int32]int64 // bytes of each replica; of those that are known
}

// layout asks for where everything is. What brokers do not tell of sizes is left out.
func (s *session) layout() (*layout, error) {
	nodes, _, err := s.nodes()
	if err != nil {
		return nil, err
	}
	s.askCordons(nodes)
	l := &layout{nodes: nodes}
	if l.partitions, err = s.allPartitions(); err != nil {
		return nil, err
	}
	if l.copying, err = s.reassignments(); err != nil {
		return nil, err
	}
	l.sizes = s.sizes(nil)
	return l, nil
}

// allPartitions asks for all partitions as they are now; the client's own metadata may be seconds old.
func (s *session) allPartitions() (map[place]kmsg.MetadataResponseTopicPartition, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.Topics = nil
	response, err := request.RequestWith(s.ctx, s.client)
	if err != nil {
		return nil, failed("describe the partitions", err)
	}
	out := map[place]kmsg.MetadataResponseTopicPartition{}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			if t.Topic != nil {
				out[place{*t.Topic, p.Partition}] = p
			}
		}
	}
	return out, nil
}

// reassignments asks for what is being reassigned.
func (s *session) reassignments() (map[place]copying, error) {
	request := kmsg.NewPtrListPartitionReassignmentsRequest()
	request.TimeoutMillis = int32(requestTimeout.Milliseconds())
	response, err := request.RequestWith(s.ctx, s.client)
	if err == nil {
		err = kerr.ErrorForCode(response.ErrorCode)
	}
	if err != nil {
		return nil, failed("list reassignments", err)
	}
	out := map[place]copying{}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			out[place{t.Topic, p.Partition}] = copying{p.Replicas, p.AddingReplicas, p.RemovingReplicas}
		}
	}
	return out, nil
}

// sizes asks all brokers how large their replicas are; of some topics, or (nil) of all.
func (s *session) sizes(of kadm.TopicsSet) map[place]map[int32]int64 {
	out := map[place]map[int32]int64{}
	all, err := s.admin.DescribeAllLogDirs(s.ctx, of)
	if err != nil && len(all) == 0 {
		return out // an estimate is not worth failing for
	}
	for broker, dirs := range all {
		for _, d := range dirs {
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				at := place{p.Topic, p.Partition}
				if out[at] == nil {
					out[at] = map[int32]int64{}
				}
				out[at][broker] = max(out[at][broker], p.Size)
			})
		}
	}
	return out
}

// bytes is the size of a partition: of its largest replica.
func (l *layout) bytes(p place) int64 {
	largest := int64(0)
	for _, n := range l.sizes[p] {
		largest = max(largest, n)
	}
	return largest
}

// plan plans moves of partitions that are wanted.
func (l *layout) plan(drain map[int32]bool, goals control.MoveGoals, wanted func(place) bool) control.MovePlan {
	var brokers []control.MoveBroker
	for _, n := range l.nodes {
		brokers = append(brokers, control.MoveBroker{
			Broker: wire.BrokerID(n.Broker), Rack: n.Rack, Usable: n.State == stateAlive && !n.Cordoned, Drain: drain[n.Broker],
		})
	}
	var partitions []control.MovePartition
	for at, p := range l.partitions {
		if !wanted(at) {
			continue
		}
		replicas := p.Replicas
		if r, moving := l.copying[at]; moving {
			replicas = r.target()
		}
		q := control.MovePartition{Topic: at.topic, Partition: wire.Partition(at.partition), Bytes: l.bytes(at)}
		for _, id := range replicas {
			q.Replicas = append(q.Replicas, wire.BrokerID(id))
		}
		partitions = append(partitions, q)
	}
	return control.PlanMoves(brokers, partitions, goals)
}

// byteCount is a number of bytes for people.
func byteCount(n int64) string {
	units := []string{"B", "KB", "MB", "GB", "TB", "PB"}
	f, u := float64(n), 0
	for f >= 999.5 && u < len(units)-1 {
		f, u = f/1000, u+1
	}
	if u == 0 || f >= 99.5 {
		return fmt.Sprintf("%.0f %s", f, units[u])
	}
	return fmt.Sprintf("%.3g %s", f, units[u])
}

// parseBytes is the inverse of byteCount, for flags: 500, 50MB, 1.5 GB.
func parseBytes(text string) (int64, error) {
	word := strings.ToUpper(strings.ReplaceAll(text, " ", ""))
	factor := 1.0
	for i, unit := range []string{"K", "M", "G", "T"} {
		for _, suffix := range []string{unit + "B", unit} {
			if rest, ok := strings.CutSuffix(word, suffix); ok && factor == 1 {
				word, factor = rest, math.Pow(1000, float64(i+1))
			}
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(word, "B"), 64)
	if err != nil || n <= 0 || n*factor > math.MaxInt64/2 {
		return 0, fmt.Errorf("%q is no number of bytes: want such as 500000 or 50MB", text)
	}
	return int64(n * factor), nil
}

func int32s(ids []wire.BrokerID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}
