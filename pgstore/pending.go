package pgstore

import (
	"context"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
)

var (
	_ idempotency.Recoverer      = (*Store)(nil)
	_ idempotency.PendingCounter = (*attempt)(nil)
)

// Pending lists the pending keys that the completer may resume, and counts those that it has given up, in one round trip. A row that
// is damaged is not listed, since nobody can resume it, and counted as given up.
func (s *Store) Pending(ctx context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	due.MaxCompletions = min(due.MaxCompletions, math.MaxInt32) // of Held, to which nobody comes
	batch.Queue(s.sql.Pending, due.MaxCompletions, due.Backoff.Seconds(), due.MaxBackoff.Seconds(), due.Limit)
	batch.Queue(s.sql.Stuck, due.MaxCompletions)
	results := conn.SendBatch(ctx, batch)
	defer results.Close()
	rows, err := results.Query()
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	var found idempotency.PendingKeys
	var p idempotency.Pending
	var fingerprint []byte
	_, err = pgx.ForEachRow(rows, []any{&p.Key.Scope, &p.Key.Value, &fingerprint, &p.RecoveryPoint, &p.Steps, &p.Request, &p.Attempt, &p.Completions, &p.LastError}, func() error {
		next := p
		var err error
		if next.Fingerprint, err = idempotency.ParseFingerprint(fingerprint); err != nil {
			return err // it has the length of one
		}
		found.Keys = append(found.Keys, next)
		return nil
	})
	if err == nil {
		err = results.QueryRow().Scan(&found.Stuck)
	}
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	return found, nil
}

// CountPending asks on the connection that the attempt has: one that waited for a second would starve the pool.
func (a *attempt) CountPending(ctx context.Context, limit int) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.phase == nil {
		return 0, errOver
	}
	ctx, cancel := a.store.bounded(ctx)
	defer cancel()
	if err := a.conn.QueryRow(ctx, a.store.sql.CountPending, a.counted(limit)...).Scan(&n); err != nil {
		return 0, refusedBy(err)
	}
	return n, nil
}
