package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/cluster/api"
	"github.com/kraftgo/kraftgo/cluster/gossip"
	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
)

// What brokers ask of each other.
const (
	callRegister internal.Method = iota + 1
	callHeartbeat
	callFetchMetadata
	callFetchSnapshot
	callRelay
	callCreateTopics
	callProducerIDs
	callAlterPartition
	callReplicas
	callReached
	callDurableAck
	callNudge
)

// codeRefused marks an error between brokers that carries a [control.Refusal]; codeNotController one that carries the address
// of the controller, or nothing; codeNotFollowing says that the metadata there may be old.
const (
	codeRefused       = 1
	codeNotController = 2
	codeNotFollowing  = 3
)

// peers is this node's way to the other brokers, and theirs to it.
type peers struct {
	node *Node

	mu      sync.Mutex
	clients map[target]*internal.Client
	hint    target // where the controller was last said to be
	closed  bool
}

// target is a broker that is called: who is expected at which address.
type target struct {
	Directory wire.UUID
	Address   string
}

func newPeers(n *Node) *peers { return &peers{node: n, clients: map[target]*internal.Client{}} }

// client returns the connection to a broker.
func (p *peers) client(t target) (*internal.Client, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil, errors.New("the node is stopping")
	}
	c := p.clients[t]
	if c == nil {
		c = internal.NewClient(p.node.internalOptions(), t.Address, t.Directory)
		p.clients[t] = c
	}
	return c, nil
}

func (p *peers) close() error {
	p.mu.Lock()
	p.closed = true
	clients := p.clients
	p.clients = nil
	p.mu.Unlock()
	var faults []error
	for _, c := range clients {
		faults = append(faults, c.Close())
	}
	return errors.Join(faults...)
}

// known returns the other brokers that could be asked, those first that gossip says lead or vote.
func (p *peers) known() []target {
	n := p.node
	seen := map[target]bool{{Address: ""}: true}
	var out []target
	add := func(id wire.UUID, address string) {
		t := target{id, address}
		if address != "" && id != n.directory && !seen[t] {
			seen[t] = true
			out = append(out, t)
		}
	}
	var members []gossip.Member
	if g := n.gossip.Load(); g != nil {
		members = g.Members()
	}
	for _, m := range members {
		if m.Leading {
			add(m.Directory, m.Internal)
		}
	}
	for _, m := range members {
		if m.Voter {
			add(m.Directory, m.Internal)
		}
	}
	if n.quorum != nil {
		if s, err := n.quorum.Status(); err == nil {
			for _, m := range s.Members {
				add(m.ID, m.Address)
			}
		}
	}
	for _, m := range members {
		add(m.Directory, m.Internal)
	}
	n.replica.Image().Brokers(func(b *metadata.BrokerInfo) bool {
		add(b.Directory, b.Internal)
		return true
	})
	for _, m := range n.met { // who answered the hello of a newcomer
		add(m.Directory, m.Internal)
	}
	return out
}

// resolve returns where a broker is reached now.
func (p *peers) resolve(id wire.UUID) (string, bool) {
	if g := p.node.gossip.Load(); g != nil {
		for _, m := range g.Members() {
			if m.Directory == id && m.Internal != "" {
				return m.Internal, true
			}
		}
	}
	if b := p.node.replica.Image().BrokerByDirectory(id); b != nil && b.Internal != "" {
		return b.Internal, true
	}
	return "", false
}

// controller returns where the controller seems to be; false: nothing is known.
func (p *peers) controller() (target, bool) {
	if id, address, err := p.node.quorum.Leader(); err == nil && !id.IsZero() && id != p.node.directory {
		if moved, ok := p.resolve(id); ok {
			address = moved
		}
		return target{id, address}, true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hint, p.hint.Address != ""
}

func (p *peers) setHint(t target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hint = t
}

// callController asks the controller, wherever it is, until it answers or ctx ends. An answer is a result, or a
// [*control.Refusal]. A call whose outcome is not known is only repeated if that is harmless.
func (p *peers) callController(ctx context.Context, m internal.Method, body []byte, again bool) ([]byte, error) {
	var last error
	for attempt := 0; ; attempt++ {
		answer, err := p.tryController(ctx, m, body)
		var refusal *control.Refusal
		switch {
		case err == nil, errors.As(err, &refusal):
			return answer, err
		case errors.Is(err, internal.ErrUnknownOutcome) && !again:
			return nil, err
		case ctx.Err() == nil || last == nil:
			last = err
		}
		timer := time.NewTimer(min(time.Duration(attempt)*10*time.Millisecond, 200*time.Millisecond))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, fmt.Errorf("%w: the controller was not reached in time: %w", quorum.ErrNotLeader, last)
		}
	}
}

