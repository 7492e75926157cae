package gossip

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/kraftgo/kraftgo/wire"
)

// Options says how to gossip. The zero value of a field takes the default in brackets.
type Options struct {
	TCP       net.Listener   // bound on the same port as UDP
	UDP       net.PacketConn //
	Advertise string         // host:port that others are told
	Self      Member
	Secret    []byte   // encrypts everything; nil: nothing is, which is for loopback only
	Seeds     []string // host:port of other nodes' gossip
	PeersFile string   // where known peers are kept [nowhere]
	OnChange  func()   // who is there, or what they say of themselves, has changed
	// OnGone is called for an incarnation that left or does not answer any more: a hint.
	OnGone func(Member)
	// OnRefused is called while nobody is reached, every few seconds, if all addresses that are tried answer that this node may not
	// come in, which waiting does not mend (see [Permanent]).
	OnRefused func(error)
	Log       *slog.Logger  // [discard]
	Dial      Dialer        // [TCP]
	Rejoin    time.Duration // between attempts to reach one peer that is absent [15 s]
	Forget    time.Duration // after which an absent peer is not tried any more [24 h]

	quick bool // of tests: memberlist forgets within a second
}

// Dialer connects to another node; nil: over TCP.
type Dialer func(ctx context.Context, address string) (net.Conn, error)

func (d Dialer) dial(ctx context.Context, address string) (net.Conn, error) {
	if d == nil {
		return (&net.Dialer{}).DialContext(ctx, "tcp", address)
	}
	return d(ctx, address)
}

// Gossip is this node's part.
type Gossip struct {
	opts  Options
	list  *memberlist.Memberlist
	trans *transport
	self  atomic.Pointer[Member]
	seen  chan event
	dirty chan struct{} // one token: self has changed
	stop  chan struct{}
	once  sync.Once
	ended sync.WaitGroup

	roster  roster
	mu      sync.Mutex
	updates sync.Mutex       // held while self is changed
	peers   map[string]*peer // by gossip address
	refused map[string]time.Time
	kept    string // what the peers' file has
}

// peer is a node that was there once.
type peer struct {
	Directory wire.UUID
	Address   string
	Seen      time.Time
}

// event is something memberlist has told under its lock.
type event struct {
	gone *Member // nil: anything else
}

// Start begins to gossip.
func Start(o Options) (*Gossip, error) {
	if o.Rejoin == 0 {
		o.Rejoin = 15 * time.Second
	}
	if o.Forget == 0 {
		o.Forget = 24 * time.Hour
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if n := len(o.Self.appendTo(nil)); n > maxMeta {
		return nil, fmt.Errorf("what this node tells of itself is %d bytes long, and may be %d: shorten its rack or its advertised addresses", n, maxMeta)
	}
	g := &Gossip{
		opts: o, seen: make(chan event, 1024), dirty: make(chan struct{}, 1), stop: make(chan struct{}),
		peers: map[string]*peer{}, refused: map[string]time.Time{},
	}
	g.self.Store(&o.Self)
	g.readPeers()
	g.trans = newTransport(&o, g.serveHello)
	host, port, err := hostPort(o.Advertise)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("gossip address %s: %w", o.Advertise, err), g.trans.Shutdown())
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.Transport = o.Self.name(), o.Self.Cluster, g.trans
	c.BindAddr, c.BindPort, c.AdvertiseAddr, c.AdvertisePort = host, port, host, port
	c.Delegate, c.Events, c.Alive, c.Merge = (*delegate)(g), (*delegate)(g), (*delegate)(g), (*delegate)(g)
	c.Logger = log.New(slogWriter{o.Log}, "", 0)
	c.RequireNodeNames, c.DNSConfigPath = false, "/etc/resolv.conf"
	c.DeadNodeReclaimTime = 10 * time.Second
	if len(o.Secret) > 0 {
		c.SecretKey = derived(o.Secret, "kraftgo gossip")
	}
	if o.quick {
		c.ProbeInterval, c.ProbeTimeout, c.SuspicionMult, c.SuspicionMaxTimeoutMult = 100*time.Millisecond, 50*time.Millisecond, 1, 2
		c.GossipInterval, c.GossipToTheDeadTime, c.PushPullInterval, c.TCPTimeout = 20*time.Millisecond, 300*time.Millisecond, time.Second, time.Second
	}
	if g.list, err = memberlist.Create(c); err != nil {
		return nil, errors.Join(fmt.Errorf("gossip: %w", err), g.trans.Shutdown())
	}
	g.ended.Add(2)
	go g.tell()
	go g.seek()
	return g, nil
}

