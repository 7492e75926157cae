package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/cluster/admin"
	"github.com/kraftgo/kraftgo/cluster/api"
	"github.com/kraftgo/kraftgo/cluster/gossip"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
)

// This file is what a node takes before anything of it runs: its directory, its identity and secret, its ports.

func (n *Node) openDirectory() (err error) {
	dir := n.config.Data
	if info, err := os.Stat(dir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data %s is a file; a node needs a directory", dir)
	}
	if !n.config.Found && !n.config.Join {
		if raw, err := readFile(filepath.Join(dir, "meta.json")); raw == nil && err == nil {
			_, err := openIdentity(dir, false, "", -1) // which says what to do; nothing is made in the directory
			return err
		}
	}
	secret, err := n.givenSecret(dir)
	if err != nil {
		return err
	}
	n.config.Secret = secret
	joins := ""
	if n.config.Join {
		if joins, err = n.hello(); err != nil {
			return err
		}
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
	if n.identity, err = openIdentity(dir, n.config.Found, joins, id); err != nil {
		return err
	}
	if n.config.Join {
		n.identity.Founded = true // a member's directory, though it has no broker id yet
		if len(n.met) > 0 {
			n.identity.Recovery = n.met[0].Recovery
		}
	}
	if n.identity.Broker < 0 {
		n.identity.Broker = id
	}
	if n.directory, err = wire.ParseUUID(n.identity.Directory); err != nil {
		return err
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("draw a nonce: %w", err)
	}
	n.nonce = binary.BigEndian.Uint64(nonce[:])
	n.brokerID.Store(int32(n.identity.Broker))
	if r := rack(n.config.Settings); r != nil {
		n.identity.Rack = r // later starts need not say it again
	}
	n.settings = control.Settings{Broker: n.identity.Broker, Static: n.config.Settings}
	if n.config.Join || n.config.Found {
		return nil
	}
	return n.checkSeeds()
}

// givenSecret returns the cluster's secret: the one that is given, or the one that the data directory has.
func (n *Node) givenSecret(dir string) ([]byte, error) {
	name := filepath.Join(dir, "secret")
	if _, err := os.Stat(name); len(n.config.Secret) > 0 || os.IsNotExist(err) {
		return n.config.Secret, nil
	}
	return ReadSecret(name)
}

// keepSecret notes the secret in the data directory, once it is known to be the cluster's.
func (n *Node) keepSecret() error {
	name := filepath.Join(n.config.Data, "secret")
	if kept, err := readFile(name); len(n.config.Secret) == 0 || err == nil && bytes.Equal(bytes.TrimSpace(kept), n.config.Secret) {
		return nil
	}
	if err := writeDurably(name, append(slices.Clone(n.config.Secret), '\n')); err != nil {
		return fmt.Errorf("keep the cluster's secret: %w", err)
	}
	return nil
}

// checkSeeds refuses seeds that are not of this node's cluster. One that does not answer at once proves nothing.
func (n *Node) checkSeeds() error {
	ctx, cancel := context.WithTimeout(n.ctx, time.Second)
	defer cancel()
	faults := make([]error, len(n.config.Seeds))
	var all sync.WaitGroup
	for i, seed := range n.config.Seeds {
		all.Go(func() {
			if err := gossip.Check(ctx, n.world.dial, seed, n.config.Secret, n.identity.Cluster); gossip.Permanent(err) {
				faults[i] = err
			}
		})
	}
	all.Wait()
	return errors.Join(faults...)
}

// seedsRefuse ends a start when, for some seconds, no node has been reached but such as do not let this one in. A node that runs goes
// on: it may be the others who are wrong.
func (n *Node) seedsRefuse(why error) {
	if n.refusals++; n.refusals > 1 && n.starting.Load() {
		n.fail(why)
		n.cancel()
	}
}

// hello asks the seeds which cluster they are of, until one answers.
func (n *Node) hello() (cluster string, err error) {
	if len(n.config.Seeds) == 0 {
		return "", errors.New("which cluster? Give --seed HOST:PORT, the gossip address of any of its nodes")
	}
	var said time.Time
	wrong := 0 // rounds in which something answered everywhere, and nowhere a node's gossip
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 2*time.Second) {
		answers, faults := n.askSeeds()
		for _, err := range faults {
			if gossip.Permanent(err) {
				return "", err
			}
		}
		if id, err := n.agreed(answers); id != "" || err != nil {
			return id, err
		}
		if wrong++; slices.ContainsFunc(faults, func(err error) bool { return !errors.Is(err, gossip.ErrNotGossip) }) {
			wrong = 0
		}
		if wrong == wrongRounds {
			return "", errors.Join(faults...)
		}
		if time.Since(said) > 3*time.Second {
			n.log.Info("no seed answers; trying on", "seeds", strings.Join(n.config.Seeds, ", "), "error", errors.Join(faults...))
			said = time.Now()
		}
		select {
		case <-time.After(wait):
		case <-n.ctx.Done():
			return "", fmt.Errorf("stopped before a seed answered: %w", errors.Join(faults...))
		}
	}
}

const (
	// wrongRounds is how often seeds are asked that are something else, before a join is given up: about three seconds.
	wrongRounds = 6

	// seedGrace is how long the other seeds are waited for when one has answered.
	seedGrace = 500 * time.Millisecond
)

