package cluster

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/cluster/socket"
	"github.com/kraftgo/kraftgo/replication"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// links is this node's way, as a follower, to the leaders of its partitions.
type links struct{ node *Node }

// target returns where a broker's incarnation is reached.
func (l links) target(id wire.BrokerID) (target, error) {
	b := l.node.replica.Image().Broker(id)
	if b == nil || b.Internal == "" {
		return target{}, fmt.Errorf("broker %d is not registered", id)
	}
	return target{b.Directory, b.Internal}, nil
}

// Dial implements [replica.Links].
func (l links) Dial(ctx context.Context, leader wire.BrokerID) (replica.Link, error) {
	t, err := l.target(leader)
	if err != nil {
		return nil, err
	}
	c, err := internal.Dial(ctx, l.node.internalOptions(), t.Address, internal.KindFetch, t.Directory)
	if err != nil {
		return nil, err
	}
	return newLink(c), nil
}

// Report implements [replica.Links].
func (l links) Report(ctx context.Context, leader wire.BrokerID, epoch wire.BrokerEpoch, reports []replica.Report, unheard func()) error {
	c, err := l.client(leader)
	if err != nil {
		return err
	}
	return c.Tell(ctx, callDurableAck, l.reports(epoch, reports), unheard)
}

// ReportNow implements [replica.Links].
func (l links) ReportNow(leader wire.BrokerID, epoch wire.BrokerEpoch, reports []replica.Report, unheard func()) bool {
	c, err := l.client(leader)
	return err == nil && c.TellNow(callDurableAck, l.reports(epoch, reports), unheard)
}

// reports is what a leader is told.
func (l links) reports(epoch wire.BrokerEpoch, reports []replica.Report) []byte {
	b := wire.AppendInt32(make([]byte, 0, 20+len(reports)*reportSize), l.node.brokerID.Load())
	b = wire.AppendInt64(b, int64(epoch))
	b = wire.AppendArrayLength(b, len(reports), true)
	for _, r := range reports {
		b = wire.AppendUUID(b, r.Partition.Topic)
		b = wire.AppendInt32(b, int32(r.Partition.Partition))
		b = wire.AppendInt32(b, int32(r.LeaderEpoch))
		b = wire.AppendInt64(b, int64(r.Durable))
	}
	return b
}

// Nudge implements [replica.Links].
func (l links) Nudge(ctx context.Context, leader wire.BrokerID, session, epoch int32) error {
	c, err := l.client(leader)
	if err != nil {
		return err
	}
	_, err = c.Call(ctx, callNudge, wire.AppendInt32(wire.AppendInt32(nil, session), epoch))
	return err
}

func (l links) client(leader wire.BrokerID) (*internal.Client, error) {
	t, err := l.target(leader)
	if err != nil {
		return nil, err
	}
	return l.node.peers.client(t)
}

// reportSize is that of one report: topic id, partition, leader epoch, offset.
const reportSize = 16 + 4 + 4 + 8

// serveDurableAck takes a follower's reports of what it has synced.
func (p *peers) serveDurableAck(peer internal.Identity, body []byte) error {
	r := wire.NewReader(body)
	id, epoch := wire.BrokerID(r.Int32()), wire.BrokerEpoch(r.Int64())
	reports := make([]replica.Report, 0, min(len(body)/reportSize+1, 1024))
	for n := r.ArrayLength(true, false, reportSize); n > 0; n-- {
		reports = append(reports, replica.Report{
			Partition:   wire.TopicIDPartition{Topic: r.UUID(), Partition: wire.Partition(r.Int32())},
			LeaderEpoch: wire.LeaderEpoch(r.Int32()), Durable: wire.Offset(r.Int64()),
		})
	}
	if err := r.Err(); err != nil {
		return fmt.Errorf("a follower's report: %w", err)
	}
	// The connection may be older than the registration: what is proved is the directory.
	if b := p.node.replica.Image().Broker(id); b == nil || b.Directory != peer.Directory {
		return fmt.Errorf("a report of broker %d from another directory than it is registered with", id)
	}
	m := p.node.changes.manager()
	if m == nil {
		return fmt.Errorf("broker %d does not serve yet", p.node.brokerID.Load())
	}
	if early := m.Acked(id, epoch, reports); early > 0 {
		return fmt.Errorf("%d of %d reports came before the first fetch of broker %d with epoch %d: to be told again", early, len(reports), id, epoch)
	}
	return nil
}

// serveNudge has a follower's fetch answered that waits here.
func (p *peers) serveNudge(body []byte) error {
	r := wire.NewReader(body)
	session, epoch := r.Int32(), r.Int32()
	if err := r.Err(); err != nil {
		return fmt.Errorf("a follower's nudge: %w", err)
	}
	if b := p.node.apiBroker.Load(); b != nil {
		b.Followers.Nudge(session, epoch)
	}
	return nil
}

