package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

// levelFeature gates what kraftgo writes into its metadata.
const levelFeature = "kraftgo.version"

func upgradeCommand() *cli.Command {
	return &cli.Command{
		Name: "upgrade", Usage: "show and finalize feature levels, after all brokers run a newer kraftgo", UsageText: "kraftgo cluster upgrade status|finalize [flags]",
		Description: example("  kraftgo cluster upgrade status\n  kraftgo cluster upgrade finalize"),
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "show finalized levels, and those that the brokers support", UsageText: "kraftgo cluster upgrade status [flags]",
				Description: example("  kraftgo cluster upgrade status --format json"),
				Flags:       connectionFlags(formatFlag()),
				Action:      upgradeStatus,
			},
			{
				Name: "finalize", Usage: "let brokers write what all of them know by now; there is no way back to an older kraftgo",
				UsageText:   "kraftgo cluster upgrade finalize [flags]",
				Description: example("  kraftgo cluster upgrade finalize --dry-run") + "\n\nIt raises " + levelFeature + " to the highest level that all brokers support.",
				Flags:       connectionFlags(formatFlag(), &cli.BoolFlag{Name: "dry-run", Usage: "say what would be done, and do nothing"}),
				Action:      upgradeFinalize,
			},
		},
	}
}

// featureLine is a feature as 'cluster upgrade status' prints it.
type featureLine struct {
	Feature   string `json:"feature"`
	Finalized int16  `json:"finalized"` // 0: off
	Min       int16  `json:"min"`       // what all brokers support that answered
	Max       int16  `json:"max"`
	Pending   bool   `json:"pending"` // a higher level could be finalized
}

// upgradeReport is what 'cluster upgrade status' prints.
type upgradeReport struct {
	Features []*featureLine `json:"features"`
	Silent   []int32        `json:"silent"` // brokers that are down or did not answer: what they support is not known
	Behind   []int32        `json:"behind"` // brokers that support less than others
}

// features asks every broker for what it supports, and what is finalized.
func (s *session) features() (upgradeReport, error) {
	nodes, _, err := s.nodes()
	if err != nil {
		return upgradeReport{}, err
	}
	report := upgradeReport{Features: []*featureLine{}, Silent: []int32{}, Behind: []int32{}}
	answers := map[int32]*kmsg.ApiVersionsResponse{}
	for _, n := range nodes {
		if n.State != stateAlive {
			report.Silent = append(report.Silent, n.Broker)
			continue
		}
		request := kmsg.NewPtrApiVersionsRequest()
		request.ClientSoftwareName, request.ClientSoftwareVersion = "kraftgo", "client"
		ctx, cancel := context.WithTimeout(s.ctx, reachTimeout)
		answer, err := s.client.Broker(int(n.Broker)).Request(ctx, request)
		cancel()
		if err != nil {
			report.Silent = append(report.Silent, n.Broker)
			continue
		}
		answers[n.Broker] = answer.(*kmsg.ApiVersionsResponse)
	}
	if len(answers) == 0 {
		return report, refused("no broker told which features it supports")
	}
	report.collect(answers)
	return report, nil
}

// collect sums up the brokers' answers.
func (r *upgradeReport) collect(answers map[int32]*kmsg.ApiVersionsResponse) {
	highest, finalized := map[string]int16{}, map[string]int16{}
	for _, a := range answers {
		for _, f := range a.SupportedFeatures {
			highest[f.Name] = max(highest[f.Name], f.MaxVersion)
		}
		for _, f := range a.FinalizedFeatures {
			finalized[f.Name] = max(finalized[f.Name], f.MaxVersionLevel)
		}
	}
	for name := range highest {
		line := &featureLine{Feature: name, Finalized: finalized[name], Max: highest[name]}
		for id, a := range answers {
			low, high := int16(0), int16(0)
			for _, f := range a.SupportedFeatures {
				if f.Name == name {
					low, high = f.MinVersion, f.MaxVersion
				}
			}
			line.Min, line.Max = max(line.Min, low), min(line.Max, high)
			if high < highest[name] && !slices.Contains(r.Behind, id) {
				r.Behind = append(r.Behind, id)
			}
		}
		line.Pending = line.Max > line.Finalized && name == levelFeature
		r.Features = append(r.Features, line)
	}
	slices.SortFunc(r.Features, func(a, b *featureLine) int { return strings.Compare(a.Feature, b.Feature) })
	slices.Sort(r.Behind)
}