// askSeeds asks all seeds at once.
func (n *Node) askSeeds() (map[string]gossip.HelloAnswer, []error) {
	ctx, cancel := context.WithTimeout(n.ctx, 3*time.Second)
	defer cancel()
	answers, faults := make([]gossip.HelloAnswer, len(n.config.Seeds)), make([]error, len(n.config.Seeds))
	var all sync.WaitGroup
	for i, seed := range n.config.Seeds {
		all.Go(func() {
			if answers[i], faults[i] = gossip.Hello(ctx, n.world.dial, seed, n.config.Secret); faults[i] == nil {
				time.AfterFunc(seedGrace, cancel)
			}
		})
	}
	all.Wait()
	out := map[string]gossip.HelloAnswer{}
	for i, seed := range n.config.Seeds {
		if faults[i] == nil {
			out[seed] = answers[i]
		}
	}
	return out, slices.DeleteFunc(faults, func(err error) bool { return err == nil })
}

// agreed returns the cluster that the seeds which answered are of, "" if none did, and notes whom they know.
func (n *Node) agreed(answers map[string]gossip.HelloAnswer) (string, error) {
	first := ""
	for _, seed := range n.config.Seeds {
		answer, ok := answers[seed]
		switch {
		case !ok:
			continue
		case n.config.Expect != "" && answer.Cluster != n.config.Expect:
			return "", fmt.Errorf("seed %s is of cluster %s, and the token is for cluster %s: get a token from a node of the cluster that is meant", seed, answer.Cluster, n.config.Expect)
		case first == "":
			first, n.met = seed, answer.Members
		case answer.Cluster != answers[first].Cluster:
			return "", fmt.Errorf("seed %s is of cluster %s, and seed %s of cluster %s: give seeds of the one that is meant", first, answers[first].Cluster, seed, answer.Cluster)
		}
	}
	return answers[first].Cluster, nil
}

// bindSockets takes the ports before anything is written, so that a port in use changes nothing.
func (n *Node) bindSockets() (err error) {
	if n.endpoints, err = endpoints(n.config.Settings, n.identity.Addresses); err != nil {
		return err
	}
	remembered := n.identity.Addresses
	n.identity.Addresses = map[string]string{}
	for _, what := range []string{"admin", "internal", "gossip"} {
		if a, ok := remembered[what]; ok {
			n.identity.Addresses[what] = a
		}
	}
	if err := n.bindCluster(); err != nil {
		return err
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

// bindCluster takes the ports that other nodes use.
func (n *Node) bindCluster() (err error) {
	addr, given := n.listenAddress("internal")
	if n.internalSocket, err = bind("internal", addr, given); err != nil {
		return err
	}
	n.identity.Addresses["internal"] = boundAddress(addr, n.internalSocket.Addr().String())
	if n.internalAddr, err = n.advertised("internal"); err != nil {
		return err
	}
	addr, given = n.listenAddress("gossip")
	if n.gossipTCP, n.gossipUDP, err = bindBoth("gossip", addr, given); err != nil {
		return err
	}
	n.identity.Addresses["gossip"] = boundAddress(addr, n.gossipTCP.Addr().String())
	if n.gossipAddr, err = n.advertised("gossip"); err == nil && n.gossipAddr != n.identity.Addresses["gossip"] {
		n.identity.Addresses["advertise-gossip"] = n.gossipAddr // for tokens
	}
	return err
}

// listenAddress returns where a listener listens, and whether that was asked for: a port that was not may move.
func (n *Node) listenAddress(what string) (addr string, given bool) {
	if addr, ok := n.config.Settings[what+".listener"]; ok {
		return addr, true
	}
	if addr, ok := n.identity.Addresses[what]; ok {
		return addr, true
	}
	return config.Lookup(config.Broker, what+".listener").Default, false
}

// advertised returns what other nodes are told, and refuses to be reached from beyond this machine without a secret.
func (n *Node) advertised(what string) (string, error) {
	bound := n.identity.Addresses[what]
	host, port, err := net.SplitHostPort(bound)
	if err != nil {
		return "", fmt.Errorf("%s address: %w", what, err)
	}
	if len(n.config.Secret) == 0 && !isLoopback(host) {
		return "", fmt.Errorf("%s listens at %s, beyond this machine, and the cluster has no secret: anybody there could join it and take its data. Give all nodes --secret-file FILE, or listen on 127.0.0.1", what, bound)
	}
	if a, ok := n.config.Settings[what+".advertised.listener"]; ok && a != "" {
		if _, _, err := net.SplitHostPort(a); err != nil {
			return "", fmt.Errorf("%s.advertised.listener: %w", what, err)
		}
		return a, nil
	}
	if ip := net.ParseIP(host); host != "" && (ip == nil || !ip.IsUnspecified()) {
		return bound, nil
	}
	own, err := ownAddress()
	if err != nil {
		return "", fmt.Errorf("%s listens on every address (%s), and which one others reach is not plain: %w; give %s.advertised.listener", what, bound, err, what)
	}
	return net.JoinHostPort(own, port), nil
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// ownAddress returns the machine's address, if it has exactly one that others could reach.
func ownAddress() (string, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "", err
	}
	var found []string
	for _, a := range addrs {
		if ip, ok := a.(*net.IPNet); ok && ip.IP.IsGlobalUnicast() && ip.IP.To4() != nil {
			found = append(found, ip.IP.String())
		}
	}
	if len(found) != 1 {
		return "", fmt.Errorf("this machine has %d addresses %v", len(found), found)
	}
	return found[0], nil
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

func rack(settings map[string]string) *string {
	if v, ok := settings["broker.rack"]; ok && v != "" {
		return &v
	}
	return nil
}