// tryController asks once: ourselves, who seems to be the controller, or everybody in turn.
func (p *peers) tryController(ctx context.Context, m internal.Method, body []byte) ([]byte, error) {
	if p.node.quorum.Reign() != 0 {
		answer, err := p.serve(ctx, m, body)
		if !errors.Is(err, quorum.ErrNotLeader) {
			return answer, err
		}
	}
	if t, ok := p.controller(); ok {
		answer, err := p.ask(ctx, t, m, body)
		if !errors.Is(err, errTryNext) {
			return answer, err
		}
	}
	err := errors.New("no other broker is known yet")
	for _, t := range p.known() {
		var answer []byte
		if answer, err = p.ask(ctx, t, m, body); !errors.Is(err, errTryNext) {
			return answer, err
		}
		if next, ok := p.controller(); ok && next != t {
			if answer, err = p.ask(ctx, next, m, body); !errors.Is(err, errTryNext) {
				return answer, err
			}
		}
	}
	return nil, err
}

// errTryNext marks that a broker certainly did not do what was asked: it is not the controller, or was not reached.
var errTryNext = errors.New("another broker must be asked")

// ask asks one broker.
func (p *peers) ask(ctx context.Context, t target, m internal.Method, body []byte) ([]byte, error) {
	c, err := p.client(t)
	if err != nil {
		return nil, err
	}
	// A broker that does not answer must not hold up the search for one that does.
	bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := c.Call(bounded, m, body)
	var theirs *internal.Error
	switch {
	case err == nil:
		p.setHintIf(m, t)
		return answer, nil
	case errors.As(err, &theirs) && theirs.Code == codeRefused:
		refusal := &control.Refusal{}
		if json.Unmarshal([]byte(theirs.Text), refusal) != nil {
			return nil, err
		}
		return nil, refusal
	case errors.As(err, &theirs) && theirs.Code == codeNotController:
		var hint target
		if theirs.Text == "" || json.Unmarshal([]byte(theirs.Text), &hint) != nil || hint.Directory == p.node.directory {
			hint = target{}
		}
		p.setHint(hint)
		return nil, fmt.Errorf("%w: %s is not the controller", errTryNext, t.Address)
	case errors.As(err, &theirs):
		return nil, fmt.Errorf("%s: %w", t.Address, err)
	case errors.Is(err, internal.ErrUnknownOutcome):
		p.forget(t)
		return nil, fmt.Errorf("%s: %w", t.Address, err)
	}
	if errors.Is(err, internal.ErrRefused) { // it knows a newer start of our directory: that does not change by waiting
		return nil, &control.Refusal{Code: wire.ErrDuplicateBrokerRegistration, Message: err.Error()}
	}
	p.forget(t)
	return nil, fmt.Errorf("%w: %w", errTryNext, err)
}

// setHintIf notes who answered what only the controller answers.
func (p *peers) setHintIf(m internal.Method, t target) {
	if m != callFetchMetadata && m != callFetchSnapshot {
		p.setHint(t)
	}
}

// forget takes back the hint at a broker that was not reached.
func (p *peers) forget(t target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hint == t {
		p.hint = target{}
	}
}

// Hear implements [internal.Handler].
func (p *peers) Hear(peer internal.Identity, m internal.Method, body []byte) error {
	if m == callDurableAck {
		return p.serveDurableAck(peer, body)
	}
	return fmt.Errorf("this kraftgo does not know message %d: upgrade it", m)
}

// Handle implements [internal.Handler].
func (p *peers) Handle(ctx context.Context, peer internal.Identity, m internal.Method, body []byte) ([]byte, error) {
	if m == callNudge { // what followers ask of leaders
		return nil, p.serveNudge(body)
	}
	answer, err := p.serve(ctx, m, body)
	var refusal *control.Refusal
	switch {
	case err == nil:
		return answer, nil
	case errors.As(err, &refusal):
		text, jsonErr := json.Marshal(refusal)
		return nil, errors.Join(&internal.Error{Code: codeRefused, Text: string(text)}, jsonErr)
	case errors.Is(err, quorum.ErrNotLeader):
		hint := ""
		if t, ok := p.controller(); ok {
			if text, err := json.Marshal(t); err == nil {
				hint = string(text)
			}
		}
		return nil, &internal.Error{Code: codeNotController, Text: hint}
	}
	return nil, err
}

