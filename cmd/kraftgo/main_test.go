package main

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
)

// asCommand is the variable that makes the test binary the command: a process of its own can be sent signals.
const asCommand = "TEST_AS_KRAFTGO"

func TestMain(m *testing.M) {
	if os.Getenv(asCommand) != "" {
		main()
	}
	for _, e := range os.Environ() { // of the tests, and of the person who runs them: not settings
		if name, _, _ := strings.Cut(e, "="); strings.HasPrefix(name, "KRAFTGO_") {
			_ = os.Unsetenv(name) // only a name that is not one is refused
		}
	}
	os.Exit(m.Run())
}

// lockedBuffer is standard error, which client libraries write to from goroutines of their own.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// command runs one command line.
func command(stdin string, args ...string) (stdout, stderr string, code int) {
	var out bytes.Buffer
	var errors lockedBuffer
	code = run(append([]string{"kraftgo"}, args...), strings.NewReader(stdin), &out, &errors)
	return out.String(), errors.String(), code
}

// must runs a command that has to succeed.
func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	out, errors, code := command(stdin, args...)
	if code != 0 {
		t.Fatalf("kraftgo %q: exit %d, %s", args, code, errors)
	}
	return out
}

// fails runs a command that has to end with the code, and with one line that holds text.
func fails(t *testing.T, code int, text string, args ...string) {
	t.Helper()
	out, errors, got := command("", args...)
	if got != code || !strings.Contains(errors, text) || !strings.HasPrefix(errors, "kraftgo: ") || strings.Count(errors, "\n") != 1 {
		t.Errorf("kraftgo %q: exit %d, want %d, with one line about %q; standard error:\n%s\nstandard output:\n%s", args, got, code, text, errors, out)
	}
}

func TestReorderPutsFlagsFirst(t *testing.T) {
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	for _, c := range []struct{ in, want string }{
		{"topic create orders --partitions 6", "topic create --partitions 6 -- orders"},
		{"topic create --partitions=6 orders -b x:1", "topic create --partitions=6 -b x:1 -- orders"},
		{"topic create orders --if-not-exists more", "topic create --if-not-exists -- orders more"},
		{"topic ls --internal", "topic ls --internal"},
		{"consume a --from -10m b", "consume --from -10m -- a b"},
		{"produce a -- --partition 3", "produce -- a --partition 3"},
		{"topic create a --config x=y --config z=--", "topic create --config x=y --config z=-- -- a"},
		{"nothing such --as this", "--as -- nothing such this"},
		{"config reference", "config reference"},
	} {
		got, err := reorder(app, append([]string{"kraftgo"}, strings.Fields(c.in)...))
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if text := strings.Join(got[1:], " "); text != c.want {
			t.Errorf("%s:\ngot  %s\nwant %s", c.in, text, c.want)
		}
	}
	if _, err := reorder(app, []string{"kraftgo", "topic", "create", "a", "--partitions"}); err == nil {
		t.Error("a flag without its value was taken")
	}
}

// Every wrong use is found before a broker is asked, and is exit code 1.
func TestWrongUsageIsExitCode1(t *testing.T) {
	t.Setenv("KRAFTGO_BOOTSTRAP_SERVER", "127.0.0.1:1")
	for _, c := range []struct{ args, text string }{
		{"nothing", `no command "nothing"`},
		{"topic nothing", `no command "nothing"`},
		{"topic create", "which topic?"},
		{"topic create a --partitions 0", "--partitions 0"},
		{"topic create a --partitions many", "many"},
		{"topic create a --config k", "want KEY=VALUE"},
		{"topic create a --nothing", "nothing"},
		{"topic list a", "left over"},
		{"topic list --format xml", "want table or json"},
		{"topic alter a", "nothing to alter"},
		{"topic alter a b --partitions 3", "left over"},
		{"topic delete", "which topic?"},
		{"produce", "which topic?"},
		{"produce a --acks 2", "--acks 2"},
		{"produce a --compression brotli", "--compression brotli"},
		{"produce a --rate 0", "--rate"},
		{"produce a --input xml", "--input xml"},
		{"produce a --input json --key-separator :", "--key-separator"},
		{"produce a --partition -1", "--partition -1"},
		{"produce a --header h", "want KEY=VALUE"},
		{"produce a --max-line-bytes 0", "--max-line-bytes"},
		{"produce a --file /nothing/such", "/nothing/such"},
		{"consume", "which topic?"},
		{"consume a --from nowhere", "nowhere"},
		{"consume a --format %q", "%q"},
		{"consume a --format jsn", "jsn"},
		{"consume a --until start", "--until start"},
		{"consume a --count 0", "--count 0"},
		{"consume a --isolation serializable", "--isolation"},
		{"consume a --group g --partition 0", "--partition does not go"},
		{"consume ( --regex", "topic ("},
		{"group describe", "which group?"},
		{"group reset g --to start", "which topic?"},
		{"group reset g --topic t", "where to?"},
		{"group reset g --topic t --to x", "--to"},
		{"cluster info extra", "left over"},
		{"completion tcsh", "tcsh"},
		{"topic list -b host:port:more", "want HOST:PORT"},
		{"topic list --command-config /nothing/such", "--command-config"},
	} {
		fails(t, 1, c.text, strings.Fields(c.args)...)
	}
}

func TestUnreachableBrokerIsExitCode2(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"topic list", "topic create a", "produce a", "consume a", "group list", "cluster info"} {
		fails(t, 2, "no broker answers at "+address, append(strings.Fields(args), "-b", address)...)
	}
}

func TestEveryCommandHelpsWithAnExample(t *testing.T) {
	for _, c := range newApp(strings.NewReader(""), io.Discard, io.Discard).Commands {
		if c.Hidden {
			continue
		}
		lists := [][]string{{c.Name}}
		if len(c.Subcommands) > 0 {
			lists = nil
			for _, sub := range c.Subcommands {
				lists = append(lists, []string{c.Name, sub.Name})
			}
		}
		for _, path := range lists {
			help := must(t, "", append(path, "--help")...)
			if !strings.Contains(help, "Example:") || !strings.Contains(help, "kraftgo "+strings.Join(path, " ")) {
				t.Errorf("kraftgo %s --help shows no example:\n%s", strings.Join(path, " "), help)
			}
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, c := range []struct{ words, want string }{
		{"to", "topic"},
		{"topic d", "delete describe"},
		{"topic create x --par", "--partitions"},
		{"produce x --acks ", "0 1 all"},
		{"produce x --compression z", "zstd"},
		{"consume x --format j", "json"},
		{"completion ", "bash fish zsh"},
	} {
		words := strings.Split(c.words, " ")
		got := strings.Join(strings.Fields(must(t, "", append([]string{"__complete", "--"}, words...)...)), " ")
		if got != c.want {
			t.Errorf("%q completes to %q, want %q", c.words, got, c.want)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if script := must(t, "", "completion", shell); !strings.Contains(script, "__complete --") {
			t.Errorf("the script for %s calls nothing", shell)
		}
	}
}
