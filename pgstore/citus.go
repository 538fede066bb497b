package pgstore

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// checkDistributed refuses a key table that stays on one node while the tables of handlers are distributed. Citus commits the two
// one after the other then: a payment has been seen whose key was not there.
func (s *Store) checkDistributed(ctx context.Context, conn interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) error {
	var citus, undistributed bool
	if err := conn.QueryRow(ctx, keytable.CitusSQL).Scan(&citus); err != nil || !citus {
		return err
	}
	if err := conn.QueryRow(ctx, s.sql.Undistributed).Scan(&undistributed); err != nil || !undistributed {
		return err
	}
	return idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: tables of this database are distributed by Citus, and idempotency_keys is not, so that a handler's writes and " +
		"its key would be two commits: run the migration in migrations/citus, with the keys colocated with those tables"))
}
