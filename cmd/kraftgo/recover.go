package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/cluster"
)

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "make the metadata quorum anew from what one stopped node has, when most voters are lost for good",
		UsageText: "kraftgo cluster recover --data DIR [--yes | --follow RECOVERY [--yes] | --undo]",
		Description: example("  kraftgo cluster recover --data ./n3\n  kraftgo cluster recover --data ./n3 --yes\n  kraftgo cluster recover --data ./n2 --follow RECOVERY") +
			"\n\nThe node must be stopped. Without --yes it says what would be done and what may be lost, and does nothing. Of several nodes that\nare left, take the one that is furthest: the highest index, a voter before one that is none. The others give their metadata up\nwith --follow, and keep their partitions: only when a node of that recovery answers, or with --yes. --undo puts metadata back that\nwas given up for a recovery of which the node has met nobody.",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Usage: "the data `DIR`ectory of a stopped node"},
			&cli.BoolFlag{Name: "yes", Usage: "do it: the other voters never come back as they were; with --follow, though no node of the recovery answers"},
			&cli.StringFlag{Name: "follow", Usage: "do not recover: take part in a cluster that was, and give up this node's own metadata; `RECOVERY` is the name of it"},
			&cli.BoolFlag{Name: "undo", Usage: "take back a --follow"},
		},
		Action: clusterRecover,
	}
}

func clusterRecover(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%q is left over. Usage: %s", c.Args().First(), c.Command.UsageText)
	}
	dir := c.String("data")
	switch {
	case dir == "":
		return errors.New("which node's data directory? Give --data DIR")
	case c.Bool("undo") && (c.IsSet("follow") || c.Bool("yes")):
		return errors.New("--undo goes alone")
	case c.Bool("undo"):
		if err := cluster.Undo(dir); err != nil {
			return err
		}
		fmt.Fprintf(c.App.ErrWriter, "The node has its metadata back, and follows no recovery that it was told of.\nNext:\n  kraftgo start --data %s\n", dir)
		return nil
	case c.IsSet("follow"):
		return follow(c, dir)
	}
	r, err := cluster.OpenRecovery(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	report, err := r.Report(c.Context)
	if err != nil {
		return err
	}
	tellRemains(c, report)
	if !c.Bool("yes") {
		return errors.New("nothing was done. Say --yes if the other voters are gone for good and this is the node to go on from")
	}
	name, kept, err := r.Run()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.Writer, "recovered %s\n", name)
	fmt.Fprintf(c.App.ErrWriter, "\nBroker %d is the only voter now. What was there before is kept in %s.\nNext:\n  kraftgo start --data %s\n  kraftgo cluster recover --data DIR --follow %s   on every other node that is left, before it starts\n  kraftgo node remove BROKER --force   for every broker that is gone: what only it held is lost, the rest gets leaders\n",
		report.Broker, kept, dir, name)
	return nil
}

// tellRemains says what a recovery would begin with, and what may be lost by it.
func tellRemains(c *cli.Context, r cluster.RecoveryReport) {
	w := c.App.ErrWriter
	role := "not known to have been a voter"
	if r.Voter {
		role = "a voter"
	}
	fmt.Fprintf(w, "Broker %d of cluster %s, %s, has metadata up to index %d of term %d, last written %s: %d topics with %d partitions.\n",
		r.Broker, r.Cluster, role, r.Index, r.Term, r.Written.UTC().Format(time.DateTime+" MST"), r.Topics, r.Partitions)
	if r.Recovery != "" {
		fmt.Fprintf(w, "It is of recovery %s already.\n", r.Recovery)
	}
	if r.Damage != nil {
		fmt.Fprintf(w, "Of what is there, this could not be read: %s\n", r.Damage)
	}
	for _, p := range r.Others {
		name, vote := fmt.Sprintf("broker %d", p.Broker), ""
		if p.Broker < 0 {
			name = "a voter that is no broker any more"
		}
		if p.Voter {
			vote = ", a voter,"
		}
		fmt.Fprintf(w, "  %s%s at %s %s\n", name, vote, p.Address, p.State)
	}
	fmt.Fprintf(w, `
A recovery makes it the only voter, of a quorum that begins with what it has. Lost is what it did not have yet: changes of the metadata
that the others acknowledged after index %d (topics, settings, users; a topic that was deleted after it is back, empty or not).
The records of a partition are led on by the replica that holds most, once all brokers that had one are back or removed.
The other nodes are refused as they are; they must never serve again beside this one, but as its followers (--follow).
`, r.Index)
}

func follow(c *cli.Context, dir string) error {
	kept, err := cluster.Follow(c.Context, dir, c.String("follow"), c.Bool("yes"))
	if err != nil {
		return err
	}
	fmt.Fprintf(c.App.ErrWriter, "The node follows recovery %s. What it had is kept in %s.\nNext:\n  kraftgo start --data %s\n", c.String("follow"), kept, dir)
	return nil
}
