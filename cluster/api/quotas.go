package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire/message"
)

var alterClientQuotasHandler = handle(message.KeyAlterClientQuotas, func(b *Broker, r *listen.Request, m *message.AlterClientQuotasRequest) message.Response {
	changes := make([]control.QuotaChange, len(m.Entries))
	for i, e := range m.Entries {
		for _, p := range e.Entity {
			changes[i].Entity = append(changes[i].Entity, control.QuotaPart{Type: p.EntityType, Name: p.EntityName})
		}
		for _, op := range e.Ops {
			changes[i].Ops = append(changes[i].Ops, control.QuotaOp(op))
		}
	}
	var answers []control.QuotaAnswer
	return b.once(r, adminTimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		if records, answers = control.AlterQuotas(image, changes); m.ValidateOnly {
			return nil
		}
		return records
	}, func(fault *control.Refusal) message.Response {
		if answers == nil { // nothing was decided: each entity gets the reason
			for _, c := range changes {
				answers = append(answers, control.QuotaAnswer{Entity: c.Entity, Refusal: fault})
			}
		}
		a := &message.AlterClientQuotasResponse{}
		for _, answer := range answers {
			e := message.AlterClientQuotasResponseEntry{}
			for _, p := range answer.Entity {
				e.Entity = append(e.Entity, message.AlterClientQuotasResponseEntity{EntityType: p.Type, EntityName: p.Name})
			}
			refusal := answer.Refusal
			if refusal == nil {
				refusal = fault
			}
			if refusal != nil {
				e.ErrorCode, e.ErrorMessage = refusal.Code, text(refusal.Message)
			}
			a.Entries = append(a.Entries, e)
		}
		return a
	})
})

var describeClientQuotasHandler = handle(message.KeyDescribeClientQuotas, func(b *Broker, r *listen.Request, m *message.DescribeClientQuotasRequest) message.Response {
	var filter []control.QuotaFilter
	for _, c := range m.Components {
		filter = append(filter, control.QuotaFilter{Type: c.EntityType, Match: control.QuotaMatch(c.MatchType), Name: c.Match})
	}
	found, refusal := control.FindQuotas(b.Controller.Image(), filter, m.Strict)
	if refusal != nil {
		return &message.DescribeClientQuotasResponse{ErrorCode: refusal.Code, ErrorMessage: text(refusal.Message)}
	}
	no := ""
	a := &message.DescribeClientQuotasResponse{ErrorMessage: &no, Entries: []message.DescribeClientQuotasResponseEntry{}}
	for _, q := range found {
		e := message.DescribeClientQuotasResponseEntry{}
		for _, kind := range []string{control.QuotaClientID, control.QuotaIP, control.QuotaUser} {
			if p := q.Entity.PartOf(kind); p.Set {
				entity := message.DescribeClientQuotasResponseEntity{EntityType: kind}
				if !p.Default {
					entity.EntityName = &p.Name
				}
				e.Entity = append(e.Entity, entity)
			}
		}
		for _, v := range q.Values {
			e.Values = append(e.Values, message.DescribeClientQuotasResponseValue{Key: v.Key, Value: v.Value})
		}
		a.Entries = append(a.Entries, e)
	}
	return a
})
