package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
)

var _ idempotency.Recoverer = (*Store)(nil)

// Pending lists the pending keys that the completer may resume, and counts those that it has given up, in one round trip.
func (s *Store) Pending(ctx context.Context, due idempotency.Due) (idempotency.PendingKeys, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return idempotency.PendingKeys{}, refusedBy(err)
	}
	defer conn.Release()
	batch := &pgx.Batch{}
	batch.Queue(s.sql.pending, due.MaxCompletions, due.Backoff.Seconds(), due.MaxBackoff.Seconds(), due.Limit)
	batch.Queue(s.sql.stuck, due.MaxCompletions)
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
			return nil // damaged: its own claim will say so
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
