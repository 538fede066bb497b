package protocol

import (
	"context"
	"errors"
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

// The classes of errors of the functions.
const (
	invalid    = "OO001"
	misused    = "OO002"
	lost       = "OO003"
	unreadable = "OO004"
	held       = "OO006"
	duplicate  = "23505"
)

// world is a schema with the table, the functions, and a store on it.
type world struct {
	t      *testing.T
	schema string
	key    idempotency.Key
	print  idempotency.Fingerprint
	pool   *pgxpool.Pool
	store  *pgstore.Store
	engine *idempotency.Engine

	configured bool // the schema is in the store's configuration, and not in the search_path alone
}

func (w *world) config() pgstore.Config {
	if w.configured {
		return pgstore.Config{Schema: w.schema}
	}
	return pgstore.Config{}
}

// namespaces are the two ways in which a store can name its table, and with it the locks.
var namespaces = []string{"with the schema in the configuration", "with the schema in the search_path"}

func newWorld(t *testing.T, configured ...bool) *world {
	t.Helper()
	w := &world{t: t, schema: pgtest.Schema(t)}
	w.key = idempotency.Key{Scope: "alice", Value: w.schema} // locks are the whole database's
	w.print = (&idempotency.Fingerprinter{}).Sum([]byte("pay 10"))
	w.configured = len(configured) > 0 && configured[0]
	pgtest.Functions(t, w.schema, w.config().Schema)
	w.pool = pgtest.Pool(t, w.schema, func(c *pgxpool.Config) { c.MaxConns = 8 })
	_, err := w.pool.Exec(t.Context(), `CREATE TABLE effects (name text NOT NULL)`)
	require.NoError(t, err)
	w.store, err = pgstore.NewWithConfig(w.pool, w.config())
	require.NoError(t, err)
	w.engine, err = idempotency.New(w.store, idempotency.Config{})
	require.NoError(t, err)
	return w
}

// run runs a handler in Go.
func (w *world) run(handler func(ctx context.Context) (idempotency.Response, error)) (idempotency.Result, error) {
	return w.engine.Run(w.t.Context(), idempotency.Request{Key: w.key, Fingerprint: w.print}, handler)
}

// pays writes one effect and answers.
func pays(response idempotency.Response) func(ctx context.Context) (idempotency.Response, error) {
	return func(ctx context.Context) (idempotency.Response, error) {
		_, err := pgstore.Tx(ctx).Exec(ctx, `INSERT INTO effects VALUES ('paid')`)
		return response, err
	}
}

// began is what idempotency_begin says.
type began struct {
	Outcome       string
	Status        *int
	Headers, Body []byte
	Attempt       *int
	RecoveryPoint *string
	Steps, Owner  []byte
}

// querier is a connection, a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
}

// tx begins a transaction that is rolled back after the test at the latest.
func (w *world) tx(level ...pgx.TxIsoLevel) pgx.Tx {
	w.t.Helper()
	options := pgx.TxOptions{}
	if len(level) > 0 {
		options.IsoLevel = level[0]
	}
	tx, err := w.pool.BeginTx(w.t.Context(), options)
	require.NoError(w.t, err)
	w.t.Cleanup(func() { _ = tx.Rollback(context.Background()) })
	return tx
}

func (w *world) tryBegin(q querier, owner ...[]byte) (b began, err error) {
	var token []byte
	if len(owner) > 0 {
		token = owner[0]
	}
	err = q.QueryRow(w.t.Context(), `SELECT outcome, status, headers, body, attempt, recovery_point, steps, owner FROM idempotency_begin($1, $2, $3, $4)`,
		w.key.Scope, w.key.Value, w.print[:], token).Scan(&b.Outcome, &b.Status, &b.Headers, &b.Body, &b.Attempt, &b.RecoveryPoint, &b.Steps, &b.Owner)
	return b, err
}

func (w *world) begin(q querier, owner ...[]byte) began {
	w.t.Helper()
	b, err := w.tryBegin(q, owner...)
	require.NoError(w.t, err)
	return b
}

// wantBegun begins the key, which must be for this transaction to execute.
func (w *world) wantBegun(q querier, owner ...[]byte) began {
	w.t.Helper()
	b := w.begin(q, owner...)
	require.Equal(w.t, "execute", b.Outcome)
	return b
}

func (w *world) tryComplete(q querier, response idempotency.Response) error {
	_, err := q.Exec(w.t.Context(), `SELECT idempotency_complete($1, $2, $3, $4, $5, $6)`,
		w.key.Scope, w.key.Value, w.print[:], response.Status, response.Header, response.Body)
	return err
}

