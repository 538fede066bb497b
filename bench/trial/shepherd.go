package trial

import (
	"context"
	"errors"
	"sync"

	"github.com/onlyonce/onlyonce/bench/child"
)

// shepherd drives a process of a herd. Its calls may overlap.
type shepherd struct {
	process *child.Process
	mu      sync.Mutex
	last    int
	waiting map[int]chan herdReply
	gone    chan struct{}
	reason  error // once gone is closed
}

func startShepherd(ctx context.Context, order herdOrder) (*shepherd, error) {
	process, err := child.Start(ctx, herdRole, order)
	if err != nil {
		return nil, err
	}
	s := &shepherd{process: process, waiting: map[int]chan herdReply{}, gone: make(chan struct{})}
	go s.listen()
	return s, nil
}

func (s *shepherd) listen() {
	defer close(s.gone)
	for {
		var reply herdReply
		if s.reason = s.process.Hear(&reply); s.reason != nil {
			return
		}
		s.mu.Lock()
		waiting := s.waiting[reply.ID]
		delete(s.waiting, reply.ID)
		s.mu.Unlock()
		waiting <- reply
	}
}

// call has the process do something, and waits until it is done.
func (s *shepherd) call(command herdCommand) (herdReply, error) {
	reply := make(chan herdReply, 1)
	s.mu.Lock()
	s.last++
	command.ID = s.last
	s.waiting[command.ID] = reply
	s.mu.Unlock()
	if err := s.process.Tell(command); err != nil {
		return herdReply{}, err
	}
	select {
	case r := <-reply:
		if r.Error != "" && command.Do != "herd" {
			return r, errors.New(r.Error)
		}
		return r, nil
	case <-s.gone:
		return herdReply{}, s.reason
	}
}

// callAll calls all of them at once.
func callAll(processes []*shepherd, command func(i int) herdCommand) ([]herdReply, error) {
	replies, errs := make([]herdReply, len(processes)), make([]error, len(processes))
	var all sync.WaitGroup
	for i, p := range processes {
		all.Go(func() { replies[i], errs[i] = p.call(command(i)) })
	}
	all.Wait()
	return replies, errors.Join(errs...)
}
