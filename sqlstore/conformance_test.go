package sqlstore_test

import (
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency/storetest"
	"github.com/onlyonce/onlyonce/internal/pgbouncer"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/sqlsuite"
	"github.com/onlyonce/onlyonce/pgstore"
)

// by is pgx's driver.
func by(mode pgx.QueryExecMode) sqlsuite.Driver {
	return sqlsuite.Driver{Open: func(url, schema string) (*sql.DB, error) {
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		config.DefaultQueryExecMode = mode
		config.RuntimeParams["search_path"] = schema
		return stdlib.OpenDB(*config), nil
	}}
}

func TestSQLStoreConforms(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		level sql.IsolationLevel
		mode  pgx.QueryExecMode
	}{
		"read_committed":  {sql.LevelReadCommitted, pgx.QueryExecModeCacheStatement},
		"repeatable_read": {sql.LevelRepeatableRead, pgx.QueryExecModeCacheStatement},
		"serializable":    {sql.LevelSerializable, pgx.QueryExecModeCacheStatement},
		"exec":            {sql.LevelDefault, pgx.QueryExecModeExec},
		"simple_protocol": {sql.LevelDefault, pgx.QueryExecModeSimpleProtocol},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				return sqlsuite.Subject(t, by(c.mode), pgtest.URL(t), pgtest.Schema(t), c.level)
			})
		})
	}
}

// Behind PgBouncer in transaction mode each transaction may have another connection to the server. It refuses a search_path.
func TestSQLStoreConformsBehindPgBouncer(t *testing.T) {
	t.Parallel()
	// More than one test holds at a time, and fewer than the clients have.
	bouncer := pgbouncer.Start(t, pgtest.URL(t), pgbouncer.Options{Connections: 50})
	pooled := sqlsuite.Driver{Open: func(url, schema string) (*sql.DB, error) {
		if url != bouncer.URL {
			return by(pgx.QueryExecModeExec).Open(url, schema)
		}
		config, err := pgx.ParseConfig(url)
		if err != nil {
			return nil, err
		}
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
		return stdlib.OpenDB(*config), nil
	}}
	storetest.Run(t, func(t *testing.T) storetest.Subject {
		return sqlsuite.Subject(t, pooled, bouncer.URL, pgtest.Schema(t), sql.LevelDefault)
	})
}

// A process on pgx and one on database/sql share keys: each sees what the other has begun, completed, or left at a recovery point.
func TestSQLStoreConformsBesidePgstore(t *testing.T) {
	t.Parallel()
	for name, swap := range map[string]bool{"whose peer it is": true, "which is its peer": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			storetest.Run(t, func(t *testing.T) storetest.Subject {
				schema := pgtest.Schema(t)
				s := sqlsuite.Subject(t, by(pgx.QueryExecModeCacheStatement), pgtest.URL(t), schema, sql.LevelDefault)
				peer, err := pgstore.NewWithConfig(pgtest.Pool(t, schema), pgstore.Config{Schema: schema})
				require.NoError(t, err)
				s.Peer = peer
				if swap {
					s.Store, s.Peer = s.Peer, s.Store
				}
				return s
			})
		})
	}
}

func TestPGXHoldsTheSuite(t *testing.T) {
	t.Parallel()
	sqlsuite.Run(t, by(pgx.QueryExecModeCacheStatement))
}
