package server

import (
	"context"
	"errors"
	"sync"
)

// background is what runs beside the requests: the reaper, the completer and the receipts.
type background struct {
	stop context.CancelFunc
	done chan struct{}
}

func (s *Server) startBackground(ctx context.Context) background {
	ctx, stop := context.WithCancel(ctx)
	var workers sync.WaitGroup
	// Each reports its failures, to the observer or to the log, and ends with ctx alone.
	workers.Go(func() { _ = s.engine.Maintain(ctx) })
	workers.Go(func() { _ = s.completer.Run(ctx) })
	workers.Go(func() { _ = s.receipts.Run(ctx) })
	b := background{stop, make(chan struct{})}
	go func() { workers.Wait(); close(b.done) }()
	return b
}

// wait waits, once stop was called, until everybody has ended what they had begun.
func (b background) wait(ctx context.Context) error {
	select {
	case <-b.done:
		return nil
	case <-ctx.Done():
		return errors.New("card payments were still being completed when the shutdown timeout was over, and were cut off: they are carried on from their last step")
	}
}
