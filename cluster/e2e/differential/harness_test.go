package differential

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/kraftgo/kraftgo/wire"
	"github.com/kraftgo/kraftgo/wire/message"
)

// level chooses the version in which a case asks: that of every key for itself.
type level int

const (
	lowest level = iota
	highest
)

func (l level) String() string { return [...]string{"lowest", "highest"}[l] }

// group is the cases whose answers are kept in one file.
type group struct {
	name  string
	cases []testcase
}

// testcase is what is asked. Its name is part of the names of its topics and groups, so that cases do not meet.
type testcase struct {
	name string
	run  func(e *env)
}

// lowestOfKafka has the lowest versions that Kafka 4.4 serves, where they are not 0.
var lowestOfKafka = map[wire.APIKey]int16{
	message.KeyProduce: 3, message.KeyFetch: 4, message.KeyListOffsets: 1, message.KeyOffsetCommit: 2, message.KeyOffsetFetch: 1,
	message.KeyCreateTopics: 2, message.KeyDeleteTopics: 1, message.KeyOffsetForLeaderEpoch: 2, message.KeyDescribeConfigs: 1,
	message.KeyAlterReplicaLogDirs: 1, message.KeyDescribeLogDirs: 1, message.KeyDescribeACLs: 1, message.KeyCreateACLs: 1, message.KeyDeleteACLs: 1,
}

// target is the broker that is asked, with what is the same for all cases.
type target struct {
	address string
	run     string // part of all names, so that one broker can be asked twice
	broker  wire.BrokerID
	cluster string
}

// env is what a case works with: one connection, and the transcript of what it answered.
type env struct {
	*testing.T
	target     *target
	level      level
	name       string
	nonce      string // appended to all names, and left out of the transcript
	conn       net.Conn
	closed     bool
	correlated int32
	ids        map[wire.TopicID]string
	producers  map[wire.ProducerID]int
	out        strings.Builder
}

// patience is how long an answer may take. Kafka leaves some requests without one, for want of a caught exception.
const patience = 6 * time.Second

// clientID is sent with all requests.
const clientID = "differ"

func newEnv(t *testing.T, target *target, group string, c testcase, l level) *env {
	e := &env{T: t, target: target, level: l, name: group + "-" + c.name, nonce: "-" + target.run + string(l.String()[0]),
		ids: map[wire.TopicID]string{}, producers: map[wire.ProducerID]int{}}
	e.connect()
	t.Cleanup(func() { e.conn.Close() })
	return e
}

func (e *env) connect() {
	e.Helper()
	if e.conn != nil {
		e.conn.Close()
	}
	conn, err := net.DialTimeout("tcp", e.target.address, 5*time.Second)
	if err != nil {
		e.Fatal(err)
	}
	e.conn, e.closed = conn, false
}

// unique returns a name that no other case has.
func (e *env) unique(s string) string { return e.name + "." + s + e.nonce }

func (e *env) version(key wire.APIKey) int16 {
	if e.level == lowest {
		return lowestOfKafka[key]
	}
	info, _ := message.Lookup(key)
	return info.LatestStable
}

// do asks in the version of the level, and notes the answer. It returns nil if there was none.
func (e *env) do(m message.Request) message.Response {
	e.Helper()
	return e.at(m, e.version(m.APIKey()))
}

// at asks in that version.
func (e *env) at(m message.Request, version int16) message.Response {
	e.Helper()
	fmt.Fprintf(&e.out, "%s v%d\n", message.Name(m.APIKey()), version)
	if e.closed {
		e.out.WriteString("  (not sent)\n")
		return nil
	}
	e.send(m, version)
	return e.receive(m, version)
}

func (e *env) send(m message.Request, version int16) {
	e.Helper()
	id := clientID
	e.correlated++
	header := message.RequestHeader{Key: m.APIKey(), Version: version, CorrelationID: e.correlated, ClientID: &id}
	frame := header.AppendTo(make([]byte, 4))
	frame = m.AppendTo(frame, version)
	e.frame(frame)
}

// frame sends a frame whose first four bytes are left for its length.
func (e *env) frame(frame []byte) {
	e.Helper()
	binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
	if err := e.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		e.Fatal(err)
	}
	if _, err := e.conn.Write(frame); err != nil {
		e.Logf("write: %v", err)
	}
}

// receive notes the answer to m, or that the connection was closed.
func (e *env) receive(m message.Request, version int16) message.Response {
	e.Helper()
	body, ok := e.answer(m.APIKey(), version)
	if !ok {
		e.out.WriteString("  (closed)\n")
		return nil
	}
	a := m.NewResponse()
	err := a.Decode(body, version)
	if err != nil && m.APIKey() == message.KeyAPIVersions {
		a = m.NewResponse()
		err = a.Decode(body, 0)
	}
	if err != nil {
		fmt.Fprintf(&e.out, "  (malformed: %v)\n", err)
		return nil
	}
	e.out.WriteString(e.render(a))
	return a
}

