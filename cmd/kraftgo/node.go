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
	"strings"
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
		&cli.StringFlag{Name: "log-level", Usage: "debug, info, warn or error (log.level)"},
		&cli.StringFlag{Name: "config", Usage: "read settings from `FILE` (key=value lines, as server.properties)"},
		&cli.StringSliceFlag{Name: "set", Usage: "any setting, as `KEY=VALUE`; may be repeated"},
	}
}

// flagSettings maps flags to the settings they are.
var flagSettings = map[string]string{
	"client": "listeners", "advertise": "advertised.listeners", "internal": "internal.listener", "gossip": "gossip.listener",
	"admin": "admin.listener", "rack": "broker.rack", "broker-id": "broker.id", "log-level": "log.level", "data": "data.dir",
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
		Action:      func(c *cli.Context) error { return runNode(c, true) },
	}
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:        "start",
		Usage:       "start a node that was founded, and serve until SIGINT or SIGTERM",
		UsageText:   "kraftgo start --data DIR [flags]",
		Description: "Example:\n\n  kraftgo start --data ./n1\n\nEverything it needs is in the directory; ports that were chosen automatically stay.",
		Flags:       append(nodeFlags(), &cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory (data.dir)"}),
		Action:      func(c *cli.Context) error { return runNode(c, false) },
	}
}

func devCommand() *cli.Command {
	return &cli.Command{
		Name:        "dev",
		Usage:       "run a broker with its data in a temporary directory, removed at the end",
		UsageText:   "kraftgo dev [flags]",
		Description: "Example:\n\n  kraftgo dev\n  kraftgo dev --client 127.0.0.1:0 --set auto.create.topics.enable=false",
		Flags:       append(nodeFlags(), &cli.IntFlag{Name: "brokers", Value: 1, Usage: "how many `BROKERS`; only 1 as yet"}),
		Action: func(c *cli.Context) error {
			if n := c.Int("brokers"); n != 1 {
				return fmt.Errorf("--brokers %d: this kraftgo runs one broker; clusters of several are not there yet", n)
			}
			dir, err := os.MkdirTemp("", "kraftgo-dev-")
			if err != nil {
				return fmt.Errorf("make a temporary directory: %w", err)
			}
			return errors.Join(runNodeIn(c, dir, true, true), os.RemoveAll(dir))
		},
	}
}

func runNode(c *cli.Context, found bool) error { return runNodeIn(c, "", found, false) }

// runNodeIn runs a node until a signal or a failure ends it.
func runNodeIn(c *cli.Context, dir string, found, dev bool) error {
	if c.Args().Present() {
		return fmt.Errorf("%q is left over; 'kraftgo %s' takes flags only", c.Args().First(), c.Command.Name)
	}
	settings, err := settingsOf(c)
	if err != nil {
		return err
	}
	if dir == "" {
		dir = settings["data.dir"]
	}
	if dir == "" {
		return fmt.Errorf("which data directory? Give --data DIR")
	}
	if _, err := cluster.CheckSettings(settings); err != nil {
		return err
	}
	log := newLogger(c, settings)
	node, err := cluster.Start(cluster.Config{Data: dir, Found: found, Settings: settings, Log: log})
	if err != nil {
		return err
	}
	announce(c, node.Address(), dir, found, dev)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(signals)
	var failure error
	select {
	case s := <-signals:
		log.Info("stopping", "signal", s.String())
	case failure = <-node.Failed():
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return errors.Join(failure, node.Stop(ctx))
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
func announce(c *cli.Context, a cluster.Address, dir string, found, dev bool) {
	if dev {
		fmt.Fprintf(c.App.Writer, "ready cluster=%s brokers=1 client=%s admin=%s\n", a.Cluster, a.Client, a.Admin)
	} else {
		fmt.Fprintf(c.App.Writer, "ready cluster=%s broker=%d client=%s internal=- gossip=- admin=%s\n", a.Cluster, a.Broker, a.Client, a.Admin)
	}
	if !found {
		return
	}
	full, err := filepath.Abs(dir)
	if err != nil {
		full = dir
	}
	fmt.Fprintf(c.App.ErrWriter, "\nCluster %s is founded.\n  bootstrap server  %s\n  data directory    %s\n\nNext, in another terminal:\n  kraftgo topic create orders --partitions 6 -b %s\n  echo hello | kraftgo produce orders -b %s\n  kraftgo consume orders --from start -b %s\n\n",
		a.Cluster, a.Client, full, a.Client, a.Client, a.Client)
	if !dev {
		fmt.Fprintf(c.App.ErrWriter, "Ctrl-C stops it; 'kraftgo start --data %s' starts it again.\n", dir)
	}
}
