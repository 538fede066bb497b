package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
)

// confirm returns when all that the server shows is on the synchronous standby too. A transaction that waits for that is visible to
// nobody, but the wait can be cancelled: by pgx, when a context or a connection ends; by an operator; by a crash of the
// server, after which the transaction is simply there. Whoever was told of it then would be told of something that
// the next failover may undo. The commit of any later transaction that writes is confirmed after it.
func (s *Store) confirm(ctx context.Context) error {
	_, err := retried(ctx, s, func() (struct{}, error) { return struct{}{}, s.confirmOnce(ctx) })
	if err != nil && !errors.Is(err, idempotency.ErrOutcomeUnknown) {
		return idempotency.ErrOutcomeUnknown.Because(fmt.Errorf("pgstore: committed, but no synchronous standby has confirmed it: %w", err))
	}
	return err
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
		return errUnreplicated
	}
	return nil
}
