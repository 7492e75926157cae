package disk

import (
	"sync"

	"github.com/kraftgo/kraftgo/storage"
)

// syncers syncs logs, several at a time. Its goroutines come with work and go when there is none.
type syncers struct {
	limit int
	ended sync.WaitGroup

	// mu is a leaf.
	mu struct {
		sync.Mutex
		waiting []*storage.Log // a ring would save the copy in take; the queue is mostly short
		running int
	}
}

// schedule is storage.Config.Schedule.
func (s *syncers) schedule(l *storage.Log) {
	s.mu.Lock()
	s.mu.waiting = append(s.mu.waiting, l)
	start := s.mu.running < s.limit
	if start {
		s.mu.running++
		s.ended.Add(1)
	}
	s.mu.Unlock()
	if start {
		go s.run()
	}
}

func (s *syncers) take() *storage.Log {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.mu.waiting) == 0 {
		s.mu.running--
		return nil
	}
	l := s.mu.waiting[0]
	n := copy(s.mu.waiting, s.mu.waiting[1:])
	s.mu.waiting[n] = nil
	s.mu.waiting = s.mu.waiting[:n]
	return l
}

func (s *syncers) run() {
	defer s.ended.Done()
	for l := s.take(); l != nil; l = s.take() {
		if l.RunSync() {
			s.mu.Lock()
			s.mu.waiting = append(s.mu.waiting, l)
			s.mu.Unlock()
		}
	}
}
