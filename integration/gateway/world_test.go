package gateway

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/keytable"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/redisserver"
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
	upstream *upstream
	store    string // as the gateways' configurations have it

	// What follows is there if the store is in PostgreSQL.
	schema string
	pool   *pgxpool.Pool
	line   *wireproxy.Proxy // to the database
}

// open makes a world whose keys are in one kind of store.
type open func(t *testing.T, with settings, of func(reference string, call int) fate) *world

// onEveryStore runs a test with every kind of store that outlives a gateway.
func onEveryStore(t *testing.T, test func(t *testing.T, in open)) {
	t.Parallel()
	for name, in := range map[string]open{"PostgreSQL": newWorld, "Redis": newRedisWorld} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, in)
		})
	}
}

// newWorld has the n-th call with a reference meet this fate.
func newWorld(t *testing.T, with settings, of func(reference string, call int) fate) *world {
	t.Helper()
	w := &world{T: t, settings: with, upstream: startUpstream(t, of), schema: pgtest.Schema(t)}
	w.pool = pgtest.Pool(t, w.schema)
	line, err := wireproxy.Listen(pgtest.URL(t), wireproxy.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = line.Close() })
	w.line = line
	w.store = w.database(pgtest.URL(t))
	return w
}

// newRedisWorld is newWorld without PostgreSQL: the keys are in a Redis that writes each of them to disk.
func newRedisWorld(t *testing.T, with settings, of func(reference string, call int) fate) *world {
	t.Helper()
	server, err := redisserver.Start(t.Context(), "--appendonly", "yes", "--appendfsync", "always")
	if errors.Is(err, redisserver.ErrNoProgram) {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, server.Stop()) })
	return &world{T: t, settings: with, upstream: startUpstream(t, of), store: fmt.Sprintf("{url: %q}", "redis://"+server.Address)}
}

// database is the store that is reached by this URL.
func (w *world) database(url string) string {
	return fmt.Sprintf("{url: %q, schema: %q}", url, w.schema)
}

// gateway starts a proxy on this store.
func (w *world) gateway(store string) *gateway {
	w.Helper()
	return startProxy(w.T, fmt.Sprintf(`
listen: {address: "127.0.0.1:0"}
admin: {address: "127.0.0.1:0"}
store: %s
log: {format: json, access: false}
routes:
  - patterns: ["POST /payments"]
    upstream: http://%s
    scope: {from: header, header: X-Account}
    timeout: %v
    lease: %v
    wait: %v
    unknown: %s
`, store, w.upstream.address(), w.timeout, w.lease, w.wait, w.unknown))
}

// direct starts a proxy with a line of its own to the store, watched one whose statements can be stopped.
func (w *world) direct() *gateway { return w.gateway(w.store) }

func (w *world) watched() *gateway {
	url, err := w.line.URL(pgtest.URL(w.T))
	require.NoError(w, err)
	return w.gateway(w.database(url))
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
