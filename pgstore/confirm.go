package pgstore

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/onlyonce/onlyonce/idempotency"
)

// confirm returns when all that the server shows is on the synchronous standby too. A transaction that waits for that is visible to
// nobody, but the wait can be cancelled: by pgx, when a context or a connection ends; by an operator; by a crash of the
// server, after which the transaction is simply there. Whoever was told of it then would be told of something that
// the next failover may undo. The commit of any later transaction that writes is confirmed after it.
//
// It does nothing where commits do not wait, and holds no connection while others confirm.
func (s *Store) confirm(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	round := s.confirmations.join(func() error {
		ctx, cancel := s.bounded(context.Background())
		defer cancel()
		return s.confirmed(ctx)
	})
	var err error
	select {
	case <-round.over:
		err = round.err
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return idempotency.ErrOutcomeUnknown.Because(fmt.Errorf("pgstore: committed, but it is not known whether a synchronous standby has it: %w", err))
	}
	return nil
}

// confirmed asks the server once, and again where a fresh connection may cure what failed.
func (s *Store) confirmed(ctx context.Context) error {
	for tries := 0; ; tries++ {
		if err := s.confirmOnce(ctx); err == nil || !s.again(ctx, err, tries) {
			return err
		}
	}
}

func (s *Store) confirmOnce(ctx context.Context) error {
	conn, err := s.acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	watchCommit(conn)
	if _, err := conn.Exec(ctx, confirmSQL); err != nil {
		return err
	}
	if commitUnreplicated(conn) {
		return errors.New("the wait was cancelled")
	}
	return nil
}

// confirmations lets all who wait for one share it. One runs at a time; who comes while it does must wait for the next, since
// what they have read may be younger than it.
type confirmations struct {
	mu      sync.Mutex
	running bool
	next    *confirmation // nil if nobody waits for it
}

type confirmation struct {
	over chan struct{}
	err  error // once over is closed
}

// join returns the next confirmation, and has it run by a goroutine that ends when nobody waits any more.
func (c *confirmations) join(confirm func() error) *confirmation {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.next == nil {
		c.next = &confirmation{over: make(chan struct{})}
	}
	if !c.running {
		c.running = true
		go c.run(confirm)
	}
	return c.next
}

func (c *confirmations) run(confirm func() error) {
	for {
		c.mu.Lock()
		round := c.next
		c.next, c.running = nil, round != nil
		c.mu.Unlock()
		if round == nil {
			return
		}
		round.err = confirm()
		close(round.over)
	}
}
