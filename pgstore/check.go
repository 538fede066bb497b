package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/onlyonce/onlyonce/idempotency"
)

// Check asks the server, once, whether the store can keep its promise there, and says what to do if not: the table is not
// there or lacks a column, the server is a standby, the role may not use the table, or commits wait for a
// standby and the role may not confirm them, or the pool was not set up by [Configure]. Call it at start, and where readiness is asked for.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("pgstore: the database cannot be reached; check its URL, and that it runs: %w", err)
	}
	defer conn.Release()

	var standby, synchronous, confirms, rights bool
	if err := conn.QueryRow(ctx, s.sql.check, s.sql.table).Scan(&standby, &synchronous, &confirms, &rights); err != nil {
		return explained(err)
	}
	if standby {
		return errStandby
	}
	if !rights {
		return explained(&pgconn.PgError{Severity: "ERROR", Code: "42501", Message: "permission denied for table " + table})
	}
	if synchronous && !confirms {
		return idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: commits wait for a standby, and the role may not call what confirms a replay: " +
			"grant it EXECUTE on pg_catalog.pg_logical_emit_message"))
	}
	if synchronous {
		if _, err := conn.Exec(ctx, `DO $$ BEGIN RAISE WARNING '`+noticedKey+`'; END $$`); err != nil {
			return explained(err)
		}
		if _, seen := conn.Conn().PgConn().CustomData()[noticedKey]; !seen {
			return idempotency.ErrStoreUnavailable.Because(errors.New("pgstore: commits wait for a standby (synchronous_standby_names), " +
				"and a cancelled wait would be taken for success: make the pool with pgstore.NewPool, or apply pgstore.Configure to its configuration"))
		}
	}
	return nil
}
