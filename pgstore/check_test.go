package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

func TestCheckSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare string
		want    string
	}{
		"migrated":              {`SELECT 1`, ""},
		"not migrated":          {`DROP TABLE idempotency_keys`, "is not there: run the goose migrations"},
		"half migrated":         {`ALTER TABLE idempotency_keys DROP COLUMN headers`, "lacks a column: run the goose migrations"},
		"table of another kind": {`DROP TABLE idempotency_keys; CREATE TABLE idempotency_keys (id int)`, "lacks a column: run the goose migrations"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			_, err := w.pool.Exec(t.Context(), c.prepare)
			require.NoError(t, err)
			err = w.store.Check(t.Context())
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want)
			require.ErrorIs(t, err, pgstore.ErrNotMigrated)
			_, err = w.run(pays(201))
			require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
			require.Equal(t, 0, w.effects(), "the handler ran without a table to store its response in")
		})
	}
}

func TestCheckNoticesMissingRights(t *testing.T) {
	t.Parallel()
	for granted, enough := range map[string]bool{
		"SELECT": false, "SELECT, INSERT, DELETE": false, "SELECT, UPDATE, DELETE": false, "SELECT, INSERT, UPDATE": false,
		"SELECT, INSERT, UPDATE, DELETE": true,
	} {
		t.Run(granted, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			role := w.schema + "_role"
			for _, sql := range []string{
				`CREATE ROLE ` + role, `GRANT USAGE ON SCHEMA ` + w.schema + ` TO ` + role,
				`GRANT ` + granted + ` ON ` + w.schema + `.idempotency_keys TO ` + role,
			} {
				_, err := w.pool.Exec(t.Context(), sql)
				require.NoError(t, err)
			}
			t.Cleanup(func() {
				_, err := w.pool.Exec(context.Background(), `DROP OWNED BY `+role+`; DROP ROLE `+role)
				require.NoError(t, err)
			})
			pool := pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.ConnConfig.RuntimeParams["role"] = role })
			store, err := pgstore.NewWithConfig(pool, pgstore.Config{Schema: w.schema})
			require.NoError(t, err)
			if enough {
				require.NoError(t, store.Check(t.Context()))
				_, err := pool.Exec(t.Context(), `SELECT pg_logical_emit_message(true, 'onlyonce', '')`)
				require.NoError(t, err, "what confirms that a standby has a response is everybody's")
				return
			}
			require.ErrorContains(t, store.Check(t.Context()), "grant it SELECT, INSERT, UPDATE and DELETE")
		})
	}
}

func TestCheckNamesAnUnreachableDatabase(t *testing.T) {
	t.Parallel()
	pool, err := pgstore.NewPool(t.Context(), "postgres://127.0.0.1:1/nowhere?connect_timeout=1", pgstore.PoolConfig{})
	require.NoError(t, err)
	defer pool.Close()
	require.ErrorContains(t, pgstore.New(pool).Check(t.Context()), "cannot be reached; check its URL")
	_, _, err = pgstore.New(pool).Claim(t.Context(), key)
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
}

func TestBadConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	_, err := pgstore.NewPool(t.Context(), "postgres://%zz", pgstore.PoolConfig{})
	require.ErrorContains(t, err, "use postgres://user@host:5432/database")
	_, err = pgstore.NewPool(t.Context(), "postgres://localhost", pgstore.PoolConfig{Keepalive: -1})
	require.ErrorContains(t, err, "must be positive")
	_, err = pgstore.NewWithConfig(nil, pgstore.Config{Isolation: "snapshot"})
	require.ErrorContains(t, err, `Config.Isolation is "snapshot"`)
	_, err = pgstore.NewWithConfig(nil, pgstore.Config{Timeout: -1})
	require.ErrorContains(t, err, "must be positive")
	_, _, err = pgstore.New(nil).Claim(t.Context(), key)
	require.ErrorContains(t, err, "the store has no pool")
	_, err = pgstore.New(nil).Begin(t.Context())
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
}

