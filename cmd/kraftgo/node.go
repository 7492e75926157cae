package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/metadata/config"
)

// clientVariables are the environment variables that are not settings of a node.
var clientVariables = []string{"KRAFTGO_BOOTSTRAP_SERVER", "KRAFTGO_COMMAND_CONFIG"}

// nodeFlags are the flags of every command that runs a node. Each is a setting too.
func nodeFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "client", Usage: "where clients connect, `HOST:PORT` or NAME://HOST:PORT,... (listeners)"},
		&cli.StringFlag{Name: "advertise", Usage: "the `HOST:PORT` that clients are told (advertised.listeners)"},
		&cli.StringFlag{Name: "internal", Usage: "where other brokers connect, `HOST:PORT` (internal.listener)"},
		&cli.StringFlag{Name: "gossip", Usage: "where members are found, `HOST:PORT` (gossip.listener)"},
		&cli.StringFlag{Name: "admin", Usage: "HTTP for metrics and health, `HOST:PORT` (admin.listener)"},
		&cli.StringFlag{Name: "rack", Usage: "the `RACK` the broker stands in (broker.rack)"},
		&cli.StringFlag{Name: "broker-id", Usage: "the broker's `ID` (broker.id); by default the cluster chooses"},
		&cli.StringSliceFlag{Name: "seed", Usage: "the gossip address of another node, `HOST:PORT`; may be repeated (cluster.seeds)"},
		&cli.StringFlag{Name: "secret-file", Usage: "a `FILE` with the secret that all nodes of the cluster share (cluster.secret.file)"},
		&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error (log.level)"},
		&cli.StringFlag{Name: "config", Usage: "read settings from `FILE` (key=value lines, as server.properties)"},
		&cli.StringSliceFlag{Name: "set", Usage: "any setting, as `KEY=VALUE`; may be repeated"},
	}
}

// flagSettings maps flags to the settings they are.
var flagSettings = map[string]string{
	"client": "listeners", "advertise": "advertised.listeners", "internal": "internal.listener", "gossip": "gossip.listener",
	"secret-file": "cluster.secret.file", "admin": "admin.listener", "rack": "broker.rack", "broker-id": "broker.id", "log-level": "log.level", "data": "data.dir",
}

// settingsOf gathers a node's settings: flags over environment over file.
func settingsOf(c *cli.Context) (map[string]string, error) {
	out := map[string]string{}
	if name := c.String("config"); name != "" {
		f, err := os.Open(name)
		if err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
		defer f.Close()
		if out, err = cluster.ReadProperties(f, name); err != nil {
			return nil, fmt.Errorf("--config: %w", err)
		}
	}
	environment, err := cluster.Environment(os.Environ(), clientVariables...)
	if err != nil {
		return nil, err
	}
	maps.Copy(out, environment)
	for _, pair := range c.StringSlice("set") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("--set %s: want KEY=VALUE", pair)
		}
		out[strings.TrimSpace(key)] = value
	}
	if c.IsSet("seed") {
		out["cluster.seeds"] = strings.Join(c.StringSlice("seed"), ",")
	}
	for flag, setting := range flagSettings {
		if c.IsSet(flag) {
			out[setting] = c.String(flag)
		}
	}
	return out, nil
}

