package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"

	"github.com/kraftgo/kraftgo/cluster"
)

const (
	// reachTimeout bounds how long a command waits for the first broker to answer.
	reachTimeout = 8 * time.Second
	// requestTimeout bounds all requests of an administrative command together.
	requestTimeout = 30 * time.Second
)

// connectionFlags are the flags of every client command, behind the command's own.
func connectionFlags(own ...cli.Flag) []cli.Flag {
	return append(own,
		&cli.StringFlag{
			Name: "bootstrap-server", Aliases: []string{"b"}, EnvVars: []string{"KRAFTGO_BOOTSTRAP_SERVER"}, Value: "127.0.0.1:9092",
			Usage: "any broker, `HOST:PORT`; several with commas",
		},
		&cli.StringFlag{
			Name: "command-config", EnvVars: []string{"KRAFTGO_COMMAND_CONFIG"},
			Usage: "read Kafka's client properties (security.protocol, sasl.*, ssl.*) from `FILE`",
		})
}

// repeated is the value of a flag that may be given several times. Unlike the library's slices it leaves commas alone,
// which are common in values (cleanup.policy=compact,delete).
type repeated struct{ values []string }

// Set implements cli.Generic.
func (r *repeated) Set(v string) error {
	r.values = append(r.values, v)
	return nil
}

// String implements cli.Generic.
func (r *repeated) String() string { return strings.Join(r.values, " ") }

func repeatedFlag(name, usage string) cli.Flag {
	return &cli.GenericFlag{Name: name, Usage: usage + "; may be repeated", Value: &repeated{}}
}

func repeatedValues(c *cli.Context, name string) []string { return c.Generic(name).(*repeated).values }

// pair is one KEY=VALUE of the command line.
type pair struct{ key, value string }

// pairs reads the KEY=VALUE flags called name.
func pairs(c *cli.Context, name string) ([]pair, error) {
	var out []pair
	for _, given := range repeatedValues(c, name) {
		key, value, ok := strings.Cut(given, "=")
		if !ok || key == "" {
			return nil, fmt.Errorf("--%s %s: want KEY=VALUE", name, given)
		}
		out = append(out, pair{key, value})
	}
	return out, nil
}

// names returns the words of a command, of which there must be at least least, and at most most unless that is 0.
func names(c *cli.Context, what string, least, most int) ([]string, error) {
	list := c.Args().Slice()
	switch {
	case len(list) < least:
		return nil, fmt.Errorf("which %s? Usage: %s", what, c.Command.UsageText)
	case most >= least && len(list) > most:
		return nil, fmt.Errorf("%q is left over. Usage: %s", list[most], c.Command.UsageText)
	}
	for _, name := range list {
		if name == "" {
			return nil, fmt.Errorf("the name of a %s is empty", what)
		}
	}
	return list, nil
}

// metadataMinAge is how soon metadata is asked for again. franz-go's five seconds would be the pause after a leader has died: what is asked
// for at once names the dead leader still, until the others have elected one.
const metadataMinAge = 250 * time.Millisecond

// settings are a client's address and options, from flags, environment and file.
type settings struct {
	servers []string
	options []kgo.Opt
}

func clientSettings(c *cli.Context) (settings, error) {
	return newSettings(c.String("bootstrap-server"), c.IsSet("bootstrap-server"), c.String("command-config"))
}

// newSettings takes the list of servers from the file unless it was given.
func newSettings(list string, given bool, name string) (settings, error) {
	properties := map[string]string{}
	if name != "" {
		f, err := os.Open(name)
		if err != nil {
			return settings{}, fmt.Errorf("--command-config: %w", err)
		}
		defer f.Close()
		if properties, err = cluster.ReadProperties(f, name); err != nil {
			return settings{}, fmt.Errorf("--command-config: %w", err)
		}
	}
	options, err := propertyOptions(properties)
	if err != nil {
		return settings{}, fmt.Errorf("--command-config %s: %w", name, err)
	}
	if inFile, ok := properties["bootstrap.servers"]; ok && !given {
		list = inFile
	}
	servers, err := serverList(list)
	if err != nil {
		return settings{}, err
	}
	options = append([]kgo.Opt{
		kgo.SeedBrokers(servers...), kgo.ClientID("kraftgo"), kgo.SoftwareNameAndVersion("kraftgo", "client"),
		kgo.DialTimeout(5 * time.Second), kgo.DisableClientMetrics(), kgo.MetadataMinAge(metadataMinAge),
	}, options...)
	return settings{servers: servers, options: options}, nil
}

