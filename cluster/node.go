package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/kraftgo/kraftgo/cluster/admin"
	"github.com/kraftgo/kraftgo/cluster/api"
	"github.com/kraftgo/kraftgo/cluster/gossip"
	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/cluster/lifecycle"
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/coordinator/runtime"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/feed"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/replication/replica"
	"github.com/kraftgo/kraftgo/storage/disk"
	"github.com/kraftgo/kraftgo/storage/kv"
	"github.com/kraftgo/kraftgo/storage/vfs"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/mutant"
)

// Node is a running broker.
type Node struct {
	config   Config
	log      *slog.Logger
	lock     *os.File
	identity *identity
	settings control.Settings
	ctx      context.Context // ends when the node is to stop
	cancel   context.CancelFunc

	directory wire.UUID
	nonce     uint64       // of this start
	brokerID  atomic.Int32 // -1: not registered yet

	internalSocket net.Listener
	gossipTCP      net.Listener
	gossipUDP      net.PacketConn
	internalAddr   string // as others reach it
	gossipAddr     string
	met            []gossip.Member // who answered when this node asked to join
	refusals       int             // of gossip's goroutine: how often nobody was reached but such as refuse this node

	replica    *feed.Replica
	puller     *feed.Puller
	internal   *internal.Listener
	peers      *peers
	gossip     atomic.Pointer[gossip.Gossip]
	quorum     *quorum.Quorum
	controller *lifecycle.Controller
	leader     *lifecycle.Leader
	agent      atomic.Pointer[lifecycle.Agent]
	opened     chan struct{} // closed when quorum, controller, leader and puller are there

	apiBroker  atomic.Pointer[api.Broker] // nil: not serving yet
	disk       *disk.Disk
	lossy      atomic.Bool // the start was, see [disk.Report], and the controller does not know it yet
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

	world    world
	failed   chan error
	once     sync.Once
	starting atomic.Bool
	ended    chan struct{} // closed when the disk need not be watched any more; nil: it was not
}

// world is what a simulation puts in the place of the network and of the disks; zero: the real ones.
type world struct {
	dial    func(ctx context.Context, address string) (net.Conn, error)
	tune    func(*quorum.Options)
	logs    func(*disk.Options)       // changes how the log directory is opened
	offsets func() (*kv.Store, error) // opens the store of the offsets
	applied func(*metadata.Image)     // sees every image that this node comes to
	reigns  func(wire.Term)           // is told when this node begins to decide
}

// startTimeout bounds each step of a start that waits for something.
const startTimeout = 60 * time.Second

// Start starts the node that the config describes. When it returns without an error the node serves. It waits for the
// cluster for as long as ctx lasts.
func Start(ctx context.Context, c Config) (*Node, error) {
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
	n := &Node{config: c, log: c.Log, failed: make(chan error, 1), opened: make(chan struct{})}
	n.brokerID.Store(int32(wire.NoBroker))
	n.ctx, n.cancel = context.WithCancel(context.Background())
	defer context.AfterFunc(ctx, n.cancel)()
	n.starting.Store(true)
	for _, step := range []func() error{n.openDirectory, n.bindSockets, n.openQuorum, n.joinGossip, n.openPartitions, n.register, n.openGroups, n.serve} {
		if err := step(); err != nil {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			return nil, errors.Join(n.startFailed(err), n.Stop(ctx))
		}
	}
	n.starting.Store(false)
	return n, nil
}

// Failed gets the reason when the node cannot go on. It must then be stopped.
func (n *Node) Failed() <-chan error { return n.failed }

func (n *Node) fail(err error) {
	if !n.starting.Load() { // Start returns it
		n.log.Error("the node cannot go on", "error", err)
	}
	n.once.Do(func() { n.failed <- err })
}

// Address tells where a running node is reached.
type Address struct {
	Cluster, Client, Internal, Gossip, Admin string
	Broker                                   wire.BrokerID
}

// Address returns where the node is reached.
func (n *Node) Address() Address {
	a := Address{Cluster: n.identity.Cluster, Broker: n.identity.Broker, Client: n.endpoints[0].advertise, Internal: n.internalAddr, Gossip: n.gossipAddr}
	if n.admin != nil {
		a.Admin = n.admin.Addr()
	}
	return a
}

