package metadata

import (
	"bytes"
	"cmp"
	"math"
	"slices"

	"github.com/kraftgo/kraftgo/wire"
)

// ACL is one entry of an access control list, with Kafka's numbers. It is its own name: two that are equal are one.
type ACL struct {
	ResourceType int8
	ResourceName string
	PatternType  int8 // literal or prefixed
	Principal    string
	Host         string
	Operation    int8
	Permission   int8
}

func compareACL(a, b *ACL) int {
	return cmp.Or(cmp.Compare(a.ResourceType, b.ResourceType), cmp.Compare(a.ResourceName, b.ResourceName), cmp.Compare(a.PatternType, b.PatternType),
		cmp.Compare(a.Principal, b.Principal), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Operation, b.Operation), cmp.Compare(a.Permission, b.Permission))
}

// RemoveACL removes an ACL.
type RemoveACL struct{ ACL }

// ScramMechanism numbers the SCRAM mechanisms as Kafka does.
type ScramMechanism int8

// The mechanisms.
const (
	ScramSHA256 ScramMechanism = 1
	ScramSHA512 ScramMechanism = 2
)

// Credential is what a user proves to know by one SCRAM mechanism. With the keys a password can be guessed at leisure, and
// with the server's key this broker can be played, so neither is ever printed.
type Credential struct {
	User       string
	Mechanism  ScramMechanism
	Iterations int32
	Salt       []byte
	StoredKey  []byte
	ServerKey  []byte
}

// String keeps the keys out of whatever prints a credential.
func (c *Credential) String() string { return "credential of " + c.User }

// GoString does the same for %#v.
func (c *Credential) GoString() string { return c.String() }

func compareCredential(a, b *Credential) int {
	return cmp.Or(cmp.Compare(a.User, b.User), cmp.Compare(a.Mechanism, b.Mechanism))
}

// RemoveCredential removes a user's credential of one mechanism.
type RemoveCredential struct {
	User      string
	Mechanism ScramMechanism
}

// QuotaName is one part of whom a quota is for.
type QuotaName struct {
	Set     bool   // this part says something
	Default bool   // everybody who has no quota of his own; Name is empty then
	Name    string // else
}

func compareName(a, b QuotaName) int {
	flag := func(v bool) int {
		if v {
			return 1
		}
		return 0
	}
	return cmp.Or(flag(a.Set)-flag(b.Set), flag(a.Default)-flag(b.Default), cmp.Compare(a.Name, b.Name))
}

// QuotaEntity is whom a quota is for: a user, a client id, both together, or an address.
type QuotaEntity struct{ User, ClientID, IP QuotaName }

// PartOf returns the part of a type, as the protocol names it; nil if there is no such type.
func (e *QuotaEntity) PartOf(kind string) *QuotaName {
	switch kind {
	case "user":
		return &e.User
	case "client-id":
		return &e.ClientID
	case "ip":
		return &e.IP
	}
	return nil
}

// Parts returns how many parts are set.
func (e *QuotaEntity) Parts() int {
	n := 0
	for _, p := range []QuotaName{e.User, e.ClientID, e.IP} {
		if p.Set {
			n++
		}
	}
	return n
}

func compareEntity(a, b QuotaEntity) int {
	return cmp.Or(compareName(a.User, b.User), compareName(a.ClientID, b.ClientID), compareName(a.IP, b.IP))
}

// Quota sets one quota of an entity, or removes it.
type Quota struct {
	Entity QuotaEntity
	Key    string
	Value  float64
	Remove bool
}

// Quotas are the quotas of one entity. They never change; new ones replace them.
type Quotas struct {
	Entity QuotaEntity
	Values []QuotaValue // by key
}

// QuotaValue is one quota.
type QuotaValue struct {
	Key   string
	Value float64
}

// ACLs calls f for every ACL, in order, until it returns false.
func (m *Image) ACLs(f func(*ACL) bool) { m.acls.Ascend(f) }

// HasACL reports whether there is this ACL.
func (m *Image) HasACL(a ACL) bool { return m.acls.Has(&a) }

// Credentials calls f for every credential, by user and mechanism, until it returns false.
func (m *Image) Credentials(f func(*Credential) bool) { m.credentials.Ascend(f) }

// CredentialsOf returns a user's credentials, by mechanism.
func (m *Image) CredentialsOf(user string) []*Credential {
	var out []*Credential
	m.credentials.AscendGreaterOrEqual(&Credential{User: user, Mechanism: math.MinInt8}, func(c *Credential) bool {
		if c.User == user {
			out = append(out, c)
		}
		return c.User == user
	})
	return out
}

// QuotasOf returns the quotas of exactly this entity, or nil.
func (m *Image) QuotasOf(e QuotaEntity) *Quotas {
	q, _ := m.quotas.Get(&Quotas{Entity: e})
	return q
}

// Quotas calls f for every entity with quotas, in order, until it returns false.
func (m *Image) Quotas(f func(*Quotas) bool) { m.quotas.Ascend(f) }

// Value returns one quota; false if it is not set.
func (q *Quotas) Value(key string) (float64, bool) {
	if q == nil {
		return 0, false
	}
	i, ok := slices.BinarySearchFunc(q.Values, key, func(v QuotaValue, key string) int { return cmp.Compare(v.Key, key) })
	if !ok {
		return 0, false
	}
	return q.Values[i].Value, true
}

