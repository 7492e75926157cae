package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func groupCommand() *cli.Command {
	return &cli.Command{
		Name:  "group",
		Usage: "list, describe, reset and delete groups of consumers",
		Subcommands: []*cli.Command{
			{
				Name: "list", Aliases: []string{"ls"}, Usage: "list groups", UsageText: "kraftgo group list [flags]",
				Description: example("  kraftgo group list"),
				Flags:       connectionFlags(formatFlag()),
				Action:      groupList,
			},
			{
				Name: "describe", Usage: "show members, assignment, offsets and lag", UsageText: "kraftgo group describe GROUP... [flags]",
				Description: example("  kraftgo group describe billing\n  kraftgo group describe billing --format json"),
				Flags:       connectionFlags(formatFlag()),
				Action:      groupDescribe,
			},
			{
				Name: "reset", Usage: "move a group's offsets; without --execute show where to", UsageText: "kraftgo group reset GROUP --topic TOPIC --to PLACE [--execute] [flags]",
				Description: example("  kraftgo group reset billing --topic orders --to start\n  kraftgo group reset billing --topic orders --to -2h --execute") +
					"\n\nThe group must have no members. Offsets outside a partition's log are moved to its nearer end.",
				Flags: connectionFlags(
					&cli.StringFlag{Name: "to", Usage: "the new `PLACE`: start, end, offset:N or a time"},
					repeatedFlag("topic", "of `TOPIC`"),
					&cli.IntSliceFlag{Name: "partition", Usage: "only partition `N`; may be repeated"},
					&cli.BoolFlag{Name: "execute", Usage: "do it"},
					formatFlag()),
				Action: groupReset,
			},
			{
				Name: "delete", Usage: "delete groups and their offsets", UsageText: "kraftgo group delete GROUP... [flags]",
				Description: example("  kraftgo group delete billing"),
				Flags:       connectionFlags(),
				Action:      groupDelete,
			},
		},
	}
}

// groupRow is a group as 'group list' prints it.
type groupRow struct {
	Group    string `json:"group"`
	Type     string `json:"type"`
	State    string `json:"state"`
	Protocol string `json:"protocol"` // "consumer" for consumers, "connect" for Kafka Connect
	Members  int    `json:"members"`
}

// groups lists all groups, without counting members.
func (s *session) groups() ([]groupRow, error) {
	request := kmsg.NewPtrListGroupsRequest()
	var out []groupRow
	for _, shard := range s.client.RequestSharded(s.ctx, request) {
		if shard.Err != nil {
			return nil, failed("list groups", shard.Err)
		}
		response := shard.Resp.(*kmsg.ListGroupsResponse)
		if err := kerr.ErrorForCode(response.ErrorCode); err != nil {
			return nil, failed("list groups", err)
		}
		for _, g := range response.Groups {
			kind := strings.ToLower(g.GroupType)
			if kind == "" {
				kind = "classic" // the broker knows no other
			}
			out = append(out, groupRow{Group: g.Group, Type: kind, State: g.GroupState, Protocol: g.ProtocolType})
		}
	}
	slices.SortFunc(out, func(a, b groupRow) int { return strings.Compare(a.Group, b.Group) })
	return out, nil
}

func groupList(c *cli.Context) error {
	if c.Args().Present() {
		return fmt.Errorf("%q is left over: 'kraftgo group describe' takes names", c.Args().First())
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		rows, err := s.groups()
		if err != nil {
			return err
		}
		for i := range rows {
			detail, err := s.describeGroup(rows[i])
			if err != nil {
				return err
			}
			rows[i].Members = len(detail.Members)
		}
		return printData(c, append([]groupRow{}, rows...), func(t *table) {
			t.row("GROUP", "TYPE", "STATE", "MEMBERS")
			for _, r := range rows {
				t.row(r.Group, r.Type, r.State, r.Members)
			}
		})
	})
}

// groupDetail is a group as 'group describe' prints it.
type groupDetail struct {
	Group       string        `json:"group"`
	Type        string        `json:"type"`
	State       string        `json:"state"`
	Assignor    string        `json:"assignor"`
	Coordinator int32         `json:"coordinator"`
	Members     []groupMember `json:"members"`
	Offsets     []groupOffset `json:"offsets"`
}