func initCommand() *cli.Command {
	return &cli.Command{
		Name:        "init",
		Usage:       "found a cluster of one node, and serve until SIGINT or SIGTERM",
		UsageText:   "kraftgo init --data DIR [flags]",
		Description: "Example:\n\n  kraftgo init --data ./n1\n\nThe directory must not hold a node yet; 'kraftgo start' starts it again later.",
		Flags:       append(nodeFlags(), &cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory (data.dir)"}),
		Action:      func(c *cli.Context) error { return runNode(c, founding) },
	}
}

func joinCommand() *cli.Command {
	return &cli.Command{
		Name:        "join",
		Usage:       "join a cluster with a new node, and serve until SIGINT or SIGTERM",
		UsageText:   "kraftgo join --data DIR --seed HOST:PORT [flags]",
		Description: "Example:\n\n  kraftgo join --data ./n2 --seed 127.0.0.1:9094\n\nAny node of the cluster is a seed, by the address that it prints as gossip=. While none answers, the node keeps trying.\n'kraftgo start' starts the node again later, without a seed.",
		Flags:       append(nodeFlags(), &cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory (data.dir)"}, &cli.StringFlag{Name: "token", Usage: "what 'kraftgo cluster token' printed, in place of --seed and --secret-file"}, replaceFlag()),
		Action:      func(c *cli.Context) error { return runNode(c, joining) },
	}
}

func replaceFlag() cli.Flag {
	return &cli.BoolFlag{Name: "replace", Usage: "take the place of a broker that is down and whose directory is gone for good (with --broker-id); what nobody else holds of its records is lost"}
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "start a node that was founded, and serve until SIGINT or SIGTERM",
		UsageText:   "kraftgo start --data DIR [flags]",
		Description: "Example:\n\n  kraftgo start --data ./n1\n\nEverything it needs is in the directory; ports that were chosen automatically stay.",
		Flags: append(nodeFlags(), &cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory (data.dir)"},
			&cli.BoolFlag{Name: "readmit", Usage: "bring back a broker that was removed from the cluster, with what its directory holds"}, replaceFlag()),
		Action: func(c *cli.Context) error { return runNode(c, starting) },
	}
}

func devCommand() *cli.Command {
	return &cli.Command{
		Name:        "dev",
		Usage:       "run a whole cluster with its data in a temporary directory, removed at the end",
		UsageText:   "kraftgo dev [--brokers N] [flags]",
		Description: "Example:\n\n  kraftgo dev\n  kraftgo dev --brokers 3\n  kraftgo dev --client 127.0.0.1:0 --set auto.create.topics.enable=false\n\nAll brokers run in this process, over real sockets; ports that are taken move up by ten. A port that is\ngiven is that of the first broker; the others have it plus 10, 20 and so on.",
		Flags:       append(nodeFlags(), &cli.IntFlag{Name: "brokers", Value: 1, Usage: "how many `BROKERS`"}),
		Action:      runDev,
	}
}

// intent is what a node's data directory is expected to be.
type intent int

const (
	starting intent = iota // that of a member
	founding               // new, for a new cluster
	joining                // new, for a cluster that the seeds are of
)

// nodeConfig makes a node's configuration from flags, environment and file.
func nodeConfig(c *cli.Context) (cluster.Config, error) {
	if c.Args().Present() {
		return cluster.Config{}, fmt.Errorf("%q is left over; 'kraftgo %s' takes flags only", c.Args().First(), c.Command.Name)
	}
	settings, err := settingsOf(c)
	if err != nil {
		return cluster.Config{}, err
	}
	if _, err := cluster.CheckSettings(settings); err != nil {
		return cluster.Config{}, err
	}
	node := cluster.Config{Settings: settings, Data: settings["data.dir"], Seeds: config.SplitList(settings["cluster.seeds"]), Log: newLogger(c, settings)}
	if name := settings["cluster.secret.file"]; name != "" {
		if node.Secret, err = cluster.ReadSecret(name); err != nil {
			return cluster.Config{}, err
		}
	}
	if token := c.String("token"); token != "" {
		t, err := cluster.ParseToken(token)
		if err != nil {
			return cluster.Config{}, err
		}
		if len(node.Secret) > 0 && len(t.Secret) > 0 {
			return cluster.Config{}, errors.New("--token has the secret in it; leave out --secret-file")
		}
		node.Seeds, node.Expect = append(node.Seeds, t.Seeds...), t.Cluster
		if len(t.Secret) > 0 {
			node.Secret = t.Secret
		}
	}
	return node, nil
}

// stopSignals is a context that ends with SIGINT or SIGTERM.
func stopSignals() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// runNode runs a node until a signal or a failure ends it.
func runNode(c *cli.Context, as intent) error {
	calm()
	node, err := nodeConfig(c)
	if err != nil {
		return err
	}
	if as == founding && c.IsSet("seed") {
		return fmt.Errorf("'kraftgo init' founds a new cluster, and has no use for --seed: 'kraftgo join --data DIR --seed %s' joins the one that is there", c.StringSlice("seed")[0])
	}
	if node.Data == "" {
		return fmt.Errorf("which data directory? Give --data DIR")
	}
	node.Found, node.Join, node.Readmit = as == founding, as == joining, c.Bool("readmit")
	node.Replace = c.Bool("replace")
	ctx, cancel := stopSignals()
	defer cancel()
	n, err := cluster.Start(ctx, node)
	if err != nil {
		if ctx.Err() != nil {
			node.Log.Info("stopped before the node was ready", "error", err)
			return nil
		}
		return err
	}
	announce(c, n, node.Data, as)
	return serve(ctx, node.Log, n)
}

// serve waits until the nodes are to stop, and stops them all.
func serve(ctx context.Context, log *slog.Logger, nodes ...*cluster.Node) error {
	failed := make(chan error, len(nodes))
	for _, n := range nodes {
		go func() { failed <- <-n.Failed() }()
	}
	var failure error
	select {
	case <-ctx.Done():
		log.Info("stopping")
	case failure = <-failed:
	}
	return errors.Join(failure, stopNodes(nodes))
}

// stopNodes stops all nodes at the same time.
func stopNodes(nodes []*cluster.Node) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	faults := make([]error, len(nodes))
	var all sync.WaitGroup
	for i, n := range nodes {
		all.Go(func() { faults[i] = n.Stop(ctx) })
	}
	all.Wait()
	return errors.Join(faults...)
}

