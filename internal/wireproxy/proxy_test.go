package wireproxy_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/internal/wireproxy"
)

// bound is longer than anything here takes.
const bound = 20 * time.Second

// line is a database, seen directly and through a proxy.
type line struct {
	*testing.T
	proxy *wireproxy.Proxy
	url   string // through the proxy
	past  *pgx.Conn
	ctx   context.Context
}

func newLine(t *testing.T, config wireproxy.Config) *line {
	t.Helper()
	schema := pgtest.EmptySchema(t)
	direct := pgtest.SchemaURL(t, schema)
	proxy, err := wireproxy.Listen(direct, config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxy.Close()) })
	url, err := proxy.URL(direct)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), bound)
	t.Cleanup(cancel)
	past, err := pgx.Connect(ctx, direct)
	require.NoError(t, err)
	t.Cleanup(func() { _ = past.Close(context.Background()) })
	_, err = past.Exec(ctx, "CREATE TABLE effects (name text)")
	require.NoError(t, err)
	return &line{T: t, proxy: proxy, url: url, past: past, ctx: ctx}
}

// connect opens a connection through the proxy.
func (l *line) connect(configure ...func(*pgx.ConnConfig)) *pgx.Conn {
	l.Helper()
	config, err := pgx.ParseConfig(l.url)
	require.NoError(l, err)
	for _, change := range configure {
		change(config)
	}
	conn, err := pgx.ConnectConfig(l.ctx, config)
	require.NoError(l, err)
	l.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func mode(m pgx.QueryExecMode) func(*pgx.ConnConfig) {
	return func(c *pgx.ConnConfig) { c.DefaultQueryExecMode = m }
}

// effects counts the rows of a name, past the proxy.
func (l *line) effects(name string) (n int) {
	l.Helper()
	require.NoError(l, l.past.QueryRow(l.ctx, "SELECT count(*) FROM effects WHERE name = $1", name).Scan(&n))
	return n
}

// await fails the test if nothing happens within the bound.
func (l *line) await(what string, happened <-chan struct{}) {
	l.Helper()
	select {
	case <-happened:
	case <-l.ctx.Done():
		l.Fatalf("%s: not within %v", what, bound)
	}
}

// eventually looks at the database until it is as expected.
func (l *line) eventually(what string, query string, args ...any) {
	l.Helper()
	for {
		var is bool
		require.NoError(l, l.past.QueryRow(l.ctx, query, args...).Scan(&is), what)
		if is {
			return
		}
		select {
		case <-l.ctx.Done():
			l.Fatalf("%s: not within %v", what, bound)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestASessionThatAsksForEncryptionIsServedWithoutIt(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	config := conn.Config().Copy()
	asking, err := pgx.ParseConfig(l.url + "&sslmode=prefer")
	require.NoError(t, err)
	config.TLSConfig, config.Fallbacks = asking.TLSConfig, asking.Fallbacks
	asked, err := pgx.ConnectConfig(l.ctx, config)
	require.NoError(t, err)
	defer asked.Close(l.ctx)
	require.NoError(t, asked.Ping(l.ctx))
}

func TestACancelRequestReachesTheServer(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	failed := make(chan error, 1)
	go func() {
		_, err := conn.Exec(l.ctx, "SELECT pg_sleep(60)")
		failed <- err
	}()
	l.eventually("the query runs", "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND query LIKE 'SELECT pg_sleep%')", conn.PgConn().PID())

	require.NoError(t, conn.PgConn().CancelRequest(l.ctx))

	require.ErrorContains(t, <-failed, "57014")
}

func TestAClientThatEndsTakesItsBackendWithIt(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	_, err := conn.Exec(l.ctx, "BEGIN")
	require.NoError(t, err)

	require.NoError(t, conn.PgConn().Conn().Close(), "no Terminate, as when the process is killed")

	l.eventually("the backend ends", "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1)", conn.PgConn().PID())
}

func TestAServerThatEndsASessionIsHeardByItsClient(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	_, err := l.past.Exec(l.ctx, "SELECT pg_terminate_backend($1)", conn.PgConn().PID())
	require.NoError(t, err)

	_, err = conn.Exec(l.ctx, "SELECT 1")

	require.ErrorContains(t, err, "57P01")
}

func TestAResetBreaksEveryConnection(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	one, two := l.connect(), l.connect()

	l.proxy.Reset()

	require.Error(t, one.Ping(l.ctx))
	require.Error(t, two.Ping(l.ctx))
	require.NoError(t, l.connect().Ping(l.ctx), "a new one is served")
}

func TestAClosedProxyLetsNobodyIn(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()

	require.NoError(t, l.proxy.Close())
	require.NoError(t, l.proxy.Close())

	require.Error(t, conn.Ping(l.ctx))
	_, err := pgx.Connect(l.ctx, l.url)
	require.Error(t, err)
}

func TestAMessageLargerThanAnyBufferPasses(t *testing.T) {
	t.Parallel()
	l := newLine(t, wireproxy.Config{})
	conn := l.connect()
	large := make([]byte, 3<<20)
	for i := range large {
		large[i] = byte(i * 7)
	}
	var back []byte
	require.NoError(t, conn.QueryRow(l.ctx, "SELECT $1::bytea", large).Scan(&back))
	assert.Equal(t, large, back)
}

func TestADatabaseThatIsNoURLIsRefused(t *testing.T) {
	t.Parallel()
	_, err := wireproxy.Listen("host=/tmp user=postgres", wireproxy.Config{})
	require.ErrorContains(t, err, "postgres://")
}
