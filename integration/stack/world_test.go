package stack

import (
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// world is a database with payments in it, as seen by nobody's server.
type world struct {
	url  string
	pool *pgxpool.Pool
}

// newWorld makes a schema of its own, with these accounts; alice if none is named.
func newWorld(t *testing.T, accounts ...string) *world {
	t.Helper()
	schema := pgtest.Schema(t)
	w := &world{url: pgtest.SchemaURL(t, schema), pool: pgtest.Pool(t, schema, few)}
	w.furnish(t, accounts...)
	return w
}

// few keeps the tests' own connections from using up the server's.
func few(c *pgxpool.Config) { c.MaxConns = 2 }

func (w *world) furnish(t *testing.T, accounts ...string) {
	t.Helper()
	if len(accounts) == 0 {
		accounts = []string{"alice"}
	}
	_, err := w.pool.Exec(deadline(t), tables)
	require.NoError(t, err)
	for _, name := range append(accounts, "merchant") {
		_, err := w.pool.Exec(deadline(t), "INSERT INTO accounts VALUES ($1, $2)", name, opening)
		require.NoError(t, err)
	}
}

// behind returns a proxy in front of the database, and the URL through it.
func (w *world) behind(t *testing.T, config wireproxy.Config) (*wireproxy.Proxy, string) {
	t.Helper()
	return behind(t, w.url, config)
}

func behind(t *testing.T, url string, config wireproxy.Config) (*wireproxy.Proxy, string) {
	t.Helper()
	proxy, err := wireproxy.Listen(url, config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	through, err := proxy.URL(url)
	require.NoError(t, err)
	return proxy, through
}

// effects are what a key did.
type effects struct {
	Payments, Ledger, Keys int
}

var (
	once  = effects{Payments: 1, Ledger: 2, Keys: 1}
	never = effects{}
	// refused: the answer is kept, and nothing else.
	refused = effects{Keys: 1}
)

// effects counts what a key did.
func (w *world) effects(t *testing.T, key string) effects {
	t.Helper()
	var did effects
	w.read(t, `SELECT
		(SELECT count(*) FROM payments WHERE key = $1), (SELECT count(*) FROM ledger WHERE key = $1),
		(SELECT count(*) FROM idempotency_keys WHERE key = $1 AND state = 'completed')`, []any{key}, &did.Payments, &did.Ledger, &did.Keys)
	return did
}

// read asks until the database answers, which it does not as long as it recovers from a backend that was killed.
func (w *world) read(t *testing.T, query string, args []any, into ...any) {
	t.Helper()
	eventually(t, "the database answers", func() (bool, error) {
		err := w.pool.QueryRow(deadline(t), query, args...).Scan(into...)
		if refused := (*pgconn.PgError)(nil); errors.As(err, &refused) && !strings.HasPrefix(refused.Code, "57P") {
			return false, err
		}
		return err == nil, nil
	})
}

// wantBalanced fails the test unless the accounts agree with the payments: whatever was undone, was undone as a whole.
func (w *world) wantBalanced(t *testing.T) {
	t.Helper()
	var wrong int
	w.read(t, `SELECT count(*) FROM accounts a WHERE name <> 'merchant' AND
		available <> $1::bigint - (SELECT coalesce(sum(amount), 0) FROM payments WHERE account = a.name)`, []any{opening}, &wrong)
	assert.Zero(t, wrong, "accounts that do not agree with their payments")
	w.read(t, `SELECT count(*) FROM payments p WHERE
		(SELECT count(*) FROM ledger WHERE payment = p.id) <> 2`, nil, &wrong)
	assert.Zero(t, wrong, "payments that do not have two ledger entries")
}

// eventually asks the database until the answer is yes.
func (w *world) eventually(t *testing.T, what, query string, args ...any) {
	t.Helper()
	ctx := deadline(t)
	eventually(t, what, func() (is bool, err error) {
		err = w.pool.QueryRow(ctx, query, args...).Scan(&is)
		return is, err
	})
}

// backendGone waits for the end of a backend.
func (w *world) backendGone(t *testing.T, pid uint32) {
	t.Helper()
	w.eventually(t, "the backend ends", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", pid)
}

var modes = []pgx.QueryExecMode{
	pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe, pgx.QueryExecModeDescribeExec,
	pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
}
