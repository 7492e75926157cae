package main

import "github.com/urfave/cli/v2"

// commands is every command, in the order in which help lists them.
func commands() []*cli.Command {
	return []*cli.Command{
		devCommand(), initCommand(), joinCommand(), startCommand(), configCommand(),
		topicCommand(), produceCommand(), consumeCommand(), groupCommand(), clusterCommand(), nodeCommand(), reassignCommand(), completionCommand(), completeCommand(),
	}
}

// example is the description of a command whose use these lines show.
func example(lines string) string { return "Example:\n\n" + lines }
