package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Reap deletes up to limit expired records, oldest first, if no other process of this table's is reaping. It goes on where its last
// call has stopped, and once nothing is left there, looks for what is over from the beginning. Where that is slow, since a long
// transaction somewhere keeps vacuum from removing millions of rows that are deleted, it is put off for a hundred times as long as
// it took, ten minutes at most; until then a record may be kept that came to be over before others that are deleted already.
//
// The deletion is not waited for by the disk or a standby: after a crash the last records can be there again, expired as they were.
// With an error, what is counted as deleted is.
func (s *Store) Reap(ctx context.Context, limit int) (idempotency.Reaped, error) {
	var total idempotency.Reaped
	if from := s.reaping.Next(); from != keytable.Beginning {
		reaped, err := s.reapFrom(ctx, from, limit)
		if err != nil || reaped.Busy || reaped.Deleted >= limit || !s.reaping.Due() {
			return reaped, err
		}
		total = reaped
	}
	began := time.Now()
	reaped, err := s.reapFrom(ctx, keytable.Beginning, limit-total.Deleted)
	if !reaped.Busy {
		s.reaping.FromTheBeginning(time.Since(began))
	}
	total.Deleted += reaped.Deleted
	total.Busy = reaped.Busy && total.Deleted == 0
	return total, err
}

// reapFrom deletes up to limit records in a transaction of its own, of those that expired at from or later.
func (s *Store) reapFrom(ctx context.Context, from int64, limit int) (idempotency.Reaped, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return idempotency.Reaped{}, refusedBy(err)
	}
	defer conn.Release()
	var reaped idempotency.Reaped
	var last pgtype.Timestamptz
	err = pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var mine bool
		if err := tx.QueryRow(ctx, s.sql.ReapLock, keytable.ReaperLock(s.sql.Namespace), s.config.Reaper == nil).Scan(&mine, nil, nil); err != nil {
			return err
		}
		if !mine {
			reaped.Busy = true
			return nil
		}
		if s.config.Reaper == nil {
			return tx.QueryRow(ctx, s.sql.Reap, limit, moment(from)).Scan(&reaped.Deleted, &last)
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
	if !reaped.Busy {
		latest := int64(keytable.Beginning)
		if last.Valid {
			latest = microseconds(last)
		}
		s.reaping.Got(reaped.Deleted >= limit, latest)
	}
	return reaped, nil
}

// moment is microseconds' inverse.
func moment(at int64) pgtype.Timestamptz {
	if at == keytable.Beginning {
		return pgtype.Timestamptz{InfinityModifier: pgtype.NegativeInfinity, Valid: true}
	}
	return pgtype.Timestamptz{Time: keytable.Epoch.Add(time.Duration(at) * time.Microsecond), Valid: true}
}