// HasSecret reports whether the cluster has a secret that its nodes share.
func (n *Node) HasSecret() bool { return len(n.config.Secret) > 0 }

// openQuorum opens the metadata: what this node has of it, raft, and the ways to get the rest.
func (n *Node) openQuorum() (err error) {
	if err := n.identity.write(n.config.Data); err != nil {
		return err
	}
	dir := filepath.Join(n.config.Data, "metadata")
	n.changes = &changes{node: n}
	n.replica = feed.NewReplica(feed.Options{Listener: n.changes.apply, Fatal: n.fail})
	store, why, err := feed.OpenStore(dir, n.replica)
	if err != nil {
		return err
	}
	if why != nil {
		n.log.Warn("pulled metadata was damaged, and is pulled again", "reason", why)
	}
	n.peers = newPeers(n)
	n.internal = internal.Listen(n.internalSocket, n.internalOptions())
	if err := n.checkHistory(); err != nil {
		return errors.Join(err, store.Close())
	}
	o := quorum.Options{
		Dir: dir, ID: n.directory, Address: n.internalAddr, Bootstrap: n.config.Found, Replica: n.replica,
		Streams: streams{n}, Resolve: n.peers.resolve, Reign: n.reign, Logger: n.log,
	}
	if n.world.tune != nil {
		n.world.tune(&o)
	}
	n.quorum, err = quorum.Open(o)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	if err := n.checkHistory(); err != nil {
		return errors.Join(err, store.Close())
	}
	n.tellFollower()
	n.controller = lifecycle.NewController(n.quorum)
	n.leader = lifecycle.NewLeader(lifecycle.LeaderOptions{
		Controller: n.controller, Quorum: n.quorum, Self: n.directory, Session: n.milliseconds("broker.session.timeout.ms"),
		Voters: int(n.settings.Int(emptyImage, "cluster.voters")), Probe: n.peers.probe, Ask: n.peers.askReplicas, Reached: n.peers.reached,
		Settings: n.settings, Log: n.log, Now: time.Now,
	})
	n.puller = feed.StartPuller(feed.PullerOptions{
		Replica: n.replica, Store: store, Log: n.log, Sources: n.peers.sources,
		Needed: func() bool { return !n.quorum.Leads() }, Differs: n.differs,
	})
	n.watchMetadata()
	close(n.opened)
	if n.config.Found {
		return n.found()
	}
	if have := n.replica.Image().ClusterID(); have != "" && have != n.identity.Cluster {
		return fmt.Errorf("data directory %s says cluster %s in meta.json and cluster %s in its metadata: the two come from different clusters. Restore the one that belongs to the other", n.config.Data, n.identity.Cluster, have)
	}
	return nil
}

// found writes the first records of a new cluster.
func (n *Node) found() error {
	ctx, cancel := context.WithTimeout(n.ctx, startTimeout)
	defer cancel()
	if err := n.quorum.WaitLeader(ctx); err != nil {
		return err
	}
	err := n.controller.Change(ctx, func(*metadata.Image) []metadata.Record { return control.Found(n.identity.Cluster) })
	if err != nil {
		return fmt.Errorf("found the cluster: %w", err)
	}
	n.identity.Founded = true
	return n.identity.write(n.config.Data)
}

// reign is told when this node becomes the controller, and when it is not any more.
func (n *Node) reign(term wire.Term) {
	<-n.opened
	if term != 0 && n.world.reigns != nil {
		n.world.reigns(term)
	}
	n.leader.Reign(term)
	n.puller.Poke() // who leads need not pull, and who does not any more must
	if term != 0 {
		n.log.Info("this node is the controller", "term", term)
	}
	if g := n.gossip.Load(); g != nil {
		if err := g.Update(n.describe); err != nil {
			n.log.Debug("gossip not updated", "error", err)
		}
	}
	if a := n.agent.Load(); a != nil {
		a.Poke()
	}
}

// streams are raft's connections: those of the internal listener that begin with raft's byte.
type streams struct{ node *Node }

