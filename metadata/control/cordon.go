package control

import (
	"slices"
	"strconv"
	"strings"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/config"
	"github.com/kraftgo/kraftgo/wire"
)

// Cordoned reports whether a broker gets no new replicas (KIP-1066): all its log directories are in cordoned.log.dirs, of
// which what was set while running lies over what its file says. Those it has stay, and it leads as before.
func Cordoned(m *metadata.Image, b *metadata.BrokerInfo) bool {
	value := b.Cordoned
	if v, ok := m.Config(ownResource(b.Broker))[config.CordonedLogDirs]; ok {
		value = v
	}
	list := config.SplitList(value)
	if slices.Contains(list, "*") {
		return true
	}
	for _, path := range b.LogPaths {
		if !slices.Contains(list, path) {
			return false
		}
	}
	return len(b.LogPaths) > 0
}

// usable returns the brokers that may be given new replicas, by id.
func usable(m *metadata.Image) []*metadata.BrokerInfo {
	return slices.DeleteFunc(m.Live(), func(b *metadata.BrokerInfo) bool { return Cordoned(m, b) })
}

// CheckCordoned returns what is wrong with a value of cordoned.log.dirs for a broker with these directories, or "".
func CheckCordoned(value string, paths []string) string {
	list := strings.Split(value, ",")
	for i := range list {
		list[i] = strings.TrimSpace(list[i])
	}
	sorted := slices.Sorted(slices.Values(list))
	if len(slices.Compact(sorted)) < len(list) {
		return "Configuration '" + config.CordonedLogDirs + "' values must not be duplicated."
	}
	list = config.SplitList(value)
	if slices.Contains(list, "*") {
		if len(list) > 1 {
			return "When " + config.CordonedLogDirs + " is set to *, it must not contain other values"
		}
		return ""
	}
	missing := slices.DeleteFunc(list, func(path string) bool { return slices.Contains(paths, path) })
	if len(missing) > 0 {
		return "All entries in " + config.CordonedLogDirs + " must be present in log.dirs or log.dir. Missing entries : " + strings.Join(missing, ", ")
	}
	return ""
}

func checkCordoned(m *metadata.Image, broker, value string) *Refusal {
	id, err := strconv.ParseInt(broker, 10, 32)
	b := m.Broker(wire.BrokerID(id))
	if err != nil || b == nil {
		return refuse(wire.ErrInvalidRequest, "No broker with id %s is registered.", broker)
	}
	if why := CheckCordoned(value, b.LogPaths); why != "" {
		return refuse(wire.ErrInvalidRequest, "%s", why)
	}
	return nil
}
