// Package sqlsuite is what sqlstore must hold with every driver of database/sql: the conformance suite, alone and beside pgstore; the
// handler's transaction; and faults at every statement.
package sqlsuite

import (
	"context"
	"database/sql"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/sqlstore"
)

// Driver is a driver of database/sql under test.
type Driver struct {
	// Open opens url, which is in the form of postgres://…, with schema as the search_path unless it is "".
	Open func(url, schema string) (*sql.DB, error)
	// ManyResults says that one query may have several statements, and their results.
	ManyResults bool
	// Notices is what the store hears the server's remarks by.
	Notices sqlstore.Notices
}

// patience is longer than any scenario takes.
const patience = time.Minute

type scenario struct {
	name string
	run  func(w *world)
}

// Run holds driver to all of it.
func Run(t *testing.T, driver Driver) {
	t.Helper()
	for name, scenarios := range map[string][]scenario{
		"transaction": transactionScenarios, "ending": endingScenarios, "values": valueScenarios, "chain": chainScenarios, "faults": faultScenarios, "silence": silenceScenarios,
		"lending": lendingScenarios,
	} {
		for _, s := range scenarios {
			t.Run(name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				s.run(newWorld(t, driver))
			})
		}
	}
}

// world is a store on a schema of its own, with a table that handlers write to.
type world struct {
	*testing.T
	driver  Driver
	schema  string
	key     idempotency.Key
	outside *pgxpool.Pool
	db      *sql.DB
	store   *sqlstore.Store
	engine  *idempotency.Engine
}

func newWorld(t *testing.T, driver Driver) *world {
	w := &world{T: t, driver: driver, schema: pgtest.Schema(t)}
	w.key = idempotency.Key{Scope: "alice", Value: w.schema}
	w.outside = pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.MaxConns = 2 })
	_, err := w.outside.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL);
		CREATE TABLE parents (id int PRIMARY KEY);
		CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)
	require.NoError(t, err)
	w.on(pgtest.URL(t), sqlstore.Config{})
	return w
}

// on gives the world a store on url. Its pool has one connection: what holds one and asks for another hangs.
func (w *world) on(url string, config sqlstore.Config) {
	db, err := w.driver.Open(url, w.schema)
	require.NoError(w, err)
	db.SetMaxOpenConns(1)
	w.Cleanup(func() { require.NoError(w, db.Close()) })
	w.db = db
	config.Schema = w.schema
	w.store, err = sqlstore.NewWithConfig(db, config)
	require.NoError(w, err)
	w.engine, err = idempotency.New(w.store, idempotency.Config{})
	require.NoError(w, err)
}

type handler = func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error)

func (w *world) run(h handler) (idempotency.Result, error) {
	return w.engine.Run(w.Context(), idempotency.Request{Key: w.key}, func(ctx context.Context) (idempotency.Response, error) {
		return h(ctx, sqlstore.Tx(ctx))
	})
}

const insert = `INSERT INTO effects VALUES ('paid')`

// pays writes one effect and answers with status.
func pays(status int) handler {
	return func(ctx context.Context, tx *sql.Tx) (idempotency.Response, error) {
		_, err := tx.ExecContext(ctx, insert)
		return idempotency.Response{Status: status, Body: []byte("answer")}, err
	}
}

// exec is a handler's statement that must succeed.
func (w *world) exec(ctx context.Context, tx *sql.Tx, sql string, args ...any) {
	w.Helper()
	_, err := tx.ExecContext(ctx, sql, args...)
	require.NoError(w, err, sql)
}

func (w *world) count(sql string, args ...any) (n int) {
	w.Helper()
	require.NoError(w, w.outside.QueryRow(w.Context(), sql, args...).Scan(&n))
	return n
}

func (w *world) effects() int { return w.count(`SELECT count(*) FROM effects`) }
func (w *world) records() int { return w.count(`SELECT count(*) FROM idempotency_keys`) }

// stored checks what is there.
func (w *world) stored(effects, records int) {
	w.Helper()
	require.Equal(w, effects, w.effects(), "effects")
	require.Equal(w, records, w.records(), "records")
}

// afterwards checks that nothing of a request is there, and that the key works as if nothing had been: a payment goes through, once,
// over the one connection that the pool may have.
func (w *world) afterwards() {
	w.Helper()
	w.afterwardsWith(0)
}

func (w *world) afterwardsWith(effects int) {
	w.Helper()
	w.stored(effects, 0)
	result, err := w.retry(pays(201))
	require.NoError(w, err)
	require.Equal(w, 201, result.Response.Status)
	w.stored(effects+1, 1)
	require.Zero(w, w.db.Stats().InUse, "connections that were not given back")
}

// retry runs h again for as long as the server has not noticed that a connection is gone.
func (w *world) retry(h handler) (idempotency.Result, error) {
	for {
		result, err := w.run(h)
		if err == nil || !strings.Contains(err.Error(), string(idempotency.CodeInProgress)) || w.Context().Err() != nil {
			return result, err
		}
	}
}
