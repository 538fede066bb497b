package gateway

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// settings are what the proxies of a world have in common.
type settings struct {
	unknown        string
	timeout, lease time.Duration
	wait           time.Duration
}

// world is a database and an upstream, with room for gateways between them.
type world struct {
	*testing.T
	settings
	schema   string
	pool     *pgxpool.Pool
	upstream *upstream
	line     *wireproxy.Proxy // to the database
}

// newWorld has the n-th call with a reference meet this fate.
func newWorld(t *testing.T, with settings, of func(reference string, call int) fate) *world {
	t.Helper()
	w := &world{T: t, settings: with, schema: pgtest.Schema(t), upstream: startUpstream(t, of)}
	w.pool = pgtest.Pool(t, w.schema)
	line, err := wireproxy.Listen(pgtest.URL(t), wireproxy.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = line.Close() })
	w.line = line
	return w
}

// gateway starts a proxy whose way to the database is this.
func (w *world) gateway(database string) *gateway {
	w.Helper()
	return startProxy(w.T, fmt.Sprintf(`
listen: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
store: {url: %q, schema: %q}
log: {format: json, access: false}
routes:
  - patterns: ["POST /payments"]
    upstream: http://%s
    scope: {from: header, header: X-Account}
    timeout: %v
    lease: %v
    wait: %v
    unknown: %s
`, database, w.schema, w.upstream.address(), w.timeout, w.lease, w.wait, w.unknown))
}

// direct starts a proxy with a line of its own to the database, watched one whose statements can be stopped.
func (w *world) direct() *gateway { return w.gateway(pgtest.URL(w.T)) }

func (w *world) watched() *gateway {
	url, err := w.line.URL(pgtest.URL(w.T))
	require.NoError(w, err)
	return w.gateway(url)
}

// key is what the table says of the key of a reference: "" is nothing.
type key struct {
	state   string
	attempt int
	left    time.Duration // of the lease
}

func (w *world) key(reference string) key {
	w.Helper()
	var k key
	var left float64
	err := w.pool.QueryRow(w.Context(), `SELECT state, attempt, coalesce(extract(epoch FROM leased_until - clock_timestamp()), 0)::float8
		FROM idempotency_keys WHERE scope = 'alice' AND key = $1`, reference).Scan(&k.state, &k.attempt, &left)
	if err == pgx.ErrNoRows {
		return key{}
	}
	require.NoError(w, err)
	k.left = time.Duration(left * float64(time.Second))
	return k
}

// endLease ends the lease of the key of a reference, as the passing of time would.
func (w *world) endLease(reference string) {
	w.Helper()
	tag, err := w.pool.Exec(w.Context(), `UPDATE idempotency_keys SET leased_until = clock_timestamp() WHERE key = $1 AND state = 'pending'`, reference)
	require.NoError(w, err)
	require.EqualValues(w, 1, tag.RowsAffected())
}

// at matches one of the statements by which keys are lent.
func (w *world) at(which func(keytable.Statements) string) func(wireproxy.Statement) bool {
	text := which(keytable.Of(keytable.NameIn(w.schema)))
	return func(s wireproxy.Statement) bool { return s.SQL == text }
}

// bounded is a context that ends when nothing can come any more.
func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// await waits for something to happen.
func await(t *testing.T, what string, happened <-chan struct{}) {
	t.Helper()
	select {
	case <-happened:
	case <-bounded(t).Done():
		t.Fatalf("waited in vain for %s", what)
	}
}