func (r *upgradeReport) line(feature string) *featureLine {
	for _, f := range r.Features {
		if f.Feature == feature {
			return f
		}
	}
	return nil
}

func upgradeStatus(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		report, err := s.features()
		if err != nil {
			return err
		}
		return printData(c, report, func(t *table) {
			t.row("FEATURE", "FINALIZED", "SUPPORTED BY ALL")
			for _, f := range report.Features {
				t.row(f.Feature, f.Finalized, fmt.Sprintf("%d-%d", f.Min, f.Max))
			}
			if len(report.Silent)+len(report.Behind) > 0 || report.pending() {
				t.gap()
			}
			if len(report.Silent) > 0 {
				t.row("these brokers did not answer: " + ids(report.Silent))
			}
			if len(report.Behind) > 0 {
				t.row("these brokers run an older version than others: " + ids(report.Behind))
			}
			if report.pending() {
				t.row("all brokers that answered know a higher level: 'kraftgo cluster upgrade finalize' sets it")
			}
		})
	})
}

func (r *upgradeReport) pending() bool {
	f := r.line(levelFeature)
	return f != nil && f.Pending
}

func ids(list []int32) string {
	var out []string
	for _, id := range list {
		out = append(out, strconv.Itoa(int(id)))
	}
	return strings.Join(out, ", ")
}

// finalizeResult is what 'cluster upgrade finalize' prints.
type finalizeResult struct {
	Feature string `json:"feature"`
	Was     int16  `json:"was"`
	Level   int16  `json:"level"`  // that is finalized, or with --dry-run would be
	DryRun  bool   `json:"dryRun"` // nothing was changed
}

func upgradeFinalize(c *cli.Context) error {
	if err := alone(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		report, err := s.features()
		if err != nil {
			return err
		}
		f := report.line(levelFeature)
		switch {
		case f == nil:
			return refused("the brokers have no feature %s: this is not a cluster of kraftgo. Apache Kafka's kafka-features tool finalizes its features", levelFeature)
		case !f.Pending:
			result := finalizeResult{levelFeature, f.Finalized, f.Finalized, c.Bool("dry-run")}
			return printResult(c, result, "%s is finalized at %d, the highest level that all brokers support", levelFeature, f.Finalized)
		}
		request := kmsg.NewPtrUpdateFeaturesRequest()
		request.TimeoutMillis, request.ValidateOnly = int32(requestTimeout.Milliseconds()), c.Bool("dry-run")
		update := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		update.Feature, update.MaxVersionLevel, update.UpgradeType = levelFeature, f.Max, 1
		request.FeatureUpdates = append(request.FeatureUpdates, update)
		doing := fmt.Sprintf("finalize %s %d", levelFeature, f.Max)
		answer, err := request.RequestWith(s.ctx, s.client)
		if err != nil {
			return failed(doing, err)
		}
		if err := kerr.ErrorForCode(answer.ErrorCode); err != nil {
			why := ""
			if answer.ErrorMessage != nil {
				why = *answer.ErrorMessage
			}
			return answered(doing, err, why)
		}
		verb := "is finalized"
		if c.Bool("dry-run") {
			verb = "would be finalized"
		}
		result := finalizeResult{levelFeature, f.Finalized, f.Max, c.Bool("dry-run")}
		return printResult(c, result, "%s %d %s; it was %d", levelFeature, f.Max, verb, f.Finalized)
	})
}
