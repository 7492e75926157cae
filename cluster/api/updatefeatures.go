package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Before version 1 there is one kind of update; AllowDowngrade is not looked at, as in Kafka. Before version 2 success names
// every feature.
var updateFeaturesHandler = handle(message.KeyUpdateFeatures, func(b *Broker, r *listen.Request, m *message.UpdateFeaturesRequest) message.Response {
	var updates []control.FeatureUpdate
	for _, u := range m.FeatureUpdates {
		kind := control.UpgradeType(u.UpgradeType)
		if r.Header.Version == 0 {
			kind = control.Upgrade
		}
		updates = append(updates, control.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: kind})
	}
	var refusal *control.Refusal
	return b.once(r, m.TimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		if records, refusal = control.UpdateFeatures(image, b.ID, updates); m.ValidateOnly {
			return nil
		}
		return records
	}, func(fault *control.Refusal) message.Response {
		if refusal == nil {
			refusal = fault
		}
		if refusal != nil {
			return &message.UpdateFeaturesResponse{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
		}
		a := &message.UpdateFeaturesResponse{}
		if r.Header.Version < 2 {
			for _, u := range m.FeatureUpdates {
				a.Results = append(a.Results, message.UpdateFeaturesResponseResult{Feature: u.Feature, ErrorMessage: text(wire.ErrNone.String())})
			}
		}
		return a
	})
})
