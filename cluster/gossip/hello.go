package gossip

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"

	"github.com/kraftgo/kraftgo/wire"
)

const (
	// helloMagic begins a newcomer's stream. memberlist's begin with a message type (below 32) or a label (244).
	helloMagic   = 0xB5
	helloVersion = 1
	nonceSize    = 32
	maxHello     = 64 << 10 // bytes of an answer: a hundred members and more
	helloMembers = 64       // how many members an answer names
)

// What a seed answers first.
const (
	helloOK = iota + 1
	helloNeedsSecret
	helloHasNoSecret
	helloBadSecret
	helloBadVersion
)

var (
	// ErrSecret is the result of a hello between nodes that do not share a secret.
	ErrSecret = errors.New("the cluster's secret does not match")
	// ErrVersion is the result of a hello to a node of another version, which does not understand it.
	ErrVersion = errors.New("another version of kraftgo")
	// ErrOtherCluster is the result of a [Check] of a node of another cluster.
	ErrOtherCluster = errors.New("a node of another cluster")
	// ErrNotGossip is the result of a hello to something else.
	ErrNotGossip = errors.New("not a kraftgo gossip address")
)

// Permanent reports whether a hello failed in a way that waiting does not mend.
func Permanent(err error) bool {
	return errors.Is(err, ErrSecret) || errors.Is(err, ErrVersion) || errors.Is(err, ErrOtherCluster)
}

// HelloAnswer is what a seed tells a newcomer.
type HelloAnswer struct {
	Cluster string
	Members []Member // that it knows, itself first
}

// Both sides draw a nonce. The newcomer proves first that it knows the secret: what a seed tells is not for strangers.
//
//	newcomer -> magic | version | has a secret | nonce
//	seed     -> status | nonce
//	newcomer -> proof
//	seed     -> status | length | answer | proof over the answer
func proof(secret []byte, role string, parts ...[]byte) []byte {
	if len(secret) == 0 {
		return make([]byte, sha256.Size)
	}
	mac := hmac.New(sha256.New, derived(secret, "kraftgo gossip hello"))
	mac.Write([]byte(role))
	for _, p := range parts {
		mac.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		mac.Write(p)
	}
	return mac.Sum(nil)
}

// derived is a key of 32 bytes for one use of the secret.
func derived(secret []byte, use string) []byte {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(use))
	return mac.Sum(nil)
}

