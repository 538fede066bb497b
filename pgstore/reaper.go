package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Reaper deletes expired records, for engines that take another statement for it than PostgreSQL does.
type Reaper interface {
	// Reap deletes up to limit completed records whose expires_at is over, by the database's clock, and lent keys (pending, with an owner and no
	// recovery_point) whose expires_at and leased_until are; and nothing else. It must not delete a record that was replaced since it was found.
	// tx is a transaction that the store commits if err is nil; the store lets one process of a server at a time get here, but those of several
	// entry nodes may come at once. A reaper that a working attempt would keep waiting returns an error that is a *pgconn.PgError of 55P03, 57014
	// or 40P01: the next pass tries again.
	Reap(ctx context.Context, tx pgx.Tx, limit int) (deleted int, err error)
}

const (
	// reapDistributedSQL finds the records by one query and deletes them by another, which checks again what the first
	// one has found: no row is locked in between. It waits for who works on one of them, so it is bounded.
	reapDistributedSQL = `WITH over AS MATERIALIZED (SELECT scope, key FROM {table} WHERE ` + keytable.OverSQL + `
	ORDER BY expires_at LIMIT $1)
DELETE FROM {table} AS record USING over WHERE record.scope = over.scope AND record.key = over.key
	AND ` + keytable.OverSQL

	reapBoundSQL = `SELECT set_config('lock_timeout', '1s', true), set_config('statement_timeout', '4s', true)`
)

// distributedReaper needs no row locks over several shards, which distributed engines refuse (FOR UPDATE SKIP LOCKED).
type distributedReaper struct{ sql string }

func (r distributedReaper) Reap(ctx context.Context, tx pgx.Tx, limit int) (int, error) {
	if _, err := tx.Exec(ctx, reapBoundSQL); err != nil {
		return 0, err
	}
	tag, err := tx.Exec(ctx, r.sql, limit)
	return int(tag.RowsAffected()), err
}

// reaper returns the one that goes with a lock: with LocalLock it is the store's own.
func (s *statements) reaper(lock Lock) Reaper {
	if lock == LocalLock {
		return nil
	}
	return distributedReaper{s.reapDistributed}
}
