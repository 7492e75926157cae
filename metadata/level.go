package metadata

import (
	"fmt"

	"github.com/kraftgo/kraftgo/wire"
)

// FeatureName is the feature whose finalised level says which records, and which fields of them, may be written: those that
// every program in the cluster knows. An operator raises it when all brokers run a program that knows the next level.
const FeatureName = "kraftgo.version"

// Level is the level that this program knows. A new record or field belongs to the next.
const Level int16 = 1

// releases are the releases that brought the levels, from 1 on: what an older program tells its operator to install.
var releases = []string{"0.1"}

// Release returns the release that brought a level; "" for one that this program does not know.
func Release(level int16) string {
	if level < 1 || int(level) > len(releases) {
		return ""
	}
	return releases[level-1]
}

// sinceLevel has the levels of the records that are younger than level 1.
var sinceLevel = map[RecordType]int16{}

// levelled is a record some of whose fields are younger than the record: what is in it decides its level.
type levelled interface{ level() int16 }

// LevelOf returns the lowest level at which a record may be written.
func LevelOf(r Record) int16 {
	level := max(1, sinceLevel[r.Type()])
	if l, ok := r.(levelled); ok {
		level = max(level, l.level())
	}
	return level
}

// ErrLevel is the fault of a change that needs a higher level than is finalised.
type ErrLevel struct{ Needs, Finalized int16 }

// Error says what to do about it.
func (e *ErrLevel) Error() string {
	return fmt.Sprintf("this needs %s %d, and the cluster is at %d: when all brokers run the newer kraftgo, 'kraftgo cluster upgrade finalize' raises it", FeatureName, e.Needs, e.Finalized)
}

// CheckLevel returns an [*ErrLevel] if one of the records, which are to be applied to the image in this order, may not be
// written yet. A cluster that is being founded may be written anything.
func CheckLevel(m *Image, records []Record) error {
	finalized := m.Level()
	for _, r := range records {
		if f, ok := r.(*Feature); ok && f.Name == FeatureName {
			finalized = f.Level
		}
		if needs := LevelOf(r); finalized > 0 && needs > finalized {
			return &ErrLevel{needs, finalized}
		}
	}
	return nil
}

// checkFinalized refuses metadata of a level that this program does not know.
func checkFinalized(level int16, release string) error {
	if level <= Level {
		return nil
	}
	if release == "" {
		release = "a newer one"
	}
	return fmt.Errorf("%w: the cluster is at %s %d, this kraftgo knows up to %d: install kraftgo %s or newer on this node", ErrUnknownRecord, FeatureName, level, Level, release)
}

// Level returns the finalised level; 0 before the cluster was founded.
func (m *Image) Level() int16 { return m.features[FeatureName] }

// featureRecord returns the record that finalises a feature as it is.
func featureRecord(m *Image, name string) *Feature {
	r := &Feature{Name: name, Level: m.features[name]}
	if name == FeatureName {
		r.Release = m.release
	}
	return r
}

// FeatureRange is what a broker supports of a feature, both ends included. 0 stands for a feature that is off.
type FeatureRange struct {
	Name     string
	Min, Max int16
}

// Supports returns what the broker supports of a feature; nothing but its absence if it did not say.
func (g *RegisterBroker) Supports(name string) FeatureRange {
	for _, f := range g.Features {
		if f.Name == name {
			return f
		}
	}
	return FeatureRange{Name: name}
}

func appendFeatures(b []byte, list []FeatureRange) []byte {
	b = wire.AppendArrayLength(b, len(list), true)
	for _, f := range list {
		b = wire.AppendInt16(wire.AppendInt16(wire.AppendString(b, f.Name, true), f.Min), f.Max)
	}
	return b
}

func readFeatures(r *wire.Reader) []FeatureRange {
	var out []FeatureRange
	for n := r.ArrayLength(true, false, 5); n > 0 && r.Err() == nil; n-- {
		out = append(out, FeatureRange{r.String(true), r.Int16(), r.Int16()})
	}
	return out
}
