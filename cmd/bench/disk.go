package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
)

// disk is a file system of its own, in a file: one that can be made to hang. It needs root.
type disk struct {
	image, mount string
}

// makeDisk makes one, mounted at dir.
func makeDisk(dir string) (*disk, error) {
	d := &disk{image: dir + ".disk", mount: dir}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	for _, command := range [][]string{
		{"truncate", "-s", "1G", d.image}, {"mkfs.ext4", "-q", "-F", d.image}, {"mount", "-o", "loop", d.image, d.mount},
	} {
		if err := run(command...); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func run(words ...string) error {
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		return fmt.Errorf("%q: %w: %s", words, err, out)
	}
	return nil
}

// freeze has every write to the disk wait.
func (d *disk) freeze() error { return run("fsfreeze", "-f", d.mount) }

// thaw ends freeze.
func (d *disk) thaw() error { return run("fsfreeze", "-u", d.mount) }

// removeDisks unmounts disks that nobody uses any more, and removes their files.
func removeDisks(disks []*disk) error {
	var faults []error
	for _, d := range disks {
		faults = append(faults, run("umount", d.mount), os.Remove(d.image))
	}
	return errors.Join(faults...)
}
