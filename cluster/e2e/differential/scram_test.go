package differential

import (
	"bytes"
	"slices"

	"github.com/kraftgo/kraftgo/wire/message"
)

type (
	scramUpsertion = message.AlterUserScramCredentialsRequestUpsertion
	scramDeletion  = message.AlterUserScramCredentialsRequestDeletion
)

const (
	scram256 int8 = 1
	scram512 int8 = 2
)

func (e *env) upsert(s string, mechanism int8, iterations int32) scramUpsertion {
	size := 32
	if mechanism == scram512 {
		size = 64
	}
	return scramUpsertion{Name: e.unique(s), Mechanism: mechanism, Iterations: iterations, Salt: []byte("some salt, random"), SaltedPassword: bytes.Repeat([]byte{7}, size)}
}

func (e *env) drop(s string, mechanism int8) scramDeletion {
	return scramDeletion{Name: e.unique(s), Mechanism: mechanism}
}

// scram is a case that makes one request, and then removes what it may have made.
func scram(name string, f func(e *env) *message.AlterUserScramCredentialsRequest) testcase {
	return testcase{"alter-" + name, func(e *env) {
		e.do(f(e))
		for _, s := range []string{"a", "b"} {
			for _, mechanism := range []int8{scram256, scram512} {
				quiet[*message.AlterUserScramCredentialsResponse](e, &message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop(s, mechanism)}}, 0)
			}
		}
	}}
}

func upserts(name string, f func(e *env) []scramUpsertion) testcase {
	return scram(name, func(e *env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{Upsertions: f(e)}
	})
}

func one(name string, mechanism int8, iterations int32, change ...func(*scramUpsertion)) testcase {
	return upserts(name, func(e *env) []scramUpsertion {
		u := e.upsert("a", mechanism, iterations)
		for _, f := range change {
			f(&u)
		}
		return []scramUpsertion{u}
	})
}

// describeUsers asks until the first user that is named has so many credentials, and then notes the answer.
func (e *env) describeUsers(want int, users ...string) {
	e.Helper()
	m := &message.DescribeUserScramCredentialsRequest{}
	for _, u := range users {
		m.Users = append(m.Users, message.DescribeUserScramCredentialsRequestUser{Name: e.unique(u)})
	}
	until(e, m, 0, func(a *message.DescribeUserScramCredentialsResponse) bool {
		i := slices.IndexFunc(a.Results, func(r message.DescribeUserScramCredentialsResponseResult) bool { return r.User == e.unique(users[0]) })
		return i >= 0 && len(a.Results[i].CredentialInfos) == want
	})
	e.do(m)
}

var scramCases = group{"scram", []testcase{
	one("256", scram256, 4096),
	one("512", scram512, 16384),
	one("too-few", scram256, 4095),
	one("too-few-512", scram512, 4095),
	one("too-many", scram256, 16385),
	one("negative", scram256, -1),
	one("mechanism-0", 0, 4096),
	one("mechanism-3", 3, 4096),
	one("mechanism-negative", -1, 4096),
	one("no-name", scram256, 4096, func(u *scramUpsertion) { u.Name = "" }),
	one("no-name-bad-mechanism", 9, 1, func(u *scramUpsertion) { u.Name = "" }),
	one("no-salt", scram256, 4096, func(u *scramUpsertion) { u.Salt = nil }),
	one("no-password", scram256, 4096, func(u *scramUpsertion) { u.SaltedPassword = nil }),
	one("short-password", scram512, 4096, func(u *scramUpsertion) { u.SaltedPassword = []byte{1, 2, 3} }),
	upserts("user-twice", func(e *env) []scramUpsertion {
		return []scramUpsertion{e.upsert("a", scram256, 4096), e.upsert("a", scram256, 5000)}
	}),
	upserts("both-mechanisms", func(e *env) []scramUpsertion {
		return []scramUpsertion{e.upsert("a", scram256, 4096), e.upsert("a", scram512, 5000)}
	}),
	upserts("one-good-one-bad", func(e *env) []scramUpsertion {
		return []scramUpsertion{e.upsert("a", scram256, 4096), e.upsert("b", scram256, 1)}
	}),
	upserts("bad-twice", func(e *env) []scramUpsertion {
		return []scramUpsertion{e.upsert("a", scram256, 1), e.upsert("a", scram256, 2)}
	}),
	scram("nothing", func(*env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{}
	}),
	scram("delete-unknown", func(e *env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram256)}}
	}),
	scram("delete-mechanism-0", func(e *env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", 0)}}
	}),
	scram("delete-no-name", func(e *env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{{Name: "", Mechanism: scram256}}}
	}),
	scram("delete-unknown-and-upsert", func(e *env) *message.AlterUserScramCredentialsRequest {
		return &message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram256)}, Upsertions: []scramUpsertion{e.upsert("a", scram256, 4096)}}
	}),
	{"life", func(e *env) {
		alter := func(m *message.AlterUserScramCredentialsRequest) { e.do(m) }
		alter(&message.AlterUserScramCredentialsRequest{Upsertions: []scramUpsertion{e.upsert("a", scram256, 4096)}})
		e.describeUsers(1, "a")
		alter(&message.AlterUserScramCredentialsRequest{Upsertions: []scramUpsertion{e.upsert("a", scram512, 8192)}})
		e.describeUsers(2, "a", "none")
		e.do(&message.DescribeUserScramCredentialsRequest{Users: []message.DescribeUserScramCredentialsRequestUser{{Name: e.unique("a")}, {Name: e.unique("a")}}})
		alter(&message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram256)}, Upsertions: []scramUpsertion{e.upsert("a", scram256, 5000)}})
		alter(&message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram256), e.drop("a", scram512)}})
		alter(&message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram256)}})
		e.describeUsers(1, "a")
		alter(&message.AlterUserScramCredentialsRequest{Deletions: []scramDeletion{e.drop("a", scram512)}})
		until(e, &message.DescribeUserScramCredentialsRequest{Users: []message.DescribeUserScramCredentialsRequestUser{{Name: e.unique("a")}}}, 0,
			func(a *message.DescribeUserScramCredentialsResponse) bool { return a.Results[0].ErrorCode != 0 })
		e.do(&message.DescribeUserScramCredentialsRequest{Users: []message.DescribeUserScramCredentialsRequestUser{{Name: e.unique("a")}}})
	}},
	{"describe-all", func(e *env) { e.do(&message.DescribeUserScramCredentialsRequest{}) }},
	{"describe-none", func(e *env) {
		e.do(&message.DescribeUserScramCredentialsRequest{Users: []message.DescribeUserScramCredentialsRequestUser{}})
	}},
	{"describe-no-name", func(e *env) {
		e.do(&message.DescribeUserScramCredentialsRequest{Users: []message.DescribeUserScramCredentialsRequestUser{{Name: ""}}})
	}},
}}
