package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/metadata/control"
)

func reassignCommand() *cli.Command {
	return &cli.Command{
		Name:  "reassign",
		Usage: "move replicas between brokers",
		Subcommands: []*cli.Command{
			{
				Name: "plan", Usage: "show which replicas to move, and why", UsageText: "kraftgo reassign plan [--drain BROKER]... [--spread] [--racks] [flags]",
				Description: example("  kraftgo reassign plan --spread --out plan.json\n  kraftgo reassign plan --drain 3 --topic orders") +
					"\n\nNothing is changed. The file is one that Kafka's kafka-reassign-partitions reads as well.",
				Flags: connectionFlags(formatFlag(),
					repeatedFlag("drain", "leave nothing on `BROKER`"),
					&cli.BoolFlag{Name: "spread", Usage: "even out what brokers hold and lead, as when one is new"},
					&cli.BoolFlag{Name: "racks", Usage: "put the replicas of a partition on as many racks as there are"},
					repeatedFlag("topic", "plan for this `TOPIC` only"),
					&cli.StringFlag{Name: "out", Usage: "write the plan to `FILE`, for 'reassign apply'"},
					rateFlag()),
				Action: reassignPlan,
			},
			{
				Name: "apply", Usage: "carry out a plan", UsageText: "kraftgo reassign apply FILE [flags]",
				Description: example("  kraftgo reassign apply plan.json --watch --throttle 20MB") +
					"\n\nFILE is '-' for standard input. Without --watch everything is begun at once, and 'reassign status' tells how far it is.",
				Flags:  connectionFlags(watchFlags()...),
				Action: reassignApply,
			},
			{
				Name: "status", Usage: "show what is being moved", UsageText: "kraftgo reassign status [flags]",
				Description: example("  kraftgo reassign status --format json"),
				Flags:       connectionFlags(formatFlag()),
				Action:      reassignStatus,
			},
			{
				Name: "cancel", Usage: "end moves that are under way, and go back", UsageText: "kraftgo reassign cancel TOPIC[:PARTITION]... [flags]",
				Description: example("  kraftgo reassign cancel orders\n  kraftgo reassign cancel --all"),
				Flags:       connectionFlags(&cli.BoolFlag{Name: "all", Usage: "everything that is under way"}),
				Action:      reassignCancel,
			},
			{
				Name: "unthrottle", Usage: "copy as fast as can be again", UsageText: "kraftgo reassign unthrottle [flags]",
				Description: example("  kraftgo reassign unthrottle") +
					"\n\nTakes away what --throttle, or Kafka's kafka-reassign-partitions, has set on topics and on brokers that run. Moves that are under\nway go on.",
				Flags:  connectionFlags(),
				Action: reassignUnthrottle,
			},
		},
	}
}

func rateFlag() cli.Flag {
	return &cli.StringFlag{Name: "rate", Value: "50MB", Usage: "estimate the time with so many `BYTES` a second into each broker"}
}

// movesFile is a plan in the form of Kafka's kafka-reassign-partitions.
type movesFile struct {
	Version    int         `json:"version"`
	Partitions []movesLine `json:"partitions"`
}

type movesLine struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
}

func newMovesFile(p control.MovePlan) movesFile {
	f := movesFile{Version: 1, Partitions: []movesLine{}}
	for _, m := range p.Moves {
		f.Partitions = append(f.Partitions, movesLine{m.Topic, int32(m.Partition), int32s(m.To)})
	}
	return f
}

// planReport is a plan as it is printed.
type planReport struct {
	Moves    []planLine `json:"moves"`
	Problems []string   `json:"problems"`
	Bytes    int64      `json:"bytes"`
	Seconds  float64    `json:"seconds"` // at the rate that was given
}

type planLine struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
	Bytes     int64   `json:"bytes"`
	Why       string  `json:"why"`
}

