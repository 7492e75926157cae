package cluster

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/metadata/config"
)

// Config says what node to run.
type Config struct {
	Data     string            // the data directory
	Found    bool              // found a new cluster in it
	Join     bool              // join the cluster that the seeds belong to, with a new directory
	Readmit  bool              // a broker that was removed from the cluster comes back with what its directory holds
	Replace  bool              // the directory takes the place of another of its broker id, which is down
	Seeds    []string          // gossip addresses of other nodes, as host:port
	Secret   []byte            // what all nodes of the cluster share; nil: none
	Expect   string            // the cluster that the seeds must be of, "": any
	Settings map[string]string // broker settings by name, checked by [CheckSettings]
	Log      *slog.Logger      // nil: discard
}

// UnknownSettingError is the fault of a setting that does not exist.
type UnknownSettingError struct{ Name, Nearest string }

// Error names the setting, and the one that was probably meant.
func (e *UnknownSettingError) Error() string {
	if e.Nearest == "" {
		return fmt.Sprintf("unknown setting %q; 'kraftgo config reference' lists all", e.Name)
	}
	return fmt.Sprintf("unknown setting %q; did you mean %q? ('kraftgo config reference' lists all)", e.Name, e.Nearest)
}

// CheckSettings checks names and values, and returns all faults at once. It returns notes about settings that have no
// effect here.
func CheckSettings(settings map[string]string) (notes []string, err error) {
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		k := config.Lookup(config.Broker, name)
		if k == nil {
			faults = append(faults, &UnknownSettingError{name, config.Nearest(config.Broker, name)})
			continue
		}
		if err := k.Check(settings[name]); err != nil {
			faults = append(faults, fmt.Errorf("setting %s=%s: %w", name, settings[name], err))
			continue
		}
		if k.NoEffect != "" {
			notes = append(notes, fmt.Sprintf("%s has no effect: %s", name, k.NoEffect))
		}
	}
	if id, ok := settings["node.id"]; ok {
		if b, both := settings["broker.id"]; both && b != id {
			faults = append(faults, fmt.Errorf("node.id=%s and broker.id=%s: they name the same thing, give one", id, b))
		}
	}
	return notes, errors.Join(faults...)
}

