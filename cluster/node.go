package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/cluster/admin"
	"github.com/kraftgo/kraftgo/cluster/api"
	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/coordinator/runtime"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/wire"
)

// Node is a running broker.
type Node struct {
	config   Config
	log      *slog.Logger
	lock     *os.File
	identity *identity
	settings control.Settings

	quorum     *quorum.Quorum
	controller *lifecycle.Controller
	disk       *disk.Disk
	partitions *replica.Manager
	offsets    *kv.Store
	groups     *runtime.Coordinator
	broker     *api.Broker
	metrics    *api.Metrics
	listeners  []*listen.Listener
	sockets    []net.Listener // bound and not yet served
	endpoints  []endpoint
	admin      *admin.Server
	changes    *changes

	failed chan error
	once   sync.Once
}

// startTimeout bounds each step of a start that waits for something.
const startTimeout = 60 * time.Second

// Start starts the node that the config describes. When it returns without an error the node serves.
func Start(c Config) (*Node, error) {
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	notes, err := CheckSettings(c.Settings)
	if err != nil {
		return nil, err
	}
	for _, note := range notes {
		c.Log.Warn("setting without effect", "note", note)
	}
	limitHeap(memoryLimit())
	n := &Node{config: c, log: c.Log, failed: make(chan error, 1)}
	for _, step := range []func() error{n.openDirectory, n.bindSockets, n.openQuorum, n.register, n.openPartitions, n.openGroups, n.serve} {
		if err := step(); err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return nil, errors.Join(err, n.Stop(ctx))
		}
	}
	return n, nil
}

// Failed gets the reason when the node cannot go on. It must then be stopped.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	n.log.Error("the node cannot go on", "error", err)
	n.once.Do(func() { n.failed <- err })
}

// Address tells where a running node is reached.
type Address struct {
	Cluster, Client, Admin string
	Broker                 wire.BrokerID
}

// Address returns where the node is reached.
func (n *Node) Address() Address {
	a := Address{Cluster: n.identity.Cluster, Broker: n.identity.Broker, Client: n.endpoints[0].advertise}
	if n.admin != nil {
		a.Admin = n.admin.Addr()
	}
	return a
}

func (n *Node) openDirectory() (err error) {
	dir := n.config.Data
	if _, err := os.Stat(dir); os.IsNotExist(err) && !n.config.Found {
		_, err := openIdentity(dir, false, -1) // which says what to do, and makes nothing
		return err
	}
	if err := os.MkdirAll(filepath.Join(dir, "metadata"), 0o700); err != nil {
		return fmt.Errorf("make the data directory: %w", err)
	}
	if n.lock, err = lockDirectory(dir); err != nil {
		return err
	}
	id := wire.BrokerID(-1)
	for _, name := range []string{"node.id", "broker.id"} {
		if v, ok := n.config.Settings[name]; ok {
			parsed, err := strconv.ParseInt(v, 10, 32)
			if err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
			id = wire.BrokerID(parsed)
		}
	}
	if n.identity, err = openIdentity(dir, n.config.Found, id); err != nil {
		return err
	}
	n.settings = control.Settings{Broker: n.identity.Broker, Static: n.config.Settings}
	return nil
}

// bindSockets takes the ports before anything is written, so that a port in use changes nothing.
func (n *Node) bindSockets() (err error) {
	if n.endpoints, err = endpoints(n.config.Settings, n.identity.Addresses); err != nil {
		return err
	}
	admin := n.identity.Addresses["admin"]
	n.identity.Addresses = map[string]string{}
	if admin != "" {
		n.identity.Addresses["admin"] = admin
	}
	for i := range n.endpoints {
		e := &n.endpoints[i]
		l, err := bind("client", e.bind, e.given)
		if err != nil {
			return err
		}
		n.sockets = append(n.sockets, l)
		n.identity.Addresses["client."+e.name] = boundAddress(e.bind, l.Addr().String())
		if e.advertise != "" {
			n.identity.Addresses["advertise."+e.name] = e.advertise
		}
		if e.advertise == "" {
			e.advertise = boundAddress(e.bind, l.Addr().String())
		}
	}
	return n.bindAdmin()
}

