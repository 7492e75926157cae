package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

// cordonedSetting keeps a broker from new replicas (KIP-1066).
const cordonedSetting = "cordoned.log.dirs"

func cordonCommand() *cli.Command {
	return &cli.Command{
		Name: "cordon", Usage: "give a broker no new replicas", UsageText: "kraftgo node cordon BROKER [flags]",
		Description: example("  kraftgo node cordon 3") + "\n\nWhat the broker has it keeps, and leads as before; if it is the controller, another becomes that. It sets cordoned.log.dirs=* on the broker.",
		Flags:       connectionFlags(formatFlag()),
		Action:      func(c *cli.Context) error { return setCordon(c, true) },
	}
}

func uncordonCommand() *cli.Command {
	return &cli.Command{
		Name: "uncordon", Usage: "let a broker have new replicas again", UsageText: "kraftgo node uncordon BROKER [flags]",
		Description: example("  kraftgo node uncordon 3"),
		Flags:       connectionFlags(formatFlag()),
		Action:      func(c *cli.Context) error { return setCordon(c, false) },
	}
}

// cordonResult is what 'node cordon' and 'node uncordon' print.
type cordonResult struct {
	Broker   int32 `json:"broker"`
	Cordoned bool  `json:"cordoned"`
}

func setCordon(c *cli.Context, cordon bool) error {
	id, err := brokerArgument(c)
	if err != nil {
		return err
	}
	if err := checkFormat(c); err != nil {
		return err
	}
	return withSession(c, func(s *session) error {
		nodes, _, err := s.nodes()
		if err != nil {
			return err
		}
		if err := s.cordon(nodes, id, cordon); err != nil {
			return err
		}
		word := "gets no new replicas"
		if !cordon {
			word = "gets new replicas again"
		}
		return printResult(c, cordonResult{id, cordon}, "broker %d %s", id, word)
	})
}

// cordon cordons a broker, or ends that.
func (s *session) cordon(nodes []*nodeLine, id int32, cordon bool) error {
	// Kafka wants the request at the broker itself. That of a broker that is down goes to another: with kraftgo, any will do.
	at := int32(-1)
	known := false
	for _, n := range nodes {
		if n.State == stateAlive && (at < 0 || n.Broker == id) {
			at = n.Broker
		}
		known = known || n.Broker == id
	}
	if !known {
		return refused("broker %d is not registered; 'kraftgo node list' shows who is", id)
	}
	value := ""
	if cordon {
		value = "*"
	}
	// An empty value and not its removal: the broker's file may have another.
	return s.setBroker(at, id, cordonedSetting, value)
}

// setBroker sets a setting of a broker, by a request to the broker at.
func (s *session) setBroker(at, id int32, name, value string) error {
	request := kmsg.NewPtrIncrementalAlterConfigsRequest()
	resource := kmsg.NewIncrementalAlterConfigsRequestResource()
	resource.ResourceType, resource.ResourceName = kmsg.ConfigResourceTypeBroker, fmt.Sprint(id)
	setting := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	setting.Name, setting.Value = name, &value
	resource.Configs = append(resource.Configs, setting)
	request.Resources = append(request.Resources, resource)
	doing := fmt.Sprintf("set %s of broker %d", name, id)
	answer, err := s.client.Broker(int(at)).Request(s.ctx, request)
	if err != nil {
		return failed(doing, err)
	}
	for _, r := range answer.(*kmsg.IncrementalAlterConfigsResponse).Resources {
		if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
			why := ""
			if r.ErrorMessage != nil {
				why = *r.ErrorMessage
			}
			return answered(doing, err, why)
		}
	}
	return nil
}

// answerTimeout bounds how long lists of nodes wait for a broker to say how it is.
const answerTimeout = 2 * time.Second

// askCordons notes which of the brokers that are alive say that all their log directories are cordoned. Brokers before
// Kafka 4.3 cannot say so, and are not.
func (s *session) askCordons(nodes []*nodeLine) {
	ctx, cancel := context.WithTimeout(s.ctx, answerTimeout)
	defer cancel()
	var asked sync.WaitGroup
	for _, n := range nodes {
		if n.State != stateAlive {
			continue
		}
		asked.Go(func() {
			request := kmsg.NewPtrDescribeLogDirsRequest()
			request.Topics = []kmsg.DescribeLogDirsRequestTopic{} // the directories alone
			answer, err := s.client.Broker(int(n.Broker)).Request(ctx, request)
			if err != nil {
				return
			}
			dirs := answer.(*kmsg.DescribeLogDirsResponse).Dirs
			n.Cordoned = len(dirs) > 0
			for _, d := range dirs {
				n.Cordoned = n.Cordoned && d.IsCordoned
			}
		})
	}
	asked.Wait()
}