// Accepted implements [quorum.Streams].
func (s streams) Accepted() net.Listener {
	return pokingListener{s.node.internal.Streams(internal.KindRaft), s.node}
}

// pokingListener tells the controller soon how far this node's log goes when the quorum turns to it: it was staged, or has another leader.
type pokingListener struct {
	net.Listener
	node *Node
}

// Accept implements [net.Listener].
func (p pokingListener) Accept() (net.Conn, error) {
	c, err := p.Listener.Accept()
	if a := p.node.agent.Load(); a != nil && err == nil {
		a.Poke()
	}
	return c, err
}

// Dial implements [quorum.Streams].
func (s streams) Dial(ctx context.Context, address string, expect wire.UUID) (net.Conn, error) {
	return internal.Dial(ctx, s.node.internalOptions(), address, internal.KindRaft, expect)
}

func (n *Node) internalOptions() internal.Options {
	return internal.Options{
		Self: func() internal.Identity {
			return internal.Identity{
				Cluster: n.identity.Cluster, Directory: n.directory, Broker: wire.BrokerID(n.brokerID.Load()), Generation: int64(n.identity.Generation), Nonce: n.nonce, Recovery: n.identity.Recovery, Holds: n.holdsHistory(),
			}
		},
		Secret: n.config.Secret, Check: n.checkPeer, Log: n.log, Dial: n.world.dial,
		OnClosed: func(peer internal.Identity) { n.suspect(peer.Directory) },
	}
}

// checkPeer refuses a node whose metadata is of another history, and one that runs from an older copy of a directory, or from a
// second one.
func (n *Node) checkPeer(peer internal.Identity) error {
	if peer.Recovery != n.identity.Recovery {
		return n.otherHistory(peer, n.holdsHistory())
	}
	b := n.replica.Image().BrokerByDirectory(peer.Directory)
	switch {
	case b == nil:
		return nil
	case uint64(peer.Generation) < b.Generation:
		return fmt.Errorf("broker %d has registered generation %d of its directory, and this node has generation %d: it is an older copy of the directory. Remove the copy, or join it as a new node", b.Broker, b.Generation, peer.Generation)
	case uint64(peer.Generation) == b.Generation && peer.Nonce != b.Nonce:
		return fmt.Errorf("broker %d has registered generation %d of its directory from another process: two nodes run from copies of one directory. Stop one, remove the copy, and join it as a new node", b.Broker, b.Generation)
	}
	return nil
}

// suspect hints to the controller's part of this node that another has died.
func (n *Node) suspect(directory wire.UUID) {
	select {
	case <-n.opened:
		n.leader.Suspect(directory)
	default:
	}
}

// joinGossip begins to look for the other nodes, and to be found.
func (n *Node) joinGossip() error {
	self := gossip.Member{Cluster: n.identity.Cluster, Recovery: n.identity.Recovery, Directory: n.directory, Nonce: n.nonce, Internal: n.internalAddr, Gossip: n.gossipAddr}
	n.describe(&self)
	g, err := gossip.Start(gossip.Options{
		TCP: n.gossipTCP, UDP: n.gossipUDP, Advertise: n.gossipAddr, Self: self, Secret: n.config.Secret, Seeds: n.config.Seeds,
		PeersFile: filepath.Join(n.config.Data, "peers.json"), Log: n.log, Dial: n.world.dial,
		OnChange:  func() { n.puller.Poke() },
		OnGone:    func(m gossip.Member) { n.suspect(m.Directory) },
		OnRefused: n.seedsRefuse,
	})
	if err != nil {
		return err
	}
	n.gossip.Store(g)
	n.internal.Serve(n.peers)
	n.puller.Poke()
	return nil
}

// describe fills in what this node tells others of itself and what may change.
func (n *Node) describe(m *gossip.Member) {
	m.Broker = wire.BrokerID(n.brokerID.Load())
	if r := n.identity.Rack; r != nil {
		m.Rack = *r
	}
	m.Leading = n.quorum.Reign() != 0
	m.Voter = n.quorum.Follows(2 * time.Second)
}

