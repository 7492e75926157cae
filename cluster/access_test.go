package cluster_test

import (
	"bytes"
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"github.com/kraftgo/kraftgo/cluster"
	"github.com/kraftgo/kraftgo/cluster/kraftgotest"
)

// logBuffer keeps what is logged.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Users, quotas and ACLs that are changed through any broker are seen by all, and outlive a restart. Neither the log, at its
// most talkative, nor the admin listener tells a password or a key.
func TestUsersQuotasAndACLs(t *testing.T) {
	var log logBuffer
	talkative := func(c *cluster.Config) {
		c.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	a := kraftgotest.Start(t, map[string]string{"cluster.acls": "stored"}, talkative)
	b := a.Join(nil)
	admin := func(n *kraftgotest.Node) *kadm.Client { return kadm.NewClient(client(t, n)) }
	salt := []byte("0123456789abcdef")
	salted, err := pbkdf2.Key(sha256.New, "correct horse battery staple", salt, 8192, 32)
	if err != nil {
		t.Fatal(err)
	}
	changed, err := admin(b).AlterUserSCRAMs(limited(t), nil, []kadm.UpsertSCRAM{{User: "alice", Mechanism: kadm.ScramSha256, Iterations: 8192, Salt: salt, SaltedPassword: salted}})
	if err != nil || changed.Error() != nil {
		t.Fatal(err, changed.Error())
	}
	name, rate := "alice", 1024.0
	quotas, err := admin(b).AlterClientQuotas(limited(t), []kadm.AlterClientQuotaEntry{{
		Entity: kadm.ClientQuotaEntity{{Type: "user", Name: &name}}, Ops: []kadm.AlterClientQuotaOp{{Key: "producer_byte_rate", Value: rate}},
	}})
	if err != nil || quotas[0].Err != nil {
		t.Fatal(err, quotas)
	}
	acl := kadm.NewACLs().Topics("orders").ResourcePatternType(kadm.ACLPatternPrefixed).Operations(kadm.OpRead, kadm.OpWrite).Allow("User:alice").AllowHosts("*")
	created, err := admin(b).CreateACLs(limited(t), acl)
	if err != nil || len(created) != 2 || created[0].Err != nil {
		t.Fatal(err, created)
	}
	check := func(n *kraftgotest.Node) bool {
		users, err := admin(n).DescribeUserSCRAMs(limited(t))
		if err != nil {
			t.Fatal(err)
		}
		entries, err := admin(n).DescribeClientQuotas(limited(t), true, []kadm.DescribeClientQuotaComponent{{Type: "user", MatchName: &name}})
		if err != nil {
			t.Fatal(err)
		}
		acls, err := admin(n).DescribeACLs(limited(t), kadm.NewACLs().AnyResource("orders-7").ResourcePatternType(kadm.ACLPatternMatch).Allow().AllowHosts().Deny().DenyHosts().Operations())
		if err != nil || len(acls) != 1 {
			t.Fatal(err, acls)
		}
		return len(users) == 1 && len(users["alice"].CredInfos) == 1 && users["alice"].CredInfos[0].Iterations == 8192 &&
			len(entries) == 1 && entries[0].Values[0].Value == rate && len(acls[0].Described) == 2
	}
	for _, n := range []*kraftgotest.Node{a, b} {
		eventually(t, fmt.Sprintf("broker %d tells of all", n.Broker()), func() bool { return check(n) })
	}
	a.Restart()
	eventually(t, "all is there after a restart", func() bool { return check(a) })

	metadata, _ := get(t, a, "/debug/metadata")
	metrics, _ := get(t, a, "/metrics")
	told := log.String() + metadata + metrics
	if !strings.Contains(log.String(), "level=DEBUG") {
		t.Error("the log was not at its most talkative: this test does not see it")
	}
	for what, secret := range map[string]string{
		"the salted password": string(salted), "its hex digits": hex.EncodeToString(salted),
		"its base64": base64.StdEncoding.EncodeToString(salted), "its numbers": strings.Trim(fmt.Sprint(salted), "[]"),
	} {
		if strings.Contains(told, secret) {
			t.Errorf("%s is told", what)
		}
	}
	onlyTheOwnerReads(t, a.Dir())
}

// onlyTheOwnerReads checks that the metadata, which has the keys of users in it, is closed to others.
func onlyTheOwnerReads(t *testing.T, dir string) {
	t.Helper()
	info, err := os.Stat(filepath.Join(dir, "metadata"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the metadata directory is open to others: %v, %v", info.Mode(), err)
	}
}

// ACLs do not protect anything yet: unless asked to, a node takes none.
func TestACLsAreRefusedWhereNothingEnforcesThem(t *testing.T) {
	n := kraftgotest.Start(t, nil)
	acl := kadm.NewACLs().Topics("orders").Operations(kadm.OpRead).Allow("User:alice").AllowHosts("*")
	created, err := kadm.NewClient(client(t, n)).CreateACLs(limited(t), acl)
	if err != nil || len(created) != 1 || created[0].Err != kerr.SecurityDisabled || created[0].ErrMessage != "No Authorizer is configured." {
		t.Errorf("%v, %+v", err, created)
	}
	described, err := kadm.NewClient(client(t, n)).DescribeACLs(limited(t), acl)
	if err != nil || len(described) != 1 || described[0].Err != kerr.SecurityDisabled {
		t.Errorf("%v, %+v", err, described)
	}
	deleted, err := kadm.NewClient(client(t, n)).DeleteACLs(limited(t), acl)
	if err != nil || len(deleted) != 1 || deleted[0].Err != kerr.SecurityDisabled {
		t.Errorf("%v, %+v", err, deleted)
	}
}
