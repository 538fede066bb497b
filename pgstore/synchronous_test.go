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
	pid := commit.PgConn().PID()
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
	commits := func() (waits bool) {
		require.NoError(l.t, watch.QueryRow(l.t.Context(), "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND pid = $1)", pid).Scan(&waits))
		return waits
	}
	for {
		if commits() {
			cancel()
			for commits() { // the server hears of it a little later
			}
			return true
		}
		select {
		case <-over:
			return false
		default:
		}
	}
}

// store opens one for a role, "" for the owner, that waits no longer than two seconds.
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
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: 2 * time.Second, ReadBackTimeout: 5 * time.Second})
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
	_, brief, pool := l.store("", connections)
	// It does not give up while the test looks: a wait that the client has given up lasts a little longer in the server, beside the next one.
	store, err := pgstore.NewWithConfig(pool, pgstore.Config{Timeout: time.Minute, ReadBackTimeout: time.Minute})
	require.NoError(t, err)
	engine, err := idempotency.New(store, idempotency.Config{})
	require.NoError(t, err)
	for n := range replays {
		_, err := engine.Run(t.Context(), numbered(n), created)
		require.NoError(t, err)
	}
	l.await("nobody")
	before := pool.Stat().AcquireCount()
	taken := func() int64 { return pool.Stat().AcquireCount() - before }
	var all sync.WaitGroup
	t.Cleanup(all.Wait)
	for n := range replays {
		all.Go(func() {
			result, err := engine.Run(t.Context(), numbered(n), created)
			assert.NoError(t, err)
			assert.True(t, result.Replayed)
		})
	}
	watch, err := pgx.Connect(t.Context(), l.url)
	require.NoError(t, err)
	defer func() { _ = watch.Close(context.Background()) }()
	waiting := func() (n int) {
		require.NoError(t, watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n))
		return n
	}
	most := waiting()
	for end := time.Now().Add(30 * time.Second); most < 2 && (most == 0 || taken() <= replays || pool.Stat().AcquiredConns() > 1); most = max(most, waiting()) {
		require.True(t, time.Now().Before(end), "not all have read their record, and wait")
	}
	require.Equal(t, 1, most)
	_, err = brief.Run(t.Context(), numbered(0), created)
	require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown, "no replay without its standby")
	l.await("")
	all.Wait()
	assert.Less(t, taken(), int64(2*replays), "each was confirmed by itself")
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
