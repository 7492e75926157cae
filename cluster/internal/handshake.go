package internal

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/kraftgo/kraftgo/wire"
)

// Kind is the first byte of a stream. Kafka's frames and TLS begin below 0x80.
type Kind byte

// The kinds of stream.
const (
	KindRaft  Kind = 0x80 + iota // raft's own transport
	KindRPC                      // calls
	KindFetch                    // fetches of followers, in Kafka's own form
	kindEnd
)

// Identity is what a node says of itself, and proves where there is a secret.
type Identity struct {
	Cluster    string
	Directory  wire.UUID
	Broker     wire.BrokerID // NoBroker: not registered yet
	Generation int64         // of the directory: rises with every start
	Nonce      uint64        // of this start
	Recovery   string        // names the history that its metadata is of; the listener only carries it, for Options.Check
	Holds      bool          // it has metadata of that history; false: it was only told to take part in it
}

// Why a handshake failed. The errors that are returned say more.
var (
	ErrOtherCluster      = errors.New("a node of another cluster")
	ErrNotWhoWasExpected = errors.New("not the node that was expected")
	ErrSecret            = errors.New("the cluster's secret does not match")
	ErrRefused           = errors.New("this node is refused")      // by the other
	ErrUnwanted          = errors.New("the other node is refused") // by Options.Check here
	ErrNotKraftgo        = errors.New("not a kraftgo internal listener")
)

// status is a side's verdict on the other.
type status byte

const (
	accepted status = iota
	otherCluster
	notExpected
	badSecret
	refused
)

var statusErrors = map[status]error{otherCluster: ErrOtherCluster, notExpected: ErrNotWhoWasExpected, badSecret: ErrSecret, refused: ErrRefused}

const (
	handshakeMagic   = "KGin"
	handshakeVersion = 1
	nonceSize        = 32
	proofSize        = sha256.Size
	maxHello         = 256 // bytes of a hello: a cluster id is 22 characters
	maxReason        = 1024
)

// hello is what each side says first.
type hello struct {
	identity  Identity
	nonce     [nonceSize]byte
	expect    wire.UUID // of the dialler: zero for anybody
	hasSecret bool
}

func (h *hello) appendTo(b []byte) []byte {
	b = wire.AppendString(b, h.identity.Cluster, true)
	b = wire.AppendUUID(b, h.identity.Directory)
	b = wire.AppendInt32(b, int32(h.identity.Broker))
	b = wire.AppendInt64(b, h.identity.Generation)
	b = wire.AppendInt64(b, int64(h.identity.Nonce))
	b = wire.AppendString(b, h.identity.Recovery, true)
	b = wire.AppendBool(b, h.identity.Holds)
	b = append(b, h.nonce[:]...)
	b = wire.AppendUUID(b, h.expect)
	return wire.AppendBool(b, h.hasSecret)
}

func decodeHello(b []byte) (h hello, err error) {
	r := wire.NewReader(b)
	h.identity.Cluster, h.identity.Directory = r.String(true), r.UUID()
	h.identity.Broker, h.identity.Generation, h.identity.Nonce = wire.BrokerID(r.Int32()), r.Int64(), uint64(r.Int64())
	h.identity.Recovery, h.identity.Holds = r.String(true), r.Bool()
	for i := range h.nonce {
		h.nonce[i] = byte(r.Int8())
	}
	h.expect, h.hasSecret = r.UUID(), r.Bool()
	if r.Err() == nil && r.Remaining() > 0 {
		r.Fail("%d bytes left over", r.Remaining())
	}
	if err := r.Err(); err != nil {
		return h, fmt.Errorf("handshake: %w", err)
	}
	return h, nil
}

func (o *Options) hello(expect wire.UUID) (hello, error) {
	h := hello{identity: o.Self(), expect: expect, hasSecret: len(o.Secret) > 0}
	_, err := rand.Read(h.nonce[:])
	return h, err
}

// proof is what only a holder of the secret can say after what was said so far.
func (o *Options) proof(role string, said []byte) []byte {
	if len(o.Secret) == 0 {
		return make([]byte, proofSize)
	}
	derive := hmac.New(sha256.New, o.Secret)
	derive.Write([]byte("kraftgo internal listener"))
	mac := hmac.New(sha256.New, derive.Sum(nil))
	mac.Write([]byte(role))
	mac.Write([]byte{0})
	mac.Write(said)
	return mac.Sum(nil)
}

func appendSized(b, body []byte) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(body))), body...)
}

func readSized(r io.Reader, limit int) ([]byte, error) {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint16(head[:]))
	if n > limit {
		return nil, fmt.Errorf("%d bytes where at most %d may be", n, limit)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	return b, err
}

// dialHandshake opens a stream on a connection that we made.
func (o *Options) dialHandshake(c net.Conn, k Kind, expect wire.UUID) (Identity, error) {
	h, err := o.hello(expect)
	if err != nil {
		return Identity{}, fmt.Errorf("draw a nonce: %w", err)
	}
	opening := append([]byte{byte(k)}, handshakeMagic...)
	opening = append(opening, handshakeVersion)
	opening = appendSized(opening, h.appendTo(nil))
	if _, err := c.Write(opening); err != nil {
		return Identity{}, fmt.Errorf("handshake: %w", err)
	}
	if err := readStatus(c); err != nil {
		return Identity{}, err
	}
	answer, err := readSized(c, maxHello)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotKraftgo, err)
	}
	theirs, err := decodeHello(answer)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrNotKraftgo, err)
	}
	proof := make([]byte, proofSize)
	if _, err := io.ReadFull(c, proof); err != nil {
		return Identity{}, fmt.Errorf("handshake: %w", err)
	}
	said := append(opening, answer...)
	if !hmac.Equal(proof, o.proof("acceptor", said)) || theirs.hasSecret != h.hasSecret {
		// The other side would say the same of us, so that it is told, though it proved nothing.
		return theirs.identity, goodbye(c, badSecret, ErrSecret, "one side does not prove that it knows the secret of the other; all nodes need the same --secret-file")
	}
	switch s, why := o.judge(h, theirs, expect); s {
	case accepted:
	case refused:
		return theirs.identity, goodbye(c, s, ErrUnwanted, why)
	default:
		return theirs.identity, goodbye(c, s, statusErrors[s], why)
	}
	if _, err := c.Write(append([]byte{byte(accepted)}, o.proof("dialler", said)...)); err != nil {
		return theirs.identity, fmt.Errorf("handshake: %w", err)
	}
	return theirs.identity, readStatus(c)
}

