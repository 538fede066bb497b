package pgtest

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Pool connects with the schema as its search_path and nothing else in it, so that no test finds another's tables. It is
// closed after the test; the test fails if a connection has not come back by then.
func Pool(tb testing.TB, schema string, configure ...func(*pgxpool.Config)) *pgxpool.Pool {
	tb.Helper()
	config, err := pgxpool.ParseConfig(URL(tb))
	if err != nil {
		tb.Fatalf("read %s: %v", Variable, err)
	}
	config.ConnConfig.RuntimeParams["search_path"] = schema
	for _, change := range configure {
		change(config)
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		tb.Fatalf("make a pool: %v", err)
	}
	tb.Cleanup(func() { closePool(tb, pool, patience) })
	return pool
}

// closePool does not wait for ever, as Close alone does, for a connection that a test has lost.
func closePool(tb testing.TB, pool *pgxpool.Pool, limit time.Duration) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(limit):
		tb.Errorf("%d connections were never given back to the test's pool: a transaction or rows left open", pool.Stat().AcquiredConns())
	}
}
