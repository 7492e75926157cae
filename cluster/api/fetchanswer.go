package api

import (
	"encoding/binary"
	"errors"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/batch"
	"github.com/kraftgo/kraftgo/wire/message"
)

// reply writes the answer by hand: one buffer holds everything but the records, which stay in their files until they are
// sent.
func (f *fetch) reply() {
	if f.throttled > 0 {
		f.broker.Partitions.Sending().Spend(f.throttled)
	}
	w := fetchWriter{fetch: f, version: f.version, flexible: f.version >= 12}
	told := f.told()
	size := 128
	for _, i := range told {
		t := f.targets[i]
		size += 160 + len(t.Topic) + 17*len(f.results[i].aborted)
	}
	w.buffer = listen.GetBuffer(size)
	w.b = append(w.buffer.B, 0, 0, 0, 0)
	w.b = message.AppendResponseHeader(w.b, message.KeyFetch, f.version, f.request.Header.CorrelationID)
	if w.version >= 1 {
		w.b = wire.AppendInt32(w.b, 0)
	}
	if w.version >= 7 {
		w.b = wire.AppendInt16(w.b, 0)
		w.b = wire.AppendInt32(w.b, f.session.ID)
	}
	w.topics(told)
	w.endpoints()
	w.flush()
	total := len(w.b) - 4 + w.records
	binary.BigEndian.PutUint32(w.b, uint32(total))
	f.request.ReplyPieces(w.pieces, w.buffer)
}

// told returns the targets that the answer tells of. Those left out have no records to release.
func (f *fetch) told() []int {
	told := make([]int, 0, len(f.targets))
	for i, t := range f.targets {
		o := &f.results[i]
		if f.session.Tell(t, o.size, o.code != wire.ErrNone || o.diverging || o.preferred != wire.NoBroker, o.highWatermark, o.logStart) || f.full {
			told = append(told, i)
		}
	}
	return told
}

// fetchWriter writes one answer. Its buffer never grows: pieces point into it.
type fetchWriter struct {
	*fetch
	version  int16
	flexible bool
	buffer   *listen.Buffer
	b        []byte
	from     int // where the piece begins that is being written
	pieces   []listen.Piece
	records  int // bytes of records outside b
	hints    []wire.BrokerID
	image    *metadata.Image
}

// flush ends the piece that is being written.
func (w *fetchWriter) flush() {
	if len(w.b) > w.from {
		w.pieces = append(w.pieces, listen.Piece{Bytes: w.b[w.from:len(w.b):len(w.b)]})
		w.from = len(w.b)
	}
}

// topics writes runs of partitions of the same topic as one topic.
func (w *fetchWriter) topics(told []int) {
	count := 0
	for k, i := range told {
		if k == 0 || !sameTopic(w.targets[told[k-1]], w.targets[i]) {
			count++
		}
	}
	w.b = wire.AppendArrayLength(w.b, count, w.flexible)
	for k := 0; k < len(told); {
		end := k + 1
		for end < len(told) && sameTopic(w.targets[told[k]], w.targets[told[end]]) {
			end++
		}
		t := w.targets[told[k]]
		if w.version >= 13 {
			w.b = wire.AppendUUID(w.b, t.TopicID)
		} else {
			w.b = wire.AppendString(w.b, t.Topic, w.flexible)
		}
		w.b = wire.AppendArrayLength(w.b, end-k, w.flexible)
		for _, i := range told[k:end] {
			w.partition(w.targets[i], &w.results[i])
		}
		if w.flexible {
			w.b = append(w.b, 0)
		}
		k = end
	}
}

func sameTopic(a, b *replica.SessionTarget) bool { return a.TopicID == b.TopicID && a.Topic == b.Topic }

func (w *fetchWriter) partition(t *replica.SessionTarget, o *fetched) {
	w.b = wire.AppendInt32(w.b, int32(t.Partition))
	w.b = wire.AppendInt16(w.b, int16(o.code))
	w.b = wire.AppendInt64(w.b, int64(o.highWatermark))
	if w.version >= 4 {
		w.b = wire.AppendInt64(w.b, int64(o.lastStable))
		if w.version >= 5 {
			w.b = wire.AppendInt64(w.b, int64(o.logStart))
		}
		w.abortedList(o)
	}
	if w.version >= 11 {
		w.b = wire.AppendInt32(w.b, int32(o.preferred))
	}
	w.b = wire.AppendArrayLength(w.b, o.size, w.flexible)
	switch {
	case o.size == 0:
	case o.converted != nil:
		w.flush()
		w.pieces = append(w.pieces, listen.Piece{Bytes: o.converted})
		w.records += o.size
	default:
		w.flush()
		w.pieces = append(w.pieces, listen.Piece{File: &o.slice})
		w.records += o.size
	}
	if w.flexible {
		w.tags(t, o)
	}
}