// newPlanReport tells of a plan; rate is how many bytes a second a broker takes in.
func newPlanReport(p control.MovePlan, rate int64) planReport {
	r := planReport{Moves: []planLine{}, Problems: append([]string{}, p.Problems...)}
	into := map[int32]int64{}
	for _, m := range p.Moves {
		line := planLine{m.Topic, int32(m.Partition), int32s(m.Replicas), int32s(m.To), m.Moved, strings.Join(m.Why, "; ")}
		r.Moves = append(r.Moves, line)
		r.Bytes += m.Moved
		for _, id := range line.To {
			if !slices.Contains(line.From, id) {
				into[id] += m.Bytes
			}
		}
	}
	for _, n := range into { // brokers copy side by side: the one that takes most decides
		r.Seconds = max(r.Seconds, float64(n)/float64(rate))
	}
	return r
}

func (r planReport) summary() string {
	d := time.Duration(r.Seconds * float64(time.Second)).Round(time.Second)
	return fmt.Sprintf("%d partitions change, %s are copied, about %s", len(r.Moves), byteCount(r.Bytes), d)
}

func (r planReport) print(t *table) {
	if len(r.Moves) > 0 {
		t.row("TOPIC", "PARTITION", "FROM", "TO", "COPIES", "WHY")
	}
	for _, m := range r.Moves {
		t.row(m.Topic, m.Partition, numbers(m.From), numbers(m.To), byteCount(m.Bytes), m.Why)
	}
}

func reassignPlan(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	drain := map[int32]bool{}
	for _, v := range repeatedValues(c, "drain") {
		id, err := strconv.ParseInt(v, 10, 32)
		if err != nil {
			return fmt.Errorf("--drain %s: want the id of a broker", v)
		}
		drain[int32(id)] = true
	}
	if len(drain) == 0 && !c.Bool("spread") && !c.Bool("racks") {
		return errors.New("what for? Give --drain BROKER, --spread or --racks")
	}
	rate, err := parseBytes(c.String("rate"))
	if err != nil {
		return fmt.Errorf("--rate: %w", err)
	}
	topics := repeatedValues(c, "topic")
	return withSession(c, func(s *session) error {
		for _, name := range topics {
			if _, err := s.topic(name); err != nil {
				return err
			}
		}
		l, err := s.layout()
		if err != nil {
			return err
		}
		for id := range drain {
			if !slices.ContainsFunc(l.nodes, func(n *nodeLine) bool { return n.Broker == id }) {
				return refused("broker %d is not registered; 'kraftgo node list' shows who is", id)
			}
		}
		plan := l.plan(drain, control.MoveGoals{Racks: c.Bool("racks"), Spread: c.Bool("spread")}, func(p place) bool {
			return len(topics) == 0 || slices.Contains(topics, p.topic)
		})
		if name := c.String("out"); name != "" {
			text, err := json.MarshalIndent(newMovesFile(plan), "", "  ")
			if err == nil {
				err = os.WriteFile(name, append(text, '\n'), 0o666)
			}
			if err != nil {
				return fmt.Errorf("write the plan: %w", err)
			}
		}
		report := newPlanReport(plan, rate)
		err = printData(c, report, report.print)
		for _, p := range report.Problems {
			fmt.Fprintln(c.App.ErrWriter, "note:", p)
		}
		fmt.Fprintf(c.App.ErrWriter, "%s at %s/s into each broker\n", report.summary(), byteCount(rate))
		return err
	})
}

// readMoves reads a plan.
func readMoves(c *cli.Context) ([]movesLine, error) {
	files, err := names(c, "file", 1, 1)
	if err != nil {
		return nil, err
	}
	var text []byte
	if files[0] == "-" {
		text, err = io.ReadAll(c.App.Reader)
	} else {
		text, err = os.ReadFile(files[0])
	}
	if err != nil {
		return nil, fmt.Errorf("read the plan: %w", err)
	}
	var f movesFile
	if err := json.Unmarshal(text, &f); err != nil {
		return nil, fmt.Errorf("%s is no plan: %w", files[0], err)
	}
	if f.Version != 1 {
		return nil, fmt.Errorf("%s has version %d, this kraftgo knows 1", files[0], f.Version)
	}
	seen := map[place]bool{}
	for _, p := range f.Partitions {
		at := place{p.Topic, p.Partition}
		if seen[at] || len(p.Replicas) == 0 {
			return nil, fmt.Errorf("%s: partition %s stands there twice, or without replicas", files[0], at)
		}
		seen[at] = true
	}
	return f.Partitions, nil
}