// alter asks the controller for the ISRs that leaders here propose.
func (p *peers) alter(ctx context.Context, list []replica.Alteration) ([]replica.Altered, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	q := lifecycle.AlterPartitionRequest{Broker: wire.BrokerID(p.node.brokerID.Load()), Epoch: p.node.agent.Load().Epoch()}
	for _, a := range list {
		isr := make([]lifecycle.ISRMember, len(a.ISR))
		for i, m := range a.ISR {
			isr[i] = lifecycle.ISRMember{Broker: m.Broker, Epoch: m.Epoch}
		}
		q.Partitions = append(q.Partitions, lifecycle.AlterPartition{
			Topic: a.Partition.Topic, Partition: a.Partition.Partition, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: isr,
		})
	}
	answer, err := p.alterPartition(ctx, q)
	if err != nil {
		return nil, err
	}
	out := make([]replica.Altered, len(answer.Partitions))
	for i, a := range answer.Partitions {
		out[i] = replica.Altered{Code: a.Code, LeaderEpoch: a.LeaderEpoch, PartitionEpoch: a.PartitionEpoch, ISR: a.ISR}
	}
	return out, nil
}

// env is what the partitions of this node have around them.
func (n *Node) env() replica.Env {
	start := time.Now()
	return replica.Env{
		Broker: n.identity.Broker, LagMax: n.milliseconds("replica.lag.time.max.ms"),
		Now: func() time.Duration { return time.Since(start) },
		Eligible: func(id wire.BrokerID, epoch wire.BrokerEpoch) bool {
			b := n.replica.Image().Broker(id)
			return b != nil && !b.Fenced && !b.ShuttingDown && (epoch == replication.NoBrokerEpoch || b.Epoch == epoch)
		},
	}
}

// fetchVersion is that of the fetches between brokers.
const fetchVersion = 18

// maxFetchAnswer bounds an answer: what was asked for, one batch more, and the rest of the message.
const maxFetchAnswer = 256 << 20

// answerStage is how much of an answer is read at first: most are no longer.
const answerStage = 16 << 10

// link is one connection to a leader.
type link struct {
	conn        *internal.Conn
	in          *socket.Reader
	raw         syscall.RawConn // of a plain TCP connection, else nil
	correlation int32
	request     []byte
	answer      *listen.Buffer
}

func newLink(c *internal.Conn) *link {
	return &link{conn: c, in: socket.NewReader(c), raw: socket.Raw(c)}
}

// Fetch implements [replica.Link].
func (l *link) Fetch(m *message.FetchRequest) (*message.FetchResponse, error) {
	l.correlation++
	header := &message.RequestHeader{Key: message.KeyFetch, Version: fetchVersion, CorrelationID: l.correlation}
	b := append(l.request[:0], 0, 0, 0, 0)
	b = header.AppendTo(b)
	b = m.AppendTo(b, fetchVersion)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	l.request = b
	if err := l.write(b); err != nil {
		return nil, err
	}
	body, err := l.read()
	if err != nil {
		l.Release()
		return nil, err
	}
	answer := m.NewResponse().(*message.FetchResponse)
	if err := answer.Decode(body, fetchVersion); err != nil {
		l.Release()
		return nil, fmt.Errorf("a leader's answer: %w", err)
	}
	return answer, nil
}

// Interrupt implements [replica.Link].
func (l *link) Interrupt() { _ = l.conn.SetDeadline(time.Unix(1, 0)) }

func (l *link) write(b []byte) (err error) {
	if l.raw != nil && len(b) <= socket.Most {
		_, err = socket.Write(l.raw, b, true)
	} else {
		_, err = l.conn.Write(b)
	}
	return err
}

// read reads an answer into a pooled buffer, which is taken when something is there, and returns its body.
func (l *link) read() ([]byte, error) {
	// Length, correlation id, and the header's empty tags, which a flexible answer has.
	const headSize = 4 + 4 + 1
	n, err := l.begin()
	if err != nil {
		return nil, err
	}
	stage := l.answer.B[:cap(l.answer.B)]
	if n < headSize {
		if _, err := io.ReadFull(l.in, stage[n:headSize]); err != nil {
			return nil, err
		}
		n = headSize
	}
	size := int(binary.BigEndian.Uint32(stage)) + 4
	switch {
	case size < headSize || size > maxFetchAnswer || size < n:
		return nil, fmt.Errorf("a leader's answer of %d bytes", size)
	case int32(binary.BigEndian.Uint32(stage[4:])) != l.correlation || stage[8] != 0:
		return nil, fmt.Errorf("a leader's answer to another question")
	}
	if size > len(stage) {
		whole := listen.GetBuffer(size)
		copy(whole.B[:n], stage[:n])
		l.answer.Release()
		l.answer = whole
	}
	l.answer.B = l.answer.B[:size]
	if _, err := io.ReadFull(l.in, l.answer.B[n:]); err != nil {
		return nil, err
	}
	return l.answer.B[headSize:], nil
}

// begin waits for an answer, and reads what there is of it.
func (l *link) begin() (int, error) {
	get := func() []byte {
		l.answer = listen.GetBuffer(answerStage)
		return l.answer.B[:answerStage]
	}
	if l.raw == nil {
		return l.conn.Read(get())
	}
	return socket.Read(l.raw, get, l.Release)
}

// Release implements [replica.Link].
func (l *link) Release() {
	if l.answer != nil {
		l.answer.Release()
		l.answer = nil
	}
}

// Close implements [replica.Link].
func (l *link) Close() error {
	l.Release()
	return l.conn.Close()
}

// followersListener are the connections on which the brokers that follow this one fetch.
func (n *Node) followersListener() net.Listener { return n.internal.Streams(internal.KindFetch) }