func (w *world) pay(q querier) {
	w.t.Helper()
	_, err := q.Exec(w.t.Context(), `INSERT INTO effects VALUES ('paid')`)
	require.NoError(w.t, err)
}

// checkpoint keeps steps whose last is called point.
func (w *world) checkpoint(q querier, point string, steps []byte) (token []byte) {
	w.t.Helper()
	require.NoError(w.t, q.QueryRow(w.t.Context(), `SELECT idempotency_checkpoint($1, $2, $3, $4, $5)`,
		w.key.Scope, w.key.Value, w.print[:], point, steps).Scan(&token))
	return token
}

// step adds one to steps.
func (w *world) step(steps []byte, name, result, kind string) (list []byte) {
	w.t.Helper()
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), `SELECT idempotency_step_add($1, $2, $3, $4)`, steps, name, []byte(result), kind).Scan(&list))
	return list
}

func (w *world) release(q querier, token []byte) (released bool) {
	w.t.Helper()
	require.NoError(w.t, q.QueryRow(w.t.Context(), `SELECT idempotency_release($1, $2, $3)`, w.key.Scope, w.key.Value, token).Scan(&released))
	return released
}

func (w *world) commit(tx pgx.Tx) {
	w.t.Helper()
	require.NoError(w.t, tx.Commit(w.t.Context()))
}

func (w *world) rollback(tx pgx.Tx) {
	w.t.Helper()
	require.NoError(w.t, tx.Rollback(w.t.Context()))
}

// completes is a whole payment through the functions.
func (w *world) completes(response idempotency.Response) {
	w.t.Helper()
	tx := w.tx()
	w.wantBegun(tx)
	w.pay(tx)
	require.NoError(w.t, w.tryComplete(tx, response))
	w.commit(tx)
}

// wantReplay checks that the functions answer with response.
func (w *world) wantReplay(response idempotency.Response) {
	w.t.Helper()
	b := w.begin(w.pool)
	require.Equal(w.t, "replay", b.Outcome)
	require.Equal(w.t, response.Status, *b.Status)
	require.False(w.t, b.Headers == nil || b.Body == nil, "NULL is none of them")
	require.Equal(w.t, string(response.Header), string(b.Headers))
	require.Equal(w.t, string(response.Body), string(b.Body))
	require.Nil(w.t, b.Attempt)
	require.Nil(w.t, b.Owner)
}

// wantReplayed checks that the engine answers with response, and does not run its handler.
func (w *world) wantReplayed(response idempotency.Response) {
	w.t.Helper()
	result, err := w.run(func(context.Context) (idempotency.Response, error) {
		return idempotency.Response{}, errors.New("the handler ran")
	})
	require.NoError(w.t, err)
	require.True(w.t, result.Replayed)
	require.Equal(w.t, response.Status, result.Response.Status)
	require.Equal(w.t, string(response.Header), string(result.Response.Header))
	require.Equal(w.t, string(response.Body), string(result.Response.Body))
}

func (w *world) wantEffects(want int) {
	w.t.Helper()
	require.Equal(w.t, want, w.count(`SELECT count(*) FROM effects`))
}

func (w *world) count(sql string, args ...any) (n int) {
	w.t.Helper()
	require.NoError(w.t, w.pool.QueryRow(w.t.Context(), sql, args...).Scan(&n))
	return n
}

func (w *world) exec(sql string, args ...any) {
	w.t.Helper()
	_, err := w.pool.Exec(w.t.Context(), sql, args...)
	require.NoError(w.t, err)
}

func (w *world) endLease() {
	w.t.Helper()
	w.exec(`UPDATE idempotency_keys SET leased_until = clock_timestamp() - interval '1 second'`)
}

// wantState checks that err is the server's, with this SQLSTATE, and holds neither key nor scope.
func (w *world) wantState(err error, state string) {
	w.t.Helper()
	var server *pgconn.PgError
	require.ErrorAs(w.t, err, &server)
	require.Equal(w.t, state, server.Code, server.Message)
	if state[:2] == "OO" {
		require.NotEmpty(w.t, server.Hint)
		for _, text := range []string{server.Message, server.Detail, server.Hint} {
			require.NotContains(w.t, text, w.key.Scope)
			require.NotContains(w.t, text, w.key.Value)
		}
	}
}

// everyByte is a response with every byte value in it.
func everyByte() idempotency.Response {
	r := idempotency.Response{Status: 201, Header: []byte("Content-Type: application/octet-stream\r\nLocation: /p\\1?q=\"ü\"\xff\t1\r\nX-Empty: \r\n")}
	for b := range 256 {
		r.Body = append(r.Body, byte(b))
	}
	return r
}

// soon bounds what is waited for.
const soon = 30 * time.Second