// serve does what another broker, or this one, asks.
func (p *peers) serve(ctx context.Context, m internal.Method, body []byte) ([]byte, error) {
	n := p.node
	switch m {
	case callFetchMetadata:
		return p.serveFetch(ctx, body)
	case callFetchSnapshot:
		return p.serveChunk(body)
	case callReplicas:
		return answering(ctx, body, p.serveReplicas)
	case callReached:
		return answering(ctx, body, p.serveReached)
	}
	if n.quorum.Reign() == 0 {
		return nil, quorum.ErrNotLeader
	}
	switch m {
	case callRegister:
		return answering(ctx, body, n.leader.Register)
	case callHeartbeat:
		return answering(ctx, body, n.leader.Heartbeat)
	case callAlterPartition:
		return answering(ctx, body, n.leader.AlterPartition)
	case callProducerIDs:
		return answering(ctx, body, n.controller.AllocateProducerIDs)
	case callCreateTopics:
		return answering(ctx, body, func(ctx context.Context, names []string) (wire.Index, error) {
			b := n.apiBroker.Load()
			if b == nil {
				return 0, quorum.ErrNotLeader // not ready to serve yet
			}
			err := b.CreateInternally(ctx, names...)
			return n.replica.Image().Index(), err
		})
	case callRelay:
		return p.serveRelay(ctx, body)
	}
	return nil, fmt.Errorf("this kraftgo does not know call %d: upgrade it", m)
}

// answering serves a call whose question and answer travel as JSON.
func answering[Q, A any](ctx context.Context, body []byte, f func(context.Context, Q) (A, error)) ([]byte, error) {
	var q Q
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("a call between brokers: %w", err)
	}
	a, err := f(ctx, q)
	if err != nil {
		return nil, err
	}
	return json.Marshal(a)
}

// asking calls the controller with a question that travels as JSON.
func asking[Q, A any](ctx context.Context, p *peers, m internal.Method, q Q) (a A, err error) {
	body, err := json.Marshal(q)
	if err != nil {
		return a, err
	}
	answer, err := p.callController(ctx, m, body, true)
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return a, fmt.Errorf("the controller's answer: %w", err)
	}
	return a, nil
}

func (p *peers) register(ctx context.Context, r lifecycle.RegisterRequest) (lifecycle.RegisterAnswer, error) {
	return asking[lifecycle.RegisterRequest, lifecycle.RegisterAnswer](ctx, p, callRegister, r)
}

func (p *peers) heartbeat(ctx context.Context, r lifecycle.HeartbeatRequest) (lifecycle.HeartbeatAnswer, error) {
	return asking[lifecycle.HeartbeatRequest, lifecycle.HeartbeatAnswer](ctx, p, callHeartbeat, r)
}

// alterPartition has the controller change ISRs, and returns when the changes are seen here: whoever goes by an ISR that is smaller
// now goes by the settings that the controller knew as well.
func (p *peers) alterPartition(ctx context.Context, r lifecycle.AlterPartitionRequest) (lifecycle.AlterPartitionAnswer, error) {
	answer, err := asking[lifecycle.AlterPartitionRequest, lifecycle.AlterPartitionAnswer](ctx, p, callAlterPartition, r)
	if err != nil {
		return answer, err
	}
	return answer, p.node.replica.WaitPublished(ctx, answer.Applied)
}

// CreateTopics has the controller create topics that are made by use, and waits until they are seen here.
func (p *peers) CreateTopics(ctx context.Context, names ...string) error {
	index, err := asking[[]string, wire.Index](ctx, p, callCreateTopics, names)
	if err != nil {
		return err
	}
	return p.node.replica.WaitPublished(ctx, index)
}

func (p *peers) producerIDs(ctx context.Context) (wire.ProducerID, error) {
	return asking[wire.BrokerID, wire.ProducerID](ctx, p, callProducerIDs, p.node.identity.Broker)
}

// fetchWait bounds how long a fetch of metadata may wait for news.
const fetchWait = 10 * time.Second

type fetchQuestion struct {
	Index    wire.Index
	MaxBytes int
	WaitMs   int64
}

// serveFetch answers from this node's copy of the metadata, if raft keeps it up.
func (p *peers) serveFetch(ctx context.Context, body []byte) ([]byte, error) {
	var q fetchQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("a fetch of metadata: %w", err)
	}
	if !p.node.quorum.Follows(2 * time.Second) {
		return nil, &internal.Error{Code: codeNotFollowing, Text: "this broker is not in touch with the quorum"}
	}
	ctx, cancel := context.WithTimeout(ctx, min(max(time.Duration(q.WaitMs)*time.Millisecond, 0), fetchWait))
	defer cancel()
	a := p.node.replica.Fetch(ctx, q.Index, min(max(q.MaxBytes, 1), 8<<20))
	return a.AppendTo(nil), nil
}

type chunkQuestion struct {
	Snapshot wire.Index
	Offset   int64
	MaxBytes int
}

func (p *peers) serveChunk(body []byte) ([]byte, error) {
	var q chunkQuestion
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, fmt.Errorf("a fetch of a metadata snapshot: %w", err)
	}
	c, err := p.node.replica.Chunk(time.Now(), q.Snapshot, q.Offset, min(max(q.MaxBytes, 1), 8<<20))
	if err != nil {
		return nil, err
	}
	return c.AppendTo(nil), nil
}

