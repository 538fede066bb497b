package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
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
	round := s.confirmations.Join(func() error {
		ctx, cancel := s.bounded(context.Background())
		defer cancel()
		return s.confirmed(ctx)
	})
	var err error
	select {
	case <-round.Over:
		err = round.Err
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
	if _, err := conn.Exec(ctx, keytable.ConfirmSQL); err != nil {
		return err
	}
	if commitUnreplicated(conn) {
		return errors.New("the wait was cancelled")
	}
	return nil
}
