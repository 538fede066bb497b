package pgstore_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// world is a store on a schema of its own, with a table that handlers write to.
type world struct {
	t      *testing.T
	schema string
	key    idempotency.Key
	pool   *pgxpool.Pool
	store  *pgstore.Store
	engine *idempotency.Engine

	mu     sync.Mutex
	events []idempotency.Event
}

var key = idempotency.Key{Scope: "alice", Value: "payment-1"}

func newWorld(t *testing.T, change ...func(*idempotency.Config, *pgstore.Config, *pgxpool.Config)) *world {
	w := &world{t: t, schema: pgtest.Schema(t)}
	w.key = idempotency.Key{Scope: "alice", Value: w.schema}
	engineConfig := idempotency.Config{Observer: func(_ context.Context, e idempotency.Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}}
	storeConfig := pgstore.Config{Schema: w.schema, Lock: lockOfTheRun(t)}
	w.pool = pgtest.Pool(t, w.schema, func(c *pgxpool.Config) {
		c.MaxConns = 4
		for _, f := range change {
			f(&engineConfig, &storeConfig, c)
		}
	})
	_, err := w.pool.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL);
		CREATE TABLE parents (id int PRIMARY KEY);
		CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	w.store, err = pgstore.NewWithConfig(w.pool, storeConfig)
	require.NoError(t, err)
	w.engine, err = idempotency.New(w.store, engineConfig)
	require.NoError(t, err)
	return w
}

type handler = func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error)

func (w *world) run(h handler) (idempotency.Result, error) {
	return w.engine.Run(w.t.Context(), idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
		return h(ctx, pgstore.Tx(ctx))
	})
}

// pays writes one effect and answers with status.
func pays(status int) handler {
	return func(ctx context.Context, tx pgx.Tx) (idempotency.Response, error) {
		_, err := tx.Exec(ctx, `INSERT INTO effects VALUES ('paid')`)
		return idempotency.Response{Status: status, Body: []byte("answer")}, err
	}
}

func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&n))
	return n
}

func (w *world) effects() int { return w.count(`SELECT count(*) FROM effects`) }
func (w *world) records() int { return w.count(`SELECT count(*) FROM idempotency_keys`) }

// kinds are the events so far.
func (w *world) kinds() (kinds []idempotency.EventKind) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

// afterwards checks that the key works as if nothing had been: a payment goes through, once.
func (w *world) afterwards() {
	w.t.Helper()
	require.Equal(w.t, 0, w.records())
	before := w.effects()
	result, err := w.run(pays(201))
	for errors.Is(err, idempotency.ErrInProgress) && w.t.Context().Err() == nil { // the server notices a closed connection in its own time
		result, err = w.run(pays(201))
	}
	require.NoError(w.t, err)
	require.Equal(w.t, 201, result.Response.Status)
	require.Equal(w.t, before+1, w.effects())
	require.Equal(w.t, 1, w.records())
	require.Eventually(w.t, func() bool { return w.pool.Stat().AcquiredConns() == 0 }, 10*time.Second, time.Millisecond)
}
