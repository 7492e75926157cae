package control

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// The example of RFC 7677, section 3.
func TestScramKeys(t *testing.T) {
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		t.Fatal(err)
	}
	salted, err := pbkdf2.Key(sha256.New, "pencil", salt, 4096, 32)
	if err != nil {
		t.Fatal(err)
	}
	records, answers := AlterCredentials(metadata.NewState().Image(), nil, []CredentialUpsertion{{"user", metadata.ScramSHA256, 4096, salt, salted}})
	if answers[0].Refusal != nil {
		t.Fatal(answers[0].Refusal)
	}
	c := records[0].(*metadata.Credential)
	stored, server := base64.StdEncoding.EncodeToString(c.StoredKey), base64.StdEncoding.EncodeToString(c.ServerKey)
	if stored != "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=" || server != "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=" {
		t.Errorf("stored key %s, server key %s", stored, server)
	}
	for _, format := range []string{"%v", "%+v", "%s", "%#v", "%q"} {
		if text := fmt.Sprintf(format, c) + fmt.Sprintf(format, []metadata.Record{c}); strings.Contains(text, string(c.StoredKey)) || strings.Contains(text, fmt.Sprint(c.ServerKey[:3])[1:]) || strings.Contains(text, "StoredKey") {
			t.Errorf("%s prints a key: %s", format, text)
		}
	}
}

// Requests that would lead to too many records change nothing, and are answered item by item.
func TestTooManyACLsAtOnce(t *testing.T) {
	list := make([]metadata.ACL, aclsAtOnce+1)
	for i := range list {
		list[i] = metadata.ACL{ResourceType: 2, ResourceName: fmt.Sprint("t", i), PatternType: 3, Principal: "User:a", Host: "*", Operation: 3, Permission: 3}
	}
	m := metadata.NewState().Image()
	if records, refusals := CreateACLs(m, list); records != nil || refusals[0].Code != wire.ErrPolicyViolation || refusals[aclsAtOnce].Code != wire.ErrPolicyViolation {
		t.Errorf("%d records, %v", len(records), refusals[0])
	}
	records, refusals := CreateACLs(m, list[1:])
	if len(records) != aclsAtOnce || refusals[0] != nil {
		t.Errorf("%d records, %v", len(records), refusals[0])
	}
}

// What filters find is what a plain reading of KIP-290 says, and what they delete is that and no more.
func TestACLFiltersAgainstAPlainReading(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := rapid.SampledFrom([]string{"a", "ab", "abc", "*"})
		small := func(name string) int8 { return rapid.Int8Range(2, 3).Draw(t, name) }
		s := metadata.NewState()
		var list []metadata.ACL
		for range rapid.IntRange(0, 12).Draw(t, "acls") {
			list = append(list, metadata.ACL{ResourceType: small("type"), ResourceName: names.Draw(t, "name"), PatternType: rapid.Int8Range(3, 4).Draw(t, "pattern"),
				Principal: "User:" + names.Draw(t, "principal"), Host: names.Draw(t, "host"), Operation: small("operation"), Permission: small("permission")})
		}
		records, _ := CreateACLs(s.Image(), list)
		if _, err := s.Apply(1, 1, metadata.Command{Term: 1, Records: records}); err != nil {
			t.Fatal(err)
		}
		text := func(name string) *string {
			if v := names.Draw(t, name); rapid.Bool().Draw(t, name+" given") {
				return &v
			}
			return nil
		}
		f := ACLFilter{rapid.Int8Range(1, 3).Draw(t, "type"), text("name"), rapid.Int8Range(1, 4).Draw(t, "pattern"), nil, text("host"), rapid.Int8Range(1, 3).Draw(t, "operation"), rapid.Int8Range(1, 3).Draw(t, "permission")}
		want := map[metadata.ACL]bool{}
		for _, a := range list {
			pattern := true
			if f.ResourceName != nil {
				n := *f.ResourceName
				literal, prefixed := a.PatternType == 3, a.PatternType == 4
				switch f.PatternType {
				case 1, 3, 4:
					pattern = n == a.ResourceName
				case 2:
					pattern = literal && (n == a.ResourceName || a.ResourceName == "*") || prefixed && strings.HasPrefix(n, a.ResourceName)
				}
			}
			if f.PatternType > 2 && f.PatternType != a.PatternType {
				pattern = false
			}
			if pattern && (f.ResourceType == 1 || f.ResourceType == a.ResourceType) && (f.Host == nil || *f.Host == a.Host) &&
				(f.Operation == 1 || f.Operation == a.Operation) && (f.Permission == 1 || f.Permission == a.Permission) {
				want[a] = true
			}
		}
		removal, answers := DeleteACLs(s.Image(), []ACLFilter{f, f})
		if len(removal) != len(want) || len(answers[0].ACLs) != len(want) || len(answers[1].ACLs) != len(want) {
			t.Fatalf("%d removed, %d told, %d match", len(removal), len(answers[0].ACLs), len(want))
		}
		for _, a := range answers[0].ACLs {
			if !want[a] {
				t.Fatalf("%+v does not match", a)
			}
		}
		before := 0
		s.Image().ACLs(func(*metadata.ACL) bool { before++; return true })
		if _, err := s.Apply(2, 1, metadata.Command{Term: 1, Records: removal}); err != nil {
			t.Fatal(err)
		}
		after := 0
		s.Image().ACLs(func(*metadata.ACL) bool { after++; return true })
		if before-after != len(want) {
			t.Fatalf("%d before, %d after, %d match", before, after, len(want))
		}
	})
}