func reassignApply(c *cli.Context) error {
	list, err := readMoves(c)
	if err != nil {
		return err
	}
	return withSession(c, func(s *session) error { return s.carryOut(c, list) })
}

// statusLine is a partition that is being moved, as 'reassign status' prints it.
type statusLine struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Replicas  []int32 `json:"replicas"`
	Adding    []int32 `json:"adding"`
	Removing  []int32 `json:"removing"`
	InSync    []int32 `json:"inSync"`
	Copied    int64   `json:"copied"` // bytes on the new replicas
	Bytes     int64   `json:"bytes"`  // that are to be there
}

func reassignStatus(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		l, err := s.layout()
		if err != nil {
			return err
		}
		lines := []statusLine{}
		for at, r := range l.copying {
			line := statusLine{at.topic, at.partition, r.Replicas, r.Adding, r.Removing, l.partitions[at].ISR, 0, 0}
			for _, id := range r.Adding {
				line.Copied += min(l.sizes[at][id], l.bytes(at))
				line.Bytes += l.bytes(at)
			}
			lines = append(lines, line)
		}
		slices.SortFunc(lines, func(a, b statusLine) int { return place{a.Topic, a.Partition}.compare(place{b.Topic, b.Partition}) })
		return printData(c, lines, func(t *table) {
			if len(lines) == 0 {
				t.row("nothing is being moved")
				return
			}
			t.row("TOPIC", "PARTITION", "REPLICAS", "ADDING", "REMOVING", "IN SYNC", "COPIED")
			for _, l := range lines {
				t.row(l.Topic, l.Partition, numbers(l.Replicas), numbers(l.Adding), numbers(l.Removing), numbers(l.InSync), byteCount(l.Copied)+" of "+byteCount(l.Bytes))
			}
		})
	})
}

func reassignCancel(c *cli.Context) error {
	words := c.Args().Slice()
	if c.Bool("all") != (len(words) == 0) {
		return fmt.Errorf("what? Either topics, or --all. Usage: %s", c.Command.UsageText)
	}
	return withSession(c, func(s *session) error {
		set, err := s.partitionWords(words)
		if err != nil {
			return err
		}
		under, err := s.reassignments()
		if err != nil {
			return err
		}
		var request kadm.AlterPartitionAssignmentsReq
		cancelled := 0
		for at := range under {
			_, wanted := set[at.topic][at.partition]
			if c.Bool("all") || wanted {
				request.CancelAssign(at.topic, at.partition)
				cancelled++
			}
		}
		if cancelled > 0 {
			refusal, err := s.alterAssignments(request)
			if err := cmp.Or(err, refusal); err != nil {
				return err
			}
		}
		fmt.Fprintf(c.App.Writer, "cancelled %d\n", cancelled)
		return nil
	})
}

// alterAssignments begins or cancels moves. refusal is what was refused, in one line; err means that it is not known.
func (s *session) alterAssignments(request kadm.AlterPartitionAssignmentsReq) (refusal, err error) {
	answers, err := s.admin.AlterPartitionAssignments(s.ctx, request)
	if err != nil {
		return nil, failed("reassign", err)
	}
	var faults []error
	for _, a := range answers.Sorted() {
		if a.Err != nil {
			faults = append(faults, answered("reassign "+place{a.Topic, a.Partition}.String(), a.Err, a.ErrMessage))
		}
	}
	if len(faults) > 3 {
		faults = append(faults[:3], refused("and %d more like these", len(faults)-3))
	}
	return oneLine(faults), nil
}
