package lifecycle

import (
	"context"
	"errors"
	"time"

	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/control"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
)

// alterTimeout bounds one change of the quorum's membership.
const alterTimeout = 5 * time.Second

// view is what decisions about the quorum are made from; false: we do not lead it.
func (l *Leader) view() (control.QuorumView, quorum.Status, bool) {
	status, err := l.opts.Quorum.Status()
	if err != nil || !status.SelfLeads {
		return control.QuorumView{}, status, false
	}
	image := l.opts.Quorum.Image()
	view := control.QuorumView{Target: l.opts.Voters, Self: l.opts.Self, LastIndex: status.LastIndex, Cordoned: map[wire.BrokerID]bool{}}
	for _, m := range status.Members {
		view.Seats = append(view.Seats, control.Seat{Directory: m.ID, Address: m.Address, Votes: m.Votes})
	}
	image.Brokers(func(b *metadata.BrokerInfo) bool {
		if control.Cordoned(image, b) {
			view.Cordoned[b.Broker] = true
		}
		return true
	})
	l.mu.Lock()
	if l.sessions != nil {
		view.Nodes = l.sessions.nodes(l.opts.Now(), image)
	}
	l.mu.Unlock()
	return view, status, true
}

// quorum makes the next change of the quorum's membership, if one is due.
func (l *Leader) quorum(ctx context.Context) {
	view, status, leads := l.view()
	if !leads {
		return
	}
	if step := control.NextQuorumStep(view); step != nil && l.alter(ctx, step, status.Members) == nil {
		l.poke() // the next step may be due now
	}
}

// alter makes a change of the quorum's membership that was decided on members.
func (l *Leader) alter(ctx context.Context, step *control.QuorumStep, members []quorum.Member) error {
	kind := map[control.QuorumStepKind]quorum.ChangeKind{
		control.StageVoter: quorum.Stage, control.PromoteVoter: quorum.Promote, control.DemoteVoter: quorum.Demote, control.RemoveVoter: quorum.Remove,
	}[step.Kind]
	if step.Kind == control.HandOver {
		return l.handOver(step)
	}
	bounded, cancel := context.WithTimeout(ctx, alterTimeout)
	defer cancel()
	err := l.opts.Quorum.Alter(bounded, quorum.Change{Kind: kind, ID: step.Directory, Address: step.Address}, members)
	if err != nil {
		if ctx.Err() == nil {
			l.opts.Log.Warn("quorum not changed", "step", kind.String(), "directory", step.Directory, "reason", step.Why, "error", err)
		}
		return err
	}
	l.opts.Log.Info("quorum changed", "step", kind.String(), "directory", step.Directory, "address", step.Address, "reason", step.Why)
	return nil
}

// handOver gives the leadership of the quorum to another voter. Others begin to ask that one as soon as it decides.
func (l *Leader) handOver(step *control.QuorumStep) error {
	err := l.opts.Quorum.TransferTo(quorum.Member{ID: step.Directory, Address: step.Address})
	if errors.Is(err, quorum.ErrNotLeader) { // somebody else was faster
		return err
	}
	if err != nil {
		l.opts.Log.Warn("quorum not handed over", "directory", step.Directory, "reason", step.Why, "error", err)
		return err
	}
	l.opts.Log.Info("quorum handed over", "directory", step.Directory, "address", step.Address, "reason", step.Why)
	return nil
}

// Depart hands the quorum over if a broker that is to leave the cluster is this one, which leads it: the next controller lets it go. If
// that fails, this one does.
func (l *Leader) Depart(id wire.BrokerID) {
	view, _, leads := l.view()
	b := l.opts.Quorum.Image().Broker(id)
	if !leads || b == nil || b.Directory != l.opts.Self || control.CheckUnregister(view, id) != nil {
		return
	}
	if step := control.Successor(view); step != nil {
		_ = l.handOver(step) // which says so
	}
}

// AddVoter answers a request for a voter, with a [*control.Refusal]: voters are chosen here.
func (l *Leader) AddVoter(cluster *string, key control.VoterKey) error {
	view, _, leads := l.view()
	if !leads {
		return quorum.ErrNotLeader
	}
	return control.AskedToAddVoter(l.opts.Quorum.Image(), view, cluster, key)
}

// CheckUnregister refuses to have a broker leave that the quorum cannot do without; nil also where we do not lead it.
func (l *Leader) CheckUnregister(id wire.BrokerID) *control.Refusal {
	view, _, leads := l.view()
	if !leads {
		return nil
	}
	return control.CheckUnregister(view, id)
}

// RemoveVoter takes a voter's seat from it by request. A [*control.Refusal] says why not. For its own seat it hands the quorum over, and
// the next controller is to be asked.
func (l *Leader) RemoveVoter(ctx context.Context, cluster *string, key control.VoterKey) error {
	view, status, leads := l.view()
	if !leads {
		return quorum.ErrNotLeader
	}
	step, refusal := control.AskedToRemoveVoter(l.opts.Quorum.Image(), view, cluster, key)
	if refusal != nil {
		return refusal
	}
	err := l.alter(ctx, step, status.Members)
	l.poke() // another takes the seat
	if step.Kind == control.HandOver && err == nil {
		return quorum.ErrNotLeader // who leads now takes it
	}
	return err
}
