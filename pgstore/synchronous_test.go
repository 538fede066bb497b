package pgstore_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/pgstore"
)

// lonely is a primary of the test's own, whose standby can be missing. What goes through a real standby is in integration/stack.
type lonely struct {
	t       *testing.T
	url     string
	cluster *ephemeral.Cluster
}

func newLonely(t *testing.T) *lonely {
	t.Helper()
	cluster, err := ephemeral.Start(t.Context(), ephemeral.Options{})
	if errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster of this test's own cannot be started: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	l := &lonely{t: t, url: cluster.URL("postgres"), cluster: cluster}
	names, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		content, err := fs.ReadFile(migrations.FS, name)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(content), "-- +goose Down")
		l.exec(up)
	}
	return l
}

func (l *lonely) exec(statements ...string) {
	l.t.Helper()
	conn, err := pgx.Connect(l.t.Context(), l.url)
	require.NoError(l.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range statements {
		_, err := conn.Exec(l.t.Context(), sql)
		require.NoError(l.t, err)
	}
}

// await names the standby that commits wait for, there or not, and returns when they do.
func (l *lonely) await(standby string) {
	l.t.Helper()
	l.exec("ALTER SYSTEM SET synchronous_standby_names = '"+standby+"'", "SELECT pg_reload_conf()")
	// The server's processes take the setting over one by one, and one of them decides whether commits wait.
	require.Eventually(l.t, func() bool { return l.waits() == (standby != "") }, 20*time.Second, 5*time.Millisecond)
}

// waits reports whether a commit does.
func (l *lonely) waits() bool {
	commit, err := pgx.Connect(l.t.Context(), l.url)
	require.NoError(l.t, err)
	defer func() { _ = commit.Close(context.Background()) }()
	bounded, cancel := context.WithCancel(l.t.Context())
	over := make(chan struct{})
	go func() {
		defer close(over)
		_, _ = commit.Exec(bounded, "SELECT pg_logical_emit_message(true, 'test', '')")
	}()
	defer func() { cancel(); <-over }()
	watch, err := pgx.Connect(l.t.Context(), l.url)
	require.NoError(l.t, err)
	defer func() { _ = watch.Close(context.Background()) }()
	for {
		var waits bool
		require.NoError(l.t, watch.QueryRow(l.t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep')").Scan(&waits))
		if waits {
			return true
		}
		select {
		case <-over:
			return false
		default:
		}
	}
}

// store opens one for a role, "" for the owner, that waits no longer than a second.
func (l *lonely) store(role string, connections int32) (*pgstore.Store, *idempotency.Engine, *pgxpool.Pool) {
	l.t.Helper()
	config, err := pgxpool.ParseConfig(l.url)
	require.NoError(l.t, err)
	config.MaxConns = connections
	if role != "" {
		config.ConnConfig.User = role
	}
	require.NoError(l.t, pgstore.Configure(config, pgstore.PoolConfig{}))
	pool, err := pgxpool.NewWithConfig(l.t.Context(), config)
	require.NoError(l.t, err)
	l.t.Cleanup(pool.Close)
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: time.Second, ReadBackTimeout: 3 * time.Second})
	require.NoError(l.t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(l.t, err)
	return store, engine, pool
}

func created(context.Context) (idempotency.Response, error) {
	return idempotency.Response{Status: 201}, nil
}

func numbered(n int) idempotency.Request {
	return idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: fmt.Sprint(n)}}
}

// After a failover nobody would know that the call was begun, and the retry would make it again without asking.
func TestAForeignCallWaitsUntilAStandbyKnowsOfIt(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	l.await("nobody")
	_, engine, _ := l.store("", 4)
	var charged atomic.Int32
	handler := func(ctx context.Context) (idempotency.Response, error) {
		_, err := idempotency.Foreign(ctx, "charged", func(context.Context, string) (int32, error) { return charged.Add(1), nil })
		return idempotency.Response{Status: 201}, err
	}

	_, err := engine.Run(t.Context(), numbered(1), handler)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown)
	require.Zero(t, charged.Load(), "charged, and no standby knows that it was begun")

	l.await("")
	l.exec("UPDATE idempotency_keys SET leased_until = now()")
	_, engine, _ = l.store("", 4)
	_, err = engine.Run(t.Context(), numbered(1), handler)
	require.NoError(t, err)
	assert.EqualValues(t, 1, charged.Load())
}

func TestReplaysThatWaitForAStandbyTakeOneConnectionTogether(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	const replays, connections = 8, 4
	_, engine, pool := l.store("", connections)
	for n := range replays {
		_, err := engine.Run(t.Context(), numbered(n), created)
		require.NoError(t, err)
	}
	l.await("nobody")
	pool.Reset()
	var all sync.WaitGroup
	for n := range replays {
		all.Go(func() {
			_, err := engine.Run(t.Context(), numbered(n), created)
			assert.ErrorIs(t, err, idempotency.ErrOutcomeUnknown, "no replay without its standby")
		})
	}
	most := int32(0)
	done := make(chan struct{})
	go func() { all.Wait(); close(done) }()
	waiting := func() (n int32) {
		assert.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n))
		return n
	}
	for waiting() == 0 {
	}
	for running := true; running; {
		most = max(most, waiting())
		select {
		case <-done:
			running = false
		default:
		}
	}
	assert.EqualValues(t, 1, most)
}

func TestConfirmingTakesARoleThatMay(t *testing.T) {
	t.Parallel()
	l := newLonely(t)
	l.exec("CREATE ROLE app LOGIN", "GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO app",
		"CREATE ROLE worker LOGIN", "GRANT SELECT, INSERT, UPDATE, DELETE ON idempotency_keys TO worker", "ALTER ROLE worker SET synchronous_commit = local",
		"DO $$ BEGIN EXECUTE (SELECT string_agg('REVOKE EXECUTE ON FUNCTION ' || oid::regprocedure || ' FROM PUBLIC', ';') FROM pg_proc WHERE proname = 'pg_logical_emit_message'); END $$")
	app, engine, _ := l.store("app", 2)
	require.NoError(t, app.Check(t.Context()), "it does not matter without a standby")
	_, err := engine.Run(t.Context(), numbered(1), created)
	require.NoError(t, err)

	l.await("nobody")
	app, _, _ = l.store("app", 2)
	require.ErrorContains(t, app.Check(t.Context()), "grant it EXECUTE on pg_catalog.pg_logical_emit_message")

	worker, engine, _ := l.store("worker", 2)
	require.NoError(t, worker.Check(t.Context()))
	result, err := engine.Run(t.Context(), numbered(1), created)
	require.NoError(t, err, "its commits wait for nobody")
	assert.True(t, result.Replayed)
}