type groupMember struct {
	Member     string             `json:"member"`
	Instance   string             `json:"instance,omitempty"` // of a static member
	Client     string             `json:"client"`
	Host       string             `json:"host"`
	Assignment map[string][]int32 `json:"assignment"`
}

// groupOffset is a partition that the group has committed, or that a member has.
type groupOffset struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed *int64 `json:"committed"` // null: nothing
	End       *int64 `json:"end"`       // null: the broker did not say
	Lag       *int64 `json:"lag"`
	Owner     string `json:"owner,omitempty"` // the member
}

// describeGroup finds a group's members; offsets are left to addOffsets.
func (s *session) describeGroup(row groupRow) (groupDetail, error) {
	out := groupDetail{Group: row.Group, Type: row.Type, State: row.State, Members: []groupMember{}, Offsets: []groupOffset{}}
	doing := "describe group " + row.Group
	switch row.Type {
	case "classic":
		answers, err := s.admin.DescribeGroups(s.ctx, row.Group)
		g := answers[row.Group]
		if err = errors.Join(err, g.Err); err != nil {
			return out, answered(doing, err, g.ErrMessage)
		}
		out.State, out.Assignor, out.Coordinator = g.State, g.Protocol, g.Coordinator.NodeID
		for _, m := range g.Members {
			member := groupMember{Member: m.MemberID, Client: m.ClientID, Host: m.ClientHost, Assignment: map[string][]int32{}}
			if m.InstanceID != nil {
				member.Instance = *m.InstanceID
			}
			if assigned, ok := m.Assigned.AsConsumer(); ok {
				for _, t := range assigned.Topics {
					member.Assignment[t.Topic] = slices.Sorted(slices.Values(t.Partitions))
				}
			}
			out.Members = append(out.Members, member)
		}
	case "consumer":
		answers, err := s.admin.DescribeConsumerGroups(s.ctx, row.Group)
		g := answers[row.Group]
		if err = errors.Join(err, g.Err); err != nil {
			return out, failed(doing, err)
		}
		out.State, out.Assignor, out.Coordinator = g.State, g.AssignorName, g.Coordinator.NodeID
		for _, m := range g.Members {
			out.Members = append(out.Members, newGroupMember(m.MemberID, m.InstanceID, m.ClientID, m.ClientHost, m.Assignment))
		}
	case "share":
		answers, err := s.admin.DescribeShareGroups(s.ctx, row.Group)
		g := answers[row.Group]
		if err = errors.Join(err, g.Err); err != nil {
			return out, failed(doing, err)
		}
		out.State, out.Assignor, out.Coordinator = g.GroupState, g.Assignor, g.Coordinator.NodeID
		for _, m := range g.Members {
			out.Members = append(out.Members, newGroupMember(m.MemberID, nil, m.ClientID, m.ClientHost, m.Assignment))
		}
	}
	return out, nil
}

func newGroupMember(id string, instance *string, client, host string, assignment kadm.TopicsSet) groupMember {
	out := groupMember{Member: id, Client: client, Host: host, Assignment: map[string][]int32{}}
	if instance != nil {
		out.Instance = *instance
	}
	for topic, partitions := range assignment {
		out.Assignment[topic] = slices.Sorted(maps.Keys(partitions))
	}
	return out
}

