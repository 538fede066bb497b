package httpcontract

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// world is what one test has for itself: an adapter on an empty store.
type world struct {
	*testing.T
	adapter Adapter
	open    func(w *world) // gives it a store
	store   idempotency.Store
	pool    *pgxpool.Pool // nil where the store is not on Postgres
	// reopen returns the store on pool with another bound, and write is a handler's statement. nil where there is no pool.
	reopen  func(bound time.Duration) (idempotency.Store, error)
	write   func(ctx context.Context, statement string) error
	counter *counter
}

type counter struct{ keys atomic.Int64 }

type opened struct {
	name string
	open func(w *world)
}

var stores = []opened{
	{"in memory", func(w *world) {
		store, err := NewMemory()
		require.NoError(w, err)
		w.store = store
	}},
	{"on Postgres", func(w *world) {
		schema := w.database()
		w.reopen = func(bound time.Duration) (idempotency.Store, error) {
			return pgstore.NewWithConfig(w.pool, pgstore.Config{Schema: schema, Timeout: bound, Lock: pgstore.Lock(os.Getenv("ONLYONCE_LOCK"))}) // make test-locks
		}
		w.write = func(ctx context.Context, statement string) error {
			_, err := pgstore.Tx(ctx).Exec(ctx, statement)
			return err
		}
		w.opened()
	}},
	{"on Postgres by database sql", func(w *world) {
		schema := w.database()
		db := stdlib.OpenDBFromPool(w.pool)
		w.Cleanup(func() { require.NoError(w, db.Close()) })
		w.reopen = func(bound time.Duration) (idempotency.Store, error) {
			return sqlstore.NewWithConfig(db, sqlstore.Config{Schema: schema, Timeout: bound})
		}
		w.write = func(ctx context.Context, statement string) error {
			_, err := sqlstore.Tx(ctx).ExecContext(ctx, statement)
			return err
		}
		w.opened()
	}},
}

// database gives the world a schema of its own, and returns its name.
func (w *world) database() (schema string) {
	schema = pgtest.Schema(w)
	w.pool = pgtest.Pool(w, schema, func(c *pgxpool.Config) {
		c.MaxConns = 4
		c.ConnConfig.RuntimeParams["application_name"] = schema // by which its connections are told apart
	})
	_, err := w.pool.Exec(w.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(w, err)
	return schema
}

// opened gives the world its store.
func (w *world) opened() {
	store, err := w.reopen(0)
	require.NoError(w, err)
	w.store = store
}

// each runs a case of a table: the same world, reporting to a test of its own.
func (w *world) each(name string, run func(w *world)) {
	w.Helper()
	w.Run(name, func(t *testing.T) {
		inner := *w
		inner.T = t
		run(&inner)
	})
}

// key returns a key that the test has not used yet.
func (w *world) key() string { return fmt.Sprintf("key-%d", w.counter.keys.Add(1)) }

// effect is what a handler does: a row written in its transaction, where there is one.
func (w *world) effect(ctx context.Context) {
	if w.pool == nil {
		return
	}
	if err := w.write(ctx, `INSERT INTO effects VALUES ('paid')`); err != nil {
		w.Errorf("the handler could not write: %v", err)
	}
}

// sql is a statement of a handler that goes wrong and does not say so.
func (w *world) sql(ctx context.Context, statement string) {
	_ = w.write(ctx, statement)
}

// hasEffects checks how many effects were committed.
func (w *world) hasEffects(want int) { w.rows("effects", want) }

// hasRecords checks how many keys are stored.
func (w *world) hasRecords(want int) { w.rows("idempotency_keys", want) }

func (w *world) rows(table string, want int) {
	w.Helper()
	if w.pool == nil {
		return
	}
	var rows int
	require.NoError(w, w.pool.QueryRow(context.WithoutCancel(w.Context()), "SELECT count(*) FROM "+table).Scan(&rows))
	require.Equal(w, want, rows, "rows in %s", table)
}

// route is a handler behind the adapter's middleware. It counts on the server's side.
type route struct {
	*world
	http.Handler
	runs atomic.Int64
}

// in returns the route, reporting to w's test.
func (r *route) in(w *world) *route { return &route{world: w, Handler: r.Handler} }

type option func(engine *idempotency.Config, config *Config)

func alice(*http.Request) (string, error) { return "alice", nil }

// route mounts handler.
func (w *world) route(handler http.HandlerFunc, options ...option) *route {
	w.Helper()
	route := &route{world: w}
	mounted, err := w.mount(func(writer http.ResponseWriter, r *http.Request) {
		route.runs.Add(1)
		handler(writer, r)
	}, options...)
	require.NoError(w, err)
	route.Handler = mounted
	return route
}

func (w *world) mount(handler http.HandlerFunc, options ...option) (http.Handler, error) {
	w.Helper()
	engineConfig, config := w.engineConfig(), Config{Scope: alice}
	for _, set := range options {
		set(&engineConfig, &config)
	}
	engine, err := idempotency.New(w.store, engineConfig)
	require.NoError(w, err)
	return w.adapter.Mount(engine, config, handler)
}

// engineConfig returns the configuration that a test's engine begins with.
func (w *world) engineConfig() (config idempotency.Config) {
	if w.adapter.Engine != nil {
		w.adapter.Engine(&config)
	}
	return config
}

// sealed reports whether what is stored is.
func (w *world) sealed() bool { return w.engineConfig().Sealer != nil }

// pays is a handler that has one effect and answers with status.
func (w *world) pays(status int) http.HandlerFunc {
	return func(writer http.ResponseWriter, r *http.Request) {
		w.effect(r.Context())
		writer.Header().Set("Content-Type", "application/json")
		writer.WriteHeader(status)
		_, _ = writer.Write([]byte(`{"status":"answered"}`))
	}
}

// ran checks how often the handler ran since the last time it was asked.
func (r *route) ran(want int) {
	r.Helper()
	require.EqualValues(r, want, r.runs.Swap(0), "executions of the handler")
}

func post(key, body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/payments", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	return r
}
