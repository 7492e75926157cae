package control

import (
	"strings"
	"testing"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// A level that a registered broker does not know, alive or not, is not finalised, and the refusal names it; when all know it,
// it is, with the release that brought it.
func TestLevelsThatNotAllBrokersKnow(t *testing.T) {
	old := supported
	defer func() { supported = old }()
	supported = []metadata.FeatureRange{{Name: metadata.FeatureName, Min: 1, Max: 2}}
	knows := func(id wire.BrokerID, high int16) *metadata.RegisterBroker {
		return &metadata.RegisterBroker{Broker: id, Features: []metadata.FeatureRange{{Name: metadata.FeatureName, Min: 1, Max: high}}}
	}
	raise := []FeatureUpdate{{metadata.FeatureName, 2, Upgrade}}
	m := image(t, &metadata.Feature{Name: metadata.FeatureName, Level: 1}, knows(1, 2), knows(2, 1))
	records, refusal := UpdateFeatures(m, 1, raise)
	if records != nil || refusal == nil || refusal.Code != wire.ErrInvalidUpdateVersion || !strings.Contains(refusal.Message, "Broker 2 only supports versions 1") {
		t.Fatalf("%v, %v", records, refusal)
	}
	m = image(t, &metadata.Feature{Name: metadata.FeatureName, Level: 1}, knows(1, 2), knows(2, 2))
	records, refusal = UpdateFeatures(m, 1, raise)
	if refusal != nil || len(records) != 1 || *records[0].(*metadata.Feature) != (metadata.Feature{Name: metadata.FeatureName, Level: 2, Release: metadata.Release(2)}) {
		t.Fatalf("%v, %v", records, refusal)
	}
	m = image(t, records[0])
	for _, u := range []FeatureUpdate{{metadata.FeatureName, 1, SafeDowngrade}, {metadata.FeatureName, 1, UnsafeDowngrade}, {metadata.FeatureName, 1, Upgrade}} {
		if records, refusal := UpdateFeatures(m, 1, []FeatureUpdate{u}); refusal == nil || records != nil {
			t.Errorf("%+v: %v", u, records)
		}
	}
}

// A broker that does not support what is finalised cannot register, and hears what to install; one that is newer can as long
// as it still knows the level.
func TestBrokersOfOtherVersionsRegisterIfTheyCan(t *testing.T) {
	m := image(t, &metadata.Feature{Name: metadata.FeatureName, Level: 1, Release: "0.1"})
	for _, c := range []struct {
		low, high int16
		says      string
	}{
		{1, 1, ""}, {1, 9, ""}, {0, 0, "Install kraftgo 0.1 or newer"}, {2, 3, "wants a version between 2 and 3"},
	} {
		r := metadata.RegisterBroker{Broker: -1, Directory: wire.UUID{1}, Features: []metadata.FeatureRange{{Name: metadata.FeatureName, Min: c.low, Max: c.high}}}
		records, _, refusal := Register(m, r, Damage{})
		if (refusal == nil) != (c.says == "") || refusal != nil && (records != nil || refusal.Code != wire.ErrUnsupportedVersion || !strings.Contains(refusal.Message, c.says)) {
			t.Errorf("%d-%d: %v", c.low, c.high, refusal)
		}
	}
}
