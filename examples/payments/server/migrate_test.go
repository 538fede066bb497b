package server_test

import (
	"context"
	"crypto/rand"
	"io"
	"io/fs"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/migrations"

	ledgermigrations "github.com/onlyonce/onlyonce/examples/payments/ledger/migrations"
	"github.com/onlyonce/onlyonce/examples/payments/server"
)

var quiet = slog.New(slog.DiscardHandler)

func serveConfig(databaseURL string) server.Config {
	return server.Config{Command: server.Serve, DatabaseURL: databaseURL, ListenAddr: "127.0.0.1:0", Shell: "echo", PoolSize: 2, ShutdownTimeout: time.Second, PSPURL: "http://127.0.0.1:1"}
}

// run returns what server.Run does. If it serves, where it should have refused, that ends, with nil.
func run(t *testing.T, config server.Config) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	return server.Run(ctx, config, io.Discard, quiet)
}

func execute(t *testing.T, databaseURL, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), sql)
	require.NoError(t, err)
}

func TestProcessesThatMigrateAtOnceTakeTurns(t *testing.T) {
	t.Parallel()
	databaseURL := newSchema(t)
	require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
	// Back to version 0, and with the first table's name taken until all of them are at work.
	execute(t, databaseURL, `DROP TABLE idempotency_keys; DELETE FROM `+migrations.VersionTable+` WHERE version_id > 0;
		DROP TABLE receipts, ledger_entries, card_payments, payments, accounts; DELETE FROM `+ledgermigrations.VersionTable+` WHERE version_id > 0`)
	conn, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	defer conn.Close(t.Context())
	blocker, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	defer blocker.Close(t.Context())
	tx, err := blocker.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `CREATE TABLE idempotency_keys ()`)
	require.NoError(t, err)

	const processes = 4
	name := "migrator-" + rand.Text()
	failures := make(chan error, processes)
	for range processes {
		go func() {
			failures <- server.MigrateDatabase(t.Context(), databaseURL+"&application_name="+name, quiet)
		}()
	}
	require.Eventually(t, func() bool {
		var atWork int
		err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE application_name = $1 AND (wait_event_type = 'Lock' OR query LIKE '%advisory%')`, name).Scan(&atWork)
		return err == nil && atWork == processes
	}, 10*time.Second, 5*time.Millisecond)
	require.NoError(t, tx.Rollback(t.Context()))
	for range processes {
		require.NoError(t, <-failures)
	}

	for _, table := range []string{migrations.VersionTable, ledgermigrations.VersionTable} {
		var doubled int
		require.NoError(t, conn.QueryRow(t.Context(), `SELECT count(*) - count(DISTINCT version_id) FROM `+table).Scan(&doubled))
		require.Zero(t, doubled, table)
	}
	require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet), "once more is harmless")
}

func TestADatabaseThatIsNotReadyIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	const migrateFirst = "run `payments migrate`"
	migrated := func(t *testing.T, then string) string {
		databaseURL := newSchema(t)
		require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
		execute(t, databaseURL, then)
		return databaseURL
	}
	for name, c := range map[string]struct {
		databaseURL func(t *testing.T) string
		says        []string
	}{
		"wrong URL":          {func(*testing.T) string { return "postgres://u:hunter2@127.0.0.1:port/x" }, []string{"cannot be read", "postgres://user:password@host"}},
		"no URL at all":      {func(*testing.T) string { return "not a url" }, []string{"cannot be read"}},
		"nobody there":       {func(*testing.T) string { return "postgres://u:hunter2@127.0.0.1:1/x" }, []string{"cannot be reached", "DATABASE_URL"}},
		"not migrated":       {newSchema, []string{"not migrated", migrateFirst}},
		"without the ledger": {func(t *testing.T) string { return migrated(t, `DROP TABLE `+ledgermigrations.VersionTable) }, []string{"no ledger tables", migrateFirst}},
		"half migrated": {func(t *testing.T) string {
			return migrated(t, `DELETE FROM `+ledgermigrations.VersionTable+` WHERE version_id > 0`)
		}, []string{"at version 0", migrateFirst}},
		"without the library's table": {func(t *testing.T) string { return migrated(t, `DROP TABLE idempotency_keys`) }, []string{"not migrated", migrateFirst}},
		"without a column of it": {func(t *testing.T) string {
			return migrated(t, `ALTER TABLE idempotency_keys DROP COLUMN fingerprint`)
		}, []string{"not migrated", migrateFirst}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			databaseURL := c.databaseURL(t)
			err := run(t, serveConfig(databaseURL))
			require.Error(t, err)
			for _, says := range c.says {
				require.ErrorContains(t, err, says)
			}
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

// down returns what takes back the migrations that are newer than version, the newest first.
func down(t *testing.T, version string) (sql string) {
	t.Helper()
	files, err := fs.Glob(ledgermigrations.FS, "*.sql")
	require.NoError(t, err)
	for _, file := range files { // sorted
		if file[:len(version)] <= version {
			continue
		}
		text, err := ledgermigrations.FS.ReadFile(file)
		require.NoError(t, err)
		_, down, found := strings.Cut(string(text), "-- +goose Down")
		require.True(t, found, file)
		sql = down + sql
	}
	require.NotEmpty(t, sql)
	return sql + `; DELETE FROM ` + ledgermigrations.VersionTable + ` WHERE version_id > ` + version
}

func TestEveryMigrationCanBeTakenBack(t *testing.T) {
	t.Parallel()
	databaseURL := newSchema(t)
	require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
	for _, version := range []string{"00001", "00000"} {
		execute(t, databaseURL, down(t, version))
		require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
	}
}

func TestCardPaymentsCanBeTakenBackWithoutTouchingABalance(t *testing.T) {
	t.Parallel()
	s := start(t, "echo", withProvider(startProvider(t)))
	require.Equal(t, 201, s.payByCard(alice, "k-1", byCard("tok_visa")).status)
	databaseURL := s.db.Config().ConnString()
	execute(t, databaseURL, down(t, "00001"))
	s.requireBooks(0)
	require.EqualValues(t, 100_500, s.number(`SELECT balance FROM accounts WHERE id = 'alice'`))

	require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
	require.Equal(t, 201, s.payByCard(alice, "k-2", byCard("tok_visa")).status)
	s.requireBooks(0)
	require.EqualValues(t, 101_000, s.number(`SELECT balance FROM accounts WHERE id = 'alice'`))
}

func TestAccountsThatWereOpenBeforeCardPaymentsCanTakeThem(t *testing.T) {
	t.Parallel()
	s := start(t, "echo", withProvider(startProvider(t)))
	databaseURL := s.db.Config().ConnString()
	execute(t, databaseURL, down(t, "00001")+`; DELETE FROM accounts WHERE id LIKE 'house:card-clearing:%'`)
	require.NoError(t, server.MigrateDatabase(t.Context(), databaseURL, quiet))
	require.Equal(t, 201, s.payByCard(alice, "k-1", byCard("tok_visa")).status)
	s.requireCaptured(1)
}

func TestAnAddressInUseIsRefusedWithWhatToDo(t *testing.T) {
	t.Parallel()
	s := start(t, "echo")
	config := serveConfig(s.db.Config().ConnString())
	config.ListenAddr = strings.TrimPrefix(s.url, "http://")
	err := run(t, config)
	require.ErrorContains(t, err, "LISTEN_ADDR")
}
