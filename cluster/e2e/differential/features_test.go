package differential

import (
	"github.com/kraftgo/kraftgo/wire/message"
)

// The kinds of an update of a feature (KIP-778).
const (
	upgradeUnknown int8 = iota
	upgrade
	safeDowngrade
	unsafeDowngrade
)

type featureUpdate = message.UpdateFeaturesRequestFeatureUpdate

// updates is a case that first validates and then makes updates of features.
func updates(name string, list ...featureUpdate) testcase {
	return testcase{"update-" + name, func(e *env) {
		m := &message.UpdateFeaturesRequest{TimeoutMs: 10_000, FeatureUpdates: list}
		if e.level == highest {
			m.ValidateOnly = true
			e.do(m)
			e.at(m, 1)
			m.ValidateOnly = false
		}
		e.do(m)
		if e.level == highest {
			e.at(m, 1)
		}
	}}
}

// to is an update in the form of both versions: a downgrade has its flag before KIP-778.
func to(feature string, level int16, kind int8) featureUpdate {
	return featureUpdate{Feature: feature, MaxVersionLevel: level, UpgradeType: kind, AllowDowngrade: kind > upgrade}
}

const metadataVersion = "metadata.version"

var featureCases = group{"features", []testcase{
	updates("nothing"),
	updates("unknown", to("no.such.version", 1, upgrade)),
	updates("unknown-delete", to("no.such.version", 0, safeDowngrade)),
	updates("empty-name", to("", 1, upgrade)),
	updates("negative", to(metadataVersion, -1, upgrade)),
	updates("too-high", to(metadataVersion, 999, upgrade)),
	updates("type-0", to(metadataVersion, 20, upgradeUnknown)),
	updates("type-9", to(metadataVersion, 20, 9)),
	updates("lower-as-upgrade", to(metadataVersion, 20, upgrade)),
	updates("zero-as-upgrade", to(metadataVersion, 0, upgrade)),
	updates("zero-as-downgrade", to(metadataVersion, 0, safeDowngrade)),
	updates("below-the-lowest", to(metadataVersion, 1, safeDowngrade)),
	updates("twice", to(metadataVersion, 20, upgrade), to(metadataVersion, 21, upgrade)),
	updates("one-good-one-bad", to("no.such.version", 1, upgrade), to(metadataVersion, 20, upgrade)),
	updates("lower", to(metadataVersion, 20, safeDowngrade)),
	updates("lower-unsafe", to(metadataVersion, 20, unsafeDowngrade)),
	updates("same", to(metadataVersion, 33, upgrade)),
	updates("same-as-downgrade", to(metadataVersion, 33, safeDowngrade)),
	updates("same-as-unsafe-downgrade", to(metadataVersion, 33, unsafeDowngrade)),
}}
