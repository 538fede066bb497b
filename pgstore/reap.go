package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Reap deletes up to limit expired records in a transaction of its own, if no other process of this table's is reaping.
func (s *Store) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return idempotency.Reaped{}, refusedBy(err)
	}
	defer conn.Release()
	var reaped idempotency.Reaped
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1)`, reaperLock(s.sql.namespace)).Scan(&mine); err != nil {
			return err
		}
		if !mine {
			reaped.Busy = true
			return nil
		}
		var err error
		reaped.Deleted, err = s.config.Reaper.Reap(ctx, tx, limit)
		return err
	})
	switch {
	case s.patient && (blocked(err) || isConflict(err)): // somebody works on one of them: the next pass tries again
		return idempotency.Reaped{Busy: true}, nil
	case err != nil:
		return idempotency.Reaped{}, refusedBy(err)
	}
	return reaped, nil
}