// addOffsets finds what the group has committed, and how far that is from the ends.
func (s *session) addOffsets(g *groupDetail) error {
	rows := map[string]map[int32]*groupOffset{}
	row := func(topic string, partition int32) *groupOffset {
		if rows[topic] == nil {
			rows[topic] = map[int32]*groupOffset{}
		}
		if rows[topic][partition] == nil {
			rows[topic][partition] = &groupOffset{Topic: topic, Partition: partition}
		}
		return rows[topic][partition]
	}
	committed, err := s.admin.FetchOffsets(s.ctx, g.Group)
	if err != nil {
		return failed("look up the offsets of group "+g.Group, err)
	}
	for _, o := range committed.Sorted() {
		if o.Err != nil {
			return failed("look up the offsets of group "+g.Group, o.Err)
		}
		if o.At >= 0 {
			row(o.Topic, o.Partition).Committed = &o.At
		}
	}
	for _, m := range g.Members {
		for topic, partitions := range m.Assignment {
			for _, p := range partitions {
				row(topic, p).Owner = m.Member
			}
		}
	}
	if len(rows) == 0 {
		return nil
	}
	topics := slices.Sorted(maps.Keys(rows))
	ends, err := s.admin.ListEndOffsets(s.ctx, topics...)
	if err != nil && len(ends) == 0 {
		return failed("look up ends", err)
	}
	for _, topic := range topics {
		for _, p := range slices.Sorted(maps.Keys(rows[topic])) {
			o := rows[topic][p]
			// A topic may be gone, or a partition without a leader: the end is left out then.
			if end, ok := ends.Lookup(topic, p); ok && end.Err == nil {
				o.End = &end.Offset
				if o.Committed != nil {
					lag := max(0, end.Offset-*o.Committed)
					o.Lag = &lag
				}
			}
			g.Offsets = append(g.Offsets, *o)
		}
	}
	return nil
}

func groupDescribe(c *cli.Context) error {
	groups, err := names(c, "group", 1, 0)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		var out []groupDetail
		for _, name := range groups {
			row, err := s.group(name)
			if err != nil {
				return err
			}
			detail, err := s.describeGroup(row)
			if err != nil {
				return err
			}
			if detail.Type != "share" {
				if err := s.addOffsets(&detail); err != nil {
					return err
				}
			}
			out = append(out, detail)
		}
		return printData(c, out, func(t *table) { printGroups(t, out) })
	})
}

// group finds a group that must be there.
func (s *session) group(name string) (groupRow, error) {
	rows, err := s.groups()
	if err != nil {
		return groupRow{}, err
	}
	for _, row := range rows {
		if row.Group == name {
			return row, nil
		}
	}
	return groupRow{}, refused("group %s does not exist", name)
}

func printGroups(t *table, groups []groupDetail) {
	number := func(n *int64) any {
		if n == nil {
			return ""
		}
		return *n
	}
	for i, g := range groups {
		if i > 0 {
			t.gap()
		}
		t.row("group", g.Group)
		t.row("type", g.Type)
		t.row("state", g.State)
		t.row("assignor", g.Assignor)
		t.row("coordinator", g.Coordinator)
		t.gap()
		t.row("MEMBER", "INSTANCE", "CLIENT", "HOST", "ASSIGNMENT")
		for _, m := range g.Members {
			var parts []string
			for _, topic := range slices.Sorted(maps.Keys(m.Assignment)) {
				parts = append(parts, topic+":"+numbers(m.Assignment[topic]))
			}
			t.row(m.Member, m.Instance, m.Client, m.Host, strings.Join(parts, ";"))
		}
		t.gap()
		t.row("TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "OWNER")
		for _, o := range g.Offsets {
			t.row(o.Topic, o.Partition, number(o.Committed), number(o.End), number(o.Lag), o.Owner)
		}
	}
}

func groupDelete(c *cli.Context) error {
	groups, err := names(c, "group", 1, 0)
	if err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		answers, err := s.admin.DeleteGroups(s.ctx, groups...)
		if err != nil && len(answers) == 0 {
			return failed("delete groups", err)
		}
		var faults []error
		for _, name := range groups {
			answer, ok := answers[name]
			switch {
			case !ok:
				faults = append(faults, refused("delete group %s: its coordinator did not answer", name))
			case errors.Is(answer.Err, kerr.GroupIDNotFound):
				faults = append(faults, refused("delete group %s: it does not exist", name))
			case errors.Is(answer.Err, kerr.NonEmptyGroup):
				faults = append(faults, refused("delete group %s: it has members", name))
			case answer.Err != nil:
				faults = append(faults, failed("delete group "+name, answer.Err))
			default:
				fmt.Fprintf(c.App.Writer, "deleted group %s\n", name)
			}
		}
		return errors.Join(faults...)
	})
}
