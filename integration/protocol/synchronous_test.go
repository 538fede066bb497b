package protocol

import (
	"context"
	"errors"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/migrations/functions"
)

// A record may be read that the standby does not have yet: the COMMIT behind it waits until it has. A ROLLBACK would not.
func TestTheCommitOfAReplayWaitsForTheStandby(t *testing.T) {
	t.Parallel()
	cluster, err := ephemeral.Start(t.Context(), ephemeral.Options{})
	if errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster of this test's own cannot be started: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	connect := func() *pgx.Conn {
		conn, err := pgx.Connect(t.Context(), cluster.URL("postgres"))
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	conn, observer := connect(), connect()
	exec := func(statements ...string) {
		for _, sql := range statements {
			_, err := conn.Exec(t.Context(), sql)
			require.NoError(t, err)
		}
	}
	for _, set := range []fs.FS{migrations.FS, functions.FS} {
		names, err := fs.Glob(set, "*.sql")
		require.NoError(t, err)
		for _, name := range names {
			content, err := fs.ReadFile(set, name)
			require.NoError(t, err)
			up, _, _ := strings.Cut(string(content), "-- +goose Down")
			exec(up)
		}
	}
	const begin = `SELECT idempotency_begin('alice', 'k', decode(repeat('00', 33), 'hex'))`
	exec(`BEGIN`, begin, `SELECT idempotency_complete('alice', 'k', decode(repeat('00', 33), 'hex'), 200, '', '')`, `COMMIT`)

	exec(`ALTER SYSTEM SET synchronous_standby_names = 'missing'`, `SELECT pg_reload_conf()`)
	waits := func() (n int) {
		require.NoError(t, observer.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`).Scan(&n))
		return n
	}
	patience := time.After(soon)
	for waiting := false; !waiting; {
		exec(`BEGIN`, begin)
		committed := make(chan error, 1)
		go func() {
			_, err := conn.Exec(context.Background(), `COMMIT`)
			committed <- err
		}()
		for ended := false; !ended && !waiting; waiting = !ended && waits() == 1 {
			select {
			case err := <-committed: // the server's processes take the setting over one by one
				require.NoError(t, err)
				ended = true
			case <-patience:
				t.Fatal("no COMMIT has waited")
			default:
			}
		}
		if waiting {
			_, err := observer.Exec(t.Context(), `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'`)
			require.NoError(t, err)
			<-committed
		}
	}
}