// answer returns the body of the next answer, and false if the connection was closed instead.
func (e *env) answer(key wire.APIKey, version int16) ([]byte, bool) {
	e.Helper()
	frame, ok := e.frameBack()
	if !ok {
		return nil, false
	}
	id, body, err := message.SplitResponse(frame, key, version)
	if err != nil || id != e.correlated {
		e.Fatalf("correlation id %d, want %d: %v", id, e.correlated, err)
	}
	return body, true
}

// frameBack returns the next frame of an answer, and false if the connection was closed instead.
func (e *env) frameBack() ([]byte, bool) {
	e.Helper()
	var length [4]byte
	if _, err := io.ReadFull(e.conn, length[:]); err != nil {
		if timeout, ok := err.(net.Error); ok && timeout.Timeout() {
			e.note("no answer")
		}
		e.closed = true
		return nil, false
	}
	frame := make([]byte, binary.BigEndian.Uint32(length[:]))
	if _, err := io.ReadFull(e.conn, frame); err != nil {
		e.Fatal(err)
	}
	return frame, true
}

// quiet asks in that version, for what a case needs before it starts: nothing is noted.
func quiet[A message.Response](e *env, m message.Request, version int16) A {
	e.Helper()
	e.send(m, version)
	body, ok := e.answer(m.APIKey(), version)
	if !ok {
		e.Fatalf("%s version %d: connection closed", message.Name(m.APIKey()), version)
	}
	a := m.NewResponse()
	if err := a.Decode(body, version); err != nil {
		e.Fatal(err)
	}
	return a.(A)
}

// until asks again and again, 50 ms apart, until done.
func until[A message.Response](e *env, m message.Request, version int16, done func(A) bool) A {
	e.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.Now().Add(20 * time.Second)
	for {
		a := quiet[A](e, m, version)
		if done(a) {
			return a
		}
		if time.Now().After(deadline) {
			e.Fatalf("%s: still %+v", message.Name(m.APIKey()), a)
		}
		<-tick.C
	}
}

// topic is a topic that a case has made.
type topic struct {
	name string
	id   wire.TopicID
}

// topic creates a topic of one replica with settings "key=value", and waits for its leaders.
func (e *env) topic(s string, partitions int32, settings ...string) topic {
	e.Helper()
	name := e.unique(s)
	t := message.CreateTopicsRequestTopic{Name: name, NumPartitions: partitions, ReplicationFactor: 1}
	for _, kv := range settings {
		k, v, _ := strings.Cut(kv, "=")
		t.Configs = append(t.Configs, message.CreateTopicsRequestConfig{Name: k, Value: &v})
	}
	a := quiet[*message.CreateTopicsResponse](e, &message.CreateTopicsRequest{Topics: []message.CreateTopicsRequestTopic{t}, TimeoutMs: 10_000}, 7)
	if code := a.Topics[0].ErrorCode; code != wire.ErrNone {
		e.Fatalf("create %s: %v", name, code)
	}
	e.ids[a.Topics[0].TopicID] = s
	e.ready(name, int(partitions))
	return topic{name, a.Topics[0].TopicID}
}

// ready waits until all partitions of a topic have leaders that serve.
func (e *env) ready(name string, partitions int) {
	e.Helper()
	m := &message.MetadataRequest{Topics: []message.MetadataRequestTopic{{Name: &name}}}
	until(e, m, 12, func(a *message.MetadataResponse) bool {
		for _, p := range a.Topics[0].Partitions {
			if p.ErrorCode != wire.ErrNone {
				return false
			}
		}
		return len(a.Topics[0].Partitions) == partitions
	})
	q := &message.ListOffsetsRequest{ReplicaID: -1, Topics: []message.ListOffsetsRequestTopic{{Name: name}}}
	for p := range partitions {
		q.Topics[0].Partitions = append(q.Topics[0].Partitions, message.ListOffsetsRequestPartition{
			PartitionIndex: wire.Partition(p), CurrentLeaderEpoch: -1, Timestamp: -1})
	}
	until(e, q, 6, func(a *message.ListOffsetsResponse) bool {
		for _, p := range a.Topics[0].Partitions {
			if p.ErrorCode != wire.ErrNone {
				return false
			}
		}
		return true
	})
}

// group returns the name of a group whose coordinator is ready.
func (e *env) group(s string) string {
	e.Helper()
	name := e.unique(s)
	until(e, &message.FindCoordinatorRequest{Key: name}, 3, func(a *message.FindCoordinatorResponse) bool { return a.ErrorCode == wire.ErrNone })
	until(e, &message.DescribeGroupsRequest{Groups: []string{name}}, 5, func(a *message.DescribeGroupsResponse) bool {
		code := a.Groups[0].ErrorCode
		return code != wire.ErrCoordinatorLoadInProgress && code != wire.ErrCoordinatorNotAvailable && code != wire.ErrNotCoordinator
	})
	return name
}

// note writes a line of the case's own into the transcript.
func (e *env) note(format string, args ...any) {
	e.out.WriteString(strings.TrimRight(fmt.Sprintf("# "+format, args...), "\n") + "\n")
}

func ptr[T any](v T) *T { return &v }
