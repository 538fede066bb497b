package sqlstore

import (
	"context"
	"database/sql"
	"math"

	"github.com/onlyonce/onlyonce/idempotency"
)

var (
	_ idempotency.Recoverer      = (*Store)(nil)
	_ idempotency.PendingCounter = (*attempt)(nil)
)

// Pending lists the pending keys that the completer may resume, and counts those that it has given up, in two round trips. A row that
// is damaged is not listed, since nobody can resume it, and counted as given up.
func (s *Store) Pending(ctx context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	defer conn.giveBack()
	due.MaxCompletions = min(due.MaxCompletions, math.MaxInt32) // of Held, to which nobody comes
	var found idempotency.PendingKeys
	var keys []idempotency.Pending
	err = conn.bounded(ctx, func() (err error) { keys, err = s.due(ctx, conn.conn, due); return err })
	if err == nil {
		found.Keys = keys
		err = conn.row(ctx, into(&found.Stuck), s.sql.Stuck, due.MaxCompletions)
	}
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	return found, nil
}

func (s *Store) due(ctx context.Context, conn *sql.Conn, due idempotency.Due) (keys []idempotency.Pending, err error) {
	rows, err := conn.QueryContext(ctx, s.sql.Pending, due.MaxCompletions, due.Backoff.Seconds(), due.MaxBackoff.Seconds(), due.Limit)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var p idempotency.Pending
		var fingerprint []byte
		err := rows.Scan(&p.Key.Scope, &p.Key.Value, &fingerprint, &p.RecoveryPoint, &p.Steps, &p.Request, &p.Attempt, &p.Completions, &p.LastError)
		if err == nil {
			p.Fingerprint, err = idempotency.ParseFingerprint(fingerprint) // it has the length of one
		}
		if err != nil {
			return nil, err
		}
		keys = append(keys, p)
	}
	return keys, rows.Err()
}

// CountPending asks on the connection that the attempt has: one that waited for a second would starve the pool.
func (a *attempt) CountPending(ctx context.Context, limit int) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.phase == nil {
		return 0, errOver
	}
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	var counted int
	if err := a.conn.row(ctx, into(&counted), a.store.sql.CountPending, a.key.Scope, limit); err != nil {
		return 0, refusedBy(err)
	}
	return counted, nil
}
