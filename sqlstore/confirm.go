package sqlstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// confirm returns when all that the server shows is on the synchronous standby too. A transaction that waits for that is visible to
// nobody, but the wait can be cancelled: by a driver, when a context or a connection ends; by an operator; by a crash of the
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
		return idempotency.ErrOutcomeUnknown.Because(fmt.Errorf("sqlstore: committed, but it is not known whether a synchronous standby has it: %w", err))
	}
	return nil
}

// confirmed asks the server once, and again where a fresh connection may cure what failed.
func (s *Store) confirmed(ctx context.Context) error {
	for tries := 0; ; tries++ {
		err := s.transact(ctx, func(on *session) error {
			_, err := on.exec(ctx, keytable.ConfirmSQL)
			return err
		})
		if err == errUnreplicated {
			return errors.New("the wait was cancelled")
		}
		if err == nil || !s.again(ctx, err, tries) {
			return err
		}
	}
}
