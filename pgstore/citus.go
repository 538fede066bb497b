package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
)

const (
	// citusSQL finds Citus's catalog, if there is one.
	citusSQL = `SELECT to_regclass('pg_dist_partition') IS NOT NULL`

	// undistributedSQL reports whether other tables are distributed and the keys' is not: it is a row of no shard (by hash or range), of no
	// schema's shard (a group of colocated tables), and not on every node (a reference table, repmodel t).
	undistributedSQL = `SELECT EXISTS (SELECT FROM pg_dist_partition WHERE partmethod <> 'n')
	AND NOT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = {literal}::regclass AND (partmethod <> 'n' OR repmodel = 't' OR colocationid > 0))`
)

// checkDistributed refuses a key table that stays on one node while the tables of handlers are distributed. Citus commits the two
// one after the other then: a payment has been seen whose key was not there.
func (s *Store) checkDistributed(ctx context.Context, conn interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) error {
	var citus, undistributed bool
	if err := conn.QueryRow(ctx, citusSQL).Scan(&citus); err != nil || !citus {
		return err
	}
	if err := conn.QueryRow(ctx, s.sql.undistributed).Scan(&undistributed); err != nil || !undistributed {
		return err
	}
	return idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: tables of this database are distributed by Citus, and idempotency_keys is not, so that a handler's writes and " +
		"its key would be two commits: run the migration in migrations/citus, with the keys colocated with those tables"))
}