// judge is what both sides think of each other, once the other has proved itself. expect is who is wanted there.
func (o *Options) judge(ours, theirs hello, expect wire.UUID) (status, string) {
	switch {
	case theirs.identity.Cluster != ours.identity.Cluster:
		return otherCluster, fmt.Sprintf("one is of cluster %s, the other of cluster %s; give the node a seed of its own cluster, or join with a new directory", ours.identity.Cluster, theirs.identity.Cluster)
	case !expect.IsZero() && theirs.identity.Directory != expect:
		return notExpected, fmt.Sprintf("directory %s was expected, directory %s is there", expect, theirs.identity.Directory)
	}
	if o.Check != nil {
		if err := o.Check(theirs.identity); err != nil {
			return refused, err.Error()
		}
	}
	return accepted, ""
}

// readStatus reads the other side's verdict.
func readStatus(c net.Conn) error {
	var b [1]byte
	if _, err := io.ReadFull(c, b[:]); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
			return fmt.Errorf("%w: the connection was closed", ErrNotKraftgo)
		}
		return fmt.Errorf("handshake: %w", err)
	}
	s := status(b[0])
	if s == accepted {
		return nil
	}
	known := statusErrors[s]
	if known == nil {
		return fmt.Errorf("%w: it answers with byte %#x; is this the address of another listener?", ErrNotKraftgo, b[0])
	}
	why, err := readSized(c, maxReason)
	if err != nil {
		return fmt.Errorf("%w: its reason is cut: %w", known, err)
	}
	return fmt.Errorf("%w: it says: %s", known, why)
}

// acceptHandshake opens a stream on a connection that came in.
func (o *Options) acceptHandshake(c net.Conn) (Kind, Identity, error) {
	opening := make([]byte, 1+len(handshakeMagic)+1)
	if _, err := io.ReadFull(c, opening); err != nil {
		return 0, Identity{}, fmt.Errorf("handshake: %w", err)
	}
	k := Kind(opening[0])
	if k < KindRaft || k >= kindEnd || string(opening[1:len(opening)-1]) != handshakeMagic {
		return 0, Identity{}, fmt.Errorf("it began with %x, which is no kraftgo node's beginning", opening)
	}
	if v := opening[len(opening)-1]; v != handshakeVersion {
		return 0, Identity{}, refuse(c, refused, fmt.Sprintf("handshake of version %d, this kraftgo knows %d", v, handshakeVersion))
	}
	body, err := readSized(c, maxHello)
	if err != nil {
		return 0, Identity{}, fmt.Errorf("handshake: %w", err)
	}
	theirs, err := decodeHello(body)
	if err != nil {
		return 0, Identity{}, err
	}
	ours, err := o.hello(wire.UUID{})
	if err != nil {
		return 0, Identity{}, fmt.Errorf("draw a nonce: %w", err)
	}
	switch {
	case theirs.hasSecret != ours.hasSecret:
		return 0, theirs.identity, refuse(c, badSecret, "one of the two nodes has a secret, the other none; all nodes need the same --secret-file")
	case !theirs.expect.IsZero() && theirs.expect != ours.identity.Directory:
		return 0, theirs.identity, refuse(c, notExpected, fmt.Sprintf("directory %s was expected, directory %s is there", theirs.expect, ours.identity.Directory))
	}
	answer := ours.appendTo(nil)
	said := append(appendSized(opening, body), answer...)
	if _, err := c.Write(append(appendSized([]byte{byte(accepted)}, answer), o.proof("acceptor", said)...)); err != nil {
		return 0, theirs.identity, fmt.Errorf("handshake: %w", err)
	}
	if err := readStatus(c); err != nil {
		return 0, theirs.identity, fmt.Errorf("the other side went no further: %w", err)
	}
	proof := make([]byte, proofSize)
	if _, err := io.ReadFull(c, proof); err != nil {
		return 0, theirs.identity, fmt.Errorf("handshake: %w", err)
	}
	if !hmac.Equal(proof, o.proof("dialler", said)) {
		return 0, theirs.identity, refuse(c, badSecret, "the other side does not prove that it knows the cluster's secret")
	}
	if s, why := o.judge(ours, theirs, wire.UUID{}); s != accepted {
		return 0, theirs.identity, refuse(c, s, why)
	}
	_, err = c.Write([]byte{byte(accepted)})
	return k, theirs.identity, err
}

// refuse tells the dialler why, and returns it as an error.
func refuse(c net.Conn, s status, why string) error { return goodbye(c, s, statusErrors[s], why) }

// goodbye tells the other side why, and returns it as an error that wraps as.
func goodbye(c net.Conn, s status, as error, why string) error {
	if len(why) > maxReason {
		why = why[:maxReason]
	}
	err := fmt.Errorf("%w: %s", as, why)
	if _, writeErr := c.Write(appendSized([]byte{byte(s)}, []byte(why))); writeErr != nil {
		return errors.Join(err, writeErr)
	}
	return err
}
