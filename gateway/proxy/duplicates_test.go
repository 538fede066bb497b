package proxy_test

import (
	"net/http"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/onlyonce/onlyonce/idempotency"
	"github.com/onlyonce/onlyonce/internal/pgtest"
	"github.com/onlyonce/onlyonce/pgstore"
)

// lenders are stores of as many processes on one database, and a look at it from outside.
func lenders(t *testing.T, n int) (stores []idempotency.Leaser, outside *pgxpool.Pool) {
	t.Helper()
	schema := pgtest.Schema(t)
	for range n {
		store, err := pgstore.NewWithConfig(pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.MaxConns = 4 }), pgstore.Config{Schema: schema})
		require.NoError(t, err)
		stores = append(stores, store)
	}
	return stores, pgtest.Pool(t, schema, func(c *pgxpool.Config) { c.MaxConns = 1 })
}

func TestOfTwoHundredDuplicatesAtTwoProxiesOneReachesTheUpstream(t *testing.T) {
	t.Parallel()
	const duplicates = 200
	taken, goOn := make(chan struct{}, duplicates), make(chan struct{})
	up := newUpstream(t, func(c *conn) {
		if c.take() != nil {
			taken <- struct{}{}
			<-goOn
			c.say("HTTP/1.1 201 Created\r\nLocation: /payments/%d\r\nContent-Length: 4\r\nConnection: close\r\n\r\npaid", c.up.effects.Load())
		}
	})
	stores, outside := lenders(t, 2)
	var fronts []*gateway
	for _, store := range stores {
		fronts = append(fronts, front(t, store, configured(t, up.url(), "wait: 1m", "timeout: 1m")))
	}
	answers := make(chan answer, duplicates)
	var group sync.WaitGroup
	for i := range duplicates {
		group.Go(func() { answers <- fronts[i%2].post("k", "{}") })
	}
	<-taken
	close(goOn)
	group.Wait()
	close(answers)
	replayed := 0
	for got := range answers {
		got.is(http.StatusCreated, "paid")
		require.Equal(t, "/payments/1", got.header.Get("Location"))
		if got.header.Get("Idempotent-Replayed") != "" {
			replayed++
		}
	}
	require.Equal(t, duplicates-1, replayed)
	up.hasEffects(1)
	var rows int
	require.NoError(t, outside.QueryRow(t.Context(), `SELECT count(*) FROM idempotency_keys WHERE state = 'completed'`).Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestAnUnknownOutcomeIsHeldOnPostgresByAnyProxy(t *testing.T) {
	t.Parallel()
	up := newUpstream(t, says(""))
	stores, outside := lenders(t, 2)
	one, other := front(t, stores[0], configured(t, up.url())), front(t, stores[1], configured(t, up.url()))
	require.Equal(t, http.StatusBadGateway, one.post("k", "{}").status)
	up.then(says(created))
	require.Equal(t, http.StatusConflict, other.post("k", "{}").status)
	require.Equal(t, http.StatusConflict, one.post("k", "{}").status)
	up.hasEffects(1)
	tag, err := outside.Exec(t.Context(), `UPDATE idempotency_keys SET leased_until = now() - interval '1 second' WHERE state = 'pending'`)
	require.NoError(t, err)
	require.EqualValues(t, 1, tag.RowsAffected())
	first := other.post("k", "{}").is(http.StatusCreated, "paid")
	one.post("k", "{}").replays(first)
	up.hasEffects(2)
}
