package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/wire"
)

// Member is a member of the quorum as raft's configuration has it.
type Member struct {
	ID      wire.UUID
	Address string // host:port
	Votes   bool   // false: it is catching up
}

// Status is what DescribeQuorum tells.
type Status struct {
	Leader      wire.UUID // zero: unknown
	LeaderAddr  string    // host:port of the leader, "": unknown
	Term        wire.Term
	Committed   wire.Index
	LastIndex   wire.Index
	Applied     wire.Index
	Members     []Member
	SelfLeads   bool
	LastContact time.Duration // since the leader was last heard of; 0 on the leader
}

// Status returns the quorum's present state as this node sees it.
func (q *Quorum) Status() (Status, error) {
	s := Status{
		Term: q.Term(), Committed: wire.Index(q.raft.CommitIndex()), LastIndex: wire.Index(q.raft.LastIndex()),
		Applied: q.Image().Index(), SelfLeads: q.raft.State() == raft.Leader,
	}
	var err error
	if s.Leader, s.LeaderAddr, err = q.Leader(); err != nil {
		return s, err
	}
	if !s.SelfLeads {
		s.LastContact = time.Since(q.raft.LastContact())
	}
	s.Members, _, err = q.members()
	return s, err
}

// Leader returns the leader as raft knows it; a zero id if it knows none.
func (q *Quorum) Leader() (wire.UUID, string, error) {
	address, id := q.raft.LeaderWithID()
	if id == "" {
		return wire.UUID{}, "", nil
	}
	leader, err := wire.ParseUUID(string(id))
	if err != nil {
		return wire.UUID{}, "", fmt.Errorf("raft server id: %w", err)
	}
	_, host, err := splitMember(address)
	return leader, host, err
}

// LastIndex returns the last index in this node's log, committed or not.
func (q *Quorum) LastIndex() wire.Index { return wire.Index(q.raft.LastIndex()) }

// HashAt returns the hash of the state after the command of an index, as this node applied it; false if it is not known.
func (q *Quorum) HashAt(index wire.Index) (metadata.Hash, bool) { return q.opts.Replica.HashAt(index) }

// Reply returns the reply that was decided on a request that took effect here; see [metadata.State.Reply].
func (q *Quorum) Reply(id metadata.RequestID) (reply []byte, known bool) {
	return q.opts.Replica.Reply(id)
}

// Leads reports whether raft has this node for the leader; it may not be ready to decide yet ([Quorum.Reign]).
func (q *Quorum) Leads() bool { return q.raft.State() == raft.Leader }

// Follows reports whether raft brings this node everything: it leads, or it is a member that has heard of its leader
// within the time given.
func (q *Quorum) Follows(within time.Duration) bool {
	if q.raft.State() == raft.Leader {
		return true
	}
	if _, id := q.raft.LeaderWithID(); id == "" || time.Since(q.raft.LastContact()) > within {
		return false
	}
	members, _, err := q.members()
	if err != nil {
		return false
	}
	for _, m := range members {
		if m.ID == q.opts.ID {
			return true
		}
	}
	return false
}

func (q *Quorum) members() ([]Member, uint64, error) {
	f := q.raft.GetConfiguration()
	if err := f.Error(); err != nil {
		return nil, 0, fmt.Errorf("read the quorum's members: %w", err)
	}
	var out []Member
	for _, server := range f.Configuration().Servers {
		id, address, err := splitMember(server.Address)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, Member{ID: id, Address: address, Votes: server.Suffrage == raft.Voter})
	}
	return out, f.Index(), nil
}

// Change is one step of the quorum's membership.
type Change struct {
	Kind    ChangeKind
	ID      wire.UUID
	Address string // host:port, of a member that is added or has moved
}

// ChangeKind says what a Change does.
type ChangeKind int

// The kinds of change. A new voter is staged first, and promoted once it has the log.
const (
	Stage ChangeKind = iota + 1
	Promote
	Demote
	Remove
)

// String names the kind for log lines.
func (k ChangeKind) String() string {
	return map[ChangeKind]string{Stage: "stage", Promote: "promote", Demote: "demote", Remove: "remove"}[k]
}

// Alter makes one change of the membership, if nobody else has made one since members was read as given; it returns when
// the change is committed.
func (q *Quorum) Alter(ctx context.Context, c Change, seen []Member) error {
	members, index, err := q.members()
	if err != nil {
		return err
	}
	if fmt.Sprint(members) != fmt.Sprint(seen) {
		return errors.New("the quorum's members have changed since the change was decided")
	}
	wait := 10 * time.Second
	if t, ok := ctx.Deadline(); ok {
		wait = time.Until(t)
	}
	id, address := raft.ServerID(c.ID.String()), memberAddress(c.ID, c.Address)
	var f raft.IndexFuture
	switch c.Kind {
	case Stage:
		f = q.raft.AddNonvoter(id, address, index, wait)
	case Promote:
		f = q.raft.AddVoter(id, address, index, wait)
	case Demote:
		f = q.raft.DemoteVoter(id, index, wait)
	case Remove:
		f = q.raft.RemoveServer(id, index, wait)
	}
	if err := f.Error(); err != nil {
		return fmt.Errorf("%s %s in the quorum: %w", c.Kind, c.ID, err)
	}
	return nil
}

// Transfer hands the leadership to another voter, the one that is furthest. It returns when the other leads.
func (q *Quorum) Transfer() error {
	if err := q.raft.LeadershipTransfer().Error(); err != nil {
		return fmt.Errorf("hand over the leadership of the metadata quorum: %w", err)
	}
	return nil
}

// TransferTo hands the leadership to a certain voter. It returns when this node leads no more, or that one could not be brought to. The
// error is ErrNotLeader if this node does not lead, or hands over already.
func (q *Quorum) TransferTo(m Member) error {
	err := q.raft.LeadershipTransferToServer(raft.ServerID(m.ID.String()), memberAddress(m.ID, m.Address)).Error()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	}
	return fmt.Errorf("hand over the leadership of the metadata quorum to %s: %w", m.ID, err)
}

// Close stops raft. Nothing is proposed after it returns.
func (q *Quorum) Close() error {
	select {
	case <-q.stop:
		return nil
	default:
	}
	close(q.stop)
	err := q.raft.Shutdown().Error()
	<-q.stopped
	return errors.Join(err, q.trans.Close(), q.guarded.close(), q.store.Close())
}