// register begins this incarnation of the broker, fenced, and waits until its metadata is as new as that.
func (n *Node) register() error {
	r := metadata.RegisterBroker{
		Broker: n.identity.Broker, Directory: n.directory, Generation: n.identity.Generation, Nonce: n.nonce, Rack: n.identity.Rack,
		Internal: n.internalAddr, Gossip: n.gossipAddr, LogDirs: []wire.UUID{n.disk.UUID()}, LogPaths: []string{n.disk.Dir()}, Features: control.SupportedFeatures(),
		Cordoned: n.settings.StaticText(config.CordonedLogDirs), MinInSync: int32(n.settings.StaticInt("min.insync.replicas")), Replicated: n.settings.StaticText("log.durability") == "replicated",
	}
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
	agent := lifecycle.StartAgent(lifecycle.AgentOptions{
		Cluster: n.identity.Cluster, Registration: r, Readmit: n.config.Readmit, Replace: n.config.Replace, Damage: n.damage, Register: n.peers.register, Heartbeat: n.peers.heartbeat,
		Applied: n.replica.Published, State: n.state, LogEnd: n.quorum.LastIndex, Log: n.log, Refused: n.fail,
		Interval: n.milliseconds("broker.heartbeat.interval.ms"), Session: n.milliseconds("broker.session.timeout.ms"),
	})
	n.agent.Store(agent)
	registered, err := agent.Registered(n.ctx)
	var refusal *control.Refusal
	if errors.As(err, &refusal) {
		if err := n.takeBack(); err != nil {
			return errors.Join(refusal, err)
		}
	}
	if refusal != nil && refusal.Code == wire.ErrInconsistentClusterID {
		return fmt.Errorf("data directory %s says cluster %s in meta.json: the two are different clusters. %s", n.config.Data, n.identity.Cluster, refusal.Message)
	}
	if err != nil {
		return err
	}
	if err := n.keepSecret(); err != nil {
		return err
	}
	n.lossy.Store(false)
	if err := n.disk.LossKnown(); err != nil {
		return err
	}
	n.brokerID.Store(int32(registered.Broker))
	n.settings.Broker = registered.Broker
	if n.identity.Broker != registered.Broker || !n.identity.Founded {
		n.identity.Broker, n.identity.Founded = registered.Broker, true
		if err := n.identity.write(n.config.Data); err != nil {
			return err
		}
	}
	if err := n.gossip.Load().Update(n.describe); err != nil {
		return err
	}
	if mutant.DeleteOrphans {
		return nil
	}
	return n.replica.WaitPublished(n.ctx, wire.Index(registered.Epoch))
}

// takeBack takes back what was noted for a registration that was refused: a copy of a directory must not come past the original by
// being started again and again, and a newcomer may ask for another id.
func (n *Node) takeBack() error {
	before := *n.identity // A copy: what this process calls itself is read by connections, and stays what it was until it stops.
	before.Generation--
	if n.config.Join {
		before.Broker = wire.NoBroker
	}
	return before.write(n.config.Data)
}

// damage tells which replicas the controller must not take for what they were.
func (n *Node) damage() control.Damage {
	d := control.Damage{Lossy: n.lossy.Load()}
	for _, r := range n.disk.Replicas() {
		if log := n.disk.Log(r.Key()); log != nil && log.Suspect() != "" {
			d.Suspects = append(d.Suspects, r.Key())
		}
	}
	return d
}

func (n *Node) milliseconds(setting string) time.Duration {
	return time.Duration(n.settings.Int(emptyImage, setting)) * time.Millisecond
}

