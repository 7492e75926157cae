package control

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"hash"
	"slices"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Bounds of a credential's iterations (KIP-554).
const (
	scramIterationsMin = 4096
	scramIterationsMax = 16384
)

// CredentialDeletion asks for a user's credential of one mechanism to be removed.
type CredentialDeletion struct {
	User      string
	Mechanism metadata.ScramMechanism
}

// CredentialUpsertion asks for a user's credential of one mechanism to be set. The password was salted by the client.
type CredentialUpsertion struct {
	User           string
	Mechanism      metadata.ScramMechanism
	Iterations     int32
	Salt           []byte
	SaltedPassword []byte
}

// UserAnswer is what became of one user.
type UserAnswer struct {
	User    string
	Refusal *Refusal
}

// AlterCredentials plans changes of users' credentials: each user's is accepted or refused by itself, and may be changed
// once in a request.
func AlterCredentials(m *metadata.Image, deletions []CredentialDeletion, upsertions []CredentialUpsertion) ([]metadata.Record, []UserAnswer) {
	var answers []UserAnswer
	var plans []metadata.Record
	seen := map[string]int{} // where a user's answer is
	add := func(user string, plan metadata.Record, refusal *Refusal) {
		i, twice := seen[user]
		switch {
		case !twice:
			seen[user] = len(answers)
			answers, plans = append(answers, UserAnswer{user, refusal}), append(plans, plan)
		case answers[i].Refusal == nil:
			answers[i].Refusal = refuse(wire.ErrDuplicateResource, "A user credential cannot be altered twice in the same request")
		}
	}
	for _, d := range deletions {
		refusal := checkUser(d.User, d.Mechanism)
		has := slices.ContainsFunc(m.CredentialsOf(d.User), func(c *metadata.Credential) bool { return c.Mechanism == d.Mechanism })
		if refusal == nil && !has {
			refusal = refuse(wire.ErrResourceNotFound, "Attempt to delete a user credential that does not exist")
		}
		add(d.User, &metadata.RemoveCredential{User: d.User, Mechanism: d.Mechanism}, refusal)
	}
	for _, u := range upsertions {
		plan, refusal := upsertCredential(u)
		add(u.User, plan, refusal)
	}
	var records []metadata.Record
	for i, a := range answers {
		if a.Refusal == nil {
			records = append(records, plans[i])
		}
	}
	return records, answers
}

func checkUser(user string, mechanism metadata.ScramMechanism) *Refusal {
	switch {
	case user == "":
		return refuse(wire.ErrUnacceptableCredential, "Username must not be empty")
	case mechanism != metadata.ScramSHA256 && mechanism != metadata.ScramSHA512:
		return refuse(wire.ErrUnsupportedSASLMechanism, "Unknown SCRAM mechanism")
	}
	return nil
}

func upsertCredential(u CredentialUpsertion) (metadata.Record, *Refusal) {
	if refusal := checkUser(u.User, u.Mechanism); refusal != nil {
		return nil, refusal
	}
	switch {
	case u.Iterations < scramIterationsMin:
		return nil, refuse(wire.ErrUnacceptableCredential, "Too few iterations")
	case u.Iterations > scramIterationsMax:
		return nil, refuse(wire.ErrUnacceptableCredential, "Too many iterations")
	case len(u.SaltedPassword) == 0:
		return nil, refuse(wire.ErrUnacceptableCredential, "Empty salted password")
	}
	newHash := sha256.New
	if u.Mechanism == metadata.ScramSHA512 {
		newHash = sha512.New
	}
	stored, server := scramKeys(newHash, u.SaltedPassword)
	return &metadata.Credential{User: u.User, Mechanism: u.Mechanism, Iterations: u.Iterations, Salt: slices.Clone(u.Salt), StoredKey: stored, ServerKey: server}, nil
}

// scramKeys derives what a server keeps (RFC 5802, section 3): the password cannot be had from it but by guessing.
func scramKeys(newHash func() hash.Hash, salted []byte) (stored, server []byte) {
	mac := func(text string) []byte {
		h := hmac.New(newHash, salted)
		h.Write([]byte(text))
		return h.Sum(nil)
	}
	h := newHash()
	h.Write(mac("Client Key"))
	return h.Sum(nil), mac("Server Key")
}