// runDev runs a cluster in this process.
func runDev(c *cli.Context) error {
	calm()
	base, err := nodeConfig(c)
	if err != nil {
		return err
	}
	count := c.Int("brokers")
	if count < 1 || count > 100 {
		return fmt.Errorf("--brokers %d: from 1 to 100", count)
	}
	for _, name := range []string{"broker.id", "node.id", "advertised.listeners"} {
		if _, given := base.Settings[name]; given && count > 1 {
			return fmt.Errorf("%s is for one broker, and --brokers says %d", name, count)
		}
	}
	dir, err := os.MkdirTemp("", "kraftgo-dev-")
	if err != nil {
		return fmt.Errorf("make a temporary directory: %w", err)
	}
	ctx, cancel := stopSignals()
	defer cancel()
	nodes, err := startDev(ctx, base, dir, count)
	if err == nil {
		announceDev(c, nodes, dir)
		err = serve(ctx, base.Log, nodes...)
	} else {
		err = errors.Join(err, stopNodes(nodes))
	}
	return errors.Join(err, os.RemoveAll(dir))
}

// startDev founds a cluster and lets the other brokers join it, all at once.
func startDev(ctx context.Context, base cluster.Config, dir string, count int) ([]*cluster.Node, error) {
	configured := func(i int) cluster.Config {
		n := base
		n.Data, n.Found = filepath.Join(dir, fmt.Sprintf("n%d", i+1)), i == 0
		n.Log = base.Log.With("node", i+1)
		n.Settings = maps.Clone(base.Settings)
		for _, name := range []string{"listeners", "internal.listener", "gossip.listener", "admin.listener"} {
			if given, ok := n.Settings[name]; ok {
				n.Settings[name] = portsUp(given, 10*i)
			}
		}
		return n
	}
	first, err := cluster.Start(ctx, configured(0))
	if err != nil {
		return nil, err
	}
	nodes := make([]*cluster.Node, count)
	faults := make([]error, count)
	nodes[0] = first
	var all sync.WaitGroup
	for i := 1; i < count; i++ {
		n := configured(i)
		n.Join, n.Seeds = true, []string{first.Address().Gossip}
		all.Go(func() { nodes[i], faults[i] = cluster.Start(ctx, n) })
	}
	all.Wait()
	return slices.DeleteFunc(nodes, func(n *cluster.Node) bool { return n == nil }), errors.Join(faults...)
}

// portsUp adds to the ports of a list of addresses, but for 0, which takes any.
func portsUp(list string, more int) string {
	addresses := strings.Split(list, ",")
	for i, a := range addresses {
		at := strings.LastIndexByte(a, ':')
		if port, err := strconv.ParseUint(strings.TrimSpace(a[at+1:]), 10, 16); err == nil && port > 0 {
			addresses[i] = a[:at+1] + strconv.Itoa(int(port)+more)
		}
	}
	return strings.Join(addresses, ",")
}

func newLogger(c *cli.Context, settings map[string]string) *slog.Logger {
	name, ok := settings["log.level"]
	if !ok {
		name = config.Lookup(config.Broker, "log.level").Default
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(name)); err != nil {
		panic("a checked level does not parse: " + name)
	}
	return slog.New(slog.NewTextHandler(c.App.ErrWriter, &slog.HandlerOptions{Level: level}))
}

// announce prints the line that scripts wait for on standard output, and what a person needs next on standard error.
func announce(c *cli.Context, n *cluster.Node, dir string, as intent) {
	a := n.Address()
	fmt.Fprintf(c.App.Writer, "ready cluster=%s broker=%d client=%s internal=%s gossip=%s admin=%s\n", a.Cluster, a.Broker, a.Client, a.Internal, a.Gossip, a.Admin)
	switch as {
	case founding:
		tellFounded(c, a, dir)
		with := "--seed " + a.Gossip
		if n.HasSecret() {
			with = fmt.Sprintf("--token TOKEN   where TOKEN is what 'kraftgo cluster token --data %s' prints: it has the secret in it", dir)
		}
		fmt.Fprintf(c.App.ErrWriter, "A further node joins with\n  kraftgo join --data DIR %s\n\nCtrl-C stops it; 'kraftgo start --data %s' starts it again.\n", with, dir)
	case joining:
		fmt.Fprintf(c.App.ErrWriter, "\nBroker %d has joined cluster %s.\n  bootstrap server  %s\n\nCtrl-C stops it; 'kraftgo start --data %s' starts it again.\n", a.Broker, a.Cluster, a.Client, dir)
	}
}

func announceDev(c *cli.Context, nodes []*cluster.Node, dir string) {
	var clients []string
	for _, n := range nodes {
		clients = append(clients, n.Address().Client)
	}
	a := nodes[0].Address()
	a.Client = strings.Join(clients, ",")
	fmt.Fprintf(c.App.Writer, "ready cluster=%s brokers=%d client=%s admin=%s\n", a.Cluster, len(nodes), a.Client, a.Admin)
	tellFounded(c, a, dir)
}

func tellFounded(c *cli.Context, a cluster.Address, dir string) {
	full, err := filepath.Abs(dir)
	if err != nil {
		full = dir
	}
	fmt.Fprintf(c.App.ErrWriter, "\nCluster %s is founded.\n  bootstrap server  %s\n  data directory    %s\n\nNext, in another terminal:\n  kraftgo topic create orders --partitions 6 -b %s\n  echo hello | kraftgo produce orders -b %s\n  kraftgo consume orders --from start -b %s\n\n",
		a.Cluster, a.Client, full, a.Client, a.Client, a.Client)
}