// ReadProperties reads settings in the form of a Java properties file: key=value lines, comments with # or !, and lines
// continued by a backslash. name is for error messages.
func ReadProperties(r io.Reader, name string) (map[string]string, error) {
	out := map[string]string{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	pending := ""
	for n := 1; lines.Scan(); n++ {
		line := pending + strings.TrimSpace(lines.Text())
		pending = ""
		if rest, more := strings.CutSuffix(line, "\\"); more {
			pending = rest
			continue
		}
		if line == "" || line[0] == '#' || line[0] == '!' {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return nil, fmt.Errorf("%s line %d: %q is not of the form key=value", name, n, line)
		}
		key = strings.TrimSpace(key)
		if _, twice := out[key]; twice {
			return nil, fmt.Errorf("%s line %d: %s is set twice", name, n, key)
		}
		out[key] = strings.TrimSpace(value)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return out, nil
}

// Environment returns the settings that are given as KRAFTGO_ variables: KRAFTGO_LOG_RETENTION_HOURS is
// log.retention.hours. Variables that name no setting are left out, as long as they are not misspelt settings: those
// that begin with the prefix and are not in reserved are errors.
func Environment(environ []string, reserved ...string) (map[string]string, error) {
	out := map[string]string{}
	var faults []error
	for _, e := range environ {
		name, value, _ := strings.Cut(e, "=")
		rest, ok := strings.CutPrefix(name, "KRAFTGO_")
		if !ok || slices.Contains(reserved, name) {
			continue
		}
		key := strings.ToLower(strings.ReplaceAll(rest, "_", "."))
		if config.Lookup(config.Broker, key) == nil {
			faults = append(faults, fmt.Errorf("environment variable %s: %w", name, &UnknownSettingError{key, config.Nearest(config.Broker, key)}))
			continue
		}
		out[key] = value
	}
	return out, errors.Join(faults...)
}

// endpoint is one client listener: where it is bound, and what clients are told.
type endpoint struct {
	name      string
	bind      string // host:port
	advertise string // host:port; "": where it is bound
	given     bool   // the bind address was asked for, so its port does not move
}

// endpoints reads listeners, advertised.listeners and the security map. remembered is the addresses of an earlier start,
// which stay in force as long as nothing else is asked for.
func endpoints(settings map[string]string, remembered map[string]string) ([]endpoint, error) {
	text, given := settings["listeners"]
	if !given {
		text, given = rememberedListeners(remembered)
	}
	if !given {
		text = config.Lookup(config.Broker, "listeners").Default
	}
	protocols := map[string]string{"PLAINTEXT": "PLAINTEXT"}
	for _, pair := range config.SplitList(settings["listener.security.protocol.map"]) {
		name, protocol, ok := strings.Cut(pair, ":")
		if !ok {
			return nil, fmt.Errorf("listener.security.protocol.map: %q is not of the form NAME:PROTOCOL", pair)
		}
		protocols[name] = protocol
	}
	advertised := map[string]string{}
	for name, addr := range remembered {
		if name, ok := strings.CutPrefix(name, "advertise."); ok && settings["advertised.listeners"] == "" && settings["listeners"] == "" {
			advertised[name] = addr
		}
	}
	for _, a := range config.SplitList(settings["advertised.listeners"]) {
		name, addr, err := splitListener("advertised.listeners", a)
		if err != nil {
			return nil, err
		}
		advertised[name] = addr
	}
	var out []endpoint
	for _, l := range config.SplitList(text) {
		name, addr, err := splitListener("listeners", l)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(out, func(e endpoint) bool { return e.name == name }) {
			return nil, fmt.Errorf("listeners: the name %s is there twice", name)
		}
		switch protocol, ok := protocols[name]; {
		case !ok:
			return nil, fmt.Errorf("listeners: %s has no protocol; add %s:PLAINTEXT to listener.security.protocol.map", name, name)
		case protocol != "PLAINTEXT":
			return nil, fmt.Errorf("listener.security.protocol.map: %s:%s: this kraftgo serves PLAINTEXT only", name, protocol)
		}
		e := endpoint{name: name, bind: addr, advertise: advertised[name], given: given}
		delete(advertised, name)
		if host, _, _ := net.SplitHostPort(e.bind); e.advertise == "" && (host == "" || net.ParseIP(host).IsUnspecified()) {
			return nil, fmt.Errorf("listeners: %s listens on every address (%s), which clients cannot be told; give the one that they reach with --advertise or advertised.listeners", name, addr)
		}
		out = append(out, e)
	}
	if len(out) == 0 {
		return nil, errors.New("listeners: there must be at least one")
	}
	for name := range advertised {
		return nil, fmt.Errorf("advertised.listeners: there is no listener %s", name)
	}
	return out, nil
}

// rememberedListeners returns the listeners of an earlier start in the form of the setting.
func rememberedListeners(remembered map[string]string) (text string, ok bool) {
	var list []string
	for name, addr := range remembered {
		if name, ok := strings.CutPrefix(name, "client."); ok {
			list = append(list, name+"://"+addr)
		}
	}
	slices.Sort(list)
	return strings.Join(list, ","), len(list) > 0
}

// splitListener reads NAME://host:port, or host:port for PLAINTEXT.
func splitListener(setting, s string) (name, addr string, err error) {
	name, addr, ok := strings.Cut(s, "://")
	if !ok {
		name, addr = "PLAINTEXT", s
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", "", fmt.Errorf("%s: %q is not of the form NAME://host:port: %w", setting, s, err)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || setting == "advertised.listeners" && n == 0 {
		return "", "", fmt.Errorf("%s: %q has no valid port", setting, s)
	}
	return name, net.JoinHostPort(host, port), nil
}

// bind listens on an address. A port that was not asked for moves up by ten while it is taken.
func bind(what, addr string, given bool) (net.Listener, error) {
	for try := 0; ; try++ {
		l, err := net.Listen("tcp", addr)
		if err == nil {
			return l, nil
		}
		host, port, splitErr := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		if given || splitErr != nil || !errors.Is(err, errAddrInUse) || try == 100 || n > 65_500 {
			if errors.Is(err, errAddrInUse) {
				return nil, fmt.Errorf("%s address %s is taken by another process; choose another port, or 0 for any", what, addr)
			}
			return nil, fmt.Errorf("listen on %s address %s: %w", what, addr, err)
		}
		addr = net.JoinHostPort(host, strconv.Itoa(n+10))
	}
}

// bindBoth is bind for tcp and udp on one port.
func bindBoth(what, addr string, given bool) (net.Listener, net.PacketConn, error) {
	for try := 0; ; try++ {
		l, err := bind(what, addr, given)
		if err != nil {
			return nil, nil, err
		}
		p, err := net.ListenPacket("udp", boundAddress(addr, l.Addr().String()))
		if err == nil {
			return l, p, nil
		}
		if closeErr := l.Close(); closeErr != nil {
			return nil, nil, closeErr
		}
		host, port, splitErr := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(port)
		if splitErr != nil || given && n != 0 || !errors.Is(err, errAddrInUse) || try == 100 {
			return nil, nil, fmt.Errorf("listen on %s address %s, udp: %w", what, addr, err)
		}
		if n != 0 {
			addr = net.JoinHostPort(host, strconv.Itoa(n+10))
		}
	}
}

// readFile is os.ReadFile with a nil for a file that is not there.
func readFile(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return b, err
}
