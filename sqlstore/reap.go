package sqlstore

import (
	"context"
	"database/sql"
	"time"

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
	var reaped idempotency.Reaped
	var last sql.NullInt64
	err := s.transact(ctx, func(on *session) error {
		var mine bool
		var settings [2]sql.NullString
		if err := on.row(ctx, into(&mine, &settings[0], &settings[1]), s.sql.ReapLock, keytable.ReaperLock(s.sql.Namespace), true); err != nil {
			return err
		}
		if !mine {
			reaped.Busy = true
			return nil
		}
		return on.row(ctx, into(&reaped.Deleted, &last), s.sql.Reap, limit, moment(from))
	})
	if err != nil {
		return idempotency.Reaped{}, refusedBy(err)
	}
	if !reaped.Busy {
		latest := int64(keytable.Beginning)
		if last.Valid {
			latest = last.Int64
		}
		s.reaping.Got(reaped.Deleted >= limit, latest)
	}
	return reaped, nil
}

// moment is an argument for a time in microseconds since the epoch.
func moment(at int64) string {
	if at == keytable.Beginning {
		return "-infinity"
	}
	return keytable.Epoch.Add(time.Duration(at) * time.Microsecond).Format("2006-01-02 15:04:05.999999Z07:00")
}
