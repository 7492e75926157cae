package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/kraftgo/kraftgo/cluster/internal"
	"github.com/kraftgo/kraftgo/metadata"
	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
)

// Recovery is the directory of a stopped node, from which the metadata quorum can be made anew when a majority of its voters is lost
// for good. Nothing is changed before [Recovery.Run].
type Recovery struct {
	dir      string
	lock     *os.File
	identity *identity
	id       wire.UUID // of the directory
	remains  *quorum.Remains
}

// ErrQuorumLives is the result of a recovery that is not needed: who is left can go on, or does.
var ErrQuorumLives = errors.New("the quorum is not lost")

const (
	newMetadata = "metadata.recovered"          // while it is written
	oldMetadata = "metadata.before-recovery-%d" // what was there before, and the generation that took its place
	askTimeout  = 3 * time.Second
)

// openStopped takes the directory of a node that does not run.
func openStopped(dir string) (*Recovery, error) {
	r := &Recovery{dir: dir}
	raw, err := readFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	if raw == nil {
		return nil, fmt.Errorf("data directory %s holds no node; give that of a node of the cluster that is left", dir)
	}
	if r.lock, err = lockDirectory(dir); err != nil {
		return nil, err
	}
	r.identity = &identity{}
	if err := json.Unmarshal(raw, r.identity); err != nil {
		return nil, errors.Join(fmt.Errorf("%s is damaged: %w", filepath.Join(dir, "meta.json"), err), r.Close())
	}
	switch r.id, err = wire.ParseUUID(r.identity.Directory); {
	case err != nil:
		err = fmt.Errorf("%s is damaged: directory: %w", filepath.Join(dir, "meta.json"), err)
	case r.identity.Format > formatVersion:
		err = fmt.Errorf("data directory %s has format %d, this kraftgo knows up to %d: use the newer kraftgo that wrote it", dir, r.identity.Format, formatVersion)
	case r.identity.Broker < 0:
		err = fmt.Errorf("data directory %s was never taken into cluster %s, and has nothing of it; give that of a node that was", dir, r.identity.Cluster)
	default:
		err = r.undoCutShort()
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// OpenRecovery reads what the directory of a stopped node has of the metadata. Close it.
func OpenRecovery(dir string) (*Recovery, error) {
	r, err := openStopped(dir)
	if err != nil {
		return nil, err
	}
	if r.remains, err = quorum.ReadRemains(filepath.Join(dir, "metadata")); err == nil {
		if have := r.remains.State.Image().ClusterID(); have != r.identity.Cluster {
			err = fmt.Errorf("data directory %s has no metadata of cluster %s: it is empty, or was lost. Give that of another node", dir, r.identity.Cluster)
			if kept := r.kept(); have == "" && kept != "" {
				err = fmt.Errorf("data directory %s was told to follow recovery %s, and has nothing of it yet. What it had before is in %s: 'kraftgo cluster recover --data %s --undo' puts it back", dir, r.identity.Recovery, kept, dir)
			}
		}
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// Close gives the directory back.
func (r *Recovery) Close() error { return r.lock.Close() }

// RecoveryReport is what is known before a recovery, for whoever decides on it.
type RecoveryReport struct {
	Cluster    string
	Broker     wire.BrokerID
	Recovery   string // of the history that is here, "": the first
	Index      wire.Index
	Term       wire.Term // of Index
	Written    time.Time
	Damage     error // what could not be read
	Voter      bool
	Others     []RecoveryPeer // of which this node knows, by id
	Topics     int
	Partitions int
}

// RecoveryPeer is another node of the cluster.
type RecoveryPeer struct {
	Broker  wire.BrokerID // NoBroker: a voter that is no broker any more
	Address string
	Voter   bool
	State   PeerState

	directory wire.UUID
	// The history of the node, if it was reached, and whether it has metadata of it.
	reached, holds bool
	recovery       metadata.Recovery
}

// PeerState is what another node said when it was asked.
type PeerState int

// What other nodes are: gone, there, or there and in touch with a quorum.
const (
	PeerSilent PeerState = iota
	PeerAnswers
	PeerHasQuorum
)

// String names it for people.
func (s PeerState) String() string {
	return map[PeerState]string{PeerSilent: "does not answer", PeerAnswers: "answers", PeerHasQuorum: "is in touch with the quorum"}[s]
}

// Report asks all other nodes that are known here, and tells what is known. An [ErrQuorumLives] says that a recovery is not needed,
// or must not be.
func (r *Recovery) Report(ctx context.Context) (RecoveryReport, error) {
	m := r.remains.State.Image()
	out := RecoveryReport{
		Cluster: r.identity.Cluster, Broker: r.identity.Broker, Recovery: m.Recovery().String(), Index: m.Index(), Term: m.Term(),
		Written: r.remains.Written, Damage: r.remains.Damage, Topics: m.TopicCount(), Partitions: m.PartitionCount(),
	}
	votes := map[wire.UUID]bool{}
	for _, s := range r.remains.Members {
		votes[s.ID] = s.Votes
	}
	out.Voter = votes[r.id]
	own := []RecoveryPeer{}
	m.Brokers(func(b *metadata.BrokerInfo) bool {
		if b.Directory == r.id {
			own = append(own, RecoveryPeer{Broker: b.Broker, Address: b.Internal, directory: b.Directory})
		} else {
			out.Others = append(out.Others, RecoveryPeer{Broker: b.Broker, Address: b.Internal, Voter: votes[b.Directory], directory: b.Directory})
		}
		delete(votes, b.Directory)
		return true
	})
	for _, s := range r.remains.Members {
		if s.Votes && votes[s.ID] && s.ID != r.id {
			out.Others = append(out.Others, RecoveryPeer{Broker: wire.NoBroker, Address: s.Address, Voter: true, directory: s.ID})
		}
	}
	asked := append(own, out.Others...)
	if err := r.ask(ctx, asked); err != nil {
		return out, err
	}
	out.Others = asked[len(own):]
	for _, p := range asked[:len(own)] {
		if p.reached {
			return out, fmt.Errorf("%w: data directory %s is a copy: broker %d runs from the directory that it was copied from, at %s. Remove the copy", ErrQuorumLives, r.dir, p.Broker, p.Address)
		}
	}
	return out, out.needed(r.dir, m.Recovery())
}

// needed returns why the quorum must not be made anew from a directory of a history, or nil.
func (o *RecoveryReport) needed(dir string, ours metadata.Recovery) error {
	for _, p := range o.Others {
		if p.holds && p.recovery.Generation > ours.Generation {
			return fmt.Errorf("%w: it was lost, and made anew by recovery %s, of which broker %d at %s is. Have this node take part: kraftgo cluster recover --data %s --follow %s", ErrQuorumLives, p.recovery, p.Broker, p.Address, dir, p.recovery)
		}
	}
	voters, live := 0, 0
	if o.Voter {
		voters, live = 1, 1
	}
	for _, p := range o.Others {
		if p.State == PeerHasQuorum {
			return fmt.Errorf("%w: broker %d at %s is in touch with it. Start this node as it is: kraftgo start --data %s", ErrQuorumLives, p.Broker, p.Address, dir)
		}
		if p.Voter {
			voters++
			if p.State != PeerSilent && (!p.reached || p.recovery == ours) {
				live++
			}
		}
	}
	switch {
	case o.Voter && voters == 1:
		return fmt.Errorf("%w: this node is its only voter, and needs no other. Start it as it is: kraftgo start --data %s", ErrQuorumLives, dir)
	case voters > 0 && live > voters/2:
		return fmt.Errorf("%w: %d of its %d voters are there with this one. Start this node as it is: kraftgo start --data %s", ErrQuorumLives, live, voters, dir)
	}
	return nil
}

// ask finds out what the others are, all at once.
func (r *Recovery) ask(ctx context.Context, peers []RecoveryPeer) error {
	var secret []byte
	if _, err := os.Stat(filepath.Join(r.dir, "secret")); err == nil {
		if secret, err = ReadSecret(filepath.Join(r.dir, "secret")); err != nil {
			return err
		}
	}
	var nonce [8]byte
	if _, err := rand.Read(nonce[:]); err != nil {
		return fmt.Errorf("draw a nonce: %w", err)
	}
	self := internal.Identity{ // as the next start would be
		Cluster: r.identity.Cluster, Directory: r.id, Broker: r.identity.Broker, Generation: int64(r.identity.Generation) + 1,
		Nonce: binary.BigEndian.Uint64(nonce[:]), Recovery: r.identity.Recovery,
	}
	question, err := json.Marshal(fetchQuestion{Index: math.MaxInt64, MaxBytes: 1})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var all sync.WaitGroup
	for i := range peers {
		p := &peers[i]
		all.Go(func() {
			// What the other says of itself is noted; what it thinks of us decides nothing: a node that asks makes nobody stop.
			c := internal.NewClient(internal.Options{
				Self: func() internal.Identity { return self }, Secret: secret,
				Check: func(peer internal.Identity) (err error) {
					p.recovery, err = metadata.ParseRecovery(peer.Recovery)
					p.reached, p.holds = err == nil, err == nil && peer.Holds
					return err
				},
			}, p.Address, p.directory)
			defer c.Close()
			_, err := c.Call(ctx, callFetchMetadata, question)
			var theirs *internal.Error
			switch {
			case err == nil:
				p.State = PeerHasQuorum
			case errors.As(err, &theirs), errors.Is(err, internal.ErrRefused):
				p.State = PeerAnswers
			}
		})
	}
	all.Wait()
	return nil
}

// Run makes the node the sole voter of a quorum that begins with what is here, and returns the name of the recovery. What was there
// is kept beside it.
func (r *Recovery) Run() (recovery, kept string, err error) {
	before, err := metadata.ParseRecovery(r.identity.Recovery)
	if err != nil {
		return "", "", err
	}
	to := metadata.Recovery{Generation: max(before.Generation, r.remains.State.Image().Recovery().Generation) + 1}
	if _, err := rand.Read(to.ID[:]); err != nil {
		return "", "", fmt.Errorf("draw an id: %w", err)
	}
	r.remains.State.Recover(to, r.remains.Term)
	address := r.identity.Addresses["internal"] // whatever it is at the next start: the member tells the quorum when it has moved
	kept, err = r.replaceMetadata(to, func(dir string) error {
		return quorum.WriteRecovered(dir, r.id, address, r.remains.State)
	})
	return to.String(), kept, err
}

// ErrUnheard is the result of following a recovery of which no node was met.
var ErrUnheard = errors.New("no node of this recovery is reached")

// Follow makes the directory of a stopped node one of a node that takes part in a recovered cluster: its metadata is given up, its
// partitions stay. It returns where the metadata is kept, for [Undo]. Nothing is given up while the quorum that the node knows lives,
// nor, unless it is certain, for a recovery of which no node answers.
func Follow(ctx context.Context, dir, recovery string, certain bool) (kept string, err error) {
	to, err := metadata.ParseRecovery(recovery)
	if err == nil && to == (metadata.Recovery{}) {
		err = errors.New("which recovery? 'kraftgo cluster recover' printed its name, and the node says it when it is refused")
	}
	if err != nil {
		return "", err
	}
	r, err := openStopped(dir)
	if err != nil {
		return "", err
	}
	defer r.Close()
	ours, err := metadata.ParseRecovery(r.identity.Recovery)
	switch {
	case err != nil:
		return "", err
	case ours == to:
		return "", fmt.Errorf("data directory %s is of recovery %s already: start it with 'kraftgo start --data %s'", dir, to, dir)
	case ours.Generation > to.Generation:
		return "", fmt.Errorf("data directory %s is of recovery %s, which came after %s: the nodes of that one have to follow this one", dir, ours, to)
	}
	if err := r.heardOf(ctx, to, certain); err != nil {
		return "", err
	}
	return r.replaceMetadata(to, quorum.WriteEmpty)
}

// heardOf returns why the node must not follow a recovery, after asking all others that it knows.
func (r *Recovery) heardOf(ctx context.Context, to metadata.Recovery, certain bool) (err error) {
	var report RecoveryReport
	// Whoever cannot read what it gives up knows nobody to ask.
	if r.remains, err = quorum.ReadRemains(filepath.Join(r.dir, "metadata")); err == nil {
		if report, err = r.Report(ctx); err != nil && !errors.Is(err, ErrQuorumLives) {
			return err
		}
	}
	for _, p := range report.Others {
		switch {
		case p.holds && p.recovery == to:
			return nil
		case p.State == PeerHasQuorum:
			return fmt.Errorf("%w: broker %d at %s is in touch with it, and it is not of recovery %s. Start this node as it is: kraftgo start --data %s", ErrQuorumLives, p.Broker, p.Address, to, r.dir)
		}
	}
	if certain {
		return nil
	}
	return fmt.Errorf("%w: of recovery %s; nothing was done. Start one of its nodes first, or say --yes too if the name is right and they are only not reached from here", ErrUnheard, to)
}

// Undo puts the metadata back that a stopped node gave up by [Follow], as long as it has none of the recovery.
func Undo(dir string) error {
	r, err := openStopped(dir)
	if err != nil {
		return err
	}
	defer r.Close()
	kept, present := r.kept(), filepath.Join(dir, "metadata")
	now, err := quorum.ReadRemains(present)
	if err != nil {
		return err
	}
	switch have := now.State.Image(); {
	case have.ClusterID() != "" && have.Recovery().String() != r.identity.Recovery: // an earlier attempt was cut short
		r.identity.Recovery = have.Recovery().String()
		return r.identity.write(dir)
	case kept == "":
		return fmt.Errorf("data directory %s has given up no metadata: there is nothing to undo", dir)
	case have.ClusterID() != "":
		return fmt.Errorf("data directory %s takes part in recovery %s already, and has metadata of it: that is not undone", dir, r.identity.Recovery)
	}
	before, err := quorum.ReadRemains(kept)
	if err != nil {
		return err
	}
	// Cut short before meta.json is written, the node does not start (see checkHistory), and this can be done again.
	r.identity.Recovery = before.State.Image().Recovery().String()
	if err := errors.Join(os.RemoveAll(present), os.Rename(kept, present), syncDirectory(dir)); err != nil {
		return fmt.Errorf("put the metadata back: %w", err)
	}
	return r.identity.write(dir)
}

// kept is where the metadata lies that was given up for the recovery that the directory is of, "" if none was.
func (r *Recovery) kept() string {
	ours, err := metadata.ParseRecovery(r.identity.Recovery)
	if err != nil || ours.Generation == 0 {
		return ""
	}
	kept := filepath.Join(r.dir, fmt.Sprintf(oldMetadata, ours.Generation))
	if _, err := os.Stat(kept); err != nil {
		return ""
	}
	return kept
}

// replaceMetadata puts new metadata in the place of what is there. meta.json comes first: a node whose metadata is not of the history
// that it names does not start, so that being cut short at any moment leaves a directory on which this can be done again.
func (r *Recovery) replaceMetadata(to metadata.Recovery, write func(dir string) error) (kept string, err error) {
	fresh, present := filepath.Join(r.dir, newMetadata), filepath.Join(r.dir, "metadata")
	kept = filepath.Join(r.dir, fmt.Sprintf(oldMetadata, to.Generation))
	if err := os.RemoveAll(fresh); err != nil {
		return "", fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	if err := write(fresh); err != nil {
		return "", err
	}
	if err := os.RemoveAll(kept); err != nil {
		return "", fmt.Errorf("remove what an earlier attempt left: %w", err)
	}
	r.identity.Recovery, r.identity.SetAside = to.String(), true
	if err := r.identity.write(r.dir); err != nil {
		return "", err
	}
	if err := errors.Join(os.Rename(present, kept), os.Rename(fresh, present), syncDirectory(r.dir)); err != nil {
		return "", fmt.Errorf("put the recovered metadata in place: %w", err)
	}
	return kept, nil
}

// undoCutShort puts metadata back that an attempt had moved away when it was cut short.
func (r *Recovery) undoCutShort() error {
	present := filepath.Join(r.dir, "metadata")
	if _, err := os.Stat(present); err == nil || !errors.Is(err, os.ErrNotExist) {
		return err
	}
	ours, err := metadata.ParseRecovery(r.identity.Recovery)
	if err != nil {
		return err
	}
	kept := filepath.Join(r.dir, fmt.Sprintf(oldMetadata, ours.Generation))
	if _, err := os.Stat(kept); err != nil {
		return fmt.Errorf("data directory %s has no metadata: nothing can be recovered from it. Give that of another node", r.dir)
	}
	return errors.Join(os.Rename(kept, present), syncDirectory(r.dir))
}

func syncDirectory(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
