package cluster

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/kraftgo/kraftgo/metadata/quorum"
	"github.com/kraftgo/kraftgo/wire"
)

const (
	errAddrInUse   = syscall.EADDRINUSE
	errConnRefused = syscall.ECONNREFUSED
)

// formatVersion is the form of data directory that this program writes.
const formatVersion = 1

// identity is meta.json.
type identity struct {
	Format     int           `json:"format"`
	Cluster    string        `json:"cluster"`
	Broker     wire.BrokerID `json:"broker"`
	Directory  string        `json:"directory"`
	Generation uint64        `json:"generation"`
	Founded    bool          `json:"founded"` // or joined: the directory is that of a member
	Rack       *string       `json:"rack,omitempty"`
	// Recovery names the history that the metadata is of (metadata.Recovery); "" for a cluster's first. SetAside says that this node
	// has not started in it yet: what it holds of topics that it does not know there is kept, and not used.
	Recovery  string            `json:"recovery,omitempty"`
	SetAside  bool              `json:"setAside,omitempty"`
	Addresses map[string]string `json:"addresses"`
}

// lockDirectory takes the directory for this process.
func lockDirectory(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "kraftgo.lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the data directory: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("data directory %s is in use by another kraftgo process; stop that one first, or give another directory", dir)
		}
		return nil, fmt.Errorf("lock the data directory %s: %w", dir, err)
	}
	return f, nil
}

// openIdentity reads or makes the node's identity, and begins a new generation of it.
// joins is the cluster that a new node joins, "" for none.
func openIdentity(dir string, found bool, joins string, broker wire.BrokerID) (*identity, error) {
	raw, err := readFile(filepath.Join(dir, "meta.json"))
	if err != nil {
		return nil, fmt.Errorf("read the node's identity: %w", err)
	}
	hasLog := quorum.Exists(filepath.Join(dir, "metadata"))
	if raw == nil {
		switch {
		case hasLog:
			return nil, fmt.Errorf("data directory %s has a metadata log and no meta.json: it was damaged. Restore meta.json, or move the directory away and found or join anew", dir)
		case joins != "":
			return newIdentity(joins, broker)
		case !found:
			return nil, fmt.Errorf("data directory %s holds no node; found a cluster in it with 'kraftgo init --data %s', or join one with 'kraftgo join --data %s --seed HOST:PORT'", dir, dir, dir)
		}
		return newIdentity("", max(broker, 1))
	}
	id := &identity{}
	if err := json.Unmarshal(raw, id); err != nil {
		return nil, fmt.Errorf("%s is damaged (%w). Restore it, or move the directory away and found or join anew", filepath.Join(dir, "meta.json"), err)
	}
	switch {
	case id.Format > formatVersion:
		return nil, fmt.Errorf("data directory %s has format %d, this kraftgo knows up to %d: start it with the newer kraftgo that wrote it", dir, id.Format, formatVersion)
	case !id.Founded:
		return nil, fmt.Errorf("data directory %s is half-founded: an init in it was cut short before the cluster existed. It holds no client data: remove it and run 'kraftgo init --data %s' again", dir, dir)
	case joins != "" && id.Broker >= 0:
		return nil, fmt.Errorf("data directory %s already holds broker %d of cluster %s; start it with 'kraftgo start --data %s', or join with a new directory", dir, id.Broker, id.Cluster, dir)
	case joins != "" && id.Cluster != joins:
		return nil, fmt.Errorf("data directory %s began to join cluster %s, and the seed is of cluster %s: give it a seed of the first, or join with a new directory", dir, id.Cluster, joins)
	case found:
		return nil, fmt.Errorf("data directory %s already holds broker %d of cluster %s; start it with 'kraftgo start --data %s'", dir, id.Broker, id.Cluster, dir)
	case !hasLog && id.Broker >= 0:
		return nil, fmt.Errorf("data directory %s has meta.json and no metadata log: the metadata is lost. Restore metadata/, or move the directory away and found or join anew", dir)
	case broker >= 0 && id.Broker >= 0 && broker != id.Broker:
		return nil, fmt.Errorf("data directory %s belongs to broker %d, and broker.id says %d; a directory keeps its broker id", dir, id.Broker, broker)
	}
	if _, err := wire.ParseUUID(id.Directory); err != nil {
		return nil, fmt.Errorf("%s is damaged: directory: %w", filepath.Join(dir, "meta.json"), err)
	}
	id.Generation++
	return id, nil
}

// newIdentity makes the identity of a new node, of a new cluster if none is named.
func newIdentity(cluster string, broker wire.BrokerID) (*identity, error) {
	var minted, directory wire.UUID
	for _, u := range []*wire.UUID{&minted, &directory} {
		if _, err := rand.Read(u[:]); err != nil {
			return nil, fmt.Errorf("draw an id: %w", err)
		}
		u[0] &= 0x7f // no leading '-', which command lines take for an option
	}
	if cluster == "" {
		cluster = minted.String()
	}
	return &identity{Format: formatVersion, Cluster: cluster, Broker: broker, Directory: directory.String(), Generation: 1, Addresses: map[string]string{}}, nil
}

// write makes meta.json durable.
func (id *identity) write(dir string) error {
	b, err := json.MarshalIndent(id, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the node's identity: %w", err)
	}
	name := filepath.Join(dir, "meta.json")
	if err := writeDurably(name, append(b, '\n')); err != nil {
		return fmt.Errorf("write the node's identity: %w", err)
	}
	return nil
}

// writeDurably replaces a file so that after a crash it is the old one or the new one, whole.
func writeDurably(name string, b []byte) (err error) {
	f, err := os.OpenFile(name+".new", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(name+".new", name); err != nil {
		return err
	}
	return syncDirectory(filepath.Dir(name))
}