func (n *Node) openPartitions() error {
	dir, err := filepath.Abs(filepath.Join(n.config.Data, "logs"))
	if err != nil {
		return fmt.Errorf("the log directory: %w", err)
	}
	if why := control.CheckCordoned(n.settings.StaticText(config.CordonedLogDirs), []string{dir}); why != "" {
		return errors.New(why)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the log directory: %w", err)
	}
	image := n.replica.Image()
	o := disk.Options{
		Dir: dir, FS: vfs.OS,
		Log: func(r disk.Replica) storageOptions { return topicSettings(n.settings, n.replica.Image(), r.Topic).Log },
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
		WAL:        n.settings.Int(image, "log.wal.bytes"),
	}
	if n.world.logs != nil {
		n.world.logs(&o)
	}
	watched := vfs.Watch(o.FS)
	o.FS = watched
	n.ended = make(chan struct{})
	go watched.Hang(n.ended, time.Second, n.milliseconds("cluster.disk.hang.ms"), n.diskHangs)
	d, report, err := disk.Open(o)
	if err != nil {
		return err
	}
	n.disk = d
	n.lossy.Store(report.Lossy)
	if report.Restored > 0 {
		n.log.Info("records restored from the write-ahead log", "bytes", report.Restored)
	}
	for id, r := range report.Replicas {
		if r.BytesCut > 0 || r.Suspect != "" {
			n.log.Warn("log recovered", "topic", id.Topic, "partition", id.Partition, "cut_bytes", r.BytesCut, "suspect", r.Suspect)
		}
	}
	return nil
}

func (n *Node) openGroups() (err error) {
	n.partitions = replica.NewManager(replica.Options{
		Env: n.env(), Disk: n.disk, Links: links{n}, Alter: n.peers.alter, Log: n.log, Observer: (*observer)(n),
		Fetch: replica.FetchOptions{
			BrokerEpoch: n.agent.Load().Epoch, Fetchers: int(n.settings.Int(emptyImage, "num.replica.fetchers")),
			MaxWait: n.milliseconds("replica.fetch.wait.max.ms"), MaxBytes: int32(n.settings.Int(emptyImage, "replica.fetch.response.max.bytes")),
			PartitionMaxBytes: int32(n.settings.Int(emptyImage, "replica.fetch.max.bytes")),
			Backoff:           n.milliseconds("replica.fetch.backoff.ms"), Timeout: n.milliseconds("replica.socket.timeout.ms"),
		},
	})
	open := n.world.offsets
	if open == nil {
		open = func() (*kv.Store, error) { return kv.Open(filepath.Join(n.config.Data, "offsets")) }
	}
	if n.offsets, err = open(); err != nil {
		return err
	}
	n.groups = runtime.New(runtime.Options{
		Journal: &journal{n}, Store: n.offsets, Log: n.log,
		Partitions: func() int {
			if t := n.replica.Image().Topic(control.OffsetsTopic); t != nil {
				return len(t.Partitions)
			}
			return 0
		},
		Current: n.agent.Load().Current,
		Config:  groupConfig(n.settings, n.replica.Image()),
	})
	n.metrics.Watch(n.partitions, n.replica.Image)
	n.metrics.WatchElections(n.changes.elected)
	n.admin.Debug("/debug/replicas", func(*http.Request) (any, error) { return n.partitions.Describe(), nil })
	return n.changes.begin(n.partitions)
}

func (n *Node) serve() error {
	image := n.replica.Image()
	n.broker = &api.Broker{
		ID: n.identity.Broker, Log: n.log, Controller: n.controller, Leader: n.leader, Cluster: n.peers, ProducerIDs: lifecycle.NewProducerIDs(n.peers.producerIDs),
		Alive:    n.agent.Load().Alive,
		Current:  n.agent.Load().Current,
		ByRack:   n.settings.StaticText("replica.selector.class") == config.RackAwareSelector,
		Settings: n.settings, Partitions: n.partitions, Disk: n.disk, Groups: n.groups, Metrics: n.metrics, Now: time.Now,
		Sessions:  replica.NewSessions(int(n.settings.Int(image, "max.incremental.fetch.session.cache.slots")), time.Now),
		Followers: api.NewFollowers(),
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
	n.listeners = append(n.listeners, listen.Serve(n.followersListener(), n.broker, listen.Options{
		Name: "followers", Log: n.log, MaxConnectionsIP: 10_000,
		IdleTimeout: time.Duration(n.settings.Int(image, "connections.max.idle.ms")) * time.Millisecond,
	}))
	n.apiBroker.Store(n.broker)
	// The listeners are open before the broker is unfenced: who learns of it can reach it.
	if err := n.agent.Load().Unfenced(n.ctx); err != nil {
		return err
	}
	n.admin.Ready(n.mayRestartOthers)
	return nil
}
