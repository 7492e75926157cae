package control

import (
	"fmt"
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// metadataVersion is Kafka's feature for the format of its metadata. Ours has another; the level tells clients and tools which
// Kafka the answers are those of.
const metadataVersion = "metadata.version"

// supported are the features of this program, by name.
var supported = []metadata.FeatureRange{
	{Name: metadata.FeatureName, Min: 1, Max: metadata.Level},
	{Name: metadataVersion, Min: 7, Max: 33},
}

// SupportedFeatures returns what this program supports, by name.
func SupportedFeatures() []metadata.FeatureRange { return slices.Clone(supported) }

// newFeatures returns the records that finalise what this program supports, for a new cluster.
func newFeatures() []metadata.Record {
	var out []metadata.Record
	for _, f := range supported {
		out = append(out, featureRecord(f.Name, f.Max))
	}
	return out
}

func featureRecord(name string, level int16) *metadata.Feature {
	f := &metadata.Feature{Name: name, Level: level}
	if name == metadata.FeatureName {
		f.Release = metadata.Release(level)
	}
	return f
}

// UpgradeType is which way an update of a feature may go (KIP-778).
type UpgradeType int8

// The types.
const (
	Upgrade         UpgradeType = 1
	SafeDowngrade   UpgradeType = 2
	UnsafeDowngrade UpgradeType = 3
)

// FeatureUpdate asks for a level of a feature.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  UpgradeType
}

// UpdateFeatures plans new levels of features: all of them or, with a refusal, none. self is the controller's broker. Of
// updates of one feature the last counts.
func UpdateFeatures(m *metadata.Image, self wire.BrokerID, updates []FeatureUpdate) ([]metadata.Record, *Refusal) {
	last := map[string]int{}
	for i, u := range updates {
		last[u.Name] = i
	}
	var records []metadata.Record
	for i, u := range updates {
		if last[u.Name] != i {
			continue
		}
		why := u.refusedFor(m, self)
		if why != "" {
			return nil, refuse(wire.ErrInvalidUpdateVersion, "The update failed for all features since the following feature had an error: %s", why)
		}
		if u.Level != m.Features()[u.Name] {
			records = append(records, featureRecord(u.Name, u.Level))
		}
	}
	return records, nil
}

// refusedFor returns why an update is not made, or "".
func (u FeatureUpdate) refusedFor(m *metadata.Image, self wire.BrokerID) string {
	invalid := func(format string, args ...any) string {
		return fmt.Sprintf("Invalid update version %d for feature %s. ", u.Level, u.Name) + fmt.Sprintf(format, args...)
	}
	if u.Type < Upgrade || u.Type > UnsafeDowngrade {
		return invalid("The controller does not support the given upgrade type.")
	}
	if u.Level < 0 {
		return invalid("A feature version cannot be less than 0.")
	}
	at := slices.IndexFunc(supported, func(f metadata.FeatureRange) bool { return f.Name == u.Name })
	own := metadata.FeatureRange{Name: u.Name}
	if at >= 0 {
		own = supported[at]
	}
	if at < 0 && u.Level == 0 {
		return invalid("Feature %s not found.", u.Name)
	}
	if why := unsupported(own, u.Level, fmt.Sprintf("Local controller %d", self)); why != "" {
		return invalid("%s", why)
	}
	why := ""
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		why = unsupported(b.Supports(u.Name), u.Level, fmt.Sprintf("Broker %d", b.Broker))
		return why == ""
	})
	if why != "" {
		return invalid("%s", why)
	}
	now := m.Features()[u.Name]
	switch {
	case u.Level < now && u.Type == Upgrade:
		return invalid("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case u.Level > now && u.Type != Upgrade:
		return invalid("Can't downgrade to a newer version.")
	case u.Level < now && u.Type == UnsafeDowngrade:
		return fmt.Sprintf("Unsupported %s downgrade from %d to %d. Unsafe metadata downgrade is not supported in this version.", u.Name, now, u.Level)
	case u.Level < now:
		return fmt.Sprintf("Unsupported %s downgrade from %d to %d. Refusing to perform the requested downgrade because it might delete metadata information.", u.Name, now, u.Level)
	}
	return ""
}

// unsupported returns why a node cannot have a feature at a level, or "".
func unsupported(f metadata.FeatureRange, level int16, who string) string {
	switch {
	case level >= f.Min && level <= f.Max:
		return ""
	case f.Max == 0:
		return who + " does not support this feature."
	case f.Min == f.Max:
		return fmt.Sprintf("%s only supports versions %d", who, f.Min)
	}
	return fmt.Sprintf("%s only supports versions %d-%d", who, f.Min, f.Max)
}

// checkFeatures refuses a broker whose program does not support what is finalised.
func checkFeatures(m *metadata.Image, r *metadata.RegisterBroker) *Refusal {
	names := make([]string, 0, len(m.Features()))
	for name := range m.Features() {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		level, has := m.Features()[name], r.Supports(name)
		if level < has.Min || level > has.Max {
			return refuse(wire.ErrUnsupportedVersion, "Unable to register because the broker does not support finalized version %d of %s. The broker wants a version between %d and %d, inclusive.%s",
				level, name, has.Min, has.Max, wayOut(name, level, has))
		}
	}
	return nil
}

// wayOut says what to install, where that is known.
func wayOut(name string, level int16, has metadata.FeatureRange) string {
	release := metadata.Release(level)
	if name != metadata.FeatureName || level < has.Max || release == "" {
		return ""
	}
	return " Install kraftgo " + release + " or newer on it."
}
