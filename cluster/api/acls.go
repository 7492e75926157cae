package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// ACLs are stored and told, and nothing is refused by them yet. So that nobody takes them for protection, they are not
// taken at all, as by Kafka without an authorizer, unless cluster.acls says so.

// adminTimeoutMs is for requests that name no time.
const adminTimeoutMs = 30_000

const noAuthorizer = "No Authorizer is configured."

func (b *Broker) storesACLs() bool {
	return b.Settings.Text(b.Controller.Image(), "cluster.acls") == "stored"
}

var createACLsHandler = handle(message.KeyCreateACLs, func(b *Broker, r *listen.Request, m *message.CreateACLsRequest) message.Response {
	a := &message.CreateACLsResponse{Results: make([]message.CreateACLsResponseResult, len(m.Creations))}
	answer := func(refusal func(i int) *control.Refusal) message.Response {
		for i := range a.Results {
			no := ""
			a.Results[i].ErrorMessage = &no // Kafka's success has one
			if refused := refusal(i); refused != nil {
				a.Results[i].ErrorCode, a.Results[i].ErrorMessage = refused.Code, text(refused.Message)
			}
		}
		return a
	}
	if !b.storesACLs() {
		return answer(func(int) *control.Refusal {
			return &control.Refusal{Code: wire.ErrSecurityDisabled, Message: noAuthorizer}
		})
	}
	list := make([]metadata.ACL, len(m.Creations))
	for i, c := range m.Creations {
		list[i] = metadata.ACL{ResourceType: c.ResourceType, ResourceName: c.ResourceName, PatternType: c.ResourcePatternType,
			Principal: c.Principal, Host: c.Host, Operation: c.Operation, Permission: c.PermissionType}
	}
	var refusals []*control.Refusal
	return b.once(r, adminTimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		records, refusals = control.CreateACLs(image, list)
		return records
	}, func(fault *control.Refusal) message.Response {
		return answer(func(i int) *control.Refusal { return firstRefusal(fault, refusals, i) })
	})
})

// firstRefusal is what became of item i: refused by itself, or with all in a fault of the change.
func firstRefusal(fault *control.Refusal, refusals []*control.Refusal, i int) *control.Refusal {
	if i < len(refusals) && refusals[i] != nil {
		return refusals[i]
	}
	return fault
}

var describeACLsHandler = handle(message.KeyDescribeACLs, func(b *Broker, r *listen.Request, m *message.DescribeACLsRequest) message.Response {
	if !b.storesACLs() {
		return &message.DescribeACLsResponse{ErrorCode: wire.ErrSecurityDisabled, ErrorMessage: text("No Authorizer is configured on the broker")}
	}
	no := ""
	a := &message.DescribeACLsResponse{ErrorMessage: &no}
	for _, acl := range control.FindACLs(b.Controller.Image(), control.ACLFilter{
		ResourceType: m.ResourceTypeFilter, ResourceName: m.ResourceNameFilter, PatternType: m.PatternTypeFilter,
		Principal: m.PrincipalFilter, Host: m.HostFilter, Operation: m.Operation, Permission: m.PermissionType,
	}) {
		n := len(a.Resources)
		if n == 0 || a.Resources[n-1].ResourceType != acl.ResourceType || a.Resources[n-1].ResourceName != acl.ResourceName || a.Resources[n-1].PatternType != acl.PatternType {
			a.Resources = append(a.Resources, message.DescribeACLsResponseResource{ResourceType: acl.ResourceType, ResourceName: acl.ResourceName, PatternType: acl.PatternType})
			n++
		}
		a.Resources[n-1].ACLs = append(a.Resources[n-1].ACLs, message.DescribeACLsResponseACL{
			Principal: acl.Principal, Host: acl.Host, Operation: acl.Operation, PermissionType: acl.Permission,
		})
	}
	return a
})

var deleteACLsHandler = handle(message.KeyDeleteACLs, func(b *Broker, r *listen.Request, m *message.DeleteACLsRequest) message.Response {
	a := &message.DeleteACLsResponse{FilterResults: make([]message.DeleteACLsResponseFilterResult, len(m.Filters))}
	refuseAll := func(refusal *control.Refusal) message.Response {
		for i := range a.FilterResults {
			a.FilterResults[i] = message.DeleteACLsResponseFilterResult{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
		}
		return a
	}
	if !b.storesACLs() {
		return refuseAll(&control.Refusal{Code: wire.ErrSecurityDisabled, Message: noAuthorizer})
	}
	filters := make([]control.ACLFilter, len(m.Filters))
	for i, f := range m.Filters {
		filters[i] = control.ACLFilter{ResourceType: f.ResourceTypeFilter, ResourceName: f.ResourceNameFilter, PatternType: f.PatternTypeFilter,
			Principal: f.PrincipalFilter, Host: f.HostFilter, Operation: f.Operation, Permission: f.PermissionType}
	}
	var deleted []control.DeletedACLs
	return b.once(r, adminTimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		records, deleted = control.DeleteACLs(image, filters)
		return records
	}, func(fault *control.Refusal) message.Response {
		if fault != nil {
			return refuseAll(fault)
		}
		for i, d := range deleted {
			a.FilterResults[i] = deletedACLs(d)
		}
		return a
	})
})

func deletedACLs(d control.DeletedACLs) (out message.DeleteACLsResponseFilterResult) {
	if d.Refusal != nil {
		out.ErrorCode, out.ErrorMessage = d.Refusal.Code, text(d.Refusal.Message)
	}
	for _, acl := range d.ACLs {
		out.MatchingACLs = append(out.MatchingACLs, message.DeleteACLsResponseMatchingACL{
			ResourceType: acl.ResourceType, ResourceName: acl.ResourceName, PatternType: acl.PatternType,
			Principal: acl.Principal, Host: acl.Host, Operation: acl.Operation, PermissionType: acl.Permission,
		})
	}
	return out
}
