package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// completionScripts call the hidden command __complete with the words before the cursor, the unfinished one last. It
// prints what may stand there, one a line.
var completionScripts = map[string]string{
	"bash": `# kraftgo completion for bash: source <(kraftgo completion bash)
_kraftgo() {
  local line=${COMP_LINE:0:COMP_POINT} words=() IFS=$' \t\n'
  read -ra words <<< "$line"
  [[ $line == *[[:space:]] ]] && words+=("")
  IFS=$'\n'
  COMPREPLY=($("${words[0]}" __complete -- "${words[@]:1}" 2>/dev/null))
}
complete -o default -F _kraftgo kraftgo
`,
	"zsh": `#compdef kraftgo
# kraftgo completion for zsh: source <(kraftgo completion zsh)
_kraftgo() {
  local -a found
  found=("${(@f)$("${words[1]}" __complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=(${found:#})
  if (( $#found )); then compadd -- $found; else _files; fi
}
compdef _kraftgo kraftgo
`,
	"fish": `# kraftgo completion for fish: kraftgo completion fish | source
function __kraftgo_complete
  set -l words (commandline -opc) (commandline -ct)
  command $words[1] __complete -- $words[2..-1] 2>/dev/null
end
complete -c kraftgo -f -a '(__kraftgo_complete)'
`,
}

func completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print a script that completes commands in a shell", UsageText: "kraftgo completion bash|zsh|fish",
		Description: example("  source <(kraftgo completion bash)"),
		Action: func(c *cli.Context) error {
			shells, err := names(c, "shell", 1, 1)
			if err != nil {
				return err
			}
			script, ok := completionScripts[shells[0]]
			if !ok {
				return fmt.Errorf("no completion for %q: want bash, zsh or fish", shells[0])
			}
			_, err = io.WriteString(c.App.Writer, script)
			return err
		},
	}
}

func completeCommand() *cli.Command {
	return &cli.Command{
		Name: "__complete", Hidden: true, UsageText: "kraftgo __complete -- WORD...",
		Flags: connectionFlags(), // for the environment's sake
		Action: func(c *cli.Context) error {
			for _, candidate := range complete(c, c.Args().Slice()) {
				fmt.Fprintln(c.App.Writer, candidate)
			}
			return nil
		},
	}
}

// flagValues are what may follow a flag, where that is a short list.
var flagValues = map[string][]string{
	"acks": {"all", "1", "0"}, "compression": {"none", "gzip", "snappy", "lz4", "zstd"}, "input": {"raw", "json"}, "until": {"end"},
	"from": {"start", "end", "offset:"}, "to": {"start", "end", "offset:"}, "isolation": {"read_committed", "read_uncommitted"},
	"log-level": {"debug", "info", "warn", "error"},
}

// namesAfter are the words that the commands take: names of topics or groups, or a shell.
var namesAfter = map[string]string{
	"topic describe": "topic", "topic alter": "topic", "topic delete": "topic", "produce": "topic", "consume": "topic",
	"group describe": "group", "group reset": "group", "group delete": "group", "completion": "shell",
}

// complete returns what may stand in place of the last word.
func complete(c *cli.Context, words []string) []string {
	if len(words) == 0 {
		return nil
	}
	last, before := words[len(words)-1], words[:len(words)-1]
	list, flags, path := c.App.Commands, c.App.Flags, []string{}
	server := ""
	for i := 0; i < len(before); i++ {
		if strings.HasPrefix(before[i], "-") {
			if !takesValue(flags, before[i]) {
				continue
			}
			if i++; i == len(before) {
				return matching(last, valuesOf(c, strings.TrimLeft(before[i-1], "-"), server, path))
			}
			if name := strings.TrimLeft(before[i-1], "-"); name == "b" || name == "bootstrap-server" {
				server = before[i]
			}
		} else if next := findCommand(list, before[i]); next != nil {
			list, flags, path = next.Subcommands, next.Flags, append(path, next.Name)
		}
	}
	if strings.HasPrefix(last, "-") {
		return matching(last, flagNames(flags))
	}
	var out []string
	for _, command := range list {
		if !command.Hidden {
			out = append(out, command.Name)
		}
	}
	return matching(last, append(out, valuesOf(c, namesAfter[strings.Join(path, " ")], server, path)...))
}

func flagNames(flags []cli.Flag) []string {
	out := []string{"--help"}
	for _, f := range flags {
		for _, name := range f.Names() {
			if len(name) > 1 {
				out = append(out, "--"+name)
			}
		}
	}
	return out
}

// valuesOf returns the values of a flag, or the names of a kind.
func valuesOf(c *cli.Context, name, server string, path []string) []string {
	switch name {
	case "shell":
		return []string{"bash", "fish", "zsh"}
	case "topic", "group":
		return brokerNames(c, name, server)
	case "format":
		if slices.Equal(path, []string{"consume"}) {
			return []string{"raw", "json"}
		}
		return []string{"table", "json"}
	}
	return flagValues[name]
}

// brokerNames asks the broker, quickly or not at all.
func brokerNames(c *cli.Context, kind, server string) []string {
	given := server != "" || c.IsSet("bootstrap-server")
	if server == "" {
		server = c.String("bootstrap-server")
	}
	s, err := newSettings(server, given, c.String("command-config"))
	if err != nil {
		return nil
	}
	client, err := kgo.NewClient(append(s.options, kgo.DialTimeout(time.Second), kgo.RequestRetries(0))...)
	if err != nil {
		return nil
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, time.Second)
	defer cancel()
	if kind == "topic" {
		topics, err := kadm.NewClient(client).ListTopics(ctx)
		if err != nil {
			return nil
		}
		return topics.Names()
	}
	groups, err := kadm.NewClient(client).ListGroups(ctx)
	if err != nil {
		return nil
	}
	return groups.Groups()
}

func matching(prefix string, list []string) []string {
	var out []string
	for _, word := range list {
		if strings.HasPrefix(word, prefix) {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	return out
}
