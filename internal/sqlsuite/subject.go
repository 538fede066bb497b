package sqlsuite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// Subject is a store and its peer on url, in the schema, for the conformance suite.
func Subject(t *testing.T, driver Driver, url, schema string, level sql.IsolationLevel) storetest.Subject {
	store := func() idempotency.Store {
		s, err := sqlstore.NewWithConfig(opened(t, driver, url, schema), sqlstore.Config{Schema: schema, Isolation: level})
		require.NoError(t, err)
		return s
	}
	outside := opened(t, driver, pgtest.URL(t), schema)
	_, err := outside.Exec(`CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	s := subjectOn(outside, schema+".effects")
	s.Store, s.Peer, s.Optimistic = store(), store(), level > sql.LevelReadCommitted
	return s
}

func opened(t *testing.T, driver Driver, url, schema string) *sql.DB {
	t.Helper()
	db, err := driver.Open(url, schema)
	require.NoError(t, err)
	db.SetMaxOpenConns(4)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// subjectOn is a subject without its stores: the means to act on the table from outside, and as a handler.
func subjectOn(outside *sql.DB, effects string) storetest.Subject {
	change := func(ctx context.Context, set string, key idempotency.Key) error {
		result, err := outside.ExecContext(ctx, `UPDATE idempotency_keys SET `+set+` = now() - interval '1 second' WHERE scope = $1 AND key = $2`, key.Scope, key.Value)
		if err != nil {
			return err
		}
		if n, _ := result.RowsAffected(); n != 1 {
			return fmt.Errorf("%d rows changed", n)
		}
		return nil
	}
	return storetest.Subject{
		Expire: func(ctx context.Context, key idempotency.Key) error {
			return change(ctx, "leased_until = leased_until - interval '1 day', expires_at", key)
		},
		EndLease: func(ctx context.Context, key idempotency.Key) error { return change(ctx, "leased_until", key) },
		Write:    writeTo(effects),
		Effects: func(ctx context.Context, name string) (n int, err error) {
			err = outside.QueryRowContext(ctx, `SELECT count(*) FROM `+effects+` WHERE name = $1`, name).Scan(&n)
			return n, err
		},
		Crash: func(ctx context.Context) error {
			var backend int
			const pid = `SELECT pg_backend_pid()`
			err := sqlstore.Tx(ctx).QueryRowContext(ctx, pid).Scan(&backend)
			if errors.Is(err, sqlstore.ErrNoTx) {
				err = pgstore.Tx(ctx).QueryRow(ctx, pid).Scan(&backend)
			}
			if err != nil {
				return err
			}
			var killed bool
			err = outside.QueryRowContext(ctx, `SELECT pg_terminate_backend($1)`, backend).Scan(&killed)
			if err == nil && !killed {
				err = errors.New("there is no such backend")
			}
			return err
		},
	}
}

func writeTo(table string) func(ctx context.Context, name string) error {
	return func(ctx context.Context, name string) error {
		insert := `INSERT INTO ` + table + ` VALUES ($1)`
		_, err := sqlstore.Tx(ctx).ExecContext(ctx, insert, name)
		if errors.Is(err, sqlstore.ErrNoTx) { // another store's handler, or none
			_, err = pgstore.Tx(ctx).Exec(ctx, insert, name)
		}
		return err
	}
}