// Members returns who is there, this node included, by broker id and directory; of a node's incarnations the newest.
func (g *Gossip) Members() []Member {
	self := *g.self.Load()
	out := append(g.roster.others(self.Directory), self)
	slices.SortStableFunc(out, func(a, b Member) int {
		if c := cmp.Compare(a.Broker, b.Broker); c != 0 {
			return c
		}
		return strings.Compare(a.Directory.String(), b.Directory.String())
	})
	return out
}

// Update changes what this node tells of itself. The others learn of it a moment later.
func (g *Gossip) Update(change func(*Member)) error {
	g.updates.Lock()
	defer g.updates.Unlock()
	m := *g.self.Load()
	change(&m)
	if n := len(m.appendTo(nil)); n > maxMeta {
		return fmt.Errorf("what this node tells of itself is %d bytes long, and may be %d", n, maxMeta)
	}
	g.self.Store(&m)
	select {
	case g.dirty <- struct{}{}:
	default:
	}
	return nil
}

// Forget ends the attempts to reach a node that has left the cluster for good.
func (g *Gossip) Forget(directory wire.UUID) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for a, p := range g.peers {
		if p.Directory == directory {
			delete(g.peers, a)
		}
	}
}

// Leave tells the others that this node goes.
func (g *Gossip) Leave(ctx context.Context) error {
	wait := time.Second
	if t, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(t))
	}
	if err := g.list.Leave(max(wait, time.Millisecond)); err != nil {
		g.opts.Log.Debug("left without telling everybody", "error", err)
	}
	return nil
}

// Close ends everything, and closes the sockets.
func (g *Gossip) Close() error {
	var err error
	g.once.Do(func() {
		close(g.stop)
		err = g.list.Shutdown()
		g.ended.Wait()
		err = errors.Join(err, g.trans.Shutdown())
	})
	return err
}

// tell passes on what memberlist said.
func (g *Gossip) tell() {
	defer g.ended.Done()
	for {
		select {
		case e := <-g.seen:
			if e.gone != nil && g.opts.OnGone != nil {
				g.opts.OnGone(*e.gone)
			}
			if g.opts.OnChange != nil {
				g.opts.OnChange()
			}
		case <-g.dirty:
			if err := g.list.UpdateNode(time.Second); err != nil {
				g.opts.Log.Debug("what this node tells of itself has not reached anybody", "error", err)
			}
		case <-g.stop:
			return
		}
	}
}

// seek joins seeds and peers: all of them while nobody is there, one that is absent at a time afterwards.
func (g *Gossip) seek() {
	defer g.ended.Done()
	wait := 100 * time.Millisecond
	turn := 0
	var said time.Time
	for {
		absent := g.absent()
		switch {
		case len(absent) == 0:
			wait = g.opts.Rejoin
		case g.list.NumMembers() <= 1:
			if n, err := g.list.Join(absent); n == 0 {
				wait = min(2*wait, max(g.opts.Rejoin/4, 50*time.Millisecond))
				if time.Since(said) > 5*time.Second {
					g.diagnose(absent, err)
					said = time.Now()
				}
			}
		default:
			wait = g.opts.Rejoin
			turn++
			if n, err := g.list.Join(absent[turn%len(absent) : turn%len(absent)+1]); n == 0 {
				g.opts.Log.Debug("an absent node is not reached", "address", absent[turn%len(absent)], "error", err)
			}
		}
		g.writePeers()
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-g.stop:
			timer.Stop()
			return
		}
	}
}