// Hello asks a seed which cluster it is of. The error says what to do about it.
func Hello(ctx context.Context, dial Dialer, seed string, secret []byte) (HelloAnswer, error) {
	fail := func(err error) (HelloAnswer, error) { return HelloAnswer{}, fmt.Errorf("seed %s: %w", seed, err) }
	if _, _, err := hostPort(seed); err != nil {
		return fail(fmt.Errorf("a seed is HOST:PORT: %w", err))
	}
	c, err := dial.dial(ctx, seed)
	if err != nil {
		return fail(err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	answer, err := hello(c, secret)
	if err != nil {
		return fail(err)
	}
	return answer, nil
}

// Check asks a seed whether it is of our cluster. The error says what to do about it.
func Check(ctx context.Context, dial Dialer, seed string, secret []byte, cluster string) error {
	answer, err := Hello(ctx, dial, seed, secret)
	if err == nil && answer.Cluster != cluster {
		err = fmt.Errorf("seed %s: %w: it is of cluster %s, and this node's data directory of cluster %s; give the node a seed of its own cluster, or join with a new directory", seed, ErrOtherCluster, answer.Cluster, cluster)
	}
	return err
}

func hello(c net.Conn, secret []byte) (a HelloAnswer, err error) {
	opening := make([]byte, 3+nonceSize)
	opening[0], opening[1] = helloMagic, helloVersion
	if len(secret) > 0 {
		opening[2] = 1
	}
	nonce := opening[3:]
	if _, err := rand.Read(nonce); err != nil {
		return a, err
	}
	if _, err := c.Write(opening); err != nil {
		return a, err
	}
	if err := helloStatus(c); err != nil {
		return a, err
	}
	theirs := make([]byte, nonceSize)
	if _, err := io.ReadFull(c, theirs); err != nil {
		return a, fmt.Errorf("%w: %w", ErrNotGossip, err)
	}
	if _, err := c.Write(proof(secret, "newcomer", nonce, theirs)); err != nil {
		return a, err
	}
	if err := helloStatus(c); err != nil {
		return a, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return a, fmt.Errorf("%w: %w", ErrNotGossip, err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n > maxHello {
		return a, fmt.Errorf("%w: an answer of %d bytes", ErrNotGossip, n)
	}
	body := make([]byte, int(n)+sha256.Size)
	if _, err := io.ReadFull(c, body); err != nil {
		return a, fmt.Errorf("%w: %w", ErrNotGossip, err)
	}
	body, mac := body[:n], body[n:]
	if !hmac.Equal(mac, proof(secret, "seed", nonce, theirs, body)) {
		return a, fmt.Errorf("%w: the seed does not prove that it knows it", ErrSecret)
	}
	return decodeHello(body)
}

func helloStatus(c net.Conn) error {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("%w: it closed the connection; give the address that the node prints as gossip=", ErrNotGossip)
		}
		return err
	}
	switch b[0] {
	case helloOK:
		return nil
	case helloNeedsSecret:
		return fmt.Errorf("%w: the cluster has one; give this node --secret-file, or join with a token of 'kraftgo cluster token'", ErrSecret)
	case helloHasNoSecret:
		return fmt.Errorf("%w: the cluster has none, and this node was given one; leave it out, or give the cluster's nodes the same", ErrSecret)
	case helloBadSecret:
		return fmt.Errorf("%w: the cluster has another than this node; copy the file that its nodes have", ErrSecret)
	case helloBadVersion:
		return fmt.Errorf("%w: it does not understand version %d of the hello; give both nodes the same kraftgo", ErrVersion, helloVersion)
	}
	return fmt.Errorf("%w: it answers with byte %#x; give the address that the node prints as gossip=", ErrNotGossip, b[0])
}

// serveHello answers a newcomer, whose first byte was read.
func (g *Gossip) serveHello(c net.Conn) {
	if err := g.answerHello(c); err != nil {
		g.opts.Log.Debug("newcomer not answered", "peer", c.RemoteAddr(), "error", err)
	}
}

func (g *Gossip) answerHello(c net.Conn) error {
	head := make([]byte, 2+nonceSize)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	say := func(status byte, more ...byte) error {
		_, err := c.Write(append([]byte{status}, more...))
		return err
	}
	hasSecret := len(g.opts.Secret) > 0
	switch {
	case head[0] != helloVersion:
		return say(helloBadVersion)
	case head[1] == 0 && hasSecret:
		return say(helloNeedsSecret)
	case head[1] != 0 && !hasSecret:
		return say(helloHasNoSecret)
	}
	theirs, ours := head[2:], make([]byte, nonceSize)
	if _, err := rand.Read(ours); err != nil {
		return err
	}
	if err := say(helloOK, ours...); err != nil {
		return err
	}
	mac := make([]byte, sha256.Size)
	if _, err := io.ReadFull(c, mac); err != nil {
		return err
	}
	if !hmac.Equal(mac, proof(g.opts.Secret, "newcomer", theirs, ours)) {
		g.opts.Log.Warn("newcomer refused: it does not know the cluster's secret", "peer", c.RemoteAddr())
		return say(helloBadSecret)
	}
	members := g.Members()
	self := g.self.Load()
	answer := HelloAnswer{Cluster: self.Cluster, Members: []Member{*self}}
	for _, m := range members {
		if m.Directory != self.Directory && len(answer.Members) < helloMembers {
			answer.Members = append(answer.Members, m)
		}
	}
	body := answer.appendTo(nil)
	out := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	out = append(append(out, body...), proof(g.opts.Secret, "seed", theirs, ours, body)...)
	return say(helloOK, out...)
}

func (a *HelloAnswer) appendTo(b []byte) []byte {
	b = wire.AppendString(b, a.Cluster, true)
	b = wire.AppendArrayLength(b, len(a.Members), true)
	for i := range a.Members {
		b = a.Members[i].appendTo(b)
	}
	return b
}

func decodeHello(b []byte) (a HelloAnswer, err error) {
	r := wire.NewReader(b)
	a.Cluster = r.String(true)
	for n := r.ArrayLength(true, false, 30); n > 0 && r.Err() == nil; n-- {
		a.Members = append(a.Members, readMember(&r))
	}
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return HelloAnswer{}, fmt.Errorf("%w: %w", ErrNotGossip, err)
	}
	return a, nil
}
