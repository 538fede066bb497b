package sqlsuite

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

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/ephemeral"
	"github.com/onlyonce/onlyonce/migrations"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// Synchronous is about a primary whose commits wait for a standby that is not there, and whose waits somebody cancels.
func Synchronous(t *testing.T, driver Driver) {
	cluster, err := ephemeral.Start(t.Context(), ephemeral.Options{})
	if errors.Is(err, ephemeral.ErrNoBinaries) {
		t.Skipf("a cluster of this test's own cannot be started: %v", err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, cluster.Stop()) })
	l := &lonely{t, cluster.URL("postgres")}
	names, err := fs.Glob(migrations.FS, "*.sql")
	require.NoError(t, err)
	for _, name := range names {
		content, err := fs.ReadFile(migrations.FS, name)
		require.NoError(t, err)
		up, _, _ := strings.Cut(string(content), "-- +goose Down")
		l.exec(up)
	}
	db := opened(t, driver, l.url, "public")
	open := func(notices sqlstore.Notices, config sqlstore.Config) (*sqlstore.Store, *idempotency.Engine) {
		config.Notices = notices
		store, err := sqlstore.NewWithConfig(db, config)
		require.NoError(t, err)
		engine, err := idempotency.New(store, idempotency.Config{})
		require.NoError(t, err)
		return store, engine
	}
	store, engine := open(driver.Notices, sqlstore.Config{Timeout: 10 * time.Second})
	created := func(context.Context) (idempotency.Response, error) { return idempotency.Response{Status: 201}, nil }
	before := idempotency.Key{Scope: "alice", Value: "before"}
	_, err = engine.Run(t.Context(), idempotency.Request{Key: before}, created)
	require.NoError(t, err)

	l.await("nobody")
	require.NoError(t, store.Check(t.Context()))
	deaf, _ := open(nil, sqlstore.Config{})
	require.ErrorContains(t, deaf.Check(t.Context()), "sqlstore.Config.Notices")

	for name, run := range map[string]func() error{
		"a payment": func() error {
			_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "payment"}}, created)
			return err
		},
		"a step": func() error {
			_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "step"}}, func(ctx context.Context) (idempotency.Response, error) {
				_, err := idempotency.Atomic(ctx, "one", func(context.Context) (int, error) { return 1, nil })
				return idempotency.Response{Status: 201}, err
			})
			return err
		},
		"a foreign call": func() error {
			_, err := engine.Run(t.Context(), idempotency.Request{Key: idempotency.Key{Scope: "alice", Value: "call"}}, func(ctx context.Context) (idempotency.Response, error) {
				_, err := idempotency.Foreign(ctx, "one", func(context.Context, string) (int, error) { return 1, nil })
				return idempotency.Response{Status: 201}, err
			})
			return err
		},
		"a replay": func() error { _, err := store.Lookup(t.Context(), before); return err },
	} {
		stop := l.cancelsWaits()
		err := run()
		stop()
		require.ErrorIs(t, err, idempotency.ErrOutcomeUnknown, name)
	}

	l.await("")
	found, err := store.Lookup(t.Context(), idempotency.Key{Scope: "alice", Value: "payment"})
	require.NoError(t, err)
	require.NotNil(t, found)
}

// lonely is a primary of the test's own, whose standby can be missing.
type lonely struct {
	t   *testing.T
	url string
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
	over := make(chan struct{})
	bounded, cancel := context.WithCancel(l.t.Context())
	defer func() { cancel(); <-over }()
	go func() {
		defer close(over)
		conn, err := pgx.Connect(bounded, l.url)
		if err == nil {
			defer func() { _ = conn.Close(context.Background()) }()
			_, _ = conn.Exec(bounded, "SELECT pg_logical_emit_message(true, 'test', '')")
		}
	}()
	for {
		select {
		case <-over:
			return false
		default:
			if l.waiting("true") > 0 {
				return true
			}
		}
	}
}

// waiting counts the backends that wait for the standby, of which each is true.
func (l *lonely) waiting(each string) (n int) {
	conn, err := pgx.Connect(l.t.Context(), l.url)
	require.NoError(l.t, err)
	defer func() { _ = conn.Close(context.Background()) }()
	require.NoError(l.t, conn.QueryRow(l.t.Context(), "SELECT count(*) FILTER (WHERE "+each+") FROM pg_stat_activity WHERE wait_event = 'SyncRep'").Scan(&n))
	return n
}

// cancelsWaits cancels every wait, as an operator who has lost patience does, until stop is called.
func (l *lonely) cancelsWaits() (stop func()) {
	ended, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(over)
		for {
			select {
			case <-ended:
				return
			default:
				l.waiting("pg_cancel_backend(pid)")
			}
		}
	}()
	return func() { close(ended); <-over }
}
