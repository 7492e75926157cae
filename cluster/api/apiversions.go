package api

import (
	"regexp"
	"sort"

	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// softwareName is what KIP-511 allows in names and versions of clients.
var softwareName = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?$`)

var apiVersionsHandler = handle(message.KeyAPIVersions, func(b *Broker, r *listen.Request, m *message.APIVersionsRequest) message.Response {
	v := r.Header.Version
	if v >= 3 && (!softwareName.MatchString(m.ClientSoftwareName) || !softwareName.MatchString(m.ClientSoftwareVersion)) {
		return &message.APIVersionsResponse{ErrorCode: wire.ErrInvalidRequest, FinalizedFeaturesEpoch: -1}
	}
	image := b.Controller.Image()
	// KIP-1242: whom the client means, by cluster and node together, or not at all.
	switch {
	case (m.ClusterID == nil) != (m.NodeID == wire.NoBroker):
		return &message.APIVersionsResponse{ErrorCode: wire.ErrInvalidRequest, FinalizedFeaturesEpoch: -1}
	case m.ClusterID != nil && (*m.ClusterID != image.ClusterID() || m.NodeID != b.ID):
		return &message.APIVersionsResponse{ErrorCode: wire.ErrRebootstrapRequired, FinalizedFeaturesEpoch: -1}
	}
	a := &message.APIVersionsResponse{APIKeys: advertised(), FinalizedFeaturesEpoch: int64(image.Index())}
	for _, f := range control.SupportedFeatures() {
		if v < 4 && f.Min == 0 {
			f.Min = 1 // before v4 a client refuses a lowest level of 0
		}
		a.SupportedFeatures = append(a.SupportedFeatures, message.APIVersionsResponseSupportedFeature{Name: f.Name, MinVersion: f.Min, MaxVersion: f.Max})
	}
	for name, level := range image.Features() {
		a.FinalizedFeatures = append(a.FinalizedFeatures, message.APIVersionsResponseFinalizedFeature{Name: name, MinVersionLevel: level, MaxVersionLevel: level})
	}
	sort.Slice(a.FinalizedFeatures, func(i, j int) bool { return a.FinalizedFeatures[i].Name < a.FinalizedFeatures[j].Name })
	return a
})

// advertised lists the keys that are served, by number.
func advertised() []message.APIVersionsResponseAPIKey {
	var out []message.APIVersionsResponseAPIKey
	for _, h := range table {
		if h != nil {
			out = append(out, message.APIVersionsResponseAPIKey{APIKey: h.key, MinVersion: h.min, MaxVersion: h.max})
		}
	}
	return out
}

// unsupportedAPIVersions answers a version that we do not have in version 0, so that the client can choose another.
func (b *Broker) unsupportedAPIVersions(r *listen.Request) {
	r.ReplyVersion(&message.APIVersionsResponse{ErrorCode: wire.ErrUnsupportedVersion, APIKeys: advertised(), FinalizedFeaturesEpoch: -1}, 0)
}