func (w *fetchWriter) abortedList(o *fetched) {
	if !w.committed {
		w.b = wire.AppendArrayLength(w.b, -1, w.flexible)
		return
	}
	w.b = wire.AppendArrayLength(w.b, len(o.aborted), w.flexible)
	for _, a := range o.aborted {
		w.b = wire.AppendInt64(w.b, int64(a.ProducerID))
		w.b = wire.AppendInt64(w.b, int64(a.FirstOffset))
		if w.flexible {
			w.b = append(w.b, 0)
		}
	}
}

// tags writes the partition's tagged fields: where logs diverge (0), who leads instead (1).
func (w *fetchWriter) tags(t *replica.SessionTarget, o *fetched) {
	leader, epoch, hint := w.hint(t, o)
	count := 0
	if o.diverging {
		count++
	}
	if hint {
		count++
	}
	w.b = append(w.b, byte(count))
	if o.diverging {
		w.b = append(w.b, 0, 13)
		w.b = wire.AppendInt32(w.b, int32(o.divergeEpoch))
		w.b = wire.AppendInt64(w.b, int64(o.divergeEnd))
		w.b = append(w.b, 0)
	}
	if hint {
		w.b = append(w.b, 1, 9)
		w.b = wire.AppendInt32(w.b, int32(leader))
		w.b = wire.AppendInt32(w.b, int32(epoch))
		w.b = append(w.b, 0)
		w.hints = append(w.hints, leader)
	}
}

// hint returns the leader that a client with a wrong one should turn to (KIP-951).
func (w *fetchWriter) hint(t *replica.SessionTarget, o *fetched) (wire.BrokerID, wire.LeaderEpoch, bool) {
	if o.code != wire.ErrNotLeaderOrFollower && o.code != wire.ErrFencedLeaderEpoch {
		return 0, 0, false
	}
	if w.image == nil {
		w.image = w.broker.Controller.Image()
	}
	return leaderHint(w.image, t.Topic, t.TopicID, t.Partition)
}

// leaderHint returns the leader of a partition as the metadata has it.
func leaderHint(image *metadata.Image, name string, id wire.TopicID, p wire.Partition) (wire.BrokerID, wire.LeaderEpoch, bool) {
	t := image.TopicByID(id)
	if id.IsZero() {
		t = image.Topic(name)
	}
	if t == nil || p < 0 || int(p) >= len(t.Partitions) || t.Partitions[p].Leader == wire.NoBroker {
		return 0, 0, false
	}
	return t.Partitions[p].Leader, t.Partitions[p].LeaderEpoch, true
}

// endpoints ends the answer, with the addresses of the leaders that were hinted at.
func (w *fetchWriter) endpoints() {
	if !w.flexible {
		return
	}
	if w.version < 16 || len(w.hints) == 0 {
		w.b = append(w.b, 0)
		return
	}
	// The generated encoder knows the form; only these few bytes may outgrow the buffer, and nothing follows them.
	m := message.FetchResponse{}
	for _, e := range nodeEndpoints(w.image, w.request.Listener(), w.hints) {
		m.NodeEndpoints = append(m.NodeEndpoints, message.FetchResponseNodeEndpoint(e))
	}
	encoded := m.AppendTo(nil, w.version)
	// throttle, error, session and no topics come before the tags.
	const before = 4 + 2 + 4 + 1
	w.flush()
	w.pieces = append(w.pieces, listen.Piece{Bytes: encoded[before:]})
	w.records += len(encoded) - before
}

// downConvert replaces the batches read by message sets of the format that an old client knows.
func (f *fetch) downConvert(o *fetched, from wire.Offset) {
	magic := int8(0)
	if f.version >= 2 {
		magic = 1
	}
	raw := make([]byte, o.size)
	_, err := o.slice.ReadInto(raw)
	o.slice.Release()
	o.size = 0
	if err != nil {
		f.broker.Log.Error("read failed", "partition", o.partition.Name, "error", err)
		o.code = wire.ErrKafkaStorageError
		return
	}
	converted, err := batch.ToLegacy(nil, raw, magic, from, maxPlainBytes(o.partition.Settings().MaxMessageBytes))
	if err != nil {
		o.code = wire.ErrCorruptMessage
		if errors.Is(err, batch.ErrNoOldForm) {
			o.code = wire.ErrUnsupportedCompressionType
		}
		f.broker.Log.Warn("records not converted for an old client", "partition", o.partition.Name, "peer", f.request.RemoteAddr(), "error", err)
		return
	}
	o.converted, o.size = converted, len(converted)
}