// serverList splits a list of addresses; a port that is left out is 9092.
func serverList(list string) ([]string, error) {
	var out []string
	for _, address := range strings.Split(list, ",") {
		address = strings.TrimSpace(address)
		if address == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(address); err != nil {
			full := net.JoinHostPort(strings.Trim(address, "[]"), "9092")
			if strings.Contains(address, "/") || (strings.Contains(address, ":") && net.ParseIP(strings.Trim(address, "[]")) == nil) {
				return nil, fmt.Errorf("--bootstrap-server %s: want HOST:PORT", address)
			}
			address = full
		}
		out = append(out, address)
	}
	if len(out) == 0 {
		return nil, errors.New("--bootstrap-server is empty: want HOST:PORT")
	}
	return out, nil
}

// session is a client for administrative requests whose broker has answered once.
type session struct {
	settings
	ctx     context.Context
	client  *kgo.Client
	admin   *kadm.Client
	cancel  func()
	patient *time.Timer // of withSession: says that nothing has come yet
}

// patience is after how long a command says that it waits for an answer.
const patience = 2 * time.Second

func connect(c *cli.Context) (*session, error) {
	s, err := clientSettings(c)
	if err != nil {
		return nil, err
	}
	client, err := kgo.NewClient(append(s.options[:len(s.options):len(s.options)], kgo.RetryTimeout(reachTimeout))...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, reachTimeout)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		where := strings.Join(s.servers, ", ")
		if errors.Is(err, context.DeadlineExceeded) {
			return nil, refused("no broker answered at %s within %s", where, reachTimeout)
		}
		return nil, refused("no broker answers at %s: %w", where, err)
	}
	out := &session{settings: s, client: client, admin: kadm.NewClient(client)}
	out.ctx, out.cancel = context.WithTimeout(c.Context, requestTimeout)
	return out, nil
}

// renew gives the session time for further requests.
func (s *session) renew(parent context.Context) {
	if s.patient != nil {
		s.patient.Stop() // there is progress to see
	}
	s.cancel()
	s.ctx, s.cancel = context.WithTimeout(parent, requestTimeout)
}

func (s *session) close() {
	s.cancel()
	s.client.Close()
}

// withSession runs an administrative command.
func withSession(c *cli.Context, do func(*session) error) error {
	patient := time.AfterFunc(patience, func() {
		fmt.Fprintln(c.App.ErrWriter, "kraftgo: no answer yet; waiting on. A cluster that has no controller answers when it has one.")
	})
	defer patient.Stop()
	s, err := connect(c)
	if err != nil {
		return err
	}
	s.patient = patient
	defer s.close()
	return do(s)
}

// topic returns what the broker says about a topic that must be there. The request creates nothing.
func (s *session) topic(name string) (kadm.TopicDetail, error) {
	m, err := s.admin.Metadata(s.ctx, name)
	if err != nil {
		return kadm.TopicDetail{}, failed("look up topic "+name, err)
	}
	detail := m.Topics[name]
	if errors.Is(detail.Err, kerr.UnknownTopicOrPartition) {
		return detail, refused("topic %s does not exist; 'kraftgo topic create %s' makes it", name, name)
	}
	return detail, failed("look up topic "+name, detail.Err)
}

// refused is an error of the broker, or of reaching it: exit code 2.
func refused(format string, args ...any) error { return brokerError{fmt.Errorf(format, args...)} }

// failed says what was being done when the broker answered err, in one line. It is nil when err is.
func failed(doing string, err error) error {
	if err == nil {
		return nil
	}
	var shards *kadm.ShardErrors
	if errors.As(err, &shards) && len(shards.Errs) > 0 {
		err = shards.Errs[0].Err
	}
	var network net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout() {
		return refused("%s: the broker did not answer in time", doing)
	}
	return refused("%s: %w", doing, err)
}

// answered is failed for an answer that carries a message of its own, which says more than the code's description.
func answered(doing string, err error, message string) error {
	var code *kerr.Error
	if message != "" && errors.As(err, &code) {
		err = fmt.Errorf("%s: %s", code.Message, message)
	}
	return failed(doing, err)
}