// boundAddress is the address that was asked for with the port that was got: a name stays a name.
func boundAddress(asked, bound string) string {
	host, _, err1 := net.SplitHostPort(asked)
	_, port, err2 := net.SplitHostPort(bound)
	if err1 != nil || err2 != nil {
		return bound
	}
	return net.JoinHostPort(host, port)
}

func (n *Node) bindAdmin() error {
	addr, given := n.config.Settings["admin.listener"]
	if !given {
		addr = config.Lookup(config.Broker, "admin.listener").Default
		if remembered, ok := n.identity.Addresses["admin"]; ok {
			addr, given = remembered, true
		}
	}
	l, err := bind("admin", addr, given)
	if err != nil {
		return err
	}
	n.identity.Addresses["admin"] = boundAddress(addr, l.Addr().String())
	n.metrics = api.NewMetrics()
	n.admin = admin.Serve(l, n.metrics.Registry)
	return nil
}

func (n *Node) openQuorum() error {
	if err := n.identity.write(n.config.Data); err != nil {
		return err
	}
	directory, err := wire.ParseUUID(n.identity.Directory)
	if err != nil {
		return err
	}
	n.changes = &changes{node: n}
	n.quorum, err = quorum.Open(quorum.Options{
		Dir: filepath.Join(n.config.Data, "metadata"), ID: directory, Address: n.settings.Text(emptyImage, "internal.listener"),
		Bootstrap: n.config.Found, Logger: n.log, Listener: n.changes.apply, Fatal: n.fail,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := n.quorum.WaitLeader(ctx); err != nil {
		return err
	}
	n.controller = lifecycle.NewController(n.quorum)
	if n.config.Found {
		err := n.controller.Change(ctx, func(*metadata.Image) []metadata.Record { return control.Found(n.identity.Cluster, api.Features()) })
		if err != nil {
			return fmt.Errorf("found the cluster: %w", err)
		}
		n.identity.Founded = true
		return n.identity.write(n.config.Data)
	}
	if have := n.quorum.Image().ClusterID(); have != n.identity.Cluster {
		return fmt.Errorf("data directory %s says cluster %s in meta.json and cluster %s in its metadata log: the two come from different clusters. Restore the one that belongs to the other", n.config.Data, n.identity.Cluster, have)
	}
	return nil
}

// register begins this incarnation of the broker, fenced.
func (n *Node) register() error {
	directory, err := wire.ParseUUID(n.identity.Directory)
	if err != nil {
		return err
	}
	r := metadata.RegisterBroker{Broker: n.identity.Broker, Directory: directory, Generation: n.identity.Generation, Rack: rack(n.config.Settings)}
	for _, e := range n.endpoints {
		host, port, err := net.SplitHostPort(e.advertise)
		if err != nil {
			return fmt.Errorf("advertised address: %w", err)
		}
		number, err := strconv.ParseUint(port, 10, 16)
		if err != nil {
			return fmt.Errorf("advertised address %s: %w", e.advertise, err)
		}
		r.Endpoints = append(r.Endpoints, metadata.Endpoint{Listener: e.name, Host: host, Port: uint16(number)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	var refusal *control.Refusal
	err = n.controller.Change(ctx, func(m *metadata.Image) (records []metadata.Record) {
		records, refusal = control.Register(m, r)
		return records
	})
	if refusal != nil {
		return refusal
	}
	return err
}

func rack(settings map[string]string) *string {
	if v, ok := settings["broker.rack"]; ok && v != "" {
		return &v
	}
	return nil
}

func (n *Node) openPartitions() error {
	dir := filepath.Join(n.config.Data, "logs")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}
	image := n.quorum.Image()
	d, report, err := disk.Open(disk.Options{
		Dir: dir,
		Log: func(r disk.Replica) storageOptions { return topicSettings(n.settings, n.quorum.Image(), r.Topic).Log },
		HighWatermark: func(id wire.TopicIDPartition) wire.Offset {
			if n.changes.manager() != nil {
				if p := n.partitions.Partition(id); p != nil {
					return p.HighWatermark()
				}
			}
			return 0
		},
		OnDurable: func(id wire.TopicIDPartition, o wire.Offset) {
			if m := n.changes.manager(); m != nil {
				m.Durable(id, o)
			}
		},
		OnOffline: func(err error) {
			if m := n.changes.manager(); m != nil {
				m.Offline(err)
			}
			n.fail(fmt.Errorf("the log directory failed: %w", err))
		},
		Checkpoint: time.Duration(n.settings.Int(image, "log.flush.offset.checkpoint.interval.ms")) * time.Millisecond,
		Retention:  time.Duration(n.settings.Int(image, "log.retention.check.interval.ms")) * time.Millisecond,
	})
	if err != nil {
		return err
	}
	n.disk = d
	for id, r := range report.Replicas {
		if r.BytesCut > 0 || r.Suspect != "" {
			n.log.Warn("log recovered", "topic", id.Topic, "partition", id.Partition, "cut_bytes", r.BytesCut, "suspect", r.Suspect)
		}
	}
	return nil
}

func (n *Node) openGroups() (err error) {
	n.partitions = replica.NewManager(n.identity.Broker, n.disk, n.log, (*observer)(n))
	if n.offsets, err = kv.Open(filepath.Join(n.config.Data, "offsets")); err != nil {
		return err
	}
	n.groups = runtime.New(runtime.Options{
		Journal: &journal{n}, Store: n.offsets, Log: n.log,
		Partitions: func() int {
			if t := n.quorum.Image().Topic(control.OffsetsTopic); t != nil {
				return len(t.Partitions)
			}
			return 0
		},
		Config: groupConfig(n.settings, n.quorum.Image()),
	})
	n.metrics.Watch(n.partitions, n.quorum.Image)
	if err := n.changes.begin(n.partitions); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	return n.controller.Change(ctx, func(m *metadata.Image) []metadata.Record { return control.Unfence(m, n.identity.Broker) })
}

func (n *Node) serve() error {
	image := n.quorum.Image()
	n.broker = &api.Broker{
		ID: n.identity.Broker, Log: n.log, Controller: n.controller, ProducerIDs: lifecycle.NewProducerIDs(n.controller, n.identity.Broker),
		Settings: n.settings, Partitions: n.partitions, Disk: n.disk, Groups: n.groups, Metrics: n.metrics, Now: time.Now,
		Sessions: replica.NewSessions(int(n.settings.Int(image, "max.incremental.fetch.session.cache.slots")), time.Now),
	}
	budget := n.settings.Int(image, "queued.max.request.bytes")
	if budget <= 0 {
		budget = requestBudget(memoryLimit())
	}
	shared := listen.NewBudget(budget)
	for i, socket := range n.sockets {
		n.listeners = append(n.listeners, listen.Serve(socket, n.broker, listen.Options{
			Name: n.endpoints[i].name, MaxFrame: int(n.settings.Int(image, "socket.request.max.bytes")), Budget: shared, Log: n.log,
			IdleTimeout:    time.Duration(n.settings.Int(image, "connections.max.idle.ms")) * time.Millisecond,
			MaxConnections: int(n.settings.Int(image, "max.connections")), MaxConnectionsIP: int(n.settings.Int(image, "max.connections.per.ip")),
			ObserveConnection: n.metrics.Connections(n.endpoints[i].name),
		}))
	}
	n.sockets = nil
	n.admin.Ready(func() error { return n.disk.Err() })
	return nil
}

// Stop stops the node in good order: what was accepted is answered, as long as ctx lasts, and everything is synced.
func (n *Node) Stop(ctx context.Context) error {
	var faults []error
	note := func(err error) { faults = append(faults, err) }
	if n.admin != nil {
		n.admin.Unready()
	}
	for _, l := range n.listeners {
		note(l.StopAccepting())
	}
	if n.broker != nil {
		n.broker.StopWaiting()
	}
	if n.groups != nil {
		n.groups.Close() // joins and syncs that wait are answered, so that their connections can close
	}
	for _, l := range n.listeners {
		note(l.Close(ctx))
	}
	for _, s := range n.sockets {
		note(s.Close())
	}
	if n.quorum != nil {
		note(n.quorum.Close())
	}
	if n.offsets != nil {
		note(n.offsets.Close())
	}
	if n.disk != nil {
		note(n.disk.Close())
	}
	if n.admin != nil {
		note(n.admin.Close(ctx))
	}
	if n.lock != nil {
		note(n.lock.Close())
	}
	return errors.Join(faults...)
}
