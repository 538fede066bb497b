package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/keytable"
)

// Check asks the server whether the store can keep its promise there, and says what to do if not: the table is not
// there or lacks a column, the server is a standby, the role may not use the table, or commits wait for a
// standby and the role may not confirm them, or the pool was not set up by [Configure]; or the key table is not distributed where others are (Citus).
// Call it at start, and where readiness is asked for.
//
// The first time that all of this is well it also observes, over two connections and within Config.Timeout, that a claim keeps another one off its key
// for as long as its transaction lasts: a server whose advisory locks do nothing says of them what any other does. It leaves no row. With a pool of one connection, or
// none free, it is left out. Connections of one pool may lead to one entry node of several; then nothing is seen of the others.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	conn, err := s.acquire(ctx)
	if err != nil {
		return fmt.Errorf("pgstore: the database cannot be reached; check its URL, and that it runs: %w", err)
	}
	if err := s.check(ctx, conn); err != nil {
		conn.Release()
		return err
	}
	conn.Release()
	return s.observe(ctx)
}

func (s *Store) check(ctx context.Context, conn *pgxpool.Conn) error {
	var standby, synchronous, confirms, rights bool
	if err := conn.QueryRow(ctx, s.sql.Check, s.sql.table).Scan(&standby, &synchronous, &confirms, &rights); err != nil {
		return explained(err)
	}
	if standby {
		return errStandby
	}
	if !rights {
		return explained(&pgconn.PgError{Severity: "ERROR", Code: "42501", Message: "permission denied for table " + keytable.Table})
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
	return s.checkDistributed(ctx, conn)
}
