package metadata

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/wire"
)

// young is a record whose field belongs to level 2.
type young struct {
	ProducerIDs
	field bool
}

func (y *young) level() int16 {
	if y.field {
		return 2
	}
	return 1
}

// Records and fields above the finalised level are not written, until a record before them in the same command raises it.
func TestRecordsWaitForTheirLevel(t *testing.T) {
	sinceLevel[TypeBrokerIDs] = 3
	defer delete(sinceLevel, TypeBrokerIDs)
	raise := func(to int16) Record { return &Feature{Name: FeatureName, Level: to} }
	for name, c := range map[string]struct {
		finalized int16
		records   []Record
		needs     int16
	}{
		"known to all":               {1, []Record{&Cluster{}, &young{}}, 0},
		"a field too young":          {1, []Record{&Cluster{}, &young{field: true}}, 2},
		"its level":                  {2, []Record{&young{field: true}}, 0},
		"a record too young":         {2, []Record{&BrokerIDs{}}, 3},
		"raised before":              {1, []Record{raise(3), &BrokerIDs{}, &young{field: true}}, 0},
		"raised after":               {1, []Record{&BrokerIDs{}, raise(3)}, 3},
		"another feature was raised": {1, []Record{&Feature{Name: "other", Level: 3}, &BrokerIDs{}}, 3},
		"the cluster is founded":     {0, []Record{&Cluster{}, raise(3), &BrokerIDs{}}, 0},
		"founded, and too young":     {0, []Record{raise(1), &young{field: true}}, 2},
	} {
		s := NewState()
		if c.finalized > 0 {
			if _, err := s.Apply(1, 1, Command{Term: 1, Records: []Record{raise(c.finalized)}}); err != nil {
				t.Fatal(err)
			}
		}
		err := CheckLevel(s.Image(), c.records)
		var level *ErrLevel
		switch {
		case c.needs == 0 && err != nil, c.needs != 0 && !errors.As(err, &level):
			t.Errorf("%s: %v", name, err)
		case c.needs != 0 && (level.Needs != c.needs || !strings.Contains(err.Error(), "cluster upgrade finalize")):
			t.Errorf("%s: %v, want level %d", name, err, c.needs)
		}
	}
}

// A program that is too old for a level stops at the record that finalises it, and at a snapshot of it, and says what to
// install, whatever comes behind.
func TestATooHighLevelSaysWhatToInstall(t *testing.T) {
	raise := &Feature{Name: FeatureName, Level: Level + 1, Release: "7.5"}
	c := Command{Term: 1, Records: []Record{raise}}
	check := func(what string, err error) {
		t.Helper()
		if !errors.Is(err, ErrUnknownRecord) || !strings.Contains(err.Error(), "install kraftgo 7.5 or newer") {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := DecodeCommand(c.AppendTo(nil))
	check("command", err)
	s := NewState()
	if _, err := s.Apply(1, 1, c); err != nil {
		t.Fatal(err)
	}
	_, err = ReadSnapshot(bytes.NewReader(snapshotBytes(t, s)))
	check("snapshot", err)
}

func TestEveryLevelHasARelease(t *testing.T) {
	for level := int16(1); level <= Level; level++ {
		if Release(level) == "" {
			t.Errorf("level %d has none", level)
		}
	}
	if int(Level) != len(releases) || Release(0) != "" || Release(Level+1) != "" {
		t.Errorf("%d levels, %d releases", Level, len(releases))
	}
	for r := TypeCluster; newRecord(r) != nil; r++ {
		if level := LevelOf(newRecord(r)); level < 1 || level > Level {
			t.Errorf("record type %d belongs to level %d", r, level)
		}
	}
}

func TestFeaturesOfBrokers(t *testing.T) {
	r := RegisterBroker{Features: []FeatureRange{{"a", 1, 2}}}
	if r.Supports("a") != (FeatureRange{"a", 1, 2}) || r.Supports("b") != (FeatureRange{"b", 0, 0}) {
		t.Errorf("%+v, %+v", r.Supports("a"), r.Supports("b"))
	}
	b := appendFeatures(nil, r.Features)
	reader := wire.NewReader(b)
	if got := readFeatures(&reader); len(got) != 1 || got[0] != r.Features[0] || reader.Err() != nil {
		t.Errorf("%+v, %v", got, reader.Err())
	}
}