// diagnose says why nobody is reached: memberlist's own errors do not tell another cluster or another secret from a fault of the network.
func (g *Gossip) diagnose(absent []string, err error) {
	faults := make([]error, len(absent))
	var all sync.WaitGroup
	for i, a := range absent[:min(len(absent), maxAsked)] {
		all.Go(func() { faults[i] = g.ask(a) })
	}
	all.Wait()
	faults = faults[:min(len(absent), maxAsked)]
	refused := slices.DeleteFunc(slices.Clone(faults), func(err error) bool { return !Permanent(err) })
	for _, why := range refused {
		g.opts.Log.Warn("a node does not let this one in", "reason", why)
	}
	if rest := slices.DeleteFunc(faults, func(err error) bool { return err == nil || Permanent(err) }); len(rest) > 0 {
		err = errors.Join(rest...)
	}
	if len(refused) == len(absent) {
		if g.opts.OnRefused != nil {
			g.opts.OnRefused(errors.Join(refused...))
		}
		return
	}
	g.opts.Log.Info("no other node is reached; trying on", "addresses", strings.Join(absent, ", "), "error", err)
}

const (
	maxAsked  = 16              // addresses at a time
	askingFor = 2 * time.Second // each
)

// ask says hello to an address; nil: it would let us in.
func (g *Gossip) ask(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), askingFor)
	defer cancel()
	defer g.endsWithUs(cancel)()
	return Check(ctx, g.opts.Dial, address, g.opts.Secret, g.self.Load().Cluster)
}

// endsWithUs calls cancel when this node stops before the function that it returns is called.
func (g *Gossip) endsWithUs(cancel func()) func() {
	done := make(chan struct{})
	g.ended.Add(1)
	go func() {
		defer g.ended.Done()
		select {
		case <-g.stop:
			cancel()
		case <-done:
		}
	}()
	return func() { close(done) }
}

