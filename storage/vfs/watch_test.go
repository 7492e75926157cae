package vfs

import (
	"testing"
	"testing/synctest"
	"time"
)

// stuckFS gives files that hang in Sync until they are let go.
type stuckFS struct {
	FS
	release chan struct{}
}

type stuckFile struct {
	File
	of *stuckFS
}

func (s *stuckFS) Create(name string) (File, error) {
	f, err := s.FS.Create(name)
	return &stuckFile{f, s}, err
}

func (f *stuckFile) Sync() error {
	<-f.of.release
	return f.File.Sync()
}

// A sync that does not end is a disk that hangs, unless other things come to their end meanwhile; one that idles does not hang.
func TestADiskHangs(t *testing.T) {
	for _, busy := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			stuck := &stuckFS{NewMem(), make(chan struct{})}
			w := Watch(stuck)
			f, err := w.Create("/a")
			if err != nil {
				t.Fatal(err)
			}
			stop, told := make(chan struct{}), make(chan time.Duration, 1)
			go w.Hang(stop, time.Second, 8*time.Second, func(d time.Duration) { told <- d })
			<-time.After(time.Hour)
			if len(told) > 0 {
				t.Fatal("a disk that idles hangs")
			}
			go f.Sync()
			for range 20 {
				<-time.After(time.Second)
				if busy {
					if _, err := f.WriteAt([]byte("x"), 0); err != nil {
						t.Fatal(err)
					}
				}
			}
			if got := len(told) > 0; got == busy {
				t.Errorf("busy %v, hangs %v", busy, got)
			}
			close(stuck.release)
			close(stop)
		})
	}
}