func (s *State) applyQuota(r *Quota) {
	next := &Quotas{Entity: r.Entity}
	if old := s.image.QuotasOf(r.Entity); old != nil {
		next.Values = slices.Clone(old.Values)
	}
	i, have := slices.BinarySearchFunc(next.Values, r.Key, func(v QuotaValue, key string) int { return cmp.Compare(v.Key, key) })
	switch {
	case r.Remove && have:
		next.Values = slices.Delete(next.Values, i, i+1)
	case !r.Remove && have:
		next.Values[i].Value = r.Value
	case !r.Remove:
		next.Values = slices.Insert(next.Values, i, QuotaValue{r.Key, r.Value})
	}
	if len(next.Values) == 0 {
		s.image.quotas.Delete(next)
		return
	}
	s.image.quotas.ReplaceOrInsert(next)
}

// accessRecords returns the records that make the ACLs, credentials and quotas.
func (m *Image) accessRecords() []Record {
	var out []Record
	m.acls.Ascend(func(a *ACL) bool { out = append(out, a); return true })
	m.credentials.Ascend(func(c *Credential) bool { out = append(out, c); return true })
	m.quotas.Ascend(func(q *Quotas) bool {
		for _, v := range q.Values {
			out = append(out, &Quota{Entity: q.Entity, Key: v.Key, Value: v.Value})
		}
		return true
	})
	return out
}

// touchedAccess is hasher.touched for these records.
func (x *hasher) touchedAccess(m *Image, r Record) (h Hash, ok bool) {
	switch r := r.(type) {
	case *ACL:
		return x.aclOf(m, *r), true
	case *RemoveACL:
		return x.aclOf(m, r.ACL), true
	case *Credential:
		return x.credentialOf(m, r.User, r.Mechanism), true
	case *RemoveCredential:
		return x.credentialOf(m, r.User, r.Mechanism), true
	case *Quota:
		if value, ok := m.QuotasOf(r.Entity).Value(r.Key); ok {
			return x.record(&Quota{Entity: r.Entity, Key: r.Key, Value: value}), true
		}
		return Hash{}, true
	}
	return Hash{}, false
}

func (x *hasher) aclOf(m *Image, a ACL) Hash {
	if !m.HasACL(a) {
		return Hash{}
	}
	return x.record(&a)
}

func (x *hasher) credentialOf(m *Image, user string, mechanism ScramMechanism) Hash {
	c, ok := m.credentials.Get(&Credential{User: user, Mechanism: mechanism})
	if !ok {
		return Hash{}
	}
	return x.record(c)
}

// Type implements [Record], as do its like below.
func (*ACL) Type() RecordType { return TypeACL }

func (a *ACL) appendTo(b []byte) []byte {
	b = wire.AppendString(wire.AppendInt8(b, a.ResourceType), a.ResourceName, true)
	b = wire.AppendString(wire.AppendInt8(b, a.PatternType), a.Principal, true)
	b = wire.AppendInt8(wire.AppendString(b, a.Host, true), a.Operation)
	return wire.AppendInt8(b, a.Permission)
}

func (a *ACL) decode(r *wire.Reader) {
	a.ResourceType, a.ResourceName = r.Int8(), r.String(true)
	a.PatternType, a.Principal = r.Int8(), r.String(true)
	a.Host, a.Operation, a.Permission = r.String(true), r.Int8(), r.Int8()
}

// Type implements [Record].
func (*RemoveACL) Type() RecordType { return TypeRemoveACL }

// Type implements [Record].
func (*Credential) Type() RecordType { return TypeCredential }

func (c *Credential) appendTo(b []byte) []byte {
	b = wire.AppendInt8(wire.AppendString(b, c.User, true), int8(c.Mechanism))
	b = wire.AppendInt32(b, c.Iterations)
	for _, secret := range [][]byte{c.Salt, c.StoredKey, c.ServerKey} {
		b = wire.AppendBytes(b, secret, true)
	}
	return b
}

func (c *Credential) decode(r *wire.Reader) {
	c.User, c.Mechanism, c.Iterations = r.String(true), ScramMechanism(r.Int8()), r.Int32()
	for _, secret := range []*[]byte{&c.Salt, &c.StoredKey, &c.ServerKey} {
		*secret = bytes.Clone(r.Bytes(true))
	}
}

// Type implements [Record].
func (*RemoveCredential) Type() RecordType { return TypeRemoveCredential }

func (c *RemoveCredential) appendTo(b []byte) []byte {
	return wire.AppendInt8(wire.AppendString(b, c.User, true), int8(c.Mechanism))
}

func (c *RemoveCredential) decode(r *wire.Reader) {
	c.User, c.Mechanism = r.String(true), ScramMechanism(r.Int8())
}

// Type implements [Record].
func (*Quota) Type() RecordType { return TypeQuota }

func (q *Quota) appendTo(b []byte) []byte {
	for _, n := range []QuotaName{q.Entity.User, q.Entity.ClientID, q.Entity.IP} {
		b = wire.AppendString(wire.AppendBool(wire.AppendBool(b, n.Set), n.Default), n.Name, true)
	}
	b = wire.AppendString(b, q.Key, true)
	b = wire.AppendInt64(b, int64(math.Float64bits(q.Value)))
	return wire.AppendBool(b, q.Remove)
}

func (q *Quota) decode(r *wire.Reader) {
	for _, n := range []*QuotaName{&q.Entity.User, &q.Entity.ClientID, &q.Entity.IP} {
		n.Set, n.Default, n.Name = r.Bool(), r.Bool(), r.String(true)
	}
	q.Key = r.String(true)
	q.Value, q.Remove = math.Float64frombits(uint64(r.Int64())), r.Bool()
}
