package api

import (
	"context"
	"errors"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Broker is what the handlers work on. Its fields never change after the first request.
type Broker struct {
	ID          wire.BrokerID
	Log         *slog.Logger
	Controller  *lifecycle.Controller
	Leader      *lifecycle.Leader // for what the controller serves
	Cluster     Cluster
	ProducerIDs *lifecycle.ProducerIDs
	Settings    control.Settings
	Partitions  *replica.Manager
	Sessions    *replica.Sessions // of consumers
	Followers   *Followers
	Disk        *disk.Disk
	Groups      Groups
	Metrics     *Metrics
	Now         func() time.Time
	// ByRack says that consumers are sent to a replica in their rack (replica.selector.class).
	ByRack bool
	// Alive reports whether the controller cannot have fenced this broker for its silence.
	Alive func() bool
	// Current reports whether this broker may answer reads from what it knows: it did not sleep while another may have been made leader.
	Current func() bool

	stopping atomic.Bool // fetches wait no more
}

// Cluster is the way to the other brokers.
type Cluster interface {
	// Relay has the controller serve a client's request, waits until its effect is seen here, and returns the answer's frame. It may
	// ask several controllers, all by the same id.
	Relay(ctx context.Context, id metadata.RequestID, listener, peer string, frame []byte) ([]byte, error)
	// CreateTopics has the controller create topics that are made by use, and waits until they are seen here.
	CreateTopics(ctx context.Context, names ...string) error
	// ControllerID returns the broker that is the controller, as far as is known; NoBroker if nobody is known.
	ControllerID() wire.BrokerID
	// LogEnds returns where the raft logs of the other brokers ended when they last said, and when that was, by broker.
	LogEnds() map[wire.BrokerID]LogEnd
}

// LogEnd is how far a broker's raft log went at a time.
type LogEnd struct {
	Index wire.Index
	At    time.Time
}

// StopWaiting makes fetches that wait for records answer with what there is, now and from now on.
func (b *Broker) StopWaiting() {
	b.stopping.Store(true)
	b.Partitions.WakeFetches()
}

// handler serves one API key.
type handler struct {
	key wire.APIKey
	// min and max are the versions that are served.
	min, max int16
	// controller says that the controller serves it: other brokers relay it.
	controller bool
	serve      func(b *Broker, r *listen.Request, m message.Request)
}

// table is indexed by key. It is filled once, before main: ApiVersions, which is in it, tells of it.
var table []*handler

func init() {
	for _, h := range handlers {
		for int(h.key) >= len(table) {
			table = append(table, nil)
		}
		if table[h.key] != nil {
			panic("api: two handlers for " + message.Name(h.key))
		}
		table[h.key] = h
	}
}

// handle makes a handler for all versions of a key that there are, from a function that answers at once or after
// waiting on its connection's account.
func handle[Req message.Request](key wire.APIKey, f func(b *Broker, r *listen.Request, m Req) message.Response) *handler {
	return handleLater(key, func(b *Broker, r *listen.Request, m Req) {
		if answer := f(b, r, m); answer != nil {
			r.Reply(answer)
		}
	})
}

// handleLater is handle for functions that answer by themselves, now or later.
func handleLater[Req message.Request](key wire.APIKey, f func(b *Broker, r *listen.Request, m Req)) *handler {
	info, ok := message.Lookup(key)
	if !ok {
		panic("api: no such key")
	}
	return &handler{key: key, min: info.MinVersion, max: info.LatestStable, serve: func(b *Broker, r *listen.Request, m message.Request) {
		f(b, r, m.(Req))
	}}
}

// Handle implements [listen.Handler].
func (b *Broker) Handle(r *listen.Request) {
	key := r.Header.Key
	if int(key) >= len(table) || table[key] == nil {
		r.Abort("API key " + strconv.Itoa(int(key)) + " is not served")
		return
	}
	h := table[key]
	v := r.Header.Version
	if v < h.min || v > h.max {
		if key == message.KeyAPIVersions {
			b.unsupportedAPIVersions(r)
			return
		}
		r.Abort("version of " + message.Name(key) + " is not served")
		return
	}
	m := message.NewRequest(key)
	if err := m.Decode(r.Body, v); err != nil {
		r.Abort(err.Error())
		return
	}
	b.Metrics.request(key)
	if h.controller && !b.Controller.Reigns() && !r.Relayed() && b.relayNew(r) {
		return
	}
	h.serve(b, r, m)
}

// relayTimeout bounds how long the controller is looked for; the time for the change itself is the request's.
const relayTimeout = 30 * time.Second

// relay has the controller serve the request, by that id. It returns false if that failed: then the handler here refuses it, in
// the form that its key has, with NOT_CONTROLLER.
func (b *Broker) relay(r *listen.Request, id metadata.RequestID) bool {
	r.MayBlock()
	ctx, cancel := context.WithTimeout(r.Context(), relayTimeout)
	defer cancel()
	answer, err := b.Cluster.Relay(ctx, id, r.Listener(), r.RemoteAddr(), r.Frame())
	if err != nil {
		b.Log.Warn("request not relayed to the controller", "key", message.Name(r.Header.Key), "error", err)
		return false
	}
	r.ReplyFrame(answer)
	return true
}

// relayNew is relay for a request that no controller has seen.
func (b *Broker) relayNew(r *listen.Request) bool {
	id, err := lifecycle.NewRequestID()
	return err == nil && b.relay(r, id)
}

// byController makes a handler one that the controller serves.
func byController(h *handler) *handler {
	h.controller = true
	return h
}

// listenerEndpoint returns where clients of a listener reach a broker.
func listenerEndpoint(i *metadata.BrokerInfo, listener string) (metadata.Endpoint, bool) {
	for _, e := range i.Endpoints {
		if e.Listener == listener {
			return e, true
		}
	}
	return metadata.Endpoint{}, false
}

// timeout bounds what a client asks for: at least a second, since a change takes a sync, at most five minutes.
func timeout(ms int32) time.Duration {
	return min(max(time.Duration(ms)*time.Millisecond, time.Second), 5*time.Minute)
}

// refusalOf turns the fault of a change into what the client is told.
func refusalOf(err error) *control.Refusal {
	var level *metadata.ErrLevel
	switch {
	case err == nil:
		return nil
	case errors.As(err, &level):
		return &control.Refusal{Code: wire.ErrUnsupportedVersion, Message: level.Error()}
	case errors.Is(err, metadata.ErrTooLarge):
		return &control.Refusal{Code: wire.ErrInvalidRequest, Message: err.Error()}
	case errors.Is(err, quorum.ErrNotLeader), errors.Is(err, metadata.ErrStaleTerm), errors.Is(err, metadata.ErrIncomplete):
		return &control.Refusal{Code: wire.ErrNotController, Message: err.Error()}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, quorum.ErrUnknown), errors.Is(err, lifecycle.ErrForgotten):
		return &control.Refusal{Code: wire.ErrRequestTimedOut, Message: err.Error()}
	}
	return &control.Refusal{Code: wire.ErrUnknownServerError, Message: err.Error()}
}

// text returns nil for "", else a pointer to s.
func text(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// defaults returns what new topics get.
func (b *Broker) defaults(m *metadata.Image) control.Defaults {
	return control.Defaults{
		Partitions:    int32(b.Settings.Int(m, "num.partitions")),
		Replicas:      int16(b.Settings.Int(m, "default.replication.factor")),
		MaxPartitions: maxPartitionsPerRequest,
	}
}

// maxPartitionsPerRequest is Kafka's bound (ReplicationControlManager.MAX_PARTITIONS_PER_BATCH).
const maxPartitionsPerRequest = 10_000

// authorizedOperations is the bit set that a client without an authorizer may do (Kafka's AclEntry.supportedOperations):
// topics: READ WRITE CREATE DELETE ALTER DESCRIBE DESCRIBE_CONFIGS ALTER_CONFIGS; and so on.
const (
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)
