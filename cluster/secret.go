package cluster

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
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