func TestAHostThatVanishedDoesNotKeepThePoolFromTheNext(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]time.Duration{
		"postgres://one,two/payments":                                          3 * time.Second,
		"postgres://one,two/payments?connect_timeout=20":                       20 * time.Second,
		"postgres://one/payments?target_session_attrs=read-write":              3 * time.Second,
		"host=one,two port=5432,5433 dbname=payments connect_timeout=1 user=a": time.Second,
	} {
		config, err := pgxpool.ParseConfig(url)
		require.NoError(t, err)
		require.NoError(t, pgstore.Configure(config, pgstore.PoolConfig{BehindPooler: true}))
		require.Equal(t, want, config.ConnConfig.ConnectTimeout, url)
	}
}

func TestConfigureKeepsWhatIsSet(t *testing.T) {
	t.Parallel()
	noticed, connected := 0, 0
	schema := pgtest.Schema(t)
	pool := pgtest.Pool(t, schema, func(c *pgxpool.Config) {
		c.ConnConfig.RuntimeParams["tcp_keepalives_idle"] = "77"
		c.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) { noticed++ }
		c.AfterConnect = func(context.Context, *pgx.Conn) error { connected++; return nil }
		require.NoError(t, pgstore.Configure(c, pgstore.PoolConfig{IdleInTransaction: 1500 * time.Millisecond, Transaction: time.Minute}))
	})
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	show := func(name string) (value string) {
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT coalesce(current_setting($1, true), '')`, name).Scan(&value))
		return value
	}
	require.Equal(t, "1500ms", show("idle_in_transaction_session_timeout"))
	require.Equal(t, "77", show("tcp_keepalives_idle"))
	require.Equal(t, "3", show("tcp_keepalives_interval"))
	require.Contains(t, []string{"1min", ""}, show("transaction_timeout"), "since PostgreSQL 17")
	require.Equal(t, 1, connected)
	_, err = conn.Exec(t.Context(), `DO $$ BEGIN RAISE NOTICE 'x'; END $$`)
	require.NoError(t, err)
	require.Equal(t, 1, noticed)
}

func TestAnOwnerThatIdlesTooLongLosesItsAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(_ *idempotency.Config, _ *pgstore.Config, c *pgxpool.Config) {
		require.NoError(t, pgstore.Configure(c, pgstore.PoolConfig{IdleInTransaction: 100 * time.Millisecond}))
	})
	_, err := w.run(func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('late')`)
		require.NoError(t, err)
		pid := tx.Conn().PgConn().PID()
		require.Eventually(t, func() bool {
			return w.count(`SELECT count(*) FROM pg_stat_activity WHERE pid = $1`, pid) == 0
		}, 10*time.Second, 10*time.Millisecond)
		return idempotency.Response{Status: 201}, nil
	})
	require.ErrorIs(t, err, idempotency.ErrStoreUnavailable)
	require.Equal(t, 0, w.effects())
	w.afterwards()
}

func TestOneProcessAtATimeReaps(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tx, err := w.pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `SELECT pg_advisory_xact_lock($1)`, pgstore.ReaperLock(w.schema))
	require.NoError(t, err)
	reaped, err := w.store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.True(t, reaped.Busy)
	require.NoError(t, tx.Rollback(t.Context()))
	reaped, err = w.store.Reap(t.Context(), 10)
	require.NoError(t, err)
	require.False(t, reaped.Busy)
}

// Every process and every language must take the same lock for a key, in every version.
func TestTheLockOfAKeyNeverChanges(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const sql = `SELECT ('x' || encode(substr(sha256(int4send(length('onlyonce/key/1')) || 'onlyonce/key/1'
		|| int4send(octet_length($1)) || convert_to($1, 'UTF8') || int4send(octet_length($2)) || convert_to($2, 'UTF8')
		|| int4send(octet_length($3)) || convert_to($3, 'UTF8')), 1, 8), 'hex'))::bit(64)::bigint`
	for _, c := range []struct{ namespace, scope, value string }{{"", "a", "b"}, {"public", "alice", "Zürich 💸"}} {
		var want int64
		require.NoError(t, w.pool.QueryRow(t.Context(), sql, c.namespace, c.scope, c.value).Scan(&want))
		require.Equal(t, want, pgstore.LockOf(c.namespace, idempotency.Key{Scope: c.scope, Value: c.value}))
	}
	require.NotEqual(t, pgstore.LockOf("", idempotency.Key{Scope: "a", Value: "bc"}), pgstore.LockOf("", idempotency.Key{Scope: "ab", Value: "c"}))
	require.EqualValues(t, int64(-1070630218885440369), pgstore.LockOf("public", key))
}
