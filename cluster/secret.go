package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// leastSecret is the shortest secret that is taken, in bytes: 16 random ones cannot be guessed.
const leastSecret = 16

// ReadSecret reads the file with the cluster's secret. Space around it does not count.
func ReadSecret(name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("secret file %s does not exist; make one with: head -c 32 /dev/urandom | base64 > %s, and give it to every node", name, name)
	}
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("secret file: %w", err)
	}
	if info.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("secret file %s may be read by everybody on this machine; run chmod o-rwx %s", name, name)
	}
	b = bytes.TrimSpace(b)
	if len(b) < leastSecret {
		return nil, fmt.Errorf("secret file %s holds %d bytes, and at least %d are needed; make one with: head -c 32 /dev/urandom | base64 > %s", name, len(b), leastSecret, name)
	}
	return b, nil
}

// Token is all that a new node needs to join.
type Token struct {
	Cluster string   `json:"cluster"`
	Seeds   []string `json:"seeds"`
	Secret  []byte   `json:"secret,omitempty"`
}

// tokenPrefix tells a token from other strings, and its version.
const tokenPrefix = "kraftgo1."

// String returns the token as one word. It has the secret in it.
func (t Token) String() string {
	b, err := json.Marshal(t)
	if err != nil {
		panic("cluster: a token does not encode: " + err.Error())
	}
	return tokenPrefix + base64.RawURLEncoding.EncodeToString(b)
}

// ReadToken makes a token from the data directory of a member. Without seeds it names the node's own gossip address, and
// those of the nodes that it knows.
func ReadToken(dir string, seeds []string) (t Token, err error) {
	raw, err := readFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return t, fmt.Errorf("read the node's identity: %w", err)
	}
	id := &identity{}
	if raw == nil {
		return t, fmt.Errorf("data directory %s holds no node; give that of a node of the cluster", dir)
	}
	if err := json.Unmarshal(raw, id); err != nil {
		return t, fmt.Errorf("%s is damaged: %w", filepath.Join(dir, "meta.json"), err)
	}
	t = Token{Cluster: id.Cluster, Seeds: seeds}
	if len(seeds) == 0 {
		t.Seeds = knownSeeds(dir, id)
	}
	if len(t.Seeds) == 0 {
		return t, fmt.Errorf("the node in %s has not said yet where it gossips; start it once, or give --seed HOST:PORT", dir)
	}
	if _, err := os.Stat(filepath.Join(dir, "secret")); err == nil {
		if t.Secret, err = ReadSecret(filepath.Join(dir, "secret")); err != nil {
			return t, err
		}
	}
	return t, nil
}

// knownSeeds returns the gossip addresses that a data directory knows, its node's own first.
func knownSeeds(dir string, id *identity) []string {
	var out []string
	if a := id.Addresses["advertise-gossip"]; a != "" {
		out = append(out, a)
	} else if a := id.Addresses["gossip"]; a != "" {
		out = append(out, a)
	}
	var peers []struct{ Address string }
	if b, err := os.ReadFile(filepath.Join(dir, "peers.json")); err == nil && json.Unmarshal(b, &peers) == nil {
		for _, p := range peers {
			if !slices.Contains(out, p.Address) && len(out) < 5 {
				out = append(out, p.Address)
			}
		}
	}
	return out
}

// ParseToken is the inverse of [Token.String].
func ParseToken(s string) (t Token, err error) {
	body, ok := strings.CutPrefix(strings.TrimSpace(s), tokenPrefix)
	if !ok {
		return t, fmt.Errorf("this is no token: 'kraftgo cluster token' prints one, which begins with %s", tokenPrefix)
	}
	b, err := base64.RawURLEncoding.DecodeString(body)
	if err == nil {
		err = json.Unmarshal(b, &t)
	}
	if err != nil || t.Cluster == "" || len(t.Seeds) == 0 {
		return Token{}, errors.New("the token is damaged: copy it whole, as 'kraftgo cluster token' printed it")
	}
	return t, nil
}