// absent returns the addresses of seeds and peers that nobody here answers for.
func (g *Gossip) absent() []string {
	members := g.Members() // not under mu, which is taken under memberlist's own lock elsewhere
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	there := map[string]bool{g.self.Load().Gossip: true}
	alive := map[wire.UUID]bool{}
	for _, m := range members {
		if m.Directory != g.self.Load().Directory {
			g.peers[m.Gossip] = &peer{m.Directory, m.Gossip, now}
		}
		there[m.Gossip], alive[m.Directory] = true, true
	}
	var out []string
	for a, p := range g.peers {
		switch {
		case now.Sub(p.Seen) > g.opts.Forget, alive[p.Directory] && !there[a]: // long gone, or come back elsewhere
			delete(g.peers, a)
		case !there[a]:
			out = append(out, a)
		}
	}
	for _, s := range g.opts.Seeds {
		if !there[s] && g.peers[s] == nil && len(there) == 1 {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// readPeers reads who was there before.
func (g *Gossip) readPeers() {
	if g.opts.PeersFile == "" {
		return
	}
	b, err := os.ReadFile(g.opts.PeersFile)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var list []*peer
	if err == nil {
		err = json.Unmarshal(b, &list)
	}
	if err != nil {
		g.opts.Log.Warn("the file of known peers is not used", "file", g.opts.PeersFile, "error", err)
		return
	}
	for _, p := range list {
		if p == nil {
			continue
		}
		if _, _, err := hostPort(p.Address); err == nil {
			g.peers[p.Address] = p
		}
	}
}

// writePeers keeps who is there. A file that cannot be written is not worth more than a warning: it only helps after a restart.
func (g *Gossip) writePeers() {
	if g.opts.PeersFile == "" {
		return
	}
	g.mu.Lock()
	list := make([]peer, 0, len(g.peers))
	now := ""
	for _, p := range g.peers {
		list = append(list, *p)
	}
	slices.SortFunc(list, func(a, b peer) int { return strings.Compare(a.Address, b.Address) })
	for _, p := range list { // who, not when they were last seen: that alone is worth a write an hour
		now += fmt.Sprint(p.Address, p.Directory, p.Seen.Truncate(time.Hour).Unix(), ";")
	}
	same := now == g.kept
	g.kept = now
	g.mu.Unlock()
	if same {
		return
	}
	b, err := json.MarshalIndent(list, "", "  ")
	if err == nil {
		err = replaceFile(g.opts.PeersFile, b)
	}
	if err != nil {
		g.opts.Log.Warn("known peers not kept", "file", g.opts.PeersFile, "error", err)
	}
}

func replaceFile(name string, b []byte) error {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	d, err := os.Open(filepath.Dir(name))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// roster is who is there, as memberlist's events tell. memberlist's own list may not be read while it works.
type roster struct {
	mu     sync.Mutex
	joined int
	byName map[string]listed
}

type listed struct {
	Member
	turn int // a later one of the same directory is the newer incarnation
}

func (r *roster) put(name string, m Member) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, known := r.byName[name]
	if !known {
		r.joined++
		l.turn = r.joined
	}
	l.Member = m
	if r.byName == nil {
		r.byName = map[string]listed{}
	}
	r.byName[name] = l
}

func (r *roster) remove(name string) (Member, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	l, known := r.byName[name]
	delete(r.byName, name)
	return l.Member, known
}

// others returns everybody but a directory, each once.
func (r *roster) others(self wire.UUID) []Member {
	r.mu.Lock()
	defer r.mu.Unlock()
	newest := map[wire.UUID]listed{}
	for _, l := range r.byName {
		if have, ok := newest[l.Directory]; l.Directory != self && (!ok || l.turn > have.turn) {
			newest[l.Directory] = l
		}
	}
	out := make([]Member, 0, len(newest)+1)
	for _, l := range newest {
		out = append(out, l.Member)
	}
	return out
}

// delegate is what memberlist calls, under its lock: queue, and return.
type delegate Gossip

func (d *delegate) note(e event) {
	select {
	case d.seen <- e:
	default: // more than a thousand events behind: the next one tells to look as well
	}
}

// NodeMeta implements [memberlist.Delegate].
func (d *delegate) NodeMeta(limit int) []byte {
	b := d.self.Load().appendTo(nil)
	if len(b) > limit {
		return nil
	}
	return b
}

// NotifyMsg implements [memberlist.Delegate].
func (d *delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements [memberlist.Delegate].
func (d *delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements [memberlist.Delegate].
func (d *delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements [memberlist.Delegate].
func (d *delegate) MergeRemoteState([]byte, bool) {}

// NotifyJoin implements [memberlist.EventDelegate].
func (d *delegate) NotifyJoin(n *memberlist.Node) { d.NotifyUpdate(n) }

// NotifyUpdate implements [memberlist.EventDelegate].
func (d *delegate) NotifyUpdate(n *memberlist.Node) {
	if m, err := decodeMember(n.Meta); err == nil {
		d.roster.put(n.Name, m)
	}
	d.note(event{})
}

// NotifyLeave implements [memberlist.EventDelegate].
func (d *delegate) NotifyLeave(n *memberlist.Node) {
	if m, ok := d.roster.remove(n.Name); ok && m.Directory != d.self.Load().Directory {
		d.note(event{gone: &m})
	}
}

// NotifyAlive implements [memberlist.AliveDelegate].
func (d *delegate) NotifyAlive(n *memberlist.Node) error { return d.check(n) }

// NotifyMerge implements [memberlist.MergeDelegate].
func (d *delegate) NotifyMerge(nodes []*memberlist.Node) error {
	for _, n := range nodes {
		if err := d.check(n); err != nil {
			return err
		}
	}
	return nil
}

// check keeps out who is not of our cluster.
func (d *delegate) check(n *memberlist.Node) error {
	m, err := decodeMember(n.Meta)
	ours := d.self.Load()
	switch {
	case err == nil && m.Cluster != ours.Cluster:
		err = fmt.Errorf("node %s is of cluster %s, this is cluster %s", n.Address(), m.Cluster, ours.Cluster)
	case err == nil && m.Recovery != ours.Recovery:
		err = fmt.Errorf("the metadata of node %s is of recovery %q of the cluster, that of this node of %q", n.Address(), m.Recovery, ours.Recovery)
	case err == nil:
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if now := time.Now(); now.Sub(d.refused[n.Address()]) > time.Minute {
		if len(d.refused) > 1000 {
			clear(d.refused)
		}
		d.refused[n.Address()] = now
		d.opts.Log.Warn("node kept out", "reason", err)
	}
	return err
}

// slogWriter passes memberlist's own lines on.
type slogWriter struct{ log *slog.Logger }

func (w slogWriter) Write(p []byte) (int, error) {
	if line := strings.TrimSpace(string(p)); !strings.Contains(line, "[DEBUG]") {
		w.log.Debug("memberlist", "line", line)
	}
	return len(p), nil
}
