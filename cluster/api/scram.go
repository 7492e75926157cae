package api

import (
	"github.com/kraftgo/kraftgo/cluster/listen"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// Salted passwords are never logged, and not kept: the metadata has what a server needs to check one (RFC 5802).
var alterUserScramCredentialsHandler = handle(message.KeyAlterUserScramCredentials, func(b *Broker, r *listen.Request, m *message.AlterUserScramCredentialsRequest) message.Response {
	var deletions []control.CredentialDeletion
	for _, d := range m.Deletions {
		deletions = append(deletions, control.CredentialDeletion{User: d.Name, Mechanism: metadata.ScramMechanism(d.Mechanism)})
	}
	var upsertions []control.CredentialUpsertion
	for _, u := range m.Upsertions {
		upsertions = append(upsertions, control.CredentialUpsertion{
			User: u.Name, Mechanism: metadata.ScramMechanism(u.Mechanism), Iterations: u.Iterations, Salt: u.Salt, SaltedPassword: u.SaltedPassword,
		})
	}
	var answers []control.UserAnswer
	return b.once(r, adminTimeoutMs, func(image *metadata.Image) (records []metadata.Record) {
		records, answers = control.AlterCredentials(image, deletions, upsertions)
		return records
	}, func(fault *control.Refusal) message.Response {
		if answers == nil && fault != nil { // nothing was decided: each user gets the reason
			answers = refuseUsers(deletions, upsertions, fault)
		}
		a := &message.AlterUserScramCredentialsResponse{}
		for _, answer := range answers {
			out := message.AlterUserScramCredentialsResponseResult{User: answer.User}
			refusal := answer.Refusal
			if refusal == nil {
				refusal = fault
			}
			if refusal != nil {
				out.ErrorCode, out.ErrorMessage = refusal.Code, text(refusal.Message)
			}
			a.Results = append(a.Results, out)
		}
		return a
	})
})

func refuseUsers(deletions []control.CredentialDeletion, upsertions []control.CredentialUpsertion, why *control.Refusal) []control.UserAnswer {
	var out []control.UserAnswer
	seen := map[string]bool{}
	add := func(user string) {
		if !seen[user] {
			seen[user] = true
			out = append(out, control.UserAnswer{User: user, Refusal: why})
		}
	}
	for _, d := range deletions {
		add(d.User)
	}
	for _, u := range upsertions {
		add(u.User)
	}
	return out
}

var describeUserScramCredentialsHandler = handle(message.KeyDescribeUserScramCredentials, func(b *Broker, r *listen.Request, m *message.DescribeUserScramCredentialsRequest) message.Response {
	image := b.Controller.Image()
	no := ""
	a := &message.DescribeUserScramCredentialsResponse{ErrorMessage: &no}
	if len(m.Users) == 0 {
		image.Credentials(func(c *metadata.Credential) bool {
			if n := len(a.Results); n == 0 || a.Results[n-1].User != c.User {
				a.Results = append(a.Results, message.DescribeUserScramCredentialsResponseResult{User: c.User, ErrorMessage: &no})
			}
			last := &a.Results[len(a.Results)-1]
			last.CredentialInfos = append(last.CredentialInfos, credentialInfo(c))
			return true
		})
		return a
	}
	asked := map[string]int{}
	for _, u := range m.Users {
		asked[u.Name]++
	}
	for _, u := range m.Users {
		times := asked[u.Name]
		if times == 0 {
			continue // answered before
		}
		asked[u.Name] = 0
		out := message.DescribeUserScramCredentialsResponseResult{User: u.Name, ErrorMessage: &no}
		credentials := image.CredentialsOf(u.Name)
		switch {
		case times > 1:
			out.ErrorCode, out.ErrorMessage = wire.ErrDuplicateResource, text("Cannot describe SCRAM credentials for the same user twice in a single request: "+u.Name)
		case len(credentials) == 0:
			out.ErrorCode, out.ErrorMessage = wire.ErrResourceNotFound, text("Attempt to describe a user credential that does not exist: "+u.Name)
		default:
			for _, c := range credentials {
				out.CredentialInfos = append(out.CredentialInfos, credentialInfo(c))
			}
		}
		a.Results = append(a.Results, out)
	}
	return a
})

func credentialInfo(c *metadata.Credential) message.DescribeUserScramCredentialsResponseCredentialInfo {
	return message.DescribeUserScramCredentialsResponseCredentialInfo{Mechanism: int8(c.Mechanism), Iterations: c.Iterations}
}