// source is another broker that metadata is pulled from.
type source struct {
	peers  *peers
	target target
}

// sources returns whom to pull from, best first.
func (p *peers) sources() []feed.Source {
	var out []feed.Source
	first, ok := p.controller()
	if ok {
		out = append(out, source{p, first})
	}
	for _, t := range p.known() {
		if t != first {
			out = append(out, source{p, t})
		}
	}
	return out
}

// String implements [feed.Source].
func (s source) String() string { return s.target.Address }

// Fetch implements [feed.Source].
func (s source) Fetch(ctx context.Context, index wire.Index, maxBytes int, wait time.Duration) (feed.Answer, error) {
	ctx, cancel := context.WithTimeout(ctx, wait+2*time.Second)
	defer cancel()
	answer, err := s.call(ctx, callFetchMetadata, fetchQuestion{index, maxBytes, wait.Milliseconds()})
	if err != nil {
		return feed.Answer{}, err
	}
	return feed.DecodeAnswer(answer)
}

// Chunk implements [feed.Source].
func (s source) Chunk(ctx context.Context, snapshot wire.Index, offset int64, maxBytes int) (feed.Chunk, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	answer, err := s.call(ctx, callFetchSnapshot, chunkQuestion{snapshot, offset, maxBytes})
	if err != nil {
		return feed.Chunk{}, err
	}
	return feed.DecodeChunk(answer)
}

func (s source) call(ctx context.Context, m internal.Method, q any) ([]byte, error) {
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	c, err := s.peers.client(s.target)
	if err != nil {
		return nil, err
	}
	return c.Call(ctx, m, body)
}

// relayGrace is for how long a node that stops still looks for a controller that answers its clients: an election takes less.
const relayGrace = 3 * time.Second

// Relay has the controller serve a client's request, waits until its effect is seen here, and returns the answer's
// frame.
func (p *peers) Relay(ctx context.Context, id metadata.RequestID, listener, peer string, frame []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A node that stops waits for its requests to end, and a controller may never be found.
	defer context.AfterFunc(p.node.ctx, func() {
		select {
		case <-time.After(relayGrace):
			cancel()
		case <-ctx.Done():
		}
	})()
	body := wire.AppendString(wire.AppendUUID(nil, id), listener, true)
	body = wire.AppendString(body, peer, true)
	body = wire.AppendBytes(body, frame, true)
	// What is asked again under the same id is done once, whichever controllers get it.
	answer, err := p.callController(ctx, callRelay, body, true)
	if err != nil {
		return nil, err
	}
	r := wire.NewReader(answer)
	index, out := wire.Index(r.Int64()), slices.Clone(r.Bytes(true))
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("the controller's answer: %w", err)
	}
	return out, p.node.replica.WaitPublished(ctx, index)
}

func (p *peers) serveRelay(ctx context.Context, body []byte) ([]byte, error) {
	r := wire.NewReader(body)
	id, listener, peer, frame := r.UUID(), r.String(true), r.String(true), r.Bytes(true)
	if err := r.Err(); err != nil {
		return nil, fmt.Errorf("a relayed request: %w", err)
	}
	b := p.node.apiBroker.Load()
	if b == nil {
		return nil, quorum.ErrNotLeader // not ready to serve yet
	}
	answer, err := listen.Relay(ctx, b, listen.Options{Name: listener, Log: p.node.log}, id, peer, frame)
	if err != nil {
		return nil, err
	}
	out := wire.AppendInt64(nil, int64(p.node.replica.Image().Index()))
	return wire.AppendBytes(out, answer, true), nil
}

// ControllerID implements [api.Cluster].
func (p *peers) ControllerID() wire.BrokerID {
	n := p.node
	if n.quorum.Reign() != 0 {
		return n.identity.Broker
	}
	if t, ok := p.controller(); ok {
		if b := n.replica.Image().BrokerByDirectory(t.Directory); b != nil {
			return b.Broker
		}
	}
	return wire.NoBroker
}

// LogEnds implements [api.Cluster]. Only the controller knows.
func (p *peers) LogEnds() map[wire.BrokerID]api.LogEnd {
	out := map[wire.BrokerID]api.LogEnd{}
	for id, end := range p.node.leader.LogEnds() {
		out[id] = api.LogEnd(end)
	}
	return out
}

// probe reports whether a broker's incarnation lives. It is dead if nobody listens where it was, or somebody else does.
func (p *peers) probe(ctx context.Context, b *metadata.BrokerInfo) (lives bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	c, err := internal.Dial(ctx, p.node.internalOptions(), b.Internal, internal.KindRPC, b.Directory)
	switch {
	case errors.Is(err, errConnRefused), errors.Is(err, internal.ErrNotWhoWasExpected):
		return false, nil
	case err != nil:
		return false, err
	}
	return c.Peer.Nonce == b.Nonce, c.Close()
}
